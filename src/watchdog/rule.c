/* rule.c: see rule.h. */
#include "watchdog/rule.h"

#include <string.h>

const char *rule_severity_name(enum rule_severity severity)
{
        static const char *const names[] = {"info", "warning", "critical"};

        return (unsigned int)severity < sizeof names / sizeof names[0] ? names[severity] : "?";
}

/* What the figure grew by within the window: now less the least of it. */
static double rise(const struct rule *rule, struct rule_state *s, uint64_t now_ns, double value)
{
        uint64_t length = rule->window_ns / RULE_PARTS ? rule->window_ns / RULE_PARTS : 1, part = now_ns / length + 1;
        size_t at = (size_t)(part % RULE_PARTS);
        double least = value;

        if (s->part[at] != part || value < s->least[at]) {
                s->part[at] = part;
                s->least[at] = value;
        }
        for (size_t i = 0; i < RULE_PARTS; i++)
                if (s->part[i] && s->part[i] + RULE_PARTS > part && s->part[i] <= part && s->least[i] < least)
                        least = s->least[i];
        return value - least;
}

static bool lasted(const struct rule *rule, const struct rule_state *s, uint64_t now_ns)
{
        return now_ns >= s->since_ns && now_ns - s->since_ns >= rule->hold_ns;
}

enum rule_news rule_step(const struct rule *rule, struct rule_state *s, uint64_t now_ns, double value, double *ret_value)
{
        bool above, below;

        *ret_value = value;
        if (!(value == value)) {
                /* What nobody saw did not last. */
                s->above = s->below = false;
                return RULE_NOTHING;
        }
        if (rule->kind == RULE_RISE)
                *ret_value = value = rise(rule, s, now_ns, value);
        above = value >= rule->threshold;
        below = value < rule->resolve;
        if (above != s->above || below != s->below)
                s->since_ns = now_ns;
        s->above = above;
        s->below = below;
        if (!s->active && above && lasted(rule, s, now_ns)) {
                s->active = true;
                s->triggered++;
                s->silent = s->ever_told && now_ns - s->told_ns < rule->cooldown_ns;
                if (s->silent)
                        return RULE_NOTHING;
                s->ever_told = true;
                s->told_ns = now_ns;
                s->told++;
                return RULE_TRIGGERED;
        }
        if (s->active && below && lasted(rule, s, now_ns)) {
                s->active = false;
                return s->silent ? RULE_NOTHING : RULE_RESOLVED;
        }
        return RULE_NOTHING;
}
