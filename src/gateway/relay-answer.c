/* relay-answer.c: what the client of a generation gets: the engine's answer as it is, or the reason why there is none; see openai.h. */
#include "gateway/openai.h"

#include "gateway/connection.h"
#include "gateway/request.h"
#include "gateway/scan.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define ANSWER_MOST (64u << 20)     /* of one that is not streamed */
#define UNREAD_MOST (64u << 10)     /* of a stream whose client does not read; above it the engine waits */

static void add_headers(struct generation *g)
{
        struct request *r = g->request;

        if (g->allowance.limit)
                strbuf_add(&r->extra, "X-RateLimit-Limit-Tokens: %llu\r\nX-RateLimit-Remaining-Tokens: %llu\r\nX-RateLimit-Reset-Tokens: %llus\r\n", (unsigned long long)g->allowance.limit,
                           (unsigned long long)g->allowance.remaining, (unsigned long long)g->allowance.reset_s);
        if (r->allowance.limit)
                strbuf_add(&r->extra, "X-RateLimit-Limit-Requests: %llu\r\nX-RateLimit-Remaining-Requests: %llu\r\nX-RateLimit-Reset-Requests: %llus\r\n",
                           (unsigned long long)r->allowance.limit, (unsigned long long)r->allowance.remaining, (unsigned long long)r->allowance.reset_s);
        if (g->caching)
                strbuf_add(&r->extra, "X-Berth-Cache: miss\r\n");
        strbuf_add(&r->extra, "X-Berth-Queue-Ms: %llu\r\nX-Berth-Worker: %s\r\n", g->sent_ns ? (unsigned long long)(g->sent_ns - g->asked_ns) / 1000000 : 0, g->worker);
}

static void open_stream(struct generation *g)
{
        if (g->opened)
                return;
        g->opened = true;
        strbuf_add(&g->request->extra, "X-Accel-Buffering: no\r\n");
        if (g->sent_ns)
                add_headers(g);
        reply_open(g->request, 200, "text/event-stream; charset=utf-8");
}

void answer_comment(struct generation *g, uint32_t position, const char *why)
{
        char line[160];
        int n;

        if (!g->request || !g->request->connection || connection_buffered(g->request->connection) > UNREAD_MOST)
                return;
        open_stream(g);
        n = position ? snprintf(line, sizeof(line), ": waiting position %u (%s)\n\n", position, why) : snprintf(line, sizeof(line), ": waiting for the first token\n\n");
        reply_part(g->request->connection, g->request->chunked, line, (size_t)n);
}

void answer_refusal(struct generation *g, const char *code, const char *text)
{
        struct request *r = take(g->request);
        json_t *error;
        char *body, *event = NULL;
        int n;

        if (!r)
                return;
        if (!r->connection) {
                request_release(r);
                return;
        }
        if (!g->opened) {
                r->pending = false;
                r->client_gone = r->drained = NULL;
                reply_problem(r, code, NULL, "%s", text);
                return;
        }
        r->client_gone = r->drained = NULL;
        error = reply_openai_error(r, 500, code, text);
        body = error ? json_dumps(error, JSON_COMPACT) : NULL;
        json_decref(error);
        n = body ? asprintf(&event, "data: %s\n\n", body) : -1;
        if (n > 0)
                reply_part(r->connection, r->chunked, event, (size_t)n);
        /* The end that HTTP has, so that no client throws the event away with a body that broke off; what tells a whole answer is [DONE], which does not come. */
        reply_last(r, n > 0);
        if (n > 0)
                free(event);
        free(body);
}

void answer_head(struct generation *g, const struct upstream_answer *answer)
{
        g->status = answer->status;
        g->retry_after_s = answer->retry_after_s;
        snprintf(g->type, sizeof(g->type), "%s", answer->type);
        g->streaming = g->stream && g->status == 200 && !strncasecmp(g->type, "text/event-stream", 17);
        /* From here on it is not sent again. */
        free(g->request->body);
        g->request->body = NULL;
        g->request->body_length = g->request->body_size = 0;
}

