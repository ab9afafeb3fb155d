/* data.h: what the functions over data sets share: inputs in a row, outputs, chance that depends on a seed alone, digests. */
#pragma once

#include "worker/task/record.h"
#include "worker/task/task.h"

/* All records of all inputs ("input": a path or a list of them), as one stream. */
struct data_input {
        struct task *t;
        json_t *paths;
        size_t next;
        struct record_reader reader;
        uint64_t told;
        uint64_t malformed;
        json_t *faults;      /* the first 100: {"file", "line", "text"} */
        const char *path;    /* of the present one */
        const char *given;   /* format, or "" */
};

must_check int data_open(struct data_input *in, struct task *t);
/* 1 and a record, 0 at the end, -errno. Malformed ones are counted and skipped. */
must_check int data_next(struct data_input *in, json_t **ret);
/* From the first record again. */
void data_rewind(struct data_input *in);
void data_close(struct data_input *in);

/* A new file below out/. */
must_check int data_create(struct task *t, const char *name, FILE **ret);
must_check int data_writer(struct task *t, const char *name, struct record_writer *ret);

/* splitmix64: the next number of a sequence. */
uint64_t data_chance(uint64_t *state);
/* 0 … 1 */
double data_share(uint64_t *state);
/* 128 bits that only equal bytes have in common, for all that chance allows. */
struct data_hash {
        uint64_t a, b;
};
struct data_hash data_hash(const void *bytes, size_t n);
/* SHA-256 of a file in hex, with progress. */
must_check int data_digest(struct task *t, int fd, char sha256[65]);
