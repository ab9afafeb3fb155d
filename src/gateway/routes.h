/* routes.h: the one table of routes, made from routes.def: who answers what, who may ask, what it takes and gives. */
#pragma once

#include "account/account.h"
#include "gateway/path.h"

#include <stdbool.h>
#include <stddef.h>

struct request;

enum http_way { WAY_GET, WAY_POST, WAY_PUT, WAY_PATCH, WAY_DELETE, WAYS, WAY_HEAD, WAY_OTHER };

enum route_flags {
        ROUTE_TICKET = 1 << 0,     /* a ticket in the query is as good as an Authorization header */
        ROUTE_SOCKET = 1 << 1,     /* becomes a WebSocket */
        ROUTE_STREAM = 1 << 2,     /* answers without an end */
        ROUTE_UPLOAD = 1 << 3,     /* the body goes to a file as it comes */
        ROUTE_MANAGE = 1 << 4,     /* a refusal for lack of right is audited */
        ROUTE_OWNED = 1 << 5,      /* to be asked at the server that owns the account's queue */
        ROUTE_OPTIONAL = 1 << 6,   /* the body may be missing */
        ROUTE_PLAIN = 1 << 7,      /* neither JSON in nor rate-limited as a stranger: health, pages */
        ROUTE_TASK = 1 << 8,       /* to be asked at the server that looks after the task in its path */
        ROUTE_OWN_VIEW = 1 << 9,   /* as OWNED, but for those who see everybody's: these get this server's part */
        ROUTE_OWN_FILES = 1 << 10, /* as OWNED, but for workers: these deal with the server that gave the task */
        ROUTE_RAW = 1 << 11,       /* its handler reads the JSON itself */
        ROUTE_OPENAI = 1 << 12,    /* problems are told as OpenAI's clients expect them */
};

struct route {
        const char *name;          /* operationId */
        enum http_way way;
        const char *pattern;
        enum account_right right;
        unsigned flags;
        size_t body_limit;         /* 0: no body */
        const char *takes;         /* schema of the JSON body; NULL: none */
        const char *gives;         /* "202 Task, 200 Trial, 409, 422": statuses with schemas or media types */
        const char *query;         /* names of query parameters (parameters in openapi.c) */
        void (*handle)(struct request *request);
        const char *tag, *summary;
};

extern const struct route routes[];
extern const size_t route_count;

/* 0 and the route; -ENOENT: no such path; -ENOTSUP: the path is there, but not this way: allow says which are. HEAD finds GET's. */
must_check int route_find(enum http_way way, const char *path, const struct route **ret_route, struct path_part parts[PATH_PARTS], char allow[64]);
const char *way_name(enum http_way way);
