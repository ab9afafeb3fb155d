/* program.c: what programs say about their devices, told to the gate; see node.h.
 *
 * Nothing a program claims is trusted further than the gate's own books allow: the gate refuses what contradicts them, and that counts as a
 * fault. The shared page is only read, but for its first line, and what it says is shown, never reckoned with.
 */
#define LOG_ROOM "node"
#include "node/node.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

static void free_device(struct client_device *d)
{
        if (d->page)
                munmap(d->page, PAGE_BYTES);
        fd_close_at(&d->page_fd);
        free(d);
}

static int make_page(void)
{
        scoped_fd int fd = memfd_create("berth-page", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        if (fd < 0 || ftruncate(fd, PAGE_BYTES) < 0 || fcntl(fd, F_ADD_SEALS, PAGE_SEALS | F_SEAL_SEAL) < 0)
                return -errno;
        return take_fd(fd);
}

/* A program may bring the page that its launches count on already: then it must be one that can't be cut under the daemon's feet. */
static bool is_page(int fd)
{
        int seals = fcntl(fd, F_GET_SEALS);
        struct stat st;

        return seals >= 0 && (seals & F_SEAL_SHRINK) && !(seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) && fstat(fd, &st) == 0 &&
               st.st_size == PAGE_BYTES;
}

static int attach_page(struct client *c, struct client_device *d, int fd)
{
        struct page *page;

        d->page_fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : make_page();
        if (d->page_fd < 0)
                return fd >= 0 ? -errno : d->page_fd;
        page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, d->page_fd, 0);
        if (page == MAP_FAILED)
                return -errno;
        d->page = page;
        page->magic = PAGE_MAGIC;
        page->version = PAGE_VERSION;
        page->bytes = PAGE_BYTES;
        page->client = c->number;
        page->ordinal = d->ordinal;
        page_windows_clean(page);
        memcpy(page->uuid, c->node->devices[d->device].info.uuid, 16);
        atomic_store_explicit(&page->contended, gate_contended(c->node->gate, d->device), memory_order_relaxed);
        return 0;
}

/* Resumed state is a claim too: it can't be more than the device, nor resident memory more than is owned. */
static bool plausible(const struct client *c, const struct wire_DEVICE *m, uint64_t total)
{
        if (!c->resumes)
                return !m->granted_bytes && !m->movable_bytes && !m->pinned_bytes && !m->resident_bytes && !m->running;
        return m->granted_bytes <= total && m->pinned_bytes <= total && m->movable_bytes <= UINT64_MAX / 4 &&
               m->resident_bytes <= m->movable_bytes && m->resident_bytes <= total;
}

