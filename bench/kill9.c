/* kill9.c: a pool under load that is killed (SIGKILL) again and again at moments nobody chose, and started anew on what it left. At the end: how many tasks that were
 * acknowledged are lost, and how many results counted twice. Both must be 0, else the exit status is 1.
 *
 * kill9 [--rounds N] [--store URL] [--seed N]    the store's URL also from BERTH_TEST_POSTGRES with --postgres
 *
 * The parent's memory is what producers and workers know: it survives the pool. A producer knows which tasks were answered with 202; a worker, which lease it has,
 * what it would answer, and what was acknowledged. Workers come back to the next pool with what they have, as the protocol wants it.
 */
#include "base/clock.h"
#include "service/service.h"

#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PRODUCERS 8
#define WORKERS 16
#define TASKS 1000000

struct fact {
        struct id id;      /* of a task that was answered with 202; all zero: it was not */
        uint64_t token;    /* of the result that was acknowledged; 0: none was */
        uint32_t acks;     /* of different executions */
};

struct worker_memory {
        char id[64], task[64], nonce[32];
        uint64_t n, token;
        bool busy;
};

/* Shared by parent and children. */
struct memory {
        uint64_t next, token;
        bool running;
        struct worker_memory workers[WORKERS];
        struct fact facts[TASKS];
};

struct producer {
        struct account_caller caller;
        uint64_t n;
        bool waiting;
};

struct worker {
        struct service_worker *connection;
        struct worker_memory *memory;
        bool joined, give;
};

static struct memory *memory;
static struct service *service;
static struct producer producers[PRODUCERS];
static struct worker workers[WORKERS];
static struct account_caller farm, admin;
static int woken;
static bool load;

static void die(const char *what)
{
        fprintf(stderr, "kill9: %s\n", what);
        _exit(1);
}

static void wake(void *context)
{
        uint64_t one = 1;

        if (write(woken, &one, sizeof(one)) < 0)
                _exit(1);
}

static void turn(void)
{
        static uint64_t ms;
        struct pollfd p = {.fd = woken, .events = POLLIN};
        uint64_t count;

        if (ms && poll(&p, 1, ms > 1000 ? 1000 : (int)ms) == 1 && read(woken, &count, sizeof(count)) < 0)
                die("eventfd");
        ms = service_turn(service);
}

static void member(const char *text, const char *name, char *to, size_t size)
{
        const char *at = strstr(text, name);
        size_t n = 0;

        if (!at)
                die(text);
        for (at += strlen(name); at[n] && at[n] != '"' && n + 1 < size; n++)
                to[n] = at[n];
        to[n] = '\0';
}

static int heard(void *context, const char *text, size_t bytes)
{
        struct worker *w = context;
        struct worker_memory *m = w->memory;
        char nonce[32];

        if (!strncmp(text, "{\"m\":\"lease\"", 12)) {
                const char *n = strstr(text, "\"payload\":{\"n\":");

                if (!n || m->busy)
                        die("a lease that was not asked for");
                member(text, "\"task\":\"", m->task, sizeof(m->task));
                member(text, "\"nonce\":\"", m->nonce, sizeof(m->nonce));
                m->n = strtoull(n + 15, NULL, 10);
                m->token = ++memory->token;
                m->busy = w->give = true;
        } else if (!strncmp(text, "{\"m\":\"ack\"", 10) || !strncmp(text, "{\"m\":\"stale\"", 12)) {
                member(text, "\"nonce\":\"", nonce, sizeof(nonce));
                if (!m->busy || strcmp(nonce, m->nonce))
                        return 0;
                if (text[6] == 'a') {
                        memory->facts[m->n].acks += memory->facts[m->n].token != m->token;
                        memory->facts[m->n].token = m->token;
                }
                m->busy = false;
        } else if (!strncmp(text, "{\"m\":\"welcome\"", 14)) {
                member(text, "\"worker\":\"", m->id, sizeof(m->id));
                w->joined = true;
                /* What it had and the pool does not want any more, it forgets; what is still its own it answers again. */
                if (m->busy && strstr(strstr(text, "\"lost\""), m->task))
                        m->busy = false;
                w->give = m->busy;
        }
        return 0;
}

static void closed(void *context, const char *reason)
{
        die(reason);
}

