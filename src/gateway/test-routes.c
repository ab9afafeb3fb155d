/* test-routes.c: the table of routes is sound, finds what it should, and its document is complete. */
#include "gateway/openapi.h"
#include "gateway/routes.h"
#include "gateway/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>

static void each_route_is_found_by_its_own_pattern(void **state)
{
        for (size_t i = 0; i < route_count; i++) {
                struct path_part parts[PATH_PARTS];
                const struct route *found;
                char allow[64];

                assert_int_equal(route_find(routes[i].way, routes[i].pattern, &found, parts, allow), 0);
                assert_ptr_equal(found, &routes[i]);
                assert_true(routes[i].way < WAYS);
                assert_non_null(routes[i].handle);
        }
}

static void other_ways_and_paths_are_told_apart(void **state)
{
        struct path_part parts[PATH_PARTS];
        const struct route *found;
        char allow[64];

        assert_int_equal(route_find(WAY_DELETE, "/api/v1/tasks", &found, parts, allow), -ENOTSUP);
        assert_string_equal(allow, "POST, GET, HEAD");
        assert_int_equal(route_find(WAY_OTHER, "/healthz", &found, parts, allow), -ENOTSUP);
        assert_string_equal(allow, "GET, HEAD");
        assert_int_equal(route_find(WAY_HEAD, "/healthz", &found, parts, allow), 0);
        assert_int_equal(route_find(WAY_GET, "/api/v1/taskss", &found, parts, allow), -ENOENT);
        assert_int_equal(route_find(WAY_GET, "/api/v1/tasks/a/b/c", &found, parts, allow), -ENOENT);
}

/* What is open to everybody is written here a second time, so that a route does not become so by accident. */
static void only_these_are_open(void **state)
{
        static const char *const open[] = {"/healthz", "/readyz", "/openapi.json", "/", "/icon.svg", "/assets/{file}", "/docs", "/docs.js", "/setup", "/setup.js", "/style.css",
                                           "/.well-known/jwks.json", "/api/v1/setup", "/api/v1/sessions", "/api/v1/sessions/refresh"};
        size_t count = 0;

        for (size_t i = 0; i < route_count; i++) {
                bool listed = false;

                if (routes[i].right != RIGHT_NONE)
                        continue;
                for (size_t j = 0; j < ARRAY_SIZE(open); j++)
                        listed = listed || !strcmp(open[j], routes[i].pattern);
                if (!listed)
                        fail_msg("%s is open to everybody", routes[i].pattern);
                count++;
        }
        assert_int_equal(count, ARRAY_SIZE(open));
}

static void the_document_names_every_route(void **state)
{
        char message[256];
        json_t *document = openapi_document(message), *paths;

        assert_string_equal(message, "");
        assert_non_null(document);
        paths = json_object_get(document, "paths");
        for (size_t i = 0; i < route_count; i++) {
                char path[128];

                openapi_path(routes[i].pattern, path);
                assert_null(strstr(path, "..."));
                assert_non_null(json_object_get(paths, path));
        }
        json_decref(document);
}

static void settings_have_sound_defaults(void **state)
{
        struct gateway_settings s;
        char host[128];
        uint16_t port;

        config_defaults(&gateway_settings_table, &s);
        assert_int_equal(gateway_parse_listen(s.listen, host, &port), 0);
        assert_string_equal(host, "127.0.0.1");
        assert_int_equal(port, 7780);
        assert_true(s.suspect_ns < s.drain_ns && s.drain_ns < s.gone_ns);
}

static void listen_addresses(void **state)
{
        static const char *const bad[] = {"", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "::1:80", "[::1", "[::1]80", "a:b", "1:-1"};
        char host[128];
        uint16_t port;

        assert_int_equal(gateway_parse_listen("[::1]:80", host, &port), 0);
        assert_string_equal(host, "::1");
        assert_int_equal(gateway_parse_listen(":0", host, &port), 0);
        assert_string_equal(host, "::");
        assert_int_equal(gateway_parse_listen("8080", host, &port), 0);
        assert_string_equal(host, "127.0.0.1");
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                if (gateway_parse_listen(bad[i], host, &port) != -EINVAL)
                        fail_msg("\"%s\" was taken", bad[i]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_route_is_found_by_its_own_pattern), cmocka_unit_test(other_ways_and_paths_are_told_apart), cmocka_unit_test(only_these_are_open),
                cmocka_unit_test(the_document_names_every_route), cmocka_unit_test(settings_have_sound_defaults), cmocka_unit_test(listen_addresses),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
