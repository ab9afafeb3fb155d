/* pool-stream.c: event streams and files of a pool, and its pinned certificate; see pool-client.h. */
#include "cli/pool-internal.h"

#include "base/error.h"
#include "base/strbuf.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define EVENT_BYTES (8u << 20)  /* of one event: a snapshot of a thousand tasks fits */
#define REFUSAL_BYTES (64u << 10)

static void hex(const unsigned char *bytes, size_t n, char *text)
{
        for (size_t i = 0; i < n; i++)
                snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

static int verify_pin(X509_STORE_CTX *store, void *context)
{
        struct pool_client *c = context;
        X509 *leaf = X509_STORE_CTX_get0_cert(store);
        unsigned char digest[EVP_MAX_MD_SIZE];
        char text[2 * EVP_MAX_MD_SIZE + 1];
        unsigned int n = 0;

        if (!leaf || !X509_digest(leaf, EVP_sha256(), digest, &n))
                return 0;
        hex(digest, n, text);
        return CRYPTO_memcmp(text, c->pin, 64) == 0 && strlen(c->pin) == 64;
}

static CURLcode use_pin(CURL *curl, void *ssl, void *context)
{
        (void)curl;
        SSL_CTX_set_cert_verify_callback(ssl, verify_pin, context);
        return CURLE_OK;
}

void pool_pin(struct pool_client *c)
{
        curl_easy_setopt(c->curl, CURLOPT_SSL_CTX_FUNCTION, use_pin);
        curl_easy_setopt(c->curl, CURLOPT_SSL_CTX_DATA, c);
        curl_easy_setopt(c->curl, CURLOPT_SSL_VERIFYHOST, 0L); /* the fingerprint says more than a name */
}

/* ---- events: the fields of text/event-stream that are used: id, event, data -------------------------------------- */

struct follow {
        struct pool_client *c;
        pool_event_fn fn;
        void *context;
        struct strbuf line, data, refusal;
        char type[64], id[128];
        bool heard;
        int result;
};

static void dispatch(struct follow *f)
{
        json_t *data;

        if (f->data.length) {
                data = json_loadb(f->data.text, f->data.length, JSON_DECODE_ANY, NULL);
                if (data)
                        f->result = f->fn(f->context, f->type[0] ? f->type : "message", data);
                json_decref(data);
        }
        strbuf_clear(&f->data);
        f->type[0] = '\0';
}

static void take_line(struct follow *f, const char *line)
{
        const char *colon = strchr(line, ':'), *value = colon ? colon + 1 : "";
        size_t n = colon ? (size_t)(colon - line) : strlen(line);

        f->heard = true;
        if (!line[0]) {
                dispatch(f);
                return;
        }
        if (*value == ' ')
                value++;
        if (n == 5 && !strncmp(line, "event", 5))
                snprintf(f->type, sizeof f->type, "%s", value);
        else if (n == 4 && !strncmp(line, "data", 4))
                strbuf_add(&f->data, "%s%s", f->data.length ? "\n" : "", value);
        else if (n == 2 && !strncmp(line, "id", 2) && strlen(value) < sizeof f->id)
                snprintf(f->id, sizeof f->id, "%s", value);
}

static size_t streamed(char *data, size_t size, size_t count, void *context)
{
        struct follow *f = context;
        size_t n = size * count;

        curl_easy_getinfo(f->c->curl, CURLINFO_RESPONSE_CODE, &f->c->status);
        if (f->c->status >= 400) {
                if (f->refusal.length + n <= REFUSAL_BYTES)
                        strbuf_add(&f->refusal, "%.*s", (int)n, data);
                return n;
        }
        for (size_t i = 0; i < n && !f->result; i++) {
                if (data[i] == '\n') {
                        if (f->line.length && f->line.text[f->line.length - 1] == '\r')
                                f->line.text[--f->line.length] = '\0';
                        take_line(f, f->line.length ? f->line.text : "");
                        strbuf_clear(&f->line);
                } else {
                        strbuf_fill(&f->line, data[i], 1);
                }
                if (f->line.failed || f->data.failed || f->line.length + f->data.length > EVENT_BYTES)
                        f->result = -E_MESSAGE;
        }
        return f->result ? 0 : n;
}

int pool_follow(struct pool_client *c, const char *path, pool_event_fn fn, void *context, char message[CLI_MESSAGE])
{
        struct follow f = {.c = c, .fn = fn, .context = context};
        unsigned int tries = 0;
        int r = 0;

        while (!f.result) {
                struct curl_slist *headers = NULL;
                char text[160];
                CURLcode code;

                pool_prepare(c, path, &headers);
                headers = curl_slist_append(headers, "Accept: text/event-stream");
                if (f.id[0]) {
                        snprintf(text, sizeof text, "Last-Event-ID: %s", f.id);
                        headers = curl_slist_append(headers, text);
                }
                f.heard = false;
                strbuf_clear(&f.line);
                strbuf_clear(&f.data);
                curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
                curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, streamed);
                curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &f);
                /* The pool sends a comment every 15 s; silence for three of them is a dead connection. */
                curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
                curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_TIME, 45L);
                code = curl_easy_perform(c->curl);
                curl_slist_free_all(headers);
                curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &c->status);
                if (f.result)
                        break;
                if (c->status >= 400 && c->status != 503) {
                        json_t *problem = f.refusal.length ? json_loadb(f.refusal.text, f.refusal.length, 0, NULL) : NULL;

                        r = pool_refusal(c, problem, message);
                        json_decref(problem);
                        break;
                }
                tries = f.heard ? 0 : tries + 1;
                if (tries > 5) {
                        r = pool_failed(c, code ? code : CURLE_GOT_NOTHING, message);
                        break;
                }
                nanosleep(&(struct timespec){.tv_sec = tries > 2 ? 2 : 0, .tv_nsec = 200000000}, NULL);
        }
        strbuf_done(&f.line);
        strbuf_done(&f.data);
        strbuf_done(&f.refusal);
        if (f.result == -E_MESSAGE)
                snprintf(message, CLI_MESSAGE, "the pool at %.200s sent an event that is too long", c->url);
        return r < 0 ? r : f.result;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

