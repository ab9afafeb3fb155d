/* table.c: rows of processes, files and uses, their sums, and the snapshot made of the largest; see table.h. */
#include "bpf/rows.h"

#include "base/clock.h"

#include <string.h>

/* Of an ended process the row is kept for so long. */
#define KEEP_ENDED_NS (30 * NS_PER_S)
/* More rows than a snapshot shows are kept, so that what grows slowly still comes up. */
#define MOST_PROCESSES (2 * PROBES_MAX_PROCESSES)
#define MOST_FILES (2 * PROBES_MAX_FILES)
#define MOST_USES (2 * PROBES_MAX_USES)

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
                p = calloc(1, sizeof *p);
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
        return p;
}

static struct file_row *file_of(struct table *t, const struct file_name_key *key)
{
        struct file_row *f;

        HASH_FIND(hh, t->files, key, sizeof *key, f);
        if (!f) {
                f = calloc(1, sizeof *f);
                if (!f)
                        return NULL;
                f->key = *key;
                f->f.inode = key->inode;
                f->f.device = key->device;
                f->f.generation = key->generation;
                HASH_ADD(hh, t->files, key, sizeof f->key, f);
        }
        f->seen_ns = t->window_ns;
        return f;
}

static void use_of(struct table *t, struct process_row *p, struct file_row *f, const struct probes_sums *sums, int32_t fd)
{
        struct use_key key = {.process = p, .file = f};
        struct use_row *u;

        HASH_FIND(hh, t->uses, &key, sizeof key, u);
        if (!u) {
                u = calloc(1, sizeof *u);
                if (!u)
                        return;
                u->key = key;
                u->fd = -1;
                HASH_ADD(hh, t->uses, key, sizeof u->key, u);
        }
        if (fd >= 0)
                u->fd = fd;
        u->seen_ns = t->window_ns;
        add(&u->u.now, sums);
        add(&u->u.total, sums);
}

