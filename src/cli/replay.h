/* replay.h: a record file to walk through: forwards and back, one look at a time, as a world for the live view. */
#pragma once

#include "cli/cli.h"
#include "cli/record.h"

struct replay;

/* 0, or a negative error with message. A file that ends in the middle of a record ends before it. */
must_check int replay_open(const char *path, struct replay **ret, char message[CLI_MESSAGE]);
void replay_free(struct replay *r);
SCOPED_FN(struct replay *, replay_free)
size_t replay_count(const struct replay *r);
/* The number of the look that was shown last, from 0. */
size_t replay_at(const struct replay *r);
/* Goes to that look (the last one, when there are not so many). The world is valid until the next call. 0, or a negative error with message: it is damaged. */
must_check int replay_go(struct replay *r, size_t number, struct top_world *ret, uint64_t *ret_unix_ns, char message[CLI_MESSAGE]);
