/* table.c: rows of processes, files and uses, their sums, and the snapshot made of the largest; see table.h. */
#include "bpf/rows.h"

#include "base/clock.h"

#include <malloc.h>
#include <string.h>

/* Of an ended process the row is kept for so long. */
#define KEEP_ENDED_NS (30 * NS_PER_S)
/* More rows than a snapshot shows are kept, so that what grows slowly still comes up. */
#define MOST_PROCESSES (2 * PROBES_MAX_PROCESSES)
#define MOST_FILES (2 * PROBES_MAX_FILES)
#define MOST_USES (2 * PROBES_MAX_USES)
#define MANY_ROWS 2048
/* And within one window twice as many, until the sweep: what comes then is in the sums alone. */
#define ROOM(head, most) (HASH_COUNT(head) < 2 * (most))

static void add(struct probes_sums *to, const struct probes_sums *from)
{
        to->opens += from->opens;
        to->closes += from->closes;
        to->reads += from->reads;
        to->writes += from->writes;
        to->read_bytes += from->read_bytes;
        to->write_bytes += from->write_bytes;
}

static void take_away(struct probes_sums *from, const struct probes_sums *what)
{
        from->opens -= what->opens;
        from->closes -= what->closes;
        from->reads -= what->reads;
        from->writes -= what->writes;
        from->read_bytes -= what->read_bytes;
        from->write_bytes -= what->write_bytes;
}

static void add_gpu(struct probes_gpu *to, const struct probes_gpu *from)
{
        to->launches += from->launches;
        to->graphs += from->graphs;
        to->waits += from->waits;
        to->frees += from->frees;
        to->allocs += from->allocs;
        to->alloc_bytes += from->alloc_bytes;
        to->copies_in += from->copies_in;
        to->in_bytes += from->in_bytes;
        to->copies_out += from->copies_out;
        to->out_bytes += from->out_bytes;
        to->copies_other += from->copies_other;
        to->other_bytes += from->other_bytes;
}

int table_new(struct table **ret)
{
        struct table *t = calloc(1, sizeof *t);

        if (!t)
                return -ENOMEM;
        t->caches[PROBES_CACHE_PROCESS] = (struct probes_cache){.limit = MOST_PROCESSES, .keeps_ns = 5 * NS_PER_S};
        t->caches[PROBES_CACHE_CGROUP] = (struct probes_cache){.limit = MOST_PROCESSES, .keeps_ns = 30 * NS_PER_S};
        t->caches[PROBES_CACHE_PATH] = (struct probes_cache){.limit = MOST_FILES, .keeps_ns = 2 * NS_PER_S};
        *ret = t;
        return 0;
}

static void drop_use(struct table *t, struct use_row *u)
{
        HASH_DEL(t->uses, u);
        free(u);
}

static void drop_process(struct table *t, struct process_row *p)
{
        add(&t->gone_total, &p->p.total);
        HASH_DEL(t->processes, p);
        free(p);
}

void table_free(struct table *t)
{
        struct process_row *p, *next_p;
        struct file_row *f, *next_f;
        struct use_row *u, *next_u;

        if (!t)
                return;
        HASH_ITER(hh, t->uses, u, next_u)
                drop_use(t, u);
        HASH_ITER(hh, t->processes, p, next_p)
                drop_process(t, p);
        HASH_ITER(hh, t->files, f, next_f) {
                HASH_DEL(t->files, f);
                free(f);
        }
        free(t);
}

void table_turn(struct table *t, uint64_t now)
{
        t->window_ns = now;
        t->turn++;
        for (struct process_row *p = t->processes; p; p = p->hh.next) {
                memset(&p->p.now, 0, sizeof p->p.now);
                memset(&p->p.gpu_now, 0, sizeof p->p.gpu_now);
        }
        for (struct file_row *f = t->files; f; f = f->hh.next)
                memset(&f->f.now, 0, sizeof f->f.now);
        for (struct use_row *u = t->uses; u; u = u->hh.next)
                memset(&u->u.now, 0, sizeof u->u.now);
        memset(&t->all_now, 0, sizeof t->all_now);
        memset(&t->gpu_now, 0, sizeof t->gpu_now);
}

static struct process_row *process_of(struct table *t, uint32_t pid, uint64_t start_ns, uint32_t uid, const char *comm)
{
        struct process_key key = {.start_ns = start_ns, .pid = pid};
        struct process_row *p;

        HASH_FIND(hh, t->processes, &key, sizeof key, p);
        if (!p) {
                p = ROOM(t->processes, MOST_PROCESSES) ? calloc(1, sizeof *p) : NULL;
                if (!p)
                        return NULL;
                p->key = key;
                p->p.pid = pid;
                p->p.start_ns = start_ns;
                p->p.alive = 1;
                HASH_ADD(hh, t->processes, key, sizeof p->key, p);
        }
        p->p.uid = uid;
        memcpy(p->p.comm, comm, sizeof p->p.comm - 1);
        p->seen_ns = t->window_ns;
        p->turn = t->turn;
        return p;
}

static struct file_row *file_of(struct table *t, const struct file_name_key *key)
{
        struct file_row *f;

