/* top-detail.c: all that is known of one process: the system's side, Berth's side, its files; see top-draw.h. */
#include "cli/top-draw.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

static const struct machine_process *process_of(const struct top_world *w, const struct top_target *t)
{
        for (size_t i = 0; w->processes && i < w->processes->count; i++)
                if ((uint32_t)w->processes->list[i].stat.pid == t->pid && w->processes->list[i].stat.start_ticks == t->start_ticks)
                        return &w->processes->list[i];
        return NULL;
}

static void line(struct pen *p, const char *title)
{
        top_put(p, STYLE_WEAK, "  %-10s ", title);
}

static const char *bytes(uint64_t value, char *buffer, size_t size)
{
        if (value == MACHINE_UNKNOWN)
                snprintf(buffer, size, "unavailable");
        else
                text_bytes(value, buffer, size);
        return buffer;
}

static void draw_system(struct pen *p, const struct top_world *w, const struct machine_process *m)
{
        const struct machine_process *old = machine_process_find(w->processes_before, m);
        uint64_t elapsed = old && w->processes->taken_ns > w->processes_before->taken_ns ? w->processes->taken_ns - w->processes_before->taken_ns : 0;
        double cpu = old ? machine_rate(m->stat.ticks, old->stat.ticks, elapsed) * 100 / (double)w->hertz : -1;
        char a[16], b[16], c[16], d[16], user[33];

        line(p, "process");
        top_put(p, STYLE_PLAIN, "user %s  parent %d  state %c  nice %d  threads %u", cli_user(m->uid, user, sizeof user), m->stat.parent, m->stat.state,
                m->stat.nice, m->stat.threads);
        top_next(p);
        line(p, "cpu");
        if (cpu < 0)
                top_put(p, STYLE_PLAIN, "...");
        else
                top_put(p, STYLE_PLAIN, "%.1f%% of a processor", cpu);
        top_put(p, STYLE_PLAIN, "  %s in all", text_duration(m->stat.ticks * (UINT64_C(1000000000) / w->hertz), a, sizeof a));
        if (w->status.uid != UINT32_MAX && w->status.voluntary_switches != MACHINE_UNKNOWN)
                top_put(p, STYLE_PLAIN, "  slept %llu times, was pushed off %llu times", (unsigned long long)w->status.voluntary_switches,
                        (unsigned long long)w->status.other_switches);
        top_next(p);
        line(p, "memory");
        top_put(p, STYLE_PLAIN, "resident %s", bytes(m->stat.resident_pages * w->page, a, sizeof a));
        if (w->status.uid != UINT32_MAX)
                top_put(p, STYLE_PLAIN, " (own %s, shared %s)  swapped %s", bytes(w->status.anonymous, b, sizeof b), bytes(w->status.shared, c, sizeof c),
                        bytes(w->status.swapped, d, sizeof d));
        top_put(p, STYLE_PLAIN, "  major faults %llu", (unsigned long long)m->stat.major_faults);
        top_next(p);
        line(p, "storage");
        if (m->io_error) {
                top_put(p, STYLE_WEAK, "unavailable: %s", machine_missing(m->io_error));
        } else {
                double in = old && !old->io_error ? machine_rate(m->io.read_bytes, old->io.read_bytes, elapsed) : -1;
                double out = old && !old->io_error ? machine_rate(m->io.written_bytes, old->io.written_bytes, elapsed) : -1;

                top_put(p, STYLE_PLAIN, "read %s (%s/s)  written %s (%s/s)  calls %llu + %llu", text_bytes(m->io.read_bytes, a, sizeof a),
                        top_compact_rate(in, b, sizeof b), text_bytes(m->io.written_bytes, c, sizeof c), top_compact_rate(out, d, sizeof d),
                        (unsigned long long)m->io.read_calls, (unsigned long long)m->io.write_calls);
        }
        top_next(p);
        if (m->use.valid && (m->use.busy_ns != MACHINE_UNKNOWN || m->use.resident_bytes != MACHINE_UNKNOWN)) {
                line(p, "DRM");
                top_put(p, STYLE_PLAIN, "memory %s  engines busy %s", bytes(m->use.resident_bytes, a, sizeof a),
                        m->use.busy_ns == MACHINE_UNKNOWN ? "unavailable" : text_duration(m->use.busy_ns, b, sizeof b));
                top_next(p);
        }
}

