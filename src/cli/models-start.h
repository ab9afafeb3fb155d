/* models-start.h: `berth models start` and `stop`: a wish about a model told to the pool, and, with --wait, followed until the model is ready or can't be.
 *
 * The exit code is CLI_OK when the wish was heard (with wait: the model is ready). With wait, each word of its engine goes to standard error as it
 * comes; an engine that fails, a worker that is away and a model that is taken out of its catalogue meanwhile end it with a message that says why.
 */
#pragma once

#include "cli/pool-client.h"

struct wish {
        const char *what, *name; /* "start" or "stop"; a model's name */
        bool wait, json;
};

int models_wish(const struct wish *wish);

/* What an answer of /api/v1/models/NAME, or the data of a model.changed, means for who waits. Pure. */
enum start_state { START_GOES_ON, START_READY, START_FAILED };
/* asked: the wish was told before this was said, so that a failure is of this start. was_starting: seen so since. text: of a failure why, else what
 * the engine last said, "" for nothing; printable. */
enum start_state models_start_state(const json_t *model, bool asked, bool was_starting, char text[CLI_MESSAGE]);
