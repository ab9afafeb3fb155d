/* test-service-servers.c: two services on one PostgreSQL, each with a folder of its own: queues are shared out, a lost server's are taken over, what runs goes on
 * when its queue moves, and what one changes of accounts and workers the other knows. */
#include "service/test-two.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define ACCOUNTS 40

/* --- a worker that is connected to both --- */

struct lease {
        char task[ID_TEXT], nonce[24];
        int server;
        bool acked, sent;
};

struct link {
        struct service_worker *connection;
        int server;
        bool welcome, closed;
        json_t *lost, *elsewhere;
};

static struct link links[2];
static struct lease leases[ACCOUNTS * 2];
static size_t lease_count, stale_count;
static char worker_id[ID_TEXT];

static int heard(void *context, const char *text, size_t bytes)
{
        struct link *link = context;
        json_t *m = json_loadb(text, bytes, 0, NULL);
        const char *kind = json_string_value(json_object_get(m, "m")), *task = json_string_value(json_object_get(m, "task"));

        if (!strcmp(kind, "welcome")) {
                link->welcome = true;
                snprintf(worker_id, sizeof(worker_id), "%s", json_string_value(json_object_get(m, "worker")));
                json_decref(link->lost);
                link->lost = json_incref(json_object_get(m, "lost"));
                json_decref(link->elsewhere);
                link->elsewhere = json_incref(json_object_get(m, "elsewhere"));
        } else if (!strcmp(kind, "lease")) {
                assert_true(lease_count < ARRAY_SIZE(leases));
                leases[lease_count] = (struct lease){.server = link->server};
                snprintf(leases[lease_count].task, ID_TEXT, "%s", task);
                snprintf(leases[lease_count++].nonce, 24, "%s", json_string_value(json_object_get(m, "nonce")));
        } else if (!strcmp(kind, "ack")) {
                for (size_t i = 0; i < lease_count; i++)
                        leases[i].acked |= !strcmp(leases[i].task, task);
        } else if (!strcmp(kind, "stale") || !strcmp(kind, "cancel")) {
                stale_count++;
        }
        json_decref(m);
        return 0;
}

static void closed(void *context, const char *reason)
{
        ((struct link *)context)->closed = true;
}

static void say(struct link *link, json_t *m)
{
        char *text = json_dumps(m, JSON_COMPACT);

        (void)!service_worker_receive(link->connection, text, strlen(text));
        free(text);
        json_decref(m);
}

/* As the agent does: all that it holds is listed to every server. */
static void join(int server)
{
        struct link *link = &links[server];
        json_t *running = json_array();

        json_decref(link->lost);
        json_decref(link->elsewhere);
        *link = (struct link){.server = server};
        link->connection = service_worker_open(servers[server].service, &farm, "192.0.2.1", heard, closed, link);
        for (size_t i = 0; i < lease_count; i++)
                if (!leases[i].acked)
                        json_array_append_new(running, json_pack("{s:s, s:s}", "task", leases[i].task, "nonce", leases[i].nonce));
        say(link, json_pack("{s:s, s:i, s:s, s:s, s:s, s:i, s:[s], s:o}", "m", "hello", "protocol", 1, "worker", worker_id, "instance", "start one", "name", "w", "slots",
                            200, "types", "t", "running", running));
        UNTIL(link->welcome);
        say(link, json_pack("{s:s, s:i}", "m", "ready", "slots", 200));
}

/* Closed by its server: it comes again, and what is not lost there is there. */
static bool join_again(void)
{
        bool any = false;

        for (int i = 0; i < 2; i++) {
                if (!links[i].connection || !links[i].closed)
                        continue;
                service_worker_closed(links[i].connection);
                join(i);
                any = true;
                for (size_t k = 0; k < lease_count; k++) {
                        const json_t *lost;
                        bool is_lost = false;
                        size_t n;

                        json_array_foreach(links[i].lost, n, lost)
                                is_lost |= !strcmp(json_string_value(lost), leases[k].task);
                        json_array_foreach(links[i].elsewhere, n, lost)
                                is_lost |= !strcmp(json_string_value(lost), leases[k].task);
                        if (!is_lost)
                                leases[k].server = i;
                }
        }
        return any;
}

static void leave(int server)
{
        if (links[server].connection)
                service_worker_closed(links[server].connection);
        json_decref(links[server].lost);
        json_decref(links[server].elsewhere);
        links[server] = (struct link){0};
}

static void forget_worker(void)
{
        lease_count = stale_count = 0;
        worker_id[0] = '\0';
}

/* --- tests --- */

