/* status-render.c: `berth status` for people and for programs; see status-render.h. */
#include "cli/status-render.h"

#include "base/text.h"
#include "cli/table.h"

#include <stdio.h>
#include <string.h>

#define BAR 32

struct words {
        char s[8][24];
        unsigned int next;
};

/* Formatted values that live as long as the statement's struct words: several fit into one call of strbuf_add. */
static char *slot(struct words *w)
{
        return w->s[w->next++ % ARRAY_SIZE(w->s)];
}

static const char *bytes(struct words *w, uint64_t value)
{
        return text_bytes(value, slot(w), sizeof w->s[0]);
}

static const char *bytes_if(struct words *w, bool valid, uint64_t value)
{
        return valid ? bytes(w, value) : "unavailable";
}

static const char *duration(struct words *w, uint64_t ns)
{
        return ns ? text_duration(ns, slot(w), sizeof w->s[0]) : "0 s";
}

static const char *rate(struct words *w, uint64_t moved, uint64_t ns)
{
        return cli_rate(ns ? (double)moved / (double)ns * 1e9 : -1, slot(w), sizeof w->s[0]);
}

/* '#' granted to programs, '.' room left, ' ' what is never granted or used by others. */
static void bar(const struct wire_STATUS_DEVICE *d, struct strbuf *b)
{
        uint64_t total = d->total_bytes;
        size_t granted, room;

        if (!(d->valid & WIRE_VALID_TOTAL) || !total)
                return;
        granted = (size_t)((double)(d->granted_bytes < total ? d->granted_bytes : total) / (double)total * BAR + 0.5);
        room = (size_t)((double)(d->room_bytes < total ? d->room_bytes : total) / (double)total * BAR + 0.5);
        if (room < granted)
                room = granted;
        strbuf_add(b, "[");
        strbuf_fill(b, '#', granted);
        strbuf_fill(b, '.', room - granted);
        strbuf_fill(b, ' ', BAR - room);
        strbuf_add(b, "] ");
}

static void sensors(const struct wire_STATUS_DEVICE *d, struct strbuf *b)
{
        if (d->valid & (WIRE_VALID_UTILISATION | WIRE_VALID_POWER | WIRE_VALID_TEMPERATURE)) {
                strbuf_add(b, "  sensors   utilisation ");
                if (d->valid & WIRE_VALID_UTILISATION)
                        strbuf_add(b, "%u.%u %%", d->utilisation_permille / 10, d->utilisation_permille % 10);
                else
                        strbuf_add(b, "unavailable");
                strbuf_add(b, ", power ");
                if (d->valid & WIRE_VALID_POWER)
                        strbuf_add(b, "%.1f W", (double)d->power_mw / 1000);
                else
                        strbuf_add(b, "unavailable");
                strbuf_add(b, ", temperature ");
                if (d->valid & WIRE_VALID_TEMPERATURE)
                        strbuf_add(b, "%u C\n", d->temperature_c);
                else
                        strbuf_add(b, "unavailable\n");
        } else {
                strbuf_add(b, "  sensors   unavailable\n");
        }
}

/* A device that Berth only watches. */
static void watched_text(const struct wire_STATUS_DEVICE *d, struct strbuf *b)
{
        struct words w = {0};

        strbuf_add(b, "\ndevice %u  %s (%s), watched only\n", d->index, d->name, wire_kind_name(d->kind));
        strbuf_add(b, "  in use    %s of %s\n", bytes_if(&w, d->valid & WIRE_VALID_USED, d->used_bytes),
                   bytes_if(&w, d->valid & WIRE_VALID_TOTAL, d->total_bytes));
        sensors(d, b);
}

