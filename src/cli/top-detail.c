/* top-detail.c: all that is known of one process: the system's side, Berth's side, its files; see top-draw.h. */
#include "cli/top-draw.h"

#include "base/text.h"
#include "bpf/active.h"

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

        size_t length, room = p->f->width > p->column ? p->f->width - p->column : 0;

        length = strlen(probes_escape(text, sizeof text, name, size));
        /* Of a long one the end: that is what tells files apart. */
        if (length > room && room > 3)
                top_put(p, STYLE_PLAIN, "...%s", text + length - room + 3);
        else
                top_put(p, STYLE_PLAIN, "%s", text[0] ? text : "(name unknown)");
}

static const struct probes_process *probed(const struct probes_snapshot *s, uint32_t pid, uint32_t *ret_index)
{
        for (uint32_t i = 0; s && i < s->processes; i++)
                if (probes_processes(s)[i].pid == pid && probes_processes(s)[i].alive) {
                        *ret_index = i;
                        return &probes_processes(s)[i];
                }
        return NULL;
}

/* Calls of the driver as the kernel saw them: also of programs that Berth does not know. */
static void draw_calls(struct pen *p, const struct top_world *w, uint32_t pid)
{
        const struct probes_snapshot *s = w->probes;
        double seconds = s && s->window_ns ? (double)s->window_ns / 1e9 : 1;
        const struct probes_process *process;
        const struct probes_gpu *now, *all;
        char a[16], b[16], c[16];
        uint32_t index;

        if (!s || s->families[PROBES_GPU].state != PROBES_ATTACHED)
                return;
        process = probed(s, pid, &index);
        if (!process || !active_calls(&process->gpu_total))
                return;
        now = &process->gpu_now;
        all = &process->gpu_total;
        line(p, "driver");
        top_put(p, STYLE_PLAIN, "launches %s/s (%llu)  graphs %s/s (%llu)  waits %s/s", top_compact_rate((double)now->launches / seconds, a, sizeof a),
                (unsigned long long)all->launches, top_compact_rate((double)now->graphs / seconds, b, sizeof b), (unsigned long long)all->graphs,
                top_compact_rate((double)now->waits / seconds, c, sizeof c));
        if (s->families[PROBES_GPU].window_permille < 1000)
                top_put(p, STYLE_WEAK, "  counted part of the time");
        top_next(p);
        line(p, "copies");
        top_put(p, STYLE_PLAIN, "in %s/s (%s)", top_compact_rate((double)now->in_bytes / seconds, a, sizeof a), text_bytes(all->in_bytes, b, sizeof b));
        top_put(p, STYLE_PLAIN, "  out %s/s (%s)", top_compact_rate((double)now->out_bytes / seconds, a, sizeof a), text_bytes(all->out_bytes, b, sizeof b));
        top_put(p, STYLE_PLAIN, "  other %s/s (%s)", top_compact_rate((double)now->other_bytes / seconds, a, sizeof a), text_bytes(all->other_bytes, b, sizeof b));
        top_put(p, STYLE_PLAIN, "  asked for %s", text_bytes(all->alloc_bytes, a, sizeof a));
        top_next(p);
}

