/* relay.c: one request's life between its client and an engine; see openai.h. */
#include "gateway/openai.h"

#include "gateway/connection.h"
#include "gateway/request.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#define COMMENT_FIRST_MS 2000
#define COMMENT_MS 5000

enum outcome { FINISHED, FAILED, CANCELLED };

static void on_head(void *context, const struct upstream_answer *answer);
static void on_body(void *context, const char *data, size_t length);
static void on_end(void *context, int error, const char *text, bool any);
static const struct upstream_calls upstream_calls = {.head = on_head, .body = on_body, .end = on_end};

/* Deadlines of those that wait are the service's: it looks at them in its turn. */
static void look_after_queue(struct generations *all)
{
        if (service_generate_waiting(all->server->service))
                server_turn_soon(all->server);
}

static uint64_t cost(const struct generation *g)
{
        return g->sse.usage ? g->sse.prompt_tokens + g->sse.completion_tokens : g->first_ns ? g->estimated + g->sse.tokens : 0;
}

/* The tokens that were reserved become those that it used. */
static void settle_tokens(struct generation *g)
{
        struct limit_party *party = take(g->party);
        uint64_t now_ms = server_now(g->all->server), used = cost(g);

        if (!party)
                return;
        if (used < g->taken)
                limit_give(&party->tokens, now_ms, party->tokens_per_minute, g->taken - used);
        else
                limit_use(&party->tokens, now_ms, party->tokens_per_minute, used - g->taken);
        party->generations--;
        party->holds--;
}

/* What it was and took, counted once. Who left in the middle has used what came until then. */
static void count(struct generation *g, enum outcome outcome)
{
        bool good = outcome == FINISHED;
        const struct service_usage usage = {.requests = 1, .prompt_tokens = g->first_ns ? (g->sse.usage ? g->sse.prompt_tokens : g->estimated) : 0,
                                            .completion_tokens = g->sse.usage ? g->sse.completion_tokens : g->sse.tokens, .cancelled = outcome == CANCELLED, .failed = outcome == FAILED,
                                            .estimated = g->first_ns && !g->sse.usage};
        struct generations *all = g->all;
        struct meter_model *model = g->sent_ns ? meter_model(&all->meter, g->model) : NULL;
        uint64_t now = uv_hrtime(), prompt = usage.prompt_tokens, tokens = usage.completion_tokens;

        settle_tokens(g);
        if (!g->sent_ns)
                return;
        service_usage_add(all->server->service, &g->account, g->model, &usage);
        histogram_add(&all->meter.duration, now - g->asked_ns);
        /* Of an answer in one piece nobody knows when its first token was there. */
        if (g->first_ns && g->streaming) {
                histogram_add(&all->meter.ttft, g->first_ns - g->asked_ns);
                if (model)
                        recent_add(&model->ttft, (double)(g->first_ns - g->asked_ns) / 1e9);
        }
        if (g->streaming && g->sse.tokens > 1) {
                uint64_t each = (g->last_ns - g->first_ns) / (g->sse.tokens - 1);

                histogram_add(&all->meter.tpot, each);
                if (model)
                        recent_add(&model->tpot, (double)each / 1e9);
        }
        if (!good)
                service_history_add(all->server->service, HISTORY_REQUESTS_FAILED, 1);
        if (!good && !g->first_ns)
                return;
        all->meter.prompt_tokens += prompt;
        all->meter.completion_tokens += tokens;
        service_history_add(all->server->service, HISTORY_TOKENS_IN, prompt);
        /* Of a stream they were told as they came; what its usage says there were more is told here. */
        if (tokens > (g->streaming ? g->sse.tokens : 0))
                service_history_add(all->server->service, HISTORY_TOKENS_OUT, tokens - (g->streaming ? g->sse.tokens : 0));
        if (model) {
                model->requests++;
                model->prompt_tokens += prompt;
                model->completion_tokens += tokens;
        }
}

