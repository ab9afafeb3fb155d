/* top-panels.c: the machine's and the devices' lines; see top-draw.h. */
#include "cli/top-draw.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

/* --- the machine --- */

static void draw_cpu(struct pen *p, const struct top_world *w, unsigned int width)
{
        const struct machine_rates *r = w->rates;
        const struct top_part parts[] = {{r->user, STYLE_USER}, {r->system, STYLE_SYSTEM}, {r->stolen, STYLE_BAD}, {r->wait, STYLE_WEAK}};
        char text[24];

        top_put(p, STYLE_PLAIN, "CPU");
        if (w->look->stat_error)
                top_put(p, STYLE_WEAK, " unavailable: %s", machine_missing(w->look->stat_error));
        else
                top_bar(p, width - 3, parts, ARRAY_SIZE(parts), r->busy < 0 ? "..." : top_percent(r->busy, text, sizeof text));
}

static double share(uint64_t part, uint64_t whole)
{
        return part == MACHINE_UNKNOWN || whole == MACHINE_UNKNOWN || !whole ? -1 : (double)part * 1000 / (double)whole;
}

static void draw_memory(struct pen *p, const struct top_world *w, unsigned int width)
{
        const struct machine_memory *m = &w->look->memory;
        char a[16], b[16], text[40];

        if (w->look->memory_error) {
                top_put(p, STYLE_PLAIN, "Mem");
                top_put(p, STYLE_WEAK, " unavailable: %s", machine_missing(w->look->memory_error));
                return;
        }
        {
                uint64_t free = m->available != MACHINE_UNKNOWN ? m->available : m->free;
                uint64_t used = free == MACHINE_UNKNOWN || free > m->total ? MACHINE_UNKNOWN : m->total - free;
                uint64_t rest = m->free == MACHINE_UNKNOWN || free == MACHINE_UNKNOWN || free < m->free ? 0 : free - m->free;
                const struct top_part parts[] = {{share(used, m->total), STYLE_USER}, {share(rest, m->total), STYLE_CACHE}};

                snprintf(text, sizeof text, "%s/%s", top_compact(used, a, sizeof a), top_compact(m->total, b, sizeof b));
                top_put(p, STYLE_PLAIN, "Mem");
                top_bar(p, width - 3 - (m->swap_total != MACHINE_UNKNOWN && m->swap_total ? 16 : 0), parts, ARRAY_SIZE(parts), text);
        }
        if (m->swap_total != MACHINE_UNKNOWN && m->swap_total)
                top_put(p, STYLE_PLAIN, " swap %s/%s", m->swap_free == MACHINE_UNKNOWN ? "?" : top_compact(m->swap_total - m->swap_free, a, sizeof a),
                        top_compact(m->swap_total, b, sizeof b));
}

static void draw_pressure(struct pen *p, const struct top_world *w)
{
        static const char *const names[MACHINE_PRESSURE_N] = {"cpu", "memory", "io"};
        const struct machine_look *l = w->look;
        bool any = false;

        top_put(p, STYLE_PLAIN, "stalled");
        for (size_t i = 0; i < MACHINE_PRESSURE_N; i++) {
                if (l->pressure_error[i])
                        continue;
                any = true;
                top_put(p, l->pressure[i].some_permille >= 200 ? STYLE_BAD : STYLE_PLAIN, " %s %u.%u%%", names[i], l->pressure[i].some_permille / 10,
                        l->pressure[i].some_permille % 10);
        }
        if (!any)
                top_put(p, STYLE_WEAK, " unavailable: %s", machine_missing(l->pressure_error[0]));
        if (!l->load_error)
                top_put(p, STYLE_PLAIN, "  load %u.%02u %u.%02u %u.%02u", l->load.centi[0] / 100, l->load.centi[0] % 100, l->load.centi[1] / 100,
                        l->load.centi[1] % 100, l->load.centi[2] / 100, l->load.centi[2] % 100);
        if (!l->heat_error)
                top_put(p, l->heat_millicelsius >= 90000 ? STYLE_BAD : STYLE_PLAIN, "  %lld C", (long long)l->heat_millicelsius / 1000);
        if (!l->vm_error && l->vm.oom_kills != MACHINE_UNKNOWN && l->vm.oom_kills)
                top_fit(p, STYLE_BAD, "  %llu OOM kills", (unsigned long long)l->vm.oom_kills);
        if (!l->stat_error && l->stat.running != MACHINE_UNKNOWN && !top_fit(p, STYLE_PLAIN, "  %llu run", (unsigned long long)l->stat.running))
                return;
        if (!l->stat_error && l->stat.blocked != MACHINE_UNKNOWN && l->stat.blocked)
                top_fit(p, STYLE_WAIT, ", %llu blocked", (unsigned long long)l->stat.blocked);
}

