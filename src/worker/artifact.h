/* artifact.h: files by their SHA-256, between the pool and this machine, with libcurl. Blocking: for runners only.
 *
 * A download goes to the cache (FOLDER/SHA256), first as FOLDER/partial/SHA256, which a broken transfer leaves and the next one goes on with (Range); it becomes
 * the cached file only with the right digest. Files are copied out of the cache, never linked: a task may write what it was given. What was used
 * longest ago leaves when the cache is over its bound. Several runners share one cache: each file has its lock.
 *
 * An upload asks how much is there, sends the rest (Content-Range), and is tried again on broken connections.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stdint.h>

#define ARTIFACT_MESSAGE 256
#define ARTIFACT_SHA 65

struct artifact {
        const char *url;         /* of the pool, "https://host:port" */
        const char *token;
        const char *pin, *ca;    /* of its certificate, in hex; a file of certificates; or NULL */
        const char *cache;       /* folder, made when missing */
        uint64_t cache_bytes;
        /* Called at most ten times a second with how much of a file has come or gone; other than 0 ends the transfer with -ECANCELED. */
        int (*moved)(void *context, uint64_t bytes, uint64_t total);
        void *context;
};

/* Into the cache, unless it is there, and from there to the descriptor `to`. -ENOENT (the pool has no such artifact, or not for us), -EBADMSG (its content is
 * something else), -E_LIMIT (larger than most_bytes), -EIO (the network; try later), -ECANCELED. */
must_check int artifact_get(const struct artifact *a, const char *sha256, uint64_t most_bytes, int to, char message[ARTIFACT_MESSAGE]);
/* The whole file to the pool; its digest and size come back. */
must_check int artifact_put(const struct artifact *a, int fd, char sha256[ARTIFACT_SHA], uint64_t *ret_bytes, char message[ARTIFACT_MESSAGE]);
/* Digest of a file from its start. */
must_check int artifact_digest(int fd, char sha256[ARTIFACT_SHA], uint64_t *ret_bytes);
/* "AB:CD…" or "abcd…" as 64 lower-case digits. -EINVAL. */
must_check int artifact_pin(const char *given, char pin[ARTIFACT_SHA]);
/* Makes a TLS context (SSL_CTX *) take exactly the certificate with that fingerprint; who signed it does not matter then. */
void artifact_pin_context(void *ssl_context, const char *pin);
/* True when the peer of this TLS connection (SSL *) has it. */
bool artifact_pin_holds(void *ssl, const char *pin);
