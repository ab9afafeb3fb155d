/* window.c: peaks by window on the shared page; see window.h.
 *
 * The writer stores used, then looks at the mask of active windows. Who begins a window sets its bit, then looks at used. Both in one total order
 * (seq_cst), so at least one of them sees the other: nothing in use after the begin is missed. Ends of the name are compared as bytes, since what
 * stands on a page may be anything.
 */
#include "wire/window.h"

#include "base/text.h"

#include <errno.h>
#include <string.h>

enum { WINDOW_FREE = 0, /* enum window_owner: being changed by it */ WINDOW_ACTIVE = 3 };

static void raise_to(_Atomic uint64_t *peak, uint64_t used)
{
        uint64_t before = atomic_load_explicit(peak, memory_order_relaxed);

        while (before < used && !atomic_compare_exchange_weak(peak, &before, used))
                ;
}

void page_note(struct page *page, uint64_t used, uint64_t now_ns)
{
        uint64_t before = atomic_load_explicit(&page->used_bytes, memory_order_relaxed);
        uint64_t noted = atomic_load_explicit(&page->noted_ns, memory_order_relaxed);
        uint64_t sum = atomic_load_explicit(&page->used_sum, memory_order_relaxed);
        uint32_t mask;

        if (!noted)
                atomic_store_explicit(&page->since_ns, now_ns, memory_order_relaxed);
        else if (now_ns > noted) /* MiB × µs: years of a full device fit */
                atomic_store_explicit(&page->used_sum, sum + (uint64_t)((unsigned __int128)before * (now_ns - noted) / MIB / 1000),
                                      memory_order_relaxed);
        atomic_store_explicit(&page->noted_ns, now_ns, memory_order_relaxed);
        atomic_store(&page->used_bytes, used);
        for (mask = atomic_load(&page->windows_active); mask; mask &= mask - 1)
                raise_to(&page->windows[__builtin_ctz(mask) % PAGE_WINDOWS].peak, used);
}

/* The active window of this name, taken for a change of the caller's; NULL: none. */
static struct page_window *window_take(struct page *page, const char *name, enum window_owner owner)
{
        for (unsigned int i = 0; i < PAGE_WINDOWS; i++) {
                struct page_window *w = &page->windows[i];
                uint32_t active = WINDOW_ACTIVE;

                if (atomic_load(&w->state) == WINDOW_ACTIVE && !strncmp(w->name, name, sizeof w->name) &&
                    atomic_compare_exchange_strong(&w->state, &active, owner)) {
                        if (!strncmp(w->name, name, sizeof w->name))
                                return w;
                        atomic_store(&w->state, WINDOW_ACTIVE); /* ended and begun under another name meanwhile */
                }
        }
        return NULL;
}

static struct page_window *window_take_free(struct page *page, enum window_owner owner)
{
        for (unsigned int i = 0; i < PAGE_WINDOWS; i++) {
                uint32_t free = WINDOW_FREE;

                if (atomic_compare_exchange_strong(&page->windows[i].state, &free, owner))
                        return &page->windows[i];
        }
        return NULL;
}

int page_window_begin(struct page *page, const char *name, enum window_owner owner)
{
        struct page_window *w;

        if (!name[0] || strnlen(name, sizeof w->name) == sizeof w->name || !text_is_clean(name, sizeof w->name))
                return -EINVAL;
        w = window_take(page, name, owner);
        if (!w) {
                w = window_take_free(page, owner);
                if (!w)
                        return -ENOSPC;
                memset(w->name, 0, sizeof w->name);
                memcpy(w->name, name, strlen(name));
        }
        atomic_store(&w->peak, 0);
        atomic_fetch_or(&page->windows_active, 1u << (w - page->windows));
        raise_to(&w->peak, atomic_load(&page->used_bytes));
        atomic_store(&w->state, WINDOW_ACTIVE);
        return 0;
}

int page_window_peak(struct page *page, const char *name, enum window_owner owner, bool end, uint64_t *ret_peak)
{
        struct page_window *w = window_take(page, name, owner);

        if (!w)
                return -ENOENT;
        raise_to(&w->peak, atomic_load(&page->used_bytes));
        *ret_peak = atomic_load(&w->peak);
        if (end)
                atomic_fetch_and(&page->windows_active, ~(1u << (w - page->windows)));
        atomic_store(&w->state, end ? WINDOW_FREE : WINDOW_ACTIVE);
        return 0;
}

void page_windows_clean(struct page *page)
{
        for (unsigned int i = 0; i < PAGE_WINDOWS; i++) {
                struct page_window *w = &page->windows[i];

                if (atomic_load(&w->state) != WINDOW_DAEMON)
                        continue;
                atomic_fetch_and(&page->windows_active, ~(1u << i));
                atomic_store(&w->state, WINDOW_FREE);
        }
}

uint64_t page_average(const struct page *page, uint64_t now_ns)
{
        uint64_t since = atomic_load_explicit(&page->since_ns, memory_order_relaxed);
        uint64_t noted = atomic_load_explicit(&page->noted_ns, memory_order_relaxed);
        uint64_t used = atomic_load_explicit(&page->used_bytes, memory_order_relaxed);
        uint64_t peak = atomic_load_explicit(&page->peak_bytes, memory_order_relaxed), average;
        unsigned __int128 sum = (unsigned __int128)atomic_load_explicit(&page->used_sum, memory_order_relaxed) * MIB * 1000;

        if (!noted || since > noted || noted > now_ns || now_ns == since)
                return noted ? used < peak ? used : peak : 0;
        sum += (unsigned __int128)used * (now_ns - noted);
        average = (uint64_t)(sum / (now_ns - since));
        return average < peak ? average : peak;
}
