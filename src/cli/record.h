/* record.h: what `berth top` saw, kept in a file for later: compact, bounded, versioned, whole after a crash. The codec is pure.
 *
 * A file is a head and records. A record is one look: time, the daemon's status as its own messages, the machine's counters, processes that used something
 * since the look before, and what the kernel's probes counted of those that did most, with the files that they used most. Each is a difference to the one before (bytes that did not change are not there), but every 60th stands alone, so that a
 * reader can begin anywhere and a file can be cut. Each has its length and a sum; what follows the last whole record is no part of the file, and a writer that goes on
 * takes it away. What is read may be a stranger's: nothing is believed but what passes the checks of the messages and of the parsers' bounds.
 */
#pragma once

#include "base/strbuf.h"
#include "cli/top-view.h"

#define RECORD_PROCESSES 512
#define RECORD_KEY_EVERY 60
#define RECORD_PROBED 32      /* processes that probes saw */
#define RECORD_PROBED_FILES 5 /* of each */
#define RECORD_BYTES (4 << 20) /* of one look, unpacked */

/* What a record makes of a world: owned, whole. */
struct record_look {
        uint64_t unix_ns;
        bool has_daemon, has_machine;
        struct snapshot snapshot;
        struct machine_look *look;             /* with has_machine */
        struct machine_processes processes;
        struct probes_snapshot *probes;        /* NULL: none; passed probes_check */
        uint64_t hertz, page;
};
void record_look_done(struct record_look *l);

/* The head of a file: 16 bytes, appended. */
#define RECORD_HEAD_BYTES 16
void record_head(struct strbuf *b);
/* 0; -E_MESSAGE: no record file; -E_VERSION: of another release. Version 1 had nothing of probes, and is read as ever. */
must_check int record_check_head(const void *bytes, size_t count);

/* Keeps the look before; zeroed at the begin. */
struct record_state {
        char *last;
        size_t last_bytes;
        uint32_t since_key;
        bool any;
};
void record_state_done(struct record_state *s);

/* Appends one record. -ENOMEM, -EFBIG. */
must_check int record_put(struct record_state *s, const struct top_world *w, uint64_t unix_ns, struct strbuf *b);
/* The record at bytes: its length into *ret_bytes. 0; -EAGAIN: not whole; -E_MESSAGE: damaged, or no record. ret may be NULL: only the length, and whether it stands
 * alone (*ret_key), are told, and s does not change; else it has to be the record that follows the one that s saw last, or one that stands alone. */
must_check int record_get(struct record_state *s, const void *bytes, size_t count, size_t *ret_bytes, bool *ret_key, struct record_look *ret);
