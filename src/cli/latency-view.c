/* latency-view.c: histograms with bars, quantiles, and who waited most; see latency-view.h. */
#include "cli/latency-view.h"

#include "base/clock.h"
#include "base/text.h"
#include "cli/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BAR 36
#define PROCESSES 20

char *latency_time(double ns, char *buffer, size_t size)
{
        static const char *const units[] = {"ns", "us", "ms", "s"};
        size_t unit = 0;

        if (ns < 0) {
                snprintf(buffer, size, "unavailable");
                return buffer;
        }
        while (ns >= 1000 && unit + 1 < ARRAY_SIZE(units)) {
                ns /= 1000;
                unit++;
        }
        snprintf(buffer, size, "%.*f %s", unit == 0 || ns >= 100 ? 0 : ns >= 10 ? 1 : 2, ns, units[unit]);
        return buffer;
}

void latency_bars(const struct latency *l, struct strbuf *b)
{
        uint32_t first = LATENCY_BUCKETS, last = 0;
        uint64_t most = 0;

        for (uint32_t i = 0; i < LATENCY_BUCKETS; i++) {
                if (!l->buckets[i])
                        continue;
                first = first == LATENCY_BUCKETS ? i : first;
                last = i;
                most = l->buckets[i] > most ? l->buckets[i] : most;
        }
        for (uint32_t i = first; i <= last && first < LATENCY_BUCKETS; i++) {
                /* Whatever is there is seen. */
                size_t length = (size_t)((l->buckets[i] * (unsigned __int128)BAR + most - 1) / most);
                char from[16], to[16] = "";

                latency_time((double)latency_from_ns(i), from, sizeof from);
                if (i + 1 < LATENCY_BUCKETS)
                        latency_time((double)latency_from_ns(i + 1), to, sizeof to);
                strbuf_add(b, "  %8s %s %-8s %12" PRIu64 " |", i ? from : "0", to[0] ? "-" : "+", to, l->buckets[i]);
                strbuf_fill(b, '*', length);
                strbuf_fill(b, ' ', BAR - length);
                strbuf_add(b, "|\n");
        }
}

/* Why a family has no figures; false: it has. */
static bool without(const struct probes_family *f, const char *what, const char *setting, struct strbuf *b)
{
        if (f->state == PROBES_ATTACHED) {
                strbuf_add(b, "%s (%s)", what, probes_rung_name(f->rung));
                for (uint32_t i = 0; i < f->blind_count; i++)
                        strbuf_add(b, "%s %s", i ? "," : "; not seen:", f->blind[i]);
                strbuf_add(b, "\n");
                return false;
        }
        strbuf_add(b, "%s: unavailable: ", what);
        if (f->state == PROBES_OFF)
                strbuf_add(b, "%s in the settings\n", setting);
        else
                strbuf_add(b, "%s\n", f->state == PROBES_NOT_ASKED ? "nobody has asked for it" : f->refused_count ? f->refused[f->refused_count - 1].text : "no reason is known");
        return true;
}

static void quantiles(const struct latency *l, struct strbuf *b)
{
        static const struct {
                const char *name;
                unsigned int permille;
        } all[] = {{"p50", 500}, {"p95", 950}, {"p99", 990}};
        char text[16];

        strbuf_add(b, "mean %s", latency_time(latency_mean(l), text, sizeof text));
        for (size_t i = 0; i < ARRAY_SIZE(all); i++)
                strbuf_add(b, ", %s %s", all[i].name, latency_time(latency_quantile(l, all[i].permille), text, sizeof text));
        strbuf_add(b, "\n");
}

/* --- block --- */

static struct probes_requests requests(const struct probes_block *now, const struct probes_snapshot *before)
{
        struct probes_requests r = now->total;

        for (uint32_t i = 0; before && i < before->blocks; i++) {
                const struct probes_block *old = &probes_blocks(before)[i];

                if (old->device != now->device || old->kind != now->kind)
                        continue;
                r.bytes -= old->total.bytes;
                r.errors -= old->total.errors;
                latency_since(&r.time, &now->total.time, &old->total.time);
                break;
        }
        return r;
}

static void show_block(const struct probes_snapshot *now, const struct probes_snapshot *before, struct strbuf *b)
{
        bool any = false;

        if (without(&now->families[PROBES_BLOCK], "requests to block devices", "observe.block is off", b))
                return;
        for (uint32_t i = 0; i < now->blocks; i++) {
                const struct probes_block *row = &probes_blocks(now)[i];
                struct probes_requests r = requests(row, before);
                uint64_t count = latency_count(&r.time);
                char name[80], bytes[16];

                if (!count)
                        continue;
                any = true;
                if (row->name[0])
                        probes_escape(name, sizeof name, row->name, sizeof row->name);
                else
                        snprintf(name, sizeof name, "%u:%u", row->device >> 20, row->device & 0xfffff);
                strbuf_add(b, "%s %s: %" PRIu64 ", %s", name, probes_request_kind_name(row->kind), count, text_bytes(r.bytes, bytes, sizeof bytes));
                if (r.errors)
                        strbuf_add(b, ", %" PRIu64 " failed", r.errors);
                strbuf_add(b, "; ");
                quantiles(&r.time, b);
                latency_bars(&r.time, b);
        }
        if (!any)
                strbuf_add(b, "none were done\n");
}

