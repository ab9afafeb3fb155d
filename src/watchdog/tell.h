/* tell.h: where a watchdog's words go: its log, lines of JSON for whoever started it, the desktop. None of them is ever waited for. */
#pragma once

#include "watchdog/judge.h"

#include <sys/types.h>

struct tell {
        int log, events; /* descriptors, or -1 */
        bool desktop, desktop_failed; /* failed: and that was said */
        pid_t desktop_pid;            /* of the process that shows the last bubble; 0: none */
        int desktop_answer;           /* where it says how that went */
        uint64_t desktop_ns;          /* when something was shown last */
        uint32_t bubble;              /* the one that is replaced */
        uint64_t lost;       /* lines that nobody took */
        const char *name;    /* of the job */
};

/* What has become of the last bubble; said in the log once when it could not be shown. For every now and then; tell_say does it, too. */
void tell_hear(struct tell *t);
/* One sentence: to the log; as {"m":"watchdog","event":…,"severity":…,"text":…} to events; and a bubble, at most one in ten seconds, for what is not info. */
void tell_say(struct tell *t, uint64_t now_ns, const char *event, enum rule_severity severity, const char *format, ...)
        __attribute__((format(printf, 5, 6)));
void tell_close(struct tell *t);
