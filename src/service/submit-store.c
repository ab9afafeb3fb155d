/* submit-store.c: submissions that need the store first: for an Idempotency-Key that may have come before, or for tasks to wait for that may have ended.
 *
 * An Idempotency-Key's answer is stored in the batch of its tasks, so that there is never one without the other. A repetition that comes while the first is
 * on its way gets its answer with it; one that comes later finds it in the store, for 24 hours.
 */
#include "base/error.h"
#include "service/submit.h"

#include <openssl/evp.h>
#include <stdio.h>

#define KEPT_MS (INT64_C(24) * 3600 * 1000)

struct lookup {
        struct job job;
        struct service *service;
        struct answer_entry *entry;
        bool found, other;
        int64_t unix_ms;
};

void answer_entry_free(struct service *s, struct answer_entry *entry)
{
        if (entry->keyed)
                HASH_DELETE(by_key, s->answers, entry);
        json_decref(entry->body);
        free(entry->text);
        free(entry->ended);
        free(entry);
}

void answers_free(struct service *s)
{
        struct answer_entry *entry, *next;

        HASH_ITER(by_key, s->answers, entry, next)
                answer_entry_free(s, entry);
}

/* The entry's answer is durable: to all who asked. */
void answer_entry_tell(struct service *s, void *context, int error)
{
        struct answer_entry *entry = context;
        struct service_answer answer = {.status = 202, .text = entry->text, .bytes = entry->bytes};

        memcpy(answer.location, entry->location, sizeof(answer.location));
        for (size_t i = 0; i < entry->asker_count; i++)
                if (error)
                        answer_error(s, entry->askers[i].done, entry->askers[i].context, error);
                else
                        entry->askers[i].done(entry->askers[i].context, &answer);
        answer_entry_free(s, entry);
}

static void key_id(const char *text_key, struct id *ret)
{
        uint8_t digest[32];

        EVP_Digest(text_key, strlen(text_key), digest, NULL, EVP_sha256(), NULL);
        memcpy(ret, digest, sizeof(*ret));
}

int answer_entry_put_row(struct service *s, const struct answer_entry *entry)
{
        struct strbuf spec = {0}, status = {0};
        struct id id;
        int r;

        key_id(entry->text_key, &id);
        put_literal(&spec, "{\"fingerprint\":\"");
        for (int i = 0; i < 32; i++)
                strbuf_add(&spec, "%02x", entry->fingerprint[i]);
        put_literal(&spec, "\"}");
        put_literal(&status, "{\"location\":");
        put_string(&status, entry->location, strlen(entry->location));
        put_literal(&status, ",\"answer\":");
        strbuf_put(&status, entry->text, entry->bytes);
        put_literal(&status, "}");
        r = spec.failed || status.failed ? -ENOMEM :
            pending_put(s, &(struct store_change){.kind = STORE_PUT,
                                                  .row = {.table = STORE_ANSWER, .id = id, .account = entry->caller.account, .text_key = entry->text_key,
                                                          .until_ms = s->unix_ms + KEPT_MS, .spec = spec.text, .spec_bytes = spec.length,
                                                          .status = status.text, .status_bytes = status.length}});
        strbuf_done(&spec);
        strbuf_done(&status);
        return r;
}

/* Ids that "after" names and memory does not know: they may have ended. */
static int collect_ended(struct service *s, const json_t *task, struct answer_entry *entry)
{
        const json_t *item;
        struct id id;
        size_t i;

        json_array_foreach(json_object_get(task, "after"), i, item)
                if (json_is_string(item) && !id_parse("task", json_string_value(item), &id) && !task_find(s, &id) && i < AFTER_TASKS) {
                        struct ended *more = realloc(entry->ended, (entry->ended_count + 1) * sizeof(*more));

                        if (!more)
                                return -ENOMEM;
                        entry->ended = more;
                        more[entry->ended_count++] = (struct ended){.id = id};
                }
        return 0;
}

bool submit_names_ended(struct service *s, const json_t *body)
{
        const json_t *list = json_object_get(body, "tasks"), *task;
        size_t n = list ? json_array_size(list) : 1;

        for (size_t i = 0; i < n && i < BATCH_TASKS; i++) {
                struct id id;
                const json_t *item;
                size_t k;

                task = list ? json_array_get(list, i) : body;
                json_array_foreach(json_object_get(task, "after"), k, item)
                        if (json_is_string(item) && !id_parse("task", json_string_value(item), &id) && !task_find(s, &id))
                                return true;
        }
        return false;
}

static int ended_row(void *context, const struct store_row *row)
{
        struct answer_entry *entry = context;

        for (size_t i = 0; i < entry->ended_count; i++)
                if (id_equal(&entry->ended[i].id, &row->id) && id_equal(&row->account, &entry->caller.account) && task_state_ended(row->state)) {
                        entry->ended[i].known = true;
                        entry->ended[i].done = row->state == CORE_DONE;
                }
        return 0;
}

