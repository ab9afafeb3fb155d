/* head.c: a request's head: its target and headers kept, its route found, its admission asked for, its body's size looked at: all before a byte of the body
 * is taken. */
#include "gateway/admit.h"
#include "gateway/connection.h"
#include "gateway/http.h"
#include "gateway/request.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const header_names[HEADERS] = {
#define REQUEST_HEADER_NAME(symbol, name) name,
        REQUEST_HEADERS(REQUEST_HEADER_NAME)
#undef REQUEST_HEADER_NAME
};

static int head_add(struct request *r, const char *text, size_t length)
{
        if (r->head_size - r->head_length < length + 1) {
                uint32_t size = r->head_size ? r->head_size : 512;
                char *more;

                while (size < r->head_length + length + 1)
                        size *= 2;
                more = realloc(r->head, size);
                if (!more)
                        return -1;
                r->head = more;
                r->head_size = size;
        }
        memcpy(r->head + r->head_length, text, length);
        r->head_length += (uint32_t)length;
        r->head[r->head_length] = 0;
        return 0;
}

int head_url(http_parser *parser, const char *text, size_t length)
{
        struct connection *c = parser->data;
        struct request *r = c->request;

        if (r->head_length + length > REQUEST_TARGET_MAX) {
                reply_problem(r, "request.target_too_long", NULL, "The request's target is longer than %d bytes.", REQUEST_TARGET_MAX);
                return -1;
        }
        if (head_add(r, text, length) < 0)
                return -1;
        r->target_length = r->head_length;
        return 0;
}

/* A value is complete: ended by a byte of its own. */
static int end_header(struct request *r)
{
        if (r->header_stage == 2 && r->header_now >= 0) {
                r->head_length++;
                if (!path_text_is_clean(request_header(r, r->header_now), strlen(request_header(r, r->header_now)))) {
                        reply_problem(r, "request.malformed", NULL, "The header \"%s\" holds bytes that are not text.", header_names[r->header_now]);
                        return -1;
                }
        }
        r->header_stage = 0;
        r->header_now = -1;
        return 0;
}

int head_field(http_parser *parser, const char *text, size_t length)
{
        struct connection *c = parser->data;
        struct request *r = c->request;

        if (r->header_stage != 1) {
                if (end_header(r) < 0)
                        return -1;
                if (++r->header_count > REQUEST_HEADERS_MAX) {
                        reply_problem(r, "request.head_too_large", NULL, "More than %d headers.", REQUEST_HEADERS_MAX);
                        return -1;
                }
                r->header_stage = 1;
                r->name_length = 0;
        }
        for (size_t i = 0; i < length; i++) {
                /* The parser lets a blank pass, which others may read as something else. */
                if (text[i] <= ' ' || text[i] == 0x7f) {
                        reply_problem(r, "request.malformed", NULL, "A header's name holds a blank or a control character.");
                        return -1;
                }
                if (r->name_length < sizeof r->name)
                        r->name[r->name_length++] = text[i];
        }
        return 0;
}

static int start_value(struct request *r)
{
        r->header_stage = 2;
        r->header_now = -1;
        for (int i = 0; i < HEADERS; i++)
                if (r->name_length < sizeof r->name && strlen(header_names[i]) == r->name_length && !strncasecmp(header_names[i], r->name, r->name_length))
                        r->header_now = (int8_t)i;
        if (r->header_now < 0)
                return 0;
        if (r->headers[r->header_now] && r->header_now == HEADER_ACCEPT_ENCODING) {
                r->header_now = -1; /* a list may come in parts; nothing hangs on the rest of it */
                return 0;
        }
        if (r->headers[r->header_now]) {
                reply_problem(r, "request.malformed", NULL, "The header \"%s\" is there twice.", header_names[r->header_now]);
                return -1;
        }
        /* The byte that ends what stands before it. */
        if (!r->head_length || r->head[r->head_length - 1])
                if (head_add(r, "", 1) < 0)
                        return -1;
        r->headers[r->header_now] = r->head_length;
        return head_add(r, "", 0);
}

int head_value(http_parser *parser, const char *text, size_t length)
{
        struct connection *c = parser->data;
        struct request *r = c->request;

        if (r->header_stage != 2 && start_value(r) < 0)
                return -1;
        for (size_t i = 0; i < length; i++)
                if (((unsigned char)text[i] < ' ' && text[i] != '\t') || text[i] == 0x7f) {
                        reply_problem(r, "request.malformed", NULL, "A header's value holds a control character.");
                        return -1;
                }
        return r->header_now >= 0 ? head_add(r, text, length) : 0;
}

