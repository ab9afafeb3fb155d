/* privilege.h: a process gives up for good what it may, but for a list. Linux capabilities, by the numbers of linux/capability.h. */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stdint.h>

/* What this process may now; 0: nothing, or unknown. */
uint64_t privilege_have(void);
/* Of what this process may it keeps what is in keep (bits 1 << CAP_…) and gives up the rest, for itself and all that it ever starts: a program with more powers of its own
 * (setuid, file capabilities, or started as root) gets no more than this process has. hand_on: programs that it starts have what it kept, whoever they run as;
 * else only those of root. Before there are threads. 0 or -errno. */
must_check int privilege_keep(uint64_t keep, bool hand_on);
