/* members.h: what payloads may hold, by the words of the workers that take them, so that a misspelt member is refused when it is submitted and not when a worker
 * looks at it.
 *
 * A worker tells the members of the types that it knows; "limits.wall" is one of the object limits, or of each object of a list. A payload is held against all
 * that the workers tell that joined since the server's start and take tasks of this account, also those that are away now: what one of them has passes. Nothing is judged when nobody
 * takes the type, or one who does tells no members (it is older, or of others' making): what a worker of another version would take is never refused. Only names are
 * looked at; whether values make sense stays the worker's to say.
 */
#pragma once

#include "base/id.h"
#include "base/strbuf.h"

#include <jansson.h>
#include <stdbool.h>

struct service;
struct worker;
struct vocabulary;

/* "members" of a hello or change: 0, or -EINVAL with what is wrong. */
int members_check(const json_t *message, char reason[160]);
/* What the worker takes from now on: its types as they stand in its abilities, and the members that it told last. */
void members_told(struct service *s, struct worker *worker, const json_t *members);
void members_forget(struct service *s, struct worker *worker);

/* Adds a violation for each member that nobody knows; false: there were some. payload: its tree, or NULL with its text, compact and plain (pass.h). */
bool members_review(const struct service *s, const struct id *account, const char *type, const json_t *payload, const struct strbuf *text, const char *path, json_t *violations);
