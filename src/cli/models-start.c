/* models-start.c: starts and stops a model, and follows a start to its end; see models-start.h.
 *
 * The stream of events is opened first and the wish told when its first event is there: no change is missed, and a failure that is told from then on is of
 * this start and not of an earlier one.
 */
#include "cli/models-start.h"

#include "base/clock.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- what is told ------------------------------------------------------------------------------------------------------------ */

/* The first of its engines in that state stands for the model. */
static const json_t *speaker(const json_t *model, const char *state)
{
        const json_t *one;
        size_t i;

        json_array_foreach (json_object_get(model, "workers"), i, one)
                if (!strcmp(pool_text(one, "state"), state))
                        return one;
        return json_array_get(json_object_get(model, "workers"), 0);
}

enum start_state models_start_state(const json_t *model, bool asked, bool was_starting, char text[CLI_MESSAGE])
{
        const char *state = pool_text(model, "state");
        const json_t *who = speaker(model, state);
        const char *said = json_string_value(json_object_get(who, "text"));
        char reason[CLI_MESSAGE / 2];

        text_copy_clean(reason, sizeof reason, said ? said : "");
        text_copy_clean(text, CLI_MESSAGE, reason);
        if (!strcmp(state, "ready"))
                return START_READY;
        if (!strcmp(state, "failed")) {
                /* Nobody starts a server that is there anyway: as it is, it stays. */
                if (!asked && strcmp(pool_text(who, "kind"), "url") != 0)
                        return START_GOES_ON;
                snprintf(text, CLI_MESSAGE, "%s", reason[0] ? reason : "its worker does not say why; that worker's log may");
                return START_FAILED;
        }
        if (!strcmp(state, "away")) {
                snprintf(text, CLI_MESSAGE, "no worker that has it is connected");
                return START_FAILED;
        }
        if (!strcmp(state, "gone")) {
                snprintf(text, CLI_MESSAGE, "no worker has it any more");
                return START_FAILED;
        }
        if (!strcmp(state, "cold") && was_starting) {
                snprintf(text, CLI_MESSAGE, "it was stopped before it was ready%s%s", reason[0] ? ": " : "", reason);
                return START_FAILED;
        }
        return START_GOES_ON;
}

/* ---- waiting ------------------------------------------------------------------------------------------------------------------ */

struct waiting {
        const struct wish *wish;
        struct pool_client other; /* for questions while the stream goes on */
        char path[400];           /* of the model */
        char shown[CLI_MESSAGE];  /* the last line about it */
        char message[CLI_MESSAGE];
        json_t *last;
        uint64_t begin_ns;
        bool asked, was_starting, live;
        int error; /* of a question, negative */
        enum start_state state;
};

static void show(struct waiting *w, const json_t *model)
{
        char line[CLI_MESSAGE], seconds[24];

        if (w->wish->json || w->state != START_GOES_ON)
                return;
        snprintf(line, sizeof line, "%.100s: %.20s%s%.300s", w->wish->name, pool_text(model, "state"), w->message[0] ? ": " : "", w->message);
        if (!strcmp(line, w->shown))
                return;
        snprintf(w->shown, sizeof w->shown, "%s", line);
        if (w->live)
                fprintf(stderr, "\r\033[K%6s  %.*s", text_duration(clock_now_ns() - w->begin_ns, seconds, sizeof seconds), 68, line);
        else
                fprintf(stderr, "%s\n", line);
}

static void hear(struct waiting *w, const json_t *model, bool asked)
{
        w->was_starting = w->was_starting || !strcmp(pool_text(model, "state"), "starting");
        w->state = models_start_state(model, asked, w->was_starting, w->message);
        json_decref(w->last);
        w->last = json_incref((json_t *)model);
        show(w, model);
}

static int tell_wish(struct pool_client *c, const struct wish *wish, const char *path, json_t **ret_answer, char message[CLI_MESSAGE])
{
        char at[440];
        const struct pool_ask ask = {.method = "POST", .path = at};

        snprintf(at, sizeof at, "%s/%s", path, wish->what);
        return pool_ask(c, &ask, ret_answer, message);
}

/* The stream stands: the wish, once, and how the model is. */
static int begin(struct waiting *w)
{
        const struct pool_ask ask = {.method = "GET", .path = w->path};
        json_t *answer = NULL;

        if (!w->asked) {
                w->error = tell_wish(&w->other, w->wish, w->path, &answer, w->message);
                json_decref(answer);
                answer = NULL;
        }
        if (w->error >= 0)
                w->error = pool_ask(&w->other, &ask, &answer, w->message);
        if (w->error >= 0)
                hear(w, answer, w->asked); /* at first it may not have heard of the wish */
        json_decref(answer);
        w->asked = true;
        return w->error < 0 || w->state != START_GOES_ON;
}

static int event(void *context, const char *type, const json_t *whole)
{
        const json_t *data = json_object_get(whole, "data");
        struct waiting *w = context;

        if (!strcmp(type, "snapshot"))
                return begin(w);
        if (w->asked && !strcmp(type, "model.changed") && !strcmp(pool_text(data, "name"), w->wish->name))
                hear(w, data, true);
        return w->state != START_GOES_ON;
}

static int conclude(struct waiting *w)
{
        char seconds[24];

        if (w->live && w->shown[0])
                fputs("\r\033[K", stderr);
        if (w->error < 0) {
                cli_error("%s", w->message);
                return cli_exit_code(w->error);
        }
        if (w->state == START_FAILED)
                cli_error("%s did not start: %s", w->wish->name, w->message);
        if (w->wish->json)
                pool_print_json(w->last);
        else if (w->state == START_READY)
                printf("%s: ready after %s\n", w->wish->name, text_duration(clock_now_ns() - w->begin_ns, seconds, sizeof seconds));
        return w->state == START_READY ? cli_print(NULL) : CLI_FAILED;
}

static int wait_for(struct pool_client *c, const struct wish *wish, const char *path)
{
        struct waiting w = {.wish = wish, .begin_ns = clock_now_ns(), .live = !wish->json && isatty(STDERR_FILENO)};
        int r = pool_open(&w.other, w.message);

        snprintf(w.path, sizeof w.path, "%s", path);
        if (r >= 0)
                r = pool_follow(c, "/api/v1/events", event, &w, w.message);
        if (r < 0)
                w.error = r;
        r = conclude(&w);
        json_decref(w.last);
        pool_close(&w.other);
        return r;
}

/* ---- the wish ------------------------------------------------------------------------------------------------------------------ */

int models_wish(const struct wish *wish)
{
        scoped_pool struct pool_client c = {0};
        char message[CLI_MESSAGE], path[400], *escaped;
        json_t *answer = NULL;
        int r = pool_open(&c, message);

        if (r < 0) {
                cli_error("%s", message);
                return CLI_UNAVAILABLE;
        }
        escaped = curl_easy_escape(c.curl, wish->name, 0);
        snprintf(path, sizeof path, "/api/v1/models/%s", escaped ? escaped : "");
        curl_free(escaped);
        if (wish->wait)
                return wait_for(&c, wish, path);
        r = tell_wish(&c, wish, path, &answer, message);
        if (r < 0) {
                cli_error("%s", message);
                r = cli_exit_code(r);
        } else if (wish->json) {
                r = answer ? pool_print_json(answer) : CLI_OK;
        } else {
                printf("%s: asked to %s; `berth models' tells how it goes\n", wish->name, wish->what);
                r = cli_print(NULL);
        }
        json_decref(answer);
        return r;
}
