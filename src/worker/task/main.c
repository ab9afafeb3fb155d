/* main.c: `berth-task`: reads its orders from descriptor 3, lowers itself, becomes the program or runs the function. Not for people: berth-worker starts it. */
#include "worker/task/task.h"

#include "base/error.h"
#include "base/fd.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#ifdef __SANITIZE_ADDRESS__
/* Behind the system call filter the search for leaks can't stop the other threads; what is kept back for finding late uses counts against the task. */
const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void)
{
        return "detect_leaks=0:quarantine_size_mb=16";
}
#endif

static void tell(const char *kind, const char *text, int temporary)
{
        json_t *o = json_pack("{s:s, s:s, s:b}", "m", kind, "text", text, "temporary", temporary);
        char *line scoped_free = o ? json_dumps(o, JSON_COMPACT) : NULL;

        json_decref(o);
        if (line)
                dprintf(TASK_FD, "%s\n", line);
}

/* The orders: one line, read byte by byte in effect, since what comes after it is not ours to take. */
static json_t *read_orders(void)
{
        char *text scoped_free = malloc(TASK_ORDERS);
        size_t length = 0;

        while (text && length < TASK_ORDERS) {
                ssize_t n = read(TASK_FD, text + length, TASK_ORDERS - length);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return NULL;
                length += (size_t)n;
                if (text[length - 1] == '\n') /* the runner sends nothing after it */
                        return json_loadb(text, length - 1, 0, NULL);
        }
        return NULL;
}

static int become(const json_t *argv, const json_t *env)
{
        size_t count = json_array_size(argv), n = 0, i;
        char **words scoped_free = calloc(count + 1, sizeof *words), **variables scoped_free = calloc(json_object_size(env) + 1, sizeof *variables);
        const char *key;
        char text[512];
        json_t *v;
        int error;

        if (!words || !variables)
                return 126;
        json_array_foreach (argv, i, v)
                words[i] = (char *)json_string_value(v);
        json_object_foreach ((json_t *)env, key, v)
                if (asprintf(&variables[n], "%s=%s", key, json_string_value(v)) >= 0)
                        n++;
        for (size_t k = 0; k < n; k++)
                if (!strncmp(variables[k], "PATH=", 5))
                        setenv("PATH", variables[k] + 5, 1); /* where execvpe looks */
        execvpe(words[0], words, variables);
        error = errno;
        snprintf(text, sizeof text, "can't start \"%.200s\": %s", words[0], strerror(error));
        tell("exec", text, 0);
        return error == ENOENT ? 127 : 126;
}

static int run_function(const char *name, const json_t *orders)
{
        struct task t = {.payload = json_object_get(orders, "payload"), .read = json_object_get(orders, "read"), .write = json_object_get(orders, "write"),
                         .report = json_object()};
        const struct task_function *f = task_functions;
        char *line scoped_free = NULL;
        json_t *o;
        int r;

        while (f->name && strcmp(f->name, name) != 0)
                f++;
        if (!f->name) {
                tell("fail", "no such function", 0);
                return 1;
        }
        r = f->run(&t);
        if (r < 0) {
                tell("fail", t.message[0] ? t.message : error_text(r), r == -EAGAIN || r == -EIO || r == -ENOSPC || r == -ENOMEM);
                return r == -EAGAIN ? TASK_TEMPORARY : 1;
        }
        o = json_pack("{s:s, s:o}", "m", "result", "result", t.report);
        line = json_dumps(o, JSON_COMPACT);
        json_decref(o);
        if (!line || dprintf(TASK_FD, "%s\n", line) < 0)
                return TASK_TEMPORARY;
        return 0;
}

int main(int argc, char **argv)
{
        const char *step, *function;
        json_t *orders;
        int r;

        if (argc == 2 && !strcmp(argv[1], "--version")) {
                puts("berth-task " BERTH_VERSION);
                return 0;
        }
        if (fcntl(TASK_FD, F_GETFD) < 0) {
                fputs("berth-task: it is started by berth-worker and does nothing alone\n", stderr);
                return 2;
        }
        umask(077);
        orders = read_orders();
        if (!orders) {
                tell("exec", "no orders came", 1);
                return TASK_TEMPORARY;
        }
        r = inside_lower(orders, &step);
        if (r < 0) {
                char text[256];

                snprintf(text, sizeof text, "can't confine the task (%s): %s", step, error_text(r));
                tell("exec", text, 1);
                return TASK_TEMPORARY;
        }
        tell("inside", "", 0);
        function = json_string_value(json_object_get(orders, "function"));
        if (function)
                return run_function(function, orders);
        return become(json_object_get(orders, "argv"), json_object_get(orders, "env"));
}
