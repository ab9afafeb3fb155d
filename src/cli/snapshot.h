/* snapshot.h: what the daemon says about itself at one instant, checked and counted. */
#pragma once

#include "cli/connection.h"

#include <stdint.h>

#define SNAPSHOT_CLIENTS 65536 /* more in one answer are refused */

struct snapshot {
        uint64_t taken_ns;
        struct wire_STATUS_DAEMON daemon;
        struct wire_STATUS_DEVICE *devices; /* ordered by index */
        struct wire_STATUS_CLIENT *clients; /* ordered by device, then age, oldest first */
        size_t device_count, client_count;
};

/* Asks and reads the whole answer into *ret, which the caller frees with snapshot_done. Errors as in connection.h. */
must_check int snapshot_fetch(struct connection *c, struct snapshot *ret, char message[CLI_MESSAGE]);
/* The same with the programs of one run only, those that ended since this connection first asked included. */
must_check int snapshot_fetch_run(struct connection *c, uint64_t run, struct snapshot *ret, char message[CLI_MESSAGE]);
void snapshot_done(struct snapshot *s);
#define scoped_snapshot __attribute__((cleanup(snapshot_done)))

/* The client of the earlier snapshot that is the same, or NULL. */
const struct wire_STATUS_CLIENT *snapshot_client(const struct snapshot *s, const struct wire_STATUS_CLIENT *like);
const struct wire_STATUS_DEVICE *snapshot_device(const struct snapshot *s, uint32_t index);

/* Shared between programs; others (the CPU, an NPU) are only watched. */
bool snapshot_shared(const struct wire_STATUS_DEVICE *device);

/* Owned by the client: movable and pinned, never wrapping. And what of it is on the device. */
uint64_t snapshot_owned(const struct wire_STATUS_CLIENT *client);
uint64_t snapshot_resident(const struct wire_STATUS_CLIENT *client);