void table_file(struct table *t, const struct file_key *key, const struct file_counts *c)
{
        const struct file_name_key name = {.inode = key->inode, .device = key->device, .generation = c->generation};
        const struct probes_sums sums = {.opens = c->opens, .closes = c->closes, .reads = c->reads, .writes = c->writes,
                                         .read_bytes = c->read_bytes, .write_bytes = c->write_bytes};
        struct process_row *p = process_of(t, key->pid, key->start_ns, c->uid, c->comm);
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

static int compare(uint64_t a, uint64_t b)
{
        return a < b ? -1 : a > b;
}

#define BY_AGE(name, type)                                         \
        static int name(const type *a, const type *b)              \
        {                                                          \
                return compare(a->seen_ns, b->seen_ns);            \
        }
BY_AGE(process_age, struct process_row)
BY_AGE(file_age, struct file_row)
BY_AGE(use_age, struct use_row)

/* uthash hands its comparison untyped pointers or typed ones, as the caller's macro casts; ours are typed. */
static void sweep_uses(struct table *t)
{
        struct use_row *u, *next;
        size_t over = HASH_COUNT(t->uses) > MOST_USES ? HASH_COUNT(t->uses) - MOST_USES : 0;

        if (over)
                HASH_SRT(hh, t->uses, use_age);
        HASH_ITER(hh, t->uses, u, next) {
                if (over) {
                        over--;
                        drop_use(t, u);
                }
        }
}

void table_sweep(struct table *t, uint64_t now)
{
        struct process_row *p, *next_p;
        struct file_row *f, *next_f;
        struct use_row *u, *next_u;
        size_t over_p = HASH_COUNT(t->processes) > MOST_PROCESSES ? HASH_COUNT(t->processes) - MOST_PROCESSES : 0;
        size_t over_f = HASH_COUNT(t->files) > MOST_FILES ? HASH_COUNT(t->files) - MOST_FILES : 0;

        if (over_p)
                HASH_SRT(hh, t->processes, process_age);
        if (over_f)
                HASH_SRT(hh, t->files, file_age);
        /* Marked first: uses point to both. */
        for (p = t->processes; p; p = p->hh.next) {
                p->index = over_p || (!p->p.alive && now - p->seen_ns > KEEP_ENDED_NS) ? PROBES_NONE : 0;
                over_p -= over_p > 0;
        }
        for (f = t->files; f; f = f->hh.next) {
                f->index = over_f ? PROBES_NONE : 0;
                over_f -= over_f > 0;
        }
        HASH_ITER(hh, t->uses, u, next_u)
                if (u->key.process->index == PROBES_NONE || u->key.file->index == PROBES_NONE)
                        drop_use(t, u);
        HASH_ITER(hh, t->processes, p, next_p)
                if (p->index == PROBES_NONE)
                        drop_process(t, p);
        HASH_ITER(hh, t->files, f, next_f)
                if (f->index == PROBES_NONE) {
                        HASH_DEL(t->files, f);
                        free(f);
                }
        sweep_uses(t);
        t->caches[PROBES_CACHE_PROCESS].entries = t->caches[PROBES_CACHE_CGROUP].entries = HASH_COUNT(t->processes);
        t->caches[PROBES_CACHE_PATH].entries = HASH_COUNT(t->files);
}

/* --- the snapshot --- */

static uint64_t gpu_weight(const struct probes_gpu *g)
{
        return g->launches + g->graphs + g->allocs + g->copies_in + g->copies_out + g->copies_other;
}

/* The most active now come first, then those that ever did most. */
static int process_weight(const struct process_row *a, const struct process_row *b)
{
        int r = compare(sums_weight(&b->p.now) + gpu_weight(&b->p.gpu_now), sums_weight(&a->p.now) + gpu_weight(&a->p.gpu_now));

        return r ? r : compare(sums_weight(&b->p.total) + gpu_weight(&b->p.gpu_total), sums_weight(&a->p.total) + gpu_weight(&a->p.gpu_total));
}

static int file_weight(const struct file_row *a, const struct file_row *b)
{
        int r = compare(sums_weight(&b->f.now), sums_weight(&a->f.now));

        return r ? r : compare(sums_weight(&b->f.total), sums_weight(&a->f.total));
}

static int use_weight(const struct use_row *a, const struct use_row *b)
{
        int r = compare(sums_weight(&b->u.now), sums_weight(&a->u.now));

        return r ? r : compare(sums_weight(&b->u.total), sums_weight(&a->u.total));
}

static uint32_t least(size_t a, size_t b)
{
        return (uint32_t)(a < b ? a : b);
}

struct probes_snapshot *table_snapshot(struct table *t, const struct probes_snapshot *head)
{
        uint32_t processes = least(HASH_COUNT(t->processes), PROBES_MAX_PROCESSES), files = least(HASH_COUNT(t->files), PROBES_MAX_FILES);
        uint32_t uses = least(HASH_COUNT(t->uses), PROBES_MAX_USES), i = 0;
        struct probes_snapshot *s = calloc(1, probes_bytes(processes, files, uses));
        struct probes_process *to_process;
        struct probes_file *to_file;
        struct probes_use *to_use;

        if (!s)
                return NULL;
        *s = *head;
        s->processes = processes;
        s->files = files;
        s->left_out = HASH_COUNT(t->processes) - processes;
        s->all_now = s->others_now = t->all_now;
        s->all_total = s->others_total = t->all_total;
        s->gpu_now = t->gpu_now;
        s->gpu_total = t->gpu_total;
        memcpy(s->caches, t->caches, sizeof s->caches);
        HASH_SRT(hh, t->processes, process_weight);
        HASH_SRT(hh, t->files, file_weight);
        HASH_SRT(hh, t->uses, use_weight);
        to_process = (struct probes_process *)(void *)(s + 1);
        for (struct process_row *p = t->processes; p; p = p->hh.next, i++) {
                p->index = i < processes ? i : PROBES_NONE;
                if (i >= processes)
                        continue;
                to_process[i] = p->p;
                take_away(&s->others_now, &p->p.now);
                take_away(&s->others_total, &p->p.total);
        }
        to_file = (struct probes_file *)(void *)(to_process + processes);
        i = 0;
        for (struct file_row *f = t->files; f; f = f->hh.next, i++) {
                f->index = i < files ? i : PROBES_NONE;
                if (i < files)
                        to_file[i] = f->f;
        }
        to_use = (struct probes_use *)(void *)(to_file + files);
        i = 0;
        for (struct use_row *u = t->uses; u && i < uses; u = u->hh.next, i++) {
                to_use[i] = u->u;
                to_use[i].process = u->key.process->index;
                to_use[i].file = u->key.file->index;
        }
        s->uses = uses;
        s->bytes = probes_bytes(processes, files, uses);
        return s;
}
