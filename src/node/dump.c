/* dump.c: the daemon's books as figures for people: one device, one client, or everything as JSON; see node.h.
 *
 * What comes from a shared page is the program's own claim and is clamped to what can be; what no sensor tells is absent (null in the JSON).
 */
#include "node/node.h"

#include "base/clock.h"
#include "base/fd.h"

#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* Without shared memory: that is the arena, while a worker touches it, and a page for each program. */
uint64_t dump_own_rss(void)
{
        uint64_t bytes = 0, kib;
        char line[128];
        FILE *f = fopen("/proc/self/status", "re");

        while (f && fgets(line, sizeof line, f))
                if (sscanf(line, "RssAnon: %" SCNu64, &kib) == 1 || sscanf(line, "RssFile: %" SCNu64, &kib) == 1)
                        bytes += kib * 1024;
        if (f)
                fclose(f);
        return bytes;
}

static uint64_t at_most(uint64_t value, uint64_t most)
{
        return value < most ? value : most;
}

/* Libraries of before page 3 don't count. */
static uint32_t ipc_refused(const struct page *page)
{
        return page->version >= 3 ? (uint32_t)at_most(atomic_load_explicit(&page->ipc_refused, memory_order_relaxed), UINT32_MAX - 1) : UINT32_MAX;
}

void dump_client(struct client *c, const struct client_device *d, uint64_t now, struct wire_STATUS_CLIENT *ret)
{
        uint64_t total = c->node->devices[d->device].info.total_bytes;
        struct gate_client_view v = {0};

        (void)gate_view_client(c->node->gate, now, d->gate, &v);
        *ret = (struct wire_STATUS_CLIENT){
                .granted_bytes = v.grant,
                .movable_bytes = v.movable,
                .pinned_bytes = v.pinned,
                .resident_bytes = v.resident,
                .peak_bytes = at_most(atomic_load_explicit(&d->page->peak_bytes, memory_order_relaxed), total),
                .average_bytes = at_most(page_average(d->page, now), total),
                .limit_bytes = d->limit,
                .soft_bytes = d->soft,
                .job_limit_bytes = limits_of_job(c, d->device),
                .need_bytes = v.need,
                .backed_bytes = v.backed,
                .out_bytes = v.out_bytes,
                .in_bytes = v.in_bytes,
                .out_ns = v.out_ns,
                .in_ns = v.in_ns,
                .waited_ns = v.waited_ns,
                .wait_ns = v.wait_ns,
                .wait_bound_ns = v.wait_bound_ns,
                .ran_ns = v.ran_ns,
                .slice_left_ns = v.slice_left_ns,
                .switches = v.switches,
                .age_ns = v.age_ns,
                .client = c->number,
                .pid = (uint32_t)c->pid,
                .uid = c->uid,
                .device = d->device,
                .state = v.state,
                .priority = v.priority,
                .position = v.position,
                .reason = v.reason,
                .stuck = v.stuck,
                .storage = v.storage,
                .ipc_refused = ipc_refused(d->page),
        };
        for (size_t i = 0; i < PAGE_LANES; i++) {
                ret->launches += atomic_load_explicit(&d->page->lanes[i].launches, memory_order_relaxed);
                ret->copies += atomic_load_explicit(&d->page->lanes[i].copies, memory_order_relaxed);
                ret->waits += atomic_load_explicit(&d->page->lanes[i].waits, memory_order_relaxed);
        }
        snprintf(ret->job, sizeof ret->job, "%s", c->job_name);
        snprintf(ret->name, sizeof ret->name, "%s", c->name);
}

static void add_sample(struct node *n, size_t observed, struct wire_STATUS_DEVICE *ret)
{
        const struct observe_sample *s = sensor_last(n->sensor, observed);

        if (!s)
                return;
        ret->valid = s->valid;
        ret->used_bytes = s->used_bytes;
        ret->power_mw = s->power_mw;
        ret->utilisation_permille = s->utilisation_permille;
        ret->temperature_c = s->temperature_c;
        ret->ecc_corrected = s->extra.ecc_corrected;
        ret->ecc_uncorrected = s->extra.ecc_uncorrected;
        ret->xids = s->extra.xids;
        ret->last_xid = s->extra.last_xid;
        ret->clock_mhz = s->extra.clock_mhz;
        ret->memory_clock_mhz = s->extra.memory_clock_mhz;
        ret->throttle = s->extra.throttle;
        ret->memory_busy_permille = s->extra.memory_busy_permille;
        ret->power_limit_mw = s->extra.power_limit_mw;
        if (s->valid & WIRE_VALID_TOTAL)
                ret->total_bytes = s->total_bytes;
}

