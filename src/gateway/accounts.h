/* accounts.h: what the routes of accounts and of keys share. */
#pragma once

#include "gateway/fields.h"
#include "gateway/request.h"

json_t *limits_json(const struct account_limits *limits);
/* The member "limits" of a body, into what is there. */
void limits_of(struct fields *fields, struct account_limits *limits);
struct account_now account_now_of(struct request *request, uint8_t random[64], char address[64]);

/* A list made from memory, in order of id. */
struct page {
        struct service_list list;
        json_t *data;
        struct id last;
        bool more;
};
/* The id belongs to the page. */
bool page_takes(struct page *page, const struct id *id);
void page_reply(struct request *request, struct page *page, const char *prefix);
