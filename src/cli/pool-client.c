/* pool-client.c: finding the pool and asking it; see pool-client.h. Streams and files are in pool-stream.c. */
#include "cli/pool-client.h"

#include "base/error.h"
#include "base/strbuf.h"
#include "cli/pool-internal.h"

#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_BYTES (64u << 20) /* no answer of the API is near that */

static int home(const char *variable, const char *below, const char *name, char *path, size_t size)
{
        const char *base = getenv(variable), *own = getenv("HOME");
        int n;

        if (base && base[0] == '/')
                n = snprintf(path, size, "%s/%s", base, name);
        else if (own && own[0] == '/')
                n = snprintf(path, size, "%s/%s/%s", own, below, name);
        else
                return -ENOENT;
        return n > 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}

int pool_folder(char *path, size_t size)
{
        const char *set = getenv("BERTH_FOLDER");

        if (set && set[0])
                return snprintf(path, size, "%s", set) < (int)size ? 0 : -ENAMETOOLONG;
        if (geteuid() == 0)
                return snprintf(path, size, "%s", "/var/lib/berth") < (int)size ? 0 : -ENAMETOOLONG;
        return home("XDG_DATA_HOME", ".local/share", "berth", path, size);
}

int pool_login_path(char *path, size_t size)
{
        return home("XDG_CONFIG_HOME", ".config", "berth/pool.json", path, size);
}

static int take_member(const json_t *o, const char *name, char *to, size_t size, bool needed)
{
        const char *s = json_string_value(json_object_get(o, name));

        if (!s)
                return needed ? -EINVAL : 0;
        return snprintf(to, size, "%s", s) < (int)size ? 0 : -EINVAL;
}

/* 0: read; -ENOENT: there is none. */
static int read_file(struct pool_client *c, const char *path, char message[CLI_MESSAGE])
{
        scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        json_error_t error;
        struct stat st;
        json_t *o;
        int r;

        if (fd < 0) {
                if (errno == ENOENT || errno == ENOTDIR)
                        return -ENOENT;
                r = -errno;
                snprintf(message, CLI_MESSAGE, "can't read %.300s: %s", path, strerror(errno));
                return r;
        }
        if (fstat(fd, &st) < 0 || (st.st_uid != geteuid() && st.st_uid != 0) || st.st_mode & 077) {
                snprintf(message, CLI_MESSAGE, "%.300s holds a key and can be read by others; chmod 600 it", path);
                return -EPERM;
        }
        o = json_loadfd(fd, JSON_REJECT_DUPLICATES, &error);
        r = !o || take_member(o, "url", c->url, sizeof c->url, true) < 0 || take_member(o, "token", c->token, sizeof c->token, true) < 0 ||
                            take_member(o, "pin", c->pin, sizeof c->pin, false) < 0
                    ? -EINVAL
                    : 0;
        if (r < 0)
                snprintf(message, CLI_MESSAGE, "%.300s is damaged; sign in again with `berth login'", path);
        else
                snprintf(c->source, sizeof c->source, "%s", path);
        json_decref(o);
        return r;
}

static int find(struct pool_client *c, char message[CLI_MESSAGE])
{
        const char *url = getenv("BERTH_POOL"), *token = getenv("BERTH_TOKEN");
        char path[400], folder[380];
        int r;

        if (url && url[0]) {
                const char *pin = getenv("BERTH_PIN");

                if (snprintf(c->url, sizeof c->url, "%s", url) >= (int)sizeof c->url ||
                    snprintf(c->token, sizeof c->token, "%s", token ? token : "") >= (int)sizeof c->token ||
                    snprintf(c->pin, sizeof c->pin, "%s", pin ? pin : "") >= (int)sizeof c->pin) {
                        snprintf(message, CLI_MESSAGE, "BERTH_POOL, BERTH_TOKEN or BERTH_PIN is too long");
                        return -EINVAL;
                }
                snprintf(c->source, sizeof c->source, "BERTH_POOL");
                return 0;
        }
        if (pool_login_path(path, sizeof path) >= 0) {
                r = read_file(c, path, message);
                if (r != -ENOENT)
                        return r;
        }
        if (pool_folder(folder, sizeof folder) >= 0) {
                snprintf(path, sizeof path, "%s/local.json", folder);
                r = read_file(c, path, message);
                if (r != -ENOENT)
                        return r;
        }
        snprintf(message, CLI_MESSAGE, "no pool is known here; start one with `berth up', or sign in to one with `berth login URL', or set BERTH_POOL and "
                                       "BERTH_TOKEN");
        return -E_UNAVAILABLE;
}

