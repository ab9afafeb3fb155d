/* metrics-probes.c: what the kernel's probes counted, as metrics: each family's state and price, totals, and the processes that did most; see metrics-writer.h.
 *
 * A family that is not attached has no figures, and a line of berth_unavailable. Processes are told by name and user, never by pid: METRICS_PROCESSES groups of
 * them, those that called the driver or used files most lately.
 */
#include "cli/metrics-writer.h"

#include "base/text.h"
#include "bpf/active.h"

#include <stdio.h>
#include <string.h>

static void put_family(struct metric_writer *w, const struct probes_family *f, const char *name)
{
        char family[40];

        snprintf(family, sizeof family, "probe of %s", name);
        metric_put(w, METRIC_PROBE_INFO, 1, "family", name, "state", probes_state_name(f->state), "rung", f->rung ? probes_rung_name(f->rung) : "", NULL);
        if (f->state == PROBES_OFF)
                metric_put(w, METRIC_UNAVAILABLE, 1, "family", family, "reason", "off in the settings", NULL);
        else if (f->state == PROBES_UNAVAILABLE)
                metric_put(w, METRIC_UNAVAILABLE, 1, "family", family, "reason", f->refused_count ? f->refused[f->refused_count - 1].text : "nothing to try", NULL);
        if (f->state != PROBES_ATTACHED)
                return;
        metric_put(w, METRIC_PROBE_HITS, (double)f->hits, "family", name, NULL);
        metric_put(w, METRIC_PROBE_COUNTED, (double)f->hooked, "family", name, NULL);
        metric_put(w, METRIC_PROBE_FULL, (double)f->full, "family", name, NULL);
        metric_put(w, METRIC_PROBE_COST, f->hooked_cost_ps ? (double)f->cost_ns / 1e9 : -1, "family", name, NULL);
        metric_put(w, METRIC_PROBE_SAMPLED, (double)f->window_permille / 1000 / f->one_in, "family", name, NULL);
}

struct named {
        const char *name;
        double value;
};

static void put_named(struct metric_writer *w, enum metric m, const char *label, const struct named *list, size_t count)
{
        for (size_t i = 0; i < count; i++)
                metric_put(w, m, list[i].value, label, list[i].name, NULL);
}

static void put_totals(struct metric_writer *w, const struct probes_snapshot *s)
{
        const struct probes_sums *f = &s->all_total;
        const struct probes_gpu *g = &s->gpu_total;
        const struct named operations[] = {{"open", (double)f->opens}, {"close", (double)f->closes}, {"read", (double)f->reads}, {"write", (double)f->writes}};
        const struct named bytes[] = {{"read", (double)f->read_bytes}, {"written", (double)f->write_bytes}};
        const struct named calls[] = {{"launch", (double)g->launches},   {"graph_launch", (double)g->graphs}, {"wait", (double)g->waits},
                                      {"alloc", (double)g->allocs},      {"free", (double)g->frees},          {"copy_in", (double)g->copies_in},
                                      {"copy_out", (double)g->copies_out}, {"copy_other", (double)g->copies_other}};
        const struct named amounts[] = {{"alloc", (double)g->alloc_bytes}, {"copy_in", (double)g->in_bytes}, {"copy_out", (double)g->out_bytes}, {"copy_other", (double)g->other_bytes}};

        if (s->families[PROBES_FILES].state == PROBES_ATTACHED) {
                put_named(w, METRIC_FILE_OPERATIONS, "operation", operations, ARRAY_SIZE(operations));
                put_named(w, METRIC_FILE_BYTES, "direction", bytes, ARRAY_SIZE(bytes));
        }
        if (s->families[PROBES_GPU].state == PROBES_ATTACHED) {
                put_named(w, METRIC_DRIVER_CALLS, "call", calls, ARRAY_SIZE(calls));
                put_named(w, METRIC_DRIVER_BYTES, "call", amounts, ARRAY_SIZE(amounts));
        }
}

/* Processes of one name and user. */
struct named_group {
        char name[17];
        uint32_t uid;
        double files[4], file_bytes[2], calls[5], call_bytes[2];
};

