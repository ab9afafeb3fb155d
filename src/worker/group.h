/* group.h: control groups for tasks, where the machine lets the worker make some: the kernel then holds a task's memory to its limit, all processes of it together,
 * at every moment. Elsewhere limits are watched (watch.h), which stays on in any case.
 *
 * Version 2: the worker's own group has to be delegated to it (as its systemd unit asks for); the worker moves into a group of its own below that, as the rule
 * of no processes in inner groups wants, and tasks get groups beside. Version 1: groups below the worker's in the hierarchy of the memory controller.
 * Sources: the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
 */
#pragma once

#include "base/scope.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#define GROUP_TASK "berth-task-" /* and the process number of who makes it: what its end leaves behind is removed by the next group_find */

struct group_place {
        int version;           /* 1 or 2; 0: no groups here */
        char path[PATH_MAX];   /* groups of tasks are made in it */
};

/* Looks below root ("/sys/fs/cgroup") for where this process may make groups; self: its /proc/self/cgroup. 0, or -E_UNAVAILABLE with the reason in why (200
 * bytes). What it changes to try is undone when that fails. */
must_check int group_find(const char *root, const char *self, struct group_place *ret, char why[200]);

struct group {
        char path[PATH_MAX]; /* "": none */
        int version, procs;  /* procs: open for those who join, or -1 */
};
#define GROUP_NONE ((struct group){.procs = -1})

/* Makes one of that name. memory_bytes: of all in it; 0: no limit. -errno: none is there. */
must_check int group_open(const struct group_place *place, const char *name, uint64_t memory_bytes, struct group *ret);
/* The calling process joins it, with all that it will start. Safe between fork and exec. */
must_check int group_join(const struct group *g);
/* How many processes the kernel ended there for want of memory; 0 also where it does not tell. */
uint64_t group_killed(const struct group *g);
/* Removes it; its processes have ended. */
void group_close(struct group *g);
