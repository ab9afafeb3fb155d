/* engines.c: what src/engine decides, carried out: keepers, looks at health, what pools are told; see engines.h. */
#include "worker/engines-internal.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"

#define LOG_ROOM "engines"
#include "base/log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEALTH_EVENTS (UINT64_C(1) << 33)
#define NOTICE_EVENT (ENGINES_EVENTS + 2 * ENGINES_MOST)
#define LOOK_MS 10000
#define LINE_BYTES 4096

static uint32_t chance(void)
{
        uint32_t r = 0;

        (void)!getrandom(&r, sizeof r, 0);
        return r;
}

static json_t *words(const char *list)
{
        json_t *o = json_array();

        while (*list) {
                size_t n = strcspn(list, ",");

                if (n)
                        json_array_append_new(o, json_stringn(list, n));
                list += n + (list[n] == ',');
        }
        return o;
}

/* Where only tunnels lead, neither address nor key leave this machine. */
static json_t *describe_one(const struct engines_slot *s, bool direct)
{
        const struct catalogue_entry *c = &s->entry;
        json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:I, s:s}", "model", c->name, "kind", catalogue_kind_name(c->kind), "state",
                              engine_state_name(s->engine.state), "parallel", (json_int_t)c->parallel, "context", (json_int_t)c->context, "tasks", words(c->tasks), "labels",
                              words(c->labels), "memory_bytes", (json_int_t)c->memory, "revision", s->revision);

        json_object_set_new(o, "resident", s->resident < 0 ? json_null() : json_boolean(s->resident));
        if (direct && s->address[0] && (s->engine.state == ENGINE_READY || c->kind == CATALOGUE_URL) && !strncmp(s->address, "http://", 7)) {
                json_object_set_new(o, "address", json_string(s->address));
                if (s->key[0])
                        json_object_set_new(o, "key", json_string(s->key));
        }
        if (s->engine.text[0] || s->note[0])
                json_object_set_new(o, "text", json_string(s->engine.text[0] ? s->engine.text : s->note));
        return o;
}

/* The whole list, when something in it changed. */
static void tell(struct engines *e)
{
        json_t *list;

        for (uint32_t i = 0; i < ENGINES_MOST; i++) {
                struct engines_slot *s = e->slots[i];

                e->dirty |= s && s->version != s->engine.version;
                if (s)
                        s->version = s->engine.version;
        }
        if (!e->dirty)
                return;
        e->dirty = false;
        list = json_array();
        for (uint32_t i = 0; i < ENGINES_MOST; i++)
                if (e->slots[i])
                        json_array_append_new(list, describe_one(e->slots[i], e->direct));
        e->options.changed(e->options.context, list);
}

