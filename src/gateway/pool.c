/* pool.c: health, metrics, what the pool is, backups, and the few static pages. */
#include "gateway/admit.h"
#include "gateway/connection.h"
#include "gateway/events.h"
#include "gateway/fields.h"
#include "gateway/handlers.h"
#include "gateway/openai.h"
#include "gateway/page.h"

#include "base/strbuf.h"

#include <stdio.h>
#include <string.h>

/* Made from files of the same names when built. */
extern const char page_docs_html[], page_docs_js[], page_setup_html[], page_setup_js[], page_style_css[], page_missing_html[];

void handle_healthz(struct request *r)
{
        reply_json(r, 200, json_pack("{s:b}", "alive", true));
}

void handle_readyz(struct request *r)
{
        struct service_health health;

        service_health(r->server->service, &health);
        if (r->server->stopping) {
                health.ready = false;
                snprintf(health.reason, sizeof health.reason, "stopping");
        }
        if (health.ready)
                reply_json(r, 200, json_pack("{s:b, s:b}", "alive", true, "ready", true));
        else
                reply_problem(r, "pool.unavailable", NULL, "%s", health.reason);
}

static void own_metrics(const struct server *server, struct strbuf *b)
{
        const struct counters *c = &server->counters;
        static const char *const classes[] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};

        strbuf_add(b, "# HELP pool_http_connections Open connections.\n# TYPE pool_http_connections gauge\npool_http_connections %zu\n", server->connection_count);
        strbuf_add(b, "# TYPE pool_http_connections_max gauge\npool_http_connections_max %zu\n", server->connection_max);
        strbuf_add(b, "# TYPE pool_http_in_flight gauge\npool_http_in_flight %zu\n", server->in_flight);
        strbuf_add(b, "# TYPE pool_http_networks gauge\npool_http_networks %zu\n", server->networks.count);
        strbuf_add(b, "# TYPE pool_event_subscribers gauge\npool_event_subscribers %zu\n", hub_subscribers(server->hub));
        strbuf_add(b, "# TYPE pool_http_connections_accepted_total counter\npool_http_connections_accepted_total %llu\n", (unsigned long long)c->accepted);
        strbuf_add(b, "# TYPE pool_http_connections_refused_total counter\npool_http_connections_refused_total %llu\n",
                   (unsigned long long)c->refused_connections);
        strbuf_add(b, "# TYPE pool_http_requests_total counter\npool_http_requests_total %llu\n", (unsigned long long)c->requests);
        strbuf_add(b, "# TYPE pool_http_answers_total counter\n");
        for (size_t i = 0; i < ARRAY_SIZE(classes); i++)
                strbuf_add(b, "pool_http_answers_total{class=\"%s\"} %llu\n", classes[i], (unsigned long long)c->answers[i]);
        strbuf_add(b, "# TYPE pool_http_slow_total counter\npool_http_slow_total %llu\n", (unsigned long long)c->too_slow);
        strbuf_add(b, "# TYPE pool_http_malformed_total counter\npool_http_malformed_total %llu\n", (unsigned long long)c->malformed);
        strbuf_add(b, "# TYPE pool_http_tls_failed_total counter\npool_http_tls_failed_total %llu\n", (unsigned long long)c->tls_failed);
        strbuf_add(b, "# TYPE pool_http_forwarded_total counter\npool_http_forwarded_total %llu\n", (unsigned long long)c->forwarded);
        strbuf_add(b, "# TYPE pool_http_streams_refused_total counter\npool_http_streams_refused_total %llu\n", (unsigned long long)c->sockets_refused);
        strbuf_add(b, "# TYPE pool_http_bytes_total counter\npool_http_bytes_total{way=\"in\"} %llu\npool_http_bytes_total{way=\"out\"} %llu\n",
                   (unsigned long long)c->bytes_in, (unsigned long long)c->bytes_out);
        strbuf_add(b, "# TYPE pool_stream_events_total counter\npool_stream_events_total{outcome=\"sent\"} %llu\npool_stream_events_total{outcome=\"skipped\"} %llu\n",
                   (unsigned long long)c->events_sent, (unsigned long long)c->events_skipped);
}

void handle_metrics(struct request *r)
{
        struct strbuf b = {0};

        service_metrics(r->server->service, &b);
        own_metrics(r->server, &b);
        generations_metrics(r->server->generations, &b);
        if (b.failed)
                reply_problem(r, "pool.busy", NULL, "Out of memory.");
        else
                reply_text(r, 200, "text/plain; version=0.0.4; charset=utf-8", b.text, b.length);
        strbuf_done(&b);
}

