/* generation.c: see generation.h. */
#include "cli/generation.h"

#include "base/clock.h"
#include "base/error.h"
#include "cli/pool-internal.h"
#include "cli/sse.h"

#include <stdio.h>
#include <string.h>

#define REFUSAL_BYTES (64u << 10)
#define TEXT_BYTES (64u << 20) /* of one answer: beyond that something is wrong */

struct asking {
        struct pool_client *c;
        struct generation *g;
        const struct generation_listener *listener;
        struct sse sse;
        struct strbuf refusal;
        uint64_t begin;
        char *message;
        bool complete;
        int result;
};

static void take_text(struct asking *a, const json_t *choice)
{
        const json_t *part = json_object_get(json_object_get(choice, "delta"), "content");
        const char *finish = json_string_value(json_object_get(choice, "finish_reason"));

        if (!part)
                part = json_object_get(choice, "text");
        if (json_string_length(part)) {
                if (!a->g->first_ns)
                        a->g->first_ns = clock_now_ns() - a->begin;
                strbuf_put(&a->g->text, json_string_value(part), json_string_length(part));
                if (a->listener->text)
                        a->listener->text(a->listener->context, json_string_value(part), json_string_length(part));
        }
        if (finish)
                snprintf(a->g->finish, sizeof a->g->finish, "%s", finish);
}

static void count_of(const json_t *usage, const char *name, int64_t *to)
{
        const json_t *n = json_object_get(usage, name);

        if (json_is_integer(n) && json_integer_value(n) >= 0)
                *to = json_integer_value(n);
}

/* Comments keep the connection awake, or say why nothing comes yet. */
static void take_comment(void *context, const char *text, size_t length)
{
        static const char waiting[] = "waiting";
        struct asking *a = context;

        while (length && text[0] == ' ') {
                text++;
                length--;
        }
        if (a->listener->waits && !a->g->first_ns && length >= strlen(waiting) && !memcmp(text, waiting, strlen(waiting)))
                a->listener->waits(a->listener->context, text, length);
}

static int take_event(void *context, const char *data, size_t length)
{
        struct asking *a = context;
        json_t *event;
        int r = 0;

        if (length == 6 && !memcmp(data, "[DONE]", 6)) {
                a->complete = true;
                return 0;
        }
        event = json_loadb(data, length, 0, NULL);
        if (!event) {
                snprintf(a->message, CLI_MESSAGE, "what answers at %.200s sent an event that is no JSON", a->c->url);
                return -E_MESSAGE;
        }
        if (json_object_get(event, "error")) {
                a->c->status = 500;
                r = pool_refusal(a->c, event, a->message);
        } else {
                take_text(a, json_array_get(json_object_get(event, "choices"), 0));
                count_of(json_object_get(event, "usage"), "prompt_tokens", &a->g->prompt);
                count_of(json_object_get(event, "usage"), "completion_tokens", &a->g->tokens);
                if (a->g->text.failed || a->g->text.length > TEXT_BYTES) {
                        snprintf(a->message, CLI_MESSAGE, "an answer that is too long");
                        r = -E_MESSAGE;
                }
        }
        json_decref(event);
        return r;
}

static size_t came(char *data, size_t size, size_t count, void *context)
{
        struct asking *a = context;
        size_t n = size * count;

        curl_easy_getinfo(a->c->curl, CURLINFO_RESPONSE_CODE, &a->c->status);
        if (a->c->status >= 400) {
                if (a->refusal.length + n <= REFUSAL_BYTES)
                        strbuf_put(&a->refusal, data, n);
                return n;
        }
        a->result = sse_read(&a->sse, data, n, take_event, a);
        if (a->result == -E_MESSAGE && !a->message[0])
                snprintf(a->message, CLI_MESSAGE, "the server at %.200s sent an event that is too long", a->c->url);
        return a->result ? 0 : n;
}

static bool stops(const struct asking *a)
{
        return a->listener->stop && *a->listener->stop;
}

