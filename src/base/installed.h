/* installed.h: files that come with Berth beside its programs: models, engines, pages. */
#pragma once

#include "base/scope.h"

#include <stddef.h>

/* The full path of "models/x.gguf": in the sources when the running program lies in a build's folder (BUILD/src/ROOM/program), else in ../share/berth beside the
 * folder that it is installed in. -ENOENT, -ENAMETOOLONG. */
must_check int installed_find(const char *relative, char *path, size_t size);
