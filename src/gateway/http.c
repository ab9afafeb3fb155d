/* http.c: requests read from a connection, one at a time, each bounded; see gateway.h for a request's life. */
#include "gateway/admit.h"
#include "gateway/connection.h"
#include "gateway/forward.h"
#include "gateway/handlers.h"
#include "gateway/http.h"
#include "gateway/request.h"

#include "base/error.h"
#include "service/pass.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BODY_STEP (64 << 10)     /* a long body must bring this much within settings.body */

static void request_free(struct request *r)
{
        admit_leave(r);
        if (r->file >= 0)
                close(r->file);
        json_decref(r->json);
        strbuf_done(&r->payload);
        strbuf_done(&r->extra);
        free(r->body);
        free(r->own_credential);
        free(r->elsewhere);
        free(r->head);
        free(r);
}

static int on_begin(http_parser *parser)
{
        struct connection *c = parser->data;
        struct server *server = c->server;
        struct request *r = calloc(1, sizeof *r);

        if (!r)
                return -1;
        r->server = server;
        r->connection = c;
        r->in_parser = true;
        r->header_now = -1;
        r->file = -1;
        r->content_length = UINT64_MAX;
        r->started = server_now(server);
        snprintf(r->id, sizeof r->id, "%08x%08x", (unsigned)server->request_base, (unsigned)++server->request_number);
        c->request = r;
        server->counters.requests++;
        connection_deadline(c, http_ms(server->settings.head_ns));
        return 0;
}

static int body_add(struct request *r, const char *text, size_t length)
{
        if (r->body_length + length > r->route->body_limit) {
                reply_problem(r, "request.too_large", NULL, "The body is longer than the %zu bytes that are taken here.", r->route->body_limit);
                return -1;
        }
        if (r->body_size < r->body_length + length) {
                size_t size = r->body_size ? r->body_size : r->content_length <= r->route->body_limit ? (size_t)r->content_length : 1024;
                char *more;

                /* What was promised is not believed beyond 64 KiB before it is here. */
                if (!r->body_size && size > BODY_STEP)
                        size = BODY_STEP;
                while (size < r->body_length + length)
                        size *= 2;
                more = realloc(r->body, size);
                if (!more) {
                        reply_problem(r, "pool.busy", NULL, "Out of memory for the body.");
                        return -1;
                }
                r->body = more;
                r->body_size = size;
        }
        memcpy(r->body + r->body_length, text, length);
        r->body_length += length;
        return 0;
}

static int on_body(http_parser *parser, const char *text, size_t length)
{
        struct connection *c = parser->data;
        struct request *r = c->request;

        r->body_seen += length;
        if (r->body_seen - r->body_mark >= BODY_STEP) {
                r->body_mark = r->body_seen;
                connection_deadline(c, http_ms(c->server->settings.body_ns));
        }
        if (r->discard || r->answered)
                return r->body_seen > DISCARD_MAX ? -1 : 0;
        if (r->file < 0)
                return body_add(r, text, length);
        while (length) {
                ssize_t n = pwrite(r->file, text, length, (off_t)r->file_at);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0) {
                        reply_error(r, n ? -errno : -EIO, "the artifact could not be written");
                        return -1;
                }
                r->file_at += (uint64_t)n;
                text += n;
                length -= (size_t)n;
        }
        return 0;
}

static int on_complete(http_parser *parser)
{
        struct connection *c = parser->data;

        c->request->complete = true;
        http_parser_pause(parser, 1);
        return 0;
}

static const http_parser_settings parser_settings = {
        .on_message_begin = on_begin, .on_url = head_url, .on_header_field = head_field, .on_header_value = head_value, .on_headers_complete = head_complete,
        .on_body = on_body, .on_message_complete = on_complete,
};

static bool too_deep(const char *text, size_t length)
{
        unsigned depth = 0;
        bool in_string = false;

        for (size_t i = 0; i < length; i++) {
                if (in_string) {
                        if (text[i] == '\\')
                                i++;
                        else if (text[i] == '"')
                                in_string = false;
                } else if (text[i] == '"') {
                        in_string = true;
                } else if (text[i] == '{' || text[i] == '[') {
                        if (++depth > REQUEST_DEPTH)
                                return true;
                } else if ((text[i] == '}' || text[i] == ']') && depth) {
                        depth--;
                }
        }
        return false;
}

