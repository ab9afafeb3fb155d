/* store-machine.h: what this process has open of the machine; for store.c and store-machine.c only. */
#pragma once

#include "store.h"

#include <pthread.h>

struct store_machine {
        pthread_mutex_t mutex;
        int folder, lock, held; /* held: the header, with a shared flock: "somebody is here" */
        struct store_header *header;
        struct store_file *files; /* open in this process */
        bool handlers;
};

extern struct store_machine machine;

/* store_sweep, under the folder's lock. */
void store_sweep_locked(void);
/* 0 or -errno; interruptions are waited out. */
int store_flock(int fd, int operation);
