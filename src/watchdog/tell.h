/* tell.h: where a watchdog's words go: its log, lines of JSON for whoever started it, the desktop. None of them is ever waited for. */
#pragma once

#include "watchdog/judge.h"

struct tell {
        int log, events; /* descriptors, or -1 */
        bool desktop, desktop_failed;
        void *bus_library;
        uint64_t desktop_ns; /* when something was shown last */
        uint32_t bubble;     /* the one that is replaced */
        uint64_t lost;       /* lines that nobody took */
        const char *name;    /* of the job */
};

/* One sentence: to the log; as {"m":"watchdog","event":…,"severity":…,"text":…} to events; and a bubble, at most one in ten seconds, for what is not info. */
void tell_say(struct tell *t, uint64_t now_ns, const char *event, enum rule_severity severity, const char *format, ...)
        __attribute__((format(printf, 5, 6)));
void tell_close(struct tell *t);
