/* active.c: see active.h. */
#include "bpf/active.h"

#include <stdlib.h>
#include <string.h>

/* A call counts as so many bytes: who opens many files and reads none of them is active, too. */
#define CALL_BYTES 4096

static uint64_t plus(uint64_t a, uint64_t b)
{
        uint64_t sum;

        return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t weight(const struct probes_sums *s)
{
        uint64_t calls = plus(plus(s->opens, s->closes), plus(s->reads, s->writes)), bytes;

        if (__builtin_mul_overflow(calls, (uint64_t)CALL_BYTES, &bytes))
                bytes = UINT64_MAX;
        return plus(bytes, plus(s->read_bytes, s->write_bytes));
}

uint64_t active_calls(const struct probes_gpu *g)
{
        const uint64_t calls[] = {g->launches, g->graphs, g->waits, g->frees, g->allocs, g->copies_in, g->copies_out, g->copies_other};
        uint64_t sum = 0;

        for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
                sum = plus(sum, calls[i]);
        return sum;
}

bool active_any_file(const struct probes_sums *s)
{
        return s->opens | s->closes | s->reads | s->writes;
}

struct rank {
        uint32_t index;
        uint64_t now, total;
};

/* By activity, then by index: the same order each time. */
static int by_rank(const void *a, const void *b)
{
        const struct rank *x = a, *y = b;

        if (x->now != y->now)
                return x->now < y->now ? 1 : -1;
        if (x->total != y->total)
                return x->total < y->total ? 1 : -1;
        return (x->index > y->index) - (x->index < y->index);
}

static bool before(const struct probes_use *a, const struct probes_use *b)
{
        uint64_t x = weight(&a->now), y = weight(&b->now);

        return x != y ? x > y : weight(&a->total) > weight(&b->total);
}

static void add_file(struct active_process *a, const struct probes_use *use)
{
        uint32_t at = a->files;

        while (at > 0 && before(use, a->file[at - 1]))
                at--;
        if (a->files == ACTIVE_FILES)
                a->more++;
        if (at == ACTIVE_FILES)
                return;
        if (a->files < ACTIVE_FILES)
                a->files++;
        memmove(&a->file[at + 1], &a->file[at], (a->files - 1 - at) * sizeof a->file[0]);
        a->file[at] = use;
}

size_t active_list(const struct probes_snapshot *s, struct active_process *list, size_t most)
{
        struct rank *ranks scoped_free = calloc(s->processes + 1, sizeof *ranks);
        uint32_t *place scoped_free = calloc(s->processes + 1, sizeof *place); /* in the list, from 1 */
        size_t count = 0;

        if (!ranks || !place)
                return 0;
        for (int driver = 1; driver >= 0; driver--) {
                size_t n = 0, room = driver ? most / 2 : most;

                for (uint32_t i = 0; i < s->processes; i++) {
                        const struct probes_process *p = &probes_processes(s)[i];
                        struct rank r = {i, driver ? active_calls(&p->gpu_now) : weight(&p->now), driver ? active_calls(&p->gpu_total) : weight(&p->total)};

                        if (!place[i] && (r.now || r.total))
                                ranks[n++] = r;
                }
                qsort(ranks, n, sizeof *ranks, by_rank);
                for (size_t i = 0; i < n && count < room; i++) {
                        list[count] = (struct active_process){.process = &probes_processes(s)[ranks[i].index]};
                        place[ranks[i].index] = (uint32_t)++count;
                }
        }
        for (uint32_t i = 0; i < s->uses; i++) {
                const struct probes_use *u = &probes_uses(s)[i];

                if (u->process != PROBES_NONE && u->file != PROBES_NONE && place[u->process] && active_any_file(&u->total))
                        add_file(&list[place[u->process] - 1], u);
        }
        return count;
}
