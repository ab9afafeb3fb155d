/* usage.c: tokens by day, account and model: added up in memory, stored as one row each of this start, so that nothing must be read back to go on counting. A page adds the rows of all starts up.
 *
 * What changed goes with the next commit that happens anyway, and within STORE_WITHIN_MS by one of its own: a crash takes away less than that. */
#include "base/error.h"
#include "service/internal.h"

#include <stdio.h>
#include <time.h>

#define STORE_WITHIN_MS 1000
#define STORE_APART_MS 100      /* with others' commits no more often: they may be a thousand a second */
#define ROWS 65536              /* in memory: accounts × models of a day */
#define SHOWN 10000
#define KEPT_DAYS 400
#define DAY_MS (INT64_C(24) * 3600 * 1000)

struct usage_key {
        struct id account;
        int64_t day;
        char model[GENERATE_MODEL];
};

struct usage_row {
        UT_hash_handle hh;
        struct usage_key key;
        struct id id;
        struct service_usage usage;
        bool changed;
};

void service_usage_add(struct service *s, const struct id *account, const char *model, const struct service_usage *u)
{
        struct usage_key key = {.account = *account, .day = s->unix_ms / DAY_MS};
        struct usage_row *row;

        snprintf(key.model, sizeof(key.model), "%s", model);
        HASH_FIND(hh, s->usage, &key, sizeof(key), row);
        if (!row) {
                if (HASH_COUNT(s->usage) >= ROWS)
                        return;
                row = calloc(1, sizeof(*row));
                if (!row)
                        return;
                row->key = key;
                row->id = service_new_id(s);
                HASH_ADD(hh, s->usage, key, sizeof(row->key), row);
        }
        row->usage.requests += u->requests;
        row->usage.prompt_tokens += u->prompt_tokens;
        row->usage.completion_tokens += u->completion_tokens;
        row->usage.cancelled += u->cancelled;
        row->usage.failed += u->failed;
        row->usage.cached += u->cached;
        row->usage.estimated += u->estimated;
        row->changed = true;
        s->usage_counted += u->requests;
        if (s->usage_due_ms == GENERATE_NEVER) {
                s->usage_due_ms = s->now_ms + STORE_WITHIN_MS;
                service_want_turn(s);
        }
}

uint64_t usage_unsettled(const struct service *s)
{
        return s->usage_counted + (s->durable < s->usage_batch ? s->usage_stored : 0);
}

static void put_usage(struct strbuf *b, const struct service_usage *u)
{
        strbuf_add(b, "\"requests\":%llu,\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"cancelled\":%llu,\"failed\":%llu,\"cached\":%llu,\"estimated\":%llu",
                   (unsigned long long)u->requests, (unsigned long long)u->prompt_tokens, (unsigned long long)u->completion_tokens, (unsigned long long)u->cancelled,
                   (unsigned long long)u->failed, (unsigned long long)u->cached, (unsigned long long)u->estimated);
}

static bool store_row(struct service *s, struct usage_row *row)
{
        struct strbuf spec = {0}, status = {0};
        bool good;

        strbuf_add(&spec, "{\"day\":%lld,\"model\":", (long long)row->key.day);
        put_string(&spec, row->key.model, strlen(row->key.model));
        put_literal(&spec, "}");
        put_literal(&status, "{");
        put_usage(&status, &row->usage);
        put_literal(&status, "}");
        good = !spec.failed && !status.failed &&
               pending_put(s, &(struct store_change){.kind = STORE_PUT,
                                                     .row = {.table = STORE_USAGE, .id = row->id, .account = row->key.account,
                                                             .until_ms = (row->key.day + KEPT_DAYS) * DAY_MS, .spec = spec.text, .spec_bytes = spec.length,
                                                             .status = status.text, .status_bytes = status.length}}) == 0;
        strbuf_done(&spec);
        strbuf_done(&status);
        return good;
}

void usage_turn(struct service *s, bool all)
{
        struct usage_row *row, *next;

        if (s->usage_due_ms == GENERATE_NEVER)
                return;
        if (!all && s->now_ms < s->usage_due_ms && (!s->pending_count || s->now_ms + STORE_WITHIN_MS - STORE_APART_MS < s->usage_due_ms))
                return;
        s->usage_stored = s->usage_counted + (s->durable < s->usage_batch ? s->usage_stored : 0);
        s->usage_counted = 0;
        s->usage_batch = s->batch;
        s->usage_due_ms = GENERATE_NEVER;
        HASH_ITER(hh, s->usage, row, next)
        {
                if (row->changed && store_row(s, row))
                        row->changed = false;
                if (row->changed)
                        s->usage_due_ms = s->now_ms + STORE_WITHIN_MS;
                /* A day that is over is in the store. */
                if (!row->changed && row->key.day < s->unix_ms / DAY_MS && !all) {
                        HASH_DEL(s->usage, row);
                        free(row);
                }
        }
}

void usage_free(struct service *s)
{
        struct usage_row *row, *next;

        HASH_ITER(hh, s->usage, row, next)
        {
                HASH_DEL(s->usage, row);
                free(row);
        }
}

/* ---- read ---- */

struct usage_job {
        struct job job;
        struct usage_row *rows;      /* by key, of the store */
        struct id account;           /* all zero: all */
        struct usage_row *own;       /* ids of this start's rows: memory knows better */
        service_done_fn done;
        void *context;
};

static struct usage_row *row_of(struct usage_row **rows, const struct usage_key *key)
{
        struct usage_row *row;