static void device_text(const struct wire_STATUS_DEVICE *d, struct strbuf *b)
{
        struct words w = {0};
        char uuid[WIRE_UUID_TEXT];

        if (!snapshot_shared(d)) {
                watched_text(d, b);
                return;
        }
        strbuf_add(b, "\ndevice %u  %s (%s)  %s\n", d->index, d->name, wire_kind_name(d->kind),
                   wire_uuid_text(d->uuid, uuid));
        strbuf_add(b, "  memory    ");
        bar(d, b);
        strbuf_add(b, "%s granted of %s room, %s in all\n", bytes(&w, d->granted_bytes), bytes(&w, d->room_bytes),
                   bytes_if(&w, d->valid & WIRE_VALID_TOTAL, d->total_bytes));
        strbuf_add(b, "  in use    %s by the driver's count, %s by programs outside Berth\n",
                   bytes_if(&w, d->valid & WIRE_VALID_USED, d->used_bytes),
                   bytes_if(&w, d->valid & WIRE_VALID_FOREIGN, d->foreign_bytes));
        strbuf_add(b, "  moved     out %s (%s), in %s (%s); %s swapped out now\n", bytes(&w, d->out_bytes),
                   rate(&w, d->out_bytes, d->out_ns), bytes(&w, d->in_bytes), rate(&w, d->in_bytes, d->in_ns),
                   bytes(&w, d->swapped_bytes));
        if (d->dropped_bytes || d->handed_bytes)
                strbuf_add(b, "  spared    %s left without a copy, %s changed owner without the driver's freeing it\n", bytes(&w, d->dropped_bytes),
                           bytes(&w, d->handed_bytes));
        strbuf_add(b, "  switches  %llu, slice %s\n", (unsigned long long)d->switches,
                   d->slice_ns ? duration(&w, d->slice_ns) : "not set yet");
        strbuf_add(b, "  waiting   %u of %u", d->waiting, d->clients);
        if (d->max_wait_ns)
                strbuf_add(b, "; longest wait %s, bound %s%s", duration(&w, d->max_wait_ns),
                           duration(&w, d->max_wait_bound_ns),
                           d->max_wait_ns > d->max_wait_bound_ns ? " (exceeded)" : "");
        strbuf_add(b, "\n");
        if (d->stuck)
                strbuf_add(b, "  stuck     %u did not give way in time\n", d->stuck);
        sensors(d, b);
}

/* Its own limit, and the softer and the wider one where it has them. */
static void limit_cell(const struct wire_STATUS_CLIENT *c, struct table *t)
{
        struct words w = {0};

        table_add(t, "%s%s%s%s%s", c->limit_bytes ? bytes(&w, c->limit_bytes) : "none", c->soft_bytes ? ", soft " : "",
                  c->soft_bytes ? bytes(&w, c->soft_bytes) : "", c->job_limit_bytes ? ", job " : "",
                  c->job_limit_bytes ? bytes(&w, c->job_limit_bytes) : "");
}

static void client_row(const struct wire_STATUS_CLIENT *c, struct table *t)
{
        struct words w = {0};
        char user[33];

        table_add(t, "%u", c->pid);
        table_add(t, "%.24s", c->name);
        table_add(t, "%.12s", cli_user(c->uid, user, sizeof user));
        table_add(t, "%s", wire_priority_name(c->priority));
        table_add(t, "%.16s", c->job[0] ? c->job : "-");
        table_add(t, "%s%s", c->storage ? "stores" : wire_state_name(c->state), c->stuck ? " (stuck)" : "");
        table_add(t, "%s / %s", bytes(&w, snapshot_resident(c)), bytes(&w, snapshot_owned(c)));
        limit_cell(c, t);
        if (c->position)
                table_add(t, "%u. for %s, %s", c->position, wire_reason_name(c->reason), duration(&w, c->wait_ns));
        else
                table_add(t, "-");
        table_add(t, "%s", duration(&w, c->waited_ns));
        table_add(t, "%s", c->slice_left_ns ? duration(&w, c->slice_left_ns) : "-");
}

