/* run.c: the figures of what one `berth run` started, kept for the one that asks at its end, and peaks by window; see node.h.
 *
 * A run is a number that the command line makes up and hands to the program by environment, so that all processes below it bear it. The figures of
 * a process are taken when its connection ends, however it ended: the books are here and the shared page outlives it. They are kept as long as
 * the asker's connection lasts, RUN_LINES of them; what more comes is added up in the last.
 */
#define LOG_ROOM "node"
#include "node/node.h"

#include "base/clock.h"
#include "base/error.h"

#include <stdio.h>
#include <string.h>

#define RUN_LINES 64

struct run {
        uint64_t number;
        uint32_t n;
        struct wire_STATUS_CLIENT *ended;
};

int run_watch(struct client *w, uint64_t number)
{
        if (!number || (w->watches && w->watches->number != number))
                return -E_MESSAGE;
        if (w->watches)
                return 0;
        w->watches = calloc(1, sizeof *w->watches);
        if (!w->watches)
                return -ENOMEM;
        w->watches->number = number;
        return 0;
}

void run_free(struct client *w)
{
        if (w->watches)
                free(w->watches->ended);
        free(w->watches);
        w->watches = NULL;
}

static bool is_of(const struct client *w, const struct client *program)
{
        return w->watches && w->watches->number == program->run && w->uid == program->uid;
}

/* Sums of what the last line stands for from now on. */
static void add_up(struct wire_STATUS_CLIENT *sum, const struct wire_STATUS_CLIENT *s)
{
        snprintf(sum->name, sizeof sum->name, "others");
        sum->pid = 0;
        sum->peak_bytes = sum->peak_bytes > s->peak_bytes ? sum->peak_bytes : s->peak_bytes;
        sum->average_bytes = sum->average_bytes > s->average_bytes ? sum->average_bytes : s->average_bytes;
        sum->age_ns = sum->age_ns > s->age_ns ? sum->age_ns : s->age_ns;
        sum->out_bytes += s->out_bytes;
        sum->in_bytes += s->in_bytes;
        sum->out_ns += s->out_ns;
        sum->in_ns += s->in_ns;
        sum->launches += s->launches;
        sum->copies += s->copies;
        sum->waits += s->waits;
        sum->waited_ns += s->waited_ns;
        sum->ran_ns += s->ran_ns;
        sum->switches += s->switches;
}

static void keep(struct run *r, const struct wire_STATUS_CLIENT *s)
{
        if (r->n == RUN_LINES) {
                add_up(&r->ended[r->n - 1], s);
                return;
        }
        if (!(r->n & (r->n - 1))) { /* grown at every power of two */
                struct wire_STATUS_CLIENT *more = realloc(r->ended, (r->n ? r->n * 2 : 1) * sizeof *more);

                if (!more && r->n)
                        add_up(&r->ended[r->n - 1], s);
                if (!more)
                        return;
                r->ended = more;
        }
        r->ended[r->n++] = *s;
}

void run_left(struct client *program, uint64_t now)
{
        if (!program->run || program->role != WIRE_PROGRAM)
                return;
        for (struct client *w = program->node->clients; w; w = w->next) {
                if (!is_of(w, program))
                        continue;
                for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++) {
                        struct wire_STATUS_CLIENT s;

                        if (!program->devices[i] || program->devices[i]->storage)
                                continue;
                        dump_client(program, program->devices[i], now, &s);
                        s.ended = 1;
                        keep(w->watches, &s);
                }
        }
}

uint32_t run_send(struct client *w, uint64_t now)
{
        uint32_t lines = 0;
        struct wire_message m;

        for (uint32_t i = 0; i < w->watches->n; i++, lines++) {
                m = (struct wire_message){.STATUS_CLIENT = w->watches->ended[i]};
                client_send(w, WIRE_STATUS_CLIENT, &m, -1);
        }
        for (struct client *o = w->node->clients; o; o = o->next) {
                if (o->role != WIRE_PROGRAM || !is_of(w, o))
                        continue;
                for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++) {
                        if (!o->devices[i] || o->devices[i]->storage)
                                continue;
                        m = (struct wire_message){0};
                        dump_client(o, o->devices[i], now, &m.STATUS_CLIENT);
                        client_send(w, WIRE_STATUS_CLIENT, &m, -1);
                        lines++;
                }
        }
        return lines;
}