void handle_about(struct request *r)
{
        request_begin(r);
        service_about(r->server->service, &r->caller, request_done, r);
}

void handle_history(struct request *r)
{
        uint64_t since = 600;
        char names[512];
        int found = request_query(r, "series", names, sizeof names);

        if (found < 0 || request_query_number(r, "since", 1, HISTORY_SPAN_S, &since) < 0)
                return;
        request_begin(r);
        service_history(r->server->service, found ? names : NULL, since, request_done, r);
}

void handle_backup(struct request *r)
{
        struct fields f = fields_of(r, "path");
        const char *path = fields_text(&f, "path", 2, 1000, true);

        if (path && path[0] != '/')
                fields_wrong(&f, "path", "an absolute path of the server is wanted");
        if (!fields_good(&f))
                return;
        request_begin(r);
        service_backup(r->server->service, &r->caller, path, request_done, r);
}

/* ---- pages ------------------------------------------------------------------------------------------------------- */

/* Nothing but our own files, nothing inline, in nobody's frame. */
static void page_headers(struct request *r)
{
        reply_header(r, "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
                        "form-action 'none'; frame-ancestors 'none'; base-uri 'none'\r\n");
        reply_header(r, "Referrer-Policy: no-referrer\r\n");
        reply_header(r, "X-Frame-Options: DENY\r\n");
        reply_header(r, "Cross-Origin-Opener-Policy: same-origin\r\n");
        reply_header(r, "Cross-Origin-Resource-Policy: same-origin\r\n");
        reply_header(r, "Permissions-Policy: camera=(), microphone=(), geolocation=()\r\n");
}

static void page(struct request *r, const char *type, const char *text)
{
        page_headers(r);
        reply_text(r, 200, type, text, strlen(text));
}

static void embedded(struct request *r, const struct page_file *file)
{
        enum page_form form = page_choose(file, request_header(r, HEADER_ACCEPT_ENCODING));

        page_headers(r);
        reply_header(r, "Cache-Control: %s\r\n", file->immutable ? "public, max-age=31536000, immutable" : "no-cache");
        reply_header(r, "ETag: %s\r\n", file->tags[form]);
        reply_header(r, "Vary: Accept-Encoding\r\n");
        if (page_is_known(file, form, request_header(r, HEADER_IF_NONE_MATCH))) {
                reply_empty(r, 304);
                return;
        }
        if (page_form_name(form))
                reply_header(r, "Content-Encoding: %s\r\n", page_form_name(form));
        reply_text(r, 200, file->type, file->bytes[form], file->counts[form]);
}

static void embedded_path(struct request *r, const char *path)
{
        const struct page_file *file = page_find(path);

        if (file)
                embedded(r, file);
        else
                reply_problem(r, "not_found", NULL, "The page of this version has no such file: load it anew.");
}

void handle_page(struct request *r)
{
        const struct page_file *file = page_find("/");

        if (file) {
                embedded(r, file);
                return;
        }
        page_headers(r);
        reply_text(r, 501, "text/html; charset=utf-8", page_missing_html, strlen(page_missing_html));
}

void handle_page_icon(struct request *r)
{
        embedded_path(r, "/icon.svg");
}

void handle_page_asset(struct request *r)
{
        char path[160];

        snprintf(path, sizeof path, "/assets/%.*s", (int)r->parts[0].length, r->parts[0].text);
        embedded_path(r, path);
}

void handle_docs(struct request *r)
{
        page(r, "text/html; charset=utf-8", page_docs_html);
}

void handle_docs_script(struct request *r)
{
        page(r, "text/javascript; charset=utf-8", page_docs_js);
}

/* The page does this, too; without it, a small one of our own. */
void handle_setup_page(struct request *r)
{
        const struct page_file *file = page_find("/");

        if (file)
                embedded(r, file);
        else
                page(r, "text/html; charset=utf-8", page_setup_html);
}

void handle_setup_script(struct request *r)
{
        page(r, "text/javascript; charset=utf-8", page_setup_js);
}

void handle_style(struct request *r)
{
        page(r, "text/css; charset=utf-8", page_style_css);
}

void handle_openapi(struct request *r)
{
        reply_header(r, "Cache-Control: public, max-age=60\r\n");
        reply_text(r, 200, "application/json", r->server->openapi, r->server->openapi_bytes);
}
