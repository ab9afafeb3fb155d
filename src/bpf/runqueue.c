/* runqueue.c: loads, attaches and reads the programs of runqueue.bpf.c; see runqueue.h. */
#include "bpf/runqueue.h"

#include "base/clock.h"
#include "base/error.h"
#include "bpf/climb.h"
#include "bpf/trial.h"
#include "bpf/turns.h"

#include "runqueue.skel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>

struct sched {
        struct runqueue_bpf *skeleton;
        struct bpf_link *links[3];
        uint32_t processors;
        struct sched_totals *each_processor;
        struct turns turns;
};

struct choice {
        uint32_t uid;
        struct sched *sched;
};

static const struct climb_point points[] = {{"sched_wakeup", 1, 1}, {"sched_wakeup_new", 1, 1}, {"sched_switch", 3, 4}};

static int attach(struct sched *s, uint32_t rung, char text[120])
{
        bool typed = rung == PROBES_TP_BTF;
        struct bpf_program *const programs[] = {
                typed ? s->skeleton->progs.typed_switch : s->skeleton->progs.raw_switch,
                typed ? s->skeleton->progs.typed_wakeup : s->skeleton->progs.raw_wakeup,
                typed ? s->skeleton->progs.typed_new : s->skeleton->progs.raw_new,
        };

        for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
                s->links[i] = bpf_program__attach(programs[i]);
                if (!s->links[i]) {
                        int r = errno ? -errno : -EIO;

                        trial_text(text, 120, bpf_program__name(programs[i]), r);
                        return r;
                }
        }
        return 0;
}

static int try(void *data, uint32_t rung, char text[120])
{
        scoped(sched_free) struct sched *s = calloc(1, sizeof *s);
        int processors = libbpf_num_possible_cpus(), r;
        struct choice *choice = data;

        if (!s || processors < 1)
                return -ENOMEM;
        s->processors = (uint32_t)processors;
        s->each_processor = calloc(s->processors, sizeof *s->each_processor);
        if (!s->each_processor)
                return -ENOMEM;
        r = climb_check(points, ARRAY_SIZE(points), text);
        if (r < 0)
                return r;
        s->skeleton = runqueue_bpf__open();
        if (!s->skeleton)
                return -errno;
        s->skeleton->rodata->only_uid = choice->uid;
        bpf_program__set_autoload(s->skeleton->progs.typed_switch, rung == PROBES_TP_BTF);
        bpf_program__set_autoload(s->skeleton->progs.typed_wakeup, rung == PROBES_TP_BTF);
        bpf_program__set_autoload(s->skeleton->progs.typed_new, rung == PROBES_TP_BTF);
        bpf_program__set_autoload(s->skeleton->progs.raw_switch, rung == PROBES_RAW_TP);
        bpf_program__set_autoload(s->skeleton->progs.raw_wakeup, rung == PROBES_RAW_TP);
        bpf_program__set_autoload(s->skeleton->progs.raw_new, rung == PROBES_RAW_TP);
        r = runqueue_bpf__load(s->skeleton);
        if (r < 0) {
                trial_text(text, 120, "the kernel does not load it", r);
                return r;
        }
        r = turns_open(&s->turns, bpf_map__fd(s->skeleton->maps.even), bpf_map__fd(s->skeleton->maps.odd), &s->skeleton->bss->active,
                       sizeof(struct runner_key), sizeof(struct sched_counts));
        if (r == 0)
                r = attach(s, rung, text);
        if (r < 0)
                return r;
        choice->sched = take(s);
        return 0;
}

void sched_open(uint32_t forced, uint32_t refuse, uint32_t uid, struct probes_family *family, struct sched **ret)
{
        struct choice choice = {.uid = uid};

        if (climb(family, forced, refuse, try, &choice)) {
                snprintf(family->blind[family->blind_count++], sizeof family->blind[0], "what waited when the probes came");
                family->programs = family->links = ARRAY_SIZE(choice.sched->links);
                family->entries_max = bpf_map__max_entries(choice.sched->skeleton->maps.even);
        }
        *ret = choice.sched;
}

void sched_free(struct sched *s)
{
        if (!s)
                return;
        for (size_t i = ARRAY_SIZE(s->links); i-- > 0;)
                bpf_link__destroy(s->links[i]);
        runqueue_bpf__destroy(s->skeleton);
        turns_close(&s->turns);
        free(s->each_processor);
        free(s);
}

/* --- reading --- */

struct passing {
        void (*each)(void *data, const struct runner_key *key, const struct sched_counts *counts);
        void *data;
};

static void pass(void *data, const void *key, const void *value)
{
        const struct passing *p = data;

        p->each(p->data, key, value);
}

int sched_read(struct sched *s, struct probes_family *f, struct latency *ret_total,
               void (*each)(void *data, const struct runner_key *key, const struct sched_counts *counts), void *data)
{
        struct passing passing = {.each = each, .data = data};
        uint64_t began = clock_now_ns();
        struct latency waits = {{0}};
        struct probe_totals t = {0};
        uint32_t zero = 0;
        int r = turns_empty(&s->turns, turns_swap(&s->turns), pass, &passing);

        if (r == 0)
                r = bpf_map_lookup_elem(bpf_map__fd(s->skeleton->maps.totals), &zero, s->each_processor);
        if (r < 0)
                return r;
        for (uint32_t i = 0; i < s->processors; i++) {
                const struct sched_totals *from = &s->each_processor[i];

                climb_add(&t, &from->probe);
                t.full += from->lost;
                latency_add(&waits, &from->waits);
        }
        *ret_total = waits;
        climb_told(&t, f);
        f->full += climb_missed(s->skeleton->progs.typed_switch) + climb_missed(s->skeleton->progs.typed_wakeup) +
                   climb_missed(s->skeleton->progs.typed_new) + climb_missed(s->skeleton->progs.raw_switch) + climb_missed(s->skeleton->progs.raw_wakeup) +
                   climb_missed(s->skeleton->progs.raw_new);
        f->entries = s->turns.entries;
        f->read_ns = clock_now_ns() - began;
        return 0;
}
