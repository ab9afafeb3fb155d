/* report-read.h: members of a report that a worker sends, by a table: each is checked and written anew, null where nothing was told, and nothing else. Pure.
 * For node-report.c and machine-report.c. */
#pragma once

#include "base/strbuf.h"

#include <jansson.h>

#define REPORT_WHY 160
#define REPORT_BYTES_MOST 9e18 /* of a count */

enum report_kind {
        REPORT_TEXT,   /* printable ASCII; all else becomes '?' */
        REPORT_NAME,   /* any visible characters; controls and marks that turn the writing direction become '?' */
        REPORT_WHOLE, REPORT_REAL, REPORT_FLAG, REPORT_CHOICE
};

struct report_member {
        const char *name;
        enum report_kind kind;
        double most;                /* of a text: bytes with its end */
        const char *const *choices; /* ended by NULL */
};

struct report_reading {
        struct strbuf *text;
        char *why; /* REPORT_WHY bytes */
};

/* -EINVAL, and why. */
int report_wrong(struct report_reading *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Its value. 0 or -EINVAL. */
must_check int report_member(struct report_reading *r, const char *where, const struct report_member *m, const json_t *value);
/* "{" and the members: the object stays open. */
must_check int report_members(struct report_reading *r, const char *where, const struct report_member *members, size_t count, const json_t *object);
/* ,"name":[{…},…]: at most `most` of them; a missing list is empty. each (may be NULL) adds to the object that is still open. */
must_check int report_list(struct report_reading *r, const char *name, const struct report_member *members, size_t count, size_t most, const json_t *list,
                           int (*each)(struct report_reading *r, const json_t *item));
/* ,"name":{…} or null. */
must_check int report_object(struct report_reading *r, const char *name, const struct report_member *members, size_t count, const json_t *object);
