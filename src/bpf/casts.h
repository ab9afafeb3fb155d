/* casts.h: lets programs call bpf_rdonly_cast, a function of the kernel's (6.2 and later), without naming it to libbpf.
 *
 * On a kernel that lacks it libbpf would look for it among the types of all modules, which takes CAP_SYS_ADMIN, and for its sake load none of an object's programs. So
 * kernel.h has a call of CASTS_PLACEHOLDER, a helper that there is not, and here it becomes a call of the function by the kernel's number.
 */
#pragma once

#define CASTS_PLACEHOLDER 0x7ead0001

#ifndef __bpf__
#include "base/scope.h"

struct bpf_program;

/* Before the load. 0; -EOPNOTSUPP: the kernel has no such function; -ENOENT: nor any types. Programs without such calls are left as they are. */
must_check int casts_put(struct bpf_program *const *programs, size_t count);
#endif
