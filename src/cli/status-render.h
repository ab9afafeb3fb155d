/* status-render.h: a snapshot as text and as JSON. Pure; what could not be measured is "unavailable" or null, never
 * zero. */
#pragma once

#include "base/strbuf.h"
#include "cli/snapshot.h"

#include <jansson.h>

void status_text(const struct snapshot *s, struct strbuf *b);

/* NULL: out of memory. The caller's. */
json_t *status_client_json(const struct wire_STATUS_CLIENT *client);
json_t *status_json(const struct snapshot *s);