void dump_observed(struct node *n, size_t observed, struct wire_STATUS_DEVICE *ret)
{
        const struct observe_device *info = observe_device(n->observe, observed);

        memcpy(ret->uuid, info->uuid, sizeof ret->uuid);
        ret->kind = info->kind;
        snprintf(ret->name, sizeof ret->name, "%s", info->name);
        add_sample(n, observed, ret);
        if (info->total_bytes) {
                ret->total_bytes = info->total_bytes;
                ret->valid |= WIRE_VALID_TOTAL;
        }
}

void dump_device(struct node *n, uint32_t device, uint64_t now, struct wire_STATUS_DEVICE *ret)
{
        struct gate_device_view v = {0};
        uint64_t foreign;

        (void)gate_view_device(n->gate, now, device, &v);
        dump_observed(n, n->devices[device].observed, ret);
        if (sensor_foreign(n->sensor, n->devices[device].observed, &foreign))
                ret->valid |= WIRE_VALID_FOREIGN;
        ret->room_bytes = v.room;
        ret->granted_bytes = v.granted;
        ret->foreign_bytes = v.foreign;
        ret->out_bytes = v.out_bytes;
        ret->in_bytes = v.in_bytes;
        ret->out_ns = v.out_ns;
        ret->in_ns = v.in_ns;
        ret->dropped_bytes = n->devices[device].dropped;
        ret->handed_bytes = n->devices[device].handed;
        ret->switches = v.switches;
        ret->slice_ns = v.slice_ns;
        ret->max_wait_ns = v.max_wait_ns;
        ret->max_wait_bound_ns = v.max_wait_bound_ns;
        ret->index = device;
        ret->waiting = v.waiting;
        ret->clients = v.clients;
        ret->stuck = v.stuck;
        for (struct client *c = n->clients; c; c = c->next)
                for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++) {
                        struct gate_client_view cv;

                        if (c->devices[i] && c->devices[i]->device == device &&
                            gate_view_client(n->gate, now, c->devices[i]->gate, &cv) && cv.movable > cv.resident)
                                ret->swapped_bytes += cv.movable - cv.resident;
                }
}

/* --- JSON --- */

static json_t *number(uint64_t value)
{
        return json_integer((json_int_t)(value > INT64_MAX ? INT64_MAX : value));
}

static void put(json_t *object, const char *key, uint64_t value)
{
        json_object_set_new(object, key, number(value));
}

static void put_if(json_t *object, const char *key, bool valid, uint64_t value)
{
        json_object_set_new(object, key, valid ? number(value) : json_null());
}

