/* generation.h: asking a model for text over OpenAI's interface, streamed, with figures, and to be broken off.
 *
 * generation_ask sends body to path (/v1/chat/completions or /v1/completions) with streaming and usage asked for, and tells the listener what comes: each piece of
 * text, and, from a pool, why the answer has not begun yet. 0: the answer is complete (or *stop became other than 0: then stopped is set). Errors are those of
 * pool-client.h; an answer that breaks off in the middle is -EIO.
 */
#pragma once

#include "cli/pool-client.h"

#include <signal.h>

struct generation {
        struct strbuf text;      /* all of it */
        char finish[32];         /* "stop", "length", or "" when it was not told */
        int64_t prompt, tokens;  /* as the server counted them, or -1: unavailable */
        uint64_t first_ns;       /* until the first text; 0: none came */
        uint64_t whole_ns;
        bool stopped;
};

typedef void (*generation_fn)(void *context, const char *text, size_t length);

struct generation_listener {
        generation_fn text;                /* or NULL */
        generation_fn waits;               /* "waiting position 3 (its engine is starting)", again and again; or NULL */
        void *context;                     /* of both */
        const volatile sig_atomic_t *stop; /* or NULL: never */
};

must_check int generation_ask(struct pool_client *c, const char *path, json_t *body, const struct generation_listener *listener, struct generation *ret,
                              char message[CLI_MESSAGE]);
void generation_done(struct generation *g);
#define scoped_generation __attribute__((cleanup(generation_done)))

/* "12 tokens, first after 0.21 s, 45.1 tokens/s"; what was not measured is left out, or called unavailable. */
void generation_figures(const struct generation *g, char *text, size_t size);

/* Opens the pool that is known here, or, with url, any server of OpenAI's interface there, with the key in BERTH_TOKEN. */
must_check int generation_open(struct pool_client *c, const char *url, char message[CLI_MESSAGE]);
