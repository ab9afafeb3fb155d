/* record.c: looks as bytes and back; see record.h.
 *
 * Unpacked, a look is: fixed part, daemon's bodies, counters of the machine, processes, what probes counted. Packed, it is XORed with the look before (longer parts stand as they are)
 * and runs of zeros are told by their length: pairs of two numbers, how many zeros, how many bytes as they are, then those bytes.
 */
#include "cli/record.h"

#include "base/error.h"
#include "cli/record-probes.h"
#include "base/text.h"

#include <string.h>

#define MAGIC UINT32_C(0x43455242) /* "BREC" */
#define VERSION 2 /* 1: without probes */
#define RECORD_MAGIC UINT32_C(0x4b4f4f4c)

struct head {
        uint32_t magic, version;
        uint64_t reserved;
};
_Static_assert(sizeof(struct head) == RECORD_HEAD_BYTES, "no padding");

struct record {
        uint32_t magic, flags; /* 1: stands alone */
        uint32_t packed, unpacked;
        uint64_t sum;          /* of all of it */
};
_Static_assert(sizeof(struct record) == 24, "no padding");

/* The fixed part of a look. */
struct fixed {
        uint64_t unix_ns, taken_ns, machine_ns, processes_ns, hertz, page, unseen;
        uint32_t devices, clients, processes, has; /* has: 1 daemon, 2 machine, 4 probes */
};
_Static_assert(sizeof(struct fixed) == 72, "no padding");

struct kept_process {
        uint64_t ticks, start_ticks, pages, major_faults, read_bytes, written_bytes, device_busy_ns, device_bytes;
        int32_t pid, parent, nice, io_error;
        uint32_t uid, threads, state, has_use;
        char name[32];
};
_Static_assert(sizeof(struct kept_process) == 128, "no padding");

