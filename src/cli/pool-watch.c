/* pool-watch.c: tasks followed until they end; see pool-watch.h. */
#include "cli/pool-watch.h"

#include "base/error.h"
#include "base/strbuf.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SHOWN 20 /* bars at once */

struct followed {
        char id[64], name[48], state[16], text[80];
        double share;
        bool ended, done;
        uint64_t log; /* bytes of its output seen */
};

struct watch {
        struct pool_client *c;
        struct followed *tasks;
        size_t count, left;
        bool json, live, all, single;
        size_t drawn;
        json_t *last; /* of the single one: its view when it ended */
};

static bool has_ended(const char *state)
{
        static const char *const ends[] = {"done", "failed", "dead", "cancelled", "expired"};

        for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
                if (!strcmp(state, ends[i]))
                        return true;
        return false;
}

static struct followed *find(struct watch *w, const char *id)
{
        for (size_t i = 0; id && i < w->count; i++)
                if (!strcmp(w->tasks[i].id, id))
                        return &w->tasks[i];
        return NULL;
}

/* A name for people, from a view that has one; the id stays otherwise. */
static void take_name(struct followed *f, const json_t *view)
{
        const char *name = json_string_value(json_object_get(view, "name"));

        if (name && name[0])
                text_copy_clean(f->name, sizeof f->name, name);
}

static bool add(struct watch *w, const json_t *task)
{
        struct followed *grown = realloc(w->tasks, (w->count + 1) * sizeof *grown), *f;
        const char *id = json_string_value(json_object_get(task, "id"));

        if (!grown)
                return false;
        w->tasks = grown;
        if (!id || find(w, id))
                return true;
        f = &w->tasks[w->count++];
        *f = (struct followed){0};
        snprintf(f->id, sizeof f->id, "%s", id);
        snprintf(f->name, sizeof f->name, "%s", id);
        take_name(f, task);
        w->left++;
        return true;
}

/* ---- what is printed --------------------------------------------------------------------------------------------- */

static void erase(struct watch *w)
{
        if (w->drawn)
                printf("\x1b[%zuA\x1b[J", w->drawn);
        w->drawn = 0;
}

static void draw(struct watch *w)
{
        size_t done = w->count - w->left, shown = 0, width = 80;
        struct winsize size;

        if (!w->live || w->json)
                return;
        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20)
                width = size.ws_col;
        erase(w);
        for (size_t i = 0; i < w->count && shown < SHOWN; i++) {
                const struct followed *f = &w->tasks[i];
                char bar[21];
                int full = (int)(f->share * 20);

                if (f->ended || (strcmp(f->state, "leased") && w->count > SHOWN))
                        continue;
                for (int b = 0; b < 20; b++)
                        bar[b] = b < full ? '#' : '.';
                bar[20] = '\0';
                printf("%-24.24s %-8s [%s] %.*s\n", f->name, f->state, bar, (int)(width > 60 ? width - 60 : 0), f->text);
                shown++;
        }
        if (!w->single)
                printf("%zu of %zu ended\n", done, w->count), shown++;
        w->drawn = shown;
        fflush(stdout);
}

/* One of several has changed. */
static void say(struct watch *w, const struct followed *f)
{
        if (w->json || w->single || (!f->ended && w->live))
                return;
        erase(w);
        printf("%-24s %s\n", f->name, f->state);
}

/* How the one task ended, in full: events tell only that it did. */
static int conclude(struct watch *w, char message[CLI_MESSAGE])
{
        struct pool_ask ask = {.method = "GET"};
        char path[128], clean[400] = "";
        const char *error;
        int r;

        snprintf(path, sizeof path, "/api/v1/tasks/%s", w->tasks[0].id);
        ask.path = path;
        r = pool_ask(w->c, &ask, &w->last, message);
        if (r < 0 || w->json)
                return r;
        error = json_string_value(json_object_get(json_object_get(w->last, "error"), "text"));
        if (error)
                text_copy_clean(clean, sizeof clean, error);
        fflush(stdout);
        fprintf(stderr, "%s%s%s\n", pool_text(w->last, "state"), clean[0] ? ": " : "", clean);
        return 0;
}

