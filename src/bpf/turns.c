/* turns.c: swaps, waits and reads; see turns.h. */
#include "bpf/turns.h"

#include <bpf/bpf.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FIRST_ROOM 1024

static int make_room(struct turns *t, uint32_t room)
{
        void *keys = realloc(t->keys, room * t->key), *values;

        if (!keys)
                return -ENOMEM;
        t->keys = keys;
        values = realloc(t->values, room * t->value);
        if (!values)
                return -ENOMEM;
        t->values = values;
        t->room = room;
        return 0;
}

int turns_open(struct turns *t, int even, int odd, uint32_t *active, size_t key, size_t value)
{
        *t = (struct turns){.even = even, .odd = odd, .active = active, .key = key, .value = value};
        return make_room(t, FIRST_ROOM);
}

void turns_close(struct turns *t)
{
        free(t->keys);
        free(t->values);
        t->keys = t->values = NULL;
}

uint32_t turns_swap(struct turns *t)
{
        uint32_t was = *t->active;

        __atomic_store_n(t->active, !was, __ATOMIC_SEQ_CST);
        /* Programs run inside of a read-side section; this waits until all that began before have ended. */
        if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) < 0)
                usleep(20000);
        return was;
}

int turns_empty(struct turns *t, uint32_t which, void (*each)(void *data, const void *key, const void *value), void *data)
{
        int map = which ? t->odd : t->even, r = 0;
        uint32_t at = 0;
        bool first = true;

        t->entries = 0;
        while (r == 0) {
                uint32_t count = t->room;

                r = bpf_map_lookup_and_delete_batch(map, first ? NULL : &at, &at, t->keys, t->values, &count, NULL);
                if (r == -ENOSPC) { /* one bucket has more than fits */
                        r = make_room(t, t->room * 2);
                        continue;
                }
                if (r < 0 && r != -ENOENT)
                        return r;
                first = false;
                for (uint32_t i = 0; i < count; i++)
                        each(data, (char *)t->keys + i * t->key, (char *)t->values + i * t->value);
                t->entries += count;
        }
        return r == -ENOENT ? 0 : r; /* that was the last */
}
