/* top-rows.c: the lines of the list: programs and processes joined by pid, filtered, in order; see top-view.h. */
#include "cli/top-view.h"

#include "base/text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

const char *top_sort_name(enum top_sort sort)
{
        static const char *const names[TOP_SORT_N] = {"device", "memory", "wait", "moved", "pid", "cpu", "resident", "files", "launches", "name"};

        return (unsigned int)sort < TOP_SORT_N ? names[sort] : "?";
}

static double speed(uint64_t now, uint64_t before, const struct snapshot *a, const struct snapshot *b)
{
        return b && a->taken_ns > b->taken_ns ? machine_rate(now, before, a->taken_ns - b->taken_ns) : -1;
}

/* qsort has no argument for its caller: rows carry their key, ties keep the order they came in. */
static int by_key(const void *a, const void *b)
{
        const struct top_row *x = a, *y = b;

        if (x->key != y->key)
                return x->key > y->key ? -1 : 1;
        if (x->pid != y->pid)
                return x->pid < y->pid ? -1 : 1;
        return (x->client > y->client) - (x->client < y->client);
}

static int by_client(const void *a, const void *b)
{
        const struct top_row *x = a, *y = b;

        if (x->key != y->key)
                return x->key > y->key ? -1 : 1;
        return (x->client > y->client) - (x->client < y->client);
}

static int by_name(const void *a, const void *b)
{
        const struct top_row *x = a, *y = b;
        int order = strcmp(x->name, y->name);

        return order ? order : (x->pid > y->pid) - (x->pid < y->pid);
}

static uint64_t known(double value)
{
        return value < 0 ? 0 : value > 1e18 ? UINT64_MAX : (uint64_t)value + 1;
}

static uint64_t amount(uint64_t value)
{
        return value == MACHINE_UNKNOWN ? 0 : value + 1;
}

static uint64_t key_of(const struct top_world *w, const struct top_row *r, enum top_sort sort)
{
        const struct wire_STATUS_CLIENT *c = r->client == TOP_NONE ? NULL : &w->now->clients[r->client];

        switch (sort) {
        case TOP_BY_MEMORY:
                return c ? snapshot_owned(c) : amount(r->device_bytes);
        case TOP_BY_WAIT:
                return c && c->position ? c->wait_ns + 1 : 0;
        case TOP_BY_MOVED:
                return c ? c->out_bytes + c->in_bytes : 0;
        case TOP_BY_PID:
                return UINT64_MAX - r->pid;
        case TOP_BY_CPU:
                return known(r->cpu_permille);
        case TOP_BY_RESIDENT:
                return amount(r->resident_bytes);
        case TOP_BY_FILES:
                return r->read_bytes < 0 || r->written_bytes < 0 ? 0 : known(r->read_bytes + r->written_bytes);
        case TOP_BY_LAUNCHES:
                return known(r->launches * 1000);
        case TOP_BY_NAME:
        case TOP_BY_DEVICE:
        case TOP_SORT_N:
                break;
        }
        return 0;
}

static bool contains(const char *text, const char *part)
{
        for (; *text; text++) {
                size_t i = 0;

                while (part[i] && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i]))
                        i++;
                if (!part[i])
                        return true;
        }
        return false;
}

static bool passes(const struct top_row *r, const char *filter)
{
        char text[48];

        if (!filter[0] || contains(r->name, filter))
                return true;
        snprintf(text, sizeof text, "%u", r->pid);
        if (!strcmp(text, filter))
                return true;
        cli_user(r->uid, text, sizeof text);
        return !strcmp(text, filter);
}