static void broken(struct generation *g, const char *text)
{
        g->all->broken++;
        service_generate_judge(g->all->server->service, g->engine, false);
        relay_over(g, "generate.engine", text);
}

static void count_tokens(struct generation *g, uint64_t tokens)
{
        uint64_t now;

        if (!tokens)
                return;
        service_history_add(g->all->server->service, HISTORY_TOKENS_OUT, tokens);
        now = uv_hrtime();
        if (!g->first_ns) {
                g->first_ns = now;
                service_generate_first(g->all->server->service, &g->ask);
        } else {
                histogram_add(&g->all->meter.gap, now - g->last_ns);
        }
        g->last_ns = now;
}

void answer_body(struct generation *g, const char *data, size_t length)
{
        struct connection *c = g->request->connection;
        struct sse_part part;
        int r;

        if (!g->streaming) {
                /* A refusal of the engine used nothing. */
                if (!g->first_ns && g->status == 200) {
                        g->first_ns = g->last_ns = uv_hrtime();
                        service_generate_first(g->all->server->service, &g->ask);
                }
                if (g->answer.length + length > ANSWER_MOST)
                        broken(g, "The engine's answer is longer than 64 MiB.");
                else
                        strbuf_put(&g->answer, data, length);
                return;
        }
        r = sse_read(&g->sse, data, length, &part);
        if (part.bytes) {
                count_tokens(g, part.tokens);
                open_stream(g);
                reply_part(c, g->request->chunked, part.text, part.bytes);
        }
        /* For lack of memory: its client is gone, and it with it. */
        if (c->dead)
                return;
        if (r < 0) {
                broken(g, r == -EINVAL ? "The engine sent an event that is none." : r == -E2BIG ? "The engine sent an event without an end." : "Out of memory.");
                return;
        }
        if (g->upstream && connection_buffered(c) > UNREAD_MOST)
                upstream_pause(g->upstream, true);
}

/* Usage and soundness of an answer in one piece. */
static bool look_over(struct generation *g)
{
        static const char *const names[] = {"usage", NULL};
        struct scan_value usage;

        if (g->answer.failed || !g->answer.length || scan_object(g->answer.text, g->answer.length, names, &usage, NULL) < 0)
                return false;
        if (g->status == 200 && usage.text && usage_read(&usage, &g->sse.prompt_tokens, &g->sse.completion_tokens) == 0)
                g->sse.usage = true;
        return true;
}

static void finish_stream(struct generation *g)
{
        struct request *r = take(g->request);

        reply_last(r, true);
}

bool answer_whole(struct generation *g)
{
        struct request *r;

        if (g->streaming) {
                if (!g->sse.done && !g->sse.error) {
                        broken(g, "The engine ended its stream without [DONE].");
                        return false;
                }
                if (!sse_is_whole(&g->sse)) {
                        broken(g, "The engine ended its stream in the middle of an event.");
                        return false;
                }
                finish_stream(g);
                return true;
        }
        if (!look_over(g)) {
                broken(g, g->stream && g->status == 200 ? "The engine answered with something that is no event stream." : "The engine's answer is not JSON.");
                return false;
        }
        if (g->opened || g->status >= 500) {
                char text[400];

                /* Comments went out already, or it is the engine's fault: told as ours, with its words. */
                snprintf(text, sizeof(text), "The engine answered %d: %.300s", g->status, g->answer.text);
                relay_over(g, "generate.engine", text);
                return false;
        }
        if (g->caching && g->status == 200)
                cache_put(&g->all->cache, server_now(g->all->server), g->key, g->answer.text, g->answer.length, g->sse.prompt_tokens, g->sse.completion_tokens);
        add_headers(g);
        r = take(g->request);
        r->pending = false;
        r->client_gone = r->drained = NULL;
        if (g->retry_after_s)
                reply_header(r, "Retry-After: %llu\r\n", (unsigned long long)g->retry_after_s);
        reply_text(r, g->status, "application/json", g->answer.text, g->answer.length);
        return true;
}
