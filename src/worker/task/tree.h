/* tree.h: folders made equal, file by file, by digest: the ground of synchronise, mirror and migrate. */
#pragma once

#include "worker/task/task.h"

struct tree_result {
        uint64_t files, copied, same, removed, copied_bytes, verified;
        json_t *manifest; /* {path: {"sha256", "bytes"}} of what was looked at; the caller's */
};

/* Makes below `to` what is below `from`: what differs by digest is copied beside and put in place at once; what was copied is read back and compared; with
 * remove, what `from` has not goes. Regular files and folders only; links and others are left alone and counted nowhere. */
must_check int tree_copy(struct task *t, const char *from, const char *to, bool remove, struct tree_result *ret);
/* Reads everything below folder and compares it with the manifest; the number that differ or are missing in *ret_wrong. */
must_check int tree_verify(struct task *t, const char *folder, const json_t *manifest, uint64_t *ret_wrong);
/* Writes JSON as a file below a writable folder, whole or not at all. */
must_check int tree_write_json(struct task *t, const char *folder, const char *name, const json_t *value);
