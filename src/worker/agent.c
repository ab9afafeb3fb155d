/* agent.c: the worker's side of its connections: greeting, offers, renewals, coming back, draining; see agent.h. */
#include "worker/agent-internal.h"

#include "base/error.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CONNECT_MS 30000
#define BACKOFF_FIRST_MS 1000
#define BACKOFF_LAST_MS 60000
#define RETRY_AFTER_LAST_MS 3600000
#define DRAIN_HEARD_MS 2000 /* a pool says within this which requests it still has here */

void agent_say(struct agent *a, int level, const char *format, ...)
{
        char line[768];
        va_list args;

        va_start(args, format);
        vsnprintf(line, sizeof line, format, args);
        va_end(args);
        a->ops->say(a->context, level, line);
}

void agent_init(struct agent *a, const struct agent_settings *settings, json_t *about, const struct agent_ops *ops, void *context)
{
        *a = (struct agent){.settings = *settings, .ops = ops, .context = context, .about = about};
        a->kept_end = &a->kept;
        if (a->settings.slots > AGENT_SLOTS)
                a->settings.slots = AGENT_SLOTS;
        if (settings->worker && message_is_name(settings->worker, sizeof a->worker))
                memcpy(a->worker, settings->worker, strlen(settings->worker) + 1);
}

void agent_done(struct agent *a)
{
        for (uint32_t i = 0; i < AGENT_SLOTS; i++)
                agent_task_done(&a->tasks[i]);
        for (uint32_t i = 0; i < AGENT_SERVERS; i++)
                json_decref(take(a->links[i].change));
        while (a->kept) {
                struct agent_kept *k = a->kept;

                a->kept = k->next;
                free(k);
        }
        json_decref(a->about);
        json_decref(a->load);
        json_decref(a->node);
        a->about = a->load = NULL;
}

int agent_add(struct agent *a, uint64_t now, const char *url, bool told)
{
        struct agent_link *l = NULL;

        for (uint32_t i = 0; i < AGENT_SERVERS; i++) {
                if (a->links[i].state != AGENT_UNUSED && !strcmp(a->links[i].url, url))
                        return -EEXIST;
                if (a->links[i].state == AGENT_UNUSED && !l)
                        l = &a->links[i];
        }
        if (!l)
                return -ENOSPC;
        *l = (struct agent_link){.state = AGENT_WAITING, .at = now, .backoff_ms = BACKOFF_FIRST_MS, .told = told};
        snprintf(l->url, sizeof l->url, "%s", url);
        return 0;
}

json_t *agent_about(const char *kind, const char *task, uint64_t nonce)
{
        char number[24];

        snprintf(number, sizeof number, "%llu", (unsigned long long)nonce);
        return json_pack("{s:s, s:s, s:s}", "m", kind, "task", task, "nonce", number);
}

int agent_send(struct agent *a, uint64_t now, uint32_t server, json_t *o)
{
        char *text scoped_free = o ? json_dumps(o, JSON_COMPACT) : NULL;
        int r;

        json_decref(o);
        if (!text)
                return -ENOMEM;
        r = a->ops->send(a->context, server, text, strlen(text));
        if (r >= 0)
                a->links[server].beat_at = now + a->links[server].heartbeat_ms;
        return r;
}

/* Full jitter: anything from 0 to the bound, so that a thousand workers do not come back in the same second. */
static void wait_again(struct agent *a, uint64_t now, uint32_t server, uint64_t at_least_ms)
{
        struct agent_link *l = &a->links[server];
        uint64_t bound = l->backoff_ms, wait = (uint64_t)a->ops->chance(a->context) * (bound + 1) >> 32;

        l->backoff_ms = bound * 2 > BACKOFF_LAST_MS ? BACKOFF_LAST_MS : bound * 2;
        if (at_least_ms > RETRY_AFTER_LAST_MS)
                at_least_ms = RETRY_AFTER_LAST_MS;
        l->state = AGENT_WAITING;
        l->at = now + (at_least_ms ? at_least_ms + wait : wait);
        l->credit = 0;
        json_decref(take(l->change)); /* the next hello says all of it */
        for (struct agent_kept *k = a->kept; k; k = k->next)
                if (k->server == server)
                        k->sent = false;
}

