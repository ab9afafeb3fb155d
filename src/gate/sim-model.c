/* sim-model.c: a small world, explored whole: two to four clients, one or two devices of a few units, every order in which messages can arrive on either
 * side, wants, growth, frees, deaths, failed moves, and timers that fire at any moment. In every state that can be reached all invariants
 * hold, no honest message is refused, and the fair continuation (nothing new, every message arrives, timers fire) serves all who wait: no
 * deadlock, no livelock.
 *
 * Time is taken relative to now and cut to what decisions look at, so that the number of states is finite. What each client may still do of
 * its own accord is a budget; deliveries and timers are free.
 */
#include "gate/sim-model.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct setup setups[] = {
        {"two that don't fit", 2, 4, 99, {3, 3}, {1, 1}, 2, 0, 0, 2, 0, false, false},
        {"frees and deaths", 2, 3, 99, {2, 2}, {1, 1}, 2, 0, 1, 1, 0, false, false},
        {"two that grow", 2, 3, 99, {1, 1}, {1, 1}, 2, 1, 1, 1, 0, false, false},
        {"two that grow much", 2, 3, 99, {1, 1}, {1, 1}, 1, 2, 0, 1, 0, false, false},
        {"batch and interactive", 2, 3, 99, {2, 2}, {2, 0}, 2, 1, 0, 1, 0, false, false},
        {"small arena", 2, 3, 1, {2, 2}, {1, 1}, 2, 1, 1, 1, 0, false, false},
        {"failing moves", 2, 3, 99, {2, 2}, {1, 1}, 2, 0, 0, 1, 1, false, false},
        {"storage and one that grows", 2, 3, 99, {2, 2}, {1, 1}, 2, 1, 1, 1, 1, false, false, true},
        {"storage, two, small arena", 3, 3, 1, {1, 2, 2}, {1, 1, 1}, 1, 0, 0, 1, 0, false, false, true},
        {"three", 3, 3, 99, {1, 2, 2}, {1, 1, 1}, 1, 0, 0, 2, 0, false, false},
        {"a job of two and one", 3, 3, 99, {1, 1, 2}, {1, 1, 1}, 1, 0, 0, 1, 0, true, false},
        {"two devices, one on both and one beside", 3, 3, 99, {2, 2, 2}, {1, 1, 1}, 1, 0, 0, 1, 0, false, false, false, "PAPBQA"},
        {"two devices, one on both grows against one beside", 3, 3, 99, {1, 1, 2}, {1, 1, 1}, 1, 1, 0, 0, 0, false, false, false, "PAPBQA"},
        {"two devices, one on both and one on each", 4, 3, 99, {2, 2, 2, 2}, {1, 1, 1, 1}, 1, 0, 0, 0, 0, false, false, false, "PAPBQARB"},
        {"two devices, two on both", 4, 3, 99, {2, 2, 2, 2}, {1, 1, 1, 1}, 1, 0, 0, 0, 0, false, false, false, "PAPBQAQB"},
        {"two devices, one on both and one beside, twice", 3, 3, 99, {2, 2, 2}, {1, 1, 1}, 2, 0, 0, 1, 0, false, true, false, "PAPBQA"},
        {"two devices, two on both that may die", 4, 3, 99, {2, 2, 2, 2}, {1, 1, 1, 1}, 1, 0, 0, 1, 0, false, true, false, "PAPBQAQB"},
        {"two devices, one on both and one on each, small arena", 4, 3, 2, {2, 2, 2, 2}, {1, 1, 1, 1}, 1, 0, 0, 0, 0, false, true, false, "PAPBQARB"},
        {"three that grow", 3, 3, 99, {1, 1, 1}, {2, 1, 1}, 1, 1, 0, 0, 0, false, true},
        {"a job that comes twice", 3, 3, 99, {1, 1, 2}, {1, 1, 1}, 2, 0, 0, 0, 0, true, true},
};