static uint64_t add_sum(uint64_t sum, const void *bytes, size_t count)
{
        for (size_t i = 0; i < count; i++)
                sum = (sum ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
        return sum;
}

/* Over the record's head, its sum taken as 0, and what is packed. */
static uint64_t sum_of(struct record head, const void *packed)
{
        head.sum = 0;
        return add_sum(add_sum(UINT64_C(0xcbf29ce484222325), &head, sizeof head), packed, head.packed);
}

void record_head(struct strbuf *b)
{
        const struct head head = {MAGIC, VERSION, 0};

        strbuf_put(b, (const char *)&head, sizeof head);
}

int record_check_head(const void *bytes, size_t count)
{
        struct head head;

        if (count < sizeof head)
                return -E_MESSAGE;
        memcpy(&head, bytes, sizeof head);
        if (head.magic != MAGIC)
                return -E_MESSAGE;
        return head.version >= 1 && head.version <= VERSION ? 0 : -E_VERSION;
}

void record_state_done(struct record_state *s)
{
        free(s->last);
        *s = (struct record_state){0};
}

void record_look_done(struct record_look *l)
{
        snapshot_done(&l->snapshot);
        machine_processes_done(&l->processes);
        free(l->look);
        free(l->probes);
        *l = (struct record_look){0};
}

/* --- a look as bytes --- */

/* Who used a processor or storage since the look before, or is on a device; then those with the most memory, as far as there is room. */
static bool is_busy(const struct top_world *w, const struct machine_process *p)
{
        const struct machine_process *old = machine_process_find(w->processes_before, p);

        return !old || p->stat.ticks != old->stat.ticks || p->use.resident_bytes != MACHINE_UNKNOWN || p->io.written_bytes != old->io.written_bytes ||
               p->io.read_bytes != old->io.read_bytes;
}

static struct kept_process kept_of(const struct machine_process *p)
{
        struct kept_process k = {.ticks = p->stat.ticks,
                                 .start_ticks = p->stat.start_ticks,
                                 .pages = p->stat.resident_pages,
                                 .major_faults = p->stat.major_faults,
                                 .read_bytes = p->io.read_bytes,
                                 .written_bytes = p->io.written_bytes,
                                 .device_busy_ns = p->use.busy_ns,
                                 .device_bytes = p->use.resident_bytes,
                                 .pid = p->stat.pid,
                                 .parent = p->stat.parent,
                                 .nice = p->stat.nice,
                                 .io_error = p->io_error,
                                 .uid = p->uid,
                                 .threads = p->stat.threads,
                                 .state = (uint8_t)p->stat.state,
                                 .has_use = p->use.valid};

        memcpy(k.name, p->stat.name, sizeof k.name);
        return k;
}

static uint32_t put_processes(const struct top_world *w, struct strbuf *b)
{
        size_t all = w->processes ? w->processes->count : 0;
        uint8_t *taken scoped_free = calloc(all + 1, 1);
        uint32_t count = 0;

        if (!taken) {
                b->failed = true;
                return 0;
        }
        for (int busy = 1; busy >= 0; busy--)
                for (size_t i = 0; i < all && count < RECORD_PROCESSES; i++)
                        if (!taken[i] && is_busy(w, &w->processes->list[i]) == busy) {
                                taken[i] = 1;
                                count++;
                        }
        /* By pid, so that the next look differs little. */
        for (size_t i = 0; i < all; i++)
                if (taken[i]) {
                        struct kept_process k = kept_of(&w->processes->list[i]);

                        strbuf_put(b, (const char *)&k, sizeof k);
                }
        return count;
}

static void unpacked(const struct top_world *w, uint64_t unix_ns, struct strbuf *b)
{
        struct fixed f = {.unix_ns = unix_ns, .hertz = w->hertz, .page = w->page};

        f.has = (w->now ? 1u : 0) | (w->look ? 2u : 0) | (w->probes ? 4u : 0);
        f.taken_ns = w->now ? w->now->taken_ns : 0;
        f.devices = w->now ? (uint32_t)w->now->device_count : 0;
        f.clients = w->now ? (uint32_t)w->now->client_count : 0;
        f.machine_ns = w->look ? w->look->taken_ns : 0;
        f.processes_ns = w->processes ? w->processes->taken_ns : 0;
        strbuf_put(b, (const char *)&f, sizeof f);
        if (w->now) {
                strbuf_put(b, (const char *)&w->now->daemon, sizeof w->now->daemon);
                strbuf_put(b, (const char *)w->now->devices, w->now->device_count * sizeof *w->now->devices);
                strbuf_put(b, (const char *)w->now->clients, w->now->client_count * sizeof *w->now->clients);
        }
        if (w->look)
                strbuf_put(b, (const char *)w->look, sizeof *w->look);
        f.processes = put_processes(w, b);
        f.unseen = w->processes ? w->processes->count - f.processes + w->processes->unseen : 0;
        if (w->probes)
                record_probes_put(w->probes, b);
        if (!b->failed)
                memcpy(b->text, &f, sizeof f);
}

/* --- packing --- */

static void put_number(struct strbuf *b, size_t value)
{
        for (; value >= 128; value >>= 7)
                strbuf_fill(b, (char)(value | 128), 1);
        strbuf_fill(b, (char)value, 1);
}

static char differ(const char *a, size_t i, const char *last, size_t last_bytes)
{
        return (char)(i < last_bytes ? a[i] ^ last[i] : a[i]);
}

static void pack(const char *a, size_t bytes, const char *last, size_t last_bytes, struct strbuf *b)
{
        for (size_t at = 0; at < bytes;) {
                size_t zeros = 0, end;

                while (at + zeros < bytes && !differ(a, at + zeros, last, last_bytes))
                        zeros++;
                /* A few zeros among others are not worth a pair. */
                for (end = at + zeros; end < bytes; end++) {
                        size_t k = 0;

                        while (k < 4 && end + k < bytes && !differ(a, end + k, last, last_bytes))
                                k++;
                        if (k == 4 || end + k == bytes)
                                break;
                        end += k;
                        if (end >= bytes)
                                break;
                }
                end = end > bytes ? bytes : end;
                put_number(b, zeros);
                put_number(b, end - at - zeros);
                for (size_t i = at + zeros; i < end; i++)
                        strbuf_fill(b, differ(a, i, last, last_bytes), 1);
                at = end;
        }
}

static bool get_number(const uint8_t **at, const uint8_t *end, size_t *ret)
{
        size_t value = 0;

        for (unsigned int shift = 0; *at < end && shift < 35; shift += 7) {
                uint8_t byte = *(*at)++;

                value |= (size_t)(byte & 127) << shift;
                if (byte < 128) {
                        *ret = value;
                        return true;
                }
        }
        return false;
}

static bool unpack(const uint8_t *at, const uint8_t *end, const char *last, size_t last_bytes, char *to, size_t bytes)
{
        size_t n = 0;

        for (size_t i = 0; i < bytes; i++)
                to[i] = i < last_bytes ? last[i] : 0;
        while (at < end) {
                size_t zeros, plain;

                if (!get_number(&at, end, &zeros) || !get_number(&at, end, &plain) || zeros > bytes - n || plain > bytes - n - zeros ||
                    plain > (size_t)(end - at))
                        return false;
                n += zeros;
                for (size_t i = 0; i < plain; i++)
                        to[n + i] = (char)(to[n + i] ^ *at++);
                n += plain;
        }
        return n == bytes;
}

int record_put(struct record_state *s, const struct top_world *w, uint64_t unix_ns, struct strbuf *b)
{
        __attribute__((cleanup(strbuf_done_at))) struct strbuf whole = {0}, packed = {0};
        bool key = !s->any || s->since_key + 1 >= RECORD_KEY_EVERY;
        struct record head = {.magic = RECORD_MAGIC, .flags = key};

        unpacked(w, unix_ns, &whole);
        if (whole.failed)
                return -ENOMEM;
        if (whole.length > RECORD_BYTES)
                return -EFBIG;
        pack(whole.text, whole.length, key ? NULL : s->last, key ? 0 : s->last_bytes, &packed);
        if (packed.failed)
                return -ENOMEM;
        head.packed = (uint32_t)packed.length;
        head.unpacked = (uint32_t)whole.length;
        head.sum = sum_of(head, packed.text);
        strbuf_put(b, (const char *)&head, sizeof head);
        strbuf_put(b, packed.text, packed.length);
        if (b->failed)
                return -ENOMEM;
        free(s->last);
        s->last = take(whole.text);
        s->last_bytes = whole.length;
        s->since_key = key ? 0 : s->since_key + 1;
        s->any = true;
        return 0;
}

/* --- and back --- */

static bool body_check(const void *body, size_t bytes, enum wire_type type)
{
        struct wire_message m;
        const char *what;

        memset(&m, 0, sizeof m);
        memcpy((char *)&m + sizeof m.header, body, bytes);
        return wire_check(&m, wire_seal(&m, type, WIRE_VERSION_MAX, 1), TO_CLIENT, WIRE_VERSION_MAX, &what) == 0;
}

static bool look_check(const struct machine_look *l)
{
        const int errors[] = {l->stat_error, l->memory_error, l->pressure_error[0], l->pressure_error[1], l->pressure_error[2], l->network_error, l->disk_error,
                              l->load_error, l->vm_error, l->heat_error};

        for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
                if (errors[i] > 0 || errors[i] < -8192)
                        return false;
        if (l->stat.cpus > MACHINE_CPUS || (!l->memory_error && !l->memory.total) || (!l->disk_error && !l->disks))
                return false;
        for (size_t i = 0; i < MACHINE_PRESSURE_N; i++)
                if (!l->pressure_error[i] && (l->pressure[i].some_permille > 1000 || l->pressure[i].full_permille > 1000))
                        return false;
        return l->heat_error || (l->heat_millicelsius > -1000000 && l->heat_millicelsius < 1000000);
}

static bool take_part(const char **at, size_t *left, void *to, size_t bytes)
{
        if (*left < bytes)
                return false;
        memcpy(to, *at, bytes);
        *at += bytes;
        *left -= bytes;
        return true;
}

static bool take_daemon(const struct fixed *f, const char **at, size_t *left, struct snapshot *s)
{
        if (f->devices > WIRE_MAX_DEVICES || f->clients > SNAPSHOT_CLIENTS)
                return false;
        s->taken_ns = f->taken_ns;
        if (!take_part(at, left, &s->daemon, sizeof s->daemon) || !body_check(&s->daemon, sizeof s->daemon, WIRE_STATUS_DAEMON))
                return false;
        if (*left / sizeof *s->devices < f->devices)
                return false;
        s->devices = calloc(f->devices + 1, sizeof *s->devices);
        for (; s->devices && s->device_count < f->devices; s->device_count++)
                if (!take_part(at, left, &s->devices[s->device_count], sizeof *s->devices) ||
                    !body_check(&s->devices[s->device_count], sizeof *s->devices, WIRE_STATUS_DEVICE))
                        return false;
        if (*left / sizeof *s->clients < f->clients)
                return false;
        s->clients = calloc(f->clients + 1, sizeof *s->clients);
        for (; s->clients && s->client_count < f->clients; s->client_count++)
                if (!take_part(at, left, &s->clients[s->client_count], sizeof *s->clients) ||
                    !body_check(&s->clients[s->client_count], sizeof *s->clients, WIRE_STATUS_CLIENT))
                        return false;
        return s->devices && s->clients;
}

static int by_pid(const void *a, const void *b)
{
        const struct machine_process *x = a, *y = b;

        return (x->stat.pid > y->stat.pid) - (x->stat.pid < y->stat.pid);
}

static bool take_processes(const struct fixed *f, const char **at, size_t *left, struct machine_processes *p)
{
        p->taken_ns = f->processes_ns;
        p->unseen = f->unseen;
        if (f->processes > RECORD_PROCESSES || *left / sizeof(struct kept_process) < f->processes)
                return false;
        p->list = calloc(f->processes + 1, sizeof *p->list);
        if (!p->list)
                return false;
        for (; p->count < f->processes; p->count++) {
                struct machine_process *m = &p->list[p->count];
                struct kept_process k;

                if (!take_part(at, left, &k, sizeof k) || k.pid <= 0 || k.parent < 0 || k.nice < -20 || k.nice > 19 || k.state <= 32 || k.state > 126 ||
                    k.io_error > 0 || k.io_error < -8192 || k.has_use > 1 || !text_is_clean(k.name, sizeof k.name))
                        return false;
                m->stat = (struct machine_process_stat){.pid = k.pid, .parent = k.parent, .nice = k.nice, .threads = k.threads, .ticks = k.ticks,
                                                        .start_ticks = k.start_ticks, .resident_pages = k.pages, .major_faults = k.major_faults, .state = (char)k.state};
                memcpy(m->stat.name, k.name, sizeof k.name);
                m->uid = k.uid;
                m->io_error = k.io_error;
                m->io.read_bytes = k.read_bytes;
                m->io.written_bytes = k.written_bytes;
                m->use = (struct machine_use){k.has_use == 1, k.device_busy_ns, k.device_bytes};
        }
        qsort(p->list, p->count, sizeof *p->list, by_pid);
        return true;
}

static int look_of(const char *bytes, size_t count, struct record_look *ret)
{
        struct record_look l = {0};
        struct fixed f;
        bool good = take_part(&bytes, &count, &f, sizeof f) && f.has <= 7 && f.hertz > 0 && f.hertz <= 1000000 && f.page >= 512 && f.page <= 1 << 20;

        if (good) {
                l.unix_ns = f.unix_ns;
                l.hertz = f.hertz;
                l.page = f.page;
                l.has_daemon = f.has & 1;
                l.has_machine = f.has & 2;
                good = l.has_daemon || (!f.devices && !f.clients);
        }
        if (good && l.has_daemon)
                good = take_daemon(&f, &bytes, &count, &l.snapshot);
        if (good && l.has_machine) {
                l.look = malloc(sizeof *l.look);
                good = l.look && take_part(&bytes, &count, l.look, sizeof *l.look) && look_check(l.look);
                if (good)
                        l.look->taken_ns = f.machine_ns;
        }
        good = good && take_processes(&f, &bytes, &count, &l.processes) && (!(f.has & 4) || record_probes_get(&bytes, &count, &l.probes)) && !count;
        if (!good) {
                record_look_done(&l);
                return -E_MESSAGE;
        }
        *ret = l;
        return 0;
}

int record_get(struct record_state *s, const void *bytes, size_t count, size_t *ret_bytes, bool *ret_key, struct record_look *ret)
{
        const uint8_t *packed = (const uint8_t *)bytes + sizeof(struct record);
        char *whole scoped_free = NULL;
        struct record head;
        int r;

        if (count < sizeof head)
                return -EAGAIN;
        memcpy(&head, bytes, sizeof head);
        if (head.magic != RECORD_MAGIC || head.flags > 1 || head.unpacked > RECORD_BYTES || head.unpacked < sizeof(struct fixed) ||
            head.packed > 2 * RECORD_BYTES)
                return -E_MESSAGE;
        if (count - sizeof head < head.packed)
                return -EAGAIN;
        if (head.sum != sum_of(head, packed))
                return -E_MESSAGE;
        *ret_bytes = sizeof head + head.packed;
        *ret_key = head.flags & 1;
        if (!ret)
                return 0;
        if (!*ret_key && !s->any)
                return -E_MESSAGE;
        whole = malloc(head.unpacked);
        if (!whole)
                return -ENOMEM;
        if (!unpack(packed, packed + head.packed, *ret_key ? NULL : s->last, *ret_key ? 0 : s->last_bytes, whole, head.unpacked))
                return -E_MESSAGE;
        r = look_of(whole, head.unpacked, ret);
        if (r < 0)
                return r;
        free(s->last);
        s->last = take(whole);
        s->last_bytes = head.unpacked;
        s->any = true;
        return 0;
}
