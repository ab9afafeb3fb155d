/* block.bpf.c: how long devices take for requests: from the moment that one goes to the device to that when all of it is done.
 *
 * A request is remembered by its address; what was under way when the probes came is not counted. Twice the same: typed, and with a probe read for each field.
 */
#include "maps.h"
#include "latency-map.h"

char LICENSE[] SEC("license") = "GPL";

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 16384);
        __type(key, uint64_t);
        __type(value, uint64_t);
} issued SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 512);
        __type(key, struct block_key);
        __type(value, struct block_counts);
} devices SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, 1);
        __type(key, uint32_t);
        __type(value, struct block_counts);
} nothing SEC(".maps"); /* zeros: too large for the stack */

TOTALS_OF(struct probe_totals)

static __always_inline int went(struct request *request)
{
        uint64_t key = (uint64_t)request, now = bpf_ktime_get_ns();
        struct probe_totals *t = my_totals();

        if (!t)
                return 0;
        t->hits++;
        if (bpf_map_update_elem(&issued, &key, &now, BPF_ANY) < 0)
                t->full++;
        account(t, now);
        return 0;
}

/* Numbers of the kernel's enum req_op. */
static __always_inline uint32_t kind_of(uint32_t flags)
{
        switch (flags & 0xff) {
        case 0:
                return BLOCK_READ;
        case 1:
                return BLOCK_WRITE;
        case 2:
                return BLOCK_FLUSH;
        case 3:
        case 5: /* secure erase */
                return BLOCK_DISCARD;
        default:
                return BLOCK_OTHER;
        }
}

static __always_inline int came(bool typed, struct request *request, uint32_t error, uint32_t bytes)
{
        uint64_t address = (uint64_t)request, now = bpf_ktime_get_ns(), *since = bpf_map_lookup_elem(&issued, &address), took;
        struct probe_totals *t = my_totals();
        struct block_key key = {0};
        struct block_counts *c;
        struct gendisk *disk;
        struct request_queue *queue;
        uint32_t zero = 0;
        uint64_t bucket;

        if (!t)
                return 0;
        t->hits++;
        if (!since)
                return 0;
        queue = LOAD(typed, request, q);
        disk = LOAD(typed, queue, disk);
        if (disk)
                key.device = (uint32_t)LOAD(typed, disk, major) << 20 | (uint32_t)LOAD(typed, disk, first_minor);
        key.kind = kind_of(LOAD(typed, request, cmd_flags));
        c = bpf_map_lookup_elem(&devices, &key);
        if (!c) {
                struct block_counts *zeros = bpf_map_lookup_elem(&nothing, &zero);

                if (zeros)
                        bpf_map_update_elem(&devices, &key, zeros, BPF_NOEXIST);
                c = bpf_map_lookup_elem(&devices, &key);
        }
        if (c && bytes)
                __sync_fetch_and_add(&c->bytes, bytes);
        /* It may be done in pieces; this is the last one. */
        if (bytes >= LOAD(typed, request, __data_len)) {
                took = now > *since ? now - *since : 0;
                bpf_map_delete_elem(&issued, &address);
                if (c) {
                        bucket = bucket_of(took);
                        if (bucket < LATENCY_BUCKETS)
                                __sync_fetch_and_add(&c->time.buckets[bucket], 1);
                        __sync_fetch_and_add(&c->time.sum_ns, took);
                        if (error)
                                __sync_fetch_and_add(&c->errors, 1);
                        t->counted++;
                } else {
                        t->full++;
                }
        }
        account(t, now);
        return 0;
}

SEC("tp_btf/block_rq_issue")
int typed_issue(uint64_t *c)
{
        return went((struct request *)c[0]);
}

SEC("tp_btf/block_rq_complete")
int typed_complete(uint64_t *c)
{
        return came(true, (struct request *)c[0], (uint32_t)c[1], (uint32_t)c[2]);
}

SEC("raw_tp/block_rq_issue")
int raw_issue(struct bpf_raw_tracepoint_args *c)
{
        return went((struct request *)c->args[0]);
}

SEC("raw_tp/block_rq_complete")
int raw_complete(struct bpf_raw_tracepoint_args *c)
{
        return came(false, (struct request *)c->args[0], (uint32_t)c->args[1], (uint32_t)c->args[2]);
}
