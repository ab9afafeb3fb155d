/* record-probes.h: what probes counted as a part of a recorded look (record.h). Its own bytes, whatever the snapshot's look like: a record outlives releases. Pure. */
#pragma once

#include "base/strbuf.h"
#include "bpf/probes.h"

/* Appends the part. */
void record_probes_put(const struct probes_snapshot *s, struct strbuf *b);
/* The part at *at, which is moved behind it, as a snapshot that passed probes_check; to be freed. False: it is no such part. */
bool record_probes_get(const char **at, size_t *left, struct probes_snapshot **ret);
