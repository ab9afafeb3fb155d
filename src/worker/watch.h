/* watch.h: what a task's processes take: memory, time, processes, room on disk; and ending all of them.
 *
 * A task is every descendant of one process. Read from /proc and the folder itself, several times a second; what can't be read is not valid, never 0.
 * These figures are what a task's limits are compared with, so it may exceed one by what it can take between two looks.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define WATCH_PROCESSES 16384 /* more are not followed; the task is over any sensible limit then */

struct watch_sample {
        bool valid;
        uint32_t processes;
        uint64_t memory_bytes; /* anonymous and shared memory, and swap; pages of files are not the task's */
        uint64_t cpu_ms;       /* of those alive and of children they waited for */
};

/* All descendants of root (root itself only when itself is true). */
void watch_look(pid_t root, bool itself, struct watch_sample *ret);
/* Sends a signal to all descendants of root, deepest first, and goes on until a look finds none, for SIGKILL. spare: a process left alone, or 0. */
void watch_signal(pid_t root, int number, pid_t spare);

struct watch_folder {
        uint64_t bytes, entries;
        bool valid, cut; /* cut: more than the bound of entries */
};
/* Blocks of what lies below the folder, hard links once each; stops at most entries. */
void watch_folder(const char *path, uint64_t most, struct watch_folder *ret);
/* Removes what lies below, and the folder. Also what its owner made unreadable. 0 or the first -errno. */
int watch_remove(const char *path);