/* The task's output, behind what was seen. */
static int catch_up(struct watch *w, struct followed *f, char message[CLI_MESSAGE])
{
        char path[160];
        uint64_t bytes = 0;
        int r;

        if (!w->single || w->json)
                return 0;
        erase(w);
        fflush(stdout);
        snprintf(path, sizeof path, "/api/v1/tasks/%s/log", f->id);
        r = pool_fetch(w->c, path, f->log, STDOUT_FILENO, &bytes, message);
        if (r == -ENOENT)
                return 0;
        f->log += bytes;
        return r;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static void take_task(struct watch *w, const json_t *data, const char *id)
{
        struct followed *f = find(w, id ? id : json_string_value(json_object_get(data, "id")));
        const char *state = json_string_value(json_object_get(data, "state"));
        const json_t *progress = json_object_get(data, "progress");

        if (!f && w->all && add(w, data) && w->count)
                f = find(w, json_string_value(json_object_get(data, "id")));
        if (!f)
                return;
        take_name(f, data);
        if (!progress && json_object_get(data, "share"))
                progress = data;
        if (progress) {
                f->share = json_number_value(json_object_get(progress, "share"));
                f->share = f->share < 0 ? 0 : f->share > 1 ? 1 : f->share;
                if (json_object_get(progress, "text"))
                        text_copy_clean(f->text, sizeof f->text, pool_text(progress, "text"));
        }
        if (!state || !strcmp(state, f->state))
                return;
        snprintf(f->state, sizeof f->state, "%.15s", state);
        if (f->ended)
                return;
        f->ended = has_ended(state);
        f->done = !strcmp(state, "done");
        w->left -= f->ended;
        say(w, f);
}

/* A task that a whole snapshot does not hold has ended before it: its end will not be told. */
static bool has_missing(const struct watch *w, const json_t *snapshot)
{
        const json_t *unfinished = json_object_get(snapshot, "unfinished"), *one;

        if (w->all || json_integer_value(json_object_get(snapshot, "unfinished_left_out")) > 0)
                return false;
        for (size_t i = 0; i < w->count; i++) {
                bool there = w->tasks[i].ended;
                size_t j;

                json_array_foreach(unfinished, j, one) there = there || !strcmp(pool_text(one, "id"), w->tasks[i].id);
                if (!there)
                        return true;
        }
        return false;
}

/* A part of the output that follows what was shown; false: it does not, the pool's copy is to be asked. */
static bool take_output(struct watch *w, struct followed *f, const json_t *data)
{
        const json_t *text = json_object_get(data, "text");
        size_t n = json_string_length(text);

        if (!json_is_string(text) || (uint64_t)json_integer_value(json_object_get(data, "offset")) != f->log ||
            (uint64_t)json_integer_value(json_object_get(data, "bytes")) != n)
                return false;
        erase(w);
        fwrite(json_string_value(text), 1, n, stdout);
        fflush(stdout);
        f->log += n;
        return true;
}

#define ENDED 1

static int event(void *context, const char *type, const json_t *whole)
{
        struct watch *w = context;
        const json_t *data = json_object_get(whole, "data"), *one;
        const char *id = json_string_value(json_object_get(whole, "task"));
        size_t i;

        if (!data)
                data = whole;
        if (w->json) {
                char *text scoped_free = json_dumps(whole, JSON_COMPACT);

                if (text && (w->all || !strcmp(type, "snapshot") || find(w, id)))
                        puts(text);
                fflush(stdout);
        }
        if (!strcmp(type, "snapshot")) {
                json_array_foreach(json_object_get(data, "unfinished"), i, one) take_task(w, one, NULL);
                if (has_missing(w, data))
                        return ENDED;
        } else if (!strcmp(type, "task.log")) {
                return w->single && !w->json && !take_output(w, &w->tasks[0], data) ? ENDED : 0;
        } else {
                take_task(w, data, id);
        }
        draw(w);
        return !w->all && !w->left ? ENDED : 0;
}

/* Tasks that ended before the stream began, or are not in a snapshot that is bounded. */
static int refresh(struct watch *w, char message[CLI_MESSAGE])
{
        for (size_t i = 0; i < w->count; i++) {
                struct pool_ask ask = {.method = "GET"};
                json_t *answer = NULL;
                char path[128];
                int r;

                if (w->tasks[i].ended)
                        continue;
                snprintf(path, sizeof path, "/api/v1/tasks/%s", w->tasks[i].id);
                ask.path = path;
                r = pool_ask(w->c, &ask, &answer, message);
                if (r < 0) {
                        json_decref(answer);
                        return r;
                }
                take_task(w, answer, NULL);
                json_decref(answer);
        }
        return 0;
}

static int follow(struct watch *w, char message[CLI_MESSAGE])
{
        char path[160] = "/api/v1/events";
        int r = 0;

        if (w->count == 1)
                snprintf(path, sizeof path, "/api/v1/tasks/%s/events", w->tasks[0].id);
        while (r >= 0 && (w->all || w->left)) {
                r = refresh(w, message);
                if (r >= 0 && w->single)
                        r = catch_up(w, &w->tasks[0], message);
                if (r >= 0 && (w->all || w->left)) {
                        draw(w);
                        r = pool_follow(w->c, path, event, w, message);
                }
        }
        if (r >= 0 && w->single)
                r = catch_up(w, &w->tasks[0], message);
        return r < 0 || !w->single ? r : conclude(w, message);
}

static int verdict(const struct watch *w, bool exit_code)
{
        size_t failed = 0;

        for (size_t i = 0; i < w->count; i++)
                failed += w->tasks[i].ended && !w->tasks[i].done;
        if (!failed)
                return CLI_OK;
        if (w->single && exit_code) {
                const json_t *code = json_object_get(json_object_get(w->last, "error"), "exit");
                json_int_t n = json_integer_value(code);

                if (json_is_integer(code) && n > 0 && n < 256)
                        return (int)n;
        }
        if (!w->single)
                cli_error("%zu of %zu tasks did not end well", failed, w->count);
        return CLI_FAILED;
}

int pool_watch(struct pool_client *c, const json_t *answer, bool json, bool exit_code)
{
        struct watch w = {.c = c, .json = json, .live = isatty(STDOUT_FILENO), .all = !answer};
        const json_t *list = json_object_get(answer, "data"), *one;
        char message[CLI_MESSAGE] = "";
        bool good = true;
        size_t i;
        int r;

        if (json_is_array(list)) {
                json_array_foreach(list, i, one) good = good && add(&w, one);
        } else if (answer) {
                good = add(&w, answer);
        }
        w.single = w.count == 1 && !w.all;
        if (!good) {
                cli_error("out of memory");
                r = CLI_FAILED;
        } else {
                r = follow(&w, message);
                erase(&w);
                if (r < 0) {
                        cli_error("%s", message);
                        r = cli_exit_code(r);
                } else {
                        r = verdict(&w, exit_code);
                }
        }
        json_decref(w.last);
        free(w.tasks);
        return r;
}
