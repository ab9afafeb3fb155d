/* block.c: loads, attaches and reads the programs of block.bpf.c; see block.h. */
#include "bpf/block.h"

#include "base/clock.h"
#include "base/error.h"
#include "bpf/climb.h"
#include "bpf/latency-map.h"
#include "bpf/trial.h"

#include "block.skel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BATCH 512 /* all that the map holds */

struct row {
        struct block_counts last;
        struct probes_block p;
};

struct block {
        struct block_bpf *skeleton;
        struct bpf_link *links[2];
        uint32_t processors, rows_n;
        struct probe_totals *each_processor;
        struct block_key *keys;
        struct block_counts *counts;
        struct row *rows;
        uint64_t read_ns;
};

static const struct climb_point points[] = {{"block_rq_issue", 1, 1}, {"block_rq_complete", 3, 3}};

static int attach(struct block *b, uint32_t rung, char text[120])
{
        /* Ends first: then none is remembered whose end was missed. */
        struct bpf_program *const programs[] = {
                rung == PROBES_TP_BTF ? b->skeleton->progs.typed_complete : b->skeleton->progs.raw_complete,
                rung == PROBES_TP_BTF ? b->skeleton->progs.typed_issue : b->skeleton->progs.raw_issue,
        };

        for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
                b->links[i] = bpf_program__attach(programs[i]);
                if (!b->links[i]) {
                        int r = errno ? -errno : -EIO;

                        trial_text(text, 120, bpf_program__name(programs[i]), r);
                        return r;
                }
        }
        return 0;
}

static int try(void *data, uint32_t rung, char text[120])
{
        scoped(block_free) struct block *b = calloc(1, sizeof *b);
        int processors = libbpf_num_possible_cpus(), r;

        if (!b || processors < 1)
                return -ENOMEM;
        b->processors = (uint32_t)processors;
        b->each_processor = calloc(b->processors, sizeof *b->each_processor);
        b->keys = calloc(BATCH, sizeof *b->keys);
        b->counts = calloc(BATCH, sizeof *b->counts);
        if (!b->each_processor || !b->keys || !b->counts)
                return -ENOMEM;
        r = climb_check(points, ARRAY_SIZE(points), text);
        if (r < 0)
                return r;
        b->skeleton = block_bpf__open();
        if (!b->skeleton)
                return -errno;
        bpf_program__set_autoload(b->skeleton->progs.typed_issue, rung == PROBES_TP_BTF);
        bpf_program__set_autoload(b->skeleton->progs.typed_complete, rung == PROBES_TP_BTF);
        bpf_program__set_autoload(b->skeleton->progs.raw_issue, rung == PROBES_RAW_TP);
        bpf_program__set_autoload(b->skeleton->progs.raw_complete, rung == PROBES_RAW_TP);
        r = block_bpf__load(b->skeleton);
        if (r < 0) {
                trial_text(text, 120, "the kernel does not load it", r);
                return r;
        }
        r = attach(b, rung, text);
        if (r < 0)
                return r;
        *(struct block **)data = take(b);
        return 0;
}

void block_open(uint32_t forced, uint32_t refuse, struct probes_family *family, struct block **ret)
{
        static const char *const blind[] = {"the I/O scheduler's queue", "zram, dm, md"};

        *ret = NULL;
        if (!climb(family, forced, refuse, try, ret))
                return;
        for (size_t i = 0; i < ARRAY_SIZE(blind); i++)
                snprintf(family->blind[family->blind_count++], sizeof family->blind[0], "%s", blind[i]);
        family->programs = family->links = ARRAY_SIZE((*ret)->links);
        family->entries_max = BATCH;
}

void block_free(struct block *b)
{
        if (!b)
                return;
        for (size_t i = ARRAY_SIZE(b->links); i-- > 0;)
                bpf_link__destroy(b->links[i]);
        block_bpf__destroy(b->skeleton);
        free(b->each_processor);
        free(b->keys);
        free(b->counts);
        free(b->rows);
        free(b);
}

/* --- reading --- */

static struct row *row_of(struct block *b, const struct block_key *key)
{
        struct row *more;

