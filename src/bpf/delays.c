/* delays.c: block, sched and syscalls in the probes process; see delays.h. */
#include "bpf/delays.h"

#include "bpf/block.h"
#include "bpf/cost.h"
#include "bpf/runners.h"
#include "bpf/runqueue.h"
#include "bpf/syscalls.h"

#include <malloc.h>
#include <string.h>

struct delays {
        struct block *block;
        struct sched *sched;
        struct syscalls *syscalls;
        struct runners *runners;
        struct latency waits; /* of the machine, at the last reading */
        uint64_t calls;       /* the same */
        uint32_t pid;
};

int delays_new(struct delays **ret)
{
        struct delays *d = calloc(1, sizeof *d);
        int r = d ? runners_new(&d->runners) : -ENOMEM;

        if (r < 0) {
                free(d);
                return r;
        }
        *ret = d;
        return 0;
}

void delays_free(struct delays *d)
{
        if (!d)
                return;
        block_free(d->block);
        sched_free(d->sched);
        syscalls_free(d->syscalls);
        runners_free(d->runners);
        free(d);
}

static void closed(struct probes_family *f, bool off)
{
        *f = (struct probes_family){.state = off ? PROBES_OFF : PROBES_NOT_ASKED, .one_in = 1, .window_permille = 1000};
}

static void open_block(struct delays *d, const struct probes_options *o, struct probes_family *f)
{
        block_free(d->block);
        d->block = NULL;
        closed(f, o->block_off);
        if (!o->block_off && o->asked & 1U << PROBES_BLOCK)
                block_open(o->block_forced, o->refuse, f, &d->block);
}

static void open_sched(struct delays *d, const struct probes_options *o, struct probes_snapshot *head)
{
        struct probes_family *f = &head->families[PROBES_SCHED];

        sched_free(d->sched);
        d->sched = NULL;
        memset(&d->waits, 0, sizeof d->waits);
        memset(&head->wait_now, 0, sizeof head->wait_now);
        memset(&head->wait_total, 0, sizeof head->wait_total);
        closed(f, o->sched_off);
        if (!o->sched_off && o->asked & 1U << PROBES_SCHED)
                sched_open(o->sched_forced, o->refuse, o->uid, f, &d->sched);
}

static void open_syscalls(struct delays *d, const struct probes_options *o, struct probes_snapshot *head)
{
        struct probes_family *f = &head->families[PROBES_SYSCALLS];
        struct cost without, with;

        syscalls_free(d->syscalls);
        d->syscalls = NULL;
        d->calls = 0;
        head->calls_now = head->calls_total = 0;
        closed(f, o->syscalls_off);
        if (o->syscalls_off || !(o->asked & 1U << PROBES_SYSCALLS))
                return;
        if (cost_measure(&without) < 0)
                memset(&without, 0, sizeof without);
        syscalls_open(o->syscalls_forced, o->refuse, o->uid, f, &d->syscalls);
        if (d->syscalls && without.other_call_ps && cost_measure(&with) == 0 && with.other_call_ps > without.other_call_ps)
                f->hooked_cost_ps = f->other_cost_ps = with.other_call_ps - without.other_call_ps;
}

void delays_apply(struct delays *d, const struct probes_options *before, const struct probes_options *o, struct probes_snapshot *head)
{
        uint32_t fresh = before ? before->asked ^ o->asked : PROBES_EVERY;
        bool other = before && before->refuse != o->refuse, other_user = before && before->uid != o->uid;

        d->pid = head->pid;
        if (other || fresh & 1U << PROBES_BLOCK || before->block_off != o->block_off || before->block_forced != o->block_forced)
                open_block(d, o, &head->families[PROBES_BLOCK]);
        if (other || other_user || fresh & 1U << PROBES_SCHED || before->sched_off != o->sched_off || before->sched_forced != o->sched_forced)
                open_sched(d, o, head);
        if (other || other_user || fresh & 1U << PROBES_SYSCALLS || before->syscalls_off != o->syscalls_off || before->syscalls_forced != o->syscalls_forced)
                open_syscalls(d, o, head);
        /* Loading takes the kernel's type information in: as much again as all the rest. */
        if (fresh || other || other_user)
                malloc_trim(0);
}

static void each_waited(void *data, const struct runner_key *key, const struct sched_counts *counts)
{
        struct delays *d = data;

        if (key->pid != d->pid)
                runners_waited(d->runners, key, counts);
}

static void each_called(void *data, const struct runner_key *key, const struct syscall_counts *counts)
{
        struct delays *d = data;

        if (key->pid != d->pid)
                runners_called(d->runners, key, counts);
}

int delays_read(struct delays *d, struct probes_snapshot *head)
{
        int r = 0;

        runners_turn(d->runners);
        if (d->block)
                r = block_read(d->block, &head->families[PROBES_BLOCK]);
        if (r == 0 && d->sched) {
                r = sched_read(d->sched, &head->families[PROBES_SCHED], &head->wait_total, each_waited, d);
                latency_since(&head->wait_now, &head->wait_total, &d->waits);
                d->waits = head->wait_total;
        }
        if (r == 0 && d->syscalls) {
                r = syscalls_read(d->syscalls, &head->families[PROBES_SYSCALLS], &head->calls_total, each_called, d);
                head->calls_now = head->calls_total - d->calls;
                d->calls = head->calls_total;
        }
        head->blocks = d->block ? block_count(d->block) : 0;
        head->runners = runners_count(d->runners);
        return r;
}

void delays_rows(struct delays *d, struct probes_snapshot *s)
{
        /* As many as were counted: nothing has come in between. */
        if (d->block)
                block_rows(d->block, (struct probes_block *)(uintptr_t)probes_blocks(s), s->blocks);
        runners_rows(d->runners, (struct probes_runner *)(uintptr_t)probes_runners(s), s->runners);
}
