/* remote.h: the daemon's side of the probes process: has it started (keeper.h), asks it, checks what comes, has it ended when it hangs. Never blocks.
 *
 * The process, "berthd: probes", is a program of its own (berth-probes): it alone is linked with libbpf and needs CAP_BPF and CAP_PERFMON. What it attached ends with
 * it, and it ends with the daemon, however that ends.
 */
#pragma once

#include "bpf/probes.h"

struct probes_options {
        uint32_t files_off, files_forced; /* forced: enum probes_rung, PROBES_RUNG_NONE: the ladder */
        uint32_t gpu_off, gpu_forced;
        uint32_t refuse; /* bits 1 << rung */
        uint32_t one_in, duty_percent, entries, launch_permille, uid; /* uid: UINT32_MAX: everybody */
        uint64_t period_ns;
        uint32_t without_closes, asked; /* asked: bits 1 << family; the others are not attached */
        uint32_t block_off, block_forced, sched_off, sched_forced, syscalls_off, syscalls_forced;
};

enum probes_news {
        PROBES_NO_NEWS,
        PROBES_CAME, /* a snapshot: probes_remote_last */
        PROBES_LOST, /* the process was given up: probes_remote_why; it is started again after 1 s, 2 s … 60 s while it is asked for */
};

struct probes_remote;

/* keeper: of keeper_start, remote's from now on; -1: none, and nothing is ever started. */
must_check int probes_remote_new(int keeper, struct probes_remote **ret);
void probes_remote_keeper(struct probes_remote *remote, int keeper);
/* Ends the process. */
void probes_remote_free(struct probes_remote *remote);

/* Readable when probes_remote_take has something to do; the same for the life of remote. */
int probes_remote_fd(const struct probes_remote *remote);
/* Starts the process if there is none and asks unless a question is under way. One that has not answered for patience_ns is given up: loading means that the kernel
 * checks each program, and a machine may be busy. */
void probes_remote_ask(struct probes_remote *remote, uint64_t now, uint64_t patience_ns, const struct probes_options *options);
enum probes_news probes_remote_take(struct probes_remote *remote, uint64_t now);
/* Ends the process and forgets what it told. */
void probes_remote_stop(struct probes_remote *remote);
/* The last snapshot's head and its descriptor, both remote's; NULL: none (yet, or any more). The head says that there are no rows: they are behind the descriptor alone,
 * for probes_map, so that this process does not hold as much memory as the machine has files in use. */
const struct probes_snapshot *probes_remote_last(const struct probes_remote *remote, int *ret_fd);
/* Clean text; "" while all is well. */
const char *probes_remote_why(const struct probes_remote *remote);
