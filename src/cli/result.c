/* result.c: `berth result TASK`: what a task gave: its result, its output, its files. */
#include "cli/pool-client.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct ask {
        const char *id, *files;
        bool log, json, wait;
};

static const struct argp_option options[] = {
        {"log", 'l', NULL, 0, "its output so far instead", 0},
        {"files", 'f', "FOLDER", 0, "also fetch its artifacts into this folder", 0},
        {"wait", 'w', NULL, 0, "wait until it ended", 0},
        {"json", 'j', NULL, 0, "print the whole task as JSON", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct ask *a = state->input;

        switch (key) {
        case 'l':
                a->log = true;
                return 0;
        case 'f':
                a->files = arg;
                return 0;
        case 'w':
                a->wait = true;
                return 0;
        case 'j':
                a->json = true;
                return 0;
        case ARGP_KEY_ARG:
                if (a->id)
                        return ARGP_ERR_UNKNOWN;
                a->id = arg;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

/* A name that stays inside the folder. */
static bool is_safe(const char *name)
{
        if (name[0] == '/' || !name[0] || strlen(name) > 500)
                return false;
        for (const char *p = name; *p;) {
                size_t n = strcspn(p, "/");

                if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
                        return false;
                p += n + (p[n] == '/');
        }
        return true;
}

static int make_folders(int folder, const char *name, char message[CLI_MESSAGE])
{
        char path[512];

        for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
                snprintf(path, sizeof path, "%.*s", (int)(slash - name), name);
                if (mkdirat(folder, path, 0777) < 0 && errno != EEXIST) {
                        snprintf(message, CLI_MESSAGE, "can't make the folder %.300s: %s", path, strerror(errno));
                        return -errno;
                }
        }
        return 0;
}

static bool is_digest(int fd, const char *sha256)
{
        uint64_t bytes;
        char found[65];

        return pool_digest(fd, found, &bytes) >= 0 && !strcmp(found, sha256);
}

/* One artifact beside its final name, checked, then renamed: what bears the name is whole. */
static int fetch_one(struct pool_client *c, int folder, const json_t *artifact, char message[CLI_MESSAGE])
{
        const char *name = pool_text(artifact, "name"), *sha256 = pool_text(artifact, "sha256");
        char path[160], part[540];
        uint64_t bytes = 0;
        struct stat st;
        int r;

        if (!is_safe(name)) {
                snprintf(message, CLI_MESSAGE, "the artifact's name \"%.200s\" leaves the folder; it is not fetched", name);
                return -EINVAL;
        }
        r = make_folders(folder, name, message);
        if (r < 0)
                return r;
        snprintf(part, sizeof part, "%s.part", name);
        {
                scoped_fd int fd = openat(folder, part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_APPEND, 0666);

                if (fd < 0 || fstat(fd, &st) < 0) {
                        r = -errno;
                        snprintf(message, CLI_MESSAGE, "can't write %.300s: %s", part, strerror(errno));
                        return r;
                }
                snprintf(path, sizeof path, "/api/v1/artifacts/%.64s", sha256);
                r = pool_fetch(c, path, (uint64_t)st.st_size, fd, &bytes, message);
                if (r < 0)
                        return r;
                if (!is_digest(fd, sha256)) {
                        unlinkat(folder, part, 0);
                        snprintf(message, CLI_MESSAGE, "%.300s did not arrive whole (wrong SHA-256); try again", name);
                        return -EBADMSG;
                }
        }
        if (renameat(folder, part, folder, name) < 0) {
                r = -errno;
                snprintf(message, CLI_MESSAGE, "can't rename %.300s: %s", part, strerror(errno));
                return r;
        }
        fprintf(stderr, "%s\n", name);
        return 0;
}

static int fetch_all(struct pool_client *c, const char *where, const json_t *list, char message[CLI_MESSAGE])
{
        scoped_fd int folder = -1;
        const json_t *one;
        size_t i;
        int r = 0;

        if ((mkdir(where, 0777) < 0 && errno != EEXIST) || (folder = open(where, O_DIRECTORY | O_CLOEXEC)) < 0) {
                r = -errno;
                snprintf(message, CLI_MESSAGE, "can't use the folder %.300s: %s", where, strerror(errno));
                return r;
        }
        json_array_foreach(list, i, one) {
                r = fetch_one(c, folder, one, message);
                if (r < 0)
                        break;
        }
        return r;
}

static int show(const json_t *task)
{
        const json_t *result = json_object_get(task, "result"), *error = json_object_get(task, "error");
        const char *state = pool_text(task, "state");
        int r = CLI_OK;

        if (result && !json_is_null(result)) {
                if (json_is_string(result))
                        r = puts(json_string_value(result)) < 0 ? CLI_FAILED : cli_print(NULL);
                else
                        r = pool_print_json(result);
        }
        if (!strcmp(state, "done"))
                return r;
        if (json_is_object(error))
                cli_error("the task is %s: %s", state, pool_text(error, "text"));
        else
                cli_error("the task is %s; --wait waits for it", state);
        return CLI_FAILED;
}

static int run(const struct verb *self, int argc, char **argv)
{
        scoped_pool struct pool_client c = {0};
        struct pool_ask ask = {.method = "GET", .timeout_s = 90};
        char message[CLI_MESSAGE], path[128];
        json_t *task = NULL;
        struct ask a = {0};
        uint64_t bytes;
        int r;

        cli_parse(self, argc, argv, &a);
        if (!a.id || !pool_is_id(a.id))
                return cli_usage(self, "which task? its id, as `berth tasks' lists it");
        r = pool_open(&c, message);
        if (r >= 0 && a.log) {
                snprintf(path, sizeof path, "/api/v1/tasks/%s/log", a.id);
                r = pool_fetch(&c, path, 0, STDOUT_FILENO, &bytes, message);
                if (r < 0)
                        cli_error("%s", message);
                return cli_exit_code(r);
        }
        for (bool again = r >= 0; again;) {
                json_decref(task);
                task = NULL;
                snprintf(path, sizeof path, "/api/v1/tasks/%s%s", a.id, a.wait ? "?wait=30" : "");
                ask.path = path;
                r = pool_ask(&c, &ask, &task, message);
                again = r >= 0 && a.wait && !json_is_string(json_object_get(task, "ended"));
        }
        if (r >= 0 && a.files)
                r = fetch_all(&c, a.files, json_object_get(task, "artifacts"), message);
        if (r < 0) {
                cli_error("%s", message);
                r = cli_exit_code(r);
        } else {
                r = a.json ? pool_print_json(task) : show(task);
        }
        json_decref(task);
        return r;
}

const struct verb verb_result = {
        .name = "result",
        .arguments = "TASK",
        .summary = "show what a task gave: result, output, files",
        .more = "Examples:\n\n  berth result --wait task_0192f0c1…\n  berth result --log task_0192f0c1…\n  berth result --files out task_0192f0c1…",
        .options = options,
        .parse = parse,
        .run = run,
};