static void generation_free(struct generation *g)
{
        struct generations *all = g->all;

        settle_tokens(g);
        DL_DELETE(all->list, g);
        all->count--;
        sse_done(&g->sse);
        strbuf_done(&g->answer);
        free(g);
        look_after_queue(all);
}

/* Over for the engine's side: its place is free. */
static void leave_engine(struct generation *g)
{
        struct service *service = g->all->server->service;

        if (g->upstream)
                upstream_cancel(take(g->upstream));
        service_generate_end(service, &g->ask, cost(g));
}

void relay_over(struct generation *g, const char *code, const char *text)
{
        if (code) {
                g->all->failed++;
                answer_refusal(g, code, text);
        } else {
                g->all->finished++;
        }
        count(g, code ? FAILED : FINISHED);
        leave_engine(g);
        generation_free(g);
}

/* The client left: whatever stage it is in. */
static void client_gone(struct request *r)
{
        struct generation *g = r->work;

        g->all->cancelled++;
        g->request = NULL;
        count(g, CANCELLED);
        leave_engine(g);
        generation_free(g);
        request_release(r);
}

static void drained(struct request *r)
{
        struct generation *g = r->work;

        if (g->upstream)
                upstream_pause(g->upstream, false);
}

/* Before any byte of the answer: another engine, once, or the reason. */
static void engine_failed(struct generation *g, const char *text)
{
        struct service *service = g->all->server->service;

        service_generate_judge(service, g->engine, false);
        if (g->upstream)
                upstream_cancel(take(g->upstream));
        /* The reason goes with it, if there is no other: the text may be of the engine that is being left. */
        g->broken_text = text;
        if (g->request && service_generate_again(service, &g->ask)) {
                g->all->retried++;
                look_after_queue(g->all);
                return;
        }
        g->all->failed++;
        answer_refusal(g, "generate.engine", text);
        count(g, FAILED);
        generation_free(g);
}

static void on_head(void *context, const struct upstream_answer *answer)
{
        struct generation *g = context;

        /* Busy or ending: as if it had not been reached. */
        if ((answer->status == 502 || answer->status == 503 || answer->status == 504) && !g->tried) {
                g->tried = true;
                engine_failed(g, "the engine is not available");
                return;
        }
        answer_head(g, answer);
}

static void on_body(void *context, const char *data, size_t length)
{
        answer_body(context, data, length);
}

static void on_end(void *context, int error, const char *text, bool any)
{
        struct generation *g = context;

        g->upstream = NULL;
        if (error == -EBUSY && !g->status && g->request) {
                service_generate_busy(g->all->server->service, &g->ask);
                look_after_queue(g->all);
                return;
        }
        if (error && !g->status) {
                engine_failed(g, text);
                return;
        }
        service_generate_judge(g->all->server->service, g->engine, !error);
        if (error)
                relay_over(g, "generate.engine", text);
        else if (answer_whole(g))
                relay_over(g, NULL, NULL);
}

/* ---- the queue ---- */

static void on_dispatch(void *context, struct generate_request *ask, const struct service_engine *engine)
{
        struct generation *g = (struct generation *)(void *)ask;
        struct server *server = g->all->server;
        const struct upstream_request request = {.address = engine->address, .worker = engine->worker, .model = g->model, .path = g->way->path, .key = engine->key, .id = g->request->id, .body = g->request->body,
                                                 .body_length = g->request->body_length, .first_ms = server->settings.generate_first_ns / 1000000,
                                                 .quiet_ms = server->settings.generate_quiet_ns / 1000000};
        int r;

        g->engine = engine->number;
        snprintf(g->worker, sizeof(g->worker), "%s", engine->worker_name);
        if (!g->sent_ns) {
                g->sent_ns = uv_hrtime();
                histogram_add(&g->all->meter.queue, g->sent_ns - g->asked_ns);
        }
        if (!(engine->tasks & g->way->task)) {
                char text[GENERATE_MODEL + 60];

                snprintf(text, sizeof(text), "The model \"%s\" does no %s.", g->model, g->way->name);
                relay_over(g, "model.task", text);
                return;
        }
        r = upstream_begin(g->all->upstreams, &request, &upstream_calls, g, &g->upstream);
        if (r < 0)
                engine_failed(g, r == -EINVAL ? "its worker told an address that is none" : error_text(r));
}

