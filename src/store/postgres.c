/* postgres.c: the pool's rows in PostgreSQL. Not there yet: opening says so. */
#include "store/body.h"

#include <stdio.h>

int postgres_open(const struct store_options *options, struct store **ret_store, char message[STORE_MESSAGE])
{
        (void)options;
        (void)ret_store;
        snprintf(message, STORE_MESSAGE, "this build can't store in PostgreSQL yet; give a path for SQLite");
        return -ENOTSUP;
}
