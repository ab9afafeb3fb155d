/* reply.c: answers written: heads, JSON, problems (RFC 9457), files, endless ones; see request.h. */
#include "gateway/connection.h"
#include "gateway/range.h"
#include "gateway/request.h"

#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 2048

struct problem {
        const char *code;
        int status;
        const char *title;
};

static const struct problem problems[] = {
#define PROBLEM(code, status, title) {code, status, title},
#include "gateway/problem.def"
#undef PROBLEM
};

static const char *reason(int status)
{
        static const struct {
                int status;
                const char *text;
        } reasons[] = {
                {101, "Switching Protocols"}, {200, "OK"}, {201, "Created"}, {202, "Accepted"}, {204, "No Content"}, {206, "Partial Content"},
                {304, "Not Modified"}, {307, "Temporary Redirect"}, {400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"},
                {405, "Method Not Allowed"}, {408, "Request Timeout"}, {409, "Conflict"}, {410, "Gone"}, {411, "Length Required"},
                {412, "Precondition Failed"}, {413, "Content Too Large"}, {414, "URI Too Long"}, {415, "Unsupported Media Type"},
                {416, "Range Not Satisfiable"}, {422, "Unprocessable Content"}, {426, "Upgrade Required"}, {428, "Precondition Required"},
                {429, "Too Many Requests"}, {431, "Request Header Fields Too Large"}, {500, "Internal Server Error"}, {501, "Not Implemented"}, {502, "Bad Gateway"},
                {503, "Service Unavailable"}, {507, "Insufficient Storage"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
                if (reasons[i].status == status)
                        return reasons[i].text;
        return "Answer";
}

void reply_header(struct request *r, const char *format, ...)
{
        char line[1200];
        va_list arguments;
        int n;

        va_start(arguments, format);
        n = vsnprintf(line, sizeof line, format, arguments);
        va_end(arguments);
        /* One line each: whatever came from outside can't add another. */
        if (n < 2 || (size_t)n >= sizeof line || strcspn(line, "\r\n") != (size_t)n - 2)
                return;
        strbuf_add(&r->extra, "%s", line);
}

static const char *date(struct server *server)
{
        uint64_t now = server_now(server) / 1000;
        struct tm t;
        time_t unix_s;

        if (!server->date[0] || server->date_at != now) {
                unix_s = time(NULL);
                gmtime_r(&unix_s, &t);
                strftime(server->date, sizeof server->date, "%a, %d %b %Y %H:%M:%S GMT", &t);
                server->date_at = now;
        }
        return server->date;
}

/* length: UINT64_MAX: chunked, or to the end of the connection. */
static void write_head(struct request *r, int status, const char *type, uint64_t length)
{
        struct connection *c = r->connection;
        char head[HEAD_MAX];
        size_t n;

        r->answered = true;
        r->server->counters.answers[status / 100 <= 5 ? status / 100 : 5]++;
        if (status >= 400)
                r->server->counters.refused_requests++;
        n = (size_t)snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\nDate: %s\r\nX-Request-Id: %s\r\n", status, reason(status), date(r->server), r->id);
        if (type)
                n += (size_t)snprintf(head + n, sizeof head - n, "Content-Type: %s\r\nX-Content-Type-Options: nosniff\r\n", type);
        if (length != UINT64_MAX && status != 204 && status != 304)
                n += (size_t)snprintf(head + n, sizeof head - n, "Content-Length: %llu\r\n", (unsigned long long)length);
        else if (length == UINT64_MAX && r->chunked)
                n += (size_t)snprintf(head + n, sizeof head - n, "Transfer-Encoding: chunked\r\n");
        if (!r->extra.text || !strstr(r->extra.text, "Cache-Control:"))
                n += (size_t)snprintf(head + n, sizeof head - n, "Cache-Control: no-store\r\n");
        if (r->allowance.limit)
                n += (size_t)snprintf(head + n, sizeof head - n,
                                      "RateLimit-Policy: \"requests\";q=%llu;w=60\r\nRateLimit: \"requests\";r=%llu;t=%llu\r\n",
                                      (unsigned long long)r->allowance.limit, (unsigned long long)r->allowance.remaining,
                                      (unsigned long long)r->allowance.reset_s);
        connection_write(c, head, n);
        if (r->extra.text && !r->extra.failed)
                connection_write(c, r->extra.text, r->extra.length);
        if (!r->keep_alive)
                connection_write(c, "Connection: close\r\n", 19);
        else if (r->http10)
                connection_write(c, "Connection: keep-alive\r\n", 24);
        connection_write(c, "\r\n", 2);
}

void reply_text(struct request *r, int status, const char *type, const char *text, size_t bytes)
{
        if (r->answered || !r->connection)
                return;
        write_head(r, status, type, bytes);
        if (r->way != WAY_HEAD && status != 204 && status != 304)
                connection_write(r->connection, text, bytes);
        request_end(r);
}

void reply_empty(struct request *r, int status)
{
        reply_text(r, status, NULL, "", 0);
}

static void reply_dump(struct request *r, int status, const char *type, json_t *body)
{
        char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

        json_decref(body);
        if (text)
                reply_text(r, status, type, text, strlen(text));
        else
                reply_text(r, 503, "application/problem+json", "{\"status\":503,\"code\":\"pool.busy\"}", 33);
        free(text);
}

void reply_json(struct request *r, int status, json_t *body)
{
        if (r->answered || !r->connection)
                json_decref(body);
        else
                reply_dump(r, status, "application/json", body);
}

/* Where OpenAI's clients ask, also at paths below it that are none. */
static bool is_openai(const struct request *r)
{
        return r->route ? r->route->flags & ROUTE_OPENAI : !strncmp(r->path.text, "/v1/", 4);
}

/* {"error": …} as those clients read it; code is ours where OpenAI has none for it. */
json_t *reply_openai_error(const struct request *r, int status, const char *code, const char *detail)
{
        static const struct {
                const char *code, *openai;
        } codes[] = {{"model.unknown", "model_not_found"}, {"auth.invalid", "invalid_api_key"}, {"auth.required", "invalid_api_key"}, {"limit.requests", "rate_limit_exceeded"},
                     {"limit.tokens", "rate_limit_exceeded"}, {"limit.in_flight", "rate_limit_exceeded"}};
        const char *type = status == 401 ? "authentication_error" : status == 403 ? "permission_error" : status == 404 ? "not_found_error" : status == 429 ? "rate_limit_error" :
                           status >= 500 ? "server_error" : "invalid_request_error";

        for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
                if (!strcmp(codes[i].code, code))
                        code = codes[i].openai;
        return json_pack("{s:{s:s, s:s, s:n, s:s, s:s}}", "error", "message", detail && detail[0] ? detail : "refused", "type", type, "param", "code", code, "request_id", r->id);
}

static void write_problem(struct request *r, int status, const char *code, const char *title, const char *detail, uint64_t retry_s, json_t *more)
{
        json_t *body;
        char type[96];

        if (r->answered || !r->connection) {
                json_decref(more);
                return;
        }
        if (is_openai(r)) {
                json_decref(more);
                if (retry_s)
                        reply_header(r, "Retry-After: %llu\r\n", (unsigned long long)retry_s);
                if (status == 401)
                        reply_header(r, "WWW-Authenticate: Bearer realm=\"berth\"\r\n");
                reply_dump(r, status, "application/json", reply_openai_error(r, status, code, detail));
                return;
        }
        snprintf(type, sizeof type, "/docs#problem-%s", code);
        body = json_pack("{s:s, s:s, s:i, s:s*, s:s, s:s}", "type", type, "title", title, "status", status, "detail", detail && detail[0] ? detail : NULL, "code",
                         code, "request_id", r->id);
        if (body && retry_s) {
                json_object_set_new(body, "retry_after", json_integer((json_int_t)retry_s));
                reply_header(r, "Retry-After: %llu\r\n", (unsigned long long)retry_s);
        }
        if (body && more)
                json_object_update_missing(body, more);
        json_decref(more);
        if (status == 401)
                reply_header(r, "WWW-Authenticate: Bearer realm=\"berth\"\r\n");
        reply_dump(r, status, "application/problem+json", body);
}

static const struct problem *find_problem(const char *code)
{
        for (size_t i = 0; i < ARRAY_SIZE(problems); i++)
                if (!strcmp(problems[i].code, code))
                        return &problems[i];
        return NULL;
}

void reply_problem(struct request *r, const char *code, json_t *more, const char *format, ...)
{
        const struct problem *problem = find_problem(code);
        char detail[400];
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(detail, sizeof detail, format, arguments);
        va_end(arguments);
        if (!problem)
                problem = find_problem("pool.internal");
        write_problem(r, problem->status, problem->code, problem->title, detail,
                      r->allowance.retry_s ? r->allowance.retry_s : problem->status == 503 ? 1 : 0, more);
}

void reply_error(struct request *r, int error, const char *what)
{
        const char *code = "pool.internal";

        switch (-error) {
        case EINVAL:
        case E_MESSAGE:
                code = "request.schema";
                break;
        case EACCES:
                code = "auth.invalid";
                break;
        case EPERM:
                code = "auth.forbidden";
                break;
        case ENOENT:
                code = "not_found";
                break;
        case EEXIST:
                code = "account.exists";
                break;
        case EALREADY:
                code = "setup.done";
                break;
        case EBUSY:
                code = "conflict";
                break;
        case EFBIG:
                code = "request.too_large";
                break;
        case ENOSPC:
        case EDQUOT:
                code = "storage.full";
                break;
        case E_QUOTA:
                code = "limit.requests";
                break;
        case E_UNAVAILABLE:
        case ESTALE:
        case EAGAIN:
                code = "pool.unavailable";
                break;
        case ENOMEM:
                code = "pool.busy";
                break;
        default:
                break;
        }
        reply_problem(r, code, NULL, "%s", what && what[0] ? what : error_text(error));
}

/* The next page's address, for those that read headers. */
static void add_link(struct request *r, const char *text, size_t bytes)
{
        const char *next = memmem(text, bytes, "\"next\":\"", 8);
        char query[300];
        size_t n;

        if (!next)
                return;
        next += 8;
        n = strcspn(next, "\"");
        query[0] = 0;
        for (const char *at = r->path.query, *end = at + r->path.query_length; at && at < end;) {
                const char *and = memchr(at, '&', (size_t)(end - at));
                size_t length = (size_t)((and ? and : end) - at);

                if (strncmp(at, "after=", 6) && strlen(query) + length + 2 < sizeof query)
                        snprintf(query + strlen(query), sizeof query - strlen(query), "%.*s&", (int)length, at);
                at += length + 1;
        }
        if (n < 100 && strcspn(query, "<>\"\\") == strlen(query) && strcspn(r->path.text, "<>\"") == strlen(r->path.text))
                reply_header(r, "Link: <%s?%safter=%.*s>; rel=\"next\"\r\n", r->path.text, query, (int)n, next);
}

void reply_service(struct request *r, const struct service_answer *answer)
{
        const struct problem *problem;
        const char *since = r->connection ? request_header(r, HEADER_IF_NONE_MATCH) : NULL;

        if (r->answered || !r->connection)
                return;
        if (answer->status >= 400) {
                problem = answer->code ? find_problem(answer->code) : NULL;
                write_problem(r, answer->status, answer->code ? answer->code : "pool.internal", problem ? problem->title : reason(answer->status),
                              answer->detail, answer->retry_after_s, json_incref(answer->body));
                return;
        }
        if (answer->version)
                reply_header(r, "ETag: \"%llu\"\r\n", (unsigned long long)answer->version);
        if (answer->location[0])
                reply_header(r, "Location: %s\r\n", answer->location);
        if (answer->version && since && answer->status == 200 && (r->way == WAY_GET || r->way == WAY_HEAD) && etag_listed(since, answer->version)) {
                reply_empty(r, 304);
        } else if (answer->text) {
                if (r->route && r->route->query && strstr(r->route->query, "after"))
                        add_link(r, answer->text, answer->bytes);
                reply_text(r, answer->status, "application/json", answer->text, answer->bytes);
        } else if (answer->body) {
                reply_dump(r, answer->status, "application/json", json_incref(answer->body));
        } else {
                reply_empty(r, answer->status);
        }
}

void reply_file(struct request *r, int file, uint64_t bytes, const char *type, uint64_t from)
{
        const char *range = request_header(r, HEADER_RANGE);
        uint64_t first = from < bytes ? from : bytes, count = bytes - first;
        int status = 200, e = range && !from ? range_parse(range, bytes, &first, &count) : -ENOTSUP;

        reply_header(r, "Accept-Ranges: bytes\r\n");
        if (e == -ERANGE) {
                close(file);
                reply_header(r, "Content-Range: bytes */%llu\r\n", (unsigned long long)bytes);
                reply_problem(r, "request.range", NULL, "Of %s there are %llu bytes.", r->path.text, (unsigned long long)bytes);
                return;
        }
        if (e == 0) {
                status = 206;
                reply_header(r, "Content-Range: bytes %llu-%llu/%llu\r\n", (unsigned long long)first, (unsigned long long)(first + count - 1),
                             (unsigned long long)bytes);
        }
        write_head(r, status, type, count);
        if (r->way == WAY_HEAD || !count || r->connection->dead) {
                close(file);
                request_end(r);
                return;
        }
        r->sending = true;
        connection_write_file(r->connection, file, first, count);
}

void reply_stream(struct request *r, const char *type)
{
        r->chunked = !r->http10;
        r->keep_alive = false;
        reply_header(r, "X-Accel-Buffering: no\r\n");
        write_head(r, 200, type, UINT64_MAX);
}

void reply_begin(struct request *r, int status, const char *type)
{
        r->chunked = !r->http10;
        r->keep_alive = false;
        write_head(r, status, type, UINT64_MAX);
}

void reply_open(struct request *r, int status, const char *type)
{
        r->chunked = !r->http10;
        r->keep_alive = r->keep_alive && r->chunked;
        write_head(r, status, type, UINT64_MAX);
}

void reply_last(struct request *r, bool whole)
{
        r->client_gone = r->drained = NULL;
        r->keep_alive = r->keep_alive && whole;
        if (r->connection && whole && r->chunked)
                connection_write(r->connection, "0\r\n\r\n", 5);
        if (!r->connection) {
                request_release(r);
                return;
        }
        r->pending = false;
        request_end(r);
}

void reply_part(struct connection *c, bool chunked, const char *text, size_t bytes)
{
        static const char digits[] = "0123456789abcdef";
        char size[20];
        size_t n = sizeof size;

        if (!bytes)
                return;

        if (!chunked) {
                connection_write(c, text, bytes);
                return;
        }
        size[--n] = '\n';
        size[--n] = '\r';
        for (size_t left = bytes; left; left >>= 4)
                size[--n] = digits[left & 15];
        connection_write(c, size + n, sizeof size - n);
        connection_write(c, text, bytes);
        connection_write(c, "\r\n", 2);
}
