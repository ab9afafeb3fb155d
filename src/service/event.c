/* event.c: the event log: a ring of bytes with numbered texts in it. The oldest go when room is needed; a subscriber is a number, so that any count of idle ones
 * costs nothing, and one that fell behind learns it from the numbers. */
#include "service/internal.h"

#include <stdio.h>

#define LOOKED_AT 512
#define ALIGN 16u

struct entry {
        uint64_t number;
        struct id account, task;
        uint32_t bytes, type_bytes;
        bool worker;   /* of a worker: also for those who may see workers */
        char text[]; /* type, '\0', JSON, '\0' */
};

static uint64_t entry_size(const struct entry *e)
{
        return (sizeof(*e) + e->type_bytes + e->bytes + 2 + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
}

int events_open(struct service *s)
{
        struct event_log *log = &s->events;
        uint64_t wanted = s->options.event_bytes ? s->options.event_bytes : 32u << 20;

        for (log->size = 64u << 10; log->size < wanted;)
                log->size *= 2;
        for (log->slots = 256; log->slots < log->size / 128;)
                log->slots *= 2;
        log->bytes = malloc(log->size);
        log->offsets = malloc(log->slots * sizeof(*log->offsets));
        if (!log->bytes || !log->offsets)
                return -ENOMEM;
        service_random(s, &log->epoch, sizeof(log->epoch));
        log->epoch = (log->epoch >> 12) | 1; /* 52 bits: a number in any language */
        log->first = 1;
        return 0;
}

void events_close(struct service *s)
{
        free(s->events.bytes);
        free(s->events.offsets);
        s->events.bytes = NULL;
        s->events.offsets = NULL;
}

static struct entry *entry_at(const struct event_log *log, uint64_t number)
{
        return (struct entry *)(void *)(log->bytes + (log->offsets[number & (log->slots - 1)] & (log->size - 1)));
}

/* A whole event in one piece; what doesn't fit before the ring's end goes to its beginning. */
static struct entry *make_room(struct event_log *log, uint64_t bytes)
{
        uint64_t at = log->head, left = log->size - (at & (log->size - 1));

        if (bytes > log->size / 4)
                return NULL;
        if (left < bytes)
                at += left;
        while (log->first <= log->last && (log->last - log->first + 1 >= log->slots || at + bytes - log->offsets[log->first & (log->slots - 1)] > log->size))
                log->first++;
        log->last++;
        log->offsets[log->last & (log->slots - 1)] = at;
        log->head = at + bytes;
        return (struct entry *)(void *)(log->bytes + (at & (log->size - 1)));
}

void event_tell(struct service *s, const struct id *account, const struct id *task, const char *type, const char *data, size_t bytes)
{
        struct event_log *log = &s->events;
        struct strbuf *b = &s->line;
        struct entry head = {.number = log->last + 1, .type_bytes = (uint32_t)strlen(type), .worker = !strncmp(type, "worker.", 7)}, *e;

        strbuf_clear(b);
        put_literal(b, "{\"id\":\"");
        put_u64(b, log->epoch);
        put_literal(b, "-");
        put_u64(b, head.number);
        put_literal(b, "\",\"type\":");
        put_string(b, type, head.type_bytes);
        put_literal(b, ",\"time\":");
        put_time(b, s->unix_ms);
        if (account && !id_is_none(account)) {
                put_literal(b, ",\"account\":");
                put_id(b, "account", account);
                head.account = *account;
        }
        if (task && !id_is_none(task)) {
                put_literal(b, ",\"task\":");
                put_id(b, "task", task);
                head.task = *task;
        }
        put_literal(b, ",\"data\":");
        strbuf_put(b, data, bytes);
        put_literal(b, "}");
        head.bytes = (uint32_t)b->length;
        e = b->failed ? NULL : make_room(log, entry_size(&head));
        if (!e) {
                log->dropped++;
                return;
        }
        *e = head;
        memcpy(e->text, type, head.type_bytes + 1);
        memcpy(e->text + head.type_bytes + 1, b->text, b->length + 1);
        log->told = true;
}

void event_task_state(struct service *s, const struct task *task, const struct task_status *status)
{
        struct strbuf *b = &s->scratch;

        strbuf_clear(b);
        put_literal(b, "{\"state\":\"");
        put_text(b, task_state_name(status->state));
        put_literal(b, "\",\"reason\":\"");
        put_text(b, task_reason_name(status->reason));
        put_literal(b, "\",\"attempt\":");
        put_u64(b, status->attempt);
        if (!id_is_none(&status->worker)) {
                put_literal(b, ",\"worker\":");
                put_id(b, "worker", &status->worker);
        }
        put_literal(b, ",");
        strbuf_put(b, task->head, task->brief_bytes);
        put_literal(b, "}");
        event_tell(s, &task->account, &task->id, "task.state", b->text, b->length);
}

uint64_t service_event_epoch(const struct service *s)
{
        return s->events.epoch;
}

uint64_t service_event_last(const struct service *s)
{
        return s->events.last;
}

void service_events_listen(struct service *s, void (*told)(void *context), void *context)
{
        s->events.listener = told;
        s->events.context = context;
}

int service_event_next(struct service *s, const struct account_caller *caller, const struct id *task, uint64_t *cursor, struct service_event *ret_event)
{
        struct event_log *log = &s->events;
        bool all = account_may(caller, RIGHT_TASK_READ_ALL), workers = account_may(caller, RIGHT_WORKER_READ), any = !task || id_is_none(task);

        if (*cursor > log->last || *cursor + 1 < log->first) {
                *cursor = log->last;
                return -ERANGE;
        }
        for (unsigned int looked = 0; *cursor < log->last && looked < LOOKED_AT; looked++) {
                const struct entry *e = entry_at(log, ++*cursor);

                if (!(e->worker ? workers : all) && !id_is_none(&e->account) && !id_equal(&e->account, &caller->account))
                        continue;
                if (!any && !id_equal(&e->task, task))
                        continue;
                *ret_event = (struct service_event){.number = e->number, .account = e->account, .task = e->task, .type = e->text,
                                                    .json = e->text + e->type_bytes + 1, .bytes = e->bytes};
                return 0;
        }
        return -EAGAIN;
}
