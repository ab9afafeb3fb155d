/* tunnel.c: which road leads to a worker's engines: the address that they tell, where the pool's settings allow it, else the tunnel that the worker holds open (docs/worker-protocol.md); see engines.h.
 *
 * A worker hears a secret in its welcome and opens its tunnel with it; the secret is new at each welcome. An engine that only a tunnel leads to gets no request while there is none. */
#include "service/internal.h"

#include <stdio.h>
#include <sys/random.h>

void tunnel_secret(struct worker *worker)
{
        uint8_t random[16];

        worker->tunnel_secret[0] = 0;
        if (getrandom(random, sizeof(random), 0) != sizeof(random))
                return;
        for (size_t i = 0; i < sizeof(random); i++)
                snprintf(worker->tunnel_secret + 2 * i, 3, "%02x", random[i]);
}

static bool is_here(const char *address)
{
        return !address[0] || !strncmp(address, "127.", 4) || !strcmp(address, "::1") || !strncmp(address, "::ffff:127.", 11);
}

bool engine_is_direct(const struct service *s, const struct served *e)
{
        switch (s->options.direct) {
        case SERVICE_DIRECT_ANY:
                return e->address[0];
        case SERVICE_DIRECT_LOCAL:
                return e->address[0] && is_here(e->worker->address);
        case SERVICE_DIRECT_NONE:
                break;
        }
        return false;
}

/* As requests see it: one that can't be reached yet is on its way, one whose worker is to end takes nothing new. */
enum generate_state engine_state_seen(const struct service *s, const struct served *e)
{
        if (e->state != GENERATE_READY)
                return e->state;
        if (e->worker->leaving || e->worker->drained)
                return GENERATE_STOPPING;
        return e->worker->tunnelled || engine_is_direct(s, e) ? GENERATE_READY : GENERATE_STARTING;
}

/* Takes as long for a wrong secret as for the right one. */
static bool same_secret(const char *a, const char *b)
{
        uint8_t difference = strlen(a) != 32 || strlen(b) != 32;

        for (size_t i = 0; !difference && i < 32; i++)
                difference |= (uint8_t)(a[i] ^ b[i]);
        return !difference;
}

int service_tunnel_whose(struct service *s, const struct account_caller *caller, const char *credential, struct id *ret_worker)
{
        const char *colon = strchr(credential, ':');
        char name[ID_TEXT];
        struct worker *worker;
        struct id id;

        if (!colon || (size_t)(colon - credential) >= sizeof(name))
                return -EINVAL;
        snprintf(name, sizeof(name), "%.*s", (int)(colon - credential), credential);
        if (id_parse("worker", name, &id) < 0)
                return -EINVAL;
        worker = worker_find(s, &id);
        if (!worker || !worker->connection || !id_equal(&worker->account, &caller->account) || !worker->tunnel_secret[0] || !same_secret(worker->tunnel_secret, colon + 1))
                return -EACCES;
        *ret_worker = id;
        return 0;
}

void service_tunnel_opened(struct service *s, const struct id *id)
{
        struct worker *worker = worker_find(s, id);

        if (!worker)
                return;
        service_time(s);
        worker->tunnelled = true;
        engines_again(s, worker);
}

void service_tunnel_closed(struct service *s, const struct id *id)
{
        struct worker *worker = worker_find(s, id);

        if (!worker)
                return;
        service_time(s);
        worker->tunnelled = false;
        engines_again(s, worker);
}

void service_tunnel_free(struct service *s, const struct id *id, const char *model)
{
        struct worker *worker = worker_find(s, id);

        if (!worker)
                return;
        service_time(s);
        for (struct served *e = worker->served; e; e = e->next)
                if (!strcmp(e->model, model) && e->number != GENERATE_NONE)
                        generate_engine_free(s->generate, s->now_ms, e->number);
        engines_drain(s);
}