void agent_closed(struct agent *a, uint64_t now, uint32_t server, const char *why, uint64_t retry_after_ms)
{
        struct agent_link *l = &a->links[server];

        if (l->state == AGENT_UNUSED || l->state == AGENT_WAITING)
                return;
        if (l->state == AGENT_READY) {
                a->counters.reconnects++;
                if (a->ops->engine)
                        a->ops->engine(a->context, server, &(const struct message){.kind = MESSAGE_UNKNOWN});
                if (a->ops->tunnel)
                        a->ops->tunnel(a->context, server, l->url, NULL);
        }
        wait_again(a, now, server, retry_after_ms);
        agent_say(a, l->backoff_ms > 4 * BACKOFF_FIRST_MS ? LOG_INFO_N : LOG_WARNING_N, "%s: %s; again in %llu ms", l->url, why,
                  (unsigned long long)(l->at - now));
}

static void give_up(struct agent *a, uint64_t now, uint32_t server, const char *why)
{
        a->ops->disconnect(a->context, server);
        agent_closed(a, now, server, why, 0);
}

void agent_opened(struct agent *a, uint64_t now, uint32_t server)
{
        struct agent_link *l = &a->links[server];
        json_t *hello, *running;

        if (l->state != AGENT_CONNECTING)
                return;
        hello = json_deep_copy(a->about);
        running = json_array();
        for (uint32_t i = 0; i < a->settings.slots; i++) {
                struct agent_task *t = &a->tasks[i];
                char number[24];

                if (t->state != AGENT_RUNNING)
                        continue;
                t->shown |= 1U << server;
                snprintf(number, sizeof number, "%llu", (unsigned long long)t->nonce);
                json_array_append_new(running, json_pack("{s:s, s:s}", "task", t->task, "nonce", number));
        }
        /* What ended while the connection was away is still ours to tell. All of it to every server: a task may have gone to another one than gave it. */
        for (struct agent_kept *k = a->kept; k; k = k->next) {
                char number[24];

                k->shown |= 1U << server;
                snprintf(number, sizeof number, "%llu", (unsigned long long)k->nonce);
                json_array_append_new(running, json_pack("{s:s, s:s}", "task", k->task, "nonce", number));
        }
        json_object_set_new(hello, "m", json_string("hello"));
        json_object_set_new(hello, "protocol", json_integer(1));
        json_object_set_new(hello, "slots", json_integer(a->settings.slots));
        json_object_set_new(hello, "instance", json_string(a->settings.instance));
        json_object_set_new(hello, "running", running);
        if (a->worker[0])
                json_object_set_new(hello, "worker", json_string(a->worker));
        l->state = AGENT_GREETING;
        l->at = now + a->settings.hello_ms;
        l->credit = 0;
        l->draining = false;
        if (agent_send(a, now, server, hello) < 0)
                give_up(a, now, server, "can't send a greeting");
}

uint32_t agent_free_slots(const struct agent *a)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < a->settings.slots; i++)
                n += a->tasks[i].state == AGENT_FREE;
        return a->draining || a->kept_count >= AGENT_KEPT ? 0 : n;
}

void agent_offer(struct agent *a, uint64_t now)
{
        uint32_t n = agent_free_slots(a);

        for (uint32_t i = 0; i < AGENT_SERVERS; i++) {
                struct agent_link *l = &a->links[i];

                if (l->state != AGENT_READY || l->credit >= n)
                        continue;
                if (agent_send(a, now, i, json_pack("{s:s, s:I}", "m", "ready", "slots", (json_int_t)(n - l->credit))) >= 0)
                        l->credit = n;
        }
}

static bool lists(const json_t *list, const char *task)
{
        const json_t *v;
        size_t i;

        json_array_foreach (list, i, v)
                if (json_is_string(v) && !strcmp(json_string_value(v), task))
                        return true;
        return false;
}

/* Of what was shown to it, all that this server does not call lost or elsewhere is its own now. What came from another one since is not. */
static void take_over(struct agent *a, uint32_t server, const struct message *m)
{
        for (uint32_t s = 0; m->lost && s < a->settings.slots; s++) {
                struct agent_task *t = &a->tasks[s];

                if (t->state != AGENT_RUNNING || t->server == server || !(t->shown & 1U << server) || lists(m->lost, t->task) || lists(m->elsewhere, t->task))
                        continue;
                agent_say(a, LOG_INFO_N, "%s: looked after by %s now", t->task, a->links[server].url);
                t->server = server;
        }
        for (struct agent_kept *k = a->kept; m->lost && k; k = k->next)
                if (k->server != server && k->shown & 1U << server && !lists(m->lost, k->task) && !lists(m->elsewhere, k->task)) {
                        k->server = server;
                        k->sent = false;
                }
}

