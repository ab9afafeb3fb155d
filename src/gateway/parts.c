/* parts.c: what handlers read of a request: ids, query values, lists, preconditions; each refuses by itself what it can't take. See request.h. */
#include "gateway/range.h"
#include "gateway/request.h"

#include "base/error.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

bool request_id_part(struct request *r, unsigned part, const char *prefix, struct id *ret_id)
{
        char text[128];

        snprintf(text, sizeof text, "%.*s", (int)r->parts[part].length, r->parts[part].text);
        if (r->parts[part].length < sizeof text && id_parse(prefix, text, ret_id) == 0)
                return true;
        /* What is no id is nothing's. */
        reply_problem(r, "not_found", NULL, "There is no such %s.", prefix);
        return false;
}

int request_query(struct request *r, const char *name, char *value, size_t size)
{
        int found = query_get(r->path.query, r->path.query_length, name, value, size);

        if (found >= 0)
                return found;
        reply_problem(r, "request.parameter", NULL, "%s: %s.", name, found == -ENAMETOOLONG ? "too long" : "given twice, or not text in percent encoding");
        return -1;
}

int request_query_number(struct request *r, const char *name, uint64_t least, uint64_t most, uint64_t *ret_number)
{
        char text[32];
        int found = request_query(r, name, text, sizeof text);

        if (found == 1 && text_parse_u64(text, least, most, ret_number) < 0) {
                reply_problem(r, "request.parameter", NULL, "%s: a number from %llu to %llu is taken.", name, (unsigned long long)least,
                              (unsigned long long)most);
                return -1;
        }
        return found;
}

static bool list_id(struct request *r, const char *name, const char *prefix, struct id *ret_id)
{
        char text[64];
        int found = request_query(r, name, text, sizeof text);

        if (found == 1 && id_parse(prefix, text, ret_id) < 0) {
                reply_problem(r, "request.parameter", NULL, "%s: an id beginning with \"%s_\" is taken%s.", name, prefix,
                              strcmp(name, "after") ? "" : ", as \"next\" gives it");
                return false;
        }
        return found >= 0;
}

bool request_list(struct request *r, const char *prefix, struct service_list *ret_list, char state[64], char type[64])
{
        uint64_t limit = 100;
        int found;

        *ret_list = (struct service_list){0};
        if (state) {
                found = request_query(r, "state", state, 64);
                if (found < 0)
                        return false;
                ret_list->state = found ? state : NULL;
        }
        if (type) {
                found = request_query(r, "type", type, 64);
                if (found < 0)
                        return false;
                ret_list->type = found ? type : NULL;
        }
        if (request_query_number(r, "limit", 1, 1000, &limit) < 0 || !list_id(r, "after", prefix, &ret_list->after) ||
            !list_id(r, "account", "account", &ret_list->account))
                return false;
        ret_list->limit = limit;
        return true;
}

bool request_if_match(struct request *r, uint64_t *ret_version)
{
        const char *text = request_header(r, HEADER_IF_MATCH);
        bool any;

        if (!text) {
                reply_problem(r, "request.precondition_required", NULL, "If-Match is needed: the ETag of what was seen, or * for whatever is there.");
                return false;
        }
        if (etag_parse(text, ret_version, &any) == 0)
                return true;
        reply_problem(r, "request.precondition", NULL, "If-Match: one entity tag as ETag gave it, or *.");
        return false;
}
