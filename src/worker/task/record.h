/* record.h: data sets read and written record by record, in bounded memory: JSON lines and CSV (RFC 4180, first row names the fields).
 *
 * A record is a JSON object; of CSV all its values are strings. What is no record is told with its line and skipped, and the next one is found:
 * a broken line never costs its neighbours (CSV: an open quote ends at RECORD_BYTES). Bytes that are no UTF-8 are such a fault.
 */
#pragma once

#include "base/scope.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define RECORD_BYTES (4U << 20) /* of one record at most */
#define RECORD_FIELDS 4096

enum record_format { RECORD_JSONL, RECORD_CSV };

struct record_reader {
        FILE *file;
        enum record_format format;
        json_t *names;      /* CSV: list of strings, after the first row */
        char *text;         /* the record that is being read */
        size_t length, size;
        uint64_t line, next_line; /* line: where the last record began, from 1 */
        uint64_t bytes;     /* read so far */
        bool too_long;
};

/* Takes the file. */
void record_open(struct record_reader *r, FILE *file, enum record_format format);
void record_close(struct record_reader *r);
/* 1 and the next record (the caller's); 0: the end; -EINVAL: no record at r->line, why says what; -EIO, -ENOMEM. */
must_check int record_next(struct record_reader *r, json_t **ret, char why[128]);
/* The format by the name's ending or by its own name ("jsonl", "csv"); -EINVAL. */
must_check int record_format(const char *name, const char *given, enum record_format *ret);

struct record_writer {
        FILE *file;
        enum record_format format;
        json_t *names; /* CSV: as the first record had them */
        uint64_t records;
};
/* 0 or -errno. */
must_check int record_write(struct record_writer *w, const json_t *record);
/* Flushes and closes. */
must_check int record_finish(struct record_writer *w);
