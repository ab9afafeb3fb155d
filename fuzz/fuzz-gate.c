/* fuzz-gate.c: bytes become events for a small gate: four clients at most, two devices, a model of each client that does what it is told, does
 * something else, or dies. After every event all invariants of gate.h hold.
 *
 * The models answer actions at once or later, in any order the input says; the wild events come with numbers that fit nobody's books, which the
 * gate must refuse without harm.
 */
#include "base/text.h"
#include "gate/gate.h"

#include "fuzz.h"

#include <string.h>

enum { CLIENTS = 4, DEVICES = 2, MAX_EVENTS = 400 };

struct model {
        bool lives, give_way, evict, bring_in;
        uint64_t movable, pinned, resident, grant, evict_bytes;
        uint32_t ticket;
};

struct world {
        struct gate *gate;
        struct model models[CLIENTS];
        uint64_t now;
        unsigned int events;
};

/* A size of up to 64 MiB in steps of 256 KiB, from one byte. */
static uint64_t small_size(struct fuzz_input *in)
{
        return (uint64_t)fuzz_byte(in) * 256 * KIB;
}

static uint64_t wild_size(struct fuzz_input *in)
{
        uint8_t kind = fuzz_byte(in);

        return kind == 255 ? UINT64_MAX : kind == 254 ? UINT64_MAX / 2 : (uint64_t)fuzz_byte(in) << kind % 64;
}

static void carry_out(struct world *w)
{
        struct gate_action a;

        for (unsigned int i = 0; gate_next_action(w->gate, &a); i++) {
                struct model *m;

                promise(i < 1000, "actions without end");
                promise(a.kind <= GATE_KILL, "kind %u", a.kind);
                if (a.kind == GATE_CONTENDED)
                        continue;
                promise(a.client < CLIENTS, "client %u", a.client);
                m = &w->models[a.client];
                promise(m->lives, "action %u for client %u, which is gone", a.kind, a.client);
                if (a.kind == GATE_GO || a.kind == GATE_AVAILABLE || a.kind == GATE_BRING_IN)
                        m->grant += a.bytes;
                m->give_way |= a.kind == GATE_GIVE_WAY;
                m->bring_in |= a.kind == GATE_BRING_IN;
                if (a.kind == GATE_EVICT) {
                        m->evict = true;
                        m->evict_bytes = a.bytes;
                }
                if (a.kind == GATE_KILL) {
                        gate_gone(w->gate, w->now, a.client);
                        *m = (struct model){0};
                }
        }
}

static void come(struct world *w, struct fuzz_input *in)
{
        uint8_t kind = fuzz_byte(in);
        struct gate_client_spec spec = {
                .device = kind & 1, .priority = (kind >> 1) % WIRE_PRIORITY_N, .job = kind >> 4 & 3, .need_bytes = small_size(in),
                .limit_bytes = kind & 8 ? small_size(in) : 0, .storage = (kind >> 4 & 3) == 3};
        uint32_t number = GATE_NONE;

        if (kind & 0x80) {
                spec.movable_bytes = small_size(in);
                spec.resident_bytes = kind & 0x40 ? spec.movable_bytes : 0;
                spec.grant_bytes = spec.resident_bytes;
                spec.admitted = true;
                spec.running = spec.resident_bytes && !spec.storage && fuzz_byte(in) & 1;
                if (spec.limit_bytes && spec.limit_bytes < spec.grant_bytes)
                        spec.limit_bytes = 0;
        }
        if (gate_add_client(w->gate, w->now, &spec, &number))
                return;
        promise(number < CLIENTS && !w->models[number].lives, "number %u", number);
        w->models[number] = (struct model){.lives = true, .movable = spec.movable_bytes, .resident = spec.resident_bytes,
                                           .grant = spec.grant_bytes};
}

/* The client does what it was asked to, all at once. */
static void obey(struct world *w, uint32_t number, bool in_part)
{
        struct model *m = &w->models[number];
        uint64_t moved;
        int r = 0;

        if (m->give_way) {
                m->give_way = false;
                r = gate_given_way(w->gate, w->now, number, in_part);
        } else if (m->evict) {
                uint64_t spare = m->grant - m->resident - m->pinned, asked = m->evict_bytes < m->grant ? m->evict_bytes : m->grant;

                if (m->grant < m->resident + m->pinned)
                        spare = 0;
                if (in_part)
                        asked /= 2;
                moved = asked > spare ? asked - spare : 0;
                if (moved > m->resident)
                        moved = m->resident;
                if (asked > spare + moved)
                        asked = spare + moved;
                m->resident -= moved;
                m->grant -= asked;
                m->evict_bytes -= asked;
                m->evict = in_part;
                r = gate_evicted(w->gate, w->now, number, m->resident, asked, moved, 1000000, !in_part, 0);
        } else if (m->bring_in) {
                uint64_t reach = m->grant > m->pinned ? m->grant - m->pinned : 0;

                moved = m->movable < reach ? m->movable : reach;
                m->bring_in = moved < m->movable;
                moved -= m->resident < moved ? m->resident : moved;
                m->resident += moved;
                r = gate_brought_in(w->gate, w->now, number, m->resident, 0, moved, 1000000, !m->bring_in, 0);
        }
        (void)r; /* a wild event may have confused the two books before: refusing is right */
}

