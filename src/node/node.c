/* node.c: the daemon's life: what it is made of, its timers, its settings; see node.h. */
#define LOG_ROOM "node"
#include "node/node.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

#define ACTIVITY_MS 50
#define PACE_MS 20
#define CUDA_LINK_BYTES_PER_S UINT64_C(10000000000) /* until moves are measured: PCIe 3.0 x16 carries so much */

/* --- settings --- */

static struct gate_settings gate_settings_of(const struct node *n, const struct settings *s)
{
        return (struct gate_settings){
                .reserve_percent = (uint32_t)s->reserve_percent,
                .client_part_bytes = s->client_part ? s->client_part : n->part,
                .slice_mode = s->slice_mode,
                .slice_fixed_ns = s->slice_fixed,
                .slice_multiplier = (uint32_t)s->slice_multiplier,
                .slice_multiplier_batch = (uint32_t)s->slice_multiplier_batch,
                .slice_min_ns = s->slice_min,
                .slice_max_ns = s->slice_max,
                .age_ns = s->age,
                .idle_ns = s->idle,
                .give_way_bound_ns = s->give_way_bound,
                .kill_after_ns = s->kill_after,
                .move_bound_ns = s->move_bound,
                .move_bytes_per_s = s->move_rate,
                .band_high_percent = (uint32_t)s->band_high,
                .limits_classes = s->limits != 0,
                .samples_always = true,
        };
}

/* What "auto" means on this machine's devices; the smallest counts. */
static int size_up(struct node *n, char message[CONFIG_MESSAGE])
{
        const struct settings *s = &n->settings;
        uint64_t smallest = UINT64_MAX, machine = arena_machine_bytes();
        char a[16], b[16];

        for (uint32_t i = 0; i < n->devices_n; i++) {
                if (n->devices[i].info.total_bytes < smallest)
                        smallest = n->devices[i].info.total_bytes;
                if (n->devices[i].info.kind == WIRE_CUDA)
                        n->part = 512 * MIB;
        }
        if (!n->part)
                n->part = 8 * MIB;
        n->unit = s->unit;
        if (!n->unit && smallest >= 16 * GIB)
                n->unit = 64 * MIB;
        if (!n->unit)
                for (n->unit = 2 * MIB; n->unit * 2 <= smallest / 256; n->unit *= 2)
                        ;
        n->segment = s->arena_segment ? s->arena_segment : 16 * n->unit;
        if (n->segment % n->unit) {
                snprintf(message, CONFIG_MESSAGE, "arena.segment is no multiple of the unit, %s on these devices",
                         text_bytes(n->unit, a, sizeof a));
                return -E_CONFIG;
        }
        n->arena_budget = s->arena_size.permille ? (uint64_t)((unsigned __int128)machine * s->arena_size.permille / 1000)
                                                 : s->arena_size.bytes;
        if (n->arena_budget > machine) {
                snprintf(message, CONFIG_MESSAGE, "arena.size is %s, but the machine has %s of memory",
                         text_bytes(n->arena_budget, a, sizeof a), text_bytes(machine, b, sizeof b));
                return -E_CONFIG;
        }
        if (n->arena_budget < n->segment) {
                snprintf(message, CONFIG_MESSAGE, "arena.size is %s, less than one segment of %s: nothing could be moved out",
                         text_bytes(n->arena_budget, a, sizeof a), text_bytes(n->segment, b, sizeof b));
                return -E_CONFIG;
        }
        return 0;
}

int node_reload(struct node *n, char message[CONFIG_MESSAGE])
{
        struct gate_settings gate;
        struct settings fresh;
        const char *frozen;
        int r;

        message[0] = 0;
        if (!n->load)
                return 0;
        r = n->load(&fresh, message);
        if (r < 0)
                return r;
        frozen = config_frozen_change(&settings_table, &n->settings, &fresh);
        if (frozen) {
                snprintf(message, CONFIG_MESSAGE, "%s can't change while the daemon runs; nothing was changed: restart berthd, or set it back",
                         frozen);
                return -E_CONFIG;
        }
        n->settings = fresh;
        gate = gate_settings_of(n, &fresh);
        log_set_level((enum log_level)fresh.log_level);
        gate_change_settings(n->gate, clock_now_ns(), &gate);
        arena_set_ready(n->arena, fresh.arena_ready);
        node_probes_changed(n->probes);
        for (struct client *c = n->clients; c; c = c->next)
                for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++) {
                        struct wire_message m = {0};

                        if (!c->devices[i] || c->devices[i]->slack_taken)
                                continue;
                        m.SETTINGS = (struct wire_SETTINGS){
                                .limit_bytes = c->devices[i]->limit, .soft_bytes = c->devices[i]->soft,
                                .slack_bytes = limits_slack(c, c->devices[i]->device), .ordinal = i};
                        client_send(c, WIRE_SETTINGS, &m, -1);
                }
        log_notice("settings reloaded");
        return 0;
}