struct fetch {
        struct pool_client *c;
        struct strbuf refusal;
        int fd, error;
        uint64_t bytes;
};

static size_t fetched(char *data, size_t size, size_t count, void *context)
{
        struct fetch *f = context;
        size_t n = size * count;

        curl_easy_getinfo(f->c->curl, CURLINFO_RESPONSE_CODE, &f->c->status);
        if (f->c->status >= 400) {
                if (f->refusal.length + n <= REFUSAL_BYTES)
                        strbuf_add(&f->refusal, "%.*s", (int)n, data);
                return n;
        }
        for (size_t done = 0; done < n;) {
                ssize_t w = write(f->fd, data + done, n - done);

                if (w < 0 && errno == EINTR)
                        continue;
                if (w < 0) {
                        f->error = errno;
                        return 0;
                }
                done += (size_t)w;
        }
        f->bytes += n;
        return n;
}

int pool_fetch(struct pool_client *c, const char *path, uint64_t offset, int fd, uint64_t *ret_bytes, char message[CLI_MESSAGE])
{
        struct fetch f = {.c = c, .fd = fd};
        struct curl_slist *headers = NULL;
        json_t *problem = NULL;
        char range[40];
        CURLcode code;
        int r;

        pool_prepare(c, path, &headers);
        curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, fetched);
        curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &f);
        if (offset) {
                snprintf(range, sizeof range, "%llu-", (unsigned long long)offset);
                curl_easy_setopt(c->curl, CURLOPT_RANGE, range);
        }
        curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_TIME, 60L);
        code = curl_easy_perform(c->curl);
        curl_slist_free_all(headers);
        curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &c->status);
        if (f.error) {
                snprintf(message, CLI_MESSAGE, "can't write: %s", strerror(f.error));
                r = -f.error;
        } else if (c->status == 416) {
                r = 0; /* nothing behind the offset */
        } else {
                r = pool_failed(c, code, message);
                if (r >= 0 && c->status >= 400) {
                        problem = f.refusal.length ? json_loadb(f.refusal.text, f.refusal.length, 0, NULL) : NULL;
                        r = pool_refusal(c, problem, message);
                        json_decref(problem);
                }
        }
        strbuf_done(&f.refusal);
        *ret_bytes = f.bytes;
        return r;
}