static void send_change(struct agent *a, uint64_t now, uint32_t server)
{
        struct agent_link *l = &a->links[server];

        if (l->change && agent_send(a, now, server, json_incref(l->change)) >= 0)
                json_decref(take(l->change));
}

static void welcomed(struct agent *a, uint64_t now, uint32_t server, const struct message *m)
{
        struct agent_link *l = &a->links[server];
        const json_t *v;
        size_t i;

        for (uint32_t other = 0; m->server[0] && other < AGENT_SERVERS; other++) {
                if (other == server || a->links[other].state != AGENT_READY || strcmp(a->links[other].server, m->server) != 0)
                        continue;
                /* Two addresses of one server: two connections of one worker would only throw each other out. */
                l->backoff_ms = BACKOFF_LAST_MS;
                give_up(a, now, server, "the same server is connected under another address");
                l->at = now + BACKOFF_LAST_MS;
                return;
        }
        if (strcmp(a->worker, m->worker) != 0) {
                snprintf(a->worker, sizeof a->worker, "%s", m->worker);
                a->ops->named(a->context, a->worker);
        }
        snprintf(l->server, sizeof l->server, "%s", m->server);
        l->state = AGENT_READY;
        l->at = UINT64_MAX;
        l->backoff_ms = BACKOFF_FIRST_MS;
        l->lease_ms = m->lease_ms;
        l->heartbeat_ms = m->heartbeat_ms;
        l->payload_bytes = m->payload_bytes;
        l->node_ms = m->node_ms;
        l->node_at = now;
        l->node_due = true;
        l->renew_at = now + l->lease_ms / 3;
        l->beat_at = now + l->heartbeat_ms;
        agent_say(a, LOG_INFO_N, "%s: joined as %s", l->url, a->worker);
        json_array_foreach (m->lost, i, v) {
                const char *id = json_string_value(v);

                for (uint32_t s = 0; id && s < a->settings.slots; s++)
                        if (a->tasks[s].state == AGENT_RUNNING && a->tasks[s].server == server && !strcmp(a->tasks[s].task, id)) {
                                a->counters.stale++;
                                agent_stop(a, now, &a->tasks[s], "the pool gave it to another worker");
                        }
        }
        take_over(a, server, m);
        for (i = 0; i < m->server_count; i++)
                if ((!a->settings.secure || !strncmp(m->servers[i], "wss://", 6)) && agent_add(a, now, m->servers[i], true) == 0)
                        agent_say(a, LOG_INFO_N, "%s tells of %s", l->url, m->servers[i]);
        if (a->ops->tunnel && m->tunnel[0]) {
                char credential[ID_TEXT + MESSAGE_TUNNEL + 1];

                snprintf(credential, sizeof credential, "%s:%s", a->worker, m->tunnel);
                a->ops->tunnel(a->context, server, l->url, credential);
        }
        send_change(a, now, server);
        agent_flush(a, now, server);
        agent_offer(a, now);
}

static void about_lease(struct agent *a, uint64_t now, uint32_t server, const struct message *m)
{
        struct agent_task *t = agent_find(a, server, m->task, m->nonce);

        if (m->kind == MESSAGE_ACK) {
                agent_forget(a, server, m->task, m->nonce);
        } else if (m->kind == MESSAGE_STALE) {
                a->counters.stale++;
                agent_forget(a, server, m->task, m->nonce);
                if (t)
                        agent_stop(a, now, t, "the pool gave it to another worker");
        } else if (t) {
                a->counters.cancelled++;
                agent_stop(a, now, t, m->text[0] ? m->text : "cancelled");
        }
}