uint64_t node_slack(const struct node *n, uint32_t device)
{
        const struct config_share *slack = &n->settings.slack;

        /* Memory comes in granules of 2 MiB; less is of no use to anybody. */
        return (slack->permille ? n->devices[device].info.total_bytes / 1000 * slack->permille : slack->bytes) & ~((UINT64_C(2) << 20) - 1);
}

/* --- jobs --- */

uint64_t node_job(struct node *n, uid_t uid, const char *name)
{
        struct job *spare = NULL, *more;

        if (!*name)
                return 0;
        for (size_t i = 0; i < n->jobs_n; i++) {
                struct job *j = &n->jobs[i];

                if (j->users && j->uid == uid && !strcmp(j->name, name)) {
                        j->users++;
                        return j->id;
                }
                if (!j->users)
                        spare = j;
        }
        if (!spare) {
                more = realloc(n->jobs, (n->jobs_n + 1) * sizeof *more);
                if (!more)
                        return 0;
                n->jobs = more;
                spare = &more[n->jobs_n++];
        }
        *spare = (struct job){.id = ++n->last_job, .uid = uid, .users = 1};
        text_copy_clean(spare->name, sizeof spare->name, name);
        return spare->id;
}

void node_job_release(struct node *n, uint64_t id)
{
        for (size_t i = 0; id && i < n->jobs_n; i++)
                if (n->jobs[i].id == id && n->jobs[i].users)
                        n->jobs[i].users--;
}

uint32_t node_find_device(const struct node *n, const uint8_t uuid[16])
{
        for (uint32_t i = 0; i < n->devices_n; i++)
                if (!memcmp(n->devices[i].info.uuid, uuid, 16))
                        return i;
        return GATE_NONE;
}

/* --- timers --- */

static void on_deadline(uv_timer_t *timer)
{
        struct node *n = timer->data;

        gate_tick(n->gate, clock_now_ns());
        node_turn(n);
}

/* The lanes of a process are on the page of its first device, whichever device the work is for: it is at work on all it has. */
static void look_at(struct node *n, struct client *c, uint64_t now)
{
        uint64_t work = 0;
        bool busy = false;

        for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++)
                for (size_t k = 0; c->devices[i] && k < PAGE_LANES; k++) {
                        const struct page_lane *lane = &c->devices[i]->page->lanes[k];

                        work += atomic_load_explicit(&lane->launches, memory_order_relaxed) +
                                atomic_load_explicit(&lane->copies, memory_order_relaxed);
                        busy |= atomic_load_explicit(&lane->in_call, memory_order_relaxed) != 0;
                }
        for (uint32_t i = 0; i < WIRE_MAX_DEVICES && (busy || work != c->work_seen); i++)
                if (c->devices[i])
                        gate_active(n->gate, now, c->devices[i]->gate);
        c->work_seen = work;
}

void node_look(struct node *n)
{
        uint64_t now = clock_now_ns();

        for (struct client *c = n->clients; c; c = c->next)
                look_at(n, c, now);
}

static void on_activity(uv_timer_t *timer)
{
        struct node *n = timer->data;

        node_look(n);
        node_turn(n);
}

/* Lets those go on that had to stop: connections that sent too fast, the listener out of descriptors. */
static void on_pace(uv_timer_t *timer)
{
        struct node *n = timer->data;
        uint64_t now = clock_now_ns();
        bool again = false;

        for (struct client *c = n->clients; c; c = c->next)
                if (c->paused && !c->doomed)
                        again |= !client_unpause(c, now);
        server_resume(n->server);
        if (!again) {
                uv_timer_stop(&n->pace);
                n->pace_on = false;
        }
        node_turn(n);
}

void node_pace(struct node *n)
{
        if (!n->pace_on)
                n->pace_on = uv_timer_start(&n->pace, on_pace, PACE_MS, PACE_MS) == 0;
}

static void on_arena(uv_async_t *async)
{
        struct node *n = async->data;

        if (n->arena && arena_collect(n->arena))
                node_turn(n);
}

static void arena_notify(void *user)
{
        struct node *n = user;

        (void)uv_async_send(&n->arena_async);
}

static void arm(struct node *n)
{
        uint64_t due = gate_next_deadline(n->gate), now = clock_now_ns();
        bool contended = false;

        uv_update_time(n->loop);
        if (due == GATE_NEVER)
                uv_timer_stop(&n->deadline);
        else
                uv_timer_start(&n->deadline, on_deadline, due > now ? (due - now + NS_PER_MS - 1) / NS_PER_MS : 0, 0);
        for (uint32_t i = 0; i < n->devices_n; i++)
                contended |= gate_contended(n->gate, i);
        if (contended && !n->activity_on)
                uv_timer_start(&n->activity, on_activity, ACTIVITY_MS, ACTIVITY_MS);
        if (!contended && n->activity_on)
                uv_timer_stop(&n->activity);
        n->activity_on = contended;
}