int pool_digest(int fd, char sha256[65], uint64_t *ret_bytes)
{
        unsigned char digest[EVP_MAX_MD_SIZE];
        EVP_MD_CTX *md = EVP_MD_CTX_new();
        char *block scoped_free = malloc(1 << 20);
        unsigned int n = 0;
        uint64_t all = 0;
        ssize_t got = 0;
        int r = 0;

        if (!md || !block || !EVP_DigestInit_ex(md, EVP_sha256(), NULL))
                r = -ENOMEM;
        while (!r && (got = pread(fd, block, 1 << 20, (off_t)all)) > 0) {
                if (!EVP_DigestUpdate(md, block, (size_t)got))
                        r = -ENOMEM;
                all += (uint64_t)got;
        }
        if (!r && got < 0)
                r = -errno;
        if (!r && !EVP_DigestFinal_ex(md, digest, &n))
                r = -ENOMEM;
        EVP_MD_CTX_free(md);
        if (r < 0)
                return r;
        hex(digest, n, sha256);
        *ret_bytes = all;
        return 0;
}

struct upload {
        int fd;
        uint64_t at;
};

static size_t upload_more(char *to, size_t size, size_t count, void *context)
{
        struct upload *u = context;
        ssize_t n = pread(u->fd, to, size * count, (off_t)u->at);

        if (n < 0)
                return CURL_READFUNC_ABORT;
        u->at += (uint64_t)n;
        return (size_t)n;
}

/* How much the pool has: all of it (-EALREADY), or where to go on from. */
static int held(struct pool_client *c, const char *path, uint64_t bytes, uint64_t *ret_offset, char message[CLI_MESSAGE])
{
        struct pool_ask ask = {.method = "GET", .path = path};
        json_t *answer = NULL;
        char upload[160];
        int r;

        *ret_offset = 0;
        snprintf(upload, sizeof upload, "%s/upload", path);
        ask.path = upload;
        r = pool_ask(c, &ask, &answer, message);
        if (r >= 0) {
                *ret_offset = (uint64_t)json_integer_value(json_object_get(answer, "offset"));
                if (json_is_true(json_object_get(answer, "complete")))
                        r = -EALREADY;
                else if (*ret_offset > bytes)
                        *ret_offset = 0;
        } else if (r == -ENOENT) {
                r = 0;
        }
        json_decref(answer);
        return r;
}

int pool_send_file(struct pool_client *c, const char *path, char sha256[65], uint64_t *ret_bytes, char message[CLI_MESSAGE])
{
        scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct curl_slist *headers = NULL;
        struct strbuf b = {0};
        struct fetch f = {.c = c, .fd = -1};
        struct upload u = {.fd = fd};
        char where[120], range[120];
        json_t *problem = NULL;
        CURLcode code;
        int r;

        r = fd < 0 ? -errno : pool_digest(fd, sha256, ret_bytes);
        if (r < 0) {
                snprintf(message, CLI_MESSAGE, "can't read %.300s: %s", path, error_text(r));
                return r;
        }
        snprintf(where, sizeof where, "/api/v1/artifacts/%s", sha256);
        r = held(c, where, *ret_bytes, &u.at, message);
        if (r < 0)
                return r == -EALREADY ? 0 : r;
        pool_prepare(c, where, &headers);
        if (*ret_bytes)
                snprintf(range, sizeof range, "Content-Range: bytes %llu-%llu/%llu", (unsigned long long)u.at, (unsigned long long)*ret_bytes - 1,
                         (unsigned long long)*ret_bytes);
        else
                snprintf(range, sizeof range, "Content-Range: bytes */0");
        headers = curl_slist_append(headers, range);
        headers = curl_slist_append(headers, "Content-Type: application/octet-stream");
        headers = curl_slist_append(headers, "Expect:");
        curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(c->curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(c->curl, CURLOPT_READFUNCTION, upload_more);
        curl_easy_setopt(c->curl, CURLOPT_READDATA, &u);
        curl_easy_setopt(c->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)(*ret_bytes - u.at));
        curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, fetched);
        curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &f);
        f.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
        curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_TIME, 60L);
        code = curl_easy_perform(c->curl);
        curl_slist_free_all(headers);
        curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &c->status);
        r = pool_failed(c, code, message);
        if (r >= 0 && c->status >= 400) {
                problem = f.refusal.length ? json_loadb(f.refusal.text, f.refusal.length, 0, NULL) : NULL;
                r = pool_refusal(c, problem, message);
                json_decref(problem);
        }
        strbuf_done(&f.refusal);
        strbuf_done(&b);
        fd_close_at(&f.fd);
        return r;
}
