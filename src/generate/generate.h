/* generate.h: which request for a model goes to which engine, when. Pure: no clock, no I/O, no chance.
 *
 * The caller tells events with the time they happened (milliseconds that never go back) and then carries out what generate_next() hands out, in order, until
 * there is nothing. An engine is one server of one model at one site; a site is a worker's devices together, with `room` bytes of memory. Requests wait
 * here, never inside an engine: an engine is given at most `parallel` at a time.
 *
 * Which engine. Ready, with a free place, allowed by its site's turn; of these the one that did not just fail, then the one whose model is resident, then the least outstanding
 * per place. With none, an engine is asked to start (GENERATE_START), once each start_again_ms while it stays cold or failed.
 *
 * Turns. Engines of a site whose memory together fits its room never wait for each other. Where it does not, the site has a set of engines that are `in`, and only they
 * are given requests. One that is wanted comes in as soon as there is room beside them, or as idle ones leave. Else those in make way, longest in
 * first: at the latest `delay_ms` (or twice what a switch took, if that is more) after the wanted one's oldest request came they are given nothing new, and once their requests have ended, or
 * drain_ms later, the wanted one is in (below it the node's gate moves the memory). So requests are grouped by model, and no model keeps
 * another out for ever. Of several that are wanted: one with a request older than a third of the bound, else the one whose requests have waited most in sum.
 *
 * Who of a model's waiting. The highest band (a request rises one band each age_ms), then the account that was served least (virtual token counters as in
 * pool/fair.c: cost by weight, charged when dispatched, corrected at the end; an account that comes back is lifted to the least of those there), then the oldest.
 *
 * Places that others have. Several servers may give requests to one engine, each as many as `parallel`; its worker has the last word and turns away what is over (generate_busy). Then the
 * engine counts as without a place until its worker tells of one (generate_engine_free), at the latest for busy_ms, and the request waits again at its old place.
 *
 * Bound. Whoever asked has an engine or a refusal (GENERATE_REFUSE with its reason) within wait_ms: no state, count or order of events makes it longer.
 *
 * Invariants (generate_check, after every step of the simulation and the fuzzer):
 *   1  an engine has at most `parallel` requests; the counts are those of the requests
 *   2  nobody waits beyond the bound
 *   3  nobody waits for a model with an engine that is ready, allowed and has a free place
 *   4  what is in at a site fits its room, or is one engine alone
 *   5  generate_next_deadline covers whatever is due
 */
#pragma once

#include "base/id.h"
#include "base/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uthash.h>

#define GENERATE_NONE UINT32_MAX
#define GENERATE_NEVER UINT64_MAX
#define GENERATE_MODEL 128   /* bytes of a model's name, with its end */
#define GENERATE_BANDS 3     /* high, normal, low */
#define GENERATE_UPCOMING 8

enum generate_state { GENERATE_COLD, GENERATE_STARTING, GENERATE_READY, GENERATE_STOPPING, GENERATE_FAILED, GENERATE_AWAY };
enum generate_resident { GENERATE_OUT, GENERATE_IN, GENERATE_UNKNOWN };

struct generate_settings {
        uint64_t wait_ms, delay_ms, drain_ms, age_ms, start_again_ms, busy_ms;
        uint32_t waiting_max, waiting_per_account;
};
extern const struct generate_settings generate_default_settings;

struct generate;
struct generate_model;
struct generate_share;

/* Part of the caller's own request; nothing is allocated for one. */
struct generate_request {
        /* The caller's: set before generate_ask. */
        struct id account;
        uint32_t band, weight;           /* weight 0: 100 */
        uint64_t cost;                   /* predicted: tokens */
        /* Ours. */
        struct generate_model *model;
        struct generate_share *share;
        struct generate_request *next, *prev;          /* of its share's band */
        struct generate_request *older, *newer;        /* all that wait */
        uint64_t asked_ms, sent_ms, charged;
        uint32_t engine, avoid;          /* avoid: where it failed before */
        uint8_t stage;                   /* enum generate_stage */
        bool entered;                    /* the first one since its engine came in: tells what the switch took */
};
enum generate_stage { GENERATE_NOWHERE, GENERATE_WAITING, GENERATE_SENT };

enum generate_reason {
        GENERATE_NO_MODEL = 1,  /* no engine has it */
        GENERATE_FULL,          /* too many wait */
        GENERATE_FULL_ACCOUNT,  /* too many of this account wait */
        GENERATE_TOO_LONG,      /* the bound */
        GENERATE_NO_ENGINE,     /* all of its engines failed */
        GENERATE_MEMORY,
};

