/* table.c: sorted arrays of address ranges. */
#include "table.h"

#include <stdlib.h>
#include <string.h>

static unsigned long long base_of(const struct table *t, size_t i)
{
        unsigned long long base;

        memcpy(&base, t->items + i * t->bytes, sizeof(base));
        return base;
}

size_t table_rank(const struct table *t, unsigned long long at)
{
        size_t low = 0, high = t->count;

        while (low < high) {
                size_t middle = (low + high) / 2;

                if (base_of(t, middle) <= at)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

void *table_find(const struct table *t, unsigned long long at)
{
        size_t i = table_rank(t, at);
        struct table_key *r;

        if (i == 0)
                return NULL;
        r = (void *)(t->items + (i - 1) * t->bytes);
        return at - r->base < r->bytes ? r : NULL;
}

bool table_add(struct table *t, const void *item)
{
        unsigned long long base;
        size_t i;

        if (t->count == t->room) {
                size_t room = t->room ? t->room * 2 : 64;
                char *p = realloc(t->items, room * t->bytes);

                if (!p)
                        return false;
                t->items = p;
                t->room = room;
        }
        memcpy(&base, item, sizeof(base));
        i = table_rank(t, base);
        memmove(t->items + (i + 1) * t->bytes, t->items + i * t->bytes, (t->count - i) * t->bytes);
        memcpy(t->items + i * t->bytes, item, t->bytes);
        t->count++;
        return true;
}

void table_remove(struct table *t, const void *item)
{
        size_t i = (size_t)((const char *)item - t->items) / t->bytes;

        t->count--;
        memmove(t->items + i * t->bytes, t->items + (i + 1) * t->bytes, (t->count - i) * t->bytes);
}

void *table_from(const struct table *t, unsigned long long at)
{
        size_t i = at ? table_rank(t, at - 1) : 0;

        return i < t->count ? t->items + i * t->bytes : NULL;
}

bool table_meets(const struct table *t, unsigned long long at, uint64_t bytes)
{
        const struct table_key *next = table_from(t, at);

        return table_find(t, at) || (next && next->base < at + bytes);
}
