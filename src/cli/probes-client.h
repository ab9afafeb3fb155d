/* probes-client.h: what the kernel's probes counted, as the daemon tells it. */
#pragma once

#include "bpf/probes.h"
#include "cli/connection.h"

/* Asks for the last snapshot; unmap it (probes_unmap). -E_UNAVAILABLE: the daemon has none (yet): message says why; the question itself makes
 * the daemon start its probes unless the settings forbid it, so ask again a second later. */
must_check int probes_fetch(struct connection *c, const struct probes_snapshot **ret, char message[CLI_MESSAGE]);
