/* budget.c: one window for the next period, from the last; see budget.h. */
#include "bpf/budget.h"

uint64_t budget_window(uint64_t hits, uint64_t window_ns, uint64_t cost_ps, uint32_t permille, uint64_t period_ns)
{
        uint64_t least = period_ns / 1000 ? period_ns / 1000 : 1, most = period_ns, window;
        unsigned __int128 may_ps = (unsigned __int128)period_ns * permille; /* of the period, in ps */

        if (!permille || !cost_ps)
                return period_ns;
        if (window_ns && window_ns < period_ns / 4)
                most = window_ns * 4;
        if (!hits || !window_ns)
                return most < least ? least : most;
        /* hits / window_ns × cost × window ≤ may */
        may_ps = may_ps * window_ns / ((unsigned __int128)hits * cost_ps);
        window = may_ps > period_ns ? period_ns : (uint64_t)may_ps;
        if (window > most)
                window = most;
        return window < least ? least : window;
}