/* --- peaks by window --- */

static uint64_t at_most(uint64_t value, uint64_t most)
{
        return value < most ? value : most;
}

/* What a page says is the program's claim: never more than the device. */
static int peak_on(struct client_device *d, uint64_t total, const struct wire_PEAK *ask, struct wire_PEAK_IS *ret)
{
        uint64_t peak = 0;
        int r = ask->action == WIRE_PEAK_BEGIN ? page_window_begin(d->page, ask->name, WINDOW_DAEMON) : 0;

        if (r == 0)
                r = page_window_peak(d->page, ask->name, WINDOW_DAEMON, ask->action == WIRE_PEAK_END, &peak);
        *ret = (struct wire_PEAK_IS){
                .used_bytes = at_most(atomic_load_explicit(&d->page->used_bytes, memory_order_relaxed), total),
                .peak_bytes = at_most(peak, total),
                .whole_peak_bytes = at_most(atomic_load_explicit(&d->page->peak_bytes, memory_order_relaxed), total),
                .device = d->device,
        };
        return r;
}

static void refuse(struct client *c, const struct wire_message *m, int code)
{
        const struct wire_PEAK *ask = &m->PEAK;

        switch (-code) {
        case EPERM:
                c->node->refused++;
                client_error(c, code, WIRE_PEAK, m->header.sequence, UINT32_MAX, "process %u is another user's", ask->pid);
                break;
        case ESRCH:
                client_error(c, code, WIRE_PEAK, m->header.sequence, UINT32_MAX,
                             "process %u is not on a shared device; `berth status' lists those that are", ask->pid);
                break;
        case ENOSPC:
                client_error(c, code, WIRE_PEAK, m->header.sequence, UINT32_MAX,
                             "process %u has %d windows already; end one (`berth peak end')", ask->pid, PAGE_WINDOWS);
                break;
        case ENOENT:
                client_error(c, code, WIRE_PEAK, m->header.sequence, UINT32_MAX, "process %u has no window \"%s\"", ask->pid, ask->name);
                break;
        default:
                client_error(c, code, WIRE_PEAK, m->header.sequence, UINT32_MAX,
                             "a window's name has 1 to %zu printable ASCII characters", sizeof ask->name - 1);
                break;
        }
}

void run_peak(struct client *asker, const struct wire_message *m)
{
        struct wire_message answer = {0};
        int r = -ESRCH, failed = 0;
        bool any = false;

        for (struct client *o = asker->node->clients; o; o = o->next) {
                if (o->role != WIRE_PROGRAM || !o->greeted || (uint32_t)o->pid != m->PEAK.pid)
                        continue;
                if (asker->uid != 0 && asker->uid != geteuid() && asker->uid != o->uid) {
                        refuse(asker, m, -EPERM);
                        return;
                }
                for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++) {
                        if (!o->devices[i] || o->devices[i]->storage)
                                continue;
                        answer = (struct wire_message){0};
                        r = peak_on(o->devices[i], o->node->devices[o->devices[i]->device].info.total_bytes, &m->PEAK, &answer.PEAK_IS);
                        if (r == 0)
                                client_send(asker, WIRE_PEAK_IS, &answer, -1);
                        any |= r == 0;
                        if (r < 0 && r != -ENOENT)
                                failed = r;
                }
        }
        /* A device that the program came to later has no part in an older window. */
        if (failed || !any) {
                refuse(asker, m, failed ? failed : r);
                return;
        }
        answer = (struct wire_message){.DONE = {.about = WIRE_PEAK}};
        client_send(asker, WIRE_DONE, &answer, -1);
}