void status_text(const struct snapshot *s, struct strbuf *b)
{
        static const char *const titles[] = {
                ">PID",   "NAME",    "USER",    "PRIORITY",    "JOB", "STATE", ">RESIDENT / OWNED",
                ">LIMIT", "WAITING", ">WAITED", ">SLICE LEFT", NULL};
        const struct wire_STATUS_DAEMON *d = &s->daemon;
        struct words w = {0};
        size_t listed = 0, shared = 0;

        strbuf_add(b, "berthd %s  pid %u, up %s, %u program%s, memory %s\n",
                   d->version[0] ? d->version : "(version unavailable)", d->pid, duration(&w, d->uptime_ns), d->clients,
                   d->clients == 1 ? "" : "s", bytes_if(&w, d->rss_bytes, d->rss_bytes));
        strbuf_add(b, "host arena  %s lent, %s ready, of %s; messages %llu, refused %llu\n",
                   bytes(&w, d->arena_lent_bytes), bytes(&w, d->arena_ready_bytes), bytes(&w, d->arena_bytes),
                   (unsigned long long)d->messages, (unsigned long long)d->refused);
        if (d->arena_needed_mib)
                strbuf_add(b, "            too small for these programs to take turns: some wait until others end. Set arena.size to at least %u MiB and restart berthd (programs go on), or end one\n",
                           d->arena_needed_mib);
        if (d->limits_classes || d->band_low_percent || d->band_high_percent) {
                strbuf_add(b, "limits      %s", d->limits_classes ? "80, 75 or 70 % of a device by its size" : "");
                if (d->band_high_percent)
                        strbuf_add(b, "%snothing granted above %u %%", d->limits_classes ? "; " : "", d->band_high_percent);
                if (d->band_low_percent)
                        strbuf_add(b, "%sidle programs trimmed above %u %%", d->limits_classes || d->band_high_percent ? "; " : "", d->band_low_percent);
                strbuf_add(b, "\n");
        }
        for (size_t i = 0; i < s->device_count; i++)
                shared += snapshot_shared(&s->devices[i]);
        if (!shared)
                strbuf_add(b, "\nno device to share; `berth doctor' tells what is missing\n");
        /* Clients of devices that were not listed come last, under no device: nothing is hidden. */
        for (size_t i = 0; i <= s->device_count && (i < s->device_count || listed < s->client_count); i++) {
                scoped_table struct table t;

                table_init(&t, titles);
                if (i < s->device_count)
                        device_text(&s->devices[i], b);
                else
                        strbuf_add(b, "\nno such device\n");
                for (size_t k = 0; k < s->client_count; k++) {
                        const struct wire_STATUS_CLIENT *c = &s->clients[k];

                        if (i < s->device_count ? c->device != s->devices[i].index : !!snapshot_device(s, c->device))
                                continue;
                        client_row(c, &t);
                        listed++;
                }
                if (t.rows) {
                        strbuf_add(b, "\n");
                        table_print(&t, 2, b);
                }
        }
}

static void put(json_t *o, const char *name, json_t *value, bool *failed)
{
        if (json_object_set_new(o, name, value) < 0)
                *failed = true;
}

/* JSON integers are signed; what does not fit is no measurement. */
static json_t *number(uint64_t value)
{
        return value > INT64_MAX ? json_null() : json_integer((json_int_t)value);
}

static json_t *number_if(bool valid, uint64_t value)
{
        return valid ? number(value) : json_null();
}

static json_t *rate_json(uint64_t moved, uint64_t ns)
{
        return ns ? json_real((double)moved / (double)ns * 1e9) : json_null();
}

#define PUT(name, value) put(o, name, value, &failed)