static void draw_berth(struct pen *p, const struct top_world *w, const struct wire_STATUS_CLIENT *c)
{
        const struct wire_STATUS_CLIENT *old = snapshot_client(w->before, c);
        double launches = old ? top_speed(c->launches, old->launches, w->now, w->before) : -1;
        double copies = old ? top_speed(c->copies, old->copies, w->now, w->before) : -1;
        char a[24], b[24], d[24], e[24];

        top_put(p, STYLE_STRONG, "  device %u", c->device);
        top_put(p, c->stuck ? STYLE_BAD : c->state == WIRE_RUNNING ? STYLE_GOOD : STYLE_WAIT, "  %s", c->stuck ? "stuck" : wire_state_name(c->state));
        if (c->position)
                top_put(p, STYLE_WAIT, "  %u. in the queue, %s, for %s", c->position, wire_reason_name(c->reason), text_duration(c->wait_ns, a, sizeof a));
        if (c->job[0])
                top_put(p, STYLE_PLAIN, "  job %s", c->job);
        top_next(p);
        line(p, "memory");
        top_put(p, STYLE_PLAIN, "on device %s of %s owned  peak %s", text_bytes(snapshot_resident(c), a, sizeof a), text_bytes(snapshot_owned(c), b, sizeof b),
                text_bytes(c->peak_bytes, d, sizeof d));
        if (c->limit_bytes)
                top_put(p, STYLE_PLAIN, "  limit %s", text_bytes(c->limit_bytes, e, sizeof e));
        top_next(p);
        line(p, "calls");
        top_put(p, STYLE_PLAIN, "launches %llu (%s/s)  copies %llu (%s/s)  stood at the gate %llu times", (unsigned long long)c->launches,
                top_compact_rate(launches, a, sizeof a), (unsigned long long)c->copies, top_compact_rate(copies, b, sizeof b), (unsigned long long)c->waits);
        top_next(p);
        line(p, "time");
        top_put(p, STYLE_PLAIN, "ran %s  waited %s  moved out %s, in %s", text_duration(c->ran_ns, a, sizeof a), text_duration(c->waited_ns, b, sizeof b),
                text_bytes(c->out_bytes, d, sizeof d), text_bytes(c->in_bytes, e, sizeof e));
        top_next(p);
}

/* Visible ASCII of a name that a stranger chose; the picture has one column a byte. */
static void draw_name(struct pen *p, const char *name, size_t size)
{
        char text[512];

        probes_escape(text, sizeof text, name, size);
        top_put(p, STYLE_PLAIN, "%s", text[0] ? text : "(name unknown)");
}

static void draw_files(struct pen *p, const struct top_world *w, uint32_t pid, unsigned int bottom)
{
        const struct probes_snapshot *s = w->probes;
        uint32_t process = PROBES_NONE;
        char a[16], b[16];

        top_put(p, STYLE_STRONG, "  files");
        if (!s) {
                top_put(p, STYLE_WEAK, "  unavailable: %s", w->probes_why ? w->probes_why : "not asked for");
                top_next(p);
                return;
        }
        if (s->families[PROBES_FILES].state != PROBES_ATTACHED) {
                top_put(p, STYLE_WEAK, "  unavailable: the file probe is %s", probes_state_name(s->families[PROBES_FILES].state));
                top_next(p);
                return;
        }
        top_put(p, STYLE_WEAK, "  counted by %s since the probe began", probes_rung_name(s->families[PROBES_FILES].rung));
        top_next(p);
        for (uint32_t i = 0; i < s->processes; i++)
                if (probes_processes(s)[i].pid == pid && probes_processes(s)[i].alive)
                        process = i;
        if (process == PROBES_NONE) {
                top_put(p, STYLE_WEAK, "    none");
                return;
        }
        for (uint32_t i = 0; i < s->uses && p->row < bottom; i++) {
                const struct probes_use *u = &probes_uses(s)[i];

                if (u->process != process || u->file == PROBES_NONE)
                        continue;
                top_put(p, STYLE_PLAIN, "    %10s read %10s written %6llu opens  ", text_bytes(u->total.read_bytes, a, sizeof a),
                        text_bytes(u->total.write_bytes, b, sizeof b), (unsigned long long)u->total.opens);
                draw_name(p, probes_files(s)[u->file].name, sizeof probes_files(s)[u->file].name);
                top_next(p);
        }
}

void top_detail(struct pen *p, const struct top_world *w, const struct top_view *v, unsigned int bottom)
{
        const struct top_target *t = &v->target;
        const struct machine_process *m = process_of(w, t);

        top_put(p, STYLE_TITLE, " %u %s", t->pid, t->name);
        top_fill(p, STYLE_TITLE, p->f->width);
        top_next(p);
        if (m) {
                line(p, "command");
                top_put(p, STYLE_PLAIN, "%s", w->command && w->command[0] ? w->command : "unavailable");
                top_next(p);
                draw_system(p, w, m);
        } else {
                top_put(p, STYLE_WEAK, "  %s", t->start_ticks == MACHINE_UNKNOWN ? "its figures in /proc are unavailable" : "it has ended");
                top_next(p);
        }
        for (size_t i = 0; w->now && i < w->now->client_count && p->row + 4 < bottom; i++)
                if (w->now->clients[i].pid == t->pid)
                        draw_berth(p, w, &w->now->clients[i]);
        if (p->row < bottom)
                draw_files(p, w, t->pid, bottom);
}
