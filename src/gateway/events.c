/* events.c: the hub and its subscribers; see events.h. */
#include "gateway/events.h"

#include "gateway/admit.h"
#include "gateway/connection.h"
#include "gateway/handlers.h"
#include "gateway/range.h"
#include "gateway/socket.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#define EVENTS_AT_ONCE 1024  /* read by the hub in one turn */
#define PUMPS_AT_ONCE 4096   /* subscribers looked after in one turn */
#define DELIVER_AT_ONCE 128  /* events for one subscriber in one turn */
#define SKIP 4096            /* missed events after which a snapshot is better */
#define PROTOCOL "berth.events.v1"

struct subscriber {
        struct hub *hub;
        struct connection *connection;   /* NULL: gone; only the snapshot on its way keeps it */
        struct group *group;
        struct subscriber *next, *prev, *due_next, *due_prev;
        struct id task;                  /* all zero: any */
        uint64_t cursor, snapshot_at;
        bool socket, chunked, caught_up, due, blocked, snapshot_pending;
};

/* Those of one account that see their own only; the group of no account: those that see all. */
struct group {
        struct id account;
        struct subscriber *subscribers;
        UT_hash_handle hh;
};

struct hub {
        struct server *server;
        struct group *groups;
        struct subscriber *due;
        uint64_t cursor;
        size_t count;
        bool told, stopping;
};

static const struct id nobody;

int hub_new(struct server *server, struct hub **ret_hub)
{
        struct hub *hub = calloc(1, sizeof *hub);

        if (!hub)
                return -ENOMEM;
        hub->server = server;
        *ret_hub = hub;
        return 0;
}

void hub_free(struct hub *hub)
{
        struct group *group, *next;

        if (!hub)
                return;
        HASH_ITER(hh, hub->groups, group, next)
        {
                HASH_DEL(hub->groups, group);
                free(group);
        }
        free(hub);
}

size_t hub_subscribers(const struct hub *hub)
{
        return hub->count;
}

static void told(void *context)
{
        struct hub *hub = context;

        hub->told = true;
}

void hub_listen(struct hub *hub)
{
        hub->cursor = service_event_last(hub->server->service);
        service_events_listen(hub->server->service, told, hub);
}

bool hub_has_more(const struct hub *hub)
{
        return hub->told || hub->due;
}

static void make_due(struct subscriber *s)
{
        if (s->due || !s->connection || s->snapshot_pending)
                return;
        s->due = true;
        DL_APPEND2(s->hub->due, s, due_prev, due_next);
}

static void leave_due(struct subscriber *s)
{
        if (s->due)
                DL_DELETE2(s->hub->due, s, due_prev, due_next);
        s->due = false;
}

static struct group *find_group(struct hub *hub, const struct id *account)
{
        struct group *group;

        HASH_FIND(hh, hub->groups, account, sizeof *account, group);
        return group;
}

static void gone(struct subscriber *s)
{
        struct hub *hub = s->hub;

        leave_due(s);
        DL_DELETE(s->group->subscribers, s);
        if (!s->group->subscribers) {
                HASH_DEL(hub->groups, s->group);
                free(s->group);
        }
        hub->count--;
        s->connection = NULL;
        if (!s->snapshot_pending)
                free(s);
}

