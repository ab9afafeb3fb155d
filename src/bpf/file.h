/* file.h: the family of probes on files: loads the best rung that the kernel takes, reads what it counted. Needs CAP_BPF and CAP_PERFMON.
 *
 * What was attached ends with files_free or with the process, however that ends: all of it hangs on descriptors.
 */
#pragma once

#include "base/scope.h"
#include "bpf/file-map.h"
#include "bpf/probes.h"

struct file_options {
        uint32_t forced, refuse; /* as struct ladder has them */
        uint32_t one_in, entries, uid; /* uid: UINT32_MAX: everybody */
        bool without_closes, part_of_time; /* part_of_time: they will be taken off and put back again and again */
};

struct files;

/* Always answers: with no rung left *ret is NULL and family says why. */
void files_open(const struct file_options *options, struct probes_family *family, struct files **ret);
void files_free(struct files *files);
SCOPED_FN(struct files *, files_free)

/* Taking the probes off for a while, and putting them back; the maps stay. 0 or -errno. */
must_check int files_attach(struct files *files);
void files_detach(struct files *files);

/* What was counted since the last time: one call for each process and file, and counting starts anew. Nothing is lost in between: two halves take turns, and who
 * was still writing to the one that is read is waited for. 0 or -errno. */
must_check int files_read(struct files *files, void (*each)(void *data, const struct file_key *key, const struct file_counts *counts, const struct file_user *user),
                          void *data);
/* Sums over all processors since files_open. */
void files_totals(struct files *files, struct file_totals *ret);
/* The name that the kernel's directory cache had at first sight. False: not known (any more). */
bool files_name(struct files *files, const struct file_name_key *key, struct file_name *ret);
/* Fills in what changes: hits, entries, and so on. */
void files_family(struct files *files, struct probes_family *family);
