/* redo.h: the SQLite store's log of commits: one file beside the database into which each commit goes as one record, by one write that is durable when it returns. The
 * rows reach the database later, many commits at once (sqlite-fold.c); what a crash left only here is done again at the next start.
 *
 * The file has a head and two halves, made at their full size, so that a commit changes no length of a file. Records have numbers that count up by one and fill one half,
 * then the other, which by then must have been let go (redo_forget). A record that was torn by a power cut can only be the last one and was never acknowledged: it
 * counts as not there. Anything else that does not check is damage (-EBADMSG), never passed over. A log belongs to one database, by its identity.
 *
 * Not for several threads at once.
 */
#pragma once

#include "store/store.h"

#define REDO_IDENTITY 16
#ifndef REDO_HALF /* test-redo.c reads both halves a thousand times: its own are smaller */
#define REDO_HALF (4u << 20)
#endif
#define REDO_PATH_SUFFIX "-redo"

struct redo;

/* A commit as it is written. Texts of its changes point into it. */
struct redo_record {
        struct redo_record *next;
        uint64_t number;
        uint32_t changes;
        size_t bytes;   /* of data, in whole blocks */
        uint8_t data[]; /* head and changes */
};

/* All changes of the batches, in order. NULL: no memory, or more than a record can say. free() ends it. */
struct redo_record *redo_record_new(const struct store_batch *batches, size_t count);
/* One change after the other; *at begins at 0. 0, -ENOENT: no more, -EBADMSG: not a record that was made here. */
must_check int redo_record_next(const struct redo_record *record, size_t *at, struct store_change *ret_change);
/* Whether it goes into a half at all. */
bool redo_fits(const struct redo_record *record);

/* The log at path. -ENOENT, -ESTALE: it is another database's, -EBADMSG: no log, or its head is damaged, -E_VERSION. */
must_check int redo_open(const char *path, const uint8_t identity[REDO_IDENTITY], bool read_only, struct redo **ret_redo);
/* Makes an empty one, durably, and opens it. */
must_check int redo_make(const char *path, const uint8_t identity[REDO_IDENTITY], struct redo **ret_redo);
void redo_close(struct redo *redo);
SCOPED_FN(struct redo *, redo_close)
/* Every record above `after`, in order; each is the function's during the call only. -EBADMSG: one of them is damaged or missing. What fn returns other than 0 ends it. */
must_check int redo_read(struct redo *redo, uint64_t after, int (*fn)(void *context, const struct redo_record *record), void *context);
/* All that the log holds up to `last` is in the database, durably: the next record is last + 1, and both halves are free. */
void redo_restart(struct redo *redo, uint64_t last);
/* Writes the record under the next number. 0: durable. -EAGAIN: the half that comes next has not been let go. -ENOSPC, -EIO: not there; may be tried again. */
must_check int redo_append(struct redo *redo, struct redo_record *record);
uint64_t redo_last(const struct redo *redo);
/* Up to this number all is in the database, durably. */
void redo_forget(struct redo *redo, uint64_t number);
/* A half is full and not let go: its records should become durable in the database soon. */
bool redo_waits(const struct redo *redo);