/* The address that c has, made fit for use. */
static int begin(struct pool_client *c, char message[CLI_MESSAGE])
{
        size_t n = strlen(c->url);

        while (n && c->url[n - 1] == '/')
                c->url[--n] = '\0';
        if (strncmp(c->url, "http://", 7) && strncmp(c->url, "https://", 8)) {
                snprintf(message, CLI_MESSAGE, "\"%.200s\" (from %.200s) is no address of a pool: it begins with http:// or https://", c->url, c->source);
                return -EINVAL;
        }
        if (curl_global_init(CURL_GLOBAL_DEFAULT) || !(c->curl = curl_easy_init())) {
                snprintf(message, CLI_MESSAGE, "libcurl can't be started");
                return -ENOMEM;
        }
        return 0;
}

int pool_open(struct pool_client *c, char message[CLI_MESSAGE])
{
        int r;

        *c = (struct pool_client){0};
        r = find(c, message);
        return r < 0 ? r : begin(c, message);
}

int pool_open_at(struct pool_client *c, const char *url, const char *source, char message[CLI_MESSAGE])
{
        const char *token = getenv("BERTH_TOKEN");

        *c = (struct pool_client){0};
        if (snprintf(c->url, sizeof c->url, "%s", url) >= (int)sizeof c->url || snprintf(c->token, sizeof c->token, "%s", token ? token : "") >= (int)sizeof c->token) {
                snprintf(message, CLI_MESSAGE, "%s or BERTH_TOKEN is too long", source);
                return -EINVAL;
        }
        snprintf(c->source, sizeof c->source, "%s", source);
        return begin(c, message);
}

void pool_close(struct pool_client *c)
{
        if (c->curl)
                curl_easy_cleanup(c->curl);
        c->curl = NULL;
}

static size_t gather(char *data, size_t size, size_t count, void *context)
{
        struct strbuf *b = context;

        if (b->length + size * count > ANSWER_BYTES)
                return 0;
        strbuf_add(b, "%.*s", (int)(size * count), data);
        return b->failed ? 0 : size * count;
}

static void take_header(const char *line, size_t n, const char *name, char *to, size_t size)
{
        size_t skip = strlen(name);

        if (n <= skip || strncasecmp(line, name, skip))
                return;
        line += skip, n -= skip;
        while (n && (*line == ' ' || *line == '\t'))
                line++, n--;
        while (n && (line[n - 1] == '\r' || line[n - 1] == '\n' || line[n - 1] == ' '))
                n--;
        if (n < size) {
                memcpy(to, line, n);
                to[n] = '\0';
        }
}

static size_t header(char *line, size_t size, size_t count, void *context)
{
        struct pool_client *c = context;

        take_header(line, size * count, "location:", c->location, sizeof c->location);
        take_header(line, size * count, "etag:", c->etag, sizeof c->etag);
        return size * count;
}

void pool_prepare(struct pool_client *c, const char *path, struct curl_slist **headers)
{
        char text[1400];

        curl_easy_reset(c->curl);
        c->location[0] = c->etag[0] = '\0';
        c->status = 0;
        snprintf(text, sizeof text, "%s%s", c->url, path);
        curl_easy_setopt(c->curl, CURLOPT_URL, text);
        curl_easy_setopt(c->curl, CURLOPT_USERAGENT, "berth/" BERTH_VERSION);
        curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT, 10L);
        curl_easy_setopt(c->curl, CURLOPT_HEADERFUNCTION, header);
        curl_easy_setopt(c->curl, CURLOPT_HEADERDATA, c);
        if (c->pin[0])
                pool_pin(c);
        if (c->token[0]) {
                snprintf(text, sizeof text, "Authorization: Bearer %s", c->token);
                *headers = curl_slist_append(*headers, text);
        }
}

int pool_failed(struct pool_client *c, CURLcode code, char message[CLI_MESSAGE])
{
        if (code == CURLE_OK)
                return 0;
        if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_PINNEDPUBKEYNOTMATCH || code == CURLE_ABORTED_BY_CALLBACK ||
            code == CURLE_SSL_CONNECT_ERROR) {
                snprintf(message, CLI_MESSAGE, "the certificate of %.200s is not the one expected (%s); `berth login --pin SHA256 URL' trusts one by its fingerprint",
                         c->url, curl_easy_strerror(code));
                return -EACCES;
        }
        snprintf(message, CLI_MESSAGE, "the pool at %.200s (from %.200s) does not answer: %s", c->url, c->source, curl_easy_strerror(code));
        return -E_UNAVAILABLE;
}

