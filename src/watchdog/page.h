/* page.h: a page that a job writes its progress on and its watchdog reads, also after the job's death: no system call, no message, no thread.
 *
 * A file of one page, whose path is in BERTH_PROGRESS. The job maps it and writes, berth_progress() of include/berth.h does; the watchdog takes
 * every value as a stranger's. Nothing on it is reckoned with but "has changed".
 */
#pragma once

#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>

#define WATCHDOG_PAGE_MAGIC UINT32_C(0x47505742)
#define WATCHDOG_PAGE_BYTES 4096

struct watchdog_page {
        uint32_t magic, version; /* by who made the page */
        _Atomic uint64_t work;   /* steps done; 0: never counted */
        _Atomic uint64_t beat;   /* a sign of life beside it, only shown */
        _Atomic uint64_t items;  /* wanted in all, 0: unknown */
        char phase[48];          /* "load", "train" … */
};
static_assert(sizeof(struct watchdog_page) == 80, "shared between releases");