        HASH_FIND(hh, *rows, key, sizeof(*key), row);
        if (!row && HASH_COUNT(*rows) < SHOWN && (row = calloc(1, sizeof(*row)))) {
                row->key = *key;
                HASH_ADD(hh, *rows, key, sizeof(row->key), row);
        }
        return row;
}

static void add(struct service_usage *to, const struct service_usage *u)
{
        to->requests += u->requests;
        to->prompt_tokens += u->prompt_tokens;
        to->completion_tokens += u->completion_tokens;
        to->cancelled += u->cancelled;
        to->failed += u->failed;
        to->cached += u->cached;
        to->estimated += u->estimated;
}

static uint64_t number(const json_t *object, const char *name)
{
        return (uint64_t)json_integer_value(json_object_get(object, name));
}

static int one_row(void *context, const struct store_row *row)
{
        struct usage_job *j = context;
        json_t *spec, *status;
        struct usage_key key = {.account = row->account};
        struct usage_row *sum = NULL, *own;

        spec = row->spec ? json_loadb(row->spec, row->spec_bytes, 0, NULL) : NULL;
        status = row->status ? json_loadb(row->status, row->status_bytes, 0, NULL) : NULL;
        key.day = (int64_t)number(spec, "day");
        snprintf(key.model, sizeof(key.model), "%s", json_is_string(json_object_get(spec, "model")) ? json_string_value(json_object_get(spec, "model")) : "");
        HASH_FIND(hh, j->own, &key, sizeof(key), own);
        if (spec && status && !(own && id_equal(&own->id, &row->id)))
                sum = row_of(&j->rows, &key);
        if (sum)
                add(&sum->usage, &(struct service_usage){number(status, "requests"), number(status, "prompt_tokens"), number(status, "completion_tokens"),
                                                         number(status, "cancelled"), number(status, "failed"), number(status, "cached"), number(status, "estimated")});
        json_decref(spec);
        json_decref(status);
        return 0;
}

static void run(struct job *job, struct store *store)
{
        struct usage_job *j = (struct usage_job *)job;

        job->error = store ? store_list(store, &(struct store_query){.table = STORE_USAGE, .kind = -1, .account = id_is_none(&j->account) ? NULL : &j->account}, one_row, j) : -E_UNAVAILABLE;
}

static int latest_first(struct usage_row *a, struct usage_row *b)
{
        return a->key.day != b->key.day ? (a->key.day < b->key.day ? 1 : -1) : memcmp(&a->key.account, &b->key.account, sizeof(struct id)) ?: strcmp(a->key.model, b->key.model);
}

static void free_rows(struct usage_row *rows)
{
        struct usage_row *row, *next;

        HASH_ITER(hh, rows, row, next)
        {
                HASH_DEL(rows, row);
                free(row);
        }
}

static void finish(struct service *s, struct job *job)
{
        struct usage_job *j = (struct usage_job *)job;
        struct usage_row *row, *next;
        struct strbuf b = {0};

        HASH_ITER(hh, s->usage, row, next)
        {
                struct usage_row *sum = id_is_none(&j->account) || id_equal(&j->account, &row->key.account) ? row_of(&j->rows, &row->key) : NULL;

                if (sum)
                        add(&sum->usage, &row->usage);
        }
        HASH_SORT(j->rows, latest_first);
        put_literal(&b, "{\"object\":\"list\",\"data\":[");
        HASH_ITER(hh, j->rows, row, next)
        {
                time_t at = (time_t)(row->key.day * (DAY_MS / 1000));
                char day[16];
                struct tm t;

                gmtime_r(&at, &t);
                strftime(day, sizeof(day), "%Y-%m-%d", &t);
                strbuf_add(&b, "%s{\"day\":\"%s\",\"account\":", b.text[b.length - 1] == '}' ? "," : "", day);
                put_id(&b, "account", &row->key.account);
                put_literal(&b, ",\"model\":");
                put_string(&b, row->key.model, strlen(row->key.model));
                put_literal(&b, ",");
                put_usage(&b, &row->usage);
                put_literal(&b, "}");
        }
        strbuf_add(&b, "],\"has_more\":%s}", HASH_COUNT(j->rows) >= SHOWN ? "true" : "false");
        if (job->error < 0 || b.failed)
                answer_error(s, j->done, j->context, job->error < 0 ? job->error : -ENOMEM);
        else
                j->done(j->context, &(struct service_answer){.status = 200, .text = b.text, .bytes = b.length});
        strbuf_done(&b);
        free_rows(j->rows);
        free_rows(j->own);
        free(j);
}

void service_usage(struct service *s, const struct account_caller *caller, const struct service_list *list, service_done_fn done, void *context)
{
        struct usage_job *j;
        struct usage_row *row, *next;
        bool all = account_may(caller, RIGHT_ACCOUNT_READ);

        service_time(s);
        if (!all && !id_is_none(&list->account) && !id_equal(&list->account, &caller->account)) {
                answer_error(s, done, context, -EACCES);
                return;
        }
        j = calloc(1, sizeof(*j));
        if (!j) {
                answer_error(s, done, context, -ENOMEM);
                return;
        }
        *j = (struct usage_job){.job = {.run = run, .finish = finish}, .account = all ? list->account : caller->account, .done = done, .context = context};
        HASH_ITER(hh, s->usage, row, next)
        {
                struct usage_row *own = calloc(1, sizeof(*own));

                if (!own)
                        continue;
                own->id = row->id;
                own->key = row->key;
                HASH_ADD(hh, j->own, key, sizeof(own->key), own);
        }
        if (jobs_put(s->reader, &j->job) < 0) {
                free_rows(j->own);
                free(j);
                answer_error(s, done, context, -E_QUOTA);
        }
}
