/* submit.h: what submit.c and submit-store.c share. */
#pragma once

#include "service/internal.h"

#define KEY_BYTES 255
#define WAITERS 16

struct asker {
        service_done_fn done;
        void *context;
};

/* A submission under way that needs the store first: because of its key, or of tasks to wait for that have ended already. */
struct answer_entry {
        UT_hash_handle by_key;
        char text_key[ID_TEXT + KEY_BYTES + 2];
        bool keyed, dry_run;
        uint8_t fingerprint[32];
        struct account_caller caller;
        json_t *body;
        struct asker askers[WAITERS];
        size_t asker_count;
        char *text;             /* the answer, once there is one */
        size_t bytes;
        char location[96];
        struct ended {
                struct id id;
                bool known, done;
        } *ended;
        size_t ended_count;
};

struct submit {
        struct service *service;
        const struct account_caller *caller;
        bool dry_run;
        const struct strbuf *payload; /* NULL: in the body */
        struct answer_entry *entry; /* NULL: the asker's own */
        struct asker asker;
};

void submit_problem(struct submit *u, int status, const char *code, const char *detail, json_t *body);
void submit_failed(struct submit *u, int error);
void submit_now(struct submit *u, const json_t *body);

/* submit-store.c: by way of the store */
void answer_entry_free(struct service *s, struct answer_entry *entry);
void answer_entry_tell(struct service *s, void *context, int error);
int answer_entry_put_row(struct service *s, const struct answer_entry *entry);
bool submit_key_valid(const char *key);
bool submit_names_ended(struct service *s, const json_t *body);
void submit_through_store(struct submit *u, const json_t *body, const char *key);
