/* test-two.c: see test-two.h. */
#include "service/test-two.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 120 /* nothing here takes so long, on any machine */

struct server servers[2];
char url[300];
static int woken = -1;
struct account_caller admin = {.role = ROLE_ADMIN, .scopes = ~UINT64_C(0), .weight = 100, .account = {{3}}};
struct account_caller farm = {.role = ROLE_WORKER, .scopes = ~UINT64_C(0), .weight = 100, .account = {{4}}};

static void wake(void *context)
{
        uint64_t one = 1;

        assert_int_equal(write(woken, &one, sizeof(one)), sizeof(one));
}

static uint64_t next; /* ms */

/* Until something happens or one wants its next turn; then one of each. */
static void turn(void)
{
        struct pollfd p = {.fd = woken, .events = POLLIN};
        uint64_t count;

        if (poll(&p, 1, (int)next) == 1)
                assert_int_equal(read(woken, &count, sizeof(count)), sizeof(count));
        next = 1000;
        for (int i = 0; i < 2; i++) {
                uint64_t ms = servers[i].service && !servers[i].still ? service_turn(servers[i].service) : 1000;

                next = ms < next ? ms : next;
        }
}

static time_t deadline;

void begin_wait(void)
{
        deadline = time(NULL) + PATIENCE_S;
        next = 0;
}

void wait_more(const char *what)
{
        if (time(NULL) > deadline)
                fail_msg("never: %s", what);
        turn();
}

int open_server(int i, char message[SERVICE_MESSAGE])
{
        const struct service_options options = {.store_url = url, .folder = servers[i].folder, .server = servers[i].address, .wake = wake};

        return service_open(&options, &servers[i].service, message);
}

void start(int i)
{
        char message[SERVICE_MESSAGE];

        if (open_server(i, message) < 0)
                fail_msg("%s", message);
}

void stop(int i)
{
        service_close(servers[i].service);
        servers[i].service = NULL;
}

int setup(void **state)
{
        struct test_place *place;
        char command[700];

        if (make_database(state))
                return -1;
        place = *state;
        fresh_url(place, url);
        woken = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        for (int i = 0; i < 2; i++) {
                servers[i] = (struct server){0};
                snprintf(servers[i].folder, sizeof(servers[i].folder), "%s/server-%d", place->folder, i);
                snprintf(servers[i].address, sizeof(servers[i].address), "https://server-%d:1", i);
                if (mkdir(servers[i].folder, 0700) < 0)
                        return -1;
        }
        start(0);
        snprintf(command, sizeof(command), "cp -p %s/secrets %s/", servers[0].folder, servers[1].folder);
        return system(command);
}

int teardown(void **state)
{
        for (int i = 0; i < 2; i++)
                if (servers[i].service)
                        stop(i);
        close(woken);
        return remove_folder(state);
}

/* --- asking --- */

void answered(void *context, const struct service_answer *answer)
{
        struct answer *a = context;

        a->came = true;
        a->status = answer->status;
        snprintf(a->code, sizeof(a->code), "%s", answer->code ? answer->code : "");
        a->json = answer->text ? json_loadb(answer->text, answer->bytes, 0, NULL) : NULL;
}

struct account_caller user(unsigned n)
{
        struct account_caller c = {.role = ROLE_USER, .scopes = ~UINT64_C(0), .weight = 100, .account = {{7, (uint8_t)n}}};

        snprintf(c.name, sizeof(c.name), "user-%u", n);
        return c;
}

struct answer submit(int server, const struct account_caller *who)
{
        json_t *body = json_loads("{\"type\":\"t\",\"payload\":{},\"wait_for_workers\":true}", 0, NULL);
        struct answer a = {0};

        service_submit(servers[server].service, who, body, NULL, false, answered, &a);
        json_decref(body);
        UNTIL(a.came);
        return a;
}

int place_of(const struct account_caller *who)
{
        char address[256];

        for (int i = 0; i < 2; i++)
                if (servers[i].service && !servers[i].still && !service_owner(servers[i].service, &who->account, address))
                        return i;
        return -1;
}

int queues_of(int server)
{
        struct answer a = {0};
        int n;

        service_about(servers[server].service, &admin, answered, &a);
        UNTIL(a.came);
        n = (int)json_integer_value(json_object_get(json_object_get(a.json, "queues"), "ours"));
        json_decref(a.json);
        return n;
}

void look(const struct id *task, char state[20], int *ret_attempt)
{
        struct answer a = {0};

        service_task(servers[servers[0].service && !servers[0].still ? 0 : 1].service, &admin, task, answered, &a);
        UNTIL(a.came);
        assert_int_equal(a.status, 200);
        snprintf(state, 20, "%s", json_string_value(json_object_get(a.json, "state")));
        *ret_attempt = (int)json_integer_value(json_object_get(a.json, "attempt"));
        json_decref(a.json);
}

bool shared_fairly(void)
{
        return queues_of(0) == STORE_QUEUES / 2 && queues_of(1) == STORE_QUEUES / 2;
}
