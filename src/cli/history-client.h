/* history-client.h: how the daemon's figures went, as it tells them. */
#pragma once

#include "base/history.h"
#include "cli/connection.h"

/* Asks for all series, into an empty set of the usual levels. -E_UNAVAILABLE: the daemon keeps none, or is older than the question; the connection is still
 * good then. */
must_check int history_fetch(struct connection *c, uint64_t now_ns, struct history_set *set, char message[CLI_MESSAGE]);