/* Adds text as the middle of a sentence: no capital at its beginning (unless more of them follow: a name), no full stop at its end. */
static void add_words(struct strbuf *b, const char *text)
{
        size_t length = strlen(text);
        bool lower = text[0] >= 'A' && text[0] <= 'Z' && (text[1] == ' ' || (text[1] >= 'a' && text[1] <= 'z'));

        if (length > 1 && text[length - 1] == '.' && text[length - 2] != '.')
                length--;
        if (lower)
                strbuf_add(b, "%c", text[0] - 'A' + 'a');
        strbuf_put(b, text + lower, length - lower);
}

/* What shows the right names when one was wrong. */
static const char *where_names_are(const struct pool_client *c)
{
        static const struct {
                const char *path, *verb;
        } lists[] = {{"/tasks/", "berth tasks"}, {"/workers/", "berth workers"}, {"/keys/", "berth key"}, {"/accounts/", "berth account"}, {"/models/", "berth models"}, {"/v1/chat/", "berth models"},
                     {"/v1/completions", "berth models"}};
        const char *url = "";

        curl_easy_getinfo(c->curl, CURLINFO_EFFECTIVE_URL, &url);
        for (size_t i = 0; url && i < ARRAY_SIZE(lists); i++)
                if (strstr(url, lists[i].path))
                        return lists[i].verb;
        return NULL;
}

/* The problem's own words, with what is unmet and violated, unless they say that already. */
static void explain(const struct pool_client *c, const json_t *problem, char message[CLI_MESSAGE])
{
        const char *detail = json_string_value(json_object_get(problem, "detail")), *title = json_string_value(json_object_get(problem, "title"));
        const json_t *error = json_object_get(problem, "error"); /* on OpenAI's routes */
        const char *list = c->status == 404 ? where_names_are(c) : NULL;
        struct strbuf b = {0};
        unsigned int more = 0;
        json_t *item;
        size_t i;

        if (!detail)
                detail = json_string_value(json_is_string(error) ? error : json_object_get(error, "message"));
        if (c->status == 401 && c->token[0])
                strbuf_add(&b, "the key from %s is not accepted by the pool at %s: wrong, expired, ended, or another pool's; `berth login URL' signs in",
                           !strcmp(c->source, "BERTH_POOL") || !strcmp(c->source, "--url") ? "BERTH_TOKEN" : c->source, c->url);
        else if (c->status == 401 && !strcmp(pool_text(problem, "code"), "auth.required"))
                strbuf_add(&b, "the pool at %s wants a key: set BERTH_TOKEN, or sign in with `berth login %s'", c->url, c->url);
        else if (detail || title)
                add_words(&b, detail ? detail : title);
        else
                strbuf_add(&b, "the pool refused (HTTP %ld)", c->status);
        json_array_foreach(json_object_get(problem, "violations"), i, item)
                if (!detail || !strstr(detail, pool_text(item, "text")))
                        strbuf_add(&b, "%s%s: %s", more++ ? "; " : ": ", pool_text(item, "path"), pool_text(item, "text"));
        json_array_foreach(json_object_get(problem, "unmet"), i, item) {
                json_int_t matched = json_integer_value(json_object_get(item, "matched")), total = json_integer_value(json_object_get(item, "total"));

                if (matched < total && (!detail || !strstr(detail, pool_text(item, "need"))))
                        strbuf_add(&b, "%s%s: %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT " worker%s", more++ ? "; " : ": ", pool_text(item, "need"), matched, total,
                                   total == 1 ? "" : "s");
        }
        if (json_array_size(json_object_get(problem, "unmet")))
                strbuf_add(&b, "; `berth workers' shows who there is, --wait-for-workers queues it all the same");
        if (list && b.text && !strchr(b.text, '`'))
                strbuf_add(&b, "; `%s' lists what there is", list);
        if (!strcmp(pool_text(error, "code"), "generate.unavailable"))
                strbuf_add(&b, "; `berth models' tells more");
        snprintf(message, CLI_MESSAGE, "%s", b.failed || !b.text ? "out of memory" : b.text);
        for (char *p = message; *p; p++)
                if ((unsigned char)*p < ' ' || *p == 127)
                        *p = ' ';
        strbuf_done(&b);
}

int pool_refusal(const struct pool_client *c, const json_t *problem, char message[CLI_MESSAGE])
{
        explain(c, problem, message);
        switch (c->status) {
        case 401:
                return -EACCES;
        case 403:
                return -EPERM;
        case 404:
                return -ENOENT;
        case 409:
                return -EEXIST;
        case 400:
        case 412:
        case 413:
        case 422:
        case 428:
                return -EINVAL;
        case 429:
                return -E_QUOTA;
        case 502:
        case 503:
        case 504:
                return -E_UNAVAILABLE;
        default:
                return -EIO;
        }
}