static void fill_process(const struct top_world *w, struct top_row *r, const struct machine_process *p)
{
        const struct machine_process *old = machine_process_find(w->processes_before, p);
        uint64_t elapsed = old && w->processes->taken_ns > w->processes_before->taken_ns ? w->processes->taken_ns - w->processes_before->taken_ns : 0;

        r->process = p;
        r->resident_bytes = p->stat.resident_pages > UINT64_MAX / w->page ? MACHINE_UNKNOWN : p->stat.resident_pages * w->page;
        if (p->use.valid && r->device_bytes == MACHINE_UNKNOWN)
                r->device_bytes = p->use.resident_bytes;
        if (!elapsed)
                return;
        r->cpu_permille = machine_rate(p->stat.ticks, old->stat.ticks, elapsed);
        if (r->cpu_permille >= 0)
                r->cpu_permille = r->cpu_permille * 1000 / (double)w->hertz;
        if (!p->io_error && !old->io_error) {
                r->read_bytes = machine_rate(p->io.read_bytes, old->io.read_bytes, elapsed);
                r->written_bytes = machine_rate(p->io.written_bytes, old->io.written_bytes, elapsed);
        }
}

static void fill_client(const struct top_world *w, struct top_row *r, const struct wire_STATUS_CLIENT *c)
{
        const struct wire_STATUS_CLIENT *old = snapshot_client(w->before, c);
        double out, in;

        r->device_bytes = snapshot_resident(c);
        if (!old)
                return;
        r->launches = speed(c->launches, old->launches, w->now, w->before);
        out = speed(c->out_bytes, old->out_bytes, w->now, w->before);
        in = speed(c->in_bytes, old->in_bytes, w->now, w->before);
        r->moved_bytes = out < 0 || in < 0 ? -1 : out + in;
}

static struct top_row empty_row(uint32_t pid, uint32_t uid, const char *name)
{
        return (struct top_row){.pid = pid,
                                .uid = uid,
                                .client = TOP_NONE,
                                .name = name,
                                .cpu_permille = -1,
                                .read_bytes = -1,
                                .written_bytes = -1,
                                .launches = -1,
                                .moved_bytes = -1,
                                .resident_bytes = MACHINE_UNKNOWN,
                                .device_bytes = MACHINE_UNKNOWN};
}

static const struct machine_process *process_of(const struct top_world *w, uint32_t pid)
{
        size_t low = 0, high = w->processes ? w->processes->count : 0;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if ((uint32_t)w->processes->list[middle].stat.pid < pid)
                        low = middle + 1;
                else
                        high = middle;
        }
        return w->processes && low < w->processes->count && (uint32_t)w->processes->list[low].stat.pid == pid ? &w->processes->list[low] : NULL;
}

static void add_programs(const struct top_world *w, const struct top_view *v, struct top_row *rows, size_t *count)
{
        for (size_t i = 0; w->now && i < w->now->client_count; i++) {
                const struct wire_STATUS_CLIENT *c = &w->now->clients[i];
                const struct machine_process *p = process_of(w, c->pid);
                struct top_row r = empty_row(c->pid, c->uid, c->name);

                r.client = i;
                fill_client(w, &r, c);
                if (p)
                        fill_process(w, &r, p);
                r.key = key_of(w, &r, v->sort);
                if (passes(&r, v->filter))
                        rows[(*count)++] = r;
        }
}

static void add_processes(const struct top_world *w, const struct top_view *v, struct top_row *rows, size_t *count)
{
        for (size_t i = 0; w->processes && i < w->processes->count; i++) {
                const struct machine_process *p = &w->processes->list[i];
                struct top_row r = empty_row((uint32_t)p->stat.pid, p->uid, p->stat.name);

                fill_process(w, &r, p);
                /* A program on several devices has all of them together here, and its line is that of the first. */
                for (size_t k = 0; w->now && k < w->now->client_count; k++) {
                        const struct wire_STATUS_CLIENT *c = &w->now->clients[k];
                        struct top_row more = empty_row(0, 0, "");

                        if (c->pid != r.pid)
                                continue;
                        fill_client(w, &more, c);
                        if (r.client == TOP_NONE) {
                                r.client = k;
                                r.device_bytes = more.device_bytes;
                                r.launches = more.launches;
                                r.moved_bytes = more.moved_bytes;
                        } else {
                                r.device_bytes += more.device_bytes;
                                r.launches = r.launches < 0 || more.launches < 0 ? -1 : r.launches + more.launches;
                                r.moved_bytes = r.moved_bytes < 0 || more.moved_bytes < 0 ? -1 : r.moved_bytes + more.moved_bytes;
                        }
                }
                r.key = key_of(w, &r, v->sort);
                if (passes(&r, v->filter))
                        rows[(*count)++] = r;
        }
}

