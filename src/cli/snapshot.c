/* snapshot.c: reads a STATUS answer; see snapshot.h. */
#include "cli/snapshot.h"

#include "base/clock.h"
#include "base/error.h"

#include <stdio.h>
#include <string.h>

void snapshot_done(struct snapshot *s)
{
        free(s->devices);
        free(s->clients);
        *s = (struct snapshot){0};
}

static int by_index(const void *a, const void *b)
{
        const struct wire_STATUS_DEVICE *x = a, *y = b;
        return (x->index > y->index) - (x->index < y->index);
}

static int by_device_and_age(const void *a, const void *b)
{
        const struct wire_STATUS_CLIENT *x = a, *y = b;

        if (x->device != y->device)
                return x->device < y->device ? -1 : 1;
        if (x->age_ns != y->age_ns)
                return x->age_ns > y->age_ns ? -1 : 1;
        return (x->client > y->client) - (x->client < y->client);
}

static int append(void **list, size_t *count, size_t limit, const void *item, size_t bytes)
{
        if (*count >= limit)
                return -E_QUOTA;
        /* Grown at every power of two. */
        if (!(*count & (*count - 1))) {
                void *grown = realloc(*list, (*count ? *count * 2 : 1) * bytes);

                if (!grown)
                        return -ENOMEM;
                *list = grown;
        }
        memcpy((char *)*list + *count * bytes, item, bytes);
        (*count)++;
        return 0;
}

static int bad(char message[CLI_MESSAGE], const struct connection *c, const char *what)
{
        snprintf(message, CLI_MESSAGE,
                 "the daemon at %s gave a status that does not add up (%s); use the same release of both", c->path,
                 what);
        return -E_MESSAGE;
}

static int fetch(struct connection *c, enum wire_type type, struct wire_message m, struct snapshot *ret, char message[CLI_MESSAGE])
{
        scoped_snapshot struct snapshot s = {0};
        uint64_t deadline = clock_now_ns() + 2 * c->timeout_ms * NS_PER_MS;
        int r = connection_send(c, &m, type, message);

        if (r < 0)
                return r;
        r = connection_expect(c, WIRE_STATUS_DAEMON, &m, NULL, message);
        if (r < 0)
                return r;
        s.daemon = m.STATUS_DAEMON;
        for (;;) {
                r = connection_receive(c, &m, NULL, message);
                if (r < 0)
                        return r;
                if (clock_now_ns() > deadline) {
                        snprintf(message, CLI_MESSAGE,
                                 "the daemon at %s does not come to an end of its status; look at its log", c->path);
                        return -ETIMEDOUT;
                }
                if (m.header.type == WIRE_STATUS_END)
                        break;
                if (m.header.type == WIRE_STATUS_DEVICE)
                        r = append((void **)&s.devices, &s.device_count, WIRE_MAX_DEVICES, &m.STATUS_DEVICE,
                                   sizeof m.STATUS_DEVICE);
                else if (m.header.type == WIRE_STATUS_CLIENT)
                        r = append((void **)&s.clients, &s.client_count, SNAPSHOT_CLIENTS, &m.STATUS_CLIENT,
                                   sizeof m.STATUS_CLIENT);
                else
                        return bad(message, c, wire_name(m.header.type));
                if (r == -ENOMEM) {
                        snprintf(message, CLI_MESSAGE, "out of memory");
                        return r;
                }
                if (r < 0)
                        return bad(message, c, "too many lines");
        }
        if (m.STATUS_END.devices != s.device_count || m.STATUS_END.clients != s.client_count)
                return bad(message, c, "lines are missing");
        if (s.device_count)
                qsort(s.devices, s.device_count, sizeof *s.devices, by_index);
        if (s.client_count)
                qsort(s.clients, s.client_count, sizeof *s.clients, by_device_and_age);
        s.taken_ns = clock_now_ns();
        *ret = s;
        s = (struct snapshot){0};
        return 0;
}

int snapshot_fetch(struct connection *c, struct snapshot *ret, char message[CLI_MESSAGE])
{
        return fetch(c, WIRE_STATUS_ASK, (struct wire_message){0}, ret, message);
}

int snapshot_fetch_run(struct connection *c, uint64_t run, struct snapshot *ret, char message[CLI_MESSAGE])
{
        return fetch(c, WIRE_RUN, (struct wire_message){.RUN = {.run = run}}, ret, message);
}

const struct wire_STATUS_CLIENT *snapshot_client(const struct snapshot *s, const struct wire_STATUS_CLIENT *like)
{
        for (size_t i = 0; s && i < s->client_count; i++)
                if (s->clients[i].client == like->client && s->clients[i].device == like->device &&
                    s->clients[i].pid == like->pid)
                        return &s->clients[i];
        return NULL;
}

const struct wire_STATUS_DEVICE *snapshot_device(const struct snapshot *s, uint32_t index)
{
        for (size_t i = 0; s && i < s->device_count; i++)
                if (s->devices[i].index == index)
                        return &s->devices[i];
        return NULL;
}

bool snapshot_shared(const struct wire_STATUS_DEVICE *device)
{
        return device->kind == WIRE_CUDA || device->kind == WIRE_SOFTWARE;
}

static uint64_t sum(uint64_t a, uint64_t b)
{
        uint64_t total;
        return __builtin_add_overflow(a, b, &total) ? UINT64_MAX : total;
}

uint64_t snapshot_owned(const struct wire_STATUS_CLIENT *client)
{
        return sum(client->movable_bytes, client->pinned_bytes);
}

uint64_t snapshot_resident(const struct wire_STATUS_CLIENT *client)
{
        return sum(client->resident_bytes, client->pinned_bytes);
}