static enum http_way way_of(const http_parser *parser)
{
        switch ((int)parser->method) {
        case HTTP_GET:
                return WAY_GET;
        case HTTP_HEAD:
                return WAY_HEAD;
        case HTTP_POST:
                return WAY_POST;
        case HTTP_PUT:
                return WAY_PUT;
        case HTTP_PATCH:
                return WAY_PATCH;
        case HTTP_DELETE:
                return WAY_DELETE;
        default:
                return WAY_OTHER;
        }
}

/* The route, and whether the request may come in. False: answered. */
static bool route_request(struct request *r)
{
        char allow[64];
        int e = path_decode(r->head, r->target_length, &r->path);

        if (e < 0) {
                reply_problem(r, "request.target", NULL, "The request's target is not accepted: a clean absolute path is needed, without empty or \"..\" segments.");
                return false;
        }
        if (!r->http10 && !request_header(r, HEADER_HOST)) {
                reply_problem(r, "request.malformed", NULL, "No Host header.");
                return false;
        }
        e = route_find(r->way, r->path.text, &r->route, r->parts, allow);
        if (e == -ENOTSUP) {
                reply_header(r, "Allow: %s\r\n", allow);
                reply_problem(r, "request.method", NULL, "%s takes %s.", r->path.text, allow);
                return false;
        }
        if (e < 0) {
                /* Also the unknown takes from the allowance of its network. */
                if (admit_stranger(r))
                        reply_problem(r, "not_found", NULL, "Nothing is here. GET /openapi.json lists what there is.");
                return false;
        }
        return admit_request(r);
}

static bool check_body(struct request *r, const http_parser *parser)
{
        bool chunked = parser->flags & F_CHUNKED;

        if (r->content_length == 0 && !chunked)
                return true;
        if (r->content_length == UINT64_MAX && !chunked) {
                if (r->route->flags & ROUTE_UPLOAD) {
                        reply_problem(r, "request.length_required", NULL, "An upload needs a Content-Length.");
                        return false;
                }
                return true;
        }
        if (!r->route->body_limit && !(r->route->flags & ROUTE_UPLOAD)) {
                reply_problem(r, "request.too_large", NULL, "No body is taken here.");
                return false;
        }
        if (chunked && r->route->flags & ROUTE_UPLOAD) {
                reply_problem(r, "request.length_required", NULL, "An upload needs a Content-Length.");
                return false;
        }
        if (!(r->route->flags & ROUTE_UPLOAD) && !chunked && r->content_length > r->route->body_limit) {
                reply_problem(r, "request.too_large", NULL, "The body has %llu bytes; %zu are taken here.", (unsigned long long)r->content_length,
                              r->route->body_limit);
                return false;
        }
        if (r->route->takes) {
                const char *type = request_header(r, HEADER_CONTENT_TYPE);

                if (type && (strncasecmp(type, "application/json", 16) || (type[16] && type[16] != ';' && type[16] != ' '))) {
                        reply_problem(r, "request.media_type", NULL, "The body must be application/json.");
                        return false;
                }
        }
        return true;
}

int head_complete(http_parser *parser)
{
        struct connection *c = parser->data;
        struct request *r = c->request;
        bool upgrade = parser->upgrade;
        const char *expect;

        if (end_header(r) < 0)
                return -1;
        r->way = way_of(parser);
        r->http10 = parser->http_major < 1 || (parser->http_major == 1 && parser->http_minor == 0);
        r->keep_alive = http_should_keep_alive(parser) && !c->server->stopping;
        r->content_length = parser->flags & F_CONTENTLENGTH ? parser->content_length : UINT64_MAX;
        /* Requests to become something that we are not are plain requests (RFC 9110, 7.8). */
        parser->upgrade = 0;
        if (parser->http_major != 1 || parser->method == HTTP_CONNECT) {
                reply_problem(r, "request.malformed", NULL, "HTTP/1.1 is spoken here.");
                return -1;
        }
        if (!route_request(r) || !check_body(r, parser)) {
                r->discard = true;
                if (r->content_length > DISCARD_MAX && (r->content_length != UINT64_MAX || parser->flags & F_CHUNKED))
                        return -1;
                return 0;
        }
        if (r->route->flags & ROUTE_SOCKET) {
                if (!upgrade) {
                        reply_header(r, "Upgrade: websocket\r\n");
                        reply_problem(r, "request.upgrade", NULL, "A WebSocket is here.");
                } else {
                        parser->upgrade = 1;
                        return 1;
                }
        }
        expect = request_header(r, HEADER_EXPECT);
        if (expect && !strcasecmp(expect, "100-continue") && !r->http10 && (r->content_length || parser->flags & F_CHUNKED))
                connection_write(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
        connection_deadline(c, http_ms(c->server->settings.body_ns));
        if (r->route->flags & ROUTE_UPLOAD)
                r->route->handle(r);
        if (r->answered) {
                r->discard = true;
                if (r->content_length > DISCARD_MAX && r->content_length != UINT64_MAX)
                        return -1;
        }
        return 0;
}