static void order(const struct engines_slot *s, char what)
{
        if (s->pid)
                (void)!send(s->fd, &what, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void log_state(const struct engines_slot *s, enum engine_state before)
{
        if (s->engine.state == before)
                return;
        if (s->engine.state == ENGINE_FAILED)
                log_warning("%s: failed: %s", s->entry.name, s->engine.text);
        else if (s->engine.state == ENGINE_READY)
                log_notice("%s: ready at %s", s->entry.name, s->address);
        else
                log_info("%s: %s%s%s", s->entry.name, engine_state_name(s->engine.state), s->engine.text[0] ? ": " : "", s->engine.text);
}

static void look_at(struct engines *e, struct engines_slot *s, uint64_t now)
{
        char url[ENGINES_ADDRESS + CONFIG_TEXT];

        snprintf(url, sizeof url, "%s%s", s->address, s->entry.health);
        if (health_begin(e->health, s->index, url, s->key, s->ca) < 0)
                engine_checked(&s->engine, now, false, "no memory for a look");
}

/* Does what the engine's state asks for, until it asks for nothing. */
static void act(struct engines *e, struct engines_slot *s, uint64_t now)
{
        enum engine_state before = s->engine.state;
        char why[ENGINE_TEXT];
        uint32_t todo;

        while ((todo = engine_tick(&s->engine, now))) {
                if (todo & ENGINE_START && engines_start(e, s, why) < 0)
                        engine_ended(&s->engine, now, why, true, chance());
                if (todo & ENGINE_CHECK)
                        look_at(e, s, now);
                if (todo & ENGINE_TERM)
                        order(s, 't');
                if (todo & ENGINE_KILL)
                        order(s, 'k');
        }
        log_state(s, before);
}

static void on_looked(void *context, uint32_t number, bool good, const char *why)
{
        struct engines *e = context;
        struct engines_slot *s = e->slots[number];
        uint64_t now = clock_now_ns() / NS_PER_MS;
        enum engine_state before;

        if (!s)
                return;
        before = s->engine.state;
        engine_checked(&s->engine, now, good, why);
        log_state(s, before);
        act(e, s, now);
}

/* A line of the keeper: its own words, but with a stranger's text in them. */
static void take_line(struct engines_slot *s, const char *line, size_t bytes)
{
        json_t *o = json_loadb(line, bytes, 0, NULL);
        const char *kind = json_string_value(json_object_get(o, "m")), *text = json_string_value(json_object_get(o, "text"));

        if (kind && text && !strcmp(kind, "line"))
                engine_says(&s->engine, text);
        if (kind && text && !strcmp(kind, "ended")) {
                text_copy_clean(s->how, sizeof s->how, text);
                s->hopeless = json_is_true(json_object_get(o, "hopeless"));
        }
        json_decref(o);
}

static void read_lines(struct engines_slot *s)
{
        char data[4096], *stop;
        ssize_t n;

        while (s->fd >= 0 && (n = recv(s->fd, data, sizeof data, MSG_DONTWAIT)) != 0) {
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        if (errno != EAGAIN)
                                fd_close_at(&s->fd);
                        return;
                }
                if (s->line.length > LINE_BYTES)
                        strbuf_clear(&s->line);
                strbuf_put(&s->line, data, (size_t)n);
                while (!s->line.failed && (stop = memchr(s->line.text, '\n', s->line.length))) {
                        size_t used = (size_t)(stop - s->line.text) + 1;

                        take_line(s, s->line.text, used - 1);
                        memmove(s->line.text, stop + 1, s->line.length - used + 1);
                        s->line.length -= used;
                }
        }
        fd_close_at(&s->fd); /* closing takes it off the epoll */
}

static void reap(struct engines *e, struct engines_slot *s, uint64_t now)
{
        enum engine_state before = s->engine.state;
        int status;

        if (!s->pid || waitpid(s->pid, &status, WNOHANG) != s->pid)
                return;
        read_lines(s);
        fd_close_at(&s->fd);
        fd_close_at(&s->pidfd);
        strbuf_done(&s->line);
        s->pid = 0;
        s->address[0] = s->key[0] = 0;
        s->resident = -1;
        s->gated = s->coming = false;
        s->held = 0;
        s->note[0] = 0;
        health_cancel(e->health, s->index);
        engine_ended(&s->engine, now, s->how[0] ? s->how : "the process that held it was killed", s->hopeless, chance());
        s->engine.version++;
        log_info("%s: %s", s->entry.name, s->how[0] ? s->how : "the process that held it was killed");
        log_state(s, before);
        engines_settle(e, now, s);
}

void engines_event(struct engines *e, uint64_t now, uint64_t number)
{
        uint64_t at = number - ENGINES_EVENTS;
        struct engines_slot *s;

        if (number >= HEALTH_EVENTS) {
                health_event(e->health, (int)(number - HEALTH_EVENTS));
        } else if (number == NOTICE_EVENT) {
                engines_noticed(e, now);
        } else {
                s = e->slots[at / 2];
                if (s && at % 2)
                        reap(e, s, now);
                else if (s)
                        read_lines(s);
        }
        tell(e);
}

static struct engines_slot *find(struct engines *e, const char *name)
{
        for (uint32_t i = 0; i < ENGINES_MOST; i++)
                if (e->slots[i] && !strcmp(e->slots[i]->entry.name, name))
                        return e->slots[i];
        return NULL;
}

void engines_asked(struct engines *e, uint64_t now, uint32_t server, const struct message *m)
{
        struct engines_slot *s;

        if (m->kind == MESSAGE_UNKNOWN)
                for (uint32_t i = 0; i < ENGINES_MOST; i++)
                        if (e->slots[i])
                                engine_server_gone(&e->slots[i]->engine, now, server);
        if (m->kind == MESSAGE_UPCOMING_MODELS)
                engines_upcoming(e, m);
        if (m->kind != MESSAGE_ENGINE)
                return;
        s = find(e, m->models[0]);
        if (!s) {
                e->dirty = true; /* so that it hears what there is */
                tell(e);
                return;
        }
        if (s->next || e->ending)
                s->wanted_before = m->ready; /* what it runs by now is about to go */
        engine_want(&s->engine, now, server, m->ready, m->has_requests ? (int64_t)m->requests : -1, m->again);
        act(e, s, now);
        tell(e);
}

uint64_t engines_tick(struct engines *e, uint64_t now)
{
        uint64_t next = UINT64_MAX, due;

        for (uint32_t i = 0; i < ENGINES_MOST; i++) {
                if (!e->slots[i])
                        continue;
                act(e, e->slots[i], now);
                due = engine_next(&e->slots[i]->engine);
                next = due < next ? due : next;
        }
        due = health_tick(e->health, now);
        if (due != UINT64_MAX && now + due < next)
                next = now + due;
        tell(e);
        return next;
}

void engines_end(struct engines *e, uint64_t now)
{
        e->ending = true;
        for (uint32_t i = 0; i < ENGINES_MOST; i++)
                if (e->slots[i]) {
                        engine_retire(&e->slots[i]->engine, now);
                        act(e, e->slots[i], now);
                }
}

void engines_direct(struct engines *e, bool direct)
{
        e->dirty |= e->direct != direct;
        e->direct = direct;
        tell(e);
}

bool engines_find(const struct engines *e, const char *model, struct tunnel_target *ret)
{
        for (uint32_t i = 0; i < ENGINES_MOST; i++) {
                const struct engines_slot *s = e->slots[i];

                if (!s || s->engine.state != ENGINE_READY || strcmp(s->entry.name, model) != 0)
                        continue;
                *ret = (struct tunnel_target){.number = i, .parallel = (uint32_t)s->entry.parallel, .url = s->address, .key = s->key, .ca = s->ca};
                return true;
        }
        return false;
}

const char *engines_name(const struct engines *e, uint32_t number, uint32_t *ret_parallel)
{
        const struct engines_slot *s = number < ENGINES_MOST ? e->slots[number] : NULL;

        *ret_parallel = s ? (uint32_t)s->entry.parallel : 0;
        return s ? s->entry.name : NULL;
}

uint32_t engines_requests(const struct engines *e)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < ENGINES_MOST && e->direct; i++)
                for (uint32_t server = 0; e->slots[i] && server < ENGINE_SERVERS; server++)
                        n += e->slots[i]->engine.state == ENGINE_READY ? e->slots[i]->engine.requests[server] : 0;
        return n;
}

