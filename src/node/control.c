/* control.c: what the command line asks: status, dump, reload; see node.h. The figures are put together in dump.c. */
#define LOG_ROOM "node"
#include "node/node.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

static void send_daemon(struct client *c)
{
        struct node *n = c->node;
        struct wire_message m = {0};
        struct arena_stats arena;

        arena_stats(n->arena, &arena);
        m.STATUS_DAEMON = (struct wire_STATUS_DAEMON){
                .uptime_ns = clock_now_ns() - n->started_ns,
                .rss_bytes = dump_own_rss(),
                .arena_bytes = arena.budget,
                .arena_ready_bytes = arena.ready,
                .arena_lent_bytes = arena.lent,
                .messages = n->messages,
                .refused = n->refused,
                .slice_multiplier = n->settings.slice_multiplier,
                .slice_fixed_ns = n->settings.slice_mode ? n->settings.slice_fixed : 0,
                .pid = (uint32_t)getpid(),
                .devices = (uint32_t)observe_count(n->observe),
                .reserve_percent = (uint32_t)n->settings.reserve_percent,
                .client_part_bytes = n->settings.client_part ? n->settings.client_part : n->part,
                .limits_classes = n->settings.limits != 0,
                .band_low_percent = (uint32_t)n->settings.band_low,
                .band_high_percent = (uint32_t)n->settings.band_high,
                .arena_needed_mib = (uint32_t)((lend_needed(n) + (1 << 20) - 1) >> 20),
        };
        for (const struct client *o = n->clients; o; o = o->next)
                m.STATUS_DAEMON.clients += o->greeted && o->role == WIRE_PROGRAM;
        snprintf(m.STATUS_DAEMON.version, sizeof m.STATUS_DAEMON.version, "%s", BERTH_VERSION);
        client_send(c, WIRE_STATUS_DAEMON, &m, -1);
}

static uint32_t send_devices(struct client *c, uint64_t now)
{
        struct node *n = c->node;
        struct wire_message m;
        uint32_t devices = 0;

        for (uint32_t i = 0; i < n->devices_n; i++, devices++) {
                memset(&m, 0, sizeof m);
                dump_device(n, i, now, &m.STATUS_DEVICE);
                client_send(c, WIRE_STATUS_DEVICE, &m, -1);
        }
        /* Those that are only watched come after, with numbers of their own. */
        for (size_t i = 0; i < observe_count(n->observe); i++) {
                if (observe_device(n->observe, i)->shareable)
                        continue;
                memset(&m, 0, sizeof m);
                dump_observed(n, i, &m.STATUS_DEVICE);
                m.STATUS_DEVICE.index = devices++;
                client_send(c, WIRE_STATUS_DEVICE, &m, -1);
        }
        return devices;
}

static void status(struct client *c, bool run_only)
{
        uint64_t now = clock_now_ns();
        uint32_t clients = 0, devices;
        struct wire_message m;

        send_daemon(c);
        devices = send_devices(c, now);
        if (run_only)
                clients = run_send(c, now);
        for (struct client *o = c->node->clients; o && !run_only; o = o->next)
                for (uint32_t i = 0; i < WIRE_MAX_DEVICES && !c->doomed; i++) {
                        if (!o->devices[i])
                                continue;
                        memset(&m, 0, sizeof m);
                        dump_client(o, o->devices[i], now, &m.STATUS_CLIENT);
                        client_send(c, WIRE_STATUS_CLIENT, &m, -1);
                        clients++;
                }
        memset(&m, 0, sizeof m);
        m.STATUS_END = (struct wire_STATUS_END){.devices = devices, .clients = clients};
        client_send(c, WIRE_STATUS_END, &m, -1);
}

static void done(struct client *c, uint32_t about, int fd)
{
        struct wire_message m = {.DONE = {.about = about}};

        client_send(c, WIRE_DONE, &m, fd);
}

/* Root and the daemon's own user; others are told so. */
static bool is_master(struct client *c, const struct wire_header *header)
{
        if (c->uid == 0 || c->uid == geteuid())
                return true;
        c->node->refused++;
        client_error(c, -EPERM, header->type, header->sequence, UINT32_MAX, "only root and the daemon's own user may reload its settings or dump its state");
        return false;
}

static void reload(struct client *c, const struct wire_header *header)
{
        char message[CONFIG_MESSAGE];
        int r;

        if (!is_master(c, header))
                return;
        r = node_reload(c->node, message);
        if (r < 0) {
                log_error("settings not reloaded: %s", message);
                client_error(c, r, WIRE_RELOAD, header->sequence, UINT32_MAX, "%s", message);
                return;
        }
        done(c, WIRE_RELOAD, -1);
}

void control_message(struct client *c, const struct wire_message *m)
{
        scoped_fd int fd = -1;
        char text[160];
        int r;

        switch (m->header.type) {
        case WIRE_STATUS_ASK:
                status(c, false);
                break;
        case WIRE_RUN:
                if (run_watch(c, m->RUN.run) < 0)
                        client_fault(c, &m->header, UINT32_MAX, "no run, or another one than before");
                else
                        status(c, true);
                break;
        case WIRE_TRIM_ASK:
                limits_trim(c, m);
                break;
        case WIRE_PREFETCH:
                limits_prefetch(c, m);
                break;
        case WIRE_PEAK:
                run_peak(c, m);
                break;
        case WIRE_RELOAD:
                reload(c, &m->header);
                break;
        case WIRE_DUMP:
                if (!is_master(c, &m->header))
                        break;
                fd = dump_open(c->node);
                if (fd < 0)
                        client_error(c, fd, WIRE_DUMP, m->header.sequence, UINT32_MAX, "no dump: %s", error_text(fd));
                else
                        done(c, WIRE_DUMP, fd);
                break;
        case WIRE_HISTORY:
                fd = history_open(c->node);
                if (fd < 0)
                        client_error(c, fd, WIRE_HISTORY, m->header.sequence, UINT32_MAX, "no history: %s", error_text(fd));
                else
                        done(c, WIRE_HISTORY, fd);
                break;
        case WIRE_PROBES:
                r = node_probes_answer(c->node->probes, c->uid, m->PROBES.flags, &fd, text);
                if (r < 0)
                        client_error(c, r, WIRE_PROBES, m->header.sequence, UINT32_MAX, "%s", text);
                else
                        done(c, WIRE_PROBES, fd);
                break;
        default:
                client_fault(c, &m->header, UINT32_MAX, "nothing that can be asked");
                break;
        }
}