/* Memory changes within the grant, as a real client's does. */
static void change_memory(struct world *w, struct fuzz_input *in, uint32_t number)
{
        struct model *m = &w->models[number];
        uint64_t size = small_size(in), returned = 0;
        bool out = m->movable > m->resident;

        if (out)
                size = m->movable;
        else if (size + m->pinned > m->grant)
                size = m->grant > m->pinned ? m->grant - m->pinned : 0;
        if (fuzz_byte(in) & 1 && m->grant > size + m->pinned && !m->evict)
                returned = m->grant - size - m->pinned;
        if (gate_memory(w->gate, w->now, number, size, m->pinned, out ? m->resident : size, 0, returned))
                return;
        m->movable = size;
        m->resident = out ? m->resident : size;
        m->grant -= returned;
}

static void wild(struct world *w, struct fuzz_input *in, uint32_t number)
{
        uint64_t a = wild_size(in), b = wild_size(in), c = wild_size(in), d = wild_size(in);
        uint8_t kind = fuzz_byte(in);
        struct model *m = &w->models[number];
        int r;

        /* A client may ask for and claim what it likes; claims that return grant are the daemon's word for what fits its books. */
        switch (kind % 5) {
        case 0:
                r = gate_memory(w->gate, w->now, number, a, b, c, d, 0);
                break;
        case 1:
                r = gate_want(w->gate, w->now, number, a, (uint32_t)b);
                break;
        case 2:
                r = gate_given_way(w->gate, w->now, number, kind & 8);
                break;
        case 3:
                r = gate_evicted(w->gate, w->now, number, a, b, c, d, kind & 8, kind & 16 ? -5 : 0);
                if (r == 0)
                        m->grant -= b < m->grant ? b : m->grant;
                break;
        default:
                r = gate_brought_in(w->gate, w->now, number, a, b, c, d, kind & 8, kind & 16 ? -5 : 0);
                if (r == 0)
                        m->grant -= b < m->grant ? b : m->grant;
                break;
        }
        (void)r;
}

static void change_settings(struct world *w, struct fuzz_input *in)
{
        struct gate_settings s = gate_default_settings;
        uint8_t kind = fuzz_byte(in);

        s.client_part_bytes = (uint64_t)(kind & 3) * MIB;
        s.reserve_percent = kind >> 2 & 31;
        s.slice_mode = kind & 0x80 ? GATE_SLICE_FIXED : GATE_SLICE_AUTO;
        gate_change_settings(w->gate, w->now, &s);
}

static void step(struct world *w, struct fuzz_input *in)
{
        uint8_t op = fuzz_byte(in);
        uint32_t number = op & (CLIENTS - 1);
        struct model *m = &w->models[number];
        int r;

        w->now += (uint64_t)fuzz_byte(in) * 50000000;
        switch (op >> 2 & 15) {
        case 0:
        case 1:
                come(w, in);
                return;
        case 2:
                w->now += (uint64_t)fuzz_byte(in) * 10000000000;
                gate_tick(w->gate, w->now);
                return;
        case 3:
                gate_foreign(w->gate, w->now, op & 1, small_size(in));
                return;
        case 4:
                gate_arena(w->gate, w->now, small_size(in) * 4);
                return;
        case 5:
                change_settings(w, in);
                return;
        default:
                break;
        }
        if (!m->lives)
                return;
        switch (op >> 2 & 15) {
        case 6:
        case 7:
                m->ticket++;
                r = gate_want(w->gate, w->now, number, m->movable + m->pinned + small_size(in), m->ticket);
                (void)r;
                break;
        case 8:
        case 9:
                obey(w, number, true);
                break;
        case 10:
        case 11:
                obey(w, number, false);
                break;
        case 12:
                change_memory(w, in, number);
                break;
        case 13:
                if (op & 1) {
                        gate_active(w->gate, w->now, number);
                } else {
                        r = gate_prefetch(w->gate, w->now, number, w->now + small_size(in));
                        (void)r;
                }
                break;
        case 14:
                gate_gone(w->gate, w->now, number);
                *m = (struct model){0};
                break;
        default:
                wild(w, in, number);
                break;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct gate_settings settings = gate_default_settings;
        struct fuzz_input in = {data, size};
        struct world w = {.now = 1000000000};
        char message[256];

        settings.client_part_bytes = MIB;
        w.gate = gate_new(CLIENTS, DEVICES, &settings);
        promise(w.gate != NULL, "memory");
        promise(gate_add_device(w.gate, 0, 64 * MIB) == 0 && gate_add_device(w.gate, 1, 48 * MIB) == 0, "devices");
        while (in.left && w.events++ < MAX_EVENTS) {
                int r;

                step(&w, &in);
                carry_out(&w);
                r = gate_check(w.gate, w.now, message, sizeof message);
                promise(r == 0, "event %u: invariant %d: %s", w.events, r, message);
                for (uint32_t i = 0; i < CLIENTS; i++)
                        if (w.models[i].lives)
                                (void)gate_wait_bound(w.gate, w.now, i);
        }
        gate_free(w.gate);
        return 0;
}
