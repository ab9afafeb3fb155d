/* touch.h: threads that fill memfds with pages ahead of their use, in pieces, so that all of them work on the same file when there is
 * only one, and that give pages back: both take long enough (a GiB: 50 to 300 ms) that the loop of a daemon must not. For arena.c. */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stdint.h>

struct touch;

struct touch_result {
        uint32_t number;
        int status; /* 0 or -errno */
};

/* notify is called from a worker after each finished file; may be NULL. Threads start with the first file. */
must_check int touch_new(unsigned int threads, void (*notify)(void *), void *user, struct touch **ret);
/* Gives up unfinished files; waits for the piece each thread is at. */
void touch_free(struct touch *touch);
enum touch_work {
        TOUCH_FILL, /* all pages */
        TOUCH_WIPE, /* the same, and what it holds is thrown away first */
        TOUCH_CUT,  /* cut to nothing: its pages are free, whoever still has it open or mapped */
};

/* Work on fd, which stays the caller's and open until the result came. */
must_check int touch_start(struct touch *touch, uint32_t number, int fd, uint64_t bytes, enum touch_work work);
/* The next finished file; false: none. */
bool touch_next(struct touch *touch, struct touch_result *ret);
