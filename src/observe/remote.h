/* remote.h: the daemon's side of the sensor process. For observe.c only; observe.h has the contract. */
#pragma once

#include "observe/observe.h"

struct remote;

/* Starts the process and waits for its list of devices. */
must_check int remote_open(const struct observe_options *options, uint64_t patience_ns, struct remote **ret,
                           struct observe_device devices[OBSERVE_MAX_DEVICES], size_t *ret_count, char message[256]);
void remote_free(struct remote *remote);
SCOPED_FN(struct remote *, remote_free)

int remote_fd(const struct remote *remote);
pid_t remote_pid(const struct remote *remote);
bool remote_ask(struct remote *remote, uint64_t now);
enum observe_news remote_take(struct remote *remote, uint64_t now, struct observe_sample *samples);
const char *remote_why(const struct remote *remote);