        HASH_FIND(hh, t->files, key, sizeof *key, f);
        if (!f) {
                f = ROOM(t->files, MOST_FILES) ? calloc(1, sizeof *f) : NULL;
                if (!f)
                        return NULL;
                f->key = *key;
                f->f.inode = key->inode;
                f->f.device = key->device;
                f->f.generation = key->generation;
                HASH_ADD(hh, t->files, key, sizeof f->key, f);
        }
        f->seen_ns = t->window_ns;
        f->turn = t->turn;
        return f;
}

static void use_of(struct table *t, struct process_row *p, struct file_row *f, const struct probes_sums *sums, int32_t fd)
{
        struct use_key key = {.process = p, .file = f};
        struct use_row *u;

        HASH_FIND(hh, t->uses, &key, sizeof key, u);
        if (!u) {
                u = ROOM(t->uses, MOST_USES) ? calloc(1, sizeof *u) : NULL;
                if (!u)
                        return;
                u->key = key;
                u->fd = -1;
                HASH_ADD(hh, t->uses, key, sizeof u->key, u);
        }
        if (fd >= 0)
                u->fd = fd;
        u->seen_ns = t->window_ns;
        u->turn = t->turn;
        add(&u->u.now, sums);
        add(&u->u.total, sums);
}

void table_file(struct table *t, const struct file_key *key, const struct file_counts *c, const struct file_user *user)
{
        const struct file_name_key name = {.inode = key->inode, .device = key->device, .generation = c->generation};
        const struct probes_sums sums = {.opens = c->opens, .closes = c->closes, .reads = c->reads, .writes = c->writes,
                                         .read_bytes = c->read_bytes, .write_bytes = c->write_bytes};
        struct process_row *p = process_of(t, key->pid, key->start_ns, user->uid, user->comm);
        struct file_row *f = file_of(t, &name);

        add(&t->all_now, &sums);
        add(&t->all_total, &sums);
        if (p) {
                add(&p->p.now, &sums);
                add(&p->p.total, &sums);
        }
        if (f) {
                add(&f->f.now, &sums);
                add(&f->f.total, &sums);
        }
        if (p && f)
                use_of(t, p, f, &sums, c->fd);
}

void table_gpu(struct table *t, uint32_t pid, uint64_t start_ns, uint32_t uid, const char *comm, const struct probes_gpu *gpu)
{
        struct process_row *p = process_of(t, pid, start_ns, uid, comm);

        add_gpu(&t->gpu_now, gpu);
        add_gpu(&t->gpu_total, gpu);
        if (p) {
                add_gpu(&p->p.gpu_now, gpu);
                add_gpu(&p->p.gpu_total, gpu);
        }
}

/* --- what goes --- */

/* Rows by how many windows ago they were last seen: what is over the limit goes from the oldest, without sorting. */
#define AGES 256

struct ages {
        uint32_t rows[AGES];
};

static uint32_t age_of(const struct table *t, uint32_t turn)
{
        return t->turn - turn < AGES ? t->turn - turn : AGES - 1;
}

/* The oldest age of which all stay; of the next, *ret_some stay. */
static uint32_t oldest_that_stays(const struct ages *ages, uint32_t limit, uint32_t *ret_some)
{
        uint32_t kept = 0, age = 0;

        while (age < AGES && kept + ages->rows[age] <= limit)
                kept += ages->rows[age++];
        *ret_some = age < AGES ? limit - kept : 0;
        return age; /* one more than the oldest */
}

/* Sets each row's index to PROBES_NONE if it has to go, else to 0. */
#define MARK(t, head, type, limit)                                                             \
        do {                                                                                   \
                struct ages ages_ = {{0}};                                                     \
                uint32_t some_, from_;                                                         \
                                                                                               \
                for (type *r_ = (head); r_; r_ = r_->hh.next)                                  \
                        ages_.rows[age_of(t, r_->turn)]++;                                     \
                from_ = oldest_that_stays(&ages_, limit, &some_);                              \
                for (type *r_ = (head); r_; r_ = r_->hh.next) {                                \
                        uint32_t age_ = age_of(t, r_->turn);                                   \
                                                                                               \
                        r_->index = age_ < from_ || (age_ == from_ && some_) ? 0 : PROBES_NONE; \
                        some_ -= age_ == from_ && some_;                                       \
                }                                                                              \
        } while (0)

