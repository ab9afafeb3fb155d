/* backup.c: changes of accounts committed, the audit log read, and a copy of the store made while everything goes on. */
#include "base/error.h"
#include "base/log.h"
#include "service/internal.h"

#include <stdio.h>

#define LOG_ROOM "service"

void service_commit(struct service *s, const struct account_changes *changes, service_done_fn done, void *context)
{
        int r = 0;

        service_time(s);
        for (size_t i = 0; i < changes->count && !r; i++)
                r = pending_put(s, &changes->changes[i]);
        if (r < 0)
                answer_error(s, done, context, r);
        else
                answer_when_durable(s, done, context, 200, NULL, 0, NULL);
}

/* The audit log. */
struct audit_job {
        struct job job;
        struct id account; /* all zero: of everybody */
        struct id after;
        size_t limit, count;
        bool more;
        struct id last;
        struct strbuf text;
        service_done_fn done;
        void *context;
};

static int audit_row(void *context, const struct store_row *row)
{
        struct audit_job *a = context;
        struct strbuf *b = &a->text;

        if (a->count == a->limit) {
                a->more = true;
                return 1;
        }
        put_text(b, a->count++ ? ",{\"id\":" : "{\"id\":");
        put_id(b, "audit", &row->id);
        put_literal(b, ",\"object\":\"audit\",\"time\":");
        put_time(b, (int64_t)id_unix_ms(&row->id));
        put_literal(b, ",\"account\":");
        put_id(b, "account", &row->account);
        put_literal(b, ",\"data\":");
        strbuf_put(b, row->spec ? row->spec : "null", row->spec ? row->spec_bytes : 4);
        put_literal(b, "}");
        a->last = row->id;
        return b->failed ? -ENOMEM : 0;
}

static void audit_run(struct job *job, struct store *store)
{
        struct audit_job *a = (struct audit_job *)job;
        int r = -E_UNAVAILABLE;

        if (store)
                r = store_list(store, &(struct store_query){.table = STORE_AUDIT, .kind = -1, .after = a->after, .newest_first = true, .account = id_is_none(&a->account) ? NULL : &a->account}, audit_row, a);
        job->error = r > 0 ? 0 : r;
}

static void audit_finish(struct service *s, struct job *job)
{
        struct audit_job *a = (struct audit_job *)job;
        struct strbuf b = {0};
        char text[ID_TEXT];

        put_literal(&b, "{\"object\":\"list\",\"data\":[");
        if (a->text.length)
                strbuf_put(&b, a->text.text, a->text.length);
        strbuf_add(&b, "],\"has_more\":%s", a->more ? "true" : "false");
        if (a->more)
                strbuf_add(&b, ",\"next\":\"%s\"", id_text("audit", &a->last, text));
        put_literal(&b, "}");
        if (job->error < 0 || b.failed)
                answer_error(s, a->done, a->context, job->error < 0 ? job->error : -ENOMEM);
        else
                a->done(a->context, &(struct service_answer){.status = 200, .text = b.text, .bytes = b.length});
        strbuf_done(&b);
        strbuf_done(&a->text);
        free(a);
}

void service_audit(struct service *s, const struct account_caller *caller, const struct service_list *list, service_done_fn done, void *context)
{
        struct audit_job *a;

        service_time(s);
        if (!account_may(caller, RIGHT_AUDIT_READ)) {
                answer_error(s, done, context, -EACCES);
                return;
        }
        a = calloc(1, sizeof(*a));
        if (!a || (*a = (struct audit_job){.job = {.run = audit_run, .finish = audit_finish}, .after = list->after, .account = list->account,
                                           .limit = list->limit < 1 ? 1 : list->limit > 1000 ? 1000 : list->limit, .done = done, .context = context},
                   jobs_put(s->reader, &a->job) < 0)) {
                free(a);
                answer_error(s, done, context, -E_QUOTA);
        }
}

/* The copy: by the files' thread, on a store of its own, so that commits and reads go on. */
struct backup_job {
        struct job job;
        struct id account;
        char url[600], path[400], message[STORE_MESSAGE];
        service_done_fn done;
        void *context;
};

static void backup_run(struct job *job, struct store *none)
{
        struct backup_job *b = (struct backup_job *)job;
        struct store *store = NULL;

        job->error = store_open(&(struct store_options){.url = b->url, .read_only = true}, &store, b->message);
        if (!job->error) {
                job->error = store_backup(store, b->path, NULL, NULL, b->message);
                store_close(store);
        }
}

static void backup_finish(struct service *s, struct job *job)
{
        struct backup_job *b = (struct backup_job *)job;
        struct strbuf text = {0};

        s->backups--;
        if (job->error) {
                answer_problem(s, b->done, b->context, job->error == -EEXIST ? 409 : job->error == -ENOSPC ? 507 : 500, "backup.failed",
                               b->message[0] ? b->message : error_text(job->error), NULL);
        } else {
                put_literal(&text, "{\"object\":\"backup\",\"path\":");
                put_string(&text, b->path, strlen(b->path));
                put_literal(&text, "}");
                event_tell(s, &b->account, NULL, "pool.backup", text.text ? text.text : "{}", text.text ? text.length : 2);
                answer_text(s, b->done, b->context, 201, take(text.text), text.length, 0);
        }
        strbuf_done(&text);
        free(b);
}

void service_backup(struct service *s, const struct account_caller *caller, const char *path, service_done_fn done, void *context)
{
        struct backup_job *b;

        service_time(s);
        if (!account_may(caller, RIGHT_BACKUP)) {
                answer_error(s, done, context, -EACCES);
                return;
        }
        if (path[0] != '/' || strlen(path) >= sizeof(b->path)) {
                answer_problem(s, done, context, 422, "backup.path", "an absolute path on the server's machine is wanted, of a file that does not exist yet", NULL);
                return;
        }
        if (s->backups) {
                answer_problem(s, done, context, 409, "backup.busy", "a backup is being made", NULL);
                return;
        }
        b = calloc(1, sizeof(*b));
        if (b) {
                *b = (struct backup_job){.job = {.run = backup_run, .finish = backup_finish}, .account = caller->account, .done = done, .context = context};
                snprintf(b->url, sizeof(b->url), "%s", s->url);
                snprintf(b->path, sizeof(b->path), "%s", path);
        }
        if (!b || jobs_put(s->files, &b->job) < 0) {
                free(b);
                answer_error(s, done, context, -ENOMEM);
                return;
        }
        s->backups++;
}