        for (uint32_t i = 0; i < b->rows_n; i++)
                if (b->rows[i].p.device == key->device && b->rows[i].p.kind == key->kind)
                        return &b->rows[i];
        more = realloc(b->rows, (b->rows_n + 1) * sizeof *more);
        if (!more)
                return NULL;
        b->rows = more;
        more = &b->rows[b->rows_n++];
        memset(more, 0, sizeof *more);
        more->p.device = key->device;
        more->p.kind = key->kind < BLOCK_KINDS ? key->kind : BLOCK_OTHER;
        return more;
}

/* The last part of what /sys/dev/block/MAJOR:MINOR points to. A number may be given to another device. */
static void look_name(struct probes_block *p)
{
        char path[64], to[512];
        const char *name;
        ssize_t n;

        if (!p->device)
                return;
        snprintf(path, sizeof path, "/sys/dev/block/%u:%u", p->device >> 20, p->device & 0xfffff);
        n = readlink(path, to, sizeof to - 1);
        if (n <= 0)
                return;
        to[n] = 0;
        name = strrchr(to, '/');
        snprintf(p->name, sizeof p->name, "%.31s", name ? name + 1 : to);
}

static void look(struct row *row, const struct block_counts *c)
{
        struct probes_block *p = &row->p;

        latency_since(&p->now.time, &c->time, &row->last.time);
        p->now.bytes = c->bytes - row->last.bytes;
        p->now.errors = c->errors - row->last.errors;
        p->total = (struct probes_requests){.bytes = c->bytes, .errors = c->errors, .time = c->time};
        row->last = *c;
        if (!p->name[0] || latency_count(&p->now.time))
                look_name(p);
}

static void figures(struct block *b, struct probes_family *f)
{
        struct probe_totals t = {0};
        uint32_t zero = 0;

        if (bpf_map_lookup_elem(bpf_map__fd(b->skeleton->maps.totals), &zero, b->each_processor) < 0)
                return;
        for (uint32_t i = 0; i < b->processors; i++)
                climb_add(&t, &b->each_processor[i]);
        climb_told(&t, f);
        f->full += climb_missed(b->skeleton->progs.typed_issue) + climb_missed(b->skeleton->progs.typed_complete) +
                   climb_missed(b->skeleton->progs.raw_issue) + climb_missed(b->skeleton->progs.raw_complete);
        f->entries = b->rows_n;
        f->read_ns = b->read_ns;
}

int block_read(struct block *b, struct probes_family *family)
{
        uint64_t began = clock_now_ns();
        uint32_t count = BATCH, at = 0;
        int r = bpf_map_lookup_batch(bpf_map__fd(b->skeleton->maps.devices), NULL, &at, b->keys, b->counts, &count, NULL);

        if (r < 0 && r != -ENOENT) /* that it was the last */
                return r;
        for (uint32_t i = 0; i < count; i++) {
                struct row *row = row_of(b, &b->keys[i]);

                if (row)
                        look(row, &b->counts[i]);
        }
        b->read_ns = clock_now_ns() - began;
        figures(b, family);
        return 0;
}

uint32_t block_count(const struct block *b)
{
        return b->rows_n < PROBES_MAX_BLOCKS ? b->rows_n : PROBES_MAX_BLOCKS;
}

static int by_use(const void *a, const void *b)
{
        const struct row *x = a, *y = b;
        uint64_t now[2] = {latency_count(&x->p.now.time), latency_count(&y->p.now.time)};
        uint64_t total[2] = {latency_count(&x->p.total.time), latency_count(&y->p.total.time)};

        if (now[0] != now[1])
                return now[0] < now[1] ? 1 : -1;
        return total[0] < total[1] ? 1 : total[0] > total[1] ? -1 : 0;
}

uint32_t block_rows(struct block *b, struct probes_block *rows, uint32_t room)
{
        uint32_t n = b->rows_n < room ? b->rows_n : room;

        if (b->rows_n)
                qsort(b->rows, b->rows_n, sizeof *b->rows, by_use);
        for (uint32_t i = 0; i < n; i++)
                rows[i] = b->rows[i].p;
        return n;
}
