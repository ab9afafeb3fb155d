/* ask.h: what Berth knows of a device and of the program's own processes on it.
 *
 * From two sources: the interposer in this process, exactly and at once, and the daemon for all other processes, by the messages of `berth
 * status`, on a connection of its own that ends with the answer. The daemon is waited for at most ASK_MS in all; an answer serves for
 * ASK_FRESH_MS, and while the daemon does not answer, for ASK_KEPT_MS. After a failure it is left alone for ASK_PAUSE_MS.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define ASK_MS 1000
#define ASK_FRESH_MS 20
#define ASK_KEPT_MS 10000
#define ASK_PAUSE_MS 2000
#define ASK_CLIENTS 64 /* own processes on all devices; more are not shown */

/* One process of the program's own on a device: what it owns there, resident or not. */
struct ask_client {
        pid_t pid;
        uint64_t bytes;
};

struct ask_view {
        uint64_t total; /* of the device */
        uint64_t room;  /* the most that a program can have */
        uint64_t limit; /* the program's, 0: none */
        uint64_t used;  /* sum of the clients */
        unsigned int clients_n;
        struct ask_client clients[ASK_CLIENTS];
};

/* NULL: none, or no view. */
static inline const struct ask_client *ask_client_of(const struct ask_view *view, uint32_t pid)
{
        for (unsigned int i = 0; view && i < view->clients_n; i++)
                if ((uint32_t)view->clients[i].pid == pid)
                        return &view->clients[i];
        return NULL;
}

/* Before the first ask_view(); again is nothing. */
void ask_start(void);

/* 0; -ENODEV: the daemon does not share the device; else nobody knows, and the driver's own answer stands. */
must_check int ask_view(const uint8_t uuid[16], struct ask_view *ret);
