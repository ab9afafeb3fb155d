/* task.h: `berth-task`, what stands inside a task's confinement: takes its orders, lowers itself, becomes the program or runs the function.
 *
 * Started by a runner with a stream socket as descriptor 3. First comes one line of JSON, the orders:
 *   {"argv": […] | "function": NAME, "payload": …, "env": {…}, "folder", "uid", "gid", "limits": {"processes", "file_bytes", "data_bytes", "cpu_s"}, "filter", "no_internet",
 *    "read": [folders], "write": [folders]}
 * Then every line on it goes to the runner: {"m": "inside"} once it is confined, {"m": "progress", "share", "step", "steps", "text"}, {"m": "result", "result": {…}}, {"m": "fail", "text", "temporary"},
 * {"m": "exec", "text"} when the program could not be started. A program keeps descriptor 3 (its number stands in BERTH_PROGRESS) and may send progress.
 */
#pragma once

#include "base/scope.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define TASK_FD 3
#define TASK_ORDERS (2U << 20) /* bytes of the orders at most */
#define TASK_TEMPORARY 75      /* EX_TEMPFAIL: this exit says: try again */

/* Limits, ids, system calls: from here on the process can only do less. 0 or -errno with the step's name. */
must_check int inside_lower(const json_t *orders, const char **ret_step);
/* Refuses system calls that no task needs and that reach beyond it; internet: sockets of other kinds than Unix, too. -ENOTSUP on machines whose numbers we
 * don't know. */
must_check int inside_filter(bool no_internet);

/* What a function is given, and how it answers. */
struct task {
        const json_t *payload;
        const json_t *read, *write;      /* folders beside the work folder, or NULL */
        uint64_t told_ns;                /* when progress was last told */
        uint64_t done_bytes, total_bytes; /* of all input, for progress */
        json_t *report;                  /* becomes the result */
        char message[512];               /* why it failed */
};

struct task_function {
        const char *name;
        int (*run)(struct task *t); /* 0; -EINVAL: the payload or the data are wrong; -EAGAIN: try again; other -errno */
        const char *summary;
};
extern const struct task_function task_functions[]; /* ends with a NULL name */

/* Failing: sets the message, returns error. */
int task_fail(struct task *t, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Counts bytes and tells progress, at most ten times a second. */
void task_advance(struct task *t, uint64_t bytes);
void task_progress(struct task *t, double share, int64_t step, int64_t steps, const char *text);
/* A path that the payload names: relative to the work folder, or absolute below one of the folders (for writing: of `write`). Opened without following links out
 * of that folder. The descriptor, or -errno with a message. */
must_check int task_open(struct task *t, const char *path, bool write);
/* The folder itself, as a descriptor. Made when write and missing. */
must_check int task_folder(struct task *t, const char *path, bool write);
/* A member, or otherwise when it is missing; a wrong type sets *r to -EINVAL with a message. */
const char *task_string(struct task *t, const json_t *o, const char *name, const char *otherwise, int *r);
double task_number(struct task *t, const json_t *o, const char *name, double least, double most, double otherwise, int *r);
bool task_bool(struct task *t, const json_t *o, const char *name, bool otherwise, int *r);
