/* routes.c: the table of routes and how one is found in it; see routes.h. */
#include "gateway/handlers.h"

#include <stdio.h>
#include <string.h>

const struct route routes[] = {
#define ROUTE(name, way, pattern, right, flags, limit, takes, gives, query, tag, summary) \
        {#name, WAY_##way, pattern, RIGHT_##right, flags, limit, takes, gives, query, handle_##name, tag, summary},
#include "gateway/routes.def"
#undef ROUTE
};
const size_t route_count = ARRAY_SIZE(routes);

const char *way_name(enum http_way way)
{
        static const char *const names[] = {[WAY_GET] = "GET", [WAY_POST] = "POST", [WAY_PUT] = "PUT", [WAY_PATCH] = "PATCH", [WAY_DELETE] = "DELETE",
                                            [WAY_HEAD] = "HEAD"};

        return (size_t)way < ARRAY_SIZE(names) && names[way] ? names[way] : "other";
}

int route_find(enum http_way way, const char *path, const struct route **ret_route, struct path_part parts[PATH_PARTS], char allow[64])
{
        enum http_way wanted = way == WAY_HEAD ? WAY_GET : way;
        struct path_part found[PATH_PARTS] = {0};
        bool here = false;

        allow[0] = 0;
        for (size_t i = 0; i < route_count; i++) {
                /* A literal segment goes before a name: "/sessions/refresh" before "/sessions/{id}" by their order in the table. */
                if (!path_match(routes[i].pattern, path, found))
                        continue;
                if (routes[i].way == wanted) {
                        memcpy(parts, found, sizeof found);
                        *ret_route = &routes[i];
                        return 0;
                }
                here = true;
                if (strlen(allow) + 16 < 64)
                        snprintf(allow + strlen(allow), 64 - strlen(allow), "%s%s%s", allow[0] ? ", " : "", way_name(routes[i].way),
                                 routes[i].way == WAY_GET ? ", HEAD" : "");
        }
        return here ? -ENOTSUP : -ENOENT;
}
