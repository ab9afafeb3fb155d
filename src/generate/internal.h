/* internal.h: the books that the files of this room share: books.c keeps them, pick.c chooses, turn.c has the sites' turns. */
#pragma once

#include "generate/generate.h"

#include <utlist.h>

struct generate_share {
        UT_hash_handle hh;               /* of its model */
        struct id account;
        uint64_t level;                  /* cost × 100 / weight, served so far */
        struct generate_request *bands[GENERATE_BANDS];
        uint32_t waiting, running;
};

struct engine;

struct generate_model {
        UT_hash_handle hh;
        char name[GENERATE_MODEL];
        struct generate_share *shares;
        struct engine *engines;          /* list by same_next */
        uint32_t engine_count, waiting, running;
        uint64_t asked_sum;              /* of asked_ms of those that wait */
};

struct site;

struct engine {
        struct generate_engine spec;
        uint32_t number;
        struct generate_model *model;
        struct site *site;
        struct engine *same_next, *same_prev, *site_next, *site_prev;
        uint32_t outstanding, most;      /* most: places that it ever had since it was without requests */
        bool in, leaving, failed, fresh; /* fresh: came in, and nothing was dispatched since */
        uint64_t sent;                   /* requests, ever */
        uint64_t in_ms, leave_ms, used_ms, start_ms, switch_ms;
        uint64_t full_ms;                /* until then it has no place, whatever its count says; 0: as its count says */
};

struct site {
        UT_hash_handle hh;
        uint32_t number;
        uint64_t room;
        struct engine *engines;
        struct engine *wanted;           /* comes in next */
        bool contended;
        struct generate_model *soon[GENERATE_UPCOMING]; /* as last told; compared only, never followed */
        uint32_t soon_count;
        uint64_t due_ms;
};

struct generate {
        struct generate_settings settings;
        struct generate_model *models;
        struct site *sites;
        struct engine **engines;         /* by number */
        uint32_t engine_count, engine_size;
        struct generate_request *oldest; /* all that wait, in the order they asked */
        struct generate_action *actions;
        size_t action_first, action_count, action_size;
        struct generate_counts counts;
        uint64_t expect_ms, now_ms;
        uint32_t full;                   /* engines whose full_ms is set */
        uint64_t due_ms;                 /* of starts */
        bool told_soon;                  /* some site was told what comes */
};

/* books.c */
void engine_not_full(struct generate *g, struct engine *engine);
struct generate_model *model_find(const struct generate *g, const char *name);
void model_drop(struct generate *g, struct generate_model *model);
void act(struct generate *g, struct generate_action action);
/* Out of the waiting lists. */
void unwait(struct generate *g, struct generate_request *request);
void refuse(struct generate *g, struct generate_request *request, enum generate_reason reason);

/* pick.c */
int pick_share(struct generate_model *model, const struct id *account, struct generate_share **ret_share);
struct generate_request *pick_request(const struct generate *g, struct generate_model *model, uint64_t now_ms);
struct engine *pick_engine(struct generate_model *model, uint32_t avoid);
bool engine_open(const struct engine *engine);
void share_release(struct generate_model *model, struct generate_share *share);
void dispatch(struct generate *g, uint64_t now_ms, struct generate_request *request, struct engine *engine);

/* turn.c */
void site_weigh(struct site *site);
void site_turn(struct generate *g, uint64_t now_ms, struct site *site);
void engine_leave(struct engine *engine);
/* All that can be dispatched is, turns go on, engines are asked to start, what is over the bound is refused. */
void settle(struct generate *g, uint64_t now_ms);
uint64_t model_wait_ms(const struct generate *g, const struct generate_model *model, uint64_t now_ms);
