/* hand.c: physical device memory on its way from one program to another, and the descriptors that make it possible.
 *
 * A program may export only memory that it created itself; what it got from another it can pass on only by the descriptor that came with it. Programs
 * have few descriptors to spare, so they are kept here: every unit that was handed over has one, under a number that belongs to the client that uses
 * it, until it is passed on, given back, or the client ends. A kept descriptor keeps the memory alive, so a client that is done with a unit says so
 * (UNIT_BACK, or EVICTED with its number). Only between programs of one user.
 */
#define LOG_ROOM "gate"
#include "node/node.h"

#include "base/clock.h"
#include "base/fd.h"

#include <fcntl.h>
#include <stdlib.h>

struct kept_unit {
        struct kept_unit *next;
        uint64_t number, bytes;
        uint32_t device;
        int fd;
};

static void drop(struct client *c, struct kept_unit **at)
{
        struct kept_unit *unit = *at;

        *at = unit->next;
        fd_close_at(&unit->fd);
        free(unit);
        c->units_n--;
        c->node->units_n--;
}

static struct kept_unit **find(struct client *c, uint64_t number)
{
        struct kept_unit **at = &c->units;

        while (*at && (*at)->number != number)
                at = &(*at)->next;
        return at;
}

/* Keeps a descriptor of its own for the client. Its number, or 0: it can't be passed on. */
static uint64_t keep(struct client *c, uint32_t device, uint64_t bytes, int fd)
{
        struct node *n = c->node;
        struct kept_unit *unit = n->units_n < HAND_MAX_UNITS ? calloc(1, sizeof *unit) : NULL;

        if (!unit)
                return 0;
        unit->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (unit->fd < 0) {
                free(unit);
                return 0;
        }
        unit->number = ++n->last_unit;
        unit->bytes = bytes;
        unit->device = device;
        unit->next = c->units;
        c->units = unit;
        c->units_n++;
        n->units_n++;
        return unit->number;
}

bool hand_worth(const struct client *leaver, uint32_t device)
{
        struct node *n = leaver->node;

        for (const struct client *c = n->clients; c; c = c->next)
                for (uint32_t i = 0; i < WIRE_MAX_DEVICES && c != leaver && c->uid == leaver->uid; i++) {
                        const struct client_device *d = c->devices[i];
                        struct gate_client_view view;

                        if (d && d->device == device && gate_view_client(n->gate, clock_now_ns(), d->gate, &view) && view.wants &&
                            view.resident < view.movable)
                                return true;
                }
        return false;
}

int hand_take(struct client *c, const struct gate_action *a, uint64_t *ret_bytes, uint64_t *ret_number)
{
        struct node *n = c->node;
        int fd = n->hand.fd;

        if (fd < 0 || n->hand.device != a->device || n->hand.uid != c->uid || n->hand.bytes > a->bytes)
                return -1;
        n->hand.fd = -1;
        *ret_bytes = n->hand.bytes;
        *ret_number = keep(c, a->device, n->hand.bytes, fd);
        n->devices[a->device].handed += n->hand.bytes;
        return fd;
}

void hand_evicted(struct client *c, uint32_t device, const struct wire_EVICTED *m, int fd)
{
        struct node *n = c->node;
        struct kept_unit **at = m->unit ? find(c, m->unit) : NULL;

        if (at && (!*at || (*at)->device != device))
                return; /* gone already, or none of its own */
        n->hand.fd = at ? (*at)->fd : fd;
        n->hand.bytes = at ? (*at)->bytes : m->unit_bytes;
        n->hand.device = device;
        n->hand.uid = c->uid;
        if (n->hand.bytes > m->returned_bytes)
                n->hand.fd = -1;
        if (n->hand.fd >= 0)
                carry_out(n);
        n->hand.fd = -1;
        if (at)
                drop(c, find(c, m->unit));
}

void hand_back(struct client *c, const struct wire_message *m)
{
        struct kept_unit **at = find(c, m->UNIT_BACK.unit);

        if (*at)
                drop(c, at);
        else
                client_fault(c, &m->header, UINT32_MAX, "no unit of this number is lent to it");
}

void hand_gone(struct client *c)
{
        while (c->units)
                drop(c, &c->units);
}
