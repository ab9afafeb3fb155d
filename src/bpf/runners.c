/* runners.c: rows of processes, their sums, and which of them are shown; see runners.h. */
#include "bpf/runners.h"

#include <stdbool.h>
#include <string.h>
#include <uthash.h>

struct row {
        struct runner_key key;
        struct probes_runner p;
        uint32_t turn; /* that it was last seen in */
        bool chosen;
        UT_hash_handle hh;
};

struct runners {
        struct row *rows;
        uint32_t turn;
};

int runners_new(struct runners **ret)
{
        *ret = calloc(1, sizeof **ret);
        return *ret ? 0 : -ENOMEM;
}

static void drop(struct runners *s, struct row *r)
{
        HASH_DEL(s->rows, r);
        free(r);
}

void runners_free(struct runners *s)
{
        struct row *r, *next;

        if (!s)
                return;
        HASH_ITER(hh, s->rows, r, next)
                drop(s, r);
        free(s);
}

static int descending(uint64_t a, uint64_t b)
{
        return a < b ? 1 : a > b ? -1 : 0;
}

/* Those last seen first; of one turn those that waited longest, then those that called most. */
static int by_turn(const void *a, const void *b)
{
        const struct row *x = *(struct row *const *)a, *y = *(struct row *const *)b;
        int r = descending(x->turn, y->turn);

        if (!r)
                r = descending(x->p.wait_total.sum_ns, y->p.wait_total.sum_ns);
        return r ? r : descending(x->p.calls_total, y->p.calls_total);
}

/* All rows, to be put in order; the caller frees it. NULL: out of memory. */
static struct row **all_rows(struct runners *s)
{
        struct row **all = calloc(HASH_COUNT(s->rows) + 1, sizeof(struct row *));
        size_t n = 0;

        for (struct row *r = s->rows; all && r; r = r->hh.next)
                all[n++] = r;
        return all;
}

static void sweep(struct runners *s)
{
        size_t count = HASH_COUNT(s->rows);
        struct row **all scoped_free = count > RUNNERS_KEPT ? all_rows(s) : NULL;

        if (!all)
                return;
        qsort(all, count, sizeof *all, by_turn);
        for (size_t i = RUNNERS_KEPT; i < count; i++)
                drop(s, all[i]);
}

void runners_turn(struct runners *s)
{
        sweep(s);
        s->turn++;
        for (struct row *r = s->rows; r; r = r->hh.next) {
                memset(&r->p.wait_now, 0, sizeof r->p.wait_now);
                r->p.calls_now = 0;
        }
}

static struct row *row_of(struct runners *s, const struct runner_key *key, uint32_t uid, const char *comm)
{
        struct row *r;

        HASH_FIND(hh, s->rows, key, sizeof *key, r);
        if (!r) {
                r = calloc(1, sizeof *r);
                if (!r)
                        return NULL;
                r->key = *key;
                r->p.pid = key->pid;
                r->p.start_ns = key->start_ns;
                r->p.uid = UINT32_MAX;
                HASH_ADD(hh, s->rows, key, sizeof r->key, r);
        }
        if (uid != UINT32_MAX) {
                r->p.uid = uid;
                memcpy(r->p.comm, comm, sizeof r->p.comm - 1);
        }
        r->turn = s->turn;
        return r;
}

static void add(struct probes_waits *to, const struct sched_counts *c)
{
        to->times += c->times;
        to->sum_ns += c->sum_ns;
        if (c->longest_ns > to->longest_ns)
                to->longest_ns = c->longest_ns;
}

void runners_waited(struct runners *s, const struct runner_key *key, const struct sched_counts *c)
{
        struct row *r = row_of(s, key, c->uid, c->comm);

        if (!r)
                return;
        add(&r->p.wait_now, c);
        add(&r->p.wait_total, c);
}

void runners_called(struct runners *s, const struct runner_key *key, const struct syscall_counts *c)
{
        struct row *r = row_of(s, key, c->uid, c->comm);

        if (!r)
                return;
        r->p.calls_now += c->calls;
        r->p.calls_total += c->calls;
}

uint32_t runners_count(const struct runners *s)
{
        uint32_t n = HASH_COUNT(s->rows);

        return n < PROBES_MAX_RUNNERS ? n : PROBES_MAX_RUNNERS;
}

static int by_wait(const void *a, const void *b)
{
        const struct probes_runner *x = &(*(struct row *const *)a)->p, *y = &(*(struct row *const *)b)->p;
        int r = descending(x->wait_now.sum_ns, y->wait_now.sum_ns);

        return r ? r : descending(x->wait_total.sum_ns, y->wait_total.sum_ns);
}

static int by_calls(const void *a, const void *b)
{
        const struct probes_runner *x = &(*(struct row *const *)a)->p, *y = &(*(struct row *const *)b)->p;
        int r = descending(x->calls_now, y->calls_now);

        if (!r)
                r = descending(x->calls_total, y->calls_total);
        return r ? r : by_wait(a, b);
}

uint32_t runners_rows(struct runners *s, struct probes_runner *rows, uint32_t room)
{
        uint32_t all_n = HASH_COUNT(s->rows), n = 0;
        struct row **all scoped_free = all_rows(s);

        if (!all)
                return 0;
        for (struct row *r = s->rows; r; r = r->hh.next)
                r->chosen = false;
        qsort(all, all_n, sizeof *all, by_wait);
        for (uint32_t i = 0; i < all_n && n < (room + 1) / 2; i++) {
                all[i]->chosen = true;
                rows[n++] = all[i]->p;
        }
        qsort(all, all_n, sizeof *all, by_calls);
        for (uint32_t i = 0; i < all_n && n < room; i++)
                if (!all[i]->chosen)
                        rows[n++] = all[i]->p;
        return n;
}