static void on_refuse(void *context, struct generate_request *ask, enum generate_reason reason, const char *text)
{
        struct generation *g = (struct generation *)(void *)ask;
        struct request *r = g->request;
        char detail[GENERATE_MODEL + 200];

        g->all->refused++;
        switch (reason) {
        case GENERATE_NO_MODEL:
                snprintf(detail, sizeof(detail), "The model \"%s\" does not exist, or you have no access to it.", g->model);
                answer_refusal(g, "model.unknown", detail);
                break;
        case GENERATE_NO_ENGINE:
                snprintf(detail, sizeof(detail), "The engine of \"%s\" is not available: %s.", g->model, g->broken_text ? g->broken_text : text);
                if (r)
                        r->allowance.retry_s = 10;
                answer_refusal(g, "generate.unavailable", detail);
                break;
        case GENERATE_FULL:
        case GENERATE_FULL_ACCOUNT:
        case GENERATE_TOO_LONG:
        case GENERATE_MEMORY:
                snprintf(detail, sizeof(detail), "\"%s\" can't be asked now: %s.", g->model, text);
                if (r)
                        r->allowance.retry_s = reason == GENERATE_TOO_LONG ? 5 : 10;
                answer_refusal(g, "generate.queue", detail);
                break;
        }
        generation_free(g);
}

void relay_begin(struct generation *g)
{
        struct request *r = g->request;
        struct generations *all = g->all;

        DL_APPEND(all->list, g);
        all->count++;
        g->asked_ns = uv_hrtime();
        g->comment_ms = server_now(all->server) + COMMENT_FIRST_MS;
        r->work = g;
        r->pending = true;
        r->drained = drained;
        request_watch(r, client_gone);
        service_generate_ask(all->server->service, g->model, &g->ask);
        look_after_queue(all);
}

/* ---- all of them ---- */

struct telling {
        struct generations *all;
        uint64_t now_ms;
};

static void tell_waiting(void *context, struct generate_request *ask, uint32_t position, const char *why)
{
        struct telling *telling = context;
        struct generation *g = (struct generation *)(void *)ask;

        if (!g->stream || telling->now_ms < g->comment_ms)
                return;
        g->comment_ms = telling->now_ms + COMMENT_MS;
        g->comments = true;
        answer_comment(g, position, why);
}

void generations_tick(struct generations *all)
{
        struct telling telling = {all, server_now(all->server)};
        struct generation *g, *next;

        upstreams_tick(all->upstreams);
        service_engines_tick(all->server->service);
        if (service_generate_waiting(all->server->service))
                generate_each_waiting(service_generate(all->server->service), telling.now_ms, tell_waiting, &telling);
        DL_FOREACH_SAFE(all->list, g, next)
        {
                if (!g->stream || g->status || g->ask.stage != GENERATE_SENT || telling.now_ms < g->comment_ms)
                        continue;
                g->comment_ms = telling.now_ms + COMMENT_MS;
                answer_comment(g, 0, "");
        }
}

void generations_stop(struct generations *all)
{
        while (all && all->list)
                relay_over(all->list, "pool.unavailable", "The pool is stopping.");
}

void generations_close(struct generations *all)
{
        if (!all)
                return;
        while (all->list) {
                struct generation *g = all->list;

                if (g->request)
                        client_gone(g->request);
                else
                        relay_over(g, NULL, NULL);
        }
        upstreams_close(all->upstreams);
        meter_done(&all->meter);
        cache_done(&all->cache);
        free(all);
}

int generations_open(struct server *server, struct generations **ret_all)
{
        struct generations *all = calloc(1, sizeof(*all));
        int r;

        if (!all)
                return -ENOMEM;
        all->server = server;
        all->cache.most = server->settings.generate_cache;
        r = upstreams_open(server, &all->upstreams);
        if (r < 0) {
                free(all);
                return r;
        }
        *ret_all = all;
        return 0;
}

