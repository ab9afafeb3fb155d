/* sim-training-program.c: the programs of gate-trainings: how they grow, move and answer, as libberth-cuda.so does it. */
#include "gate/sim-trainings.h"

#define PIECE (256 * MIB)
#define LINK_BYTES_PER_S UINT64_C(50000000000)
#define SAMPLE_NS (100 * NS_PER_MS)

static uint64_t link_time(uint64_t bytes)
{
        return bytes / (LINK_BYTES_PER_S / NS_PER_S);
}

static void told(int r, const char *what)
{
        if (r)
                training_failed(what);
}

static void report(struct program *p, uint64_t returned)
{
        p->grant -= returned;
        told(gate_memory(w.gate, w.now, p->number, p->movable, 0, p->resident, p->movable, returned), "memory refused");
}

static uint64_t spare(const struct program *p)
{
        return p->grant - p->resident;
}

static void want(struct program *p, uint64_t need)
{
        if (!p->wants)
                p->wait_since = w.now;
        p->wants = true;
        told(gate_want(w.gate, w.now, p->number, need, ++p->ticket), "want refused");
}

/* Grant beyond what is owned goes back while someone waits. */
void training_return_spare(struct program *p)
{
        if (w.contended && p->open && !p->asks && spare(p))
                report(p, spare(p));
}

static uint64_t chunk(const struct program *p)
{
        uint64_t bytes = (uint64_t)p->role->chunk_mib * MIB;

        return bytes < p->size - p->movable ? bytes : p->size - p->movable;
}

/* It runs and has come to its next allocation. */
static void allocate(struct program *p)
{
        if (spare(p) < chunk(p)) {
                if (!p->asks) {
                        p->asks = true;
                        if (p->open || !p->wants)
                                want(p, p->movable + chunk(p));
                }
                return;
        }
        p->asks = false;
        p->movable += chunk(p);
        p->resident = p->movable;
        p->next_alloc_at = p->movable == p->size ? GATE_NEVER : (uint64_t)((double)p->grow_ns * (double)p->movable / (double)p->size);
        report(p, 0);
}

bool training_works(const struct program *p)
{
        return p->here && p->open && !p->asks && !p->pausing;
}

/* Own progress at which something happens next. */
uint64_t training_milestone(const struct program *p)
{
        uint64_t next = p->grow_ns + p->work_ns;

        if (p->next_alloc_at < next)
                next = p->next_alloc_at;
        if (p->burst_at && p->burst_at < next)
                next = p->burst_at;
        return next;
}

void training_progress(struct program *p)
{
        if (p->did_ns >= p->grow_ns + p->work_ns) {
                training_trace("%u ends", p->number);
                p->here = p->open = false;
                p->done = true;
                gate_gone(w.gate, w.now, p->number);
        } else if (p->did_ns >= p->next_alloc_at) {
                allocate(p);
        } else if (p->burst_at && p->did_ns >= p->burst_at) {
                p->pausing = true;
                p->burst_at = p->did_ns + (uint64_t)(p->role->burst_s * 1e9);
                training_later(w.now + (uint64_t)(p->role->pause_s * 1e9), p->number, WAKES, 0, NULL);
        }
}

static void move_out(struct program *p)
{
        uint64_t returned = spare(p) < p->evict_left ? spare(p) : p->evict_left, piece;

        if (!p->evicting || p->moving)
                return;
        p->grant -= returned;
        p->evict_left -= returned;
        piece = p->evict_left < PIECE ? p->evict_left : PIECE;
        if (piece > p->resident)
                piece = p->resident;
        if (!piece) {
                p->evicting = false;
                told(gate_evicted(w.gate, w.now, p->number, p->resident, returned, p->moved, w.now - p->move_since, true, 0), "evicted refused");
                return;
        }
        if (returned)
                told(gate_evicted(w.gate, w.now, p->number, p->resident, returned, p->moved, w.now - p->move_since, false, 0), "evicted refused");
        w.out_free_at = (w.out_free_at > w.now ? w.out_free_at : w.now) + link_time(piece);
        p->moving = true;
        training_later(w.out_free_at, p->number, LANDED_OUT, piece, NULL);
}

static void move_in(struct program *p)
{
        uint64_t piece = p->movable - p->resident;

        if (!p->bringing || p->evicting || p->moving)
                return;
        piece = piece < PIECE ? piece : PIECE;
        piece = piece < spare(p) ? piece : spare(p);
        if (!piece && p->resident != p->movable)
                return; /* the next BRING_IN wakes it */
        w.in_free_at = (w.in_free_at > w.now ? w.in_free_at : w.now) + link_time(piece);
        p->moving = true;
        training_later(w.in_free_at, p->number, LANDED_IN, piece, NULL);
}

