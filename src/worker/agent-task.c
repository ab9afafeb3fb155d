/* agent-task.c: the agent's tasks: taken or declined, their words passed on in order, their results kept until acknowledged; see agent.h. */
#include "worker/agent-internal.h"

#include "base/error.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

#define STOP_MS 10000 /* a runner that was told to stop gets so long */
#define LOG_PART 32768

void agent_task_done(struct agent_task *t)
{
        json_decref(t->progress);
        strbuf_done(&t->log);
        *t = (struct agent_task){0};
}

struct agent_task *agent_find(struct agent *a, uint32_t server, const char *task, uint64_t nonce)
{
        for (uint32_t i = 0; i < a->settings.slots; i++) {
                struct agent_task *t = &a->tasks[i];

                if (t->state == AGENT_RUNNING && t->server == server && t->nonce == nonce && !strcmp(t->task, task))
                        return t;
        }
        return NULL;
}

static bool known_type(const struct agent *a, const char *type)
{
        const json_t *v;
        size_t i;

        json_array_foreach (json_object_get(a->about, "types"), i, v)
                if (json_is_string(v) && !strcmp(json_string_value(v), type))
                        return true;
        return false;
}

static void decline(struct agent *a, uint64_t now, uint32_t server, const struct message *m, const char *why)
{
        json_t *o = agent_about("decline", m->task, m->nonce);

        a->counters.declined++;
        json_object_set_new(o, "reason", json_string(why));
        (void)agent_send(a, now, server, o);
}

/* The text of a failure that is ours. */
static json_t *failure(const char *code, const char *text, bool retryable, bool blame_task)
{
        return json_pack("{s:s, s:{s:s, s:s}, s:b, s:s}", "m", "fail", "error", "code", code, "text", text, "retryable", (int)retryable, "blame",
                         blame_task ? "task" : "worker");
}

/* Kept until that server says that it knows. Ids stand in the object already. */
static void keep(struct agent *a, uint64_t now, uint32_t server, const char *task, uint64_t nonce, json_t *o)
{
        char *text scoped_free = json_dumps(o, JSON_COMPACT);
        size_t bytes = text ? strlen(text) : 0;
        struct agent_kept *k = text && bytes <= MESSAGE_BYTES ? malloc(sizeof *k + bytes + 1) : NULL;

        json_decref(o);
        if (!k) {
                agent_say(a, LOG_ERROR_N, "%s: its result can't be kept (%zu bytes)", task, bytes);
                return;
        }
        *k = (struct agent_kept){.server = server, .nonce = nonce, .bytes = bytes};
        snprintf(k->task, sizeof k->task, "%s", task);
        memcpy(k->text, text, bytes + 1);
        *a->kept_end = k;
        a->kept_end = &k->next;
        a->kept_count++;
        agent_flush(a, now, server);
}

void agent_forget(struct agent *a, uint32_t server, const char *task, uint64_t nonce)
{
        for (struct agent_kept **at = &a->kept; *at; at = &(*at)->next) {
                struct agent_kept *k = *at;

                if (k->server != server || k->nonce != nonce || strcmp(k->task, task) != 0)
                        continue;
                *at = k->next;
                if (a->kept_end == &k->next)
                        a->kept_end = at;
                a->kept_count--;
                free(k);
                return;
        }
}

void agent_take(struct agent *a, uint64_t now, uint32_t server, const struct message *m)
{
        struct agent_link *l = &a->links[server];
        char why[MESSAGE_WHY] = "", clean[MESSAGE_WHY];
        uint32_t slot = 0;
        json_t *o;

        if (l->credit)
                l->credit--;
        a->counters.leases++;
        if (agent_find(a, server, m->task, m->nonce))
                return; /* told twice */
        while (slot < a->settings.slots && a->tasks[slot].state != AGENT_FREE)
                slot++;
        if (a->draining || slot == a->settings.slots || !known_type(a, m->type)) {
                decline(a, now, server, m, a->draining ? "draining" : slot == a->settings.slots ? "busy" : "no such type here");
                agent_offer(a, now);
                return;
        }
        a->tasks[slot] = (struct agent_task){.state = AGENT_RUNNING, .server = server, .nonce = m->nonce, .started = now};
        snprintf(a->tasks[slot].task, sizeof a->tasks[slot].task, "%s", m->task);
        snprintf(a->tasks[slot].type, sizeof a->tasks[slot].type, "%s", m->type);
        if (a->ops->start(a->context, slot, m, why) >= 0) {
                agent_say(a, LOG_INFO_N, "%s: %s, attempt %llu", m->task, m->type, (unsigned long long)m->attempt);
                return;
        }
        agent_task_done(&a->tasks[slot]);
        a->counters.failed++;
        text_copy_clean(clean, sizeof clean, why);
        agent_say(a, LOG_ERROR_N, "%s: can't be started: %s", m->task, clean);
        o = failure("worker.start", clean, true, false);
        json_object_update_new(o, agent_about("fail", m->task, m->nonce));
        keep(a, now, server, m->task, m->nonce, o);
        agent_offer(a, now);
}

void agent_stop(struct agent *a, uint64_t now, struct agent_task *t, const char *why)
{
        agent_say(a, LOG_INFO_N, "%s: stopped: %s", t->task, why);
        t->state = AGENT_STOPPING;
        t->kill_at = now + STOP_MS;
        a->ops->stop(a->context, (uint32_t)(t - a->tasks), false);
}

