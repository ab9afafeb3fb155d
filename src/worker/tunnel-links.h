/* tunnel-links.h: the connections that this worker's tunnels go over: opened for each server that gave a secret, and opened again when they break. */
#pragma once

#include "worker/connection.h"
#include "worker/engines.h"

struct tunnel_link {
        char url[MESSAGE_URL], credential[ID_TEXT + MESSAGE_TUNNEL + 1]; /* credential "": none is wanted */
        uint64_t at, wait_ms;            /* when to connect again; UINT64_MAX: it is open, or opens */
};

struct tunnel_links {
        struct connections *connections; /* set after tunnel_links_open, before all others */
        struct tunnels *tunnels;
        struct engines *engines;         /* where requests go */
        struct tunnel_link links[AGENT_SERVERS];
};

must_check int tunnel_links_open(struct tunnel_links *t, int epoll, struct engines *engines);
void tunnel_links_close(struct tunnel_links *t);
/* That server's tunnel is opened from now on with this credential; NULL: it is not. */
void tunnel_links_want(struct tunnel_links *t, uint64_t now, uint32_t server, const char *url, const char *credential);
/* Opens what is due. When to come again (as now); UINT64_MAX: only after an event. */
uint64_t tunnel_links_tick(struct tunnel_links *t, uint64_t now);
/* What connections tell, of numbers from AGENT_SERVERS on. */
void tunnel_links_opened(struct tunnel_links *t, uint32_t number);
void tunnel_links_closed(struct tunnel_links *t, uint64_t now, uint32_t number, const char *why, uint64_t retry_after_ms);
void tunnel_links_received(struct tunnel_links *t, uint64_t now, uint32_t number, const char *data, size_t bytes);
