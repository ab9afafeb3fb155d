/* syscalls.c: loads, attaches and reads the programs of syscalls.bpf.c; see syscalls.h. */
#include "bpf/syscalls.h"

#include "base/clock.h"
#include "base/error.h"
#include "bpf/climb.h"
#include "bpf/trial.h"
#include "bpf/turns.h"

#include "syscalls.skel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>

struct syscalls {
        struct syscalls_bpf *skeleton;
        struct bpf_link *link;
        uint32_t processors;
        uint64_t hits, full;
        struct syscall_recent *recent, *zeros; /* of each processor */
        struct turns turns;
};

struct choice {
        uint32_t uid;
        struct syscalls *syscalls;
};

static const struct climb_point points[] = {{"sys_enter", 2, 2}};

static int try(void *data, uint32_t rung, char text[120])
{
        scoped(syscalls_free) struct syscalls *s = calloc(1, sizeof *s);
        int processors = libbpf_num_possible_cpus(), r;
        struct choice *choice = data;
        struct bpf_program *program;

        if (!s || processors < 1)
                return -ENOMEM;
        s->processors = (uint32_t)processors;
        s->recent = calloc(s->processors, sizeof *s->recent);
        s->zeros = calloc(s->processors, sizeof *s->zeros);
        if (!s->recent || !s->zeros)
                return -ENOMEM;
        r = climb_check(points, ARRAY_SIZE(points), text);
        if (r < 0)
                return r;
        s->skeleton = syscalls_bpf__open();
        if (!s->skeleton)
                return -errno;
        s->skeleton->rodata->only_uid = choice->uid;
        bpf_program__set_autoload(s->skeleton->progs.typed_enter, rung == PROBES_TP_BTF);
        bpf_program__set_autoload(s->skeleton->progs.raw_enter, rung == PROBES_RAW_TP);
        r = syscalls_bpf__load(s->skeleton);
        if (r < 0) {
                trial_text(text, 120, "the kernel does not load it", r);
                return r;
        }
        r = turns_open(&s->turns, bpf_map__fd(s->skeleton->maps.even), bpf_map__fd(s->skeleton->maps.odd), &s->skeleton->bss->active,
                       sizeof(struct runner_key), sizeof(struct syscall_counts));
        if (r < 0)
                return r;
        program = rung == PROBES_TP_BTF ? s->skeleton->progs.typed_enter : s->skeleton->progs.raw_enter;
        s->link = bpf_program__attach(program);
        if (!s->link) {
                r = errno ? -errno : -EIO;
                trial_text(text, 120, bpf_program__name(program), r);
                return r;
        }
        choice->syscalls = take(s);
        return 0;
}

void syscalls_open(uint32_t forced, uint32_t refuse, uint32_t uid, struct probes_family *family, struct syscalls **ret)
{
        struct choice choice = {.uid = uid};

        if (climb(family, forced, refuse, try, &choice)) {
                family->programs = family->links = 1;
                family->entries_max = bpf_map__max_entries(choice.syscalls->skeleton->maps.even);
        }
        *ret = choice.syscalls;
}

void syscalls_free(struct syscalls *s)
{
        if (!s)
                return;
        bpf_link__destroy(s->link);
        syscalls_bpf__destroy(s->skeleton);
        turns_close(&s->turns);
        free(s->recent);
        free(s->zeros);
        free(s);
}

/* --- reading --- */

struct passing {
        void (*each)(void *data, const struct runner_key *key, const struct syscall_counts *counts);
        void *data;
};

static void pass(void *data, const void *key, const void *value)
{
        const struct passing *p = data;

        p->each(p->data, key, value);
}

int syscalls_read(struct syscalls *s, struct probes_family *f, uint64_t *ret_total,
                  void (*each)(void *data, const struct runner_key *key, const struct syscall_counts *counts), void *data)
{
        struct passing passing = {.each = each, .data = data};
        uint64_t began = clock_now_ns();
        uint32_t which = turns_swap(&s->turns);
        int map = bpf_map__fd(s->skeleton->maps.recent), r = turns_empty(&s->turns, which, pass, &passing);

        if (r == 0)
                r = bpf_map_lookup_elem(map, &which, s->recent);
        if (r == 0)
                r = bpf_map_update_elem(map, &which, s->zeros, BPF_ANY);
        if (r < 0)
                return r;
        for (uint32_t i = 0; i < s->processors; i++) {
                const struct syscall_recent *recent = &s->recent[i];

                s->hits += recent->hits;
                s->full += recent->full;
                if (recent->calls && recent->key.pid) {
                        const struct syscall_counts rest = {.calls = recent->calls, .uid = UINT32_MAX};

                        each(data, &recent->key, &rest);
                } else if (recent->no_room) {
                        s->full += recent->calls;
                }
        }
        *ret_total = f->hits = f->hooked = s->hits;
        f->full = s->full;
        f->entries = s->turns.entries;
        f->cost_ns = f->hits * f->hooked_cost_ps / 1000;
        f->read_ns = clock_now_ns() - began;
        return 0;
}