/* --- sets of states, by 128-bit digest --- */

struct set {
        uint64_t (*slots)[2];
        size_t size, used;
};

static bool set_add(struct set *s, const uint64_t key[2])
{
        if (s->used * 2 >= s->size) {
                struct set bigger = {.size = s->size ? s->size * 2 : 1 << 16};

                bigger.slots = calloc(bigger.size, sizeof(*bigger.slots));
                if (!bigger.slots)
                        abort();
                for (size_t i = 0; i < s->size; i++)
                        if (s->slots[i][0] | s->slots[i][1])
                                (void)set_add(&bigger, s->slots[i]);
                free(s->slots);
                *s = bigger;
        }
        for (size_t i = key[0] & (s->size - 1);; i = (i + 1) & (s->size - 1)) {
                if (s->slots[i][0] == key[0] && s->slots[i][1] == key[1])
                        return false;
                if (!(s->slots[i][0] | s->slots[i][1])) {
                        memcpy(s->slots[i], key, sizeof(s->slots[i]));
                        s->used++;
                        return true;
                }
        }
}

static bool set_has(const struct set *s, const uint64_t key[2])
{
        for (size_t i = key[0] & (s->size - 1); s->size; i = (i + 1) & (s->size - 1)) {
                if (s->slots[i][0] == key[0] && s->slots[i][1] == key[1])
                        return true;
                if (!(s->slots[i][0] | s->slots[i][1]))
                        return false;
        }
        return false;
}

static struct set visited, fair;
const struct setup *setup;
static struct gate *canon; /* scratch for digests */
static const char *path[DEPTH];
static uint32_t path_n;
static uint64_t transitions;
static int failures;

void model_fail(const struct world *w, const char *what, const char *more)
{
        if (failures++)
                return;
        fprintf(stderr, "%s: %s %s\n", setup->name, what, more);
        for (uint32_t i = 0; i < path_n; i++)
                fprintf(stderr, "  %s\n", path[i]);
        for (uint32_t i = 0; i < setup->clients; i++) {
                struct gate_client_view v;

                if (gate_view_client(w->gate, w->now, i, &v))
                        fprintf(stderr, "  client %u: %s grant %" PRIu64 " movable %" PRIu64 " resident %" PRIu64 " wants %d reason %s%s\n", i,
                                wire_state_name(v.state), v.grant, v.movable, v.resident, v.wants, wire_reason_name(v.reason),
                                v.stuck ? " stuck" : "");
        }
}

/* --- the state without what decisions do not look at --- */

static uint64_t ahead(uint64_t when, uint64_t now)
{
        return when == GATE_NEVER ? GATE_NEVER : minus(when, now);
}

static void canonical(const struct gate *g)
{
        struct device *d;

        memcpy(canon, g, g->state_bytes);
        canon->now = canon->born = canon->eased_at = canon->events = 0;
        canon->deadline = ahead(g->deadline, g->now);
        for (uint32_t i = 0; i < g->max_devices; i++) {
                d = device_at(canon, i);
                d->out_rate = d->in_rate = d->drain_ns = d->drain_max = d->contended_since = d->drains = 0;
                d->out_bytes = d->in_bytes = d->out_ns = d->in_ns = d->switches = d->slice_ns = d->max_wait_ns = d->max_wait_bound_ns = 0;
        }
        for_each_client (canon, c) {
                const struct client *o = client_at(g, client_index(canon, c));
                uint64_t older = 0, earlier = 0;

                for_each_client (g, other) {
                        older += other->born < o->born;
                        earlier += other->wants && other->wait_since < o->wait_since;
                }
                c->born = older;
                c->wait_since = c->wants ? earlier : 0;
                c->run_since = c->state == WIRE_RUNNING ? least(g->now - o->run_since, g->settings.slice_fixed_ns) : 0;
                c->filled_in = c->came = c->active_at = c->gave_at = c->kill_at = c->wait_bound = 0;
                c->deadline = ahead(o->deadline, g->now);
                c->hold_until = ahead(o->hold_until, g->now);
                c->keep_until = ahead(o->keep_until, g->now);
                c->trim_until = ahead(o->trim_until, g->now);
                c->moved_seen = c->elapsed_seen = c->waited_ns = c->ran_ns = c->switches = 0;
                c->out_bytes = c->in_bytes = c->out_ns = c->in_ns = 0;
                c->ticket = c->late_ticket = c->reason = c->lacks = 0;
                c->position = c->wants ? c->position : 0;
                c->target = c->filling ? c->target : 0;
                c->due = c->state == WIRE_GIVING_WAY ? c->due : 0;
                c->give_reason = c->state == WIRE_GIVING_WAY ? c->give_reason : 0;
                c->late_need = c->late ? c->late_need : 0;
        }
}

