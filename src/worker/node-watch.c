/* node-watch.c: asks the node daemon on the worker's loop, gathers its answer, makes a report of it; see node-watch.h. */
#include "worker/node-watch.h"

#include "worker/describe.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "machine/machine.h"
#include "wire/wire.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define PATIENCE_MS 3000
#define CLIENTS 256
#define PREFETCHES 16
#define ANSWER_MOST 100000      /* messages of one answer */
#define CLIENT_BYTES 56000      /* of all clients' JSON, as the pool writes it */
#define MEMORY_STEP (16u << 20) /* smaller changes of free memory are no news */

enum state { RESTING, GREETING, ASKING };

struct node_watch {
        struct node_watch_options options;
        json_t *known;          /* devices that the worker knows itself */
        struct machine machine;
        struct machine_look before;
        bool has_before;
        enum state state;
        int fd;
        uint16_t version;
        uint32_t sequence, heard, owed; /* owed: answers to PREFETCH */
        uint64_t ask_at, give_up_at;
        struct wire_STATUS_DAEMON daemon;
        struct wire_STATUS_DEVICE devices[WIRE_MAX_DEVICES];
        struct wire_STATUS_CLIENT clients[CLIENTS];
        size_t device_count, client_count;
        uint64_t left_out;
        struct {
                char job[48];
                uint32_t milliseconds;
        } prefetches[PREFETCHES]; /* to be told, oldest first */
        size_t prefetch_count;
        char *last;             /* what was reported, without what changes by itself */
};

int node_watch_open(const struct node_watch_options *options, struct node_watch **ret)
{
        struct node_watch *w = calloc(1, sizeof *w);
        int r;

        if (!w)
                return -ENOMEM;
        w->options = *options;
        w->known = json_deep_copy(options->devices);
        w->fd = -1;
        r = machine_open(&w->machine, "");
        if (r < 0) {
                json_decref(w->known);
                free(w);
                return r;
        }
        machine_look(&w->machine, clock_now_ns(), &w->before);
        w->has_before = true;
        *ret = w;
        return 0;
}

static void hang_up(struct node_watch *w)
{
        fd_close_at(&w->fd); /* leaves the loop with it */
        w->owed = 0;
        w->state = RESTING;
}

void node_watch_close(struct node_watch *w)
{
        if (!w)
                return;
        hang_up(w);
        machine_close(&w->machine);
        json_decref(w->known);
        free(w->last);
        free(w);
}

static uint64_t sum(uint64_t a, uint64_t b)
{
        uint64_t total;

        return __builtin_add_overflow(a, b, &total) ? UINT64_MAX : total;
}

static uint64_t owned(const struct wire_STATUS_CLIENT *c)
{
        return sum(c->movable_bytes, c->pinned_bytes);
}

/* ---- the report -------------------------------------------------------------------------------------------------- */

/* A number that JSON and its readers take for what it is, or null. */
static json_t *whole(bool known, uint64_t value)
{
        return known && value <= INT64_MAX ? json_integer((json_int_t)value) : json_null();
}

static json_t *text(const char *raw, size_t size)
{
        char clean[128];

        text_copy_clean(clean, size < sizeof clean ? size + 1 : sizeof clean, raw);
        return clean[0] ? json_string(clean) : json_null();
}

static json_t *client_json(const struct wire_STATUS_CLIENT *c)
{
        char name[sizeof c->name + 1] = "", job[sizeof c->job + 1] = "";

        memcpy(name, c->name, sizeof c->name);
        memcpy(job, c->job, sizeof c->job);
        return json_pack("{s:I, s:o, s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "pid", (json_int_t)c->pid, "name", text(name, sizeof c->name), "job", text(job, sizeof c->job), "state",
                         wire_state_name(c->state), "priority", wire_priority_name(c->priority), "owned_bytes", whole(true, owned(c)), "resident_bytes",
                         whole(true, sum(c->resident_bytes, c->pinned_bytes)), "swapped_bytes", whole(true, c->movable_bytes > c->resident_bytes ? c->movable_bytes - c->resident_bytes : 0),
                         "wait_ms", whole(c->wait_ns != 0, c->wait_ns / NS_PER_MS), "position", whole(c->position != 0, c->position));
}