/* A task's payload is only handed on: no tree is made of it, where it is plain. */
static json_t *without_payload(struct request *r)
{
        struct strbuf rest = {0};
        json_t *json = NULL;

        if (pass_payload(r->body, r->body_length, &rest, &r->payload))
                json = json_loadb(rest.text, rest.length, JSON_REJECT_DUPLICATES, NULL);
        if (!json)
                strbuf_done(&r->payload);
        strbuf_done(&rest);
        return json;
}

/* The JSON body, when the route takes one. False: answered. */
static bool parse_body(struct request *r)
{
        json_error_t error;

        if (!r->route->takes || r->route->flags & ROUTE_RAW)
                return true;
        if (!r->body_length) {
                if (r->route->flags & ROUTE_OPTIONAL)
                        return true;
                reply_problem(r, "request.json", NULL, "A JSON body is needed here.");
                return false;
        }
        if (too_deep(r->body, r->body_length)) {
                reply_problem(r, "request.json", NULL, "The JSON is nested deeper than %d levels.", REQUEST_DEPTH);
                return false;
        }
        if (r->route->handle == handle_submit)
                r->json = without_payload(r);
        if (!r->json)
                r->json = json_loadb(r->body, r->body_length, JSON_REJECT_DUPLICATES, &error);
        if (!r->json) {
                reply_problem(r, "request.json", NULL, "The body is not JSON: %s (line %d, column %d).", error.text, error.line, error.column);
                return false;
        }
        free(r->body);
        r->body = NULL;
        r->body_length = r->body_size = 0;
        return true;
}

static void handle(struct request *r)
{
        if (parse_body(r))
                r->route->handle(r);
}

/* Which server has the task is known now. */
static void placed(void *context, int error, const char *address)
{
        struct request *r = context;

        r->pending = false;
        if (!r->connection) {
                request_release(r);
        } else if (error == -EAGAIN) {
                connection_resume(r->connection); /* to notice when the client goes */
                forward_request(r, address);
        } else if (error < 0) {
                r->allowance.retry_s = 1;
                reply_problem(r, "pool.unavailable", NULL, "No server looks after this task at the moment; one soon will.");
        } else {
                handle(r);
        }
}

/* True: it is being found out where the task is looked after. */
static bool ask_place(struct request *r)
{
        char text[ID_TEXT];
        struct id task;

        if (!(r->route->flags & ROUTE_TASK) || forward_was(r) || !service_is_partial(r->server->service))
                return false;
        snprintf(text, sizeof text, "%.*s", (int)r->parts[0].length, r->parts[0].text);
        if (r->parts[0].length >= sizeof text || id_parse("task", text, &task) < 0)
                return false;
        request_begin(r);
        if (service_task_place(r->server->service, &task, placed, r))
                return true;
        r->pending = false;
        return false;
}

/* The whole request is here. */
static void dispatch(struct request *r)
{
        char unknown[40];

        connection_deadline(r->connection, 0);
        if (query_check(r->path.query, r->path.query_length, r->route->query ? r->route->query : "", unknown, sizeof unknown) < 0) {
                reply_problem(r, "request.parameter", NULL, "The query has \"%s\"; known here: %s.", unknown,
                              r->route->query && r->route->query[0] ? r->route->query : "none");
                return;
        }
        if (r->elsewhere)
                forward_request(r, r->elsewhere);
        else if (!ask_place(r))
                handle(r);
}

/* Frees what is answered; the connection is ready for the next one, or ends. */
static void finish_request(struct request *r)
{
        struct connection *c = r->connection;
        bool go_on = r->keep_alive && r->complete;

        c->request = NULL;
        request_free(r);
        if (!go_on) {
                connection_pause(c, NULL, 0);
                connection_finish(c);
                return;
        }
        connection_deadline(c, http_ms(c->server->settings.idle_ns));
}

void request_end(struct request *r)
{
        struct connection *c = r->connection;

        if (r->in_parser)
                return;
        finish_request(r);
        if (!c->finishing)
                connection_resume(c);
}

