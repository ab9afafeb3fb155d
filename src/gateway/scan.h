/* scan.h: JSON looked over, pure: whether it is sound, and where a few members of its outermost object stand. No tree is built and nothing is copied, so that a body
 * costs about one pass over its bytes.
 *
 * Accepted is what RFC 8259 allows, nested at most SCAN_DEPTH deep, with bytes in strings as they are (UTF-8 is not looked into; control characters are refused). A wanted member that
 * is there twice is refused: two readers might take different ones.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCAN_DEPTH 64

struct scan_value {
        const char *text;      /* as it stands there, without blanks around; NULL: absent */
        size_t length;
};

/* names: ended by NULL; values: as many. 0; -EINVAL: no JSON object; -EEXIST: a wanted member twice; -E2BIG: too deep. *ret_at (may be NULL): where it is wrong. */
must_check int scan_object(const char *text, size_t length, const char *const *names, struct scan_value *values, size_t *ret_at);

/* A string's characters, decoded and ended. 0; -ENOENT: absent or null; -EINVAL: no string, or with a zero byte or half a surrogate pair; -ENAMETOOLONG. */
must_check int scan_text(const struct scan_value *value, char *text, size_t size);
/* A whole number from 0 up ("12", "12.0", "1e3"). 0; -ENOENT; -EINVAL. */
must_check int scan_number(const struct scan_value *value, uint64_t *ret_number);
/* 1: true, 0: false, absent or null; -EINVAL. */
must_check int scan_flag(const struct scan_value *value);
