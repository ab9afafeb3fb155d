/* describe.h: what this machine can do, for hello: types, devices, memory, labels; and its load, for heartbeats. What can't be found out is left out. */
#pragma once

#include "worker/options.h"

#include "wire/wire.h"

#include <jansson.h>

/* Members of hello. The reference is the caller's. */
json_t *describe(const struct options *o, const struct confine *c);
/* {"load": 0.5, "memory_free_bytes": …} */
json_t *describe_load(uint32_t running);
/* Memory of the machine in bytes, 0: unknown. */
uint64_t describe_memory(void);

/* node-link.c: the node daemon, asked over its socket. Its path if one answers, else -E_UNAVAILABLE. */
must_check int node_link_find(char *path, size_t size);
/* [{"kind", "name", "memory_bytes"}] of the devices that it shares; -E_UNAVAILABLE. */
must_check int node_link_devices(const char *path, json_t *list);
/* Asks this user's programs to give back device memory that they do not need. How many were asked, or -E_UNAVAILABLE. */
int node_link_trim(const char *path);
/* The memory of the programs of this name or job will be wanted within so long: it comes in as the device has room (berth prefetch). How many
 * programs it was about, or -E_UNAVAILABLE. */
int node_link_prefetch(const char *path, const char *name, uint32_t milliseconds);