static void send_log(struct agent *a, uint64_t now, struct agent_task *t)
{
        while (t->log.length) {
                size_t bytes = t->log.length < LOG_PART ? t->log.length : LOG_PART;
                json_t *o;

                /* Never in the middle of a character. */
                while (bytes < t->log.length && bytes > 1 && ((unsigned char)t->log.text[bytes] & 0xc0) == 0x80)
                        bytes--;
                o = agent_about("log", t->task, t->nonce);
                json_object_set_new(o, "offset", json_integer((json_int_t)t->log_offset));
                json_object_set_new(o, "text", json_stringn(t->log.text, bytes));
                if (agent_send(a, now, t->server, o) < 0)
                        return;
                t->log_offset += bytes;
                memmove(t->log.text, t->log.text + bytes, t->log.length - bytes + 1);
                t->log.length -= bytes;
        }
}

static void send_progress(struct agent *a, uint64_t now, struct agent_task *t)
{
        if (!t->progress || now < t->progress_at)
                return;
        if (agent_send(a, now, t->server, json_incref(t->progress)) < 0)
                return;
        json_decref(t->progress);
        t->progress = NULL;
        t->progress_at = now + AGENT_PROGRESS_MS;
}

void agent_flush(struct agent *a, uint64_t now, uint32_t server)
{
        if (a->links[server].state != AGENT_READY)
                return;
        for (uint32_t i = 0; i < a->settings.slots; i++) {
                struct agent_task *t = &a->tasks[i];

                if (t->state == AGENT_RUNNING && t->server == server) {
                        send_log(a, now, t);
                        send_progress(a, now, t);
                }
        }
        for (struct agent_kept *k = a->kept; k; k = k->next) {
                if (k->server != server || k->sent)
                        continue;
                if (a->ops->send(a->context, server, k->text, k->bytes) < 0)
                        return;
                k->sent = true;
        }
}

static void add_log(struct agent *a, struct agent_task *t, const json_t *words)
{
        const json_t *v = json_object_get(words, "text");
        const char *text = json_string_value(v);
        uint64_t offset = (uint64_t)json_integer_value(json_object_get(words, "offset"));
        size_t bytes = text ? json_string_length(v) : 0;

        if (!bytes)
                return;
        /* A gap in what the runner passes on is a gap here, too. */
        if (offset != t->log_offset + t->log.length) {
                strbuf_clear(&t->log);
                t->log_offset = offset;
        }
        if (t->log.length + bytes > AGENT_LOG_BYTES) {
                a->counters.log_cut += t->log.length;
                strbuf_clear(&t->log);
                t->log_offset = offset;
        }
        strbuf_add(&t->log, "%.*s", (int)bytes, text);
        if (t->log.failed)
                strbuf_done(&t->log);
}

void agent_said(struct agent *a, uint64_t now, uint32_t slot, json_t *words)
{
        struct agent_task *t = &a->tasks[slot];
        const char *kind = json_string_value(json_object_get(words, "m"));
        char number[24];
        bool good;

        if (t->state != AGENT_RUNNING || !kind || t->answered)
                return;
        snprintf(number, sizeof number, "%llu", (unsigned long long)t->nonce);
        json_object_set_new(words, "task", json_string(t->task));
        json_object_set_new(words, "nonce", json_string(number));
        good = !strcmp(kind, "result");
        if (!strcmp(kind, "log")) {
                add_log(a, t, words);
                if (a->links[t->server].state == AGENT_READY)
                        send_log(a, now, t);
        } else if (!strcmp(kind, "progress")) {
                json_decref(t->progress);
                t->progress = json_incref(words);
                if (a->links[t->server].state == AGENT_READY)
                        send_progress(a, now, t);
        } else if (!strcmp(kind, "accepted")) {
                if (a->links[t->server].state == AGENT_READY)
                        (void)agent_send(a, now, t->server, json_incref(words));
        } else if (good || !strcmp(kind, "fail")) {
                if (a->links[t->server].state == AGENT_READY) {
                        send_log(a, now, t);
                        t->progress_at = 0;
                        send_progress(a, now, t);
                }
                t->answered = true;
                a->counters.done += good;
                a->counters.failed += !good;
                agent_say(a, LOG_INFO_N, "%s: %s after %llu ms%s%.200s", t->task, good ? "done" : "failed", (unsigned long long)(now - t->started),
                          good ? "" : ": ", good ? "" : json_string_value(json_object_get(json_object_get(words, "error"), "text")) ?: "");
                keep(a, now, t->server, t->task, t->nonce, json_incref(words));
        }
}

void agent_ended(struct agent *a, uint64_t now, uint32_t slot, const char *how)
{
        struct agent_task *t = &a->tasks[slot];
        json_t *o;

        if (t->state == AGENT_RUNNING && !t->answered) {
                o = failure("worker.runner", how, true, false);
                agent_said(a, now, slot, o);
                json_decref(o);
        }
        agent_task_done(t);
        agent_offer(a, now);
}

uint64_t agent_task_tick(struct agent *a, uint64_t now)
{
        uint64_t next = UINT64_MAX;

        for (uint32_t i = 0; i < a->settings.slots; i++) {
                struct agent_task *t = &a->tasks[i];
                uint64_t due = UINT64_MAX;

                if (t->state == AGENT_STOPPING) {
                        if (now >= t->kill_at || a->at_once) {
                                a->ops->stop(a->context, i, true);
                                t->kill_at = UINT64_MAX;
                        }
                        due = t->kill_at;
                } else if (t->state == AGENT_RUNNING && t->progress && a->links[t->server].state == AGENT_READY) {
                        send_progress(a, now, t);
                        due = t->progress ? t->progress_at : UINT64_MAX;
                        if (due <= now)
                                due = now + AGENT_PROGRESS_MS; /* its buffer is full */
                }
                next = due < next ? due : next;
        }
        return next;
}
