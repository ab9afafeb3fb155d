/* handlers.h: declares the handlers of routes.def, for the files that hold them. */
#pragma once

#include "gateway/request.h"

#define ROUTE(name, way, pattern, right, flags, limit, takes, gives, query, tag, summary) void handle_##name(struct request *request);
#include "gateway/routes.def"
#undef ROUTE