static void draw_traffic(struct pen *p, const struct top_world *w)
{
        const struct machine_rates *r = w->rates;
        char a[16], b[16], c[16], d[16];

        if (w->look->network_error)
                top_put(p, STYLE_WEAK, "net unavailable");
        else
                top_put(p, STYLE_PLAIN, "net in %s out %s", top_compact_rate(r->in_bytes, a, sizeof a), top_compact_rate(r->out_bytes, b, sizeof b));
        if (w->look->disk_error)
                top_put(p, STYLE_WEAK, "  disk unavailable: %s", machine_missing(w->look->disk_error));
        else
                top_put(p, STYLE_PLAIN, "  disk read %s write %s busy %s", top_compact_rate(r->read_bytes, a, sizeof a),
                        top_compact_rate(r->written_bytes, b, sizeof b), r->disk_busy < 0 ? "-" : top_percent(r->disk_busy, c, sizeof c));
        if (r->switches >= 0)
                top_fit(p, STYLE_PLAIN, "  switches %s", top_compact_rate(r->switches, d, sizeof d));
        if (r->forks >= 0)
                top_fit(p, STYLE_PLAIN, "  new %s", top_compact_rate(r->forks, d, sizeof d));
}

static void draw_processors(struct pen *p, const struct top_world *w)
{
        unsigned int each = p->f->width / 4, columns = p->f->width / each, most = 8 * columns;

        for (uint32_t i = 0; i < w->rates->cpus && i < most; i++) {
                const struct top_part part = {w->rates->cpu_busy[i], STYLE_USER};
                char text[16];

                if (i && i % columns == 0)
                        top_next(p);
                p->column = i % columns * each;
                top_put(p, STYLE_WEAK, "%3u", i);
                top_bar(p, each - 4, &part, 1, part.permille < 0 ? "" : top_percent(part.permille, text, sizeof text));
        }
        if (w->rates->cpus > most)
                top_put(p, STYLE_WEAK, " ...");
        if (w->rates->cpus)
                top_next(p);
}

void top_machine(struct pen *p, const struct top_world *w, const struct top_view *v)
{
        unsigned int half = p->f->width / 2;

        if (!w->look || !w->rates)
                return;
        draw_cpu(p, w, half - 1);
        p->column = half;
        draw_memory(p, w, p->f->width - half);
        top_next(p);
        if (v->processors)
                draw_processors(p, w);
        draw_pressure(p, w);
        top_next(p);
        draw_traffic(p, w);
        top_next(p);
}

/* --- devices --- */

/* Residents in their shades, then room, then what Berth never grants. Every resident shows at least one character. */
static void draw_residents(struct pen *p, const struct snapshot *s, const struct wire_STATUS_DEVICE *d, unsigned int length)
{
        uint64_t total = d->total_bytes;
        unsigned int at = 0, room;

        if (!(d->valid & WIRE_VALID_TOTAL) || !total) {
                top_put(p, STYLE_WEAK, "[memory of the device unavailable]");
                return;
        }
        room = (unsigned int)((double)(d->room_bytes < total ? d->room_bytes : total) / (double)total * length + 0.5);
        top_put(p, STYLE_PLAIN, "[");
        for (size_t i = 0; i < s->client_count; i++) {
                uint64_t resident = snapshot_resident(&s->clients[i]);
                unsigned int n, shade;

                if (s->clients[i].device != d->index || !resident)
                        continue;
                shade = top_shade_of(s, i);
                n = (unsigned int)((double)(resident < total ? resident : total) / (double)total * length + 0.5);
                if (!n)
                        n = 1;
                for (; n && at < length; n--, at++)
                        top_put(p, STYLE_SHADE + shade, "%c", top_shades[shade]);
        }
        for (; at < room; at++)
                top_put(p, STYLE_FREE, ".");
        for (; at < length; at++)
                top_put(p, STYLE_WEAK, " ");
        top_put(p, STYLE_PLAIN, "]");
}

