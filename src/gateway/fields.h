/* fields.h: members of JSON bodies that the gateway itself takes: each checked, all that is wrong told at once (problem request.schema, violations). */
#pragma once

#include "gateway/request.h"

#include <jansson.h>

struct fields {
        struct request *request;
        const json_t *body;
        json_t *violations;
        const char *known;               /* names that may be there */
};

/* known: "name password". */
struct fields fields_of(struct request *request, const char *known);
/* The text, or NULL: not there (a violation when needed). least … most bytes. */
const char *fields_text(struct fields *fields, const char *name, size_t least, size_t most, bool needed);
bool fields_number(struct fields *fields, const char *name, uint64_t most, uint64_t *value);
bool fields_bool(struct fields *fields, const char *name, bool *value);
/* unix milliseconds; null: 0. */
bool fields_time(struct fields *fields, const char *name, int64_t *value);
void fields_wrong(struct fields *fields, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* True: all good. Else answered. Frees what it holds. */
bool fields_good(struct fields *fields);

/* A time as JSON: RFC 3339, or null for 0. */
json_t *time_json(int64_t unix_ms);