uint32_t engines_alive(const struct engines *e)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < ENGINES_MOST; i++)
                n += e->slots[i] && e->slots[i]->pid;
        return n;
}

static int register_fd(const struct engines *e, int fd, uint64_t number)
{
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = number};

        return epoll_ctl(e->options.epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int engines_follow(struct engines *e, struct engines_slot *s)
{
        int r = register_fd(e, s->fd, ENGINES_EVENTS + 2ULL * s->index);

        return r < 0 ? r : register_fd(e, s->pidfd, ENGINES_EVENTS + 2ULL * s->index + 1);
}

int engines_open(const struct engines_options *options, uint64_t now, struct engines **ret)
{
        const struct health_options looks = {.epoll = options->epoll, .first = HEALTH_EVENTS, .timeout_ms = LOOK_MS, .done = on_looked};
        struct health_options with_context = looks;
        struct engines *e scoped_free = calloc(1, sizeof *e);
        const char *slash = strrchr(options->catalogue, '/');
        int r;

        if (!e)
                return -ENOMEM;
        e->options = *options;
        if (!slash || !slash[1] || strlen(slash + 1) > NAME_MAX || strlen(options->catalogue) >= PATH_MAX)
                return -EINVAL;
        snprintf(e->catalogue, sizeof e->catalogue, "%s", options->catalogue);
        snprintf(e->folder, sizeof e->folder, "%.*s", slash == options->catalogue ? 1 : (int)(slash - options->catalogue), options->catalogue);
        snprintf(e->file, sizeof e->file, "%.*s", NAME_MAX, slash + 1);
        snprintf(e->logs, sizeof e->logs, "%.3800s/engines", options->folder);
        if (mkdir(e->logs, 0700) < 0 && errno != EEXIST)
                return -errno;
        with_context.context = e;
        r = health_open(&with_context, &e->health);
        if (r < 0)
                return r;
        r = engines_watch(e);
        r = r < 0 ? r : register_fd(e, e->inotify, NOTICE_EVENT);
        if (r < 0) {
                health_close(e->health);
                return r;
        }
        engines_load(e, now, true);
        *ret = take(e);
        return 0;
}

void engines_close(struct engines *e)
{
        for (uint32_t i = 0; i < ENGINES_MOST; i++) {
                struct engines_slot *s = e->slots[i];

                if (!s)
                        continue;
                fd_close_at(&s->fd); /* the keeper sees it, and kills all that it holds */
                if (s->pid)
                        waitpid(s->pid, NULL, 0);
                fd_close_at(&s->pidfd);
                strbuf_done(&s->line);
                free(s->next);
                free(s);
        }
        health_close(e->health);
        fd_close_at(&e->inotify);
        free(e);
}
