/* fuzz-generate.c: bytes become events for generate.h: engines of a few models at two sites that come, change and go, requests of four accounts, right and wrong words about them, jumps of time.
 * After every event all invariants hold, each request has one end, and none is told after the bound. */
#include "generate/generate.h"

#include "fuzz.h"

#include <string.h>

enum { REQUESTS = 32, ENGINES = 6, EVENTS = 600, WAIT_MS = 5000 };

struct world {
        struct generate *g;
        struct generate_request requests[REQUESTS];
        uint8_t stage[REQUESTS]; /* 0 free, 1 waits, 2 runs */
        uint32_t engines[ENGINES];
        uint64_t now;
};

static void carry_out(struct world *w)
{
        struct generate_action a;

        while (generate_next(w->g, &a)) {
                size_t i = a.request ? (size_t)(a.request - w->requests) : 0;
                const char *models[GENERATE_UPCOMING];

                if (a.kind == GENERATE_DISPATCH || a.kind == GENERATE_REFUSE) {
                        promise(w->stage[i] == 1, "request %zu is at %u", i, w->stage[i]);
                        w->stage[i] = a.kind == GENERATE_DISPATCH ? 2 : 0;
                        promise(a.kind == GENERATE_REFUSE || generate_engine_get(w->g, a.engine), "an engine that is there");
                } else if (a.kind == GENERATE_START) {
                        promise(generate_engine_get(w->g, a.engine)->startable, "engine %u", a.engine);
                } else {
                        promise(generate_soon(w->g, a.site, models) <= GENERATE_UPCOMING, "site %u", a.site);
                }
        }
}

static void go_to(struct world *w, uint64_t now)
{
        for (unsigned i = 0; generate_next_deadline(w->g) < now; i++) {
                uint64_t due = generate_next_deadline(w->g);

                promise(i < 10000, "a deadline that does not pass: %llu at %llu", (unsigned long long)due, (unsigned long long)w->now);
                w->now = due > w->now ? due : w->now;
                generate_tick(w->g, w->now);
                carry_out(w);
        }
        w->now = now;
        generate_tick(w->g, now);
        carry_out(w);
}

static void engine(struct world *w, struct fuzz_input *in)
{
        uint8_t what = fuzz_byte(in), kind = fuzz_byte(in);
        char name[2] = {(char)('a' + what % 3), 0};
        uint32_t *number = &w->engines[(what >> 2) % ENGINES];

        if (kind % 8 == 7) {
                generate_engine_gone(w->g, w->now, *number);
                *number = GENERATE_NONE;
                return;
        }
        (void)!generate_engine(w->g, w->now, &(struct generate_engine){.model = name, .site = what >> 7, .state = kind & 8 ? GENERATE_READY : (enum generate_state)(kind % 6),
                                                                       .resident = (enum generate_resident)((kind >> 4) % 3), .parallel = kind >> 6, .memory = (what >> 4 & 3) * 30,
                                                                       .startable = kind & 16},
                               number);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct generate_settings settings = {.wait_ms = WAIT_MS, .delay_ms = 300, .drain_ms = 700, .age_ms = 900, .start_again_ms = 200, .busy_ms = 150, .waiting_max = 24, .waiting_per_account = 12};
        struct fuzz_input in = {data, size};
        struct world w = {0};
        char text[160] = "";

        if (generate_new(&settings, &w.g) < 0)
                return 0;
        for (int i = 0; i < ENGINES; i++)
                w.engines[i] = GENERATE_NONE;
        (void)!generate_site(w.g, 0, 0, 60);
        (void)!generate_site(w.g, 0, 1, 0);
        for (unsigned n = 0; n < EVENTS && in.left; n++) {
                uint8_t what = fuzz_byte(&in), which = fuzz_byte(&in), i = which % REQUESTS;
                char name[2] = {(char)('a' + (which >> 5) % 4), 0};

                switch (what % 8) {
                case 0:
                case 1:
                        if (w.stage[i])
                                break;
                        w.requests[i] = (struct generate_request){.band = what >> 3 & 3, .cost = what, .weight = which};
                        w.requests[i].account.bytes[0] = (uint8_t)(1 + (what >> 5) % 4);
                        w.stage[i] = 1;
                        generate_ask(w.g, w.now, name, &w.requests[i]);
                        break;
                case 2:
                        if (w.stage[i] == 2)
                                generate_first(w.g, w.now, &w.requests[i]);
                        if (w.stage[i])
                                generate_end(w.g, w.now, &w.requests[i], what & 8 ? UINT64_MAX : which);
                        w.stage[i] = 0;
                        break;
                case 3:
                        if (w.stage[i] == 2 && what & 8) {
                                w.stage[i] = 1;
                                generate_busy(w.g, w.now, &w.requests[i]);
                        } else if (w.stage[i] == 2) {
                                w.stage[i] = 1;
                                if (!generate_again(w.g, w.now, &w.requests[i]))
                                        w.stage[i] = 0;
                        }
                        break;
                case 4:
                case 5:
                        engine(&w, &in);
                        break;
                case 6:
                        if (what & 8)
                                (void)!generate_site(w.g, w.now, which & 1, (which >> 1) % 130);
                        else if (what & 32)
                                generate_engine_free(w.g, w.now, w.engines[which % ENGINES]);
                        else
                                generate_judge(w.g, which % ENGINES, what & 16);
                        break;
                default:
                        go_to(&w, w.now + (what & 8 ? which * 20u : which));
                }
                carry_out(&w);
                promise(generate_check(w.g, w.now, text) == 0, "%s", text);
        }
        generate_free(w.g);
        return 0;
}
