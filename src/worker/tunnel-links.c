/* tunnel-links.c: a tunnel's connection to each server, and what comes over it; see tunnel-links.h. */
#include "worker/tunnel-links.h"

#define LOG_ROOM "tunnel"
#include "base/log.h"

#include <stdio.h>

#define WAIT_MS 500         /* before it is opened again; doubled with each time that it fails */
#define WAIT_MOST_MS 30000
#define BUSY_MS 10          /* the one before has not ended yet */
#define UNSENT (256U << 10) /* above it engines are not read */

void tunnel_links_want(struct tunnel_links *t, uint64_t now, uint32_t server, const char *url, const char *credential)
{
        struct tunnel_link *l = &t->links[server];

        connections_end(t->connections, TUNNEL_OF(server));
        tunnels_ended(t->tunnels, now, server);
        snprintf(l->url, sizeof l->url, "%s", url);
        snprintf(l->credential, sizeof l->credential, "%s", credential ? credential : "");
        l->wait_ms = WAIT_MS;
        l->at = credential ? now : UINT64_MAX;
}

uint64_t tunnel_links_tick(struct tunnel_links *t, uint64_t now)
{
        uint64_t wait = tunnels_tick(t->tunnels, now), next = wait == UINT64_MAX ? UINT64_MAX : now + wait;

        for (uint32_t i = 0; i < AGENT_SERVERS; i++) {
                struct tunnel_link *l = &t->links[i];
                int r;

                if (!l->credential[0])
                        continue;
                if (now >= l->at) {
                        l->at = UINT64_MAX;
                        r = connections_begin_tunnel(t->connections, i, l->url, l->credential);
                        if (r < 0)
                                l->at = now + (r == -EBUSY ? BUSY_MS : l->wait_ms);
                }
                next = l->at < next ? l->at : next;
        }
        return next;
}

void tunnel_links_opened(struct tunnel_links *t, uint32_t number)
{
        struct tunnel_link *l = &t->links[number - AGENT_SERVERS];

        l->wait_ms = WAIT_MS;
        log_info("%s: the tunnel is open", l->url);
}

void tunnel_links_closed(struct tunnel_links *t, uint64_t now, uint32_t number, const char *why, uint64_t retry_after_ms)
{
        struct tunnel_link *l = &t->links[number - AGENT_SERVERS];

        tunnels_ended(t->tunnels, now, number - AGENT_SERVERS);
        l->at = now + (retry_after_ms ? retry_after_ms : l->wait_ms);
        l->wait_ms = 2 * l->wait_ms > WAIT_MOST_MS ? WAIT_MOST_MS : 2 * l->wait_ms;
        log_warning("%s: the tunnel: %s", l->url, why);
}

void tunnel_links_received(struct tunnel_links *t, uint64_t now, uint32_t number, const char *data, size_t bytes)
{
        if (tunnels_received(t->tunnels, now, number - AGENT_SERVERS, (const uint8_t *)data, bytes) >= 0)
                return;
        connections_end(t->connections, number);
        tunnel_links_closed(t, now, number, "it sent what is no frame that is taken here", 0);
}

/* ---- what tunnels need ---- */

static int do_send(void *context, uint32_t server, const uint8_t *data, size_t bytes)
{
        return connections_send(((struct tunnel_links *)context)->connections, TUNNEL_OF(server), (const char *)data, bytes);
}

static bool do_has_room(void *context, uint32_t server)
{
        return connections_has_room(((struct tunnel_links *)context)->connections, TUNNEL_OF(server), UNSENT);
}

static bool do_find(void *context, const char *model, struct tunnel_target *ret)
{
        return engines_find(((struct tunnel_links *)context)->engines, model, ret);
}

static const char *do_name(void *context, uint32_t number, uint32_t *ret_parallel)
{
        return engines_name(((struct tunnel_links *)context)->engines, number, ret_parallel);
}

int tunnel_links_open(struct tunnel_links *t, int epoll, struct engines *engines)
{
        const struct tunnels_options options = {.epoll = epoll, .first = TUNNEL_EVENTS, .send = do_send, .has_room = do_has_room, .find = do_find, .name = do_name, .context = t};

        t->engines = engines;
        for (uint32_t i = 0; i < AGENT_SERVERS; i++)
                t->links[i].at = UINT64_MAX;
        return tunnels_open(&options, &t->tunnels);
}

void tunnel_links_close(struct tunnel_links *t)
{
        tunnels_close(t->tunnels);
}
