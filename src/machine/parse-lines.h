/* parse-lines.h: what the parsers of this room share. For src/machine only. */
#pragma once

#include "machine/parse.h"

/* The line after this one; NULL: there is none. */
const char *machine_next_line(const char *at);
/* Blanks and a decimal number; moves *at behind it. False: none, or one that does not fit. */
bool machine_number(const char **at, uint64_t *ret);
/* The number behind the key that the line begins with; the same in KiB, as bytes. */
bool machine_keyed(const char *line, const char *key, uint64_t *ret);
bool machine_kib(const char *line, const char *key, uint64_t *ret);
/* Unknown when it does not fit; the greatest number when it does not fit. */
uint64_t machine_times(uint64_t value, uint64_t factor);
uint64_t machine_plus(uint64_t a, uint64_t b);
