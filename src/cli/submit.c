/* submit.c: `berth submit`: gives the pool a task, or many, and waits for it when asked. */
#include "cli/pool-client.h"
#include "cli/pool-watch.h"

#include "base/error.h"
#include "base/strbuf.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH 1000 /* tasks that the pool takes in one call */

enum { KEY_LABEL = 0x100, KEY_AFTER, KEY_IN, KEY_OUT, KEY_COST, KEY_DRY, KEY_KEY, KEY_BATCH, KEY_DEADLINE, KEY_ATTEMPTS, KEY_ENV, KEY_QUEUE, KEY_WORKER, KEY_MEMORY };

struct ask {
        const char *type, *payload, *batch, *key;
        json_t *task, *needs, *labels, *after, *in, *out, *env;
        bool wait, json, dry_run;
        int words; /* index in argv of the command, 0: none */
};

static const struct argp_option options[] = {
        {"type", 't', "TYPE", 0, "kind of task (command)", 0},
        {"payload", 'p', "JSON|@FILE", 0, "what the task's type asks for; a command needs none", 0},
        {"batch", KEY_BATCH, "FILE", 0, "one task a line, as JSON, \"-\": standard input; all or none are taken, 1000 at a time", 0},
        {"name", 'n', "NAME", 0, "a name for lists (the program and its file)", 0},
        {"priority", 'P', "urgent|high|normal|low|idle", 0, "band (normal); waiting tasks rise with time", 0},
        {"device", 'd', "KIND", 0, "needs a device: gpu, cpu, npu …", 0},
        {"memory", 'm', "SIZE", 0, "memory of that device", 0},
        {"model", 'M', "NAME", 0, "a model that the worker must be able to serve", 0},
        {"label", KEY_LABEL, "NAME=VALUE", 0, "only workers with this label; may be repeated", 0},
        {"worker", KEY_WORKER, "ID", 0, "only this worker", 0},
        {"after", KEY_AFTER, "TASK", 0, "wait until that task is done; may be repeated", 0},
        {"deadline", KEY_DEADLINE, "TIME|DURATION", 0, "give up after this: 2026-11-21T12:00:00Z, or 10min from now", 0},
        {"attempts", KEY_ATTEMPTS, "N", 0, "tries in all (3)", 0},
        {"cost", KEY_COST, "DURATION", 0, "how long it will take, for fair shares; measured when not given", 0},
        {"file-in", KEY_IN, "NAME=FILE", 0, "send FILE along; the task finds it as NAME; may be repeated", 0},
        {"file-out", KEY_OUT, "PATTERN", 0, "keep files that match as artifacts; may be repeated", 0},
        {"env", KEY_ENV, "NAME=VALUE", 0, "a variable for the command; may be repeated", 0},
        {"wait-for-workers", KEY_QUEUE, NULL, 0, "queue it even if no worker could take it now", 0},
        {"key", KEY_KEY, "TEXT", 0, "idempotency key: the same key and task again is the same task", 0},
        {"dry-run", KEY_DRY, NULL, 0, "only say what would happen", 0},
        {"wait", 'w', NULL, 0, "show progress and output until it ended; the exit code tells how", 0},
        {"json", 'j', NULL, 0, "print JSON", 0},
        {0},
};

static json_t *need(json_t **o)
{
        if (!*o)
                *o = json_object();
        return *o;
}

static void add_pair(struct argp_state *state, json_t *o, const char *arg)
{
        const char *equals = strchr(arg, '=');

        if (!equals || equals == arg) {
                argp_error(state, "\"%s\": expected NAME=VALUE", arg);
                return;
        }
        json_object_set_new(o, strndupa(arg, (size_t)(equals - arg)), json_string(equals + 1));
}

static void add_item(json_t **array, const char *arg)
{
        if (!*array)
                *array = json_array();
        json_array_append_new(*array, json_string(arg));
}

/* A time as it is; a duration as the time after it. */
static void set_deadline(json_t *task, const char *arg)
{
        uint64_t ns;
        char text[40];
        time_t at;

        if (text_parse_duration(arg, &ns) < 0) {
                json_object_set_new(task, "deadline", json_string(arg));
                return;
        }
        at = time(NULL) + (time_t)((ns + 999999999) / 1000000000);
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime(&at));
        json_object_set_new(task, "deadline", json_string(text));
}

