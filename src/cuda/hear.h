/* hear.h: what the daemon says, into the books. Helper thread, books held. */
#pragma once

#include "cuda/state.h"

/* One message, checked already. *fd is taken (set to -1) when kept. */
void hear(const struct wire_message *m, int *fd);
