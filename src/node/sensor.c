/* sensor.c: what the devices' own sensors say, once a second, taken on a worker thread; see node.h.
 *
 * What others use of a device is the sum over its processes that are no clients, were none when the look began, and did not just become
 * one: a program must not be counted twice while it comes or goes.
 *
 * At most one look is under way. It writes into a buffer of its own that the loop thread reads only after it has ended; a look that
 * does not end makes every sensor "unavailable" after a while and nothing else.
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
        uv_work_t work;
        bool in_flight, closing, complained;
        size_t count;
        uint64_t taken_ns, began_ns, last_began_ns;
        struct {
                pid_t pid;
                uint64_t left_ns;
        } departed[MAX_DEPARTED]; /* a ring: clients that left lately */
        size_t departed_next;
        struct observe_sample *fresh, *last;
};

static void look(uv_work_t *work)
{
        struct sensor *s = work->data;

        for (size_t i = 0; i < s->count; i++)
                observe_sample(s->observe, i, &s->fresh[i]);
}

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

bool sensor_foreign(const struct sensor *s, size_t observed, uint64_t *ret_bytes)
{
        const struct observe_sample *sample = sensor_last(s, observed);

        return sample && sum_foreign(s, sample, ret_bytes);
}

const struct observe_sample *sensor_last(const struct sensor *s, size_t observed)
{
        if (!s || !s->taken_ns || clock_now_ns() - s->taken_ns > TOO_OLD)
                return NULL;
        return &s->last[observed];
}

void sensor_apply(struct sensor *s)
{
        struct node *n = s->node;
        uint64_t now = clock_now_ns();

        for (uint32_t i = 0; i < n->devices_n; i++) {
                uint64_t bytes = 0;

                /* Unknown counts as nothing: the reserve has to do. */
                if (!sensor_foreign(s, n->devices[i].observed, &bytes) || now - n->started_ns < GRACE_NS)
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

static void looked(uv_work_t *work, int status)
{
        struct sensor *s = work->data;
        struct node *n = s->node;
        struct observe_sample *swap = s->last;

        s->in_flight = false;
        if (s->closing || status < 0)
                return;
        if (s->complained)
                log_notice("the devices' sensors answer again");
        s->complained = false;
        s->last = s->fresh;
        s->fresh = swap;
        s->taken_ns = clock_now_ns();
        s->last_began_ns = s->began_ns;
        sensor_apply(s);
        node_turn(n);
}

static void on_timer(uv_timer_t *timer)
{
        struct sensor *s = timer->data;
        uint64_t now = clock_now_ns();

        if (s->in_flight) {
                if (!s->complained && now - s->began_ns > TOO_OLD)
                        log_warning("the devices' sensors do not answer; shown as unavailable until they do");
                s->complained |= now - s->began_ns > TOO_OLD;
                return;
        }
        s->began_ns = now;
        if (uv_queue_work(s->node->loop, &s->work, look, looked) == 0)
                s->in_flight = true;
        node_turn(s->node); /* also serves what waits for the machine's free memory */
}

int sensor_new(struct node *node, struct sensor **ret)
{
        struct sensor *s = calloc(1, sizeof *s);

        if (!s)
                return -ENOMEM;
        s->node = node;
        s->observe = node->observe;
        s->count = observe_count(node->observe);
        s->fresh = calloc(s->count, sizeof *s->fresh);
        s->last = calloc(s->count, sizeof *s->last);
        if (!s->fresh || !s->last || uv_timer_init(node->loop, &s->timer) < 0) {
                free(s->fresh);
                free(s->last);
                free(s);
                return -ENOMEM;
        }
        s->timer.data = s->work.data = s;
        uv_timer_start(&s->timer, on_timer, 0, PERIOD_MS);
        *ret = s;
        return 0;
}

static void free_sensor(uv_handle_t *handle)
{
        struct sensor *s = handle->data;

        free(s->fresh);
        free(s->last);
        free(s);
}

bool sensor_free(struct sensor *s)
{
        if (!s)
                return true;
        s->closing = true;
        uv_timer_stop(&s->timer);
        /* A look under way usually ends in milliseconds; one that hangs is left behind. */
        for (int i = 0; i < 200 && s->in_flight; i++) {
                uv_run(s->node->loop, UV_RUN_NOWAIT);
                if (s->in_flight)
                        uv_sleep(5);
        }
        if (s->in_flight)
                return false;
        uv_close((uv_handle_t *)&s->timer, free_sensor);
        return true;
}