void generations_listen(struct generations *all)
{
        static const struct service_generate_calls calls = {.dispatch = on_dispatch, .refuse = on_refuse};

        service_generate_listen(all->server->service, &calls, all);
}

void generations_metrics(struct generations *all, struct strbuf *b)
{
        struct upstream_counts u;
        struct generate_counts q;

        upstreams_counts(all->upstreams, &u);
        generate_counts(service_generate(all->server->service), &q);
        strbuf_add(b, "# TYPE berth_generations gauge\nberth_generations{state=\"waiting\"} %u\nberth_generations{state=\"running\"} %u\n", q.waiting, q.running);
        strbuf_add(b,
                   "# TYPE berth_generations_total counter\nberth_generations_total{outcome=\"finished\"} %llu\nberth_generations_total{outcome=\"failed\"} %llu\n"
                   "berth_generations_total{outcome=\"cancelled\"} %llu\nberth_generations_total{outcome=\"refused\"} %llu\n",
                   (unsigned long long)all->finished, (unsigned long long)all->failed, (unsigned long long)all->cancelled, (unsigned long long)all->refused);
        strbuf_add(b, "# TYPE berth_generations_retried_total counter\nberth_generations_retried_total %llu\n", (unsigned long long)all->retried);
        strbuf_add(b, "# TYPE berth_streams_broken_total counter\nberth_streams_broken_total %llu\n", (unsigned long long)all->broken);
        strbuf_add(b, "# TYPE berth_model_switches_total counter\nberth_model_switches_total %llu\n# TYPE berth_engine_starts_total counter\nberth_engine_starts_total %llu\n",
                   (unsigned long long)q.switches, (unsigned long long)q.starts);
        strbuf_add(b, "# TYPE berth_engine_connections gauge\nberth_engine_connections{state=\"open\"} %zu\nberth_engine_connections{state=\"idle\"} %zu\n", u.open, u.idle);
        strbuf_add(b, "# TYPE berth_engine_connects_total counter\nberth_engine_connects_total %llu\n# TYPE berth_engine_failures_total counter\nberth_engine_failures_total %llu\n",
                   (unsigned long long)u.connects, (unsigned long long)u.failed);
        strbuf_add(b, "# TYPE berth_tunnels gauge\nberth_tunnels %zu\n# TYPE berth_tunnel_streams gauge\nberth_tunnel_streams %zu\n# TYPE berth_tunnel_streams_total counter\nberth_tunnel_streams_total %llu\n",
                   u.tunnels, u.streams, (unsigned long long)u.streams_ever);
        strbuf_add(b, "# TYPE berth_tunnel_bytes_total counter\nberth_tunnel_bytes_total{direction=\"to_worker\"} %llu\nberth_tunnel_bytes_total{direction=\"from_worker\"} %llu\n",
                   (unsigned long long)u.bytes_to_workers, (unsigned long long)u.bytes_from_workers);
        strbuf_add(b, "# TYPE berth_tunnel_held_bytes gauge\nberth_tunnel_held_bytes %zu\n# TYPE berth_tunnel_turned_away_total counter\nberth_tunnel_turned_away_total %llu\n", u.held,
                   (unsigned long long)u.turned_away);
        strbuf_add(b, "# TYPE berth_tunnel_malformed_total counter\nberth_tunnel_malformed_total %llu\n", (unsigned long long)u.malformed);
        strbuf_add(b, "# TYPE berth_cache_requests_total counter\nberth_cache_requests_total{result=\"hit\"} %llu\nberth_cache_requests_total{result=\"miss\"} %llu\n# TYPE berth_cache_bytes gauge\nberth_cache_bytes %zu\n",
                   (unsigned long long)all->cache_hits, (unsigned long long)all->cache_misses, all->cache.bytes);
        meter_text(&all->meter, b);
}
