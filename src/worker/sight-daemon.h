/* sight-daemon.h: the node daemon's answers for a look: status, what probes counted, how figures went. Waits, but not for ever. For sight*.c only. */
#pragma once

#include "worker/sight-view.h"

struct sight_daemon {
        int fd; /* -1: not connected */
        uint16_t version;
        uint32_t sequence;
};

/* Connects when it is not. 0 or -E_UNAVAILABLE (then it is closed). */
must_check int sight_daemon_status(struct sight_daemon *d, struct sight_status *ret);
/* Unmap *ret. -E_UNAVAILABLE: why says so. */
must_check int sight_daemon_probes(struct sight_daemon *d, const struct probes_snapshot **ret, char why[120]);
/* Into an empty set. */
must_check int sight_daemon_history(struct sight_daemon *d, uint64_t now_ns, struct history_set *set);