static json_t *daemon_json(const struct wire_STATUS_DAEMON *d)
{
        json_t *o = json_object();
        bool failed = !o;

        PUT("version", json_string(d->version));
        PUT("pid", number(d->pid));
        PUT("uptime_ns", number(d->uptime_ns));
        PUT("rss_bytes", number_if(d->rss_bytes, d->rss_bytes));
        PUT("clients", number(d->clients));
        PUT("devices", number(d->devices));
        PUT("arena_bytes", number(d->arena_bytes));
        PUT("arena_ready_bytes", number(d->arena_ready_bytes));
        PUT("arena_lent_bytes", number(d->arena_lent_bytes));
        PUT("arena_needed_bytes", number_if(d->arena_needed_mib, (uint64_t)d->arena_needed_mib << 20));
        PUT("messages", number(d->messages));
        PUT("refused", number(d->refused));
        PUT("reserve_percent", number(d->reserve_percent));
        PUT("client_part_bytes", number(d->client_part_bytes));
        PUT("limits", json_string(d->limits_classes ? "classes" : "off"));
        PUT("band_low_percent", number_if(d->band_low_percent, d->band_low_percent));
        PUT("band_high_percent", number_if(d->band_high_percent, d->band_high_percent));
        PUT("slice_multiplier", number(d->slice_multiplier));
        PUT("slice_fixed_ns", number_if(d->slice_fixed_ns, d->slice_fixed_ns));
        if (failed) {
                json_decref(o);
                return NULL;
        }
        return o;
}

static json_t *device_json(const struct wire_STATUS_DEVICE *d)
{
        json_t *o = json_object();
        bool failed = !o;
        char uuid[WIRE_UUID_TEXT];

        PUT("index", number(d->index));
        PUT("uuid", json_string(wire_uuid_text(d->uuid, uuid)));
        PUT("name", json_string(d->name));
        PUT("kind", json_string(wire_kind_name(d->kind)));
        PUT("shared", json_boolean(snapshot_shared(d)));
        PUT("total_bytes", number_if(d->valid & WIRE_VALID_TOTAL, d->total_bytes));
        PUT("room_bytes", number(d->room_bytes));
        PUT("granted_bytes", number(d->granted_bytes));
        PUT("used_bytes", number_if(d->valid & WIRE_VALID_USED, d->used_bytes));
        PUT("foreign_bytes", number_if(d->valid & WIRE_VALID_FOREIGN, d->foreign_bytes));
        PUT("swapped_bytes", number(d->swapped_bytes));
        PUT("out_bytes", number(d->out_bytes));
        PUT("in_bytes", number(d->in_bytes));
        PUT("out_ns", number(d->out_ns));
        PUT("in_ns", number(d->in_ns));
        PUT("out_bytes_per_second", rate_json(d->out_bytes, d->out_ns));
        PUT("in_bytes_per_second", rate_json(d->in_bytes, d->in_ns));
        PUT("dropped_bytes", number(d->dropped_bytes));
        PUT("handed_bytes", number(d->handed_bytes));
        PUT("switches", number(d->switches));
        PUT("slice_ns", number_if(d->slice_ns, d->slice_ns));
        PUT("waiting", number(d->waiting));
        PUT("clients", number(d->clients));
        PUT("stuck", number(d->stuck));
        PUT("max_wait_ns", number_if(d->max_wait_ns, d->max_wait_ns));
        PUT("max_wait_bound_ns", number_if(d->max_wait_ns, d->max_wait_bound_ns));
        PUT("utilisation_permille", number_if(d->valid & WIRE_VALID_UTILISATION, d->utilisation_permille));
        PUT("power_mw", number_if(d->valid & WIRE_VALID_POWER, d->power_mw));
        PUT("temperature_c", number_if(d->valid & WIRE_VALID_TEMPERATURE, d->temperature_c));
        PUT("clock_mhz", number_if(d->valid & WIRE_VALID_CLOCK, d->clock_mhz));
        PUT("memory_clock_mhz", number_if(d->valid & WIRE_VALID_MEMORY_CLOCK, d->memory_clock_mhz));
        PUT("throttle", number_if(d->valid & WIRE_VALID_THROTTLE, d->throttle));
        PUT("memory_busy_permille", number_if(d->valid & WIRE_VALID_MEMORY_BUSY, d->memory_busy_permille));
        PUT("power_limit_mw", number_if(d->valid & WIRE_VALID_POWER_LIMIT, d->power_limit_mw));
        PUT("ecc_corrected", number_if(d->valid & WIRE_VALID_ECC, d->ecc_corrected));
        PUT("ecc_uncorrected", number_if(d->valid & WIRE_VALID_ECC, d->ecc_uncorrected));
        PUT("xids", number_if(d->valid & WIRE_VALID_XID, d->xids));
        PUT("last_xid", number_if(d->valid & WIRE_VALID_XID, d->last_xid));
        if (failed) {
                json_decref(o);
                return NULL;
        }
        return o;
}

