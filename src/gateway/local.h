/* local.h: what the pool leaves for its own machine's owner: a file (mode 0600) with its address and a key, so that the command line and a local worker
 * find their way without signing in. Whoever can read it could read the pool's folder, too. */
#pragma once

#include "gateway/gateway.h"

/* {"url", "token", "pin"?, "sign_in"?} at path, and a worker's key in worker.key beside it; keys that are there and still good are kept. sign_in: the one-time
 * link or "". Asks the service and waits for its commits; before the loop runs. */
must_check int local_write(struct server *server, const char *path, const char *sign_in, char message[SERVER_MESSAGE]);