void request_detach(struct request *r, const struct connection_user *user, void *data)
{
        struct connection *c = r->connection;

        r->connection = NULL;
        c->request = NULL;
        c->user = user;
        c->data = data;
        connection_deadline(c, 0);
        if (!r->in_parser) {
                connection_resume(c);
                request_free(r);
        }
}

/* The connection died under the parser, and http_gone left its request to us. */
static void let_go(struct request *r)
{
        if (!r)
                return;
        r->in_parser = false;
        if (!r->pending)
                request_free(r);
}

static void http_input(struct connection *c, uint8_t *data, size_t length)
{
        if (!length) {
                if (!c->request && (connection_buffered(c) || c->file >= 0))
                        connection_finish(c);
                else
                        connection_kill(c);
                return;
        }
        if (c->request && (c->request->pending || c->request->sending)) {
                connection_pause(c, data, length);
                return;
        }
        while (length && !c->dead && !c->finishing) {
                enum http_errno error;
                struct request *r;
                size_t used;

                if (c->request)
                        c->request->in_parser = true;
                used = http_parser_execute(&c->parser, &parser_settings, (const char *)data, length);
                error = HTTP_PARSER_ERRNO(&c->parser);
                r = c->request;
                if (c->dead) {
                        let_go(r);
                        return;
                }
                data += used;
                length -= used;
                if (error == HPE_OK) {
                        if (r)
                                r->in_parser = false;
                        return;
                }
                if (!r) {
                        /* Refused before it began: its first byte is no method's. */
                        if (on_begin(&c->parser) < 0) {
                                connection_kill(c);
                                return;
                        }
                        r = c->request;
                }
                if (error == HPE_PAUSED) {
                        http_parser_pause(&c->parser, 0);
                        if (!r->answered)
                                dispatch(r);
                } else {
                        c->server->counters.malformed++;
                        r->complete = false;
                        if (!r->answered && error == HPE_HEADER_OVERFLOW)
                                reply_problem(r, "request.head_too_large", NULL, "The request's head is larger than %d bytes.", REQUEST_HEAD_MAX);
                        else if (!r->answered)
                                reply_problem(r, "request.malformed", NULL, "This is not an HTTP/1.1 request: %s.", http_errno_description(error));
                }
                if (c->user != &http_user) {
                        request_free(r);
                        if (length && !c->dead)
                                c->user->input(c, data, length);
                        return;
                }
                if (c->dead) {
                        let_go(r);
                        return;
                }
                r->in_parser = false;
                if (r->answered && !r->sending) {
                        finish_request(r);
                        continue;
                }
                /* Answered later: what follows waits. A handler that watches for the client reads on while nothing does. */
                if (length || !r->client_gone)
                        connection_pause(c, data, length);
                return;
        }
}

static void http_drained(struct connection *c)
{
        struct request *r = c->request;

        if (r && r->sending) {
                r->sending = false;
                request_end(r);
        } else if (r && r->drained) {
                r->drained(r);
        }
}

static void http_overdue(struct connection *c)
{
        struct request *r = c->request;

        if (!r || r->answered) {
                connection_finish(c);
                return;
        }
        c->server->counters.too_slow++;
        r->keep_alive = false;
        reply_problem(r, "request.timeout", NULL, "The request did not arrive in time.");
}

static void http_gone(struct connection *c)
{
        struct request *r = c->request;

        if (!r)
                return;
        r->connection = NULL;
        if (!r->in_parser)
                c->request = NULL;
        if (r->client_gone && r->pending)
                r->client_gone(r);
        else if (!r->pending && !r->in_parser)
                request_free(r);
}

const struct connection_user http_user = {.input = http_input, .drained = http_drained, .overdue = http_overdue, .gone = http_gone};

void request_begin(struct request *r)
{
        r->pending = true;
        server_turn_soon(r->server);
}

void request_release(struct request *r)
{
        r->pending = false;
        if (!r->connection && !r->in_parser)
                request_free(r);
}

void request_done(void *context, const struct service_answer *answer)
{
        struct request *r = context;

        r->pending = false;
        if (r->connection)
                reply_service(r, answer);
        else if (!r->in_parser)
                request_free(r);
}

void request_watch(struct request *r, void (*client_gone)(struct request *request))
{
        r->client_gone = client_gone;
}
