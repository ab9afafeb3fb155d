/* heap.h: a binary heap of numbers under three keys, whose owner is told where each number went, so that any of them can be moved or taken out.
 *
 * Smallest first: by key, then second, then third, then the number itself, so that the order never depends on history. The keys stand in the heap: no
 * comparison follows a pointer. heap_reserve takes memory; heap_add then can't fail. Add, change and take out are O(log n), the top is O(1).
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define HEAP_NONE UINT32_MAX

struct heap_entry {
        uint64_t key, second, third;
        uint32_t item, unused;
};

struct heap {
        struct heap_entry *entries;
        uint32_t count, size;
};

/* item is at this place now (HEAP_NONE: it was taken out). */
typedef void (*heap_moved_fn)(void *context, uint32_t item, uint32_t at);

static inline bool heap_before(const struct heap_entry *a, const struct heap_entry *b)
{
        if (a->key != b->key)
                return a->key < b->key;
        if (a->second != b->second)
                return a->second < b->second;
        if (a->third != b->third)
                return a->third < b->third;
        return a->item < b->item;
}

/* Room for count entries in all. 0 or -ENOMEM. */
must_check static inline int heap_reserve(struct heap *heap, uint32_t count)
{
        struct heap_entry *entries;
        uint32_t size = heap->size ? heap->size : 4;

        if (count <= heap->size)
                return 0;
        while (size < count)
                size = size > UINT32_MAX / 2 ? UINT32_MAX : size * 2;
        entries = realloc(heap->entries, (size_t)size * sizeof(*entries));
        if (!entries)
                return -ENOMEM;
        heap->entries = entries;
        heap->size = size;
        return 0;
}

static inline void heap_done(struct heap *heap)
{
        free(heap->entries);
        *heap = (struct heap){0};
}

static inline void heap_put_(struct heap *heap, uint32_t at, struct heap_entry entry, heap_moved_fn moved, void *context)
{
        heap->entries[at] = entry;
        moved(context, entry.item, at);
}

/* The entry belongs at `at` or above. */
static inline void heap_up_(struct heap *heap, uint32_t at, struct heap_entry entry, heap_moved_fn moved, void *context)
{
        while (at) {
                uint32_t parent = (at - 1) / 2;

                if (!heap_before(&entry, &heap->entries[parent]))
                        break;
                heap_put_(heap, at, heap->entries[parent], moved, context);
                at = parent;
        }
        heap_put_(heap, at, entry, moved, context);
}

static inline void heap_down_(struct heap *heap, uint32_t at, struct heap_entry entry, heap_moved_fn moved, void *context)
{
        for (;;) {
                uint64_t child = (uint64_t)at * 2 + 1;

                if (child >= heap->count)
                        break;
                if (child + 1 < heap->count && heap_before(&heap->entries[child + 1], &heap->entries[child]))
                        child++;
                if (!heap_before(&heap->entries[child], &entry))
                        break;
                heap_put_(heap, at, heap->entries[child], moved, context);
                at = (uint32_t)child;
        }
        heap_put_(heap, at, entry, moved, context);
}

/* The caller has reserved the room. */
static inline void heap_add(struct heap *heap, struct heap_entry entry, heap_moved_fn moved, void *context)
{
        heap_up_(heap, heap->count++, entry, moved, context);
}

/* Other keys for what stands at `at`. */
static inline void heap_change(struct heap *heap, uint32_t at, struct heap_entry entry, heap_moved_fn moved, void *context)
{
        entry.item = heap->entries[at].item;
        if (at && heap_before(&entry, &heap->entries[(at - 1) / 2]))
                heap_up_(heap, at, entry, moved, context);
        else
                heap_down_(heap, at, entry, moved, context);
}

static inline void heap_take(struct heap *heap, uint32_t at, heap_moved_fn moved, void *context)
{
        struct heap_entry last = heap->entries[heap->count - 1];
        uint32_t item = heap->entries[at].item;

        heap->count--;
        if (at < heap->count) {
                if (at && heap_before(&last, &heap->entries[(at - 1) / 2]))
                        heap_up_(heap, at, last, moved, context);
                else
                        heap_down_(heap, at, last, moved, context);
        }
        moved(context, item, HEAP_NONE);
}

static inline const struct heap_entry *heap_top(const struct heap *heap)
{
        return heap->count ? &heap->entries[0] : NULL;
}
