/* events.h: subscribers of events: server-sent events and WebSocket, from one hub.
 *
 * A subscriber that has heard everything costs nothing while nothing is told: the hub reads each new event once, and hands it to the streams of the account
 * that it belongs to, and of those who see all. What a caller may see is decided by the service alone (service_event_next). One that does not
 * read is left alone until it does; if it missed much, or what it missed is gone, it gets a new snapshot in place of what it missed.
 */
#pragma once

#include "gateway/request.h"

struct hub;

must_check int hub_new(struct server *server, struct hub **ret_hub);
void hub_free(struct hub *hub);
void hub_listen(struct hub *hub);
/* Delivers what was told since; a bounded amount, hub_has_more says whether some is left. */
void hub_pump(struct hub *hub);
bool hub_has_more(const struct hub *hub);
/* Tells nothing more, and ends server-sent streams in order (sockets are the server's to end). */
void hub_stop(struct hub *hub);
size_t hub_subscribers(const struct hub *hub);
