/* pool-client.h: talking to a pool over its HTTP API, with libcurl: find its address and a key, ask, follow events, fetch and send files.
 *
 * Where the pool is: BERTH_POOL (an address) with BERTH_TOKEN; else the file that `berth login` wrote ($XDG_CONFIG_HOME/berth/pool.json); else the
 * one that `berth up` keeps in its folder (local.json in $BERTH_FOLDER, else /var/lib/berth for root, else $XDG_DATA_HOME/berth). These files hold
 * {"url", "token", "pin"?, "refresh"?} and must be readable by their owner alone. Everything returns 0 or a negative error with one line in message that says what
 * and what to do.
 */
#pragma once

#include "cli/cli.h"

#include "base/scope.h"
#include "base/strbuf.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

struct pool_client {
        CURL *curl;
        char url[512];      /* without a slash at the end */
        char token[1200];
        char pin[128];      /* SHA-256 of the server's certificate in hex, or "" */
        char source[512];   /* where that came from, for messages */
        long status;        /* of the last answer */
        char location[512]; /* its Location, or "" */
        char etag[128];     /* its ETag, or "" */
};

must_check int pool_open(struct pool_client *c, char message[CLI_MESSAGE]);
/* The one at url, with the key in BERTH_TOKEN, if any. source: where url came from, for messages. */
must_check int pool_open_at(struct pool_client *c, const char *url, const char *source, char message[CLI_MESSAGE]);
void pool_close(struct pool_client *c);
#define scoped_pool __attribute__((cleanup(pool_close)))

/* Where `berth up` keeps its things: $BERTH_FOLDER, /var/lib/berth (root), $XDG_DATA_HOME/berth, ~/.local/share/berth. */
must_check int pool_folder(char *path, size_t size);
/* The file that `berth login` writes. */
must_check int pool_login_path(char *path, size_t size);

struct pool_ask {
        const char *method, *path;  /* "GET", "/api/v1/tasks?limit=5" */
        const json_t *body;         /* NULL: none */
        const char *key;            /* Idempotency-Key, or NULL */
        const char *if_match;       /* or NULL */
        long timeout_s;             /* 0: 60 */
};
/* *ret_answer is the caller's (json_decref), NULL for an empty one. Errors: -E_UNAVAILABLE (nobody answers), -EACCES, -EPERM, -ENOENT, -EEXIST, -EINVAL,
 * -E_QUOTA, -E_MESSAGE (no JSON), -EIO for other problems; then *ret_answer is the problem when there was one. */
must_check int pool_ask(struct pool_client *c, const struct pool_ask *ask, json_t **ret_answer, char message[CLI_MESSAGE]);

/* Follows an event stream (text/event-stream) until fn returns other than 0 (that is the result), reconnecting with Last-Event-ID. */
typedef int (*pool_event_fn)(void *context, const char *type, const json_t *data);
must_check int pool_follow(struct pool_client *c, const char *path, pool_event_fn fn, void *context, char message[CLI_MESSAGE]);

/* Writes what path answers to fd, from offset on. *ret_bytes: how much came. */
must_check int pool_fetch(struct pool_client *c, const char *path, uint64_t offset, int fd, uint64_t *ret_bytes, char message[CLI_MESSAGE]);
/* Sends the file as an artifact, from where an earlier attempt ended; its SHA-256 in hex comes back. */
must_check int pool_send_file(struct pool_client *c, const char *path, char sha256[65], uint64_t *ret_bytes, char message[CLI_MESSAGE]);

/* The SHA-256 in hex and the length of what fd holds from its beginning on. */
must_check int pool_digest(int fd, char sha256[65], uint64_t *ret_bytes);

/* Makes lines for people of an answer. */
typedef void (*pool_words_fn)(const json_t *answer, struct strbuf *b, const void *context);
/* Asks and prints: JSON, or what `words` makes of the answer (NULL: nothing), or the error. An exit code. */
int pool_print(struct pool_client *c, const struct pool_ask *ask, bool json, pool_words_fn words, const void *context);
/* The same of the pool that is found. */
int pool_print_of(const struct pool_ask *ask, bool json, pool_words_fn words, const void *context);
/* Ids are plain; anything else would change a path's meaning. */
bool pool_is_id(const char *text);

/* Prints JSON with two spaces; CLI_OK or CLI_FAILED. */
int pool_print_json(const json_t *value);
/* A string member, or "-" (never NULL). */
const char *pool_text(const json_t *object, const char *name);
/* An RFC 3339 time member as "12:03:55" of today or "2026-11-20 12:03", or "-". buffer: 24 bytes. */
char *pool_time(const json_t *object, const char *name, char *buffer, size_t size);
