/* carry.c: what the gate decided, carried out: messages to programs, flags on shared pages, log lines, and the end of stuck processes.
 *
 * Actions are handed out oldest first, so that a client gets its messages in the order of the gate's books.
 */
#define LOG_ROOM "gate"
#include "node/node.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

static void send_settings(struct client *c, struct client_device *d, uint64_t slack)
{
        struct wire_message m = {.SETTINGS = {.limit_bytes = d->limit, .soft_bytes = d->soft, .slack_bytes = slack, .ordinal = d->ordinal}};

        client_send(c, WIRE_SETTINGS, &m, -1);
}

static void set_contended(struct node *n, uint32_t device, bool contended)
{
        for (struct client *c = n->clients; c; c = c->next)
                for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++) {
                        struct client_device *d = c->devices[i];

                        if (!d || d->device != device)
                                continue;
                        atomic_store_explicit(&d->page->contended, contended, memory_order_relaxed);
                        if (!contended && d->slack_taken) {
                                d->slack_taken = false;
                                send_settings(c, d, limits_slack(c, d->device));
                        }
                }
}

/* By pidfd: never a process that merely got the same number. */
static void kill_stuck(struct client *c, int32_t code)
{
        if (c->pidfd < 0) {
                log_error("client=%u pid=%d is stuck and can't be ended: its process can't be watched", c->number, (int)c->pid);
                return;
        }
        if (syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0) < 0) {
                log_error("client=%u pid=%d is stuck and can't be ended: %s", c->number, (int)c->pid, error_text(errno));
                return;
        }
        if (c->killed)
                return; /* asked again before the kernel was done with it */
        c->killed = true;
        c->node->killed++;
        log_error("client=%u pid=%d uid=%u name=\"%s\" killed: %s, and others wait for its memory", c->number, (int)c->pid,
                  (unsigned int)c->uid, c->name, error_text(code ? code : E_STUCK));
}

static void report(struct client *c, const struct gate_action *a)
{
        log_warning("client=%u pid=%d name=\"%s\" device=%u: %s", c->number, (int)c->pid, c->name, a->device, error_text(a->code));
}

static void deny(struct client *c, struct client_device *d, const struct gate_action *a)
{
        struct wire_message m = {
                .DENIED = {.have_bytes = a->bytes, .ordinal = d->ordinal, .ticket = a->ticket, .code = a->code}};
        struct gate_client_view view = {0};
        char have[16], need[16];

        if (gate_view_client(c->node->gate, clock_now_ns(), d->gate, &view))
                m.DENIED.need_bytes = view.need;
        client_send(c, WIRE_DENIED, &m, -1);
        if (view.storage)
                return; /* no program missed anything: its bytes go to the host instead */
        log_notice("client=%u pid=%d name=\"%s\" device=%u refused %s, at most %s: %s", c->number, (int)c->pid, c->name, a->device,
                   text_bytes(m.DENIED.need_bytes, need, sizeof need), text_bytes(a->bytes, have, sizeof have), error_text(a->code));
}

static const char *const give_way_names[WIRE_GIVE_REASON_N] = {
        [WIRE_GIVE_SLICE] = "its slice has ended",
        [WIRE_GIVE_IDLE] = "it is idle",
        [WIRE_GIVE_PRIORITY] = "one of higher priority waits",
        [WIRE_GIVE_DEADLOCK] = "all wait for each other's memory",
        [WIRE_GIVE_SETTINGS] = "settings or the use by others changed",
};

static void carry(struct node *n, const struct gate_action *a)
{
        struct wire_message m = {0};
        struct client_device *d;
        struct client *c;

        if (a->kind == GATE_CONTENDED) {
                set_contended(n, a->device, a->bytes != 0);
                return;
        }
        c = a->client < NODE_MAX_GATE_CLIENTS ? n->by_gate[a->client].client : NULL;
        d = c ? c->devices[n->by_gate[a->client].ordinal] : NULL;
        if (!d)
                return; /* it left while this was on its way */
        switch ((enum gate_action_kind)a->kind) {
        case GATE_GO:
                m.GO = (struct wire_GO){.more_bytes = a->bytes, .ordinal = d->ordinal, .ticket = a->ticket};
                client_send(c, WIRE_GO, &m, -1);
                break;
        case GATE_AVAILABLE:
                m.AVAILABLE = (struct wire_AVAILABLE){.more_bytes = a->bytes, .ordinal = d->ordinal, .ticket = a->ticket};
                client_send(c, WIRE_AVAILABLE, &m, -1);
                break;
        case GATE_WAIT:
                m.WAIT = (struct wire_WAIT){.short_bytes = a->bytes, .ordinal = d->ordinal, .ticket = a->ticket, .reason = a->reason,
                                            .position = a->position};
                client_send(c, WIRE_WAIT, &m, -1);
                break;
        case GATE_DENY:
                deny(c, d, a);
                break;
        case GATE_GIVE_WAY:
                m.GIVE_WAY = (struct wire_GIVE_WAY){.ordinal = d->ordinal, .reason = a->reason};
                client_send(c, WIRE_GIVE_WAY, &m, -1);
                log_info("client=%u pid=%d device=%u gives way: %s", c->number, (int)c->pid, a->device,
                         a->reason < ARRAY_SIZE(give_way_names) ? give_way_names[a->reason] : "?");
                break;
        case GATE_EVICT:
                d->dropped = 0;
                m.EVICT = (struct wire_EVICT){.bytes = a->bytes, .ordinal = d->ordinal, .hand_over = hand_worth(c, a->device)};
                client_send(c, WIRE_EVICT, &m, -1);
                break;
        case GATE_BRING_IN:
                m.BRING_IN = (struct wire_BRING_IN){.more_bytes = a->bytes, .ordinal = d->ordinal};
                client_send(c, WIRE_BRING_IN, &m, hand_take(c, a, &m.BRING_IN.unit_bytes, &m.BRING_IN.unit));
                break;
        case GATE_TRIM:
                d->slack_taken = true;
                send_settings(c, d, 0);
                break;
        case GATE_REPORT:
                report(c, a);
                break;
        case GATE_KILL:
                kill_stuck(c, a->code);
                break;
        case GATE_CONTENDED:
                break;
        }
}

bool carry_out(struct node *node)
{
        struct gate_action action;
        bool any = false;

        while (gate_next_action(node->gate, &action)) {
                carry(node, &action);
                any = true;
        }
        return any;
}