static const char *kind_of(uint32_t kind)
{
        return kind == WIRE_CUDA ? "gpu" : kind == WIRE_SOFTWARE ? "software" : kind == WIRE_NPU ? "npu" : "cpu";
}

static json_t *device_json(const struct wire_STATUS_DEVICE *d, json_t *clients)
{
        bool shared = d->kind == WIRE_CUDA || d->kind == WIRE_SOFTWARE;
        char uuid[WIRE_UUID_TEXT], name[sizeof d->name + 1] = "";

        memcpy(name, d->name, sizeof d->name);
        return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "uuid",
                         shared ? json_string(wire_uuid_text(d->uuid, uuid)) : json_null(), "name", text(name, sizeof d->name), "kind", kind_of(d->kind), "memory_total_bytes",
                         whole(d->valid & WIRE_VALID_TOTAL || d->total_bytes, d->total_bytes), "memory_room_bytes", whole(shared, d->room_bytes), "memory_used_bytes",
                         whole(d->valid & WIRE_VALID_USED, shared ? d->used_bytes : d->used_bytes / MEMORY_STEP * MEMORY_STEP), "memory_foreign_bytes",
                         whole(d->valid & WIRE_VALID_FOREIGN, d->foreign_bytes), "swapped_bytes", whole(shared, d->swapped_bytes), "utilization_pct",
                         whole(d->valid & WIRE_VALID_UTILISATION, (d->utilisation_permille + 5) / 10), "power_watts", whole(d->valid & WIRE_VALID_POWER, (d->power_mw + 500) / 1000),
                         "temperature_c", whole(d->valid & WIRE_VALID_TEMPERATURE, d->temperature_c), "switches", whole(shared, d->switches), "waiting", whole(shared, d->waiting), "clients",
                         clients);
}

static int most_first(const void *a, const void *b)
{
        const struct wire_STATUS_CLIENT *x = a, *y = b;

        return owned(x) != owned(y) ? (owned(x) < owned(y) ? 1 : -1) : (x->client > y->client) - (x->client < y->client);
}

/* As much of them as a report may hold; the rest is counted. */
static size_t choose_clients(struct node_watch *w)
{
        size_t bytes = 0, n = 0;

        qsort(w->clients, w->client_count, sizeof *w->clients, most_first);
        for (; n < w->client_count; n++) {
                /* At its longest: every character of a name escaped. */
                bytes += 250 + 2 * strnlen(w->clients[n].name, sizeof w->clients[n].name) + 2 * strnlen(w->clients[n].job, sizeof w->clients[n].job);
                if (bytes > CLIENT_BYTES)
                        break;
        }
        w->left_out += w->client_count - n;
        return n;
}

static json_t *devices_of_daemon(struct node_watch *w)
{
        json_t *list = json_array();
        size_t count = choose_clients(w);

        for (size_t i = 0; i < w->device_count; i++) {
                json_t *clients = json_array();

                for (size_t k = 0; k < count; k++)
                        if (w->clients[k].device == w->devices[i].index)
                                json_array_append_new(clients, client_json(&w->clients[k]));
                json_array_append_new(list, device_json(&w->devices[i], clients));
        }
        return list;
}

static json_t *devices_of_worker(const struct node_watch *w)
{
        json_t *list = json_array();
        const json_t *device;
        size_t i;

        json_array_foreach (w->known, i, device) {
                const json_t *memory = json_object_get(device, "memory_bytes");

                if (i == WIRE_MAX_DEVICES)
                        break;
                json_array_append_new(list, json_pack("{s:O, s:O*, s:O*}", "kind", json_object_get(device, "kind"), "name", json_object_get(device, "name"), "memory_total_bytes", memory));
        }
        return list;
}