/* --- processors, calls --- */

static struct probes_runner runner(const struct probes_runner *now, const struct probes_snapshot *before)
{
        struct probes_runner r = *now;

        for (uint32_t i = 0; before && i < before->runners; i++) {
                const struct probes_runner *old = &probes_runners(before)[i];

                if (old->pid != now->pid || old->start_ns != now->start_ns)
                        continue;
                /* It had fallen out of the list in between, and began anew. */
                if (old->wait_total.times > now->wait_total.times || old->wait_total.sum_ns > now->wait_total.sum_ns || old->calls_total > now->calls_total)
                        break;
                r.wait_total.times -= old->wait_total.times;
                r.wait_total.sum_ns -= old->wait_total.sum_ns;
                r.calls_total -= old->calls_total;
                break;
        }
        return r;
}

static int by_wait(const void *a, const void *b)
{
        const struct probes_runner *x = a, *y = b;

        if (x->wait_total.sum_ns != y->wait_total.sum_ns)
                return x->wait_total.sum_ns < y->wait_total.sum_ns ? 1 : -1;
        return x->calls_total < y->calls_total ? 1 : x->calls_total > y->calls_total ? -1 : 0;
}

static void show_processes(const struct probes_snapshot *now, const struct probes_snapshot *before, struct strbuf *b)
{
        static const char *const titles[] = {">WAITED", ">TIMES", ">MEAN", ">LONGEST", ">CALLS", ">PID", "PROCESS", NULL};
        bool waits = now->families[PROBES_SCHED].state == PROBES_ATTACHED, calls = now->families[PROBES_SYSCALLS].state == PROBES_ATTACHED;
        struct probes_runner *rows scoped_free = calloc(now->runners + 1, sizeof *rows);
        scoped_table struct table t = {0};
        uint32_t shown = 0;

        if (!rows)
                b->failed = true;
        if (!rows || !(waits || calls) || !now->runners)
                return;
        for (uint32_t i = 0; i < now->runners; i++)
                rows[i] = runner(&probes_runners(now)[i], before);
        qsort(rows, now->runners, sizeof *rows, by_wait);
        table_init(&t, titles);
        for (uint32_t i = 0; i < now->runners && shown < PROCESSES; i++) {
                const struct probes_runner *r = &rows[i];
                char text[16], name[64];

                if (!r->wait_total.times && !r->calls_total)
                        continue;
                shown++;
                table_add(&t, "%s", waits ? latency_time((double)r->wait_total.sum_ns, text, sizeof text) : "-");
                table_add(&t, waits ? "%" PRIu64 : "-", r->wait_total.times);
                table_add(&t, "%s", r->wait_total.times ? latency_time((double)r->wait_total.sum_ns / (double)r->wait_total.times, text, sizeof text) : "-");
                table_add(&t, "%s", r->wait_total.times ? latency_time((double)r->wait_total.longest_ns, text, sizeof text) : "-");
                table_add(&t, calls ? "%" PRIu64 : "-", r->calls_total);
                table_add(&t, "%u", r->pid);
                table_add(&t, "%s", probes_escape(name, sizeof name, r->comm, sizeof r->comm));
        }
        if (shown) {
                strbuf_add(b, "\n");
                table_print(&t, 0, b);
        }
}

void latency_pressure(const struct machine_look *look, struct strbuf *b)
{
        static const char *const resources[MACHINE_PRESSURE_N] = {"processors", "memory", "devices"};

        strbuf_add(b, "stalled for lack of");
        for (size_t i = 0; i < MACHINE_PRESSURE_N; i++) {
                const struct machine_pressure *p = &look->pressure[i];

                strbuf_add(b, "%s %s ", i ? "," : "", resources[i]);
                if (look->pressure_error[i])
                        strbuf_add(b, "unavailable (%s)", machine_missing(look->pressure_error[i]));
                else
                        strbuf_add(b, "%.1f %%", (double)p->some_permille / 10);
        }
        strbuf_add(b, "\n");
}

void latency_view(const struct probes_snapshot *now, const struct probes_snapshot *before, struct strbuf *b)
{
        double seconds = (double)(now->taken_ns - (before ? before->taken_ns : now->began_ns)) / 1e9;
        struct latency waits = now->wait_total;
        uint64_t calls = now->calls_total;

        if (before && before->pid == now->pid) {
                latency_since(&waits, &now->wait_total, &before->wait_total);
                calls -= before->calls_total;
        }
        strbuf_add(b, "in %.1f s\n\n", seconds);
        show_block(now, before, b);
        strbuf_add(b, "\n");
        if (!without(&now->families[PROBES_SCHED], "waits for a processor", "observe.sched is off", b)) {
                strbuf_add(b, "%" PRIu64 ": ", latency_count(&waits));
                quantiles(&waits, b);
                latency_bars(&waits, b);
        }
        strbuf_add(b, "\n");
        if (!without(&now->families[PROBES_SYSCALLS], "system calls", "observe.syscalls is no", b))
                strbuf_add(b, "%" PRIu64 ", %.0f a second\n", calls, seconds > 0 ? (double)calls / seconds : 0);
        show_processes(now, before, b);
}