/*
 * Most of a search is to tell states apart, so a digest has four lanes that don't wait for one another, each with two words by different
 * arithmetic; they are folded into one pair of words at the end.
 */
enum { LANES = 4 };

struct digest {
        uint64_t a[LANES], b[LANES];
};

static inline uint64_t turned(uint64_t word, int bits)
{
        return word << bits | word >> (64 - bits);
}

static inline void mix_word(struct digest *d, int lane, uint64_t word)
{
        d->a[lane] = turned((d->a[lane] ^ word) * UINT64_C(0x9fb21c651e98df25), 31);
        d->b[lane] = turned((d->b[lane] + word) * UINT64_C(0xd6e8feb86659fd93), 29);
}

static void mix(struct digest *d, const void *data, size_t bytes)
{
        const uint8_t *at = data;
        uint64_t words[LANES];

        for (; bytes >= sizeof(words); at += sizeof(words), bytes -= sizeof(words)) {
                memcpy(words, at, sizeof(words));
                for (int lane = 0; lane < LANES; lane++)
                        mix_word(d, lane, words[lane]);
        }
        memset(words, 0, sizeof(words));
        memcpy(words, at, bytes);
        for (int lane = 0; lane * sizeof(*words) < bytes; lane++)
                mix_word(d, lane, words[lane]);
}

static void fold(const struct digest *d, uint64_t key[2])
{
        key[0] = 1;
        key[1] = 2;
        for (int lane = 0; lane < LANES; lane++) {
                key[0] = (key[0] ^ d->a[lane]) * UINT64_C(0x9fb21c651e98df25);
                key[0] ^= key[0] >> 28;
                key[1] = ((key[1] + d->b[lane]) * UINT64_C(0xd6e8feb86659fd93)) ^ key[0];
                key[1] ^= key[1] >> 32;
        }
        key[0] |= 1;
}

static void digest(const struct world *w, bool budgets, uint64_t key[2])
{
        struct digest d = {{1, 2, 3, 4}, {5, 6, 7, 8}};

        canonical(w->gate);
        mix(&d, (const char *)canon + offsetof(struct gate, now), sizeof(struct gate) - offsetof(struct gate, now));
        mix(&d, device_at(canon, 0), canon->max_devices * sizeof(struct device));
        mix(&d, client_at(canon, 0), setup->clients * sizeof(struct client));
        for (uint32_t i = 0; i < setup->clients; i++) {
                struct actor a = w->actors[i];

                if (!budgets)
                        a.wants_left = a.grows_left = a.frees_left = a.fails_left = 0;
                mix(&d, &a, sizeof(a));
        }
        mix(&d, budgets ? &w->deaths_left : (const uint8_t *)"", 1);
        mix(&d, &w->arena, 1);
        fold(&d, key);
}

