/* record-probes.c: see record-probes.h. A head, families, processes by pid (so that the next look differs little), and their files. */
#include "cli/record-probes.h"

#include "bpf/active.h"
#include "cli/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAMILIES_MOST 32

struct part_sums {
        uint64_t opens, closes, reads, writes, read_bytes, write_bytes;
};

struct part_gpu {
        uint64_t launches, graphs, waits, frees, allocs, alloc_bytes, copies_in, in_bytes, copies_out, out_bytes, copies_other, other_bytes;
};

struct part_head {
        uint64_t began_ns, taken_ns, window_ns, cpu_ns, rss_bytes;
        struct part_sums now, total;
        struct part_gpu gpu_now, gpu_total;
        uint32_t families, processes, files, reserved;
};
_Static_assert(sizeof(struct part_head) == 344, "no padding, and the same for ever");

/* By name: their numbers change as families and kinds are added. */
struct part_family {
        char family[16], rung[16];
        uint32_t state, one_in, window_permille, reserved;
        uint64_t hits, hooked, full, hooked_cost_ps, cost_ns;
};
_Static_assert(sizeof(struct part_family) == 88, "no padding");

struct part_process {
        uint64_t start_ns;
        uint32_t pid, uid;
        char comm[16];
        struct part_sums now, total;
        struct part_gpu gpu_now, gpu_total;
};
_Static_assert(sizeof(struct part_process) == 320, "no padding, and the same for ever");

struct part_file {
        uint32_t process, flags;
        struct part_sums now, total;
        char name[128]; /* of a longer one its end */
};
_Static_assert(sizeof(struct part_file) == 232, "no padding, and the same for ever");

#define SUMS(s) {(s).opens, (s).closes, (s).reads, (s).writes, (s).read_bytes, (s).write_bytes}
#define GPU(g)                                                                                                                                    \
        {(g).launches, (g).graphs, (g).waits, (g).frees, (g).allocs, (g).alloc_bytes, (g).copies_in, (g).in_bytes, (g).copies_out, (g).out_bytes, \
         (g).copies_other, (g).other_bytes}
/* And back, by name: the snapshot's may have more. */
#define SUMS_BACK(s) \
        {.opens = (s).opens, .closes = (s).closes, .reads = (s).reads, .writes = (s).writes, .read_bytes = (s).read_bytes, .write_bytes = (s).write_bytes}
#define GPU_BACK(g)                                                                                                                                              \
        {.launches = (g).launches, .graphs = (g).graphs, .waits = (g).waits, .frees = (g).frees, .allocs = (g).allocs, .alloc_bytes = (g).alloc_bytes,           \
         .copies_in = (g).copies_in, .in_bytes = (g).in_bytes, .copies_out = (g).copies_out, .out_bytes = (g).out_bytes, .copies_other = (g).copies_other,       \
         .other_bytes = (g).other_bytes}

static int by_pid(const void *a, const void *b)
{
        const struct probes_process *x = ((const struct active_process *)a)->process, *y = ((const struct active_process *)b)->process;

        return x->pid != y->pid ? (x->pid > y->pid ? 1 : -1) : (x->start_ns > y->start_ns) - (x->start_ns < y->start_ns);
}

static void put_file(const struct probes_snapshot *s, uint32_t process, const struct probes_use *u, struct strbuf *b)
{
        const struct probes_file *f = &probes_files(s)[u->file];
        struct part_file p = {.process = process, .flags = f->flags, .now = SUMS(u->now), .total = SUMS(u->total)};
        size_t length = strnlen(f->name, sizeof f->name);

        if (length < sizeof p.name) {
                memcpy(p.name, f->name, length);
        } else {
                memcpy(p.name, f->name + length - sizeof p.name + 1, sizeof p.name - 1);
                p.flags &= ~(uint32_t)PROBES_FILE_PATH;
        }
        strbuf_put(b, (const char *)&p, sizeof p);
}

void record_probes_put(const struct probes_snapshot *s, struct strbuf *b)
{
        struct active_process list[RECORD_PROBED];
        size_t count = active_list(s, list, RECORD_PROBED);
        struct part_head head = {s->began_ns, s->taken_ns, s->window_ns, s->cpu_ns, s->rss_bytes, SUMS(s->all_now), SUMS(s->all_total), GPU(s->gpu_now), GPU(s->gpu_total),
                                 PROBES_FAMILY_N, (uint32_t)count, 0, 0};

        qsort(list, count, sizeof *list, by_pid);
        for (size_t i = 0; i < count; i++)
                head.files += list[i].files < RECORD_PROBED_FILES ? list[i].files : RECORD_PROBED_FILES;
        strbuf_put(b, (const char *)&head, sizeof head);
        for (uint32_t i = 0; i < PROBES_FAMILY_N; i++) {
                const struct probes_family *f = &s->families[i];
                struct part_family p = {.state = f->state, .one_in = f->one_in, .window_permille = f->window_permille, .hits = f->hits, .hooked = f->hooked, .full = f->full,
                                        .hooked_cost_ps = f->hooked_cost_ps, .cost_ns = f->cost_ns};

                snprintf(p.family, sizeof p.family, "%s", probes_family_name(i));
                snprintf(p.rung, sizeof p.rung, "%s", f->rung ? probes_rung_name(f->rung) : "");
                strbuf_put(b, (const char *)&p, sizeof p);
        }
        for (size_t i = 0; i < count; i++) {
                const struct probes_process *from = list[i].process;
                struct part_process p = {.start_ns = from->start_ns, .pid = from->pid, .uid = from->uid, .now = SUMS(from->now), .total = SUMS(from->total),
                                         .gpu_now = GPU(from->gpu_now), .gpu_total = GPU(from->gpu_total)};

                memcpy(p.comm, from->comm, sizeof p.comm);
                strbuf_put(b, (const char *)&p, sizeof p);
        }
        for (size_t i = 0; i < count; i++)
                for (uint32_t k = 0; k < list[i].files && k < RECORD_PROBED_FILES; k++)
                        put_file(s, (uint32_t)i, list[i].file[k], b);
}

