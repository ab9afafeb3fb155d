/* openapi.c: the document of all routes (OpenAPI 3.1); see openapi.h. */
#define LOG_ROOM "gateway"
#include "gateway/openapi.h"

#include "gateway/routes.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

/* Made from schemas.json when built. */
extern const char schemas_json[];

static const struct {
        const char *name, *type, *text;
} parameters[] = {
        {"account", "string", "only of this account"},
        {"after", "string", "go on behind this: of a list what \"next\" gave, of events an event's id"},
        {"dry_run", "boolean", "only say what would happen"},
        {"limit", "integer", "at most so many, 1 to 1000"},
        {"offset", "integer", "from this byte on"},
        {"series", "string", "only these, comma separated"},
        {"since", "integer", "so many seconds back, up to 604800; 600 when missing"},
        {"state", "string", "only in this state"},
        {"task", "string", "only of this task"},
        {"ticket", "string", "in place of an Authorization header: see POST /api/v1/tickets"},
        {"type", "string", "only of this type"},
        {"wait", "integer", "answer when the task ended, at the latest after so many seconds, up to 300"},
};

static const struct {
        const char *code;
        int status;
        const char *title;
} problems[] = {
#define PROBLEM(code, status, title) {code, status, title},
#include "gateway/problem.def"
#undef PROBLEM
};

static bool add_query(json_t *list, const char *names, char message[256])
{
        for (const char *at = names; at && *at; at += strcspn(at, " "), at += strspn(at, " ")) {
                size_t n = strcspn(at, " "), i;

                for (i = 0; i < ARRAY_SIZE(parameters); i++)
                        if (strlen(parameters[i].name) == n && !memcmp(parameters[i].name, at, n))
                                break;
                if (i == ARRAY_SIZE(parameters)) {
                        snprintf(message, 256, "no parameter %.*s", (int)n, at);
                        return false;
                }
                json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:{s:s}}", "name", parameters[i].name, "in", "query", "description", parameters[i].text,
                                                      "schema", "type", parameters[i].type));
        }
        return true;
}

static void add_path_parts(json_t *list, const char *pattern)
{
        for (const char *at = strchr(pattern, '{'); at; at = strchr(at + 1, '{')) {
                char name[32];

                snprintf(name, sizeof name, "%.*s", (int)strcspn(at + 1, "}."), at + 1);
                json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:{s:s}}", "name", name, "in", "path", "required", true, "schema", "type", "string"));
        }
}

void openapi_path(const char *pattern, char text[128])
{
        size_t n = 0;

        for (bool inside = false; *pattern && n < 127; pattern++) {
                inside = *pattern == '{' || (inside && *pattern != '}');
                if (!inside || *pattern != '.')
                        text[n++] = *pattern;
        }
        text[n] = 0;
}

static json_t *schema_ref(const json_t *schemas, const char *name, char message[256])
{
        char path[100];

        if (!json_object_get(schemas, name)) {
                snprintf(message, 256, "no schema %s", name);
                return NULL;
        }
        snprintf(path, sizeof path, "#/components/schemas/%s", name);
        return json_pack("{s:s}", "$ref", path);
}

static json_t *problem_answer(unsigned flags)
{
        if (flags & ROUTE_OPENAI)
                return json_pack("{s:s, s:{s:{s:{s:s}}}}", "description", "an error", "content", "application/json", "schema", "$ref", "#/components/schemas/OpenaiError");

        return json_pack("{s:s, s:{s:{s:{s:s}}}}", "description", "a problem", "content", "application/problem+json", "schema", "$ref",
                         "#/components/schemas/Problem");
}

/* "202 Submitted, 200 text/plain, 404" */
static bool add_answers(json_t *answers, const json_t *schemas, const struct route *route, char message[256])
{
        const char *gives = route->gives;

        while (*gives) {
                size_t n = strcspn(gives, ",");
                char status[4] = "", what[64] = "";
                json_t *schema;

                if (sscanf(gives, "%3[0-9] %63[^,]", status, what) < 1) {
                        snprintf(message, 256, "answers: %.60s", gives);
                        return false;
                }
                if (!what[0] && status[0] >= '4') {
                        json_object_set_new(answers, status, problem_answer(route->flags));
                } else if (!what[0]) {
                        json_object_set_new(answers, status, json_pack("{s:s}", "description", "no body"));
                } else if (strchr(what, '/') && json_object_get(answers, status)) {
                        json_object_set_new(json_object_get(json_object_get(answers, status), "content"), what, json_object()); /* one of several */
                } else if (strchr(what, '/')) {
                        json_object_set_new(answers, status, json_pack("{s:s, s:{s:{}}}", "description", what, "content", what));
                } else {
                        schema = schema_ref(schemas, what, message);
                        if (!schema)
                                return false;
                        json_object_set_new(answers, status, json_pack("{s:s, s:{s:{s:o}}}", "description", what, "content", "application/json", "schema", schema));
                }
                gives += n;
                gives += strspn(gives, ", ");
        }
        return true;
}

