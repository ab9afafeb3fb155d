/* forward.h: requests for another pool server: asked there on the caller's behalf, and its answer handed through.
 *
 * Several servers share a store; each looks after some accounts (service_owner). What is asked here about an account of another server is sent to it with the caller's own
 * Authorization, so that it admits the caller itself, and with a header that keeps it from being sent on again: two servers that disagree for a
 * moment answer 503 and not in circles. Answers up to FORWARD_HELD are handed over whole, and the connection goes on; larger ones and event streams as they
 * come, no faster than they are taken, and the connection ends with them.
 *
 * What can't be sent on (uploads, WebSockets) is answered 307 with the other server's address. A server that does not answer: 503; another one takes its queues over.
 */
#pragma once

#include "gateway/request.h"

#define FORWARD_HELD (256 << 10)
#define FORWARDS_MAX 4096          /* at a time; more are refused (503) */

struct forwards;

must_check int forwards_open(struct server *server, struct forwards **ret_forwards);
/* Ends what is under way. The loop must run once more after it. */
void forwards_close(struct forwards *forwards);
size_t forwards_count(const struct forwards *forwards);

/* The request, whose body is whole in r->body, is asked at that server ("https://host:port"). Answers in any case. */
void forward_request(struct request *request, const char *address);
/* Where it can't be: 307. */
void forward_redirect(struct request *request, const char *address);
/* It came from another server, so it goes no further. */
static inline bool forward_was(const struct request *request)
{
        return request_header(request, HEADER_FORWARDED);
}