static int answer_row(void *context, const struct store_row *row)
{
        struct lookup *look = context;
        struct answer_entry *entry = look->entry;
        json_t *spec, *status;
        const char *text;
        char hex[65];

        if (row->until_ms && row->until_ms < look->unix_ms)
                return 0;
        spec = row->spec ? json_loadb(row->spec, row->spec_bytes, 0, NULL) : NULL;
        status = row->status ? json_loadb(row->status, row->status_bytes, 0, NULL) : NULL;
        for (int i = 0; i < 32; i++)
                snprintf(hex + 2 * i, 3, "%02x", entry->fingerprint[i]);
        text = json_string_value(json_object_get(spec, "fingerprint"));
        look->found = true;
        look->other = !text || strcmp(text, hex);
        if (!look->other) {
                free(entry->text);
                entry->text = json_dumps(json_object_get(status, "answer"), JSON_COMPACT | JSON_ENCODE_ANY);
                entry->bytes = entry->text ? strlen(entry->text) : 0;
                text = json_string_value(json_object_get(status, "location"));
                snprintf(entry->location, sizeof(entry->location), "%s", text ? text : "");
        }
        json_decref(spec);
        json_decref(status);
        return 0;
}

static void look_up(struct job *job, struct store *store)
{
        struct lookup *look = (struct lookup *)job;
        struct answer_entry *entry = look->entry;
        int r = store ? 0 : -E_UNAVAILABLE;

        if (!r && entry->keyed)
                r = store_list(store, &(struct store_query){.table = STORE_ANSWER, .queues = 0, .kind = -1, .text_key = entry->text_key, .limit = 1}, answer_row, look);
        for (size_t i = 0; !r && !look->found && i < entry->ended_count; i++) {
                r = store_get(store, STORE_TASK, &entry->ended[i].id, ended_row, entry);
                if (r == -ENOENT)
                        r = 0;
        }
        job->error = r;
}

static void looked_up(struct service *s, struct job *job)
{
        struct lookup *look = (struct lookup *)job;
        struct answer_entry *entry = look->entry;
        struct submit u = {.service = s, .caller = &entry->caller, .dry_run = entry->dry_run, .entry = entry};
        int error = service_store_error(s);

        if (job->error < 0)
                submit_failed(&u, job->error);
        else if (look->other)
                submit_problem(&u, 422, "idempotency.other_body", "this Idempotency-Key came with another body before", NULL);
        else if (look->found && entry->text)
                answer_entry_tell(s, entry, 0);
        else if (look->found)
                submit_failed(&u, -EBADMSG);
        else if (error < 0)
                submit_failed(&u, error);
        else
                submit_now(&u, entry->body);
        free(look);
}

static int fingerprint(const json_t *body, bool dry_run, uint8_t digest[32])
{
        char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
        EVP_MD_CTX *md = EVP_MD_CTX_new();
        int r = !text || !md || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1 || EVP_DigestUpdate(md, dry_run ? "?" : "!", 1) != 1 ||
                EVP_DigestUpdate(md, text, strlen(text)) != 1 || EVP_DigestFinal_ex(md, digest, NULL) != 1 ? -ENOMEM : 0;

        EVP_MD_CTX_free(md);
        free(text);
        return r;
}

bool submit_key_valid(const char *key)
{
        size_t n = strlen(key);

        for (size_t i = 0; i < n; i++)
                if (key[i] < 0x21 || key[i] > 0x7e)
                        return false;
        return n > 0 && n <= KEY_BYTES;
}

void submit_through_store(struct submit *u, const json_t *body, const char *key)
{
        struct service *s = u->service;
        struct answer_entry *entry = NULL, *other = NULL;
        struct lookup *look;
        uint8_t digest[32] = {0};
        char account[ID_TEXT], text_key[sizeof(entry->text_key)] = "";
        const json_t *list = json_object_get(body, "tasks");
        int r = 0;

        if (key) {
                if (fingerprint(body, u->dry_run, digest) < 0) {
                        submit_failed(u, -ENOMEM);
                        return;
                }
                snprintf(text_key, sizeof(text_key), "%s:%s", id_text("account", &u->caller->account, account), key);
                HASH_FIND(by_key, s->answers, text_key, strlen(text_key), other);
        }
        if (other && memcmp(other->fingerprint, digest, 32)) {
                submit_problem(u, 422, "idempotency.other_body", "this Idempotency-Key came with another body before", NULL);
                return;
        }
        if (other && other->asker_count == WAITERS) {
                submit_problem(u, 409, "idempotency.under_way", "the first request with this Idempotency-Key is still under way", NULL);
                return;
        }
        if (other) {
                other->askers[other->asker_count++] = u->asker;
                return;
        }
        entry = calloc(1, sizeof(*entry));
        look = calloc(1, sizeof(*look));
        if (!entry || !look) {
                free(entry);
                free(look);
                submit_failed(u, -ENOMEM);
                return;
        }
        entry->keyed = key != NULL;
        entry->dry_run = u->dry_run;
        entry->caller = *u->caller;
        memcpy(entry->text_key, text_key, sizeof(text_key));
        memcpy(entry->fingerprint, digest, 32);
        entry->body = json_incref((json_t *)body);
        entry->askers[entry->asker_count++] = u->asker;
        if (key)
                HASH_ADD(by_key, s->answers, text_key, strlen(entry->text_key), entry);
        for (size_t i = 0; !r && i < (list ? json_array_size(list) : 1) && i < BATCH_TASKS; i++)
                r = collect_ended(s, list ? json_array_get(list, i) : body, entry);
        *look = (struct lookup){.job = {.run = look_up, .finish = looked_up}, .service = s, .entry = entry, .unix_ms = s->unix_ms};
        r = r ? r : jobs_put(s->reader, &look->job);
        if (r < 0) {
                u->entry = entry;
                submit_failed(u, r);
                free(look);
        }
}