static json_t *device_json(const struct wire_STATUS_DEVICE *s)
{
        bool shareable = s->kind == WIRE_CUDA || s->kind == WIRE_SOFTWARE;
        json_t *o = json_object();
        char uuid[WIRE_UUID_TEXT];

        put(o, "index", s->index);
        json_object_set_new(o, "kind", json_string(wire_kind_name(s->kind)));
        json_object_set_new(o, "name", json_string(s->name));
        json_object_set_new(o, "uuid", shareable ? json_string(wire_uuid_text(s->uuid, uuid)) : json_null());
        put_if(o, "total_bytes", s->valid & WIRE_VALID_TOTAL, s->total_bytes);
        put_if(o, "used_bytes", s->valid & WIRE_VALID_USED, s->used_bytes);
        put_if(o, "foreign_bytes", s->valid & WIRE_VALID_FOREIGN, s->foreign_bytes);
        put_if(o, "utilisation_permille", s->valid & WIRE_VALID_UTILISATION, s->utilisation_permille);
        put_if(o, "power_mw", s->valid & WIRE_VALID_POWER, s->power_mw);
        put_if(o, "temperature_c", s->valid & WIRE_VALID_TEMPERATURE, s->temperature_c);
        put_if(o, "clock_mhz", s->valid & WIRE_VALID_CLOCK, s->clock_mhz);
        put_if(o, "memory_clock_mhz", s->valid & WIRE_VALID_MEMORY_CLOCK, s->memory_clock_mhz);
        put_if(o, "throttle", s->valid & WIRE_VALID_THROTTLE, s->throttle);
        put_if(o, "memory_busy_permille", s->valid & WIRE_VALID_MEMORY_BUSY, s->memory_busy_permille);
        put_if(o, "power_limit_mw", s->valid & WIRE_VALID_POWER_LIMIT, s->power_limit_mw);
        put_if(o, "ecc_corrected", s->valid & WIRE_VALID_ECC, s->ecc_corrected);
        put_if(o, "ecc_uncorrected", s->valid & WIRE_VALID_ECC, s->ecc_uncorrected);
        put_if(o, "xids", s->valid & WIRE_VALID_XID, s->xids);
        put_if(o, "last_xid", s->valid & WIRE_VALID_XID, s->last_xid);
        if (!shareable)
                return o;
        put(o, "room_bytes", s->room_bytes);
        put(o, "granted_bytes", s->granted_bytes);
        put(o, "swapped_bytes", s->swapped_bytes);
        put(o, "out_bytes", s->out_bytes);
        put(o, "in_bytes", s->in_bytes);
        put(o, "out_ns", s->out_ns);
        put(o, "in_ns", s->in_ns);
        put(o, "dropped_bytes", s->dropped_bytes);
        put(o, "handed_bytes", s->handed_bytes);
        put(o, "switches", s->switches);
        put(o, "slice_ns", s->slice_ns);
        put(o, "max_wait_ns", s->max_wait_ns);
        put(o, "max_wait_bound_ns", s->max_wait_bound_ns);
        put(o, "clients", s->clients);
        put(o, "waiting", s->waiting);
        put(o, "stuck", s->stuck);
        return o;
}

static json_t *client_json(struct client *c, uint64_t now)
{
        json_t *o = json_object(), *list = json_array();

        put(o, "client", c->number);
        put(o, "pid", (uint64_t)c->pid);
        put(o, "uid", c->uid);
        json_object_set_new(o, "role", json_string(!c->greeted ? "not greeted" : c->role == WIRE_PROGRAM ? "program" : "control"));
        json_object_set_new(o, "name", json_string(c->name));
        json_object_set_new(o, "job", json_string(c->job_name));
        put(o, "version", c->version);
        put(o, "faults", c->faults);
        put(o, "queued_messages", c->queued);
        json_object_set_new(o, "paused", json_boolean(c->paused));
        json_object_set_new(o, "resumed", json_boolean(c->resumes));
        put(o, "host_wanted_bytes", c->host_wanted);
        put(o, "host_lent_bytes", c->host_lent);
        for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++) {
                struct wire_STATUS_CLIENT s;
                json_t *d;

                if (!c->devices[i])
                        continue;
                dump_client(c, c->devices[i], now, &s);
                d = json_object();
                put(d, "device", s.device);
                put(d, "ordinal", i);
                json_object_set_new(d, "state", json_string(wire_state_name(s.state)));
                json_object_set_new(d, "priority", json_string(wire_priority_name(s.priority)));
                json_object_set_new(d, "reason", json_string(wire_reason_name(s.reason)));
                json_object_set_new(d, "stuck", json_boolean(s.stuck));
                json_object_set_new(d, "storage", json_boolean(s.storage));
                put(d, "position", s.position);
                put(d, "granted_bytes", s.granted_bytes);
                put(d, "movable_bytes", s.movable_bytes);
                put(d, "pinned_bytes", s.pinned_bytes);
                put(d, "resident_bytes", s.resident_bytes);
                put(d, "peak_bytes", s.peak_bytes);
                put(d, "average_bytes", s.average_bytes);
                put(d, "limit_bytes", s.limit_bytes);
                put(d, "soft_bytes", s.soft_bytes);
                put(d, "job_limit_bytes", s.job_limit_bytes);
                put(d, "need_bytes", s.need_bytes);
                put(d, "backed_bytes", s.backed_bytes);
                put(d, "out_bytes", s.out_bytes);
                put(d, "in_bytes", s.in_bytes);
                put(d, "out_ns", s.out_ns);
                put(d, "in_ns", s.in_ns);
                put(d, "launches", s.launches);
                put(d, "copies", s.copies);
                put(d, "waits", s.waits);
                if (s.ipc_refused != UINT32_MAX)
                        put(d, "ipc_refused", s.ipc_refused);
                put(d, "waited_ns", s.waited_ns);
                put(d, "wait_ns", s.wait_ns);
                put(d, "wait_bound_ns", s.wait_bound_ns);
                put(d, "ran_ns", s.ran_ns);
                put(d, "slice_left_ns", s.slice_left_ns);
                put(d, "switches", s.switches);
                put(d, "age_ns", s.age_ns);
                json_array_append_new(list, d);
        }
        json_object_set_new(o, "devices", list);
        return o;
}