/* What admission and reading can answer anywhere. */
static void add_common(json_t *answers, const struct route *route)
{
        static const char *const always[] = {"400", "408", "431", "503"}, *const known[] = {"401", "403", "429", "307"}, *const body[] = {"411", "413", "415", "422"};

        for (size_t i = 0; i < 4; i++) {
                if (!json_object_get(answers, always[i]))
                        json_object_set_new(answers, always[i], problem_answer(route->flags));
                if ((route->right != RIGHT_NONE || (i == 2 && !(route->flags & ROUTE_PLAIN))) && !json_object_get(answers, known[i]) &&
                    (i < 3 || route->flags & ROUTE_OWNED))
                        json_object_set_new(answers, known[i], problem_answer(route->flags));
                if ((route->body_limit || route->flags & ROUTE_UPLOAD || i == 1) && !json_object_get(answers, body[i]))
                        json_object_set_new(answers, body[i], problem_answer(route->flags));
        }
}

static json_t *operation(const struct route *route, const json_t *schemas, char message[256])
{
        json_t *parts = json_array(), *answers = json_object(), *o, *schema;

        add_path_parts(parts, route->pattern);
        if (!add_query(parts, route->query, message) || !add_answers(answers, schemas, route, message)) {
                json_decref(parts);
                json_decref(answers);
                return NULL;
        }
        add_common(answers, route);
        if (strstr(route->gives, "Submitted"))
                json_array_append_new(parts, json_pack("{s:s, s:s, s:s, s:{s:s, s:i}}", "name", "Idempotency-Key", "in", "header", "description",
                                                       "makes a repetition safe for 24 hours", "schema", "type", "string", "maxLength", 255));
        o = json_pack("{s:s, s:s, s:[s], s:s, s:o, s:o}", "operationId", route->name, "summary", route->summary, "tags", route->tag, "x-right",
                      account_right_name(route->right), "parameters", parts, "responses", answers);
        if (route->right != RIGHT_NONE)
                json_object_set_new(o, "security", json_pack("[{s:[]}]", "bearer"));
        else
                json_object_set_new(o, "security", json_array());
        if (route->takes) {
                schema = schema_ref(schemas, route->takes, message);
                if (!schema) {
                        json_decref(o);
                        return NULL;
                }
                json_object_set_new(o, "requestBody", json_pack("{s:b, s:{s:{s:o}}}", "required", !(route->flags & ROUTE_OPTIONAL), "content", "application/json",
                                                                "schema", schema));
        } else if (route->flags & ROUTE_UPLOAD) {
                json_object_set_new(o, "requestBody", json_pack("{s:b, s:{s:{}}}", "required", true, "content", "application/octet-stream"));
        }
        return o;
}

json_t *openapi_document(char message[256])
{
        json_t *schemas = json_loads(schemas_json, JSON_REJECT_DUPLICATES, NULL), *paths = json_object(), *list = json_array(), *path, *one;
        char name[128];
        static const char *const ways[] = {"get", "post", "put", "patch", "delete"};

        message[0] = 0;
        for (size_t i = 0; schemas && i < route_count; i++) {
                one = operation(&routes[i], schemas, message);
                if (!one) {
                        json_decref(paths);
                        paths = NULL;
                        break;
                }
                openapi_path(routes[i].pattern, name);
                path = json_object_get(paths, name);
                if (!path) {
                        path = json_object();
                        json_object_set_new(paths, name, path);
                }
                json_object_set_new(path, ways[routes[i].way], one);
        }
        for (size_t i = 0; i < ARRAY_SIZE(problems); i++)
                json_array_append_new(list, json_pack("{s:s, s:i, s:s}", "code", problems[i].code, "status", problems[i].status, "title", problems[i].title));
        if (!schemas || !paths) {
                if (!message[0])
                        snprintf(message, 256, "schemas.json is not JSON");
                json_decref(schemas);
                json_decref(list);
                json_decref(paths);
                return NULL;
        }
        return json_pack("{s:s, s:{s:s, s:s, s:s}, s:o, s:{s:o, s:{s:{s:s, s:s}}}, s:o}", "openapi", "3.1.0", "info", "title", "Berth pool", "version",
                         BERTH_VERSION, "description", "Tasks, workers, events, artifacts and accounts of a pool.", "paths", paths, "components", "schemas", schemas,
                         "securitySchemes", "bearer", "type", "http", "scheme", "bearer", "x-problems", list);
}

int openapi_make(struct server *server)
{
        char message[256];
        json_t *document = openapi_document(message);

        if (!document) {
                log_error("%s", message);
                return -EINVAL;
        }
        server->openapi = json_dumps(document, JSON_COMPACT);
        json_decref(document);
        if (!server->openapi)
                return -ENOMEM;
        server->openapi_bytes = strlen(server->openapi);
        return 0;
}
