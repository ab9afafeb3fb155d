/* sqlite-fold.h: what sqlite-commit.c and sqlite-fold.c share: commits that are in the log and not yet in the database.
 *
 * They gather in `young`, under `lock`. To bring them into the database, `young` becomes `old`, which does not change any more and is written in one transaction under
 * `writing`; then it is dropped. A commit looks into both and only then into the database, all under `lock`, so that nothing is missed between them.
 */
#pragma once

#include "store/recent.h"
#include "store/redo.h"
#include "store/sqlite.h"

#include <pthread.h>
#include <sys/types.h>

#define SQLITE_FOLD_BYTES (1u << 20) /* so much is worth a transaction of its own at once */

/* One commit, with room for what is known of its rows. */
struct sqlite_commit {
        struct sqlite_commit *next;
        struct redo_record *record;
        struct recent_row rows[];
};

struct sqlite_generation {
        struct recent recent;
        struct sqlite_commit *first, **last; /* in order */
        size_t bytes;
        uint64_t number;                     /* of the last */
};

struct sqlite_fold {
        struct sqlite_fold *next;            /* of all in this process */
        dev_t device;
        ino_t inode;
        unsigned readers;                    /* that hold on to this */

        struct redo *redo;                   /* the committing thread's alone; NULL: not needed yet */
        uint8_t identity[REDO_IDENTITY];
        uint64_t number;                     /* of the last commit */
        struct recent staged;                /* of the commit that is looked at; its rows in staged_rows */
        struct recent_row *staged_rows;
        size_t staged_size;

        pthread_mutex_t writing;
        struct sqlite_store side;            /* under writing: the connection that writes */

        pthread_mutex_t lock;
        pthread_cond_t work;                 /* the thread waits on it */
        struct sqlite_generation *young, *old, generations[2]; /* under lock, as all below; old is written to by nobody */
        uint64_t oldest_ns;                  /* when young began */
        uint64_t folded;                     /* up to this number all is in the database */
        uint64_t forgotten;                  /* up to this number the log is not needed */
        bool full, stopping;                 /* full: what is brought in next is to be durable in the database, too */
        int error;                           /* of the last try to bring something in */

        pthread_t thread;
};

/* All that was committed is in the database. Any thread; the error is said in problem. */
must_check int sqlite_fold_all(struct sqlite_fold *f, char problem[STORE_MESSAGE]);