static json_t *host(struct node_watch *w)
{
        struct machine_look look;
        struct machine_rates rates;
        json_t *o;

        machine_look(&w->machine, clock_now_ns(), &look);
        machine_rates(&look, w->has_before ? &w->before : NULL, &rates);
        o = json_pack("{s:o, s:o, s:o, s:o}", "memory_total_bytes", whole(!look.memory_error && look.memory.total != MACHINE_UNKNOWN, look.memory.total),
                      "memory_available_bytes", whole(!look.memory_error && look.memory.available != MACHINE_UNKNOWN, look.memory.available / MEMORY_STEP * MEMORY_STEP), "cpu_pct",
                      rates.busy < 0 ? json_null() : json_integer((json_int_t)(rates.busy / 10 + 0.5)), "cpus", whole(!look.stat_error && look.stat.cpus != 0, look.stat.cpus));
        w->before = look;
        w->has_before = true;
        return o;
}

static void report(struct node_watch *w, bool from_daemon)
{
        json_t *node, *daemon = json_null();
        char *fresh;

        w->left_out = from_daemon ? w->left_out : 0;
        if (from_daemon) {
                char version[sizeof w->daemon.version + 1] = "";

                memcpy(version, w->daemon.version, sizeof w->daemon.version);
                daemon = json_pack("{s:o, s:I, s:I}", "version", text(version, sizeof version - 1), "arena_bytes", (json_int_t)(w->daemon.arena_bytes & INT64_MAX), "arena_lent_bytes",
                                   (json_int_t)(w->daemon.arena_lent_bytes & INT64_MAX));
        }
        node = json_object();
        json_object_set_new(node, "devices", from_daemon ? devices_of_daemon(w) : devices_of_worker(w));
        json_object_set_new(node, "clients_left_out", json_integer((json_int_t)w->left_out));
        json_object_set_new(node, "host", host(w));
        json_object_set_new(node, "daemon", daemon);
        fresh = json_dumps(node, JSON_COMPACT);
        if (!fresh || (w->last && !strcmp(fresh, w->last))) {
                free(fresh);
                json_decref(node);
                return;
        }
        free(w->last);
        w->last = fresh;
        /* This alone is no news. */
        if (from_daemon)
                json_object_set_new(daemon, "uptime_s", json_integer((json_int_t)(w->daemon.uptime_ns / NS_PER_S)));
        w->options.report(w->options.context, node);
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static int say(struct node_watch *w, struct wire_message *m, enum wire_type type)
{
        return fd_send(w->fd, m, wire_seal(m, type, w->version, ++w->sequence), -1, MSG_DONTWAIT);
}

static int ask(struct node_watch *w)
{
        struct wire_message m = {0};

        w->device_count = w->client_count = 0;
        w->left_out = w->heard = 0;
        w->state = ASKING;
        return say(w, &m, WIRE_STATUS_ASK);
}

void node_watch_prefetch(struct node_watch *w, const char *job, uint32_t milliseconds)
{
        if (w->prefetch_count == PREFETCHES)
                memmove(w->prefetches, w->prefetches + 1, --w->prefetch_count * sizeof w->prefetches[0]);
        snprintf(w->prefetches[w->prefetch_count].job, sizeof w->prefetches[0].job, "%s", job);
        w->prefetches[w->prefetch_count++].milliseconds = milliseconds;
}

/* What waits to be told; what finds no room goes another time. */
static void tell_prefetches(struct node_watch *w)
{
        size_t done = 0;

        for (; done < w->prefetch_count; done++) {
                struct wire_message m = {.PREFETCH = {.milliseconds = w->prefetches[done].milliseconds}};

                memcpy(m.PREFETCH.name, w->prefetches[done].job, sizeof w->prefetches[done].job);
                if (say(w, &m, WIRE_PREFETCH) < 0)
                        break;
                w->owed++;
        }
        w->prefetch_count -= done;
        memmove(w->prefetches, w->prefetches + done, w->prefetch_count * sizeof w->prefetches[0]);
}

static int greet(struct node_watch *w)
{
        struct wire_message m = {.HELLO = {.role = WIRE_CONTROL, .version_min = WIRE_VERSION_MIN, .version_max = WIRE_VERSION_MAX, .priority = WIRE_NORMAL,
                                           .pid = (uint32_t)getpid(), .name = "berth-worker"}};
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = w->options.number};
        char path[256];

        if (node_link_find(path, sizeof path) < 0)
                return -E_UNAVAILABLE;
        w->version = WIRE_VERSION_MAX;
        w->sequence = 0;
        w->fd = fd_connect_within(path, SOCK_NONBLOCK, 0);
        if (w->fd < 0)
                return -E_UNAVAILABLE;
        if (epoll_ctl(w->options.epoll, EPOLL_CTL_ADD, w->fd, &event) < 0)
                return -errno;
        w->state = GREETING;
        return say(w, &m, WIRE_HELLO);
}