static void landed(struct program *p, uint64_t bytes, bool out)
{
        p->moving = false;
        p->moved += bytes;
        w.moved += bytes;
        if (out) {
                p->resident -= bytes;
                p->grant -= bytes;
                p->evict_left -= bytes < p->evict_left ? bytes : p->evict_left;
                if (p->evicting && p->evict_left && p->resident) {
                        told(gate_evicted(w.gate, w.now, p->number, p->resident, bytes, p->moved, w.now - p->move_since, false, 0),
                             "evicted refused");
                } else {
                        p->evicting = false;
                        told(gate_evicted(w.gate, w.now, p->number, p->resident, bytes, p->moved, w.now - p->move_since, true, 0),
                             "evicted refused");
                }
        } else {
                p->resident += bytes;
                p->bringing &= p->resident != p->movable;
                told(gate_brought_in(w.gate, w.now, p->number, p->resident, 0, p->moved, w.now - p->move_since, p->resident == p->movable, 0),
                     "brought in refused");
        }
        move_out(p);
        move_in(p);
}

static void served(struct program *p)
{
        uint64_t waited = w.now - p->wait_since;

        if (!p->wants)
                return;
        p->wants = false;
        if (waited > p->waited_max)
                p->waited_max = waited;
}

static void hears(struct program *p, const struct gate_action *a)
{
        switch ((enum gate_action_kind)a->kind) {
        case GATE_GO:
                if (p->resident != p->movable)
                        training_failed("go for one that is not whole");
                p->grant += a->bytes;
                p->open = true;
                p->bringing = false;
                p->run_since = w.now;
                served(p);
                gate_active(w.gate, w.now, p->number);
                if (p->asks)
                        allocate(p);
                break;
        case GATE_AVAILABLE:
                p->grant += a->bytes;
                served(p);
                if (p->asks)
                        allocate(p);
                break;
        case GATE_GIVE_WAY:
                p->open = false;
                p->closing = true;
                p->turns++;
                if (w.now - p->run_since < p->shortest_turn)
                        p->shortest_turn = w.now - p->run_since;
                training_later(w.now + (p->asks || p->pausing ? NS_PER_MS : p->drain_ns), p->number, DRAINED, 0, NULL);
                break;
        case GATE_EVICT:
                p->evicting = true;
                p->bringing = false;
                p->evict_left = a->bytes;
                p->moved = 0;
                p->move_since = w.now;
                move_out(p);
                break;
        case GATE_BRING_IN:
                p->grant += a->bytes;
                if (!p->bringing) {
                        p->moved = 0;
                        p->move_since = w.now;
                }
                p->bringing = true;
                move_in(p);
                break;
        case GATE_TRIM:
                if (p->open && !p->asks && spare(p))
                        report(p, spare(p));
                break;
        case GATE_DENY:
        case GATE_REPORT:
        case GATE_KILL:
                training_failed("refused, stuck or killed");
                break;
        case GATE_WAIT:
        case GATE_CONTENDED:
                break;
        }
}

static void start(struct program *p)
{
        struct gate_client_spec spec = {.priority = p->role->priority, .need_bytes = p->role->declares ? p->size : 0};

        if (gate_add_client(w.gate, w.now, &spec, &p->number) || p->number != p - w.programs) {
                training_failed("not added");
                return;
        }
        p->here = true;
        allocate(p);
}

void training_happen(const struct event *e)
{
        struct program *p = &w.programs[e->program];

        if (e->happening == START) {
                start(p);
                return;
        }
        if (e->happening == SAMPLE) {
                for (uint32_t i = 0; i < w.programs_n; i++)
                        if (training_works(&w.programs[i]) && w.contended)
                                gate_active(w.gate, w.now, i);
                gate_tick(w.gate, w.now);
                training_later(w.now + SAMPLE_NS, 0, SAMPLE, 0, NULL);
                return;
        }
        if (!p->here)
                return;
        switch ((enum happening)e->happening) {
        case HEARS:
                hears(p, &e->action);
                break;
        case DRAINED:
                p->closing = false;
                if (!p->pausing && !p->wants) {
                        p->wants = true;
                        p->wait_since = w.now;
                }
                told(gate_given_way(w.gate, w.now, p->number, p->wants), "given way refused");
                if (p->asks)
                        want(p, p->movable + chunk(p));
                break;
        case LANDED_OUT:
        case LANDED_IN:
                landed(p, e->bytes, e->happening == LANDED_OUT);
                break;
        case WAKES:
                p->pausing = false;
                if (!p->open && !p->closing && !p->wants)
                        want(p, p->movable);
                break;
        case START:
        case SAMPLE:
                break;
        }
}