/* Performs what c->curl is set up for, looking ten times a second whether to stop. */
static CURLcode perform(struct asking *a)
{
        CURLM *multi = curl_multi_init();
        CURLcode code = CURLE_OK;
        int running = 1, left;
        CURLMsg *told;

        if (!multi)
                return CURLE_OUT_OF_MEMORY;
        curl_multi_add_handle(multi, a->c->curl);
        while (running && !stops(a)) {
                if (curl_multi_perform(multi, &running) != CURLM_OK || (running && curl_multi_poll(multi, NULL, 0, 100, NULL) != CURLM_OK)) {
                        code = CURLE_FAILED_INIT;
                        break;
                }
        }
        while ((told = curl_multi_info_read(multi, &left)))
                if (told->msg == CURLMSG_DONE)
                        code = told->data.result;
        a->g->stopped = running && stops(a);
        curl_multi_remove_handle(multi, a->c->curl);
        curl_multi_cleanup(multi);
        return code;
}

static int outcome(struct asking *a, CURLcode code)
{
        if (a->result)
                return a->result;
        if (a->g->stopped)
                return 0;
        if (a->c->status >= 400) {
                json_t *answer = a->refusal.length ? json_loadb(a->refusal.text, a->refusal.length, 0, NULL) : NULL;
                int r = pool_refusal(a->c, answer, a->message);

                json_decref(answer);
                return r;
        }
        if (a->complete)
                return 0;
        if (!a->g->first_ns && code)
                return pool_failed(a->c, code, a->message);
        snprintf(a->message, CLI_MESSAGE, "the answer broke off before its end");
        return -EIO;
}

int generation_ask(struct pool_client *c, const char *path, json_t *body, const struct generation_listener *listener, struct generation *ret,
                   char message[CLI_MESSAGE])
{
        struct asking a = {.c = c, .g = ret, .listener = listener, .message = message, .sse.comment = take_comment};
        struct curl_slist *headers = NULL;
        char *text scoped_free = NULL;
        CURLcode code;
        int r;

        *ret = (struct generation){.prompt = -1, .tokens = -1};
        message[0] = '\0';
        json_object_set_new(body, "stream", json_true());
        json_object_set_new(body, "stream_options", json_pack("{s:b}", "include_usage", 1));
        text = json_dumps(body, JSON_COMPACT);
        if (!text) {
                snprintf(message, CLI_MESSAGE, "out of memory, or text that is not UTF-8");
                return -EINVAL;
        }
        pool_prepare(c, path, &headers);
        headers = curl_slist_append(headers, "Content-Type: application/json");
        headers = curl_slist_append(headers, "Accept: text/event-stream");
        headers = curl_slist_append(headers, "Expect:");
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, text);
        curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, came);
        curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &a);
        a.begin = clock_now_ns();
        code = perform(&a);
        ret->whole_ns = clock_now_ns() - a.begin;
        curl_slist_free_all(headers);
        curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &c->status);
        r = outcome(&a, code);
        sse_done(&a.sse);
        strbuf_done(&a.refusal);
        return r;
}

void generation_done(struct generation *g)
{
        strbuf_done(&g->text);
}

void generation_figures(const struct generation *g, char *text, size_t size)
{
        double first = (double)g->first_ns / 1e9, rest = (double)(g->whole_ns - g->first_ns) / 1e9;
        char speed[48] = "";

        if (!g->first_ns) {
                snprintf(text, size, "no text came");
                return;
        }
        if (g->tokens > 1 && rest > 0)
                snprintf(speed, sizeof speed, ", %.1f tokens/s", (double)(g->tokens - 1) / rest);
        if (g->tokens >= 0)
                snprintf(text, size, "%lld %s, first after %.2f s%s", (long long)g->tokens, g->tokens == 1 ? "token" : "tokens", first, speed);
        else
                snprintf(text, size, "first text after %.2f s, tokens unavailable", first);
}

int generation_open(struct pool_client *c, const char *url, char message[CLI_MESSAGE])
{
        return url ? pool_open_at(c, url, "--url", message) : pool_open(c, message);
}
