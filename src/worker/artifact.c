/* artifact.c: transfers with libcurl, digests and pins with OpenSSL; see artifact.h. The cache is in cache.c. */
#include "worker/artifact.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/strbuf.h"
#include "worker/cache.h"

#include <curl/curl.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRIES 5
#define ANSWER_BYTES 65536

static int say(char message[ARTIFACT_MESSAGE], int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int say(char message[ARTIFACT_MESSAGE], int error, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        vsnprintf(message, ARTIFACT_MESSAGE, format, args);
        va_end(args);
        return error;
}

static void hex(const unsigned char *bytes, size_t n, char *to)
{
        for (size_t i = 0; i < n; i++)
                snprintf(to + 2 * i, 3, "%02x", bytes[i]);
}

int artifact_digest(int fd, char sha256[ARTIFACT_SHA], uint64_t *ret_bytes)
{
        EVP_MD_CTX *md = EVP_MD_CTX_new();
        unsigned char buffer[1 << 16], digest[32];
        uint64_t at = 0;
        ssize_t n = -1;

        if (md && EVP_DigestInit_ex(md, EVP_sha256(), NULL))
                while ((n = pread(fd, buffer, sizeof buffer, (off_t)at)) > 0) {
                        EVP_DigestUpdate(md, buffer, (size_t)n);
                        at += (uint64_t)n;
                }
        if (n == 0)
                EVP_DigestFinal_ex(md, digest, NULL);
        EVP_MD_CTX_free(md);
        if (n < 0)
                return errno ? -errno : -EIO;
        hex(digest, sizeof digest, sha256);
        *ret_bytes = at;
        return 0;
}

int artifact_pin(const char *given, char pin[ARTIFACT_SHA])
{
        size_t n = 0;

        for (; *given; given++) {
                if (*given == ':')
                        continue;
                if (n == 64 || !strchr("0123456789abcdefABCDEF", *given))
                        return -EINVAL;
                pin[n++] = (char)(*given >= 'A' && *given <= 'F' ? *given + 32 : *given);
        }
        pin[n] = 0;
        return n == 64 ? 0 : -EINVAL;
}

static bool certificate_is(X509 *certificate, const char *pin)
{
        unsigned char digest[EVP_MAX_MD_SIZE];
        char text[2 * EVP_MAX_MD_SIZE + 1];
        unsigned int n = 0;

        if (!certificate || !X509_digest(certificate, EVP_sha256(), digest, &n) || n != 32)
                return false;
        hex(digest, n, text);
        return !strcmp(text, pin);
}

static int verify_pin(X509_STORE_CTX *store, void *pin)
{
        return certificate_is(X509_STORE_CTX_get0_cert(store), pin);
}

void artifact_pin_context(void *ssl_context, const char *pin)
{
        SSL_CTX_set_verify(ssl_context, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_cert_verify_callback(ssl_context, verify_pin, (void *)pin);
}

bool artifact_pin_holds(void *ssl, const char *pin)
{
        X509 *certificate = ssl ? SSL_get1_peer_certificate(ssl) : NULL;
        bool r = certificate_is(certificate, pin);

        X509_free(certificate);
        return r;
}

static CURLcode on_context(CURL *curl, void *context, void *pin)
{
        artifact_pin_context(context, pin);
        return CURLE_OK;
}

/* One transfer under way. */
struct transfer {
        const struct artifact *a;
        CURL *curl;
        struct curl_slist *headers;
        int fd;                   /* download: to; upload: from */
        uint64_t at, total, most; /* at: of the file */
        uint64_t told_ns;
        bool to_file;             /* the answer's body is the file, not words */
        struct strbuf words;
        int error;
};

static size_t on_data(char *data, size_t one, size_t bytes, void *context)
{
        struct transfer *t = context;
        long status = 0;

        curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
        if (!t->to_file || (status != 200 && status != 206)) {
                if (t->words.length + bytes <= ANSWER_BYTES)
                        strbuf_add(&t->words, "%.*s", (int)bytes, data);
                return bytes;
        }
        if (status == 200 && t->at && !t->total) { /* it does not know ranges: from the start */
                if (ftruncate(t->fd, 0) < 0)
                        return 0;
                t->at = 0;
        }
        t->total = 1; /* began */
        if (t->at + bytes > t->most) {
                t->error = -E_LIMIT;
                return 0;
        }
        for (size_t done = 0; done < bytes;) {
                ssize_t n = pwrite(t->fd, data + done, bytes - done, (off_t)t->at);

                if (n < 0) {
                        t->error = -errno;
                        return 0;
                }
                done += (size_t)n;
                t->at += (uint64_t)n;
        }
        return bytes;
}

static size_t on_more(char *data, size_t one, size_t bytes, void *context)
{
        struct transfer *t = context;
        ssize_t n = pread(t->fd, data, one * bytes, (off_t)t->at);

        if (n < 0)
                return CURL_READFUNC_ABORT;
        t->at += (uint64_t)n;
        return (size_t)n;
}

static int on_progress(void *context, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
        struct transfer *t = context;
        uint64_t now = clock_now_ns();

        if (!t->a->moved || now - t->told_ns < 100 * NS_PER_MS)
                return 0;
        t->told_ns = now;
        return t->a->moved(t->a->context, t->at, (uint64_t)(down_total > up_total ? down_total : up_total));
}

static int begin(struct transfer *t, const char *path, char message[ARTIFACT_MESSAGE])
{
        char url[600], line[1400];

        t->curl = curl_easy_init();
        if (!t->curl || snprintf(url, sizeof url, "%s%s", t->a->url, path) >= (int)sizeof url)
                return say(message, -ENOMEM, "no memory for a transfer");
        snprintf(line, sizeof line, "Authorization: Bearer %s", t->a->token);
        t->headers = curl_slist_append(t->headers, line);
        t->headers = curl_slist_append(t->headers, "Expect:");
        curl_easy_setopt(t->curl, CURLOPT_URL, url);
        curl_easy_setopt(t->curl, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(t->curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(t->curl, CURLOPT_CONNECTTIMEOUT, 20L);
        curl_easy_setopt(t->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(t->curl, CURLOPT_LOW_SPEED_TIME, 60L);
        curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, on_data);
        curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, t);
        curl_easy_setopt(t->curl, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(t->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(t->curl, CURLOPT_XFERINFODATA, t);
        curl_easy_setopt(t->curl, CURLOPT_USERAGENT, "berth-worker/" BERTH_VERSION);
        if (t->a->ca)
                curl_easy_setopt(t->curl, CURLOPT_CAINFO, t->a->ca);
        if (t->a->pin) {
                curl_easy_setopt(t->curl, CURLOPT_SSL_VERIFYHOST, 0L);
                curl_easy_setopt(t->curl, CURLOPT_SSL_CTX_FUNCTION, on_context);
                curl_easy_setopt(t->curl, CURLOPT_SSL_CTX_DATA, (void *)t->a->pin);
        }
        return 0;
}

static void end(struct transfer *t)
{
        curl_easy_cleanup(t->curl);
        curl_slist_free_all(t->headers);
        strbuf_done(&t->words);
        *t = (struct transfer){.a = t->a};
}

/* 0 with *ret_status, -EIO when another try may help. */
static int perform(struct transfer *t, long *ret_status, char message[ARTIFACT_MESSAGE])
{
        CURLcode code;

        curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, t->headers);
        code = curl_easy_perform(t->curl);
        *ret_status = 0;
        if (t->error)
                return say(message, t->error, "%s", error_text(t->error));
        if (code == CURLE_ABORTED_BY_CALLBACK)
                return say(message, -ECANCELED, "stopped");
        if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CONNECT_ERROR)
                return say(message, -EACCES, "%s: %s", t->a->url, curl_easy_strerror(code));
        if (code != CURLE_OK)
                return say(message, -EIO, "%s: %s", t->a->url, curl_easy_strerror(code));
        curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, ret_status);
        if (*ret_status >= 500 || *ret_status == 429)
                return say(message, -EIO, "the pool answers %ld", *ret_status);
        if (*ret_status == 401 || *ret_status == 403)
                return say(message, -EACCES, "the pool refuses this worker's key for artifacts (%ld)", *ret_status);
        return 0;
}

/* Waits before the next try: 0.5, 1, 2, 4 s. False: it was the last, or it is to stop. */
static bool again(const struct artifact *a, int r, int try)
{
        if (r != -EIO || try + 1 >= TRIES)
                return false;
        for (int i = 0; i < 5 << try; i++) {
                poll(NULL, 0, 100);
                if (a->moved && a->moved(a->context, 0, 0))
                        return false;
        }
        return true;
}

static int download_once(const struct artifact *a, const char *sha256, uint64_t most, int fd, char message[ARTIFACT_MESSAGE])
{
        struct transfer t = {.a = a, .fd = fd, .most = most, .to_file = true};
        char path[128], range[32], got[ARTIFACT_SHA];
        struct stat st;
        uint64_t bytes;
        long status;
        int r;

        if (fstat(fd, &st) < 0)
                return -errno;
        t.at = (uint64_t)st.st_size;
        snprintf(path, sizeof path, "/api/v1/artifacts/%s", sha256);
        r = begin(&t, path, message);
        if (r >= 0 && t.at) {
                snprintf(range, sizeof range, "%llu-", (unsigned long long)t.at);
                curl_easy_setopt(t.curl, CURLOPT_RANGE, range);
        }
        r = r < 0 ? r : perform(&t, &status, message);
        end(&t);
        if (r < 0)
                return r;
        if (status == 404)
                return say(message, -ENOENT, "the pool has no artifact %.16s…", sha256);
        if (status != 200 && status != 206 && status != 416)
                return say(message, -EPROTO, "the pool answers %ld for artifact %.16s…", status, sha256);
        r = artifact_digest(fd, got, &bytes);
        if (r < 0)
                return say(message, r, "reading artifact %.16s… back: %s", sha256, error_text(r));
        if (strcmp(got, sha256) != 0) {
                /* Nothing of it can be trusted; if an earlier part was the fault, the next try finds out. */
                if (ftruncate(fd, 0) < 0)
                        return -errno;
                return say(message, st.st_size ? -EIO : -EBADMSG, "artifact %.16s… came with other content", sha256);
        }
        return 0;
}

int artifact_get(const struct artifact *a, const char *sha256, uint64_t most_bytes, int to, char message[ARTIFACT_MESSAGE])
{
        scoped_fd int partial = -1;
        int r = cache_copy(a->cache, sha256, most_bytes, to);

        if (r != -ENOENT)
                return r < 0 ? say(message, r, "artifact %.16s… from the cache: %s", sha256, error_text(r)) : 0;
        partial = cache_begin(a->cache, sha256);
        if (partial < 0)
                return say(message, partial, "can't write to the cache %.150s: %s", a->cache, error_text(partial));
        /* Another runner may have brought it while we waited for the lock. */
        r = cache_copy(a->cache, sha256, most_bytes, to);
        if (r != -ENOENT)
                return r < 0 ? say(message, r, "artifact %.16s… from the cache: %s", sha256, error_text(r)) : 0;
        for (int try = 0; try == 0 || again(a, r, try - 1); try++) {
                r = download_once(a, sha256, most_bytes, partial, message);
                if (r >= 0)
                        break;
        }
        if (r >= 0)
                r = cache_end(a->cache, sha256, partial, a->cache_bytes);
        if (r >= 0)
                r = cache_copy_from(partial, sha256, most_bytes, to);
        return r < 0 && !message[0] ? say(message, r, "%s", error_text(r)) : r;
}

/* How much the pool has. */
static int offset(const struct artifact *a, const char *sha256, uint64_t bytes, uint64_t *ret_offset, bool *ret_complete, char message[ARTIFACT_MESSAGE])
{
        struct transfer t = {.a = a};
        char path[128];
        json_t *o = NULL;
        long status;
        int r;

        *ret_offset = 0;
        *ret_complete = false;
        snprintf(path, sizeof path, "/api/v1/artifacts/%s/upload", sha256);
        r = begin(&t, path, message);
        r = r < 0 ? r : perform(&t, &status, message);
        if (r >= 0 && status == 200) {
                o = json_loadb(t.words.text ? t.words.text : "", t.words.length, 0, NULL);
                *ret_complete = json_is_true(json_object_get(o, "complete"));
                *ret_offset = (uint64_t)json_integer_value(json_object_get(o, "offset"));
                if (*ret_offset > bytes)
                        *ret_offset = 0;
                json_decref(o);
        }
        end(&t);
        return r;
}

static int upload_once(const struct artifact *a, const char *sha256, uint64_t bytes, int fd, char message[ARTIFACT_MESSAGE])
{
        struct transfer t = {.a = a, .fd = fd};
        char path[128], range[96];
        bool complete;
        long status;
        int r = offset(a, sha256, bytes, &t.at, &complete, message);

        if (r < 0 || complete)
                return r;
        snprintf(path, sizeof path, "/api/v1/artifacts/%s", sha256);
        if (bytes && t.at == bytes)
                t.at = bytes - 1; /* all is there but was never ended: the last byte again */
        if (bytes)
                snprintf(range, sizeof range, "Content-Range: bytes %llu-%llu/%llu", (unsigned long long)t.at, (unsigned long long)bytes - 1, (unsigned long long)bytes);
        else
                snprintf(range, sizeof range, "Content-Range: bytes */0");
        r = begin(&t, path, message);
        if (r >= 0) {
                t.headers = curl_slist_append(t.headers, range);
                t.headers = curl_slist_append(t.headers, "Content-Type: application/octet-stream");
                curl_easy_setopt(t.curl, CURLOPT_UPLOAD, 1L);
                curl_easy_setopt(t.curl, CURLOPT_READFUNCTION, on_more);
                curl_easy_setopt(t.curl, CURLOPT_READDATA, &t);
                curl_easy_setopt(t.curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)(bytes - t.at));
                r = perform(&t, &status, message);
        }
        if (r >= 0 && status == 409)
                r = say(message, -EIO, "the pool has another part of the artifact than it said");
        else if (r >= 0 && status >= 300)
                r = say(message, status == 413 || status == 507 ? -ENOSPC : -EPROTO, "the pool answers %ld: %.150s", status, t.words.text ? t.words.text : "");
        end(&t);
        return r;
}

int artifact_put(const struct artifact *a, int fd, char sha256[ARTIFACT_SHA], uint64_t *ret_bytes, char message[ARTIFACT_MESSAGE])
{
        int r = artifact_digest(fd, sha256, ret_bytes);

        if (r < 0)
                return say(message, r, "reading the file: %s", error_text(r));
        for (int try = 0; try == 0 || again(a, r, try - 1); try++) {
                r = upload_once(a, sha256, *ret_bytes, fd, message);
                if (r >= 0)
                        break;
        }
        return r;
}
