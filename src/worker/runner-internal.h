/* runner-internal.h: what the runner's files share: runner.c (order of things), runner-loop.c (while it runs), runner-watch.c (whether it gets on), runner-files.c (what goes in and comes out). */
#pragma once

#include "worker/runner.h"

#include "base/strbuf.h"
#include "worker/watch.h"

#include <sys/types.h>

#define STREAM_TAIL 16384

/* One output of the program: passed on as text, its end kept. */
struct stream {
        int fd;
        unsigned char rest[4]; /* the begin of a character whose end has not come */
        size_t rest_bytes;
        char tail[STREAM_TAIL];
        size_t tail_bytes;
        uint64_t bytes;
};

struct run_watch;

struct run {
        const struct runner_settings *settings;
        const struct message *lease;
        uint32_t slot;
        uint64_t payload_bytes;
        int agent, signals;          /* descriptors */
        struct spec spec;
        struct artifact artifact;
        char url[MESSAGE_URL], folder[PATH_MAX], work[PATH_MAX], output[PATH_MAX], cache[PATH_MAX];
        struct group group;
        pid_t child;
        int pidfd, control, saved;   /* control: to berth-task; saved: file with the whole output */
        struct stream out, err;
        struct strbuf line;          /* of control, not ended yet */
        bool line_skipped;
        /* Log */
        uint64_t log_offset, log_sent, saved_bytes, log_allowance, log_at_ns;
        bool log_cut;
        /* What became of it */
        bool stopped;                /* by the agent: nobody waits for an answer */
        bool ended;
        int status;                  /* of wait */
        const char *killed;          /* code of the limit that we killed it for, or NULL */
        char killed_text[SPEC_MESSAGE];
        bool killed_retry, killed_worker;
        json_t *said_result;         /* of a function */
        char said_fail[512], said_exec[512];
        bool said_temporary, inside; /* inside: the confinement stood before anything of the task ran */
        uint64_t started_ns, ended_ns, folder_at_ns, end_ns, term_ns, cpu_ms, memory_peak, processes_peak;
        bool memory_valid;
        json_t *artifacts;
        uint64_t fetched_bytes, fetch_total, told_ns;
        struct run_watch *watch;
        uint64_t told_progress;      /* lines of progress that it told */
};

/* A line to the agent; the object is forgotten. */
void run_tell(struct run *r, json_t *o);
void run_progress(struct run *r, double share, const char *text);
/* True when the agent or its SIGTERM wants an end. */
bool run_is_stopped(struct run *r);
/* The program is killed for this; the first reason stays. */
void run_kill(struct run *r, const char *code, bool retry, bool worker, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* runner-loop.c: until the program and all that it started have ended. */
void run_loop(struct run *r);

/* Words of ours in the task's log. */
void run_log(struct run *r, const char *text, size_t bytes);

/* runner-watch.c: looks once a second whether the task gets on. */
void run_watch(struct run *r, uint64_t now);
void run_watch_end(struct run *r);

/* runner-files.c. 0, or -errno with code and text for fail. */
struct run_failure {
        const char *code;
        bool retry, worker;
        char text[SPEC_MESSAGE];
};
must_check int run_fetch(struct run *r, struct run_failure *failure);
must_check int run_collect(struct run *r, struct run_failure *failure);