static void write_event(struct subscriber *s, uint64_t number, const char *type, const char *json, size_t bytes)
{
        struct connection *c = s->connection;
        char head[160];
        char size[24];
        size_t n;

        s->hub->server->counters.events_sent++;
        if (s->socket) {
                socket_send(c, json, bytes);
                return;
        }
        n = (size_t)snprintf(head, sizeof head, "id: %llu-%llu\nevent: %.60s\ndata: ", (unsigned long long)service_event_epoch(s->hub->server->service),
                             (unsigned long long)number, type);
        if (s->chunked)
                connection_write(c, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", n + bytes + 2));
        connection_write(c, head, n);
        connection_write(c, json, bytes);
        connection_write(c, "\n\n\r\n", s->chunked ? 4 : 2);
}

/* ---- snapshots --------------------------------------------------------------------------------------------------- */

static void refuse(struct subscriber *s, const struct service_answer *answer)
{
        if (s->socket)
                socket_close(s->connection, answer->status == 404 ? FRAME_CLOSE_POLICY : FRAME_CLOSE_AGAIN, answer->code ? answer->code : "unavailable");
        else
                connection_kill(s->connection);
}

static void snapshot_done(void *context, const struct service_answer *answer)
{
        struct subscriber *s = context;
        struct hub *hub = s->hub;
        struct strbuf b = {0};
        unsigned long long number;

        s->snapshot_pending = false;
        if (!s->connection) {
                free(s);
                return;
        }
        if (answer->status >= 400 || !answer->text) {
                refuse(s, answer);
                return;
        }
        if (id_is_none(&s->task)) {
                /* A whole event already, which says what it is as of. */
                if (sscanf(answer->text, "{\"id\":\"%*u-%llu\"", &number) == 1)
                        s->snapshot_at = number;
                strbuf_put(&b, answer->text, answer->bytes);
        } else {
                strbuf_add(&b, "{\"id\":\"%llu-%llu\",\"type\":\"snapshot\",\"data\":{\"unfinished\":[", (unsigned long long)service_event_epoch(hub->server->service),
                           (unsigned long long)s->snapshot_at);
                strbuf_put(&b, answer->text, answer->bytes);
                strbuf_put(&b, "]}}", 3);
        }
        s->cursor = s->snapshot_at;
        if (b.failed)
                connection_kill(s->connection);
        else
                write_event(s, s->cursor, "snapshot", b.text, b.length);
        if (s->connection)
                make_due(s);
        strbuf_done(&b);
}

/* What was missed is replaced by how things are. */
static void take_snapshot(struct subscriber *s)
{
        struct server *server = s->hub->server;

        leave_due(s);
        s->caught_up = s->blocked = false;
        s->snapshot_pending = true;
        /* Events told between now and the answer come again after it: they say how things are, so twice is once. */
        s->snapshot_at = service_event_last(server->service);
        server_turn_soon(server);
        if (id_is_none(&s->task))
                service_snapshot(server->service, admit_caller(s->connection), snapshot_done, s);
        else
                service_task(server->service, admit_caller(s->connection), &s->task, snapshot_done, s);
}

/* ---- delivery ---------------------------------------------------------------------------------------------------- */

static void deliver(struct subscriber *s)
{
        struct server *server = s->hub->server;
        struct service_event event;

        if (s->blocked && service_event_last(server->service) - s->cursor > SKIP) {
                server->counters.events_skipped += service_event_last(server->service) - s->cursor;
                take_snapshot(s);
                return;
        }
        s->blocked = s->caught_up = false;
        for (unsigned i = 0; i < DELIVER_AT_ONCE; i++) {
                int r;

                if (connection_buffered(s->connection) >= server->settings.event_buffer) {
                        s->blocked = true;
                        return;
                }
                r = service_event_next(server->service, admit_caller(s->connection), &s->task, &s->cursor, &event);
                if (r == -ERANGE) {
                        take_snapshot(s);
                        return;
                }
                if (r < 0 && s->cursor >= service_event_last(server->service)) {
                        s->caught_up = true;
                        return;
                }
                if (r == 0)
                        write_event(s, event.number, event.type, event.json, event.bytes);
                if (!s->connection || s->connection->dead)
                        return;
        }
        make_due(s);
}

/* The event concerns this one: whoever is up to date goes on right before it. */
static void concern(struct group *group, uint64_t number)
{
        struct subscriber *s;

        DL_FOREACH(group ? group->subscribers : NULL, s)
        {
                if (s->due || s->blocked || s->snapshot_pending)
                        continue;
                if (s->caught_up)
                        s->cursor = number - 1;
                make_due(s);
        }
}

static void read_events(struct hub *hub)
{
        struct service *service = hub->server->service;
        struct service_event event;
        struct group *group, *next;
        int r = 0;

        hub->told = false;
        for (unsigned i = 0; i < EVENTS_AT_ONCE; i++) {
                r = service_event_next(service, &account_pool_itself, &nobody, &hub->cursor, &event);
                if (r == -EAGAIN && hub->cursor >= service_event_last(service))
                        return;
                if (r == -ERANGE) {
                        /* More at once than the log holds: everybody looks for themselves. */
                        hub->cursor = service_event_last(service);
                        HASH_ITER(hh, hub->groups, group, next)
                        {
                                struct subscriber *s;

                                DL_FOREACH(group->subscribers, s)
                                {
                                        s->caught_up = false;
                                        if (!s->blocked)
                                                make_due(s);
                                }
                        }
                        return;
                }
                if (r < 0)
                        continue;
                if (id_is_none(&event.account)) {
                        HASH_ITER(hh, hub->groups, group, next)
                        {
                                concern(group, event.number);
                        }
                } else {
                        concern(find_group(hub, &event.account), event.number);
                        concern(find_group(hub, &nobody), event.number);
                }
        }
        hub->told = true;
}

void hub_pump(struct hub *hub)
{
        if (hub->stopping || !hub->server->service)
                return;
        if (hub->told)
                read_events(hub);
        for (unsigned i = 0; i < PUMPS_AT_ONCE && hub->due; i++) {
                struct subscriber *s = hub->due;

                leave_due(s);
                if (!s->connection->dead)
                        deliver(s);
        }
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void drained(struct subscriber *s)
{
        if (s->blocked)
                make_due(s);
}

static void stream_input(struct connection *c, uint8_t *data, size_t length)
{
        if (!length)
                connection_kill(c);
}

static void stream_drained(struct connection *c)
{
        drained(c->data);
}

/* A reminder that we are here, which also tells how far the stream is. */
static void stream_overdue(struct connection *c)
{
        struct subscriber *s = c->data;
        struct server *server = c->server;
        uint64_t ping = server->settings.ping_ns / 1000000, quiet = server_now(server) - c->moved;
        char text[80];
        int n;

        if (quiet >= ping && !connection_buffered(c)) {
                if (s->caught_up)
                        s->cursor = service_event_last(server->service);
                n = s->caught_up ? snprintf(text, sizeof text, ":\nid: %llu-%llu\n\n", (unsigned long long)service_event_epoch(server->service),
                                            (unsigned long long)s->cursor)
                                 : snprintf(text, sizeof text, ":\n\n");
                reply_part(c, s->chunked, text, (size_t)n);
                quiet = 0;
        }
        connection_deadline(c, ping > quiet ? ping - quiet : 1);
}

static void stream_gone(struct connection *c)
{
        gone(c->data);
}

static const struct connection_user stream_user = {.input = stream_input, .drained = stream_drained, .overdue = stream_overdue, .gone = stream_gone};

/* What subscribers say is of no interest. */
static void socket_message(struct connection *c, const char *text, size_t bytes)
{
}

static void socket_drained(struct connection *c)
{
        drained(socket_data(c));
}

static void socket_gone(struct connection *c)
{
        gone(socket_data(c));
}

static const struct socket_user socket_user = {.message = socket_message, .drained = socket_drained, .gone = socket_gone};

/* Where to go on from: true and the cursor (resume false: from a snapshot). False: answered. */
static bool where_from(struct request *r, bool *ret_resume, uint64_t *ret_cursor)
{
        const char *last = request_header(r, HEADER_LAST_EVENT_ID);
        uint64_t epoch, number;
        char after[64];
        int found = last ? 0 : request_query(r, "after", after, sizeof after);

        *ret_resume = false;
        if (found < 0)
                return false;
        if (found)
                last = after;
        if (!last || !*last)
                return true;
        if (event_id_parse(last, &epoch, &number) < 0) {
                reply_problem(r, "request.parameter", NULL, "An event's id is EPOCH-NUMBER.");
                return false;
        }
        /* Of another start of the pool: what came between is not known, a snapshot is. */
        *ret_resume = epoch == service_event_epoch(r->server->service);
        *ret_cursor = number;
        return true;
}

static bool join(struct subscriber *s, struct hub *hub, const struct account_caller *caller)
{
        /* Who sees more than their own: told of everything, and chooses. */
        const struct id *account = account_may(caller, RIGHT_TASK_READ_ALL) || account_may(caller, RIGHT_WORKER_READ) ? &nobody : &caller->account;

        s->group = find_group(hub, account);
        if (!s->group) {
                s->group = calloc(1, sizeof *s->group);
                if (!s->group)
                        return false;
                s->group->account = *account;
                HASH_ADD(hh, hub->groups, account, sizeof s->group->account, s->group);
        }
        DL_APPEND(s->group->subscribers, s);
        hub->count++;
        return true;
}

static void subscribe(struct request *r, const struct id *task, bool socket)
{
        struct connection *c = r->connection;
        struct hub *hub = r->server->hub;
        struct subscriber *s;
        int buffer = (int)r->server->settings.event_buffer;
        uint64_t cursor = 0;
        bool resume;

        if (!where_from(r, &resume, &cursor))
                return;
        s = calloc(1, sizeof *s);
        if (!s || !join(s, hub, &r->caller)) {
                free(s);
                reply_problem(r, "pool.busy", NULL, "Out of memory.");
                return;
        }
        s->hub = hub;
        s->connection = c;
        s->task = *task;
        s->socket = socket;
        s->cursor = cursor;
        s->chunked = !r->http10;
        /* What the kernel keeps for one that does not read is bounded, too. */
        (void)setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
        if (socket ? !socket_open(r, PROTOCOL, 4096, &socket_user, s) : !admit_stream(r)) {
                gone(s);
                return;
        }
        if (!socket) {
                reply_stream(r, "text/event-stream");
                if (c->dead) {
                        gone(s);
                        return;
                }
                request_detach(r, &stream_user, s);
                connection_deadline(c, hub->server->settings.ping_ns / 1000000);
        }
        if (resume)
                make_due(s);
        else
                take_snapshot(s);
}

static bool task_of_query(struct request *r, struct id *ret_task)
{
        char text[64];
        int found = request_query(r, "task", text, sizeof text);

        *ret_task = nobody;
        if (found == 1 && id_parse("task", text, ret_task) < 0) {
                reply_problem(r, "request.parameter", NULL, "task: not a task's id.");
                return false;
        }
        return found >= 0;
}

void handle_events(struct request *r)
{
        struct id task;

        if (task_of_query(r, &task))
                subscribe(r, &task, false);
}

void handle_events_socket(struct request *r)
{
        struct id task;

        if (task_of_query(r, &task))
                subscribe(r, &task, true);
}

/* One task's: it is looked up first, so that there is a 404 and not an empty stream. */
static void task_found(void *context, const struct service_answer *answer)
{
        struct request *r = context;
        struct id task;

        if (!r->connection || answer->status >= 400) {
                request_done(r, answer);
                return;
        }
        r->pending = false;
        if (request_id_part(r, 0, "task", &task))
                subscribe(r, &task, false);
}

void handle_task_events(struct request *r)
{
        struct id task;

        if (!request_id_part(r, 0, "task", &task))
                return;
        request_begin(r);
        service_task(r->server->service, &r->caller, &task, task_found, r);
}

void hub_stop(struct hub *hub)
{
        struct group *group, *next;
        struct subscriber *s, *next_s;

        hub->stopping = true;
        HASH_ITER(hh, hub->groups, group, next)
        {
                DL_FOREACH_SAFE(group->subscribers, s, next_s)
                {
                        struct connection *c = s->connection;

                        if (s->socket)
                                continue;
                        if (s->chunked)
                                connection_write(c, "0\r\n\r\n", 5);
                        connection_finish(c);
                }
        }
}
