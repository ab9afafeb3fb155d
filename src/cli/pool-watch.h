/* pool-watch.h: following tasks until they end, for `berth watch` and `berth submit --wait`. */
#pragma once

#include "cli/pool-client.h"

/* answer: a task, or {"data": [tasks]} as the submission returned it; NULL: everything that may be seen, until interrupted. Prints output and state as they come
 * (json: each event as a line), on a terminal with bars for many. CLI_OK when all were done; else CLI_FAILED, or for a single command its own exit code when
 * exit_code is set. */
int pool_watch(struct pool_client *c, const json_t *answer, bool json, bool exit_code);
