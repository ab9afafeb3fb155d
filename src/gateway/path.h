/* path.h: request targets, pure: a target becomes a path of clean segments and a query, or is refused.
 *
 * A path is decoded once, and what could mean two things is refused rather than repaired: a target that does not begin with '/', bad or cut
 * percent signs, NUL and control characters, an encoded slash (but in the names of models, which have slashes that clients encode or not) or backslash, empty segments ("//"), "." and ".." in any writing, bytes that are not
 * UTF-8. So whatever is compared with a route's pattern has one writing only.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stddef.h>

#define PATH_MAX_BYTES 1024  /* of a decoded path, with its end */
#define PATH_PARTS 3         /* {names} in one pattern */
#define QUERY_VALUE 512      /* of a decoded query value, with its end */

struct path {
        char text[PATH_MAX_BYTES];
        const char *query;       /* into the target; NULL: none */
        size_t query_length;
};

/* 0; -EINVAL: refused; -ENAMETOOLONG. */
must_check int path_decode(const char *target, size_t length, struct path *ret_path);

struct path_part {
        const char *text;        /* into the path, not ended */
        size_t length;
};

/* Pattern: "/api/v1/tasks/{task}/why"; each {name} takes one segment of 1 … 127 bytes; "{name...}" one or more segments, 127 bytes together, as the last of its
 * pattern. */
bool path_match(const char *pattern, const char *path, struct path_part parts[PATH_PARTS]);

/* The decoded value of a name in a query. 1: found (ended in value), 0: not there, -EINVAL: bad percent signs, twice there, control characters;
 * -ENAMETOOLONG: does not fit. */
must_check int query_get(const char *query, size_t length, const char *name, char *value, size_t size);

/* Every name of the query is one of `known` ("wait after limit"): 0, or -ENOENT and the first other one, cleaned, in unknown. So that misspelt
 * parameters are told, not ignored. */
must_check int query_check(const char *query, size_t length, const char *known, char *unknown, size_t size);

/* True for valid UTF-8 without control characters. */
bool path_text_is_clean(const char *text, size_t length);