static int parse(int key, char *arg, struct argp_state *state)
{
        struct ask *a = state->input;

        switch (key) {
        case 't':
                a->type = arg;
                return 0;
        case 'p':
                a->payload = arg;
                return 0;
        case KEY_BATCH:
                a->batch = arg;
                return 0;
        case 'n':
                json_object_set_new(need(&a->task), "name", json_string(arg));
                return 0;
        case 'P':
                json_object_set_new(need(&a->task), "priority", json_string(arg));
                return 0;
        case KEY_DEADLINE:
                set_deadline(need(&a->task), arg);
                return 0;
        case KEY_ATTEMPTS:
                json_object_set_new(need(&a->task), "attempts", json_integer(atoll(arg)));
                return 0;
        case KEY_COST:
                json_object_set_new(need(&a->task), "cost", json_string(arg));
                return 0;
        case KEY_QUEUE:
                json_object_set_new(need(&a->task), "wait_for_workers", json_true());
                return 0;
        case 'd':
                json_object_set_new(need(&a->needs), "device", json_string(arg));
                return 0;
        case 'm':
                json_object_set_new(need(&a->needs), "memory", json_string(arg));
                return 0;
        case 'M':
                json_object_set_new(need(&a->needs), "model", json_string(arg));
                return 0;
        case KEY_WORKER:
                json_object_set_new(need(&a->needs), "worker", json_string(arg));
                return 0;
        case KEY_LABEL:
                add_pair(state, need(&a->labels), arg);
                return 0;
        case KEY_ENV:
                add_pair(state, need(&a->env), arg);
                return 0;
        case KEY_IN:
                add_pair(state, need(&a->in), arg);
                return 0;
        case KEY_OUT:
                add_item(&a->out, arg);
                return 0;
        case KEY_AFTER:
                add_item(&a->after, arg);
                return 0;
        case KEY_KEY:
                a->key = arg;
                return 0;
        case KEY_DRY:
                a->dry_run = true;
                return 0;
        case 'w':
                a->wait = true;
                return 0;
        case 'j':
                a->json = true;
                return 0;
        case ARGP_KEY_ARG:
                a->words = state->next - 1;
                state->next = state->argc;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

static void forget(struct ask *a)
{
        json_decref(a->task);
        json_decref(a->needs);
        json_decref(a->labels);
        json_decref(a->after);
        json_decref(a->in);
        json_decref(a->out);
        json_decref(a->env);
}

static void payload_is_wrong(const struct verb *self, const char *given, const json_error_t *error)
{
        if (error->line < 0) /* jansson's words already name the file and the reason */
                cli_usage(self, "--payload: %s", error->text);
        else
                cli_usage(self, "--payload: %.200s is no JSON: line %d, column %d: %s", given[0] == '@' ? given + 1 : "what was given", error->line, error->column,
                          error->text);
}

/* The payload as given, or an empty object; NULL with a message printed. */
static json_t *payload_of(const struct verb *self, const struct ask *a)
{
        json_error_t error;
        json_t *o;

        if (!a->payload)
                return json_object();
        if (a->payload[0] == '@')
                o = json_load_file(a->payload + 1, JSON_REJECT_DUPLICATES, &error);
        else
                o = json_loads(a->payload, JSON_REJECT_DUPLICATES, &error);
        if (!o)
                payload_is_wrong(self, a->payload, &error);
        else if (!json_is_object(o))
                cli_usage(self, "--payload: an object {…} is expected");
        if (!json_is_object(o)) {
                json_decref(o);
                return NULL;
        }
        return o;
}

/* Sends the files that go along and names them in the payload. */
static int send_files(struct pool_client *c, const struct ask *a, json_t *payload, char message[CLI_MESSAGE])
{
        json_t *list = a->in ? json_array() : NULL, *path;
        const char *name;
        int r = 0;

        json_object_foreach(a->in, name, path) {
                char sha256[65];
                uint64_t bytes;

                r = pool_send_file(c, json_string_value(path), sha256, &bytes, message);
                if (r < 0)
                        break;
                json_array_append_new(list, json_pack("{s:s, s:s, s:I}", "name", name, "sha256", sha256, "bytes", (json_int_t)bytes));
        }
        if (r < 0 || !list)
                json_decref(list);
        else
                json_object_set_new(payload, "files", list);
        return r;
}

/* What a task of a command is called when nobody gave it a name: the program, and its first word where that is a plain file's name or the like. The rest may hold what is
 * not meant for lists. */
static const char *name_of(int argc, char **argv, char *name, size_t size)
{
        static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
        const char *slash = strrchr(argv[0], '/'), *program = slash && slash[1] ? slash + 1 : argv[0], *word = argc > 1 ? argv[1] : "";
        size_t length;

        slash = strrchr(word, '/');
        word = slash ? slash + 1 : word;
        length = strlen(word);
        if (length && length <= 30 && word[0] != '-' && strspn(word, plain) == length)
                snprintf(name, size, "%.30s %s", program, word);
        else
                snprintf(name, size, "%.30s", program);
        return name;
}

static json_t *one_task(const struct verb *self, struct pool_client *c, struct ask *a, int argc, char **argv, int *ret, char message[CLI_MESSAGE])
{
        json_t *payload = payload_of(self, a), *words;
        char name[64];

        *ret = CLI_USAGE;
        if (!payload)
                return NULL;
        if (a->words) {
                words = json_array();
                for (int i = a->words; i < argc; i++)
                        json_array_append_new(words, json_string(argv[i]));
                json_object_set_new(payload, "argv", words);
                if (json_array_size(words) != (size_t)(argc - a->words)) {
                        json_decref(payload);
                        cli_usage(self, "the command is not UTF-8 text");
                        return NULL;
                }
        }
        if (a->env)
                json_object_set(payload, "env", a->env);
        if (a->out)
                json_object_set(payload, "outputs", a->out);
        *ret = send_files(c, a, payload, message);
        if (*ret < 0) {
                cli_error("%s", message);
                *ret = cli_exit_code(*ret);
                json_decref(payload);
                return NULL;
        }
        need(&a->task);
        if (a->words && !json_object_get(a->task, "name"))
                json_object_set_new(a->task, "name", json_string(name_of(argc - a->words, argv + a->words, name, sizeof name)));
        json_object_set_new(a->task, "type", json_string(a->type ? a->type : "command"));
        json_object_set_new(a->task, "payload", payload);
        if (a->labels)
                json_object_set(need(&a->needs), "labels", a->labels);
        if (a->needs)
                json_object_set(a->task, "needs", a->needs);
        if (a->after)
                json_object_set(a->task, "after", a->after);
        return json_incref(a->task);
}

/* The tasks of a file, a line each. NULL with a message printed. */
static json_t *batch_of(const char *path)
{
        FILE *f = strcmp(path, "-") ? fopen(path, "re") : stdin;
        json_t *tasks = json_array(), *one;
        char *line scoped_free = NULL;
        json_error_t error;
        size_t size = 0, number = 0;
        bool good = !!f;

        if (!f)
                cli_error("can't read %s: %s", path, strerror(errno));
        while (good && getline(&line, &size, f) >= 0) {
                number++;
                if (line[strspn(line, " \t\r\n")] == '\0')
                        continue;
                one = json_loads(line, JSON_REJECT_DUPLICATES, &error);
                if (!json_is_object(one)) {
                        cli_error("%s, line %zu: %s", path, number, one ? "an object {…} is expected" : error.text);
                        good = false;
                        json_decref(one);
                } else {
                        json_array_append_new(tasks, one);
                }
        }
        if (f && f != stdin)
                fclose(f);
        if (good && !json_array_size(tasks)) {
                cli_error("%s holds no task", path);
                good = false;
        }
        if (!good) {
                json_decref(tasks);
                return NULL;
        }
        return tasks;
}

/* BATCH at a time, each all or none; their views gather in {"data": […]}. The keys of the parts are the key and a number. */
static int send_batch(struct pool_client *c, const struct ask *a, struct pool_ask *request, const json_t *tasks, json_t **ret_answer, char message[CLI_MESSAGE])
{
        json_t *all = json_array();
        size_t count = json_array_size(tasks);
        int r = 0;

        for (size_t from = 0; r >= 0 && from < count; from += BATCH) {
                json_t *part = json_array(), *answer = NULL, *body;
                char key[300];

                for (size_t i = from; i < count && i < from + BATCH; i++)
                        json_array_append(part, json_array_get(tasks, i));
                body = json_pack("{s:o}", "tasks", part);
                request->body = body;
                snprintf(key, sizeof key, "%.255s-%zu", a->key ? a->key : "", from / BATCH);
                request->key = a->key ? key : NULL;
                r = pool_ask(c, request, &answer, message);
                if (r >= 0)
                        json_array_extend(all, json_object_get(answer, "data"));
                json_decref(answer);
                json_decref(body);
        }
        if (r < 0 && json_array_size(all))
                cli_error("%zu of %zu tasks were taken before this:", json_array_size(all), count);
        *ret_answer = json_pack("{s:s, s:o}", "object", "list", "data", all);
        return r;
}

static int show(const struct ask *a, const json_t *answer)
{
        const json_t *list = json_object_get(answer, "data"), *one;
        struct strbuf b = {0};
        size_t i;
        int r;

        if (a->json)
                return pool_print_json(answer);
        if (a->dry_run) {
                strbuf_add(&b, "it would be taken: %" JSON_INTEGER_FORMAT " worker%s could run it\n", json_integer_value(json_object_get(answer, "workers")),
                           json_integer_value(json_object_get(answer, "workers")) == 1 ? "" : "s");
        } else if (json_is_array(list)) {
                json_array_foreach(list, i, one) strbuf_add(&b, "%s\n", pool_text(one, "id"));
        } else {
                strbuf_add(&b, "%s\n", pool_text(answer, "id"));
        }
        r = b.failed ? CLI_FAILED : cli_print(b.text);
        strbuf_done(&b);
        return r;
}

static int run(const struct verb *self, int argc, char **argv)
{
        scoped_pool struct pool_client c = {0};
        struct pool_ask request = {.method = "POST", .path = "/api/v1/tasks"};
        json_t *body = NULL, *answer = NULL;
        char message[CLI_MESSAGE];
        struct ask a = {0};
        int r;

        cli_parse(self, argc, argv, &a);
        if (!!a.words + !!a.batch + (a.payload && !a.words) != 1 && !(a.type && !a.words && !a.batch)) {
                forget(&a);
                return cli_usage(self, "what is to run? a command, or --type with --payload, or --batch");
        }
        if (a.batch && (a.task || a.needs || a.labels || a.after || a.in || a.out || a.env || a.type)) {
                forget(&a);
                return cli_usage(self, "with --batch everything about a task stands in its line");
        }
        r = pool_open(&c, message);
        if (r < 0) {
                cli_error("%s", message);
                forget(&a);
                return cli_exit_code(r);
        }
        body = a.batch ? batch_of(a.batch) : one_task(self, &c, &a, argc, argv, &r, message);
        if (!body) {
                forget(&a);
                return a.batch ? CLI_FAILED : r;
        }
        request.body = body;
        request.key = a.key;
        if (a.dry_run)
                request.path = "/api/v1/tasks?dry_run=true";
        r = a.batch ? send_batch(&c, &a, &request, body, &answer, message) : pool_ask(&c, &request, &answer, message);
        if (r < 0) {
                if (a.json && answer)
                        pool_print_json(answer);
                cli_error("%s", message);
                r = cli_exit_code(r);
        } else if (a.wait && !a.dry_run) {
                r = pool_watch(&c, answer, a.json, true);
        } else {
                r = show(&a, answer);
        }
        json_decref(answer);
        json_decref(body);
        forget(&a);
        return r;
}

const struct verb verb_submit = {
        .name = "submit",
        .arguments = "[--] COMMAND [ARGS...]\n--type TYPE --payload JSON|@FILE\n--batch FILE",
        .words = "@program",
        .summary = "give the pool a task, or a batch of them",
        .more = "Prints the ids. The task is stored when this returns; `berth watch', `berth result' and `berth tasks' show how it goes on.\n\n"
                "Examples:\n\n"
                "  berth submit --wait -- sh -c 'echo hello; sleep 2; echo bye'\n"
                "  berth submit --device gpu --memory 24GiB --file-in train.py=./train.py \\\n    -- python3 train.py\n"
                "  berth submit --type validate --payload @rules.json --wait \\\n    --file-in data.jsonl=./data.jsonl\n"
                "  berth submit --batch tasks.jsonl",
        .options = options,
        .parse = parse,
        .argp_flags = ARGP_IN_ORDER,
        .run = run,
};