static const char *const deed_names[CLIENTS][DEEDS] = {
        {"0 hears", "0 is heard", "0 gives way", "0 gives way, wants", "0 moves out", "0 fails to move out", "0 moves in", "0 fails to move in",
         "0 wants", "0 grows", "0 frees", "0 dies"},
        {"1 hears", "1 is heard", "1 gives way", "1 gives way, wants", "1 moves out", "1 fails to move out", "1 moves in", "1 fails to move in",
         "1 wants", "1 grows", "1 frees", "1 dies"},
        {"2 hears", "2 is heard", "2 gives way", "2 gives way, wants", "2 moves out", "2 fails to move out", "2 moves in", "2 fails to move in",
         "2 wants", "2 grows", "2 frees", "2 dies"},
        {"3 hears", "3 is heard", "3 gives way", "3 gives way, wants", "3 moves out", "3 fails to move out", "3 moves in", "3 fails to move in",
         "3 wants", "3 grows", "3 frees", "3 dies"},
};

void model_collect(struct world *w)
{
        struct gate_action action;
        char message[200] = "";

        while (gate_next_action(w->gate, &action)) {
                if (action.kind == GATE_CONTENDED || action.kind == GATE_WAIT || action.kind == GATE_REPORT)
                        continue;
                if (action.client >= CLIENTS || !w->actors[action.client].lives) {
                        model_fail(w, "an action for nobody", "");
                        return;
                }
                push(w->actors[action.client].to, &w->actors[action.client].to_n,
                     (struct letter){.kind = (uint8_t)action.kind, .a = (uint8_t)action.bytes});
        }
        if (gate_check(w->gate, w->now, message, sizeof(message)))
                model_fail(w, "invariant:", message);
}

static bool tick(struct world *w)
{
        uint64_t when = gate_next_deadline(w->gate);

        if (when == GATE_NEVER)
                return false;
        w->now = when;
        gate_tick(w->gate, w->now);
        model_collect(w);
        return true;
}

static bool copy(struct world *to, const struct world *from)
{
        *to = *from;
        to->gate = gate_clone(from->gate);
        return to->gate;
}

/* Whoever waits now waits for good: only for the arena, which is told, may that be. */
static void nothing_will_happen(const struct world *w)
{
        for (uint32_t i = 0; i < setup->clients; i++) {
                struct gate_client_view v;

                if (w->actors[i].lives && w->actors[i].wants_open && gate_view_client(w->gate, w->now, i, &v) && v.reason != WIRE_WAIT_ARENA)
                        model_fail(w, "deadlock: someone waits and nothing will happen", "");
        }
}

/* Nothing new begins; messages arrive, moves go on, then timers fire, until nobody waits, or a timer changes nothing. */
static void continue_fairly(const struct world *from)
{
        static uint64_t keys[STEPS_FAIR + 1][2]; /* proved once the end is reached */
        bool ticked = false;
        uint32_t step;
        struct world w;

        if (!copy(&w, from))
                abort();
        for (step = 0;; step++) {
                bool open = false, moved = false;

                for (uint32_t i = 0; i < setup->clients; i++)
                        open |= w.actors[i].lives && w.actors[i].wants_open;
                digest(&w, false, keys[step]);
                if (!open || set_has(&fair, keys[step]))
                        break;
                if (ticked && !memcmp(keys[step], keys[step - 1], sizeof keys[0])) { /* one who waits grows older, no more */
                        nothing_will_happen(&w);
                        break;
                }
                if (step == STEPS_FAIR || failures) {
                        model_fail(&w, "livelock: the fair continuation does not end", "");
                        break;
                }
                for (uint32_t deed = HEAR; deed <= BRING_STEP && !moved; deed++) {
                        for (uint32_t i = 0; i < setup->clients && !moved; i++) {
                                if (deed == GIVE_WANTING || deed == EVICT_FAIL || !model_enabled(&w, i, deed))
                                        continue;
                                model_perform(&w, i, deed);
                                moved = true;
                        }
                }
                ticked = !moved;
                if (!moved && !tick(&w)) {
                        nothing_will_happen(&w);
                        break;
                }
        }
        for (uint32_t i = 0; i < step && !failures; i++)
                (void)set_add(&fair, keys[i]);
        gate_free(w.gate);
}

