/* rule.h: when a figure is worth an alert: threshold, severity, how long, when it is over, how soon again. Pure: time is an argument.
 *
 * A rule triggers when its figure has been at or above the threshold for `hold`, and resolves when it has been below `resolve` (at most the threshold) for
 * `hold`; between the two nothing changes, so that a figure at the edge does not flutter. Of RISE rules the figure is what it grew by within `window`: they catch
 * a spike that is over before any level is reached. After a trigger the same rule is silent for `cooldown`, but a resolve is always told. A figure that is
 * unknown changes nothing: neither does it trigger, nor is anything over because nobody can see it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rule_kind { RULE_LEVEL, RULE_RISE };
enum rule_severity { RULE_INFO, RULE_WARNING, RULE_CRITICAL };

struct rule {
        const char *name; /* "device_memory_full" */
        enum rule_kind kind;
        enum rule_severity severity;
        double threshold, resolve;
        uint64_t hold_ns, window_ns, cooldown_ns;
};

#define RULE_PARTS 16 /* of a window */

struct rule_state {
        bool active, silent; /* silent: triggered during the cooldown, nobody was told */
        bool above, below;   /* since when it is so: */
        uint64_t since_ns, told_ns;
        bool ever_told;
        uint64_t triggered, told;
        /* RISE: the least figure of each part of the window. */
        uint64_t part[RULE_PARTS];
        double least[RULE_PARTS];
};

enum rule_news { RULE_NOTHING, RULE_TRIGGERED, RULE_RESOLVED };

/* value: not a number when unknown. *ret_value: what was compared. */
enum rule_news rule_step(const struct rule *rule, struct rule_state *state, uint64_t now_ns, double value, double *ret_value);
const char *rule_severity_name(enum rule_severity severity);