int agent_received(struct agent *a, uint64_t now, uint32_t server, const char *text, size_t bytes)
{
        scoped_message struct message m = {0};
        struct agent_link *l = &a->links[server];
        char why[MESSAGE_WHY];
        int r = message_parse(text, bytes, &m, why);

        if (l->state != AGENT_GREETING && l->state != AGENT_READY)
                return 0;
        if (r >= 0 && l->state == AGENT_GREETING && m.kind != MESSAGE_WELCOME && m.kind != MESSAGE_ERROR && m.kind != MESSAGE_TEXT && m.kind != MESSAGE_UNKNOWN) {
                snprintf(why, sizeof why, "something else than a welcome came first");
                r = -E_MESSAGE;
        }
        if (r < 0) {
                char line[MESSAGE_WHY + 32], clean[MESSAGE_WHY];

                a->counters.malformed++;
                text_copy_clean(clean, sizeof clean, why);
                snprintf(line, sizeof line, "malformed message: %s", clean);
                give_up(a, now, server, line);
                return r;
        }
        switch (m.kind) {
        case MESSAGE_WELCOME:
                if (l->state == AGENT_GREETING)
                        welcomed(a, now, server, &m);
                break;
        case MESSAGE_LEASE:
                agent_take(a, now, server, &m);
                break;
        case MESSAGE_ACK:
        case MESSAGE_STALE:
        case MESSAGE_CANCEL:
                about_lease(a, now, server, &m);
                break;
        case MESSAGE_DRAIN:
                if (l->draining != m.on && !a->draining)
                        agent_say(a, LOG_NOTICE_N, "%s: %s", l->url, m.on ? "the pool drains this worker: no new work" : "the pool gives work again");
                l->draining = m.on;
                break;
        case MESSAGE_ENGINE:
        case MESSAGE_UPCOMING_MODELS:
                if (a->ops->engine)
                        a->ops->engine(a->context, server, &m);
                break;
        case MESSAGE_LOOK:
                if (a->ops->look)
                        a->ops->look(a->context, server, (uint32_t)m.span_s);
                break;
        case MESSAGE_TEXT:
                agent_say(a, LOG_NOTICE_N, "%s says: %s", l->url, m.text);
                break;
        case MESSAGE_ERROR:
                agent_say(a, LOG_ERROR_N, "%s refuses: %s%s%s", l->url, m.text, m.code[0] ? ", " : "", m.code);
                break;
        case MESSAGE_UNKNOWN:
                a->counters.unknown++;
                break;
        }
        return 0;
}

void agent_writable(struct agent *a, uint64_t now, uint32_t server)
{
        if (a->links[server].state != AGENT_READY)
                return;
        send_change(a, now, server);
        agent_flush(a, now, server);
        agent_offer(a, now);
}

void agent_changed(struct agent *a, uint64_t now, json_t *members)
{
        json_object_update(a->about, members);
        json_object_set_new(members, "m", json_string("change"));
        for (uint32_t i = 0; i < AGENT_SERVERS; i++) {
                struct agent_link *l = &a->links[i];

                if ((l->state != AGENT_READY && l->state != AGENT_GREETING) ||
                    (l->state == AGENT_READY && !l->change && agent_send(a, now, i, json_incref(members)) >= 0))
                        continue;
                /* Later (its buffer is full, or the welcome is not there yet), and only the latest of each member. */
                if (!l->change)
                        l->change = json_object();
                json_object_update(l->change, members);
        }
        json_decref(members);
}

void agent_load(struct agent *a, json_t *load)
{
        json_decref(a->load);
        a->load = load;
}

uint32_t agent_running(const struct agent *a)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < a->settings.slots; i++)
                n += a->tasks[i].state != AGENT_FREE;
        return n;
}

static uint32_t agent_requests(const struct agent *a)
{
        return a->ops->requests ? a->ops->requests(a->context) : 0;
}

uint32_t agent_connected(const struct agent *a)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < AGENT_SERVERS; i++)
                n += a->links[i].state == AGENT_READY || a->links[i].state == AGENT_GREETING;
        return n;
}

void agent_drain(struct agent *a, uint64_t now)
{
        if (a->draining && !a->at_once) {
                a->at_once = true;
                a->drain_until = now;
                agent_say(a, LOG_NOTICE_N, "ending at once");
        } else if (!a->draining) {
                a->draining = true;
                a->drain_until = now + a->settings.drain_ms;
                a->drain_heard_by = now + DRAIN_HEARD_MS;
                agent_say(a, LOG_NOTICE_N, "draining: %u task%s and %u request%s left, at most %llu s", agent_running(a), agent_running(a) == 1 ? "" : "s", agent_requests(a), agent_requests(a) == 1 ? "" : "s",
                          (unsigned long long)(a->settings.drain_ms / 1000));
                for (uint32_t i = 0; i < AGENT_SERVERS; i++)
                        if (a->links[i].state == AGENT_READY)
                                (void)agent_send(a, now, i, json_pack("{s:s, s:b}", "m", "drain", "on", 1));
        }
}

