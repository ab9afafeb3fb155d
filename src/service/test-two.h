/* test-two.h: two services on one PostgreSQL, in one thread, each with a folder of its own: for test-service-servers.c. */
#pragma once

#include "store/test-store.h"

#include "base/error.h"
#include "service/service.h"

struct server {
        struct service *service;
        char folder[300], address[40];
        bool still; /* gets no turns: as if its process were stopped */
};

extern struct server servers[2];
extern char url[300];
extern struct account_caller admin, farm; /* farm: the workers' account */

/* cmocka fixtures: the first is started, the second has the same secrets. */
int setup(void **state);
int teardown(void **state);
int open_server(int i, char message[SERVICE_MESSAGE]);
void start(int i);
void stop(int i);

/* Turns of both until the condition holds; fails when it never does. */
void begin_wait(void);
void wait_more(const char *what);
#define UNTIL(condition)                       \
        do {                                   \
                begin_wait();                  \
                while (!(condition))           \
                        wait_more(#condition); \
        } while (0)

struct answer {
        bool came;
        int status;
        char code[48];
        json_t *json;
};
void answered(void *context, const struct service_answer *answer);
struct account_caller user(unsigned n);
struct answer submit(int server, const struct account_caller *who);
/* Which server the account is at; -1: at none now. */
int place_of(const struct account_caller *who);
int queues_of(int server);
bool shared_fairly(void);
/* The task at any place: its state, and which attempt. */
void look(const struct id *task, char state[20], int *ret_attempt);
