/* table.h: what was counted, summed up in the probes process: processes, files, and who used which; with names as they become known. Bounded: what falls
 * out of it stays in the sums of "others".
 */
#pragma once

#include "bpf/file-map.h"
#include "bpf/probes.h"

struct table;

must_check int table_new(struct table **ret);
void table_free(struct table *table);
SCOPED_FN(struct table *, table_free)

/* A new window begins: what the rows have in `now` is of the old one. */
void table_turn(struct table *table, uint64_t now_ns);
/* A row of the kernel's map. -ENOMEM: counted in all and in others. */
void table_file(struct table *table, const struct file_key *key, const struct file_counts *counts, const struct file_user *user);
/* Calls of the driver by one process. comm: 16 bytes, need not end. */
void table_gpu(struct table *table, uint32_t pid, uint64_t start_ns, uint32_t uid, const char *comm, const struct probes_gpu *gpu);
/* Looks up what names are not known yet or no longer believed, for rows of this window: processes in /proc, paths through their descriptors, else through name. At
 * most `budget` paths. */
void table_names(struct table *table, uint64_t now_ns, uint32_t budget,
                 bool (*name)(void *data, const struct file_name_key *key, struct file_name *ret), void *data);
/* Processes that have ended a while ago, and more rows than there is room for, go; what they counted stays in the sums. */
void table_sweep(struct table *table, uint64_t now_ns);
/* Fills counts, sums, caches and rows; the rest of the snapshot is copied from head, and there is room for its blocks and runners. The caller frees it. NULL: out of memory. */
struct probes_snapshot *table_snapshot(struct table *table, const struct probes_snapshot *head);