static void add(struct named_group *g, const struct probes_process *p)
{
        const struct probes_sums *f = &p->now;
        const struct probes_gpu *d = &p->gpu_now;

        g->files[0] += (double)f->opens;
        g->files[1] += (double)f->closes;
        g->files[2] += (double)f->reads;
        g->files[3] += (double)f->writes;
        g->file_bytes[0] += (double)f->read_bytes;
        g->file_bytes[1] += (double)f->write_bytes;
        g->calls[0] += (double)d->launches;
        g->calls[1] += (double)d->graphs;
        g->calls[2] += (double)d->waits;
        g->calls[3] += (double)d->copies_in;
        g->calls[4] += (double)d->copies_out;
        g->call_bytes[0] += (double)d->in_bytes;
        g->call_bytes[1] += (double)d->out_bytes;
}

static struct named_group *group_of(struct named_group *groups, size_t *count, const struct probes_process *p)
{
        char comm[sizeof p->comm + 1] = "", name[sizeof comm];

        memcpy(comm, p->comm, sizeof p->comm);
        text_copy_clean(name, sizeof name, comm);
        for (size_t i = 0; i < *count; i++)
                if (groups[i].uid == p->uid && !strcmp(groups[i].name, name))
                        return &groups[i];
        groups[*count] = (struct named_group){.uid = p->uid};
        memcpy(groups[*count].name, name, sizeof name);
        return &groups[(*count)++];
}

static void put_group(struct metric_writer *w, const struct probes_snapshot *s, const struct named_group *g, double seconds)
{
        static const char *const operations[] = {"open", "close", "read", "write"}, *const directions[] = {"read", "written"},
                                 *const calls[] = {"launch", "graph_launch", "wait", "copy_in", "copy_out"}, *const copies[] = {"copy_in", "copy_out"};
        char user[33];

        cli_user(g->uid, user, sizeof user);
#define EACH(metric, label, names, values)                          \
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)               \
        metric_put(w, metric, (values)[i] / seconds, "process", g->name, "user", user, label, (names)[i], NULL)
        if (s->families[PROBES_FILES].state == PROBES_ATTACHED) {
                EACH(METRIC_PROCESS_FILES, "operation", operations, g->files);
                EACH(METRIC_PROCESS_FILE_BYTES, "direction", directions, g->file_bytes);
        }
        if (s->families[PROBES_GPU].state == PROBES_ATTACHED) {
                EACH(METRIC_PROCESS_CALLS, "call", calls, g->calls);
                EACH(METRIC_PROCESS_CALL_BYTES, "call", copies, g->call_bytes);
        }
#undef EACH
}

static void put_processes(struct metric_writer *w, const struct probes_snapshot *s)
{
        struct active_process *list scoped_free = calloc(s->processes + 1, sizeof *list);
        struct named_group *groups scoped_free = calloc(s->processes + 1, sizeof *groups);
        size_t count = 0, active;

        if (!list || !groups) {
                w->lines[METRIC_PROCESSES_LEFT_OUT].failed = true;
                return;
        }
        active = active_list(s, list, s->processes);
        for (size_t i = 0; i < active; i++)
                add(group_of(groups, &count, list[i].process), list[i].process);
        for (size_t i = 0; i < count && i < METRICS_PROCESSES && s->window_ns; i++)
                put_group(w, s, &groups[i], (double)s->window_ns / 1e9);
        metric_put(w, METRIC_PROCESSES_LEFT_OUT, count > METRICS_PROCESSES ? (double)(count - METRICS_PROCESSES) : 0, NULL);
}

void metrics_probes(struct metric_writer *w, const struct top_world *world)
{
        const struct probes_snapshot *s = world->probes;
        char why[CLI_MESSAGE];

        if (!s) {
                if (!world->probes_why || !world->probes_why[0])
                        return;
                text_copy_clean(why, sizeof why, world->probes_why);
                metric_put(w, METRIC_UNAVAILABLE, 1, "family", "probes", "reason", why, NULL);
                return;
        }
        for (uint32_t i = 0; i < PROBES_FAMILY_N; i++)
                put_family(w, &s->families[i], probes_family_name(i));
        metric_put(w, METRIC_PROBES_CPU, (double)s->cpu_ns / 1e9, NULL);
        metric_put(w, METRIC_PROBES_MEMORY, (double)s->rss_bytes, NULL);
        put_totals(w, s);
        put_processes(w, s);
        metrics_latency(w, s);
}
