/* metrics-latency.c: waits for devices and processors as histograms, and system calls, as metrics; see metrics-writer.h.
 *
 * A family that is not attached has no figures. Of devices METRICS_BLOCKS pairs of device and operation get lines, of processes METRICS_PROCESSES names and users.
 */
#include "cli/metrics-writer.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

#define METRICS_BLOCKS 24

static void put_blocks(struct metric_writer *w, const struct probes_snapshot *s)
{
        uint32_t shown = s->blocks < METRICS_BLOCKS ? s->blocks : METRICS_BLOCKS;

        for (uint32_t i = 0; i < shown; i++) {
                const struct probes_block *b = &probes_blocks(s)[i];
                char device[sizeof b->name];

                if (b->name[0])
                        text_copy_clean(device, sizeof device, b->name);
                else
                        snprintf(device, sizeof device, "%u:%u", b->device >> 20, b->device & 0xfffff);
#define LABELS "device", device, "operation", probes_request_kind_name(b->kind), NULL
                metric_put_latency(w, METRIC_BLOCK_LATENCY, &b->total.time, LABELS);
                metric_put(w, METRIC_BLOCK_BYTES, (double)b->total.bytes, LABELS);
                metric_put(w, METRIC_BLOCK_ERRORS, (double)b->total.errors, LABELS);
#undef LABELS
        }
        metric_put(w, METRIC_BLOCKS_LEFT_OUT, (double)(s->blocks - shown), NULL);
}

/* Processes of one name and user. */
struct named_runners {
        char name[17];
        uint32_t uid;
        double waited_s, calls;
};

static int by_use(const void *a, const void *b)
{
        const struct named_runners *x = a, *y = b;

        if (x->waited_s != y->waited_s)
                return x->waited_s < y->waited_s ? 1 : -1;
        return (x->calls < y->calls) - (x->calls > y->calls);
}

static void add(struct named_runners *groups, size_t *count, const struct probes_runner *r)
{
        char comm[sizeof r->comm + 1] = "", name[sizeof comm];
        size_t i = 0;

        memcpy(comm, r->comm, sizeof r->comm);
        text_copy_clean(name, sizeof name, comm);
        while (i < *count && (groups[i].uid != r->uid || strcmp(groups[i].name, name) != 0))
                i++;
        if (i == *count) {
                groups[(*count)++] = (struct named_runners){.uid = r->uid};
                memcpy(groups[i].name, name, sizeof name);
        }
        groups[i].waited_s += (double)r->wait_now.sum_ns / 1e9;
        groups[i].calls += (double)r->calls_now;
}

static void put_processes(struct metric_writer *w, const struct probes_snapshot *s, bool waits, bool calls)
{
        struct named_runners *groups scoped_free = calloc(s->runners + 1, sizeof *groups);
        double seconds = (double)s->window_ns / 1e9;
        size_t count = 0;
        char user[33];

        if (!groups) {
                w->lines[METRIC_PROCESS_WAITED].failed = true;
                return;
        }
        for (uint32_t i = 0; i < s->runners; i++)
                add(groups, &count, &probes_runners(s)[i]);
        qsort(groups, count, sizeof *groups, by_use);
        for (size_t i = 0; i < count && i < METRICS_PROCESSES && seconds > 0; i++) {
                cli_user(groups[i].uid, user, sizeof user);
                if (waits)
                        metric_put(w, METRIC_PROCESS_WAITED, groups[i].waited_s / seconds, "process", groups[i].name, "user", user, NULL);
                if (calls)
                        metric_put(w, METRIC_PROCESS_SYSCALLS, groups[i].calls / seconds, "process", groups[i].name, "user", user, NULL);
        }
}

void metrics_latency(struct metric_writer *w, const struct probes_snapshot *s)
{
        bool waits = s->families[PROBES_SCHED].state == PROBES_ATTACHED, calls = s->families[PROBES_SYSCALLS].state == PROBES_ATTACHED;

        if (s->families[PROBES_BLOCK].state == PROBES_ATTACHED)
                put_blocks(w, s);
        if (waits)
                metric_put_latency(w, METRIC_RUN_QUEUE, &s->wait_total, NULL);
        if (calls)
                metric_put(w, METRIC_SYSCALLS, (double)s->calls_total, NULL);
        if (waits || calls)
                put_processes(w, s, waits, calls);
}
