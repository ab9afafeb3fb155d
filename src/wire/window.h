/* window.h: what a client's memory did, on its shared page: bytes in use now, their integral over time, and peaks of named windows.
 *
 * One writer tells every change (page_note: the program, holding its books). Anybody who has the page may begin and end windows meanwhile, the
 * program and the daemon at the same time, without asking or disturbing the writer or each other; each step is whole, and nothing is sampled:
 * the peak of a window is the most that was in use at any instant between its begin and its end, ends included. At most PAGE_WINDOWS windows a page.
 */
#pragma once

#include "wire/page.h"

#include "base/scope.h"

#include <stdbool.h>

enum window_owner { WINDOW_PROGRAM = 1, WINDOW_DAEMON = 2 }; /* who changes a window just now */

/* in use has changed to this many bytes, at this time (CLOCK_MONOTONIC). */
void page_note(struct page *page, uint64_t used, uint64_t now_ns);

/* Begins the window of this name, or begins it anew. 0, -EINVAL (no name of 1 to 47 printable ASCII characters), -ENOSPC: all are taken. */
must_check int page_window_begin(struct page *page, const char *name, enum window_owner owner);
/* The peak so far; end: and its place is free again. 0 or -ENOENT. */
must_check int page_window_peak(struct page *page, const char *name, enum window_owner owner, bool end, uint64_t *ret_peak);

/* What an earlier daemon left half done is free again; for a daemon that gets to know the page. */
void page_windows_clean(struct page *page);

/* Average in use since the first change, until now; never more than the peak. 0 before any change. */
uint64_t page_average(const struct page *page, uint64_t now_ns);
