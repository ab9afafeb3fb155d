/* folder.h: folders made with all that lead to them. */
#pragma once

#include "base/scope.h"

#include <sys/types.h>

/* Makes path, and each folder on the way to it that is missing (with mode `above`); what is there stays as it is. 0 or -errno; -ENAMETOOLONG: over 4095 bytes;
 * -ENOTDIR: something else stands there. */
must_check int folder_make(const char *path, mode_t above, mode_t mode);