static void queues_are_shared(void **state)
{
        char address[256];
        int counts[2] = {0};

        assert_int_equal(queues_of(0), STORE_QUEUES);
        assert_false(service_is_partial(servers[0].service));
        start(1);
        UNTIL(shared_fairly());
        assert_true(service_is_partial(servers[0].service));
        for (unsigned n = 0; n < ACCOUNTS; n++) {
                struct account_caller who = user(n);
                struct answer a;
                int at = place_of(&who);

                assert_true(at >= 0);
                counts[at]++;
                a = submit(at, &who);
                assert_int_equal(a.status, 202);
                json_decref(a.json);
                UNTIL(service_owner(servers[!at].service, &who.account, address) == -EAGAIN);
                assert_string_equal(address, servers[at].address);
                a = submit(!at, &who);
                assert_int_equal(a.status, 503);
                assert_string_equal(a.code, "pool.elsewhere");
        }
        assert_true(counts[0] && counts[1]);
        stop(1); /* in order */
        UNTIL(queues_of(0) == STORE_QUEUES);
        for (unsigned n = 0; n < ACCOUNTS; n++) {
                struct account_caller who = user(n);

                assert_int_equal(place_of(&who), 0);
        }
        start(1);
        UNTIL(shared_fairly());
}

static void a_lost_servers_queues_are_taken_over(void **state)
{
        struct id ids[ACCOUNTS];
        char text[20];
        int attempt;

        start(1);
        UNTIL(shared_fairly());
        for (unsigned n = 0; n < ACCOUNTS; n++) {
                struct account_caller who = user(n);
                struct answer a = submit(place_of(&who), &who);

                assert_int_equal(a.status, 202);
                assert_int_equal(id_parse("task", json_string_value(json_object_get(a.json, "id")), &ids[n]), 0);
                json_decref(a.json);
        }
        /* The second stands still, and its connections end, as a network that is cut ends them. */
        servers[1].still = true;
        on_server(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()");
        UNTIL(queues_of(0) == STORE_QUEUES);
        for (unsigned n = 0; n < ACCOUNTS; n++) {
                struct account_caller who = user(n);

                assert_int_equal(place_of(&who), 0);
                look(&ids[n], text, &attempt);
                assert_string_equal(text, "queued");
        }
        forget_worker();
        join(0);
        UNTIL(lease_count == ACCOUNTS);
        leave(0);
        /* It comes back, finds what it had taken away, and gets a new part. */
        servers[1].still = false;
        UNTIL(shared_fairly());
}

static void running_tasks_go_on_where_their_queue_goes(void **state)
{
        struct id ids[ACCOUNTS];
        char text[20];
        int attempt;

        forget_worker();
        join(0);
        for (unsigned n = 0; n < ACCOUNTS; n++) {
                struct account_caller who = user(n);
                struct answer a = submit(0, &who);

                assert_int_equal(a.status, 202);
                assert_int_equal(id_parse("task", json_string_value(json_object_get(a.json, "id")), &ids[n]), 0);
                json_decref(a.json);
        }
        UNTIL(lease_count == ACCOUNTS);
        start(1);
        join(1);
        UNTIL(!join_again() && shared_fairly());
        /* Each result where the task is now: all are taken, none was run twice. */
        begin_wait();
        for (bool all = false; !all;) {
                all = true;
                for (size_t i = 0; i < lease_count; i++) {
                        struct lease *l = &leases[i];

                        if (!l->acked && !links[l->server].closed && !l->sent)
                                say(&links[l->server], json_pack("{s:s, s:s, s:s, s:{s:i}}", "m", "result", "task", l->task, "nonce", l->nonce, "result", "n", (int)i));
                        l->sent = true;
                        all &= l->acked;
                }
                if (join_again())
                        for (size_t i = 0; i < lease_count; i++)
                                leases[i].sent = false;
                wait_more("all results are acknowledged");
        }
        assert_int_equal(lease_count, ACCOUNTS);
        assert_int_equal(stale_count, 0);
        for (unsigned n = 0; n < ACCOUNTS; n++) {
                look(&ids[n], text, &attempt);
                assert_string_equal(text, "done");
                assert_int_equal(attempt, 1);
        }
        leave(0);
        leave(1);
}

static struct account_now now_with(uint8_t random[64])
{
        struct timespec t;

        assert_int_equal(getrandom(random, 64, 0), 64);
        clock_gettime(CLOCK_REALTIME, &t);
        return (struct account_now){.unix_ms = t.tv_sec * INT64_C(1000), .monotonic_ms = (uint64_t)t.tv_sec * 1000, .random = random, .address = "192.0.2.9"};
}

static void commit(int server, const struct account_changes *changes)
{
        struct answer a = {0};

        service_commit(servers[server].service, changes, answered, &a);
        UNTIL(a.came);
        assert_true(a.status < 400);
}

static int identify(int server, const char *key, struct account_caller *who)
{
        uint8_t random[64];
        struct account_now now = now_with(random);
        char header[100];

        snprintf(header, sizeof(header), "Bearer %s", key);
        return account_identify(service_accounts(servers[server].service), &now, header, strlen(header), who);
}

static void accounts_and_keys_are_known_at_both(void **state)
{
        struct accounts *accounts = service_accounts(servers[0].service);
        struct account_changes changes = {.count = 0};
        struct account_spec spec = {.name = "alice", .role = ROLE_USER};
        struct account_key_spec key_spec = {.label = "a key"};
        struct account_caller who;
        struct account_now now;
        uint8_t random[64];
        struct id alice, key;
        char text[ACCOUNT_KEY_TEXT];

        start(1);
        now = now_with(random);
        assert_int_equal(account_create(accounts, &now, &account_pool_itself, &spec, &alice, &changes), 0);
        commit(0, &changes);
        now = now_with(random);
        assert_int_equal(account_key_create(accounts, &now, &account_pool_itself, &alice, &key_spec, text, sizeof(text), &key, &changes), 0);
        commit(0, &changes);
        UNTIL(identify(1, text, &who) == 0);
        assert_string_equal(who.name, "alice");
        now = now_with(random);
        assert_true(account_still(service_accounts(servers[1].service), &now, &who));
        /* Ended at the one, ended at the other; who is connected there, too. */
        now = now_with(random);
        assert_int_equal(account_key_end(accounts, &now, &account_pool_itself, &key, &changes), 0);
        commit(0, &changes);
        UNTIL(identify(1, text, &who) < 0);
        now = now_with(random);
        assert_false(account_still(service_accounts(servers[1].service), &now, &who));
}

static bool drained_at(int server)
{
        struct answer a = {0};
        struct id id;
        bool drained;

        assert_int_equal(id_parse("worker", worker_id, &id), 0);
        service_worker(servers[server].service, &admin, &id, answered, &a);
        UNTIL(a.came);
        drained = a.status == 200 && !strncmp(json_string_value(json_object_get(a.json, "state")), "drain", 5);
        json_decref(a.json);
        return drained;
}

static void workers_are_drained_at_both(void **state)
{
        json_t *body = json_pack("{s:s}", "state", "draining");
        struct answer a = {0};
        struct id id;

        start(1);
        forget_worker();
        join(0);
        join(1);
        assert_int_equal(id_parse("worker", worker_id, &id), 0);
        assert_false(drained_at(1));
        service_worker_change(servers[0].service, &admin, &id, body, 0, answered, &a);
        json_decref(body);
        UNTIL(a.came);
        assert_int_equal(a.status, 200);
        json_decref(a.json);
        UNTIL(drained_at(1));
        a = (struct answer){0};
        service_worker_remove(servers[0].service, &admin, &id, answered, &a);
        UNTIL(a.came && links[1].closed);
        leave(0);
        leave(1);
}

static void other_secrets_are_refused(void **state)
{
        char message[SERVICE_MESSAGE], path[400];

        snprintf(path, sizeof(path), "%s/secrets", servers[1].folder);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(open_server(1, message), -E_CONFIG);
        assert_non_null(strstr(message, "copy that file"));
        servers[1].service = NULL;
        assert_int_equal(queues_of(0), STORE_QUEUES);
}

static void placed(void *context, int error, const char *address)
{
        struct answer *a = context;

        a->came = true;
        a->status = error;
        snprintf(a->code, sizeof(a->code), "%s", address);
}

static void a_tasks_server_is_found(void **state)
{
        struct account_caller who;
        struct answer a;
        struct id id, none = {.bytes = {9}};
        int at;

        start(1);
        UNTIL(shared_fairly());
        who = user(1);
        at = place_of(&who);
        a = submit(at, &who);
        assert_int_equal(id_parse("task", json_string_value(json_object_get(a.json, "id")), &id), 0);
        json_decref(a.json);
        assert_false(service_task_place(servers[at].service, &id, placed, &a));
        do {
                a = (struct answer){0};
                assert_true(service_task_place(servers[!at].service, &id, placed, &a));
                UNTIL(a.came);
        } while (a.status == -E_UNAVAILABLE); /* it has not looked since */
        assert_int_equal(a.status, -EAGAIN);
        assert_string_equal(a.code, servers[at].address);
        a = (struct answer){0};
        assert_true(service_task_place(servers[!at].service, &none, placed, &a));
        UNTIL(a.came);
        assert_int_equal(a.status, 0);
        assert_string_equal(service_server_pin(servers[0].service, "https://nobody"), "");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(queues_are_shared),
                CASE(a_lost_servers_queues_are_taken_over),
                CASE(running_tasks_go_on_where_their_queue_goes),
                CASE(accounts_and_keys_are_known_at_both),
                CASE(workers_are_drained_at_both),
                CASE(other_secrets_are_refused),
                CASE(a_tasks_server_is_found),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