static void answered(void *context, const struct service_answer *answer)
{
        struct producer *p = context;
        char id[64];

        /* PostgreSQL needs a moment to see that the pool before is gone: until then nobody serves the account. */
        if (answer->status == 503) {
                p->waiting = false;
                return;
        }
        if (answer->status != 202)
                die(answer->detail);
        member(answer->text, "\"id\":\"", id, sizeof(id));
        if (id_parse("task", id, &memory->facts[p->n].id) < 0)
                die("no id");
        p->waiting = false;
}

static void say(struct worker *w, const char *text)
{
        if (service_worker_receive(w->connection, text, strlen(text)) < 0)
                die("a message was not taken");
}

static void act(void)
{
        char text[300];

        for (int i = 0; i < PRODUCERS && load; i++) {
                struct producer *p = &producers[i];
                json_t *body;

                if (p->waiting || memory->next >= TASKS)
                        continue;
                p->n = memory->next++;
                p->waiting = true;
                body = json_pack("{s:s, s:{s:I}, s:i}", "type", "t", "payload", "n", (json_int_t)p->n, "attempts", 50);
                service_submit(service, &p->caller, body, NULL, false, answered, p);
                json_decref(body);
        }
        for (int i = 0; i < WORKERS; i++) {
                struct worker *w = &workers[i];

                if (!w->give)
                        continue;
                w->give = false;
                snprintf(text, sizeof(text), "{\"m\":\"result\",\"task\":\"%s\",\"nonce\":\"%s\",\"result\":{\"token\":%llu},\"ready\":true}", w->memory->task, w->memory->nonce,
                         (unsigned long long)w->memory->token);
                say(w, text);
        }
}

static void start(const char *folder, const char *url)
{
        struct service_options options = {.folder = folder, .store_url = url, .wake = wake};
        char message[SERVICE_MESSAGE], text[500], running[200];

        woken = eventfd(0, EFD_NONBLOCK);
        if (service_open(&options, &service, message) < 0)
                die(message);
        for (int i = 0; i < WORKERS; i++) {
                struct worker *w = &workers[i];

                w->memory = &memory->workers[i];
                snprintf(running, sizeof(running), "{\"task\":\"%s\",\"nonce\":\"%s\"}", w->memory->task, w->memory->nonce);
                snprintf(text, sizeof(text), "{\"m\":\"hello\",\"protocol\":1,\"worker\":\"%s\",\"instance\":\"i%d\",\"name\":\"w%d\",\"slots\":1,\"types\":[\"t\"],\"running\":[%s]}",
                         w->memory->id, i, i, w->memory->busy ? running : "");
                w->connection = service_worker_open(service, &farm, "local", heard, closed, w);
                say(w, text);
                while (!w->joined)
                        turn();
                if (!w->give)
                        say(w, "{\"m\":\"ready\",\"slots\":1}");
        }
}

static void run(const char *folder, const char *url)
{
        start(folder, url);
        load = true;
        memory->running = true;
        for (;;) {
                act();
                turn();
        }
}

/* The last pool: works off what is left, then says what became of each. */
struct look {
        uint64_t token;
        bool came, done;
};

static void looked(void *context, const struct service_answer *answer)
{
        struct look *look = context;
        const char *token = answer->text ? strstr(answer->text, "\"result\":{\"token\":") : NULL;

        look->came = true;
        look->done = answer->status == 200 && strstr(answer->text, "\"state\":\"done\"");
        look->token = token ? strtoull(token + 18, NULL, 10) : 0;
}

static void unfinished(void *context, const struct service_answer *answer)
{
        *(int *)context = answer->text && strstr(answer->text, "\"ours\":16") && strstr(answer->text, "\"held\":0,\"queued\":0,\"leased\":0,\"backoff\":0") ? 1 : 2;
}

