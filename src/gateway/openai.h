/* openai.h: what OpenAI's clients ask (/v1): a request for a model on its way to an engine and back.
 *
 *   openai.c        bodies looked over (scan.h), routes of requests
 *   relay.c         one request's life: waits (service/engines.h), is sent to an engine (upstream.h), its answer handed on; retried once, ended by either side
 *   relay-answer.c  what the client gets: answers, event streams (sse.h), errors in the middle
 *   models.c        lists of models, wishes to start and stop
 *   cache.c         answers kept for the same request
 *   meter.c         times to the first token and between tokens, tokens
 *
 * A request that is streamed to its client ends with [DONE] only if its engine said so; if that dies, with an event that holds an error, and then in order: a client that sees a body break off
 * may throw away what it has not read yet, the error with it. Before the first byte of an answer a request goes to another engine once. Whoever leaves takes its request out of the queue, or
 * its connection away from the engine, which so ends its work.
 */
#pragma once

#include "gateway/cache.h"
#include "gateway/gateway.h"
#include "gateway/meter.h"
#include "gateway/sse.h"
#include "gateway/upstream.h"

#include "service/engines.h"

struct generations;

/* A request for a model. */
struct generation {
        struct generate_request ask;     /* first: the service hands it back */
        struct generations *all;
        struct generation *prev, *next;
        struct request *request;         /* NULL: its client left */
        struct upstream *upstream;
        const struct openai_way *way;
        struct sse sse;
        struct strbuf answer;            /* of one that is not streamed */
        uint64_t asked_ns, sent_ns, first_ns, last_ns; /* 0: not yet */
        uint64_t comment_ms;             /* when its client is to hear that it waits */
        struct limit_party *party;       /* whose tokens it takes; held until it is over */
        struct limit_state allowance;    /* of tokens */
        struct id account;
        uint64_t retry_after_s, reserved, estimated, taken; /* tokens: reserved; of the prompt, as estimated; taken from the limit */
        char model[GENERATE_MODEL], worker[64], type[64];
        int status;
        uint32_t engine;
        uint8_t key[CACHE_KEY];
        bool caching;                    /* its answer is kept under the key */
        bool stream, opened, streaming, broken, tried, comments;
        const char *broken_text;
};

struct openai_way {
        const char *path;
        unsigned task;                   /* enum service_engine_task */
        const char *name;
};

must_check int generations_open(struct server *server, struct generations **ret_all);
/* Ends what is left, tells the streams that the pool is stopping. */
void generations_stop(struct generations *all);
void generations_close(struct generations *all);
/* Once the service is there. */
void generations_listen(struct generations *all);
void generations_tick(struct generations *all);
struct strbuf;
void generations_metrics(struct generations *all, struct strbuf *text);

/* relay.c. The generation is begun: it waits, runs, or has been refused and is gone. */
void relay_begin(struct generation *g);
/* The engine has ended its answer, whole or not (text), or was found broken: over for its client and for the engine. */
void relay_over(struct generation *g, const char *code, const char *text);
struct generations {
        struct server *server;
        struct upstreams *upstreams;
        struct generation *list;
        struct meter meter;
        struct cache cache;
        size_t count;
        uint64_t finished, failed, cancelled, retried, refused, cache_hits, cache_misses, broken;
};

/* relay-answer.c */
void answer_head(struct generation *g, const struct upstream_answer *answer);
void answer_body(struct generation *g, const char *data, size_t length);
/* All of it is here: true: it was whole. */
bool answer_whole(struct generation *g);
/* It waits: a line that keeps its connection alive. position 0: an engine has it. */
void answer_comment(struct generation *g, uint32_t position, const char *why);
/* A problem in place of an answer, or an event in its middle. The generation no longer has its request afterwards. */
void answer_refusal(struct generation *g, const char *code, const char *text);