static bool end_doomed(struct node *n)
{
        bool any = false;

        for (struct client *c = n->clients, *next; c; c = next) {
                next = c->next;
                if (!c->doomed)
                        continue;
                client_end(c);
                any = true;
        }
        return any;
}

void node_turn(struct node *n)
{
        bool more;

        if (n->turning)
                return;
        n->turning = true;
        do {
                lend_serve(n);
                more = carry_out(n);
                more |= end_doomed(n);
        } while (more);
        arm(n);
        n->turning = false;
}

/* --- life --- */

static int add_devices(struct node *n)
{
        for (size_t i = 0; i < observe_count(n->observe) && n->devices_n < WIRE_MAX_DEVICES; i++) {
                const struct observe_device *info = observe_device(n->observe, i);
                char text[16];
                int r;

                if (!info->shareable)
                        continue;
                r = gate_add_device(n->gate, n->devices_n, info->total_bytes);
                if (r < 0)
                        return r;
                gate_link(n->gate, n->devices_n, info->kind == WIRE_CUDA ? CUDA_LINK_BYTES_PER_S : 0);
                n->devices[n->devices_n++] = (struct node_device){.info = *info, .observed = i};
                log_info("device=%u %s \"%s\" of %s", n->devices_n - 1, wire_kind_name(info->kind), info->name,
                         text_bytes(info->total_bytes, text, sizeof text));
        }
        return 0;
}

static int open_timers(struct node *n)
{
        if (uv_timer_init(n->loop, &n->deadline) < 0 || uv_timer_init(n->loop, &n->activity) < 0 ||
            uv_timer_init(n->loop, &n->pace) < 0 || uv_async_init(n->loop, &n->arena_async, on_arena) < 0)
                return -ENOMEM;
        n->deadline.data = n->activity.data = n->pace.data = n->arena_async.data = n;
        n->handles_open = 4;
        return 0;
}

static int build(struct node *n, struct observe *observe, char message[CONFIG_MESSAGE])
{
        struct gate_settings gate;
        struct arena_options arena;
        int r;

        /* Sizes first: they need the devices, which need a gate, whose settings need the sizes' client part. */
        gate = gate_settings_of(n, &n->settings);
        n->gate = gate_new(NODE_MAX_GATE_CLIENTS, WIRE_MAX_DEVICES, &gate);
        if (!n->gate)
                return -ENOMEM;
        n->observe = observe;
        r = add_devices(n);
        if (r == 0)
                r = size_up(n, message);
        if (r == 0)
                r = open_timers(n);
        if (r < 0)
                return r;
        gate = gate_settings_of(n, &n->settings);
        gate_change_settings(n->gate, clock_now_ns(), &gate);
        arena = (struct arena_options){.budget = n->arena_budget, .segment = n->segment, .ready = n->settings.arena_ready,
                                       .threads = (unsigned int)n->settings.arena_threads, .notify = arena_notify, .user = n};
        r = arena_new(&arena, &n->arena);
        if (r == 0)
                r = sensor_new(n, &n->sensor);
        if (r == 0)
                r = node_probes_new(n, &n->probes);
        if (r == 0)
                n->history = history_start(n);
        return r;
}

static void one_closed(uv_handle_t *handle)
{
        struct node *n = handle->data;

        if (--n->handles_open == 0)
                free(n);
}

int node_new(uv_loop_t *loop, const struct settings *settings, struct observe *observe, struct node **ret,
             char message[CONFIG_MESSAGE])
{
        struct node *n = calloc(1, sizeof *n);
        int r;

        message[0] = 0;
        if (!n)
                return -ENOMEM;
        n->loop = loop;
        n->settings = *settings;
        n->started_ns = clock_now_ns();
        n->arena_told = UINT64_MAX;
        n->hand.fd = -1;
        r = build(n, observe, message);
        if (r < 0) {
                if (!message[0])
                        snprintf(message, CONFIG_MESSAGE, "%s", error_text(r));
                n->observe = NULL; /* the caller's still */
                node_free(n);
                return r;
        }
        node_turn(n);
        *ret = n;
        return 0;
}

void node_free(struct node *n)
{
        if (!n)
                return;
        n->turning = true; /* no turns any more */
        server_close(n->server);
        n->server = NULL;
        while (n->clients)
                client_end(n->clients);
        lend_free_ghosts(n);
        node_probes_free(n->probes);
        n->probes = NULL;
        sensor_free(n->sensor);
        n->sensor = NULL;
        history_end(n);
        observe_free(n->observe);
        arena_free(n->arena);
        n->arena = NULL;
        gate_free(n->gate);
        free(n->jobs);
        if (!n->handles_open) {
                free(n);
                return;
        }
        uv_close((uv_handle_t *)&n->deadline, one_closed);
        uv_close((uv_handle_t *)&n->activity, one_closed);
        uv_close((uv_handle_t *)&n->pace, one_closed);
        uv_close((uv_handle_t *)&n->arena_async, one_closed);
}
