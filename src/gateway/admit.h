/* admit.h: the one admission: every request of every route passes admit_request before its body is read, and nothing else lets anything in.
 *
 * In this order: an identity when one is shown (a wrong one is refused even where none is needed to be), what its key or network may ask for in a
 * minute, the route's right, how much may be in flight. Strangers' requests and wrong identities take from the allowance of the network they come
 * from. Refusals of management for lack of right are audited. Streams and sockets hold their identity, which is looked at again while they live: they
 * end when it does.
 */
#pragma once

#include "gateway/request.h"

struct connection;

/* False: answered. */
bool admit_request(struct request *request);
/* One more of a stranger; false: answered (429). */
bool admit_stranger(struct request *request);
/* The request ended: what it counted for is free again. */
void admit_leave(struct request *request);

/* The connection becomes a stream or socket of the request's caller: counts it for the account. False: answered (too many). */
bool admit_stream(struct request *request);
/* The caller of a stream or socket. */
const struct account_caller *admit_caller(const struct connection *connection);
/* The connection ends. */
void admit_forget(struct connection *connection);
/* Each half minute: identities that ended take their streams with them. Tickets get old. */
void admit_look_again(struct server *server);
void admit_done(struct server *server);

/* A page of ours may open a WebSocket here; others' pages may not, unless they show an Authorization header, which pages can't be made to send unknowingly. */
bool admit_origin(struct request *request);

/* A new ticket for the request's caller, good once and for half a minute; text takes 65 bytes. -E_QUOTA. */
must_check int admit_ticket(struct request *request, char *text);
#define TICKET_TEXT 65
#define TICKET_MS 30000
