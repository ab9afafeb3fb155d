/* confine.h: what stands around a task, found out by trying, and the command line that makes it so.
 *
 *   bubblewrap  own mount, pid, ipc, uts and (unless the task asks for it) network namespaces; of the system only programs and libraries, read-only; a /tmp of its
 *               own; its work folder as /task. Of an unprivileged worker: in a user namespace. Of root: as another user (uid of the slot).
 *   basic       no namespaces: the work folder as the current one, limits, no new privileges, system call filter (no internet sockets unless asked for);
 *               of root: another user. The task sees the files that its user may read.
 *   off         limits only, as the worker's user.
 *
 * In all of them berth-task stands between: limits, user, filter (task/inside.c). Memory, processes and folder of the whole task are watched (watch.h).
 */
#pragma once

#include "worker/spec.h"

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum confine_mode { CONFINE_AUTO, CONFINE_OFF, CONFINE_BASIC, CONFINE_BWRAP };
#define CONFINE_UID 1900000000U /* + slot: users of nobody else's, for root's tasks */
#define CONFINE_GID 1900000000U /* the group of all of them, so that they can share what lies in shared folders */
#define CONFINE_FOLDERS 16

struct confine {
        enum confine_mode mode;
        bool root;                 /* tasks get a user of their own */
        bool filter;               /* system call filter */
        char bwrap[PATH_MAX], task[PATH_MAX]; /* programs: bwrap, berth-task */
        char berth[PATH_MAX];      /* `berth`, for tasks that need a device; "": not found */
        char words[512];           /* what is in force, for log and labels */
};

must_check int confine_mode_parse(const char *s, enum confine_mode *ret);
const char *confine_name(enum confine_mode mode);
/* Finds programs and tries. 0; -E_UNAVAILABLE: what was asked for does not work here, message says why. */
must_check int confine_find(enum confine_mode asked, struct confine *ret, char message[SPEC_MESSAGE]);

struct confine_task {
        const char *work;                              /* its folder on the host */
        const char *const *read, *const *write;        /* shared folders, ended by NULL */
        bool network, device;
        const char *berth_socket;                      /* of berthd, or NULL */
};
/* The words to execute, as a list ended by NULL, in one block: free() it. NULL: no memory. */
char **confine_argv(const struct confine *c, const struct confine_task *t);
/* What the program finds as its work folder: "/task" or the folder itself. */
const char *confine_work(const struct confine *c, const struct confine_task *t);