static int verify(const char *folder, const char *url, const char *store, int rounds)
{
        uint64_t acknowledged = 0, lost = 0, twice = 0, results = 0, until;
        int state = 0;

        start(folder, url);
        until = clock_now_ns() + 120 * NS_PER_S;
        while (state != 1 && clock_now_ns() < until) {
                state = 0;
                service_about(service, &admin, unfinished, &state);
                while (!state) {
                        act();
                        turn();
                }
        }
        for (uint64_t n = 0; n < memory->next && n < TASKS; n++) {
                const struct fact *fact = &memory->facts[n];
                struct look look = {0};

                twice += fact->acks > 1;
                results += fact->token != 0;
                if (id_is_none(&fact->id))
                        continue;
                acknowledged++;
                service_task(service, &admin, &fact->id, looked, &look);
                while (!look.came)
                        turn();
                /* Whatever was acknowledged as the result is the result. */
                lost += !look.done;
                twice += look.done && fact->token && look.token != fact->token;
        }
        for (int i = 0; i < 2; i++)
                printf("{\"name\": \"%s\", \"value\": %llu, \"unit\": \"tasks\", \"better\": \"lower\", \"limit\": 0, \"peers\": {}, \"command\": \"kill9\", \"store\": \"%s\", \"rounds\": %d, "
                       "\"acknowledged\": %llu, \"results\": %llu}\n",
                       i ? "kill9_double" : "kill9_lost", (unsigned long long)(i ? twice : lost), store, rounds, (unsigned long long)acknowledged,
                       (unsigned long long)results);
        fflush(stdout);
        return lost || twice || !acknowledged || !results;
}

int main(int argc, char **argv)
{
        static const struct option long_options[] = {{"rounds", 1, NULL, 'r'}, {"store", 1, NULL, 's'}, {"postgres", 0, NULL, 'p'}, {"seed", 1, NULL, 'e'}, {NULL, 0, NULL, 0}};
        char folder[] = "/tmp/berth-kill9-XXXXXX", command[100];
        const char *url = NULL;
        int rounds = 10, c, status = 0, result;
        unsigned int seed = (unsigned int)clock_now_ns();
        pid_t pid;

        while ((c = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
                if (c == 'r')
                        rounds = atoi(optarg);
                else if (c == 's')
                        url = optarg;
                else if (c == 'p')
                        url = getenv("BERTH_TEST_POSTGRES");
                else if (c == 'e')
                        seed = (unsigned int)atoi(optarg);
                else
                        return 2;
                if (c == 'p' && !url)
                        die("BERTH_TEST_POSTGRES is not set: run it by tools/with-postgres");
        }
        memory = mmap(NULL, sizeof(*memory), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED || !mkdtemp(folder))
                return 2;
        for (int i = 0; i < PRODUCERS; i++) {
                producers[i].caller = (struct account_caller){.role = ROLE_USER, .scopes = ~UINT64_C(0), .weight = 100};
                memset(producers[i].caller.account.bytes, i + 1, 16);
        }
        farm = (struct account_caller){.role = ROLE_WORKER, .scopes = ~UINT64_C(0), .weight = 100};
        admin = (struct account_caller){.role = ROLE_ADMIN, .scopes = ~UINT64_C(0), .weight = 100};
        memset(farm.account.bytes, 200, 16);
        memset(admin.account.bytes, 201, 16);
        fprintf(stderr, "kill9: seed %u\n", seed);
        for (int i = 0; i < rounds && !status; i++) {
                uint64_t began = memory->next;

                memory->running = false;
                pid = fork();
                if (!pid)
                        run(folder, url);
                while (!__atomic_load_n(&memory->running, __ATOMIC_ACQUIRE) && !waitpid(pid, &status, WNOHANG))
                        poll(NULL, 0, 1);
                /* At least some of the load has come; the moment after that is chance's. */
                while (__atomic_load_n(&memory->next, __ATOMIC_ACQUIRE) < began + 20 && !status && !waitpid(pid, &status, WNOHANG))
                        poll(NULL, 0, 1);
                usleep((useconds_t)(rand_r(&seed) % 200000));
                if (!status && !kill(pid, SIGKILL)) {
                        waitpid(pid, &status, 0);
                        status = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? 0 : 1;
                }
        }
        if (status) {
                fprintf(stderr, "kill9: a pool ended by itself\n");
                result = 1;
        } else {
                pid = fork();
                if (!pid)
                        _exit(verify(folder, url, url ? "postgresql" : "sqlite", rounds));
                waitpid(pid, &status, 0);
                result = !WIFEXITED(status) || WEXITSTATUS(status);
        }
        snprintf(command, sizeof(command), "rm -rf %s", folder);
        return system(command) || result;
}