static json_t *daemon_json(struct node *n, uint64_t now)
{
        json_t *o = json_object();

        json_object_set_new(o, "version", json_string(BERTH_VERSION));
        put(o, "pid", (uint64_t)getpid());
        put(o, "uptime_ns", now - n->started_ns);
        put(o, "rss_bytes", dump_own_rss());
        put(o, "messages", n->messages);
        put(o, "refused", n->refused);
        put(o, "killed", n->killed);
        put(o, "unit_bytes", n->unit);
        put(o, "segment_bytes", n->segment);
        return o;
}

static json_t *arena_json(struct node *n)
{
        json_t *o = json_object();
        struct arena_stats s;
        uint64_t ghosts = 0;

        arena_stats(n->arena, &s);
        for (struct ghost *g = n->ghosts; g; g = g->next)
                ghosts++;
        put(o, "budget_bytes", s.budget);
        put(o, "ready_bytes", s.ready);
        put(o, "lent_bytes", s.lent);
        put(o, "in_work_bytes", s.other);
        put(o, "free_bytes", s.free);
        put(o, "segments", s.segments);
        put(o, "failed", s.failed);
        put(o, "holders_without_connection", ghosts);
        return o;
}

static json_t *settings_json(const struct settings *settings)
{
        json_t *o = json_object();
        char name[128], value[300];

        for (size_t i = 0; i < settings_table.count; i++) {
                const struct config_entry *e = &settings_table.entries[i];

                snprintf(name, sizeof name, "%s.%s", e->section, e->name);
                json_object_set_new(o, name, json_string(config_format(e, settings, value, sizeof value)));
        }
        return o;
}

static int to_memfd(json_t *root)
{
        scoped_fd int fd = memfd_create("berth-dump", MFD_CLOEXEC);

        if (fd < 0)
                return -errno;
        if (json_dumpfd(root, fd, JSON_INDENT(2)) < 0 || write(fd, "\n", 1) != 1 || lseek(fd, 0, SEEK_SET) < 0)
                return -EIO;
        return take_fd(fd);
}

int dump_open(struct node *n)
{
        json_t *root = json_object(), *devices = json_array(), *clients = json_array();
        uint64_t now = clock_now_ns();
        struct wire_STATUS_DEVICE s;
        uint32_t index = n->devices_n;
        int r;

        for (uint32_t i = 0; i < n->devices_n; i++) {
                memset(&s, 0, sizeof s);
                dump_device(n, i, now, &s);
                json_array_append_new(devices, device_json(&s));
        }
        for (size_t i = 0; i < observe_count(n->observe); i++) {
                if (observe_device(n->observe, i)->shareable)
                        continue;
                memset(&s, 0, sizeof s);
                dump_observed(n, i, &s);
                s.index = index++;
                json_array_append_new(devices, device_json(&s));
        }
        for (struct client *c = n->clients; c; c = c->next)
                json_array_append_new(clients, client_json(c, now));
        json_object_set_new(root, "daemon", daemon_json(n, now));
        json_object_set_new(root, "arena", arena_json(n));
        json_object_set_new(root, "devices", devices);
        json_object_set_new(root, "clients", clients);
        json_object_set_new(root, "settings", settings_json(&n->settings));
        r = to_memfd(root);
        json_decref(root);
        return r;
}
