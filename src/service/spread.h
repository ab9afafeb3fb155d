/* spread.h: which queues a pool server should claim and which give up, so that each server that is there has its part. Pure.
 *
 * Every server sees the same list of servers in the same order (store_survey), so each works out the same parts: STORE_QUEUES divided by their number, the first ones
 * one more. A server claims free queues up to its part. One with more than its part gives some up, but only while another has too few, once the
 * list has stayed as it is for SPREAD_SETTLED_MS: all that have no unfinished task at once, of the others one at a time, that with the fewest. So nothing
 * moves while nobody comes or goes, and after somebody did it ends after at most STORE_QUEUES times. A queue that stays free (who should claim it does not) is
 * anybody's after SPREAD_ORPHAN_MS, and who took it so keeps it for SPREAD_KEEP_MS.
 */
#pragma once

#include "store/store.h"

#define SPREAD_SETTLED_MS 2000
#define SPREAD_ORPHAN_MS 5000
#define SPREAD_KEEP_MS 60000

/* What is remembered between two decisions; all zero at first. */
struct spread {
        uint64_t servers;                     /* what the list was, as a hash */
        uint64_t settled_ms;                  /* since when */
        uint64_t free_ms[STORE_QUEUES];       /* since when it is free; 0: it is not */
        uint64_t keep_until_ms;
};

struct spread_decision {
        uint32_t claim, release;              /* bits of queues */
        uint32_t part;                        /* how many this server should have */
};

/* self: this server's address, "" when others can't reach it. ours: bits of its queues; tasks: unfinished, by queue. now_ms above 0. */
void spread_decide(struct spread *spread, const struct store_survey *survey, const char *self, uint32_t ours, const uint64_t tasks[STORE_QUEUES], uint64_t now_ms,
                   struct spread_decision *ret_decision);
