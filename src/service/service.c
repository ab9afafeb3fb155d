/* service.c: opening, closing, and the turn that carries everything on; see internal.h for the way of a change. */
#include "service/service.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "service/internal.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_ROOM "service"
#define CLOSE_PATIENCE_MS 10000
#define OPERATIONS_WAITING 2000000

void service_time(struct service *s)
{
        const struct service_clock *clock = s->options.clock;
        struct timespec t;

        s->now_ns = clock ? clock->monotonic_ns(clock->context) : clock_now_ns();
        s->now_ms = s->now_ns / NS_PER_MS;
        if (clock) {
                s->unix_ms = clock->unix_ms(clock->context);
        } else {
                clock_gettime(CLOCK_REALTIME, &t);
                s->unix_ms = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
        }
}

void service_random(struct service *s, void *bytes, size_t count)
{
        if (s->random_left < count) {
                size_t got = 0;

                while (got < sizeof(s->random)) {
                        ssize_t n = getrandom(s->random + got, sizeof(s->random) - got, 0);

                        if (n < 0 && errno != EINTR)
                                abort(); /* without chance no id and no nonce may be given out */
                        got += n > 0 ? (size_t)n : 0;
                }
                s->random_left = sizeof(s->random);
        }
        s->random_left -= count;
        memcpy(bytes, s->random + s->random_left, count);
}

struct id service_new_id(struct service *s)
{
        uint8_t random[10];

        service_random(s, random, sizeof(random));
        return id_next(&s->last_id, s->unix_ms > 0 ? (uint64_t)s->unix_ms : 1, random);
}

void service_want_turn(struct service *s)
{
        if (s->wake_wanted || s->turning)
                return;
        s->wake_wanted = true;
        if (s->options.wake)
                s->options.wake(s->options.context);
}

uint32_t service_queue_of(const struct id *account)
{
        uint32_t hash = 2166136261u;

        for (size_t i = 0; i < sizeof(account->bytes); i++)
                hash = (hash ^ account->bytes[i]) * 16777619u;
        return (hash ^ hash >> 16) % STORE_QUEUES;
}

struct account_record *service_account_record(struct service *s, const struct id *account)
{
        struct account_record *record;

        HASH_FIND(by_id, s->account_records, account, sizeof(*account), record);
        if (record)
                return record;
        record = calloc(1, sizeof(*record));
        if (!record)
                return NULL;
        record->id = *account;
        HASH_ADD(by_id, s->account_records, id, sizeof(record->id), record);
        return record;
}