static void device(struct client *c, const struct wire_message *m, int fd)
{
        const struct wire_DEVICE *msg = &m->DEVICE;
        struct node *n = c->node;
        uint32_t device = node_find_device(n, msg->uuid);
        struct wire_message answer = {0};
        struct gate_client_spec spec;
        struct client_device *d;
        char uuid[WIRE_UUID_TEXT];
        uint64_t total;
        int r;

        if (c->devices[msg->ordinal]) {
                client_fault(c, &m->header, msg->ordinal, "this ordinal is a device already");
                return;
        }
        if (device == GATE_NONE) {
                client_error(c, -E_UNKNOWN_DEVICE, WIRE_DEVICE, m->header.sequence, msg->ordinal,
                             "device %s is not shared by this daemon; `berth status` lists those that are", wire_uuid_text(msg->uuid, uuid));
                return;
        }
        for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++)
                if (c->devices[i] && c->devices[i]->device == device && c->devices[i]->storage == (msg->storage != 0)) {
                        client_fault(c, &m->header, msg->ordinal, "this device has another ordinal already");
                        return;
                }
        total = n->devices[device].info.total_bytes;
        if (!plausible(c, msg, total) || (fd >= 0 && !is_page(fd))) {
                client_fault(c, &m->header, msg->ordinal, "state that can't be");
                return;
        }
        d = calloc(1, sizeof *d);
        if (!d) {
                client_drop(c, "out of memory");
                return;
        }
        d->device = device;
        d->ordinal = msg->ordinal;
        d->page_fd = -1;
        d->storage = msg->storage != 0;
        d->limit = d->storage ? 0 : limits_of(c->limit_bytes, c->limit_permille, total);
        d->soft = d->storage ? 0 : limits_of(c->soft_bytes, c->soft_permille, total);
        r = attach_page(c, d, fd);
        if (r < 0) {
                free_device(d);
                client_error(c, r, WIRE_DEVICE, m->header.sequence, msg->ordinal, "no shared page: %s", error_text(r));
                return;
        }
        spec = (struct gate_client_spec){
                .device = device,
                .priority = c->priority,
                .storage = d->storage,
                /* The devices of one process come and go together, as its gate is one. */
                .job = d->storage ? 0 : c->job || n->devices_n < 2 ? c->job : UINT64_C(1) << 63 | c->number,
                .process = d->storage || n->devices_n < 2 ? 0 : UINT64_C(1) << 63 | c->number,
                /* Granted ahead in a job with a limit, it would be taken from the other members. */
                .need_bytes = d->storage || limits_of_job(c, device) ? 0 : c->need,
                .limit_bytes = d->limit,
                /* Who owns memory has a context on the device, also when all of it is swapped out. */
                .admitted = !d->storage && (msg->granted_bytes || msg->movable_bytes || msg->pinned_bytes || msg->running),
                .running = msg->running && !d->storage,
                .grant_bytes = msg->granted_bytes,
                .movable_bytes = msg->movable_bytes,
                .pinned_bytes = msg->pinned_bytes,
                .resident_bytes = msg->resident_bytes,
        };
        r = gate_add_client(n->gate, clock_now_ns(), &spec, &d->gate);
        if (r == -E_MESSAGE) {
                free_device(d);
                client_fault(c, &m->header, msg->ordinal, "state that contradicts itself");
                return;
        }
        if (r < 0) {
                free_device(d);
                log_warning("client=%u pid=%d not admitted to device %u: %s", c->number, (int)c->pid, device, error_text(r));
                client_error(c, r == -ENOSPC ? -E_QUOTA : r, WIRE_DEVICE, m->header.sequence, msg->ordinal,
                             "not admitted to the device: %s", r == -ENOSPC ? "too many programs" : error_text(r));
                return;
        }
        d->room = gate_room(n->gate, device);
        c->devices[msg->ordinal] = d;
        n->by_gate[d->gate].client = c;
        n->by_gate[d->gate].ordinal = msg->ordinal;
        answer.DEVICE_OK = (struct wire_DEVICE_OK){
                .limit_bytes = d->limit,
                .soft_bytes = d->soft,
                .room_bytes = limits_of_job(c, device) && limits_of_job(c, device) < d->room ? limits_of_job(c, device) : d->room,
                .slack_bytes = limits_slack(c, device),
                .ordinal = msg->ordinal,
                .kind = n->devices[device].info.kind,
        };
        client_send(c, WIRE_DEVICE_OK, &answer, d->page_fd);
}

/* What a message can tell by itself, before the gate compares it with its books. */
static bool sums_fit(uint64_t a, uint64_t b)
{
        uint64_t sum;

        return !__builtin_add_overflow(a, b, &sum);
}

static uint32_t ordinal_of(const struct wire_message *m)
{
        switch (m->header.type) {
        case WIRE_MEMORY:
                return m->MEMORY.ordinal;
        case WIRE_WANT:
                return m->WANT.ordinal;
        case WIRE_GIVEN_WAY:
                return m->GIVEN_WAY.ordinal;
        case WIRE_EVICTED:
                return m->EVICTED.ordinal;
        case WIRE_BROUGHT_IN:
                return m->BROUGHT_IN.ordinal;
        default:
                return UINT32_MAX;
        }
}

/* Growth that the job as a whole may not have; the gate never hears of it. */
static bool job_denies(struct client *c, const struct client_device *d, const struct wire_WANT *want)
{
        struct wire_message m = {.DENIED = {.need_bytes = want->need_bytes, .ordinal = d->ordinal, .ticket = want->ticket, .code = -E_LIMIT}};
        char need[16], have[16];

        if (!limits_forbid(c, d, want->need_bytes, &m.DENIED.have_bytes))
                return false;
        client_send(c, WIRE_DENIED, &m, -1);
        log_notice("client=%u pid=%d name=\"%s\" device=%u job=\"%s\" refused %s, at most %s beside the job's others: its limit", c->number, (int)c->pid,
                   c->name, d->device, c->job_name, text_bytes(want->need_bytes, need, sizeof need), text_bytes(m.DENIED.have_bytes, have, sizeof have));
        return true;
}

static int tell_gate(struct node *n, uint64_t now, uint32_t gate, const struct wire_message *m)
{
        switch (m->header.type) {
        case WIRE_MEMORY:
                if (!sums_fit(m->MEMORY.movable_bytes, m->MEMORY.pinned_bytes))
                        return -E_MESSAGE;
                return gate_memory(n->gate, now, gate, m->MEMORY.movable_bytes, m->MEMORY.pinned_bytes, m->MEMORY.resident_bytes,
                                   m->MEMORY.backed_bytes, m->MEMORY.returned_bytes);
        case WIRE_WANT:
                return gate_want(n->gate, now, gate, m->WANT.need_bytes, m->WANT.ticket);
        case WIRE_GIVEN_WAY:
                return gate_given_way(n->gate, now, gate, m->GIVEN_WAY.wants);
        case WIRE_EVICTED:
                return gate_evicted(n->gate, now, gate, m->EVICTED.resident_bytes, m->EVICTED.returned_bytes, m->EVICTED.moved_bytes,
                                    m->EVICTED.elapsed_ns, m->EVICTED.done, m->EVICTED.status);
        case WIRE_BROUGHT_IN:
                return gate_brought_in(n->gate, now, gate, m->BROUGHT_IN.resident_bytes, m->BROUGHT_IN.returned_bytes,
                                       m->BROUGHT_IN.moved_bytes, m->BROUGHT_IN.elapsed_ns, m->BROUGHT_IN.done,
                                       m->BROUGHT_IN.status);
        default:
                return -E_MESSAGE;
        }
}

