/* block.h: the family of probes on requests to block devices: loads the best rung that the kernel takes, reads what it counted. Needs CAP_BPF and CAP_PERFMON.
 *
 * What was attached ends with block_free or with the process, however that ends.
 */
#pragma once

#include "base/scope.h"
#include "bpf/probes.h"

struct block;

/* Always answers: with no rung left *ret is NULL and family says why. */
void block_open(uint32_t forced, uint32_t refuse, struct probes_family *family, struct block **ret);
void block_free(struct block *block);
SCOPED_FN(struct block *, block_free)

/* Looks at what was counted since the last look, names devices, fills in what changes in family. 0 or -errno. */
must_check int block_read(struct block *block, struct probes_family *family);
/* The rows, those with the most requests now, and then ever, first; at most `room`. How many. */
uint32_t block_rows(struct block *block, struct probes_block *rows, uint32_t room);
uint32_t block_count(const struct block *block);