static uint32_t cap(uint64_t value)
{
        return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

int service_caller_limits(struct service *s, const struct account_caller *caller, struct account_record **ret_record)
{
        struct account_record *record = service_account_record(s, &caller->account);
        uint32_t weight = caller->weight ? caller->weight : 100, leases = id_is_none(&caller->key) ? cap(caller->limits.max_leases) : 0;
        struct key_record *key;
        int r = 0;

        if (!record)
                return -ENOMEM;
        *ret_record = record;
        /* By a key the smaller of both limits comes; that of the account is known only from who comes by a token. */
        if (record->weight != weight || (id_is_none(&caller->key) && record->max_leases != leases)) {
                if (!id_is_none(&caller->key))
                        leases = record->max_leases;
                r = core_account(s->core, &caller->account, weight, leases);
                record->weight = weight;
                record->max_leases = leases;
        }
        if (r || id_is_none(&caller->key))
                return r;
        HASH_FIND(by_id, s->key_records, &caller->key, sizeof(caller->key), key);
        if (!key && !caller->limits.max_leases)
                return 0;
        if (!key) {
                key = calloc(1, sizeof(*key));
                if (!key)
                        return -ENOMEM;
                key->id = caller->key;
                HASH_ADD(by_id, s->key_records, id, sizeof(key->id), key);
        }
        if (key->max_leases != cap(caller->limits.max_leases)) {
                key->max_leases = cap(caller->limits.max_leases);
                r = core_key(s->core, &caller->key, key->max_leases);
        }
        return r;
}

int service_store_error(const struct service *s)
{
        if (s->reopening)
                return -E_UNAVAILABLE;
        if (s->writer_state.error)
                return s->writer_state.error;
        return s->overrun || s->operations.count > OPERATIONS_WAITING ? -EAGAIN : 0;
}

/* Opening. */

/* What secrets are told from others by: 32 random bytes can't be found out from it. */
static void mark_secrets(struct service *s, const struct account_secrets *secrets)
{
        static const char purpose[] = "berth: mark of a pool's secrets";
        uint8_t text[sizeof(purpose) + sizeof(secrets->secret)], digest[32];

        memcpy(text, purpose, sizeof(purpose));
        memcpy(text + sizeof(purpose), secrets->secret, sizeof(secrets->secret));
        EVP_Digest(text, sizeof(text), digest, NULL, EVP_sha256(), NULL);
        for (size_t i = 0; i < sizeof(digest); i++)
                snprintf(s->secrets_mark + 2 * i, 3, "%02x", digest[i]);
        explicit_bzero(text, sizeof(text));
}

static int open_accounts(struct service *s, char message[SERVICE_MESSAGE])
{
        struct account_secrets secrets;
        char path[400], why[ACCOUNT_MESSAGE] = "";
        int r;

        snprintf(path, sizeof(path), "%s/secrets", s->folder);
        r = account_secrets_read(path, &secrets, why);
        if (r < 0) {
                snprintf(message, SERVICE_MESSAGE, "%.250s: %.255s", path, why[0] ? why : error_text(r));
                return r;
        }
        mark_secrets(s, &secrets);
        /* Tokens of one server are good at all servers of its store. */
        r = accounts_new(&(struct accounts_options){.issuer = s->server && strncmp(s->url, "postgres", 8) ? s->server : "berth", .secret = secrets.secret, .sign_seed = secrets.sign_seed,
                                                    .sign_seed_before = secrets.has_before ? secrets.sign_seed_before : NULL},
                         &s->accounts);
        account_secrets_wipe(&secrets);
        if (r < 0)
                snprintf(message, SERVICE_MESSAGE, "the accounts can't be set up: %s", error_text(r));
        return r;
}

static int highest_id(void *context, const struct store_row *row)
{
        struct id *last = context;

        *last = row->id;
        return 0;
}

static int mark_of(void *context, const struct store_row *row)
{
        snprintf(context, 80, "%.*s", (int)row->spec_bytes, row->spec ? row->spec : "");
        return 0;
}

/* Servers with different secrets would refuse each other's keys and tokens: the first one leaves a mark, the others compare. */
static int check_secrets(struct service *s, struct store *store, char message[SERVICE_MESSAGE])
{
        const struct store_query query = {.table = STORE_SETTING, .kind = -1, .text_key = "secrets", .limit = 1};
        struct store_change put = {.kind = STORE_PUT, .row = {.table = STORE_SETTING, .id = service_new_id(s), .text_key = "secrets", .status = "{}", .status_bytes = 2}};
        char mark[80] = "", ours[80];
        int r = store_list(store, &query, mark_of, mark);

        put.row.spec_bytes = (size_t)snprintf(ours, sizeof(ours), "{\"mark\":\"%s\"}", s->secrets_mark);
        put.row.spec = ours;
        if (!r && !mark[0]) {
                r = store_commit(store, NULL, &(struct store_batch){&put, 1}, 1);
                if (r == -EEXIST) /* another one in this moment */
                        r = store_list(store, &query, mark_of, mark);
        }
        if (r < 0)
                snprintf(message, SERVICE_MESSAGE, "the store can't be read: %s", store_problem(store));
        else if (mark[0] && strcmp(mark, ours)) {
                snprintf(message, SERVICE_MESSAGE, "the secrets in %s/secrets are not those of this store's other pool servers: copy that file from one of them", s->folder);
                r = -E_CONFIG;
        }
        return r;
}

static int open_store(struct service *s, char message[SERVICE_MESSAGE])
{
        struct store *store scoped(store_close) = NULL;
        char why[STORE_MESSAGE] = "";
        struct id last = {0};
        int r;

        r = store_open(&(struct store_options){.url = s->url, .server = s->server, .pin = s->pin}, &store, why);
        if (r < 0) {
                snprintf(message, SERVICE_MESSAGE, "%s", why[0] ? why : error_text(r));
                return r;
        }
        snprintf(s->store_kind, sizeof(s->store_kind), "%s", store_kind(store));
        s->shared = strcmp(s->store_kind, "sqlite") != 0;
        if (store_about(store, s->store_text, sizeof(s->store_text)) < 0)
                s->store_text[0] = '\0';
        /* Ids go on above all that were given out, also when the clock was set back meanwhile. */
        r = store_list(store, &(struct store_query){.table = STORE_TASK, .kind = -1, .newest_first = true, .limit = 1, .without_spec = true}, highest_id, &last);
        if (r < 0) {
                snprintf(message, SERVICE_MESSAGE, "the store can't be read: %s", store_problem(store));
                return r;
        }
        s->last_id = last;
        r = s->shared ? check_secrets(s, store, message) : 0;
        if (r < 0)
                return r;
        r = queues_open(s, store, message);
        if (r < 0)
                return r;
        if (memcmp(&last, &s->last_id, sizeof(last)) > 0)
                s->last_id = last;
        r = writer_open(s, store);
        if (r < 0) {
                snprintf(message, SERVICE_MESSAGE, "the writer's thread can't be started: %s", error_text(r));
                return r;
        }
        store = NULL;
        return 0;
}

static void no_wake(void *context)
{
}

int service_open(const struct service_options *options, struct service **ret_service, char message[SERVICE_MESSAGE])
{
        struct service *s = calloc(1, sizeof(*s));
        uint64_t seed;
        char path[600];
        int r;

        message[0] = '\0';
        if (!s)
                return -ENOMEM;
        s->options = *options;
        s->core_settings = options->core ? *options->core : core_default_settings;
        s->options.core = &s->core_settings; /* the caller's may be gone after this call, like its texts */
        if (!s->options.log_bytes)
                s->options.log_bytes = 4u << 20;
        if (s->options.log_bytes < 4096)
                s->options.log_bytes = 4096;
        if (!s->options.payload_bytes)
                s->options.payload_bytes = 256u << 10;
        if (!s->options.wake)
                s->options.wake = no_wake;
        s->batch = 1;
        s->waits_due_ms = UINT64_MAX;
        s->turning = true; /* nobody is woken before there is anything */
        service_time(s);
        s->started_ns = s->now_ns;
        snprintf(path, sizeof(path), "%s/pool.db", options->folder);
        s->folder = strdup(options->folder);
        s->url = strdup(options->store_url ? options->store_url : path);
        s->server = options->server ? strdup(options->server) : NULL;
        s->pin = options->pin ? strdup(options->pin) : NULL;
        service_random(s, &seed, sizeof(seed));
        s->core = core_new(&s->core_settings, seed);
        r = s->folder && s->url && s->core ? figures_open(s) : -ENOMEM;
        if (!r)
                r = events_open(s);
        if (!r)
                r = objects_open(s, message);
        if (!r)
                r = open_accounts(s, message);
        if (!r)
                r = open_store(s, message);
        if (!r)
                r = jobs_start("berth: reader", &(struct store_options){.url = s->url}, s->options.wake, s->options.context, &s->reader);
        if (!r)
                r = jobs_start("berth: files", NULL, s->options.wake, s->options.context, &s->files);
        if (!r)
                r = engines_open(s);
        s->options.generate = NULL;
        s->sweep_due_ms = s->now_ms + 10000;
        s->queues_due_ms = s->now_ms + 1000;
        s->turning = false;
        if (r < 0) {
                if (!message[0])
                        snprintf(message, SERVICE_MESSAGE, "%s", error_text(r));
                service_close(s);
                return r;
        }
        service_want_turn(s);
        *ret_service = s;
        return 0;
}

/* Closing. */

static void free_all(struct service *s)
{
        struct task *task, *next_task;
        struct account_record *account, *next_account;
        struct key_record *key, *next_key;

        HASH_ITER(by_id, s->tasks, task, next_task) {
                while (task->waits) {
                        struct service_wait *wait = task->waits;

                        wait->done(wait->context, &(struct service_answer){.status = 503, .code = "pool.closing", .detail = "the pool is closing", .retry_after_s = 5});
                        service_wait_cancel(wait);
                }
                task_free(s, task);
        }
        workers_free(s);
        answers_free(s);
        feed_free(s);
        objects_free(s);
        moved_sweep(s, true);
        HASH_ITER(by_id, s->account_records, account, next_account) {
                HASH_DELETE(by_id, s->account_records, account);
                free(account);
        }
        HASH_ITER(by_id, s->key_records, key, next_key) {
                HASH_DELETE(by_id, s->key_records, key);
                free(key);
        }
        events_close(s);
        figures_close(s);
        usage_free(s);
        if (s->generate)
                generate_free(s->generate);
        if (s->core)
                core_free(s->core);
        if (s->accounts)
                accounts_free(s->accounts);
        free(s->pending);
        free(s->operations.ring);
        free(s->immediate.ring);
        strbuf_done(&s->texts);
        strbuf_done(&s->scratch);
        strbuf_done(&s->line);
        free(s->folder);
        free(s->url);
        free(s->server);
        free(s->pin);
        free(s);
}

void service_close(struct service *s)
{
        if (!s)
                return;
        s->closing = s->turning = true;
        s->generate_calls = (struct service_generate_calls){0};
        service_time(s);
        for (struct service_worker *c = s->connections, *next; c; c = next) {
                next = c->next;
                connection_end(c, "pool.closing", "the pool is closing: connect again later");
        }
        while (s->connections) {
                struct service_worker *c = s->connections;

                c->send = NULL;
                c->context = NULL;
                service_worker_closed(c);
        }
        if (s->reader)
                jobs_stop(s, take(s->reader));
        if (s->files)
                jobs_stop(s, take(s->files));
        if (s->writer) {
                uint64_t began = clock_now_ns();

                usage_turn(s, true);
                /* Connections that end here are silent, no more: their leases stay what they are in the store, to be resumed. */
                do
                        pending_flush(s);
                while (s->pending_count && clock_now_ns() - began < CLOSE_PATIENCE_MS * NS_PER_MS && !usleep(1000));
                s->durable = writer_stop(take(s->writer), CLOSE_PATIENCE_MS);
        }
        operations_run(s, s->durable);
        operations_fail(s, -E_UNAVAILABLE);
        while (s->immediate.count)
                operations_run(s, 0);
        free_all(s);
}

/* The turn. */

uint64_t service_turn(struct service *s)
{
        uint64_t due, core_due, nodes_due, machines_due;

        s->turning = true;
        s->wake_wanted = false;
        service_time(s);
        s->counters.turns++;
        if (s->writer) {
                writer_get_state(s->writer, &s->writer_state);
                if (!__atomic_load_n(&s->refused, __ATOMIC_ACQUIRE))
                        s->durable = s->writer_state.durable;
        }
        operations_run(s, s->durable);
        jobs_finish(s, s->reader);
        jobs_finish(s, s->files);
        core_tick(s->core, s->now_ms);
        act_drain(s);
        act_waits_due(s);
        usage_turn(s, false);
        generate_tick(s->generate, s->now_ms);
        engines_drain(s);
        queues_turn(s);
        act_drain(s);
        s->figures_due_ms = figures_turn(s);
        nodes_due = nodes_turn(s);
        machines_due = machines_turn(s);
        pending_flush(s);
        if (s->events.told && s->events.listener) {
                s->events.told = false;
                s->events.listener(s->events.context);
        }
        s->turning = false;
        if (s->immediate.count)
                return 0;
        core_due = core_next_deadline(s->core);
        due = generate_next_deadline(s->generate);
        due = nodes_due < due ? nodes_due : due;
        due = machines_due < due ? machines_due : due;
        due = s->usage_due_ms < due ? s->usage_due_ms : due;
        due = core_due < due ? core_due : due;
        due = s->waits_due_ms < due ? s->waits_due_ms : due;
        due = s->sweep_due_ms < due ? s->sweep_due_ms : due;
        due = s->figures_due_ms < due ? s->figures_due_ms : due;
        if (s->shared || s->reopening)
                due = s->queues_due_ms < due ? s->queues_due_ms : due;
        if (s->pending_count)
                due = s->now_ms + 1 < due ? s->now_ms + 1 : due;
        return due <= s->now_ms ? 0 : due - s->now_ms;
}

struct accounts *service_accounts(struct service *s)
{
        return s->accounts;
}