void table_sweep(struct table *t, uint64_t now)
{
        struct process_row *p, *next_p;
        struct file_row *f, *next_f;
        struct use_row *u, *next_u;
        size_t before = HASH_COUNT(t->processes) + HASH_COUNT(t->uses);

        MARK(t, t->processes, struct process_row, MOST_PROCESSES);
        MARK(t, t->files, struct file_row, MOST_FILES);
        MARK(t, t->uses, struct use_row, MOST_USES);
        for (p = t->processes; p; p = p->hh.next)
                if (!p->p.alive && now - p->seen_ns > KEEP_ENDED_NS)
                        p->index = PROBES_NONE;
        /* Uses first: they point to both. */
        HASH_ITER(hh, t->uses, u, next_u)
                if (u->index == PROBES_NONE || u->key.process->index == PROBES_NONE || u->key.file->index == PROBES_NONE)
                        drop_use(t, u);
        HASH_ITER(hh, t->processes, p, next_p)
                if (p->index == PROBES_NONE)
                        drop_process(t, p);
        HASH_ITER(hh, t->files, f, next_f)
                if (f->index == PROBES_NONE) {
                        HASH_DEL(t->files, f);
                        free(f);
                }
        /* After a window with more rows than stay, which a busy machine may well have, their memory goes back. */
        if (HASH_COUNT(t->processes) + HASH_COUNT(t->uses) + MANY_ROWS < before)
                malloc_trim(0);
        t->caches[PROBES_CACHE_PROCESS].entries = t->caches[PROBES_CACHE_CGROUP].entries = HASH_COUNT(t->processes);
        t->caches[PROBES_CACHE_PATH].entries = HASH_COUNT(t->files);
}

/* --- the snapshot --- */

static uint64_t gpu_weight(const struct probes_gpu *g)
{
        return g->launches + g->graphs + g->allocs + g->copies_in + g->copies_out + g->copies_other;
}

/* Rows to be shown, the most active first: now, and then ever. Weighed once and sorted as an array: chains of rows all over the memory take ten times as long. */
struct ranked {
        uint64_t now, total;
        void *row;
};

static int by_rank(const void *a, const void *b)
{
        const struct ranked *x = a, *y = b;

        if (x->now != y->now)
                return x->now < y->now ? 1 : -1;
        return x->total < y->total ? 1 : x->total > y->total ? -1 : 0;
}

/* An array of all rows in order, NULL: out of memory. weight_now and weight_total are of `r`. */
#define RANK(head, type, weight_now, weight_total)                                                    \
        ({                                                                                            \
                size_t n_ = 0;                                                                        \
                struct ranked *all_ = calloc(HASH_COUNT(head) + 1, sizeof *all_);                     \
                                                                                                      \
                for (type *r = (head); all_ && r; r = r->hh.next)                                     \
                        all_[n_++] = (struct ranked){.now = (weight_now), .total = (weight_total), .row = r}; \
                if (all_)                                                                             \
                        qsort(all_, n_, sizeof *all_, by_rank);                                       \
                all_;                                                                                 \
        })

static uint32_t least(size_t a, size_t b)
{
        return (uint32_t)(a < b ? a : b);
}

struct probes_snapshot *table_snapshot(struct table *t, const struct probes_snapshot *head)
{
        uint32_t processes = least(HASH_COUNT(t->processes), PROBES_MAX_PROCESSES), files = least(HASH_COUNT(t->files), PROBES_MAX_FILES);
        uint32_t uses = least(HASH_COUNT(t->uses), PROBES_MAX_USES);
        struct ranked *by_process scoped_free = RANK(t->processes, struct process_row, sums_weight(&r->p.now) + gpu_weight(&r->p.gpu_now),
                                                     sums_weight(&r->p.total) + gpu_weight(&r->p.gpu_total));
        struct ranked *by_file scoped_free = RANK(t->files, struct file_row, sums_weight(&r->f.now), sums_weight(&r->f.total));
        struct ranked *by_use scoped_free = RANK(t->uses, struct use_row, sums_weight(&r->u.now), sums_weight(&r->u.total));
        struct probes_snapshot *s = by_process && by_file && by_use ? calloc(1, probes_bytes(processes, files, uses, head->blocks, head->runners)) : NULL;
        struct probes_process *to_process;
        struct probes_file *to_file;
        struct probes_use *to_use;

        if (!s)
                return NULL;
        *s = *head;
        s->processes = processes;
        s->files = files;
        s->uses = uses;
        s->left_out = HASH_COUNT(t->processes) - processes;
        s->all_now = s->others_now = t->all_now;
        s->all_total = s->others_total = t->all_total;
        s->gpu_now = t->gpu_now;
        s->gpu_total = t->gpu_total;
        memcpy(s->caches, t->caches, sizeof s->caches);
        to_process = (struct probes_process *)(void *)(s + 1);
        for (uint32_t i = 0; i < HASH_COUNT(t->processes); i++) {
                struct process_row *p = by_process[i].row;

                p->index = i < processes ? i : PROBES_NONE;
                if (i >= processes)
                        continue;
                to_process[i] = p->p;
                take_away(&s->others_now, &p->p.now);
                take_away(&s->others_total, &p->p.total);
        }
        to_file = (struct probes_file *)(void *)(to_process + processes);
        for (uint32_t i = 0; i < HASH_COUNT(t->files); i++) {
                struct file_row *f = by_file[i].row;

                f->index = i < files ? i : PROBES_NONE;
                if (i < files)
                        to_file[i] = f->f;
        }
        to_use = (struct probes_use *)(void *)(to_file + files);
        for (uint32_t i = 0; i < uses; i++) {
                const struct use_row *u = by_use[i].row;

                to_use[i] = u->u;
                to_use[i].process = u->key.process->index;
                to_use[i].file = u->key.file->index;
        }
        s->bytes = probes_bytes(processes, files, uses, head->blocks, head->runners);
        return s;
}