int pool_ask(struct pool_client *c, const struct pool_ask *ask, json_t **ret_answer, char message[CLI_MESSAGE])
{
        struct curl_slist *headers = NULL;
        char *body scoped_free = NULL, text[300];
        struct strbuf b = {0};
        json_error_t error;
        CURLcode code;
        int r;

        *ret_answer = NULL;
        pool_prepare(c, ask->path, &headers);
        if (ask->body) {
                body = json_dumps(ask->body, JSON_COMPACT);
                if (!body) {
                        curl_slist_free_all(headers);
                        snprintf(message, CLI_MESSAGE, "out of memory, or text that is not UTF-8");
                        return -EINVAL;
                }
                headers = curl_slist_append(headers, "Content-Type: application/json");
                headers = curl_slist_append(headers, "Expect:");
                curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body);
        } else if (strcmp(ask->method, "GET")) {
                curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, "");
        }
        if (ask->key) {
                snprintf(text, sizeof text, "Idempotency-Key: %.255s", ask->key);
                headers = curl_slist_append(headers, text);
        }
        if (ask->if_match) {
                snprintf(text, sizeof text, "If-Match: %.127s", ask->if_match);
                headers = curl_slist_append(headers, text);
        }
        curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, ask->method);
        curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, gather);
        curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &b);
        curl_easy_setopt(c->curl, CURLOPT_TIMEOUT, ask->timeout_s ? ask->timeout_s : 60L);
        code = curl_easy_perform(c->curl);
        curl_slist_free_all(headers);
        curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &c->status);
        r = pool_failed(c, code, message);
        if (r >= 0 && b.length) {
                *ret_answer = json_loadb(b.text, b.length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
                if (!*ret_answer && c->status < 400) {
                        snprintf(message, CLI_MESSAGE, "what answers at %.200s is no pool (no JSON)", c->url);
                        r = -E_MESSAGE;
                }
        }
        strbuf_done(&b);
        if (r >= 0 && c->status >= 400)
                r = pool_refusal(c, *ret_answer, message);
        return r;
}

bool pool_is_id(const char *text)
{
        return text[0] && strlen(text) < 64 && text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

int pool_print(struct pool_client *c, const struct pool_ask *ask, bool json, pool_words_fn words, const void *context)
{
        char message[CLI_MESSAGE];
        struct strbuf b = {0};
        json_t *answer = NULL;
        int r = pool_ask(c, ask, &answer, message);

        if (r < 0) {
                cli_error("%s", message);
                r = cli_exit_code(r);
        } else if (json) {
                r = answer ? pool_print_json(answer) : CLI_OK;
        } else if (words && answer) {
                words(answer, &b, context);
                r = b.failed ? CLI_FAILED : cli_print(b.text ? b.text : "");
        }
        strbuf_done(&b);
        json_decref(answer);
        return r;
}

int pool_print_of(const struct pool_ask *ask, bool json, pool_words_fn words, const void *context)
{
        scoped_pool struct pool_client c = {0};
        char message[CLI_MESSAGE];
        int r = pool_open(&c, message);

        if (r < 0) {
                cli_error("%s", message);
                return cli_exit_code(r);
        }
        return pool_print(&c, ask, json, words, context);
}

int pool_print_json(const json_t *value)
{
        char *text scoped_free = json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));

        if (!text) {
                cli_error("out of memory");
                return CLI_FAILED;
        }
        puts(text);
        return cli_print(NULL);
}

const char *pool_text(const json_t *object, const char *name)
{
        const char *s = json_string_value(json_object_get(object, name));

        return s && s[0] ? s : "-";
}

char *pool_time(const json_t *object, const char *name, char *buffer, size_t size)
{
        const char *s = json_string_value(json_object_get(object, name));
        struct tm tm = {0}, local, today;
        time_t t, now = time(NULL);

        snprintf(buffer, size, "-");
        if (!s || !strptime(s, "%Y-%m-%dT%H:%M:%S", &tm))
                return buffer;
        t = timegm(&tm);
        localtime_r(&t, &local);
        localtime_r(&now, &today);
        strftime(buffer, size, local.tm_yday == today.tm_yday && local.tm_year == today.tm_year ? "%H:%M:%S" : "%Y-%m-%d %H:%M", &local);
        return buffer;
}