/* Power, heat, frequency: those that are there; what is missing is told as such, once. */
static void draw_sensors(struct pen *p, const struct wire_STATUS_DEVICE *d)
{
        const char *missing[4];
        size_t n = 0;
        struct top_part use = {d->utilisation_permille, STYLE_USER};
        char text[24];

        if (d->valid & WIRE_VALID_UTILISATION) {
                top_put(p, STYLE_PLAIN, "  use ");
                top_bar(p, p->f->width / 2 - 16, &use, 1, top_percent(use.permille, text, sizeof text));
        } else {
                missing[n++] = "use";
        }
        if (d->valid & WIRE_VALID_USED)
                top_put(p, STYLE_PLAIN, "  %s in use", text_bytes(d->used_bytes, text, sizeof text));
        else
                missing[n++] = "memory in use";
        if (d->valid & WIRE_VALID_POWER)
                top_put(p, STYLE_PLAIN, "  %llu.%llu W", (unsigned long long)d->power_mw / 1000, (unsigned long long)d->power_mw % 1000 / 100);
        else
                missing[n++] = "power";
        if (d->valid & WIRE_VALID_TEMPERATURE)
                top_put(p, d->temperature_c >= 88 ? STYLE_BAD : STYLE_PLAIN, "  %u C", d->temperature_c);
        else
                missing[n++] = "temperature";
        if (d->valid & WIRE_VALID_CLOCK)
                top_put(p, STYLE_PLAIN, "  %u MHz", d->clock_mhz);
        for (unsigned int i = 1; (d->valid & WIRE_VALID_THROTTLE) && wire_throttle_name(i); i++)
                if (d->throttle & 1u << i)
                        top_put(p, STYLE_WAIT, "  slow: %s", wire_throttle_name(i));
        if ((d->valid & WIRE_VALID_ECC) && d->ecc_uncorrected)
                top_put(p, STYLE_BAD, "  ECC %llu", (unsigned long long)d->ecc_uncorrected);
        if ((d->valid & WIRE_VALID_XID) && d->xids)
                top_put(p, STYLE_BAD, "  Xid %u", d->last_xid);
        if (n) {
                top_put(p, STYLE_WEAK, "  ");
                for (size_t i = 0; i < n; i++)
                        top_put(p, STYLE_WEAK, "%s%s", i ? ", " : "", missing[i]);
                top_put(p, STYLE_WEAK, " unavailable");
        }
        top_next(p);
}

static void draw_watched(struct pen *p, const struct wire_STATUS_DEVICE *d)
{
        char a[16], b[16];

        top_put(p, STYLE_STRONG, "%u %.36s", d->index, d->name);
        top_put(p, STYLE_PLAIN, " %s, watched only: %s of %s in use", wire_kind_name(d->kind),
                d->valid & WIRE_VALID_USED ? text_bytes(d->used_bytes, a, sizeof a) : "unavailable",
                d->valid & WIRE_VALID_TOTAL ? text_bytes(d->total_bytes, b, sizeof b) : "unavailable");
        top_next(p);
}

static void draw_shared(struct pen *p, const struct top_world *w, const struct wire_STATUS_DEVICE *d)
{
        const struct wire_STATUS_DEVICE *old = snapshot_device(w->before, d->index);
        char a[16], b[16], c[16];

        top_put(p, STYLE_STRONG, "%u %.36s", d->index, d->name);
        top_put(p, STYLE_PLAIN, " %s ", wire_kind_name(d->kind));
        top_put(p, STYLE_PLAIN, " %u program%s, ", d->clients, d->clients == 1 ? "" : "s");
        top_put(p, d->waiting ? STYLE_WAIT : STYLE_PLAIN, "%u waiting", d->waiting);
        if (d->stuck)
                top_put(p, STYLE_BAD, ", %u stuck", d->stuck);
        if (d->max_wait_ns) {
                bool over = d->max_wait_ns > d->max_wait_bound_ns;

                top_fit(p, over ? STYLE_BAD : STYLE_PLAIN, "  longest wait %s", text_duration(d->max_wait_ns, a, sizeof a));
                if (over || p->f->width >= 110)
                        top_put(p, over ? STYLE_BAD : STYLE_PLAIN, ", bound %s", text_duration(d->max_wait_bound_ns, b, sizeof b));
        }
        top_next(p);
        top_put(p, STYLE_PLAIN, "  ");
        draw_residents(p, w->now, d, p->f->width / 2 - 4);
        top_put(p, STYLE_PLAIN, " %s of %s room, %s", text_bytes(d->granted_bytes, a, sizeof a), text_bytes(d->room_bytes, b, sizeof b),
                d->valid & WIRE_VALID_TOTAL ? text_bytes(d->total_bytes, c, sizeof c) : "unavailable");
        top_next(p);
        draw_sensors(p, d);
        top_put(p, STYLE_PLAIN, "  out ");
        top_put_rate(p, old ? top_speed(d->out_bytes, old->out_bytes, w->now, w->before) : -1);
        top_put(p, STYLE_PLAIN, " (%s)  in ", text_bytes(d->out_bytes, a, sizeof a));
        top_put_rate(p, old ? top_speed(d->in_bytes, old->in_bytes, w->now, w->before) : -1);
        top_put(p, STYLE_PLAIN, " (%s)  swapped %s  switches %llu", text_bytes(d->in_bytes, a, sizeof a), text_bytes(d->swapped_bytes, b, sizeof b),
                (unsigned long long)d->switches);
        if (d->slice_ns)
                top_fit(p, STYLE_PLAIN, "  slice %s", text_duration(d->slice_ns, a, sizeof a));
        top_next(p);
}

