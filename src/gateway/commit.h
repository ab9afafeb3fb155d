/* commit.h: answers that wait until changes of accounts are durable, and password work beside the loop. */
#pragma once

#include "gateway/request.h"

/* Answers status with body (taken over; NULL: empty) once the changes are committed; a store that can't gives its own problem. */
void commit_then_reply(struct request *request, const struct account_changes *changes, int status, json_t *body);
/* Commits what a refusal left behind (audit rows), without waiting for it. */
void commit_aside(struct server *server, const struct account_changes *changes);
/* A refusal of accounts as a problem, in their words. */
void reply_refusal(struct request *request, int error);

/* Runs the work on a thread; `then` gets it back in the loop, in any case, once, with error set when it could not be run. The client may have gone (request->
 * connection is NULL): then it finishes what must be finished and calls request_release. work is copied and wiped. */
typedef void (*password_then_fn)(struct request *request, struct account_password_work *work);
void password_start(struct request *request, struct account_password_work *work, password_then_fn then);
