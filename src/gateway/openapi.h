/* openapi.h: /openapi.json, made once at start from the table of routes, the schemas (schemas.json) and the problems. */
#pragma once

#include "gateway/gateway.h"

#include <jansson.h>

/* server->openapi. -EINVAL: a route names a schema or parameter that there is not; the program's own tests see to that. */
must_check int openapi_make(struct server *server);
/* The same as a value; NULL and what is wrong in message. */
json_t *openapi_document(char message[256]);
/* A route's pattern as the document has it: "{model...}" is "{model}" there, which has no name for several segments. */
void openapi_path(const char *pattern, char text[128]);