/* A share of time from a counter of microseconds. */
static double busy_of(const struct top_world *w, size_t i)
{
        const struct machine_device *d = &w->devices[i], *old = w->devices_before ? &w->devices_before[i] : NULL;
        double rate;

        if (d->busy_permille != MACHINE_UNKNOWN)
                return (double)d->busy_permille;
        if (!old || !w->processes || !w->processes_before || w->processes->taken_ns <= w->processes_before->taken_ns)
                return -1;
        rate = machine_rate(d->busy_us, old->busy_us, w->processes->taken_ns - w->processes_before->taken_ns);
        return rate < 0 ? -1 : rate / 1000 > 1000 ? 1000 : rate / 1000;
}

static void draw_kernel_device(struct pen *p, const struct top_world *w, size_t i)
{
        const struct machine_device *d = &w->devices[i];
        struct top_part use = {busy_of(w, i), STYLE_USER};
        char a[16], b[16];

        top_put(p, STYLE_STRONG, "%.24s", d->name);
        top_put(p, STYLE_PLAIN, " %s ", d->kind == MACHINE_NPU ? "NPU" : "GPU");
        if (use.permille < 0)
                top_put(p, STYLE_WEAK, " use unavailable");
        else
                top_bar(p, 20, &use, 1, top_percent(use.permille, a, sizeof a));
        if (d->used_bytes != MACHINE_UNKNOWN)
                top_put(p, STYLE_PLAIN, "  %s of %s", text_bytes(d->used_bytes, a, sizeof a),
                        d->total_bytes == MACHINE_UNKNOWN ? "unavailable" : text_bytes(d->total_bytes, b, sizeof b));
        if (d->frequency_mhz != MACHINE_UNKNOWN)
                top_put(p, STYLE_PLAIN, "  %llu MHz", (unsigned long long)d->frequency_mhz);
        if (d->power_uw != MACHINE_UNKNOWN)
                top_put(p, STYLE_PLAIN, "  %llu W", (unsigned long long)d->power_uw / 1000000);
        if (d->heat_millicelsius != MACHINE_UNKNOWN)
                top_put(p, STYLE_PLAIN, "  %llu C", (unsigned long long)d->heat_millicelsius / 1000);
        top_next(p);
}

void top_devices(struct pen *p, const struct top_world *w, unsigned int least)
{
        size_t left = 0;

        for (size_t i = 0; w->now && i < w->now->device_count; i++) {
                const struct wire_STATUS_DEVICE *d = &w->now->devices[i];

                /* The machine's own lines say more of the processor, and of NPUs. */
                if ((d->kind == WIRE_CPU && w->look) || (d->kind == WIRE_NPU && w->device_count))
                        continue;
                if (p->row + 4 + least > p->f->height)
                        left++;
                else if (snapshot_shared(d))
                        draw_shared(p, w, d);
                else
                        draw_watched(p, d);
        }
        for (size_t i = 0; i < w->device_count; i++) {
                if (p->row + 1 + least > p->f->height)
                        left++;
                else
                        draw_kernel_device(p, w, i);
        }
        if (left) {
                top_put(p, STYLE_WEAK, "... and %zu more device%s: make the terminal higher", left, left == 1 ? "" : "s");
                top_next(p);
        }
        if (w->now && !w->now->device_count) {
                top_put(p, STYLE_BAD, "no device; `berth doctor' tells what is missing");
                top_next(p);
        }
}
