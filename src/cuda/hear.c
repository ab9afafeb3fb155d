/* hear.c: the daemon's messages; see hear.h. Numbers in them name our own devices; anything else is ignored. */
#include "cuda/hear.h"

#include "base/clock.h"
#include "base/error.h"
#include "cuda/hand.h"
#include "cuda/host.h"
#include "cuda/move.h"
#include "cuda/say.h"
#include "cuda/tell.h"
#include "cuda/tier.h"
#include "cuda/trim.h"
#include "cuda/turn.h"

#include <errno.h>

static uint32_t said_wait; /* bits of reasons already told */

static void say_waiting(const struct device *d, const struct wire_WAIT *wait)
{
        static const char *const why[WIRE_WAIT_REASON_N] = {
                [WIRE_WAIT_NONE] = "",
                [WIRE_WAIT_MEMORY] = "until others free it or their turn ends",
                [WIRE_WAIT_QUEUE] = "others come first",
                [WIRE_WAIT_ARENA] = "the host arena is too small to move enough out, so until others free memory (arena.size)",
                [WIRE_WAIT_STUCK] = "a program that does not give way holds it",
                [WIRE_WAIT_PINNED] = "others hold memory that can't be moved",
        };

        if (said_wait >> wait->reason & 1)
                return;
        said_wait |= 1u << wait->reason;
        say("waits for %lu MiB of device memory, place %u in the queue: %s; see berth status", (unsigned long)(wait->short_bytes >> 20), wait->position,
            why[wait->reason]);
        (void)d;
}

static struct device *device_of(uint32_t ordinal)
{
        return ordinal < berth.devices_n && berth.devices[ordinal].managed ? &berth.devices[ordinal] : NULL;
}

static void take_segment(const struct wire_SEGMENT *m, int *fd)
{
        int r = *fd < 0 ? -EBADF : host_add_segment(m->segment, m->bytes, *fd);

        if (r < 0)
                tell_segment_back(m->segment);
        else
                *fd = -1;
}

static void hear_error(const struct wire_ERROR *m)
{
        struct device *d = device_of(m->ordinal);

        say("%s", m->text);
        if (m->about == WIRE_DEVICE && d) {
                /* The daemon does not share this device: it stays ours alone. */
                d->managed = false;
                turn_open_if_all_run();
                pthread_cond_broadcast(&berth_changed);
        }
}

/* One message of the daemon's, checked already. fd is taken (set to -1) when kept. */
void hear(const struct wire_message *m, int *fd)
{
        struct device *d;

        switch (m->header.type) {
        case WIRE_DEVICE_OK:
                if ((d = device_of(m->DEVICE_OK.ordinal))) {
                        d->announced = true;
                        d->limit = m->DEVICE_OK.limit_bytes;
                        d->soft.limit = m->DEVICE_OK.soft_bytes;
                        d->room = m->DEVICE_OK.room_bytes;
                        d->slack = m->DEVICE_OK.slack_bytes;
                }
                break;
        case WIRE_GO:
                if ((d = device_of(m->GO.ordinal))) {
                        d->granted += m->GO.more_bytes;
                        if (m->GO.ticket == d->ticket)
                                d->asked = d->ask_sent = false;
                        turn_let_run(d);
                }
                break;
        case WIRE_AVAILABLE:
                if ((d = device_of(m->AVAILABLE.ordinal)) && d->storage) {
                        tier_answered(d, m->AVAILABLE.more_bytes);
                } else if (d) {
                        d->granted += m->AVAILABLE.more_bytes;
                        if (m->AVAILABLE.ticket == d->ticket)
                                d->asked = d->ask_sent = false;
                        pthread_cond_broadcast(&berth_changed);
                }
                break;
        case WIRE_WAIT:
                if ((d = device_of(m->WAIT.ordinal)))
                        say_waiting(d, &m->WAIT);
                break;
        case WIRE_DENIED:
                if ((d = device_of(m->DENIED.ordinal)) && d->storage)
                        tier_answered(d, 0);
                else if (d && m->DENIED.ticket == d->ticket && d->asked) {
                        d->denied = true;
                        d->denied_code = m->DENIED.code < 0 ? m->DENIED.code : -E_DEVICE_SIZE;
                        d->denied_have = m->DENIED.have_bytes;
                        d->asked = d->ask_sent = false;
                        d->want_sent = false;
                        pthread_cond_broadcast(&berth_changed);
                }
                break;
        case WIRE_GIVE_WAY:
                if ((d = device_of(m->GIVE_WAY.ordinal))) {
                        d->draining = true;
                        d->drain_since = clock_now_ns();
                }
                break;
        case WIRE_EVICT:
                if ((d = device_of(m->EVICT.ordinal)) && !d->running)
                        move_evict(d, m->EVICT.bytes, m->EVICT.hand_over);
                if (d && d->evicting)
                        tier_ask(d, d->evict_left);
                break;
        case WIRE_BRING_IN:
                if ((d = device_of(m->BRING_IN.ordinal))) {
                        d->granted += m->BRING_IN.more_bytes;
                        if (m->BRING_IN.unit_bytes && *fd >= 0) {
                                hand_take(d, *fd, m->BRING_IN.unit_bytes, m->BRING_IN.unit);
                                *fd = -1;
                        }
                        move_come(d);
                }
                break;
        case WIRE_SETTINGS:
                if ((d = device_of(m->SETTINGS.ordinal))) {
                        d->limit = m->SETTINGS.limit_bytes;
                        d->soft.limit = m->SETTINGS.soft_bytes;
                        d->slack = m->SETTINGS.slack_bytes;
                        d->dirty = true;
                }
                break;
        case WIRE_TRIM:
                if ((d = device_of(m->TRIM.ordinal)))
                        trim_asked(d, m->TRIM.soft);
                break;
        case WIRE_SEGMENT:
                take_segment(&m->SEGMENT, fd);
                break;
        case WIRE_RECALL:
                host_recall(m->RECALL.bytes);
                break;
        case WIRE_SEGMENT_KNOWN:
                for (size_t i = 0; i < berth.segments_n; i++)
                        if (berth.segments[i].id == m->SEGMENT_KNOWN.old_segment && berth.segments[i].resumed) {
                                berth.segments[i].id = m->SEGMENT_KNOWN.segment;
                                berth.segments[i].resumed = false;
                                break;
                        }
                break;
        case WIRE_ERROR:
                hear_error(&m->ERROR);
                break;
        default:
                break;
        }
}
