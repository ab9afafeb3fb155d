/* sensor.c: what the devices' own sensors say, once a second, as the sensor process tells it; see node.h and observe.h.
 *
 * What others use of a device is the sum over its processes that are no clients, were none when the look began, and did not just become
 * one: a program must not be counted twice while it comes or goes.
 *
 * At most one look is under way, and the loop never waits for it. When the sensor process is lost every sensor is "unavailable" until the
 * next one has answered; only the memory of others is still allowed for, as long as the last sample is not too old.
 */
#define LOG_ROOM "sensor"
#include "node/node.h"

#include "base/clock.h"
#include "base/log.h"

#include <string.h>

#define PERIOD_MS 1000
#define TOO_OLD (5 * NS_PER_S)
/* Programs of an earlier daemon come back within this time after the start (they try every quarter of a second); until
 * then they look like strangers, and strangers count for nothing. */
#define GRACE_NS (2 * NS_PER_S)
#define MAX_DEPARTED 64

struct sensor {
        struct node *node;
        struct observe *observe;
        uv_timer_t timer;
        uv_poll_t poll; /* unless observe_fd is -1 */
        bool lost, complained, applied;
        int handles_open;
        size_t count;
        uint64_t taken_ns, began_ns, last_began_ns;
        struct {
                pid_t pid;
                uint64_t left_ns;
        } departed[MAX_DEPARTED]; /* a ring: clients that left lately */
        size_t departed_next;
        struct observe_sample *fresh, *last;
};

static bool was_client(const struct sensor *s, pid_t pid)
{
        for (struct client *c = s->node->clients; c; c = c->next)
                if (c->pid == pid && c->greeted && c->role == WIRE_PROGRAM)
                        return true;
        for (size_t i = 0; i < MAX_DEPARTED; i++)
                if (s->departed[i].pid == pid && s->departed[i].left_ns >= s->last_began_ns)
                        return true;
        return false;
}

static bool sum_foreign(const struct sensor *s, const struct observe_sample *sample, uint64_t *ret_bytes)
{
        uint64_t bytes = 0;

        if (!sample->processes_valid)
                return false;
        for (uint32_t i = 0; i < sample->process_count; i++) {
                if (!was_client(s, sample->processes[i].pid) &&
                    __builtin_add_overflow(bytes, sample->processes[i].used_bytes, &bytes))
                        return false;
        }
        *ret_bytes = bytes;
        return true;
}

/* The last sample unless it is too old, also while the sensor process is being replaced. */
static const struct observe_sample *held(const struct sensor *s, size_t observed)
{
        if (!s || !s->taken_ns || clock_now_ns() - s->taken_ns > TOO_OLD)
                return NULL;
        return &s->last[observed];
}

bool sensor_foreign(const struct sensor *s, size_t observed, uint64_t *ret_bytes)
{
        const struct observe_sample *sample = sensor_last(s, observed);

        return sample && sum_foreign(s, sample, ret_bytes);
}

const struct observe_sample *sensor_last(const struct sensor *s, size_t observed)
{
        return s && !s->lost ? held(s, observed) : NULL;
}

void sensor_apply(struct sensor *s)
{
        struct node *n = s->node;
        uint64_t now = clock_now_ns();

        for (uint32_t i = 0; i < n->devices_n; i++) {
                const struct observe_sample *sample = held(s, n->devices[i].observed);
                uint64_t bytes = 0;

                /* Unknown counts as nothing: the reserve has to do. */
                if (!sample || !sum_foreign(s, sample, &bytes) || now - n->started_ns < GRACE_NS)
                        bytes = 0;
                if (bytes > n->devices[i].info.total_bytes)
                        bytes = n->devices[i].info.total_bytes;
                gate_foreign(n->gate, now, i, bytes);
        }
}

void sensor_departed(struct sensor *s, pid_t pid)
{
        s->departed[s->departed_next].pid = pid;
        s->departed[s->departed_next].left_ns = clock_now_ns();
        s->departed_next = (s->departed_next + 1) % MAX_DEPARTED;
}

static void sampled(struct sensor *s, uint64_t now)
{
        struct observe_sample *swap = s->last;

        if (s->complained)
                log_notice("the devices' sensors answer again");
        s->lost = s->complained = false;
        s->last = s->fresh;
        s->fresh = swap;
        s->taken_ns = now;
        s->last_began_ns = s->began_ns;
        s->applied = true;
        sensor_apply(s);
}

/* Takes what has come. */
static void hear(struct sensor *s)
{
        uint64_t now = clock_now_ns();
        enum observe_news news;

        while ((news = observe_take(s->observe, now, s->fresh)) != OBSERVE_NOTHING) {
                if (news == OBSERVE_SAMPLED)
                        sampled(s, now);
                if (news != OBSERVE_LOST)
                        continue;
                s->lost = true;
                if (!s->complained)
                        log_warning("%s; the devices' sensors are unavailable until another sensor process has answered", observe_why(s->observe));
                s->complained = true;
        }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
        struct sensor *s = poll->data;

        (void)status;
        (void)events;
        hear(s);
        node_turn(s->node);
}

static void on_timer(uv_timer_t *timer)
{
        struct sensor *s = timer->data;
        uint64_t now = clock_now_ns();

        hear(s);
        node_look(s->node);
        limits_band(s->node, now);
        history_turn(s->node, now);
        if (observe_ask(s->observe, now))
                s->began_ns = now;
        if (observe_fd(s->observe) < 0)
                hear(s);
        if (s->applied && !held(s, 0)) {
                s->applied = false;
                sensor_apply(s); /* what was known of others no longer is */
        }
        node_turn(s->node); /* also serves what waits for the machine's free memory */
}

static void free_sensor(struct sensor *s)
{
        free(s->fresh);
        free(s->last);
        free(s);
}

static void one_closed(uv_handle_t *handle)
{
        struct sensor *s = handle->data;

        if (--s->handles_open == 0)
                free_sensor(s);
}

int sensor_new(struct node *node, struct sensor **ret)
{
        struct sensor *s = calloc(1, sizeof *s);
        int fd = observe_fd(node->observe);

        if (!s)
                return -ENOMEM;
        s->node = node;
        s->observe = node->observe;
        s->count = observe_count(node->observe);
        s->fresh = calloc(s->count, sizeof *s->fresh);
        s->last = calloc(s->count, sizeof *s->last);
        if (!s->fresh || !s->last || uv_timer_init(node->loop, &s->timer) < 0) {
                free_sensor(s);
                return -ENOMEM;
        }
        s->timer.data = s->poll.data = s;
        s->handles_open = 1;
        if (fd >= 0) {
                int r = uv_poll_init(node->loop, &s->poll, fd);

                if (r < 0) {
                        uv_close((uv_handle_t *)&s->timer, one_closed);
                        return r;
                }
                s->handles_open = 2;
                uv_poll_start(&s->poll, UV_READABLE, on_readable);
        }
        uv_timer_start(&s->timer, on_timer, 0, PERIOD_MS);
        *ret = s;
        return 0;
}

void sensor_free(struct sensor *s)
{
        if (!s)
                return;
        if (s->handles_open == 2)
                uv_close((uv_handle_t *)&s->poll, one_closed);
        uv_close((uv_handle_t *)&s->timer, one_closed);
}
