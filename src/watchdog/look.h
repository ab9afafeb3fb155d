/* look.h: one look at a job: all of its processes, what they take, what the node daemon says of them; and the words of its last state. Impure, bounded.
 *
 * A job is a process and its descendants. The look costs a few small files a process; the daemon is asked over its socket within a time, and does not have to
 * be there. What can't be read is unknown.
 */
#pragma once

#include "machine/machine.h"
#include "watchdog/judge.h"
#include "watchdog/page.h"
#include "wire/wire.h"

#include "base/strbuf.h"

#define LOOK_PROCESSES 1024
#define LOOK_PROGRAMS 64

struct look {
        struct machine machine;
        pid_t pid;
        int daemon;                 /* socket, or -1 */
        char socket[128];           /* "": where daemons usually are */
        uint64_t again_ns;          /* when a daemon that did not answer is asked again */
        uint16_t version;
        uint32_t sequence;
        const struct watchdog_page *page; /* or NULL */
        /* Of the last look: */
        pid_t processes[LOOK_PROCESSES];
        uint32_t process_count;
        struct wire_STATUS_CLIENT programs[LOOK_PROGRAMS];
        uint32_t program_count;
        uint64_t device_room[WIRE_MAX_DEVICES]; /* 0: unknown */
        bool programs_known;
};

/* pid has to be alive. page may be NULL. */
must_check int look_open(struct look *l, pid_t pid, const char *socket, const struct watchdog_page *page);
void look_close(struct look *l);
void look_at(struct look *l, uint64_t now_ns, struct judge_look *ret);
/* For a report: every process with state, memory, where it sleeps, its threads' kernel stacks where permitted; every program on a device. */
void look_tell(struct look *l, struct strbuf *b);