static void renew(struct agent *a, uint64_t now, uint32_t server)
{
        json_t *leases = json_array();

        for (uint32_t i = 0; i < a->settings.slots; i++) {
                const struct agent_task *t = &a->tasks[i];
                char number[24];

                if (t->state != AGENT_RUNNING || t->server != server)
                        continue;
                snprintf(number, sizeof number, "%llu", (unsigned long long)t->nonce);
                json_array_append_new(leases, json_pack("{s:s, s:s}", "task", t->task, "nonce", number));
        }
        if (json_array_size(leases))
                (void)agent_send(a, now, server, json_pack("{s:s, s:O}", "m", "renew", "leases", leases));
        json_decref(leases);
}

static uint64_t link_tick(struct agent *a, uint64_t now, uint32_t server)
{
        struct agent_link *l = &a->links[server];
        uint64_t due;

        if (l->state == AGENT_WAITING && now >= l->at && !a->bye_until) {
                l->state = AGENT_CONNECTING;
                l->at = now + CONNECT_MS;
                a->ops->connect(a->context, server, l->url);
        } else if ((l->state == AGENT_CONNECTING || l->state == AGENT_GREETING) && now >= l->at) {
                give_up(a, now, server, "no answer");
        }
        if (l->state == AGENT_READY) {
                if (now >= l->renew_at) {
                        renew(a, now, server);
                        l->renew_at = now + l->lease_ms / 3;
                }
                if (now >= l->beat_at) {
                        json_t *beat = a->load ? json_copy(a->load) : json_object();

                        json_object_set_new(beat, "m", json_string("heartbeat"));
                        (void)agent_send(a, now, server, beat);
                        l->beat_at = now + l->heartbeat_ms;
                }
                due = agent_node_tick(a, now, server);
                due = l->renew_at < due ? l->renew_at : due;
                return l->beat_at < due ? l->beat_at : due;
        }
        return l->state == AGENT_UNUSED || (l->state == AGENT_WAITING && a->bye_until) ? UINT64_MAX : l->at;
}

static bool all_heard(const struct agent *a)
{
        for (uint32_t i = 0; i < AGENT_SERVERS; i++)
                if (a->links[i].state == AGENT_READY && !a->links[i].draining)
                        return false;
        return true;
}

/* All is done, or the bound is over: what still runs is ended, results get their time to be acknowledged, then everybody hears bye. */
static uint64_t drain_tick(struct agent *a, uint64_t now)
{
        uint64_t heard_by = a->drain_heard_by < a->drain_until ? a->drain_heard_by : a->drain_until;

        if (a->ops->requests && now < heard_by && !all_heard(a))
                return heard_by;
        if (agent_requests(a) && now < a->drain_until)
                return a->drain_until;
        if (agent_running(a)) {
                if (now < a->drain_until)
                        return a->drain_until;
                for (uint32_t i = 0; i < a->settings.slots; i++)
                        if (a->tasks[i].state == AGENT_RUNNING)
                                agent_stop(a, now, &a->tasks[i], "the worker ends");
                if (agent_running(a))
                        return UINT64_MAX;
        }
        if (!a->bye_until)
                a->bye_until = now + (a->at_once ? 0 : a->settings.bye_ms);
        if (a->kept && now < a->bye_until)
                return a->bye_until;
        if (a->kept)
                agent_say(a, LOG_WARNING_N, "%u results were not acknowledged; their tasks run elsewhere", a->kept_count);
        for (uint32_t i = 0; i < AGENT_SERVERS; i++)
                if (a->links[i].state == AGENT_READY)
                        (void)agent_send(a, now, i, json_pack("{s:s}", "m", "bye"));
        a->ended = true;
        return UINT64_MAX;
}

uint64_t agent_tick(struct agent *a, uint64_t now)
{
        uint64_t next = UINT64_MAX, due;

        if (a->ended)
                return next;
        for (uint32_t i = 0; i < AGENT_SERVERS; i++) {
                due = link_tick(a, now, i);
                next = due < next ? due : next;
        }
        due = agent_task_tick(a, now);
        next = due < next ? due : next;
        due = a->draining ? drain_tick(a, now) : UINT64_MAX;
        return due < next ? due : next;
}