/* Of more than there is room for, those that own most stay. */
static void keep_client(struct node_watch *w, const struct wire_STATUS_CLIENT *c)
{
        size_t least = 0;

        if (w->client_count < CLIENTS) {
                w->clients[w->client_count++] = *c;
                return;
        }
        for (size_t i = 1; i < CLIENTS; i++)
                if (owned(&w->clients[i]) < owned(&w->clients[least]))
                        least = i;
        if (owned(c) > owned(&w->clients[least]))
                w->clients[least] = *c;
        w->left_out++;
}

/* 1: the answer is complete. */
static int hear(struct node_watch *w, const struct wire_message *m)
{
        if (m->header.type == WIRE_TRIMMED && w->owed) {
                w->owed--;
                return 0;
        }
        if (m->header.type == WIRE_ERROR)
                return -E_MESSAGE;
        if (w->state == GREETING) {
                if (m->header.type != WIRE_WELCOME || m->WELCOME.version < WIRE_VERSION_MIN || m->WELCOME.version > WIRE_VERSION_MAX)
                        return -E_MESSAGE;
                w->version = (uint16_t)m->WELCOME.version;
                return ask(w);
        }
        if (w->state != ASKING || ++w->heard > ANSWER_MOST)
                return -E_MESSAGE;
        if (m->header.type == WIRE_STATUS_DAEMON)
                w->daemon = m->STATUS_DAEMON;
        else if (m->header.type == WIRE_STATUS_DEVICE && w->device_count < WIRE_MAX_DEVICES)
                w->devices[w->device_count++] = m->STATUS_DEVICE;
        else if (m->header.type == WIRE_STATUS_CLIENT)
                keep_client(w, &m->STATUS_CLIENT);
        else if (m->header.type == WIRE_STATUS_END)
                return 1;
        return 0;
}

void node_watch_event(struct node_watch *w, uint64_t now)
{
        /* A bounded part of it at a time: the rest of the worker goes on. */
        for (int i = 0; i < 256 && w->fd >= 0; i++) {
                struct wire_message m;
                const char *what;
                int extra = -1, r;
                ssize_t bytes = fd_receive(w->fd, &m, sizeof m, MSG_DONTWAIT, &extra);

                fd_close_at(&extra);
                if (bytes == -EAGAIN)
                        return;
                if (bytes <= 0 || (size_t)bytes > sizeof m || wire_check(&m, (size_t)bytes, TO_CLIENT, w->version, &what) < 0)
                        r = -E_MESSAGE;
                else
                        r = hear(w, &m);
                if (r < 0) {
                        hang_up(w);
                        report(w, false);
                } else if (r == 1) {
                        w->state = RESTING;
                        report(w, true);
                }
        }
}

uint64_t node_watch_tick(struct node_watch *w, uint64_t now, uint64_t every_ms)
{
        int r;

        if (w->state != RESTING && now >= w->give_up_at) {
                hang_up(w);
                report(w, false);
        }
        if (w->state == RESTING && w->fd >= 0 && w->prefetch_count)
                tell_prefetches(w);
        else if (w->state == RESTING && w->prefetch_count)
                w->ask_at = now; /* the connection comes first */
        if (!every_ms)
                return w->state != RESTING ? w->give_up_at : UINT64_MAX;
        if (w->state == RESTING && now >= w->ask_at) {
                w->ask_at = now + every_ms;
                w->give_up_at = now + PATIENCE_MS;
                r = w->fd < 0 ? greet(w) : ask(w);
                if (r < 0) {
                        hang_up(w);
                        report(w, false);
                }
        }
        return w->state != RESTING && w->give_up_at < w->ask_at ? w->give_up_at : w->ask_at;
}