/* --- the tree --- */

struct branch {
        uint32_t pid;
        size_t row, parent, first, last, next; /* TOP_NONE: none */
        bool drawn;
};

static int branch_by_pid(const void *a, const void *b)
{
        const struct branch *x = a, *y = b;

        return (x->pid > y->pid) - (x->pid < y->pid);
}

/* Parents before their children, siblings in the order of the rows. Who has no parent in the list is a root; circles, which a list taken while processes
 * come and go could show, are cut. */
static int grow(struct top_row *rows, size_t count)
{
        struct branch *b scoped_free = calloc(count + 1, sizeof *b);
        struct top_row *ordered scoped_free = calloc(count + 1, sizeof *ordered);
        size_t *at scoped_free = calloc(count + 1, sizeof *at); /* row to branch */
        size_t n = 0;

        if (!b || !ordered || !at)
                return -ENOMEM;
        for (size_t i = 0; i < count; i++)
                b[i] = (struct branch){rows[i].pid, i, TOP_NONE, TOP_NONE, TOP_NONE, TOP_NONE, false};
        qsort(b, count, sizeof *b, branch_by_pid);
        for (size_t i = 0; i < count; i++)
                at[b[i].row] = i;
        for (size_t row = 0; row < count; row++) {
                struct branch like = {.pid = rows[row].process ? (uint32_t)rows[row].process->stat.parent : 0};
                struct branch *parent = like.pid ? bsearch(&like, b, count, sizeof *b, branch_by_pid) : NULL, *own = &b[at[row]];

                if (!parent || parent == own)
                        continue;
                own->parent = (size_t)(parent - b);
                if (parent->first == TOP_NONE)
                        parent->first = at[row];
                else
                        b[parent->last].next = at[row];
                parent->last = at[row];
        }
        for (int round = 0; round < 2; round++) /* second: what only hangs on itself */
                for (size_t row = 0; row < count; row++) {
                        size_t here = at[row];
                        uint32_t depth = 0;

                        if (b[here].drawn || (round == 0 && b[here].parent != TOP_NONE))
                                continue;
                        for (size_t root = here;;) {
                                if (!b[here].drawn) {
                                        b[here].drawn = true;
                                        ordered[n] = rows[b[here].row];
                                        ordered[n++].depth = depth;
                                        if (b[here].first != TOP_NONE && !b[b[here].first].drawn) {
                                                here = b[here].first;
                                                depth++;
                                                continue;
                                        }
                                }
                                while (here != root && b[here].next == TOP_NONE) {
                                        here = b[here].parent;
                                        depth--;
                                }
                                if (here == root)
                                        break;
                                here = b[here].next;
                        }
                }
        memcpy(rows, ordered, n * sizeof *rows);
        return 0;
}

int top_rows(const struct top_world *w, const struct top_view *v, struct top_row **ret, size_t *ret_count)
{
        size_t room = (w->now ? w->now->client_count : 0) + (w->processes ? w->processes->count : 0), count = 0;
        struct top_row *rows scoped_free = calloc(room + 1, sizeof *rows);

        if (!rows)
                return -ENOMEM;
        if (v->list == TOP_PROCESSES)
                add_processes(w, v, rows, &count);
        else
                add_programs(w, v, rows, &count);
        qsort(rows, count, sizeof *rows, v->sort == TOP_BY_NAME ? by_name : v->list == TOP_PROGRAMS ? by_client : by_key);
        if (v->tree && v->list == TOP_PROCESSES && grow(rows, count) < 0)
                return -ENOMEM;
        *ret = take(rows);
        *ret_count = count;
        return 0;
}
