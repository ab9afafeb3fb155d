/* doctor-hooks.h: what a program asked the driver for, and what it got: the file that the interposer writes under
 * BERTH_DOCTOR.
 *
 * One line a lookup: "road name version result"; road is export (what linking and dlsym find), proc (cuGetProcAddress),
 * link or dlsym; version a number (0: none), result hooked, passed or missing. Lines of any other form are counted and
 * left out; so are those beyond HOOKS_LIMIT.
 */
#pragma once

#include "base/strbuf.h"

#include <jansson.h>
#include <stdint.h>

#define HOOKS_LIMIT 65536

struct hook {
        const char *road; /* static, for people */
        char name[80], result[12];
        uint32_t version;
        uint64_t times;
};

struct hooks {
        struct hook *list; /* ordered by name, road, version; equal lines counted once */
        size_t count;
        uint64_t malformed, left_out;
};

/* From the text of the file, any bytes. 0 or -ENOMEM. */
must_check int hooks_parse(const char *text, size_t bytes, struct hooks *ret);
void hooks_done(struct hooks *h);

void hooks_text(const struct hooks *h, struct strbuf *b);
json_t *hooks_json(const struct hooks *h);