enum generate_action_kind { GENERATE_DISPATCH, GENERATE_REFUSE, GENERATE_START, GENERATE_SOON };
struct generate_action {
        enum generate_action_kind kind;
        struct generate_request *request;  /* DISPATCH, REFUSE */
        uint32_t engine;                   /* DISPATCH, START */
        uint32_t site;                     /* SOON: see generate_soon */
        enum generate_reason reason;       /* REFUSE */
};

must_check int generate_new(const struct generate_settings *settings, struct generate **ret_generate);
void generate_free(struct generate *generate);
SCOPED_FN(struct generate *, generate_free)

/* A site: room 0: unknown, so that nobody waits for a turn there. */
must_check int generate_site(struct generate *g, uint64_t now_ms, uint32_t site, uint64_t room);
void generate_site_gone(struct generate *g, uint64_t now_ms, uint32_t site); /* with its engines */

struct generate_engine {
        const char *model;
        uint32_t site;
        enum generate_state state;
        enum generate_resident resident;
        uint32_t parallel;
        uint64_t memory;       /* of the device; 0: none, never in anybody's way */
        bool startable;
        void *context;         /* the caller's */
};
/* engine: GENERATE_NONE: a new one, its number is returned in it; else it changed (its model and site never do). */
must_check int generate_engine(struct generate *g, uint64_t now_ms, const struct generate_engine *spec, uint32_t *engine);
void generate_engine_gone(struct generate *g, uint64_t now_ms, uint32_t engine);
const struct generate_engine *generate_engine_get(const struct generate *g, uint32_t engine); /* NULL: none */

/* Requests that it has; *ret_sent: that it was ever given. */
uint32_t generate_engine_load(const struct generate *g, uint32_t engine, uint64_t *ret_sent);

/* A model that is expected though no engine has it yet: requests for it wait until then in place of GENERATE_NO_MODEL. */
void generate_expect(struct generate *g, uint64_t until_ms);

/* A request: waits, or is dispatched or refused by the next actions. */
void generate_ask(struct generate *g, uint64_t now_ms, const char *model, struct generate_request *request);
/* Its first byte came. */
void generate_first(struct generate *g, uint64_t now_ms, struct generate_request *request);
/* It is over, in whatever way and at whatever stage (also: its client left while it waited); cost: measured, UINT64_MAX: as predicted. It is the caller's again. */
void generate_end(struct generate *g, uint64_t now_ms, struct generate_request *request, uint64_t cost);
/* Its engine failed it before the first byte: it waits again at its old place, and another engine is preferred. True: so it is; false: there is no other, and it is over. */
bool generate_again(struct generate *g, uint64_t now_ms, struct generate_request *request);
/* Its engine had no place for it: it waits again, at its old place. */
void generate_busy(struct generate *g, uint64_t now_ms, struct generate_request *request);
/* A place there has become free. */
void generate_engine_free(struct generate *g, uint64_t now_ms, uint32_t engine);
/* The engine failed a request, or answered one: those that failed last are taken last. */
void generate_judge(struct generate *g, uint32_t engine, bool good);
void generate_tick(struct generate *g, uint64_t now_ms);
uint64_t generate_next_deadline(const struct generate *g);
/* The next thing to do; false: nothing. */
bool generate_next(struct generate *g, struct generate_action *ret_action);

/* Models that will be asked for next at the site, soonest first; how many. */
size_t generate_soon(const struct generate *g, uint32_t site, const char *models[GENERATE_UPCOMING]);

/* For people. */
struct generate_view {
        uint32_t engines, ready, waiting, running;
        uint64_t oldest_ms;                /* how long its oldest request has waited */
};
bool generate_model_view(const struct generate *g, uint64_t now_ms, const char *model, struct generate_view *ret_view);
bool generate_knows(const struct generate *g, const char *model);
/* All that wait, oldest first: with its position among those for its model (from 1), and why it waits, in words. */
void generate_each_waiting(const struct generate *g, uint64_t now_ms, void (*each)(void *context, struct generate_request *request, uint32_t position, const char *why),
                           void *context);
struct generate_counts {
        uint64_t asked, dispatched, refused, ended, again, busy, switches, starts;
        uint32_t waiting, running;
        uint64_t longest_wait_ms;          /* of those dispatched, ever */
};
void generate_counts(const struct generate *g, struct generate_counts *ret_counts);
const char *generate_reason_text(enum generate_reason reason);

/* 0, or the number of the invariant that does not hold, and why in text. */
int generate_check(const struct generate *g, uint64_t now_ms, char text[160]);