static bool take_part(const char **at, size_t *left, void *to, size_t bytes)
{
        if (*left < bytes)
                return false;
        memcpy(to, *at, bytes);
        *at += bytes;
        *left -= bytes;
        return true;
}

static uint32_t named(const char *name, const char *(*name_of)(uint32_t), uint32_t first, uint32_t count)
{
        for (uint32_t i = first; i < count; i++)
                if (!strncmp(name, name_of(i), sizeof((struct part_family *)0)->family))
                        return i;
        return UINT32_MAX;
}

/* Families of a later release are passed over; one by a kind that is not known here counts as not there. */
static bool get_families(const char **at, size_t *left, uint32_t count, struct probes_snapshot *s)
{
        for (uint32_t i = 0; i < PROBES_FAMILY_N; i++)
                s->families[i] = (struct probes_family){.one_in = 1, .window_permille = 1000};
        for (uint32_t i = 0; i < count; i++) {
                uint32_t family, rung;
                struct part_family p;

                if (!take_part(at, left, &p, sizeof p))
                        return false;
                family = named(p.family, probes_family_name, 0, PROBES_FAMILY_N);
                rung = p.rung[0] ? named(p.rung, probes_rung_name, PROBES_RUNG_NONE + 1, PROBES_RUNG_N) : PROBES_RUNG_NONE;
                if (family == UINT32_MAX || rung == UINT32_MAX)
                        continue;
                s->families[family] = (struct probes_family){.state = p.state, .rung = rung, .one_in = p.one_in, .window_permille = p.window_permille, .hits = p.hits,
                                                             .hooked = p.hooked, .full = p.full, .hooked_cost_ps = p.hooked_cost_ps, .cost_ns = p.cost_ns};
        }
        return true;
}

static bool get_rows(const char **at, size_t *left, const struct part_head *head, struct probes_snapshot *s)
{
        struct probes_process *processes = (struct probes_process *)(uintptr_t)probes_processes(s);
        struct probes_file *files = (struct probes_file *)(uintptr_t)probes_files(s);
        struct probes_use *uses = (struct probes_use *)(uintptr_t)probes_uses(s);

        for (uint32_t i = 0; i < head->processes; i++) {
                struct part_process p;

                if (!take_part(at, left, &p, sizeof p))
                        return false;
                processes[i] = (struct probes_process){.pid = p.pid, .uid = p.uid, .start_ns = p.start_ns, .alive = 1, .now = SUMS_BACK(p.now), .total = SUMS_BACK(p.total),
                                                       .gpu_now = GPU_BACK(p.gpu_now), .gpu_total = GPU_BACK(p.gpu_total)};
                memcpy(processes[i].comm, p.comm, sizeof p.comm);
        }
        for (uint32_t i = 0; i < head->files; i++) {
                struct part_file p;

                if (!take_part(at, left, &p, sizeof p) || p.process >= head->processes)
                        return false;
                files[i] = (struct probes_file){.flags = p.flags, .now = SUMS_BACK(p.now), .total = SUMS_BACK(p.total)};
                memcpy(files[i].name, p.name, sizeof p.name);
                uses[i] = (struct probes_use){.process = p.process, .file = i, .now = SUMS_BACK(p.now), .total = SUMS_BACK(p.total)};
        }
        return true;
}

bool record_probes_get(const char **at, size_t *left, struct probes_snapshot **ret)
{
        struct probes_snapshot *s scoped_free = NULL;
        struct part_head head;

        if (!take_part(at, left, &head, sizeof head) || head.families > FAMILIES_MOST || head.processes > RECORD_PROBED ||
            head.files > RECORD_PROBED * RECORD_PROBED_FILES)
                return false;
        s = calloc(1, probes_bytes(head.processes, head.files, head.files, 0, 0));
        if (!s)
                return false;
        s->magic = PROBES_MAGIC;
        s->version = PROBES_VERSION;
        s->bytes = probes_bytes(head.processes, head.files, head.files, 0, 0);
        s->processes = head.processes;
        s->files = s->uses = head.files;
        s->began_ns = head.began_ns;
        s->taken_ns = head.taken_ns;
        s->window_ns = head.window_ns;
        s->cpu_ns = head.cpu_ns;
        s->rss_bytes = head.rss_bytes;
        s->all_now = (struct probes_sums)SUMS_BACK(head.now);
        s->all_total = (struct probes_sums)SUMS_BACK(head.total);
        s->gpu_now = (struct probes_gpu)GPU_BACK(head.gpu_now);
        s->gpu_total = (struct probes_gpu)GPU_BACK(head.gpu_total);
        if (!get_families(at, left, head.families, s) || !get_rows(at, left, &head, s) || probes_check(s, s->bytes) < 0)
                return false;
        *ret = take(s);
        return true;
}