json_t *status_client_json(const struct wire_STATUS_CLIENT *c)
{
        json_t *o = json_object();
        bool failed = !o, waits = c->position != 0;
        char user[33];

        PUT("client", number(c->client));
        PUT("pid", number(c->pid));
        PUT("uid", number(c->uid));
        PUT("user", json_string(cli_user(c->uid, user, sizeof user)));
        PUT("name", json_string(c->name));
        PUT("job", c->job[0] ? json_string(c->job) : json_null());
        PUT("device", number(c->device));
        PUT("state", json_string(wire_state_name(c->state)));
        PUT("priority", json_string(wire_priority_name(c->priority)));
        PUT("stuck", json_boolean(c->stuck));
        PUT("storage", json_boolean(c->storage));
        PUT("owned_bytes", number(snapshot_owned(c)));
        PUT("movable_bytes", number(c->movable_bytes));
        PUT("pinned_bytes", number(c->pinned_bytes));
        PUT("resident_bytes", number(snapshot_resident(c)));
        PUT("granted_bytes", number(c->granted_bytes));
        PUT("peak_bytes", number(c->peak_bytes));
        PUT("average_bytes", number(c->average_bytes));
        PUT("need_bytes", number(c->need_bytes));
        PUT("backed_bytes", number(c->backed_bytes));
        PUT("limit_bytes", number_if(c->limit_bytes, c->limit_bytes));
        PUT("soft_bytes", number_if(c->soft_bytes, c->soft_bytes));
        PUT("job_limit_bytes", number_if(c->job_limit_bytes, c->job_limit_bytes));
        PUT("out_bytes", number(c->out_bytes));
        PUT("in_bytes", number(c->in_bytes));
        PUT("out_ns", number(c->out_ns));
        PUT("in_ns", number(c->in_ns));
        PUT("launches", number(c->launches));
        PUT("copies", number(c->copies));
        PUT("switches", number(c->switches));
        PUT("age_ns", number(c->age_ns));
        PUT("ran_ns", number(c->ran_ns));
        PUT("waits", number(c->waits));
        PUT("ipc_refused", number_if(c->ipc_refused != UINT32_MAX, c->ipc_refused));
        PUT("waited_ns", number(c->waited_ns));
        PUT("position", number_if(waits, c->position));
        PUT("reason", waits ? json_string(wire_reason_name(c->reason)) : json_null());
        PUT("wait_ns", number_if(waits, c->wait_ns));
        PUT("wait_bound_ns", number_if(waits, c->wait_bound_ns));
        PUT("slice_left_ns", number_if(c->slice_left_ns, c->slice_left_ns));
        if (failed) {
                json_decref(o);
                return NULL;
        }
        return o;
}

json_t *status_json(const struct snapshot *s)
{
        json_t *o = json_object(), *devices = json_array(), *clients = json_array();
        bool failed = !o || !devices || !clients;

        for (size_t i = 0; i < s->device_count; i++)
                failed |= json_array_append_new(devices, device_json(&s->devices[i])) < 0;
        for (size_t i = 0; i < s->client_count; i++)
                failed |= json_array_append_new(clients, status_client_json(&s->clients[i])) < 0;
        PUT("daemon", daemon_json(&s->daemon));
        PUT("devices", devices);
        PUT("clients", clients);
        if (failed) {
                json_decref(o);
                return NULL;
        }
        return o;
}