/* The gate tries it again, later each time: who waits for long should be able to see why. */
static void log_failed_move(const struct client *c, const struct client_device *d, const char *what, int status)
{
        if (status < 0)
                log_info("client=%u pid=%d device=%u could not be %s whole: %s", c->number, (int)c->pid, d->device, what, error_text(status));
}

/* What the gate has no use for. Dropped bytes are shown, so they are believed only as far as the device could hold them. */
static void evicted(struct client *c, struct client_device *d, const struct wire_EVICTED *m, int fd)
{
        struct node_device *device = &c->node->devices[d->device];

        if (m->dropped_bytes > d->dropped && m->dropped_bytes <= device->info.total_bytes) {
                device->dropped += m->dropped_bytes - d->dropped;
                d->dropped = m->dropped_bytes;
        }
        log_failed_move(c, d, "moved out", m->status);
        if ((fd >= 0 && m->unit_bytes) || m->unit)
                hand_evicted(c, d->device, m, fd);
}

void program_message(struct client *c, const struct wire_message *m, int fd)
{
        uint32_t ordinal = ordinal_of(m);
        struct client_device *d;
        int r;

        switch (m->header.type) {
        case WIRE_DEVICE:
                device(c, m, fd);
                return;
        case WIRE_HOST:
                lend_wanted(c, m->HOST.bytes);
                return;
        case WIRE_UNIT_BACK:
                hand_back(c, m);
                return;
        case WIRE_SEGMENT_BACK:
                lend_return(c, m);
                return;
        case WIRE_RECALLED:
                lend_recalled(c, m);
                return;
        case WIRE_SEGMENT_HAVE:
                lend_adopt(c, m, fd);
                return;
        default:
                break;
        }
        d = ordinal < WIRE_MAX_DEVICES ? c->devices[ordinal] : NULL;
        if (!d) {
                client_fault(c, &m->header, ordinal, "no DEVICE was announced under this ordinal");
                return;
        }
        if (m->header.type == WIRE_WANT && job_denies(c, d, &m->WANT))
                return;
        if (m->header.type == WIRE_WANT) {
                node_look(c->node);
                lend_expect(c, d, m->WANT.need_bytes);
        }
        r = tell_gate(c->node, clock_now_ns(), d->gate, m);
        if (r < 0)
                client_fault(c, &m->header, ordinal, "out of turn, or at odds with the books");
        else if (m->header.type == WIRE_EVICTED)
                evicted(c, d, &m->EVICTED, fd);
        else if (m->header.type == WIRE_BROUGHT_IN)
                log_failed_move(c, d, "brought in", m->BROUGHT_IN.status);
}

void program_gone(struct client *c)
{
        struct node *n = c->node;
        uint64_t now = clock_now_ns(), out = 0, in = 0, peak = 0;
        char out_text[16], in_text[16], peak_text[16], age[16];

        run_left(c, now);
        for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++) {
                struct client_device *d = c->devices[i];
                struct gate_client_view view;
                uint64_t most;

                if (!d)
                        continue;
                if (gate_view_client(n->gate, now, d->gate, &view)) {
                        out += view.out_bytes;
                        in += view.in_bytes;
                }
                most = atomic_load_explicit(&d->page->peak_bytes, memory_order_relaxed);
                peak += most <= n->devices[d->device].info.total_bytes ? most : 0;
                n->by_gate[d->gate].client = NULL;
                gate_gone(n->gate, now, d->gate);
                c->devices[i] = NULL;
                free_device(d);
        }
        if (c->greeted && c->role == WIRE_PROGRAM) {
                node_job_release(n, c->job);
                if (n->sensor)
                        sensor_departed(n->sensor, c->pid);
                log_info("client=%u pid=%d uid=%u name=\"%s\" left after %s: peak %s, moved out %s, in %s", c->number, (int)c->pid,
                         (unsigned int)c->uid, c->name, text_duration(now - c->came_ns, age, sizeof age),
                         text_bytes(peak, peak_text, sizeof peak_text), text_bytes(out, out_text, sizeof out_text),
                         text_bytes(in, in_text, sizeof in_text));
        }
}
