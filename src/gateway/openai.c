/* openai.c: the bodies of OpenAI's clients looked over, without a tree and without a copy; see openai.h. */
#include "gateway/openai.h"

#include "gateway/connection.h"
#include "gateway/handlers.h"
#include "gateway/scan.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define TOKENS_UNKNOWN 256     /* reserved for an answer whose length the client leaves open */
#define BYTES_PER_TOKEN 4      /* of a prompt, as estimated ahead */

static const struct openai_way chat = {"/v1/chat/completions", ENGINE_CHAT, "chat completions"}, completion = {"/v1/completions", ENGINE_COMPLETION, "completions"},
                               embedding = {"/v1/embeddings", ENGINE_EMBEDDING, "embeddings"};

enum member { MODEL, STREAM, MAX_TOKENS, MAX_COMPLETION_TOKENS, MESSAGES, PROMPT, INPUT, CACHE, MEMBERS };
static const char *const members[MEMBERS + 1] = {"model", "stream", "max_tokens", "max_completion_tokens", "messages", "prompt", "input", "cache", NULL};

static bool bad(struct request *r, const char *member, const char *text)
{
        reply_problem(r, "generate.request", NULL, "%s: %s", member, text);
        return false;
}

/* What the body says, into the generation. False: answered. */
static bool read_body(struct request *r, struct generation *g)
{
        struct scan_value v[MEMBERS];
        uint64_t number;
        size_t at = 0;
        int e = scan_object(r->body ? r->body : "", r->body_length, members, v, &at), flag;

        if (e < 0) {
                reply_problem(r, "generate.request", NULL, "The body is not a JSON object that is taken here: %s at byte %zu.",
                              e == -EEXIST ? "a member that stands there twice" : e == -E2BIG ? "nested too deep" : "wrong", at);
                return false;
        }
        e = scan_text(&v[MODEL], g->model, sizeof(g->model));
        if (e < 0 || !g->model[0])
                return bad(r, "model", e == -ENAMETOOLONG ? "too long" : "the name of a model is needed (GET /v1/models lists them)");
        flag = scan_flag(&v[STREAM]);
        if (flag < 0 || (flag && g->way->task == ENGINE_EMBEDDING))
                return bad(r, "stream", flag < 0 ? "true or false" : "embeddings are not streamed");
        g->stream = flag;
        flag = scan_flag(&v[CACHE]);
        if (flag < 0)
                return bad(r, "cache", "true or false");
        g->caching = flag;
        if (g->way->task == ENGINE_CHAT && (!v[MESSAGES].text || v[MESSAGES].text[0] != '['))
                return bad(r, "messages", "an array of messages is needed");
        if (g->way->task == ENGINE_COMPLETION && !v[PROMPT].text)
                return bad(r, "prompt", "is needed");
        if (g->way->task == ENGINE_EMBEDDING && !v[INPUT].text)
                return bad(r, "input", "is needed");
        g->reserved = TOKENS_UNKNOWN;
        for (int i = MAX_TOKENS; i <= MAX_COMPLETION_TOKENS; i++) {
                e = scan_number(&v[i], &number);
                if (e == -EINVAL || (e == 0 && number > INT32_MAX))
                        return bad(r, members[i], "a whole number is wanted");
                if (e == 0)
                        g->reserved = number;
        }
        g->estimated = (v[MESSAGES].length + v[PROMPT].length + v[INPUT].length) / BYTES_PER_TOKEN + 1;
        if (g->way->task == ENGINE_EMBEDDING)
                g->reserved = 0;
        g->reserved += g->estimated;
        return true;
}

static bool read_priority(struct request *r, struct generation *g)
{
        static const char *const names[GENERATE_BANDS] = {"high", "normal", "low"};
        const char *header = request_header(r, HEADER_BERTH_PRIORITY);

        g->ask.band = 1;
        if (!header)
                return true;
        for (uint32_t i = 0; i < GENERATE_BANDS; i++)
                if (!strcmp(names[i], header)) {
                        g->ask.band = i;
                        return true;
                }
        return bad(r, "x-berth-priority", "high, normal or low");
}

/* Tokens are taken before it is sent, as many as it may need, and settled when it is over. False: answered. */
static bool reserve(struct request *r, struct generation *g)
{
        struct limit_party *party = r->counted;
        uint64_t most = r->caller.limits.max_generations;

        party->tokens_per_minute = r->caller.limits.tokens_per_minute;
        if (most && party->generations >= most) {
                r->allowance.retry_s = 1;
                reply_problem(r, "limit.in_flight", NULL, "%u requests for models of this key are being answered already.", party->generations);
                return false;
        }
        g->taken = party->tokens_per_minute && g->reserved > party->tokens_per_minute ? party->tokens_per_minute : g->reserved;
        if (!limit_take(&party->tokens, server_now(r->server), party->tokens_per_minute, g->taken, &g->allowance)) {
                r->allowance.retry_s = g->allowance.retry_s;
                reply_problem(r, "limit.tokens", NULL, "More than %llu tokens in a minute: this request may need %llu, %llu are left.", (unsigned long long)party->tokens_per_minute,
                              (unsigned long long)g->reserved, (unsigned long long)g->allowance.remaining);
                return false;
        }
        party->generations++;
        party->holds++;
        g->party = party;
        return true;
}

static bool may_ask(struct request *r, const struct generation *g)
{
        if (account_model_listed(r->caller.models, g->model))
                return true;
        reply_problem(r, "model.unknown", NULL, "The model \"%s\" does not exist, or you have no access to it.", g->model);
        return false;
}

/* Asked for by the header or the body; streams are not kept. True: answered out of it. */
static bool cached(struct request *r, struct generation *g)
{
        const char *header = request_header(r, HEADER_BERTH_CACHE);
        struct generations *all = g->all;
        const struct cached *found;

        g->caching = (g->caching || (header && !strcasecmp(header, "on"))) && !g->stream && all->cache.most &&
                     cache_key(&g->account, g->way->path, service_model_revision(r->server->service, g->model), r->body, r->body_length, g->key) == 0;
        if (!g->caching)
                return false;
        found = cache_find(&all->cache, server_now(r->server), g->key);
        *(found ? &all->cache_hits : &all->cache_misses) += 1;
        if (!found)
                return false;
        service_usage_add(r->server->service, &g->account, g->model, &(struct service_usage){.requests = 1, .cached = 1});
        strbuf_add(&r->extra, "X-Berth-Cache: hit\r\n");
        reply_text(r, 200, "application/json", found->text, found->bytes);
        return true;
}

static void generate(struct request *r, const struct openai_way *way)
{
        struct generation *g = calloc(1, sizeof(*g));

        if (!g) {
                reply_problem(r, "pool.busy", NULL, "Out of memory.");
                return;
        }
        g->all = r->server->generations;
        g->request = r;
        g->way = way;
        if (!read_body(r, g) || !read_priority(r, g) || !may_ask(r, g)) {
                free(g);
                return;
        }
        g->account = g->ask.account = r->caller.account;
        if (cached(r, g) || !reserve(r, g)) {
                free(g);
                return;
        }
        g->ask.weight = r->caller.weight;
        g->ask.cost = g->reserved;
        relay_begin(g);
}

void handle_openai_chat(struct request *r)
{
        generate(r, &chat);
}

void handle_openai_completion(struct request *r)
{
        generate(r, &completion);
}

void handle_openai_embedding(struct request *r)
{
        generate(r, &embedding);
}