static void explore(const struct world *w);

static void after(const struct world *w, uint32_t i, uint32_t deed)
{
        struct world next;

        if (failures || path_n == DEPTH)
                return;
        if (!copy(&next, w))
                abort();
        path[path_n++] = deed == DEEDS ? "timer" : deed_names[i][deed];
        transitions++;
        if (deed == DEEDS)
                tick(&next);
        else
                model_perform(&next, i, deed);
        if (!failures)
                explore(&next);
        path_n--;
        gate_free(next.gate);
}

static void explore(const struct world *w)
{
        uint64_t key[2];

        digest(w, true, key);
        if (!set_add(&visited, key))
                return;
        digest(w, false, key);
        if (!set_has(&fair, key))
                continue_fairly(w);
        for (uint32_t i = 0; i < setup->clients; i++)
                for (uint32_t deed = 0; deed < DEEDS; deed++)
                        if (model_enabled(w, i, deed))
                                after(w, i, deed);
        if (gate_next_deadline(w->gate) != GATE_NEVER)
                after(w, 0, DEEDS);
}

static void run(const struct setup *s)
{
        struct gate_settings settings = gate_default_settings;
        struct world w = {.now = NS_PER_S, .deaths_left = s->deaths, .arena = s->arena};
        uint64_t began = clock_now_ns();

        setup = s;
        settings.reserve_percent = 0;
        settings.client_part_bytes = 0;
        settings.slice_mode = GATE_SLICE_FIXED;
        settings.slice_fixed_ns = NS_PER_S;
        settings.age_ns = settings.idle_ns = 3600 * NS_PER_S;
        settings.give_way_bound_ns = settings.move_bound_ns = 2 * NS_PER_S;
        settings.kill_after_ns = 0;
        w.gate = gate_new(s->clients, s->on ? DEVICES : 1, &settings);
        canon = gate_new(s->clients, s->on ? DEVICES : 1, &settings);
        if (!w.gate || !canon || gate_add_device(w.gate, 0, s->units) || (s->on && gate_add_device(w.gate, 1, s->units)))
                abort();
        gate_arena(w.gate, w.now, w.arena);
        for (uint32_t i = 0; i < s->clients; i++) {
                struct gate_client_spec spec = {.priority = s->priorities[i], .job = s->job && i < 2 ? 1 : 0, .storage = s->storage && !i};
                uint32_t number;

                if (s->on) { /* as a program on several devices comes: its clients share one gate, and run together */
                        spec.process = spec.job = (uint64_t)s->on[2 * i];
                        spec.device = s->on[2 * i + 1] == 'B';
                }
                if (gate_add_client(w.gate, w.now, &spec, &number) || number != i)
                        abort();
                w.actors[i] = (struct actor){.lives = 1, .wants_left = s->wants, .grows_left = s->grows, .frees_left = s->frees,
                                             .fails_left = s->fails};
        }
        model_collect(&w);
        transitions = 0;
        explore(&w);
        printf("{\"world\":\"%s\",\"clients\":%u,\"states\":%zu,\"transitions\":%" PRIu64 ",\"violations\":%d,\"seconds\":%.1f}\n", s->name,
               s->clients, visited.used, transitions, failures, (double)(clock_now_ns() - began) / 1e9);
        gate_free(w.gate);
        gate_free(canon);
        free(visited.slots);
        free(fair.slots);
        visited = fair = (struct set){0};
}

int main(int argc, char **argv)
{
        bool all = argc == 2 && !strcmp(argv[1], "--all");

        if (argc > 1 && !all) {
                fprintf(stderr, "usage: gate-model [--all]\n");
                return 2;
        }
        for (size_t i = 0; i < ARRAY_SIZE(setups) && !failures; i++) {
                if (setups[i].large && !all)
                        continue;
                run(&setups[i]);
                fflush(stdout);
        }
        return failures ? 1 : 0;
}
