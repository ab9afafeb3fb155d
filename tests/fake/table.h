/* table.h: address ranges that do not overlap, sorted, found by any address inside. The caller locks. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What each item begins with. */
struct table_key {
        unsigned long long base;
        uint64_t bytes;
};

struct table {
        char *items;
        size_t count, room, bytes; /* bytes: of one item */
};

/* How many items begin at or below the address. */
size_t table_rank(const struct table *t, unsigned long long at);
/* The item that holds the address, or NULL; good until the next table_add or table_remove. */
void *table_find(const struct table *t, unsigned long long at);
/* False when out of memory. */
bool table_add(struct table *t, const void *item);
void table_remove(struct table *t, const void *item);
/* The first item that begins at or above the address, or NULL. */
void *table_from(const struct table *t, unsigned long long at);
/* Whether [at, at + bytes) meets an item. */
bool table_meets(const struct table *t, unsigned long long at, uint64_t bytes);
