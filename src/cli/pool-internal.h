/* pool-internal.h: what pool-client.c and pool-stream.c share. */
#pragma once

#include "base/fd.h"
#include "cli/pool-client.h"

/* A fresh handle for path: address, key, time-outs, headers of the answer. The list is the caller's to set and free. */
void pool_prepare(struct pool_client *c, const char *path, struct curl_slist **headers);
/* curl's error as ours, in words. */
must_check int pool_failed(struct pool_client *c, CURLcode code, char message[CLI_MESSAGE]);
/* A problem as an error, in words. problem may be NULL. */
must_check int pool_refusal(const struct pool_client *c, const json_t *problem, char message[CLI_MESSAGE]);
/* The server's certificate must be the pinned one; who signed it does not matter then. */
void pool_pin(struct pool_client *c);
