/* writer.h: the one thread that commits. Batches are handed over from the loop's thread in order, whatever gathered while the last commit ran is
 * one transaction (group commit: the disk sets the pace; on a slow one, up to 2 ms are given to those that were just answered and come again; max_wait_us may add
 * more), and the loop is woken when it is durable.
 *
 * A commit that fails with an error that may pass (-ENOSPC, -E_UNAVAILABLE, -EIO, -ENOMEM) is tried again, with back-off, until it succeeds: nothing is dropped
 * or passed over. Meanwhile writer_state says so, and the pool refuses new work. Errors of a batch itself (-EINVAL, -E2BIG, -ENOENT, -EEXIST: store.h) refuse
 * that batch alone: the others are committed, `refused` is told its number, and then it counts as done. -ESTALE (another server took over), -EBADMSG and
 * all else are final: writer_state keeps them, and nothing more is committed.
 */
#pragma once

#include "store/store.h"

struct writer;

struct writer_options {
        struct store *store;          /* the writer's from now on; closed by writer_stop */
        void (*wake)(void *context);  /* called in the writer's thread after each commit and each change of state */
        void (*refused)(void *context, uint64_t number, int error); /* in the writer's thread, before wake; NULL: only counted */
        void *context;
        uint32_t max_wait_us;         /* wait so long for company before a commit; 0: never */
        size_t max_bytes;             /* of batches waiting; writer_put says -EAGAIN above */
};

struct writer_state {
        uint64_t put, durable;     /* numbers of the last batch handed over and of the last durable one */
        int error;                 /* of the last try, 0 when all is well */
        bool final;                /* the error won't pass: nothing more is committed */
        uint64_t commits, rows, failures, refused;
        uint64_t commit_ns_last, commit_ns_sum, commit_ns_max; /* time inside store_commit */
        uint64_t waiting_bytes;
};

must_check int writer_start(const struct writer_options *options, struct writer **ret_writer);
/* Copies the batch (rows' texts too) and gives it the next number, counting from 1. -EAGAIN: too much is waiting; then nothing happened. */
must_check int writer_put(struct writer *writer, const struct store_batch *batch, uint64_t *ret_number);
void writer_get_state(struct writer *writer, struct writer_state *ret_state);
/* A sentence about state.error, for people; "" when all is well. */
void writer_get_problem(struct writer *writer, char message[STORE_MESSAGE]);
/* Runs fn(context, store) in the writer's thread, once what was put before is durable: claims, sweeps. While it runs nothing is committed, so what takes long
 * (a backup) belongs to a store of its own, opened read_only. After a final error it runs all the same. */
must_check int writer_call(struct writer *writer, void (*fn)(void *context, struct store *store), void *context, uint64_t *ret_number);
/* The epoch to commit with from the next commit on (also what was put before and still waits). */
void writer_set_epoch(struct writer *writer, uint32_t queue, uint64_t epoch);
/* Commits what is waiting (at most patience_ms while it fails), ends the thread, closes the store. The number of the last durable batch. */
uint64_t writer_stop(struct writer *writer, uint64_t patience_ms);
