/* maps.h: the maps that families count in: sums for each processor, and rows in two maps of which one is written while the other is read (turns.h has their reader).
 * For *.bpf.c only.
 */
#pragma once

#include "kernel.h"

/* my_totals(): the sums of this processor; NULL never, but the verifier wants to see it looked for. */
#define TOTALS_OF(sums)                                     \
        struct {                                            \
                __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);    \
                __uint(max_entries, 1);                     \
                __type(key, uint32_t);                      \
                __type(value, sums);                        \
        } totals SEC(".maps");                              \
                                                            \
        static __always_inline sums *my_totals(void)        \
        {                                                   \
                uint32_t zero = 0;                          \
                                                            \
                return bpf_map_lookup_elem(&totals, &zero); \
        }

#define ROWS 8192
#define EEXIST 17

/* Rows by process and whatever else is in the key, each with the process's uid and comm. Which map is written is `active`; a program looks once and stays with it.
 *
 * find(key, which): the row, or NULL. enter(key, which, leader, uid, &full): makes it; another processor may have been first, which is as good; where there is no room full counts
 * so and the answer is NULL. */
#define ROWS_IN_TURNS(key_type, value_type)                                                                                                        \
        uint32_t active = 0;                                                                                                                       \
                                                                                                                                                   \
        struct {                                                                                                                                   \
                __uint(type, BPF_MAP_TYPE_HASH);                                                                                                   \
                __uint(max_entries, ROWS);                                                                                                         \
                __type(key, key_type);                                                                                                             \
                __type(value, value_type);                                                                                                         \
        } even SEC(".maps"), odd SEC(".maps");                                                                                                     \
                                                                                                                                                   \
        static __always_inline value_type *find(const key_type *key, uint32_t which)                                                               \
        {                                                                                                                                          \
                return which ? bpf_map_lookup_elem(&odd, key) : bpf_map_lookup_elem(&even, key);                                                   \
        }                                                                                                                                          \
                                                                                                                                                   \
        static __always_inline value_type *enter(const key_type *key, uint32_t which, struct task_struct *leader, uint32_t uid, uint64_t *full)    \
        {                                                                                                                                          \
                value_type fresh = {.uid = uid};                                                                                                   \
                long r;                                                                                                                            \
                                                                                                                                                   \
                bpf_probe_read_kernel(fresh.comm, sizeof fresh.comm, &leader->comm);                                                               \
                r = which ? bpf_map_update_elem(&odd, key, &fresh, BPF_NOEXIST) : bpf_map_update_elem(&even, key, &fresh, BPF_NOEXIST);            \
                if (r < 0 && r != -EEXIST) {                                                                                                       \
                        ++*full;                                                                                                                   \
                        return NULL;                                                                                                               \
                }                                                                                                                                  \
                return find(key, which);                                                                                                           \
        }
