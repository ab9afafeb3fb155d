/* budget.h: for how much of each period launches may be counted, so that counting costs no more than it may. Pure. */
#pragma once

#include <stdint.h>

/* hits were counted in window_ns of the last period, each costs cost_ps; permille of a processor may be spent (0: no bound). The window of the next period, of at most
 * period_ns: so much that at this rate it costs what it may; at least a thousandth of the period, so that a rate is always known; and at most four times the last
 * window, as what was not looked at may be busier. */
uint64_t budget_window(uint64_t hits, uint64_t window_ns, uint64_t cost_ps, uint32_t permille, uint64_t period_ns);