/* How it went since somebody began to look: four areas side by side, or two where it is narrow. */
static void draw_plots(struct pen *p, const struct top_world *w, const struct top_view *v, unsigned int height)
{
        static const struct {
                const char *series, *title;
                double top;
                enum style style;
                bool bytes;
        } all[] = {{TOP_TARGET_CPU, "processor", 0, STYLE_USER, false}, {TOP_TARGET_MEMORY, "memory", 0, STYLE_CACHE, true}, {TOP_TARGET_LAUNCHES, "launches/s", 0, STYLE_GOOD, false},
                   {TOP_TARGET_FILES, "files/s", 0, STYLE_WAIT, true}};
        unsigned int count = p->f->width >= 120 ? 4 : 2, width = p->f->width / count;
        struct pen title = *p, area = {p->f, p->row + 1, 0};

        for (unsigned int i = 0; i < count; i++) {
                /* The two on a narrow screen: processor, and what it does with devices, or else with files. */
                unsigned int k = count == 4 || !i ? i : w->history && history_set_find(w->history, TOP_TARGET_LAUNCHES) ? 2 : 3;
                double top = top_plot(&area, w, v, all[k].series, all[k].top, all[k].style, i * width, width - 1, height - 1);
                char text[16];

                title.column = i * width;
                top_put(&title, STYLE_WEAK, "%s", all[k].title);
                if (top > 0 && all[k].bytes)
                        top_put(&title, STYLE_WEAK, " up to %s", text_bytes((uint64_t)top, text, sizeof text));
                else if (top > 0 && k == 0)
                        top_put(&title, STYLE_WEAK, " up to %.0f%%", top / 10);
                else if (top > 0)
                        top_put(&title, STYLE_WEAK, " up to %s", top_compact_rate(top, text, sizeof text));
        }
        p->row += height;
        p->column = 0;
}

struct ranked {
        const struct probes_use *use;
        uint64_t now, total;
};

static int by_activity(const void *a, const void *b)
{
        const struct ranked *x = a, *y = b;

        if (x->now != y->now)
                return x->now < y->now ? 1 : -1;
        return x->total != y->total ? (x->total < y->total ? 1 : -1) : (x->use > y->use) - (x->use < y->use);
}

static void draw_files(struct pen *p, const struct top_world *w, uint32_t pid, unsigned int bottom)
{
        const struct probes_snapshot *s = w->probes;
        double seconds = s && s->window_ns ? (double)s->window_ns / 1e9 : 1;
        struct ranked *list scoped_free = NULL;
        uint32_t process = PROBES_NONE;
        size_t count = 0;
        char a[16], b[16], c[16], d[16];

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
        (void)probed(s, pid, &process);
        list = process == PROBES_NONE ? NULL : calloc(s->uses + 1, sizeof *list);
        for (uint32_t i = 0; list && i < s->uses; i++) {
                const struct probes_use *u = &probes_uses(s)[i];

                if (u->process == process && u->file != PROBES_NONE && active_any_file(&u->total))
                        list[count++] = (struct ranked){u, u->now.read_bytes + u->now.write_bytes + u->now.opens, u->total.read_bytes + u->total.write_bytes};
        }
        if (count)
                top_put(p, STYLE_WEAK, ", %zu of them, most active first", count);
        top_next(p);
        if (!count) {
                top_put(p, STYLE_WEAK, "    none");
                top_next(p);
                return;
        }
        qsort(list, count, sizeof *list, by_activity);
        if (p->row + 1 < bottom) {
                top_put(p, STYLE_WEAK, "    %8s %8s %9s %9s %6s  %s", "READ/s", "WRITE/s", "READ", "WRITTEN", "OPENS", "FILE");
                top_next(p);
        }
        for (size_t i = 0; i < count && p->row < bottom; i++) {
                const struct probes_use *u = list[i].use;
                const struct probes_file *f = &probes_files(s)[u->file];

                top_put(p, STYLE_PLAIN, "    %8s %8s %9s %9s %6llu  ", top_compact_rate((double)u->now.read_bytes / seconds, a, sizeof a),
                        top_compact_rate((double)u->now.write_bytes / seconds, b, sizeof b), text_bytes(u->total.read_bytes, c, sizeof c),
                        text_bytes(u->total.write_bytes, d, sizeof d), (unsigned long long)u->total.opens);
                draw_name(p, f->name, sizeof f->name);
                if (f->flags & PROBES_FILE_DELETED)
                        top_put(p, STYLE_WEAK, " (deleted)");
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
        if (p->row + 2 < bottom)
                draw_calls(p, w, t->pid);
        /* The files have the rest, but for what the plots need: on a small screen little, without room nothing. */
        if (!v->plain && m && p->row + 9 < bottom)
                draw_plots(p, w, v, bottom - p->row > 24 ? 8 : bottom - p->row > 14 ? 6 : 4);
        if (p->row < bottom)
                draw_files(p, w, t->pid, bottom);
}
