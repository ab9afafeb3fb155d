/* fuzz-worker-message.c: what a worker may say, line by line, to a service with tasks of two accounts. Whatever it says, the core's books stay right, the other
 * worker's task stays its own, and the connection either lives or was told why it does not. */
#include "base/error.h"
#include "service/internal.h"

#include "fuzz.h"

#include <unistd.h>

static struct service *service;
static struct account_caller alice, farm, farm2;
static struct service_worker *honest, *wild;
static char task[64], nonce[32], own_task[64], own_nonce[32];
static unsigned int errors;
static bool wild_closed;

static void member(const char *text, const char *name, char *to, size_t size)
{
        const char *at = strstr(text, name);
        size_t n = 0;

        for (at = at ? at + strlen(name) : ""; at[n] && at[n] != '"' && n + 1 < size; n++)
                to[n] = at[n];
        to[n] = '\0';
}

static int heard(void *context, const char *text, size_t bytes)
{
        if (!strncmp(text, "{\"m\":\"lease\"", 12)) {
                member(text, "\"task\":\"", context ? task : own_task, 64);
                member(text, "\"nonce\":\"", context ? nonce : own_nonce, 32);
        }
        if (!context && !strncmp(text, "{\"m\":\"error\"", 12))
                errors++;
        return 0;
}

static void closed(void *context, const char *reason)
{
        if (!context)
                wild_closed = true;
}

static void answered(void *context, const struct service_answer *answer)
{
        promise(answer->status == 202, "%d %s", answer->status, answer->detail);
        *(bool *)context = true;
}

static void looked_at(void *context, const struct service_answer *answer)
{
        (void)context;
        promise(answer->status == 200, "%d %s", answer->status, answer->detail);
}

/* Somebody looks at its machine: so one report of it is owed. */
static void look_at(struct service_worker *c)
{
        struct account_caller admin = {.account = {{4}}, .role = ROLE_ADMIN, .scopes = ~UINT64_C(0)};

        if (c->worker)
                service_worker_machine(service, &admin, &c->worker->id, 600, looked_at, NULL);
}

static void settle(void)
{
        struct account_changes none = {.count = 0};
        struct writer_state state;

        (void)none;
        do {
                service_turn(service);
                writer_get_state(service->writer, &state);
        } while (service->operations.count || service->immediate.count || state.durable < state.put);
}

static void submit(void)
{
        json_t *body = json_loads("{\"type\":\"t\",\"payload\":1,\"attempts\":100}", 0, NULL);
        bool done = false;

        service_submit(service, &alice, body, NULL, false, answered, &done);
        json_decref(body);
        while (!done)
                service_turn(service);
        settle();
}

static void say(struct service_worker *c, const char *text)
{
        promise(service_worker_receive(c, text, strlen(text)) == 0, "%s", text);
}

static char folder[64];

static void clean(void)
{
        char command[100];

        snprintf(command, sizeof(command), "rm -rf %s", folder);
        if (system(command))
                _exit(1);
}

static void begin(void)
{
        static struct core_settings settings;
        char message[SERVICE_MESSAGE];

        strcpy(folder, "/tmp/berth-fuzz-XXXXXX");
        promise(mkdtemp(folder) != NULL, "no folder");
        atexit(clean);
        settings = core_default_settings;
        settings.lease_ms = settings.suspect_ms = settings.drain_ms = settings.gone_ms = UINT64_C(1) << 40;
        promise(service_open(&(struct service_options){.folder = folder, .core = &settings, .event_bytes = 1 << 16}, &service, message) == 0, "%s", message);
        alice = (struct account_caller){.account = {{1}}, .role = ROLE_USER, .scopes = ~UINT64_C(0)};
        farm = (struct account_caller){.account = {{2}}, .role = ROLE_WORKER, .scopes = ~UINT64_C(0)};
        farm2 = (struct account_caller){.account = {{3}}, .role = ROLE_WORKER, .scopes = ~UINT64_C(0)};
        honest = service_worker_open(service, &farm, "honest", heard, closed, &farm);
        say(honest, "{\"m\":\"hello\",\"protocol\":1,\"instance\":\"h\",\"slots\":1,\"types\":[\"t\"]}");
        settle();
        say(honest, "{\"m\":\"ready\",\"slots\":1}");
        submit();
        promise(nonce[0], "no lease");
}

/* "TASK", "NONCE" … in the input stand for what there is, so that a fuzzer need not guess them. */
static void put_line(struct strbuf *b, const char *line, size_t n)
{
        static const struct {
                const char *name, *text;
        } words[] = {{"OWNTASK", own_task}, {"OWNNONCE", own_nonce}, {"TASK", task}, {"NONCE", nonce}};

        for (size_t i = 0; i < n;) {
                bool found = false;

                for (size_t k = 0; k < ARRAY_SIZE(words) && !found; k++)
                        if (n - i >= strlen(words[k].name) && !memcmp(line + i, words[k].name, strlen(words[k].name))) {
                                put_text(b, words[k].text);
                                i += strlen(words[k].name);
                                found = true;
                        }
                if (!found)
                        strbuf_put(b, line + i++, 1);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *at = (const char *)data, *end = at + size;
        char message[256], still[64];
        struct task *held;
        struct id id;

        if (!service)
                begin();
        strcpy(still, task);
        own_task[0] = own_nonce[0] = '\0';
        errors = 0;
        wild_closed = false;
        wild = service_worker_open(service, &farm2, "wild", heard, closed, NULL);
        promise(wild != NULL, "memory");
        if (size && at[0] != '!') {
                say(wild, "{\"m\":\"hello\",\"protocol\":1,\"instance\":\"w\",\"slots\":2,\"types\":[\"t\"]}");
                settle();
                say(wild, "{\"m\":\"ready\",\"slots\":1}");
                submit();
        }
        for (unsigned int lines = 0; at < end && lines < 100; lines++) {
                const char *newline = memchr(at, '\n', (size_t)(end - at));
                bool ended = wild->state == CONNECTION_ENDED; /* by its own bye */
                struct strbuf b = {0};
                int r;

                look_at(wild);
                put_line(&b, at, (size_t)((newline ? newline : end) - at));
                r = service_worker_receive(wild, b.text ? b.text : "", b.length);
                strbuf_done(&b);
                settle();
                promise(r == 0 || r == -E_MESSAGE || r == -E_QUOTA, "%d", r);
                if (r < 0) {
                        promise(ended || (wild_closed && errors), "refused without a word");
                        break;
                }
                at = newline ? newline + 1 : end;
        }
        if (service_worker_receive(wild, "{\"m\":\"bye\"}", 11) < 0)
                promise(wild_closed || wild->state == CONNECTION_ENDED, "no bye");
        service_worker_closed(wild);
        settle();
        promise(core_check(service->core, service->now_ms, message) == 0, "%s", message);
        promise(id_parse("task", still, &id) == 0, "%s", still);
        held = task_find(service, &id);
        promise(held && held->now.state == CORE_LEASED && !strcmp(task, still), "the other worker's task was touched");
        /* What is left of this input's tasks goes. */
        for (struct task *t = service->tasks, *next; t; t = next) {
                next = t->by_id.next;
                if (t != held && t->number != CORE_NONE && core_cancel(service->core, service->now_ms, t->number) < 0)
                        abort();
        }
        act_drain(service);
        settle();
        return 0;
}
