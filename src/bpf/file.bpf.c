/* file.bpf.c: counts in the kernel, for each process and regular file: opens, closes, reads, writes, and the bytes that really moved.
 *
 * One program for each rung and place; file.c loads those of one rung. All end in count(): one hash lookup and atomic adds, no clock, no event. Two maps
 * take turns: `active` says which one is written, the other is read and emptied meanwhile. The name of a file is copied when it is first seen.
 */
#include "kernel.h"
#include "file-map.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

/* Fixed before the load; the verifier leaves out what they rule out. */
const volatile uint32_t one_in = 1;
const volatile uint32_t only_uid = EVERYBODY;
const volatile uint8_t calls[FILE_CALLS] = {0}; /* enum file_op by number of the system call */

uint32_t active = 0;

#define MODE_TYPE 0170000
#define MODE_REGULAR 0100000
#define COMPAT_CALL 2 /* of thread_info.status: a 32-bit call, with numbers of its own */
#define MAX_ERRNO 4095

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 16384);
        __type(key, struct file_key);
        __type(value, struct file_counts);
} even SEC(".maps"), odd SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_LRU_HASH);
        __uint(max_entries, 16384);
        __type(key, struct file_name_key);
        __type(value, struct file_name);
} file_names SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
        __uint(max_entries, 1);
        __type(key, uint32_t);
        __type(value, struct file_totals);
} totals SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
        __uint(max_entries, 1);
        __type(key, uint32_t);
        __type(value, struct file_name);
} scratch SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_LRU_HASH);
        __uint(max_entries, 16384);
        __type(key, uint64_t);
        __type(value, struct file_pending);
} pending SEC(".maps");

/* typed: the verifier knows the pointer's type and a plain load does; else a probe read, some 25 ns each. */
#define LOAD(typed, pointer, field) ((typed) ? (pointer)->field : BPF_CORE_READ(pointer, field))

static __always_inline struct file_totals *my_totals(void)
{
        uint32_t zero = 0;

        return bpf_map_lookup_elem(&totals, &zero);
}

static __always_inline void keep_name(struct file *file, const struct file_key *key, uint32_t generation, struct super_block *sb)
{
        struct file_name_key name_key = {.inode = key->inode, .device = key->device, .generation = generation};
        struct dentry *entry, *parent;
        struct file_name *name;
        uint32_t zero = 0;

        if (bpf_map_lookup_elem(&file_names, &name_key))
                return;
        name = bpf_map_lookup_elem(&scratch, &zero);
        if (!name)
                return;
        name->magic = BPF_CORE_READ(sb, s_magic);
        name->folders = 0;
        entry = BPF_CORE_READ(file, f_path.dentry);
        bpf_probe_read_kernel_str(name->base, sizeof name->base, BPF_CORE_READ(entry, d_name.name));
#pragma unroll
        for (int i = 0; i < FILE_UP; i++) {
                parent = BPF_CORE_READ(entry, d_parent);
                if (!parent || parent == entry)
                        break;
                bpf_probe_read_kernel_str(name->up[i], sizeof name->up[i], BPF_CORE_READ(parent, d_name.name));
                name->folders = (uint32_t)i + 1;
                entry = parent;
        }
        bpf_map_update_elem(&file_names, &name_key, name, BPF_ANY);
}

static __always_inline struct file_counts *find(const struct file_key *key, uint32_t which)
{
        struct file_counts *c;

        /* Two calls, not one on a chosen map: so the verifier writes each lookup out in line. */
        if (which) {
                c = bpf_map_lookup_elem(&odd, key);
                asm volatile("" ::"r"(c), "i"(1));
        } else {
                c = bpf_map_lookup_elem(&even, key);
                asm volatile("" ::"r"(c), "i"(0));
        }
        return c;
}

/* First sight of this process on this file since the maps changed roles. */
static __always_inline void enter_key(const struct file_key *key, uint32_t which, struct file *file, struct super_block *sb, uint32_t generation, int32_t fd)
{
        struct file_counts fresh = {.generation = generation, .fd = fd};
        struct task_struct *task = (struct task_struct *)bpf_get_current_task(), *leader = BPF_CORE_READ(task, group_leader);
        struct file_totals *t = my_totals();
        long r;

        fresh.uid = (uint32_t)bpf_get_current_uid_gid();
        bpf_probe_read_kernel(fresh.comm, sizeof fresh.comm, &leader->comm);
        r = which ? bpf_map_update_elem(&odd, key, &fresh, BPF_NOEXIST) : bpf_map_update_elem(&even, key, &fresh, BPF_NOEXIST);
        if (t) {
                if (r == 0)
                        t->entries++;
                else if (r != -17 /* EEXIST: another thread was first */)
                        t->full++;
        }
        if (r == 0)
                keep_name(file, key, generation, sb);
}

static __always_inline void add_totals(struct file_totals *t, enum file_op op, uint64_t bytes, uint64_t times)
{
        t->hooked++;
        switch (op) {
        case FILE_READ:
                t->reads += times;
                t->read_bytes += bytes * times;
                break;
        case FILE_WRITE:
                t->writes += times;
                t->write_bytes += bytes * times;
                break;
        case FILE_OPEN:
                t->opens++;
                break;
        case FILE_CLOSE:
                t->closes++;
                break;
        default:
                break;
        }
}

/* op is one of READ, WRITE, OPEN, CLOSE. */
static __always_inline void count(bool typed, struct file *file, enum file_op op, uint64_t bytes, int32_t fd)
{
        uint64_t times = one_in > 1 && (op == FILE_READ || op == FILE_WRITE) ? one_in : 1;
        struct file_totals *t;
        struct inode *inode = LOAD(typed, file, f_inode);
        struct super_block *sb;
        struct task_struct *task;
        struct file_key key = {0};
        struct file_counts *c;
        uint32_t which = active;

        if (!inode || (LOAD(typed, inode, i_mode) & MODE_TYPE) != MODE_REGULAR)
                return;
        if (only_uid != EVERYBODY && (uint32_t)bpf_get_current_uid_gid() != only_uid)
                return;
        t = my_totals();
        if (!t)
                return;
        add_totals(t, op, bytes, times);
        sb = LOAD(typed, inode, i_sb);
        if (typed) {
                task = bpf_get_current_task_btf();
                key.pid = (uint32_t)task->tgid;
                key.start_ns = task->group_leader->start_boottime;
        } else {
                task = (struct task_struct *)bpf_get_current_task();
                key.pid = (uint32_t)(bpf_get_current_pid_tgid() >> 32);
                key.start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
        }
        key.inode = LOAD(typed, inode, i_ino);
        key.device = LOAD(typed, sb, s_dev);
        c = find(&key, which);
        if (!c) {
                enter_key(&key, which, file, sb, LOAD(typed, inode, i_generation), fd);
                c = find(&key, which);
                if (!c)
                        return;
        }
        switch (op) {
        case FILE_READ:
                __sync_fetch_and_add(&c->reads, (uint32_t)times);
                if (bytes)
                        __sync_fetch_and_add(&c->read_bytes, bytes * times);
                break;
        case FILE_WRITE:
                __sync_fetch_and_add(&c->writes, (uint32_t)times);
                if (bytes)
                        __sync_fetch_and_add(&c->write_bytes, bytes * times);
                break;
        case FILE_OPEN:
                __sync_fetch_and_add(&c->opens, 1);
                break;
        case FILE_CLOSE:
                __sync_fetch_and_add(&c->closes, 1);
                break;
        default:
                break;
        }
}

/* Whether this read or write is one of those looked at. */
static __always_inline bool sampled(enum file_op op, struct file_totals *t)
{
        if (one_in <= 1 || op == FILE_OPEN || op == FILE_CLOSE)
                return true;
        if (++t->tick < one_in)
                return false;
        t->tick = 0;
        return true;
}

static __always_inline struct file *file_of(bool typed, uint32_t fd)
{
        struct task_struct *task = typed ? bpf_get_current_task_btf() : (struct task_struct *)bpf_get_current_task();
        struct files_struct *files = LOAD(typed, task, files);
        struct fdtable *table;
        struct file **at, *file = NULL;

        if (!files)
                return NULL;
        table = LOAD(typed, files, fdt);
        if (!table || fd >= LOAD(typed, table, max_fds))
                return NULL;
        at = LOAD(typed, table, fd);
        if (bpf_probe_read_kernel(&file, sizeof file, at + fd) < 0 || !file)
                return NULL;
        return typed ? bpf_rdonly_cast(file, bpf_core_type_id_kernel(struct file)) : file;
}

static __always_inline void by_descriptor(bool typed, enum file_op op, uint64_t fd, uint64_t bytes)
{
        struct file *file = file_of(typed, (uint32_t)fd);

        if (file)
                count(typed, file, op, bytes, (int32_t)fd);
}

/* --- one tracepoint for all calls: at their exit the registers still hold number and arguments --- */

static __always_inline int at_exit(bool typed, struct pt_regs *regs, long result)
{
        uint64_t number = LOAD(typed, regs, orig_ax), first;
        struct file_totals *t = my_totals();
        enum file_op op;

        if (!t)
                return 0;
        t->hits++;
        if (number >= FILE_CALLS)
                return 0;
        op = calls[number];
        if (op == FILE_NOTHING || result < 0)
                return 0;
        if (!sampled(op, t))
                return 0;
        if (typed ? bpf_get_current_task_btf()->thread_info.status & COMPAT_CALL
                  : BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), thread_info.status) & COMPAT_CALL)
                return 0;
        first = op == FILE_OPEN ? (uint64_t)result : LOAD(typed, regs, di);
        if (op == FILE_SEND) {
                if (result > 0) {
                        by_descriptor(typed, FILE_READ, LOAD(typed, regs, si), (uint64_t)result);
                        by_descriptor(typed, FILE_WRITE, first, (uint64_t)result);
                }
        } else if (op == FILE_COPY) {
                if (result > 0) {
                        by_descriptor(typed, FILE_READ, first, (uint64_t)result);
                        by_descriptor(typed, FILE_WRITE, LOAD(typed, regs, dx), (uint64_t)result);
                }
        } else {
                by_descriptor(typed, op, first, (uint64_t)result);
        }
        return 0;
}

SEC("tp_btf/sys_exit")
int sys_exit(uint64_t *c)
{
        return at_exit(true, (struct pt_regs *)c[0], (long)c[1]);
}

SEC("raw_tp/sys_exit")
int raw_exit(struct bpf_raw_tracepoint_args *c)
{
        return at_exit(false, (struct pt_regs *)c->args[0], (long)c->args[1]);
}

/* At its exit the file is gone; a tracepoint for this call alone. */
struct enter_context {
        uint64_t common;
        int32_t number, unset; /* the rest of the word is whatever lay there */
        uint64_t args[6];
};

struct exit_context {
        uint64_t common;
        int32_t number, unset; /* the rest of the word is whatever lay there */
        int64_t result;
};

SEC("tracepoint/syscalls/sys_enter_close")
int enter_close(struct enter_context *c)
{
        struct file_totals *t = my_totals();

        if (t)
                t->hits++;
        by_descriptor(false, FILE_CLOSE, c->args[0], 0);
        return 0;
}

/* io_uring: where a request completes. */
#define RING_READV 1
#define RING_WRITEV 2
#define RING_READ_FIXED 4
#define RING_WRITE_FIXED 5
#define RING_READ 22
#define RING_WRITE 23

SEC("raw_tp/io_uring_complete")
int ring_complete(struct bpf_raw_tracepoint_args *c)
{
        struct io_kiocb *request = (struct io_kiocb *)c->args[1];
        struct file_totals *t = my_totals();
        uint8_t opcode;
        int result;

        if (!request || !t)
                return 0;
        t->hits++;
        opcode = BPF_CORE_READ(request, opcode);
        result = BPF_CORE_READ(request, cqe.res);
        if (result < 0)
                return 0;
        if (opcode == RING_READ || opcode == RING_READV || opcode == RING_READ_FIXED) {
                if (sampled(FILE_READ, t))
                        count(false, BPF_CORE_READ(request, file), FILE_READ, (uint64_t)result, -1);
        } else if (opcode == RING_WRITE || opcode == RING_WRITEV || opcode == RING_WRITE_FIXED) {
                if (sampled(FILE_WRITE, t))
                        count(false, BPF_CORE_READ(request, file), FILE_WRITE, (uint64_t)result, -1);
        }
        return 0;
}

/* --- a pair of tracepoints for each call --- */

SEC("tracepoint")
int enter_call(struct enter_context *c)
{
        uint64_t who = bpf_get_current_pid_tgid();
        struct file_pending p = {.first = c->args[0], .second = c->args[1], .third = c->args[2]};
        struct file_totals *t = my_totals();

        if (t)
                t->hits++;
        bpf_map_update_elem(&pending, &who, &p, BPF_ANY);
        return 0;
}

SEC("tracepoint")
int exit_call(struct exit_context *c)
{
        uint64_t who = bpf_get_current_pid_tgid(), number = (uint32_t)c->number;
        struct file_totals *t = my_totals();
        struct file_pending *p;
        enum file_op op;

        if (!t || number >= FILE_CALLS)
                return 0;
        t->hits++;
        op = calls[number];
        if (op == FILE_OPEN) {
                if (c->result >= 0)
                        by_descriptor(false, FILE_OPEN, (uint64_t)c->result, 0);
                return 0;
        }
        p = bpf_map_lookup_elem(&pending, &who);
        if (!p)
                return 0;
        if (c->result >= 0 && sampled(op, t)) {
                if (op == FILE_READ || op == FILE_WRITE) {
                        by_descriptor(false, op, p->first, (uint64_t)c->result);
                } else if (c->result > 0) { /* SEND, COPY: two files */
                        by_descriptor(false, FILE_READ, op == FILE_SEND ? p->second : p->first, (uint64_t)c->result);
                        by_descriptor(false, FILE_WRITE, op == FILE_SEND ? p->first : p->third, (uint64_t)c->result);
                }
        }
        bpf_map_delete_elem(&pending, &who);
        return 0;
}

/* --- fexit: where the work is done, with its result --- */

static __always_inline void done(bool typed, struct file *file, enum file_op op, long result)
{
        struct file_totals *t = my_totals();

        if (!t)
                return;
        t->hits++;
        if (result >= 0 && sampled(op, t))
                count(typed, file, op, op == FILE_OPEN ? 0 : (uint64_t)result, -1);
}

SEC("fexit/vfs_read")
int BPF_PROG(fexit_read, struct file *file, char *buffer, size_t size, long long *position, long result)
{
        done(true, file, FILE_READ, result);
        return 0;
}

SEC("fexit/vfs_write")
int BPF_PROG(fexit_write, struct file *file, const char *buffer, size_t size, long long *position, long result)
{
        done(true, file, FILE_WRITE, result);
        return 0;
}

SEC("fexit/vfs_readv")
int BPF_PROG(fexit_readv, struct file *file, const void *vector, unsigned long count_of, long long *position, int flags, long result)
{
        done(true, file, FILE_READ, result);
        return 0;
}

SEC("fexit/vfs_writev")
int BPF_PROG(fexit_writev, struct file *file, const void *vector, unsigned long count_of, long long *position, int flags, long result)
{
        done(true, file, FILE_WRITE, result);
        return 0;
}

SEC("fexit/vfs_open")
int BPF_PROG(fexit_open, const struct path *path, struct file *file, int result)
{
        done(true, file, FILE_OPEN, result);
        return 0;
}

SEC("fentry/filp_close")
int BPF_PROG(fentry_close, struct file *file, void *id)
{
        done(true, file, FILE_CLOSE, 0);
        return 0;
}

/* Since 6.6 close(2) goes this way. */
SEC("fentry/filp_flush")
int BPF_PROG(fentry_flush, struct file *file, void *id)
{
        done(true, file, FILE_CLOSE, 0);
        return 0;
}

SEC("fexit/vfs_copy_file_range")
int BPF_PROG(fexit_copy, struct file *in, long long in_at, struct file *out, long long out_at, size_t size, unsigned int flags, long result)
{
        if (result > 0) {
                done(true, in, FILE_READ, result);
                done(true, out, FILE_WRITE, result);
        }
        return 0;
}

/* --- kprobes: the same places; what came in is kept until the return --- */

static __always_inline int came(struct file *file, struct file *second, uint64_t place)
{
        uint64_t who = bpf_get_current_pid_tgid() ^ place << 56;
        struct file_pending p = {.first = (uint64_t)file, .second = (uint64_t)second};

        bpf_map_update_elem(&pending, &who, &p, BPF_ANY);
        return 0;
}

static __always_inline int returned(uint64_t place, enum file_op op, long result)
{
        uint64_t who = bpf_get_current_pid_tgid() ^ place << 56;
        struct file_pending *p = bpf_map_lookup_elem(&pending, &who), was;

        if (!p)
                return 0;
        was = *p;
        bpf_map_delete_elem(&pending, &who);
        if (op != FILE_COPY) {
                done(false, (struct file *)was.first, op, result);
        } else if (result > 0) {
                done(false, (struct file *)was.first, FILE_READ, result);
                done(false, (struct file *)was.second, FILE_WRITE, result);
        }
        return 0;
}

/* clang-format off */
#define FIRST(c) ((struct file *)BPF_CORE_READ((struct pt_regs *)(c), di))
#define SECOND(c) ((struct file *)BPF_CORE_READ((struct pt_regs *)(c), si))
#define THIRD(c) ((struct file *)BPF_CORE_READ((struct pt_regs *)(c), dx))
#define RESULT(c) BPF_CORE_READ((struct pt_regs *)(c), ax)
#define PAIR(name, place, op, file, second)                                                               \
        SEC("kprobe") int kprobe_##name(void *c) { return came(file, second, place); }                     \
        SEC("kprobe") int kretprobe_##name(void *c) { return returned(place, op, (long)RESULT(c)); }

PAIR(read, 1, FILE_READ, FIRST(c), NULL)
PAIR(write, 2, FILE_WRITE, FIRST(c), NULL)
PAIR(readv, 3, FILE_READ, FIRST(c), NULL)
PAIR(writev, 4, FILE_WRITE, FIRST(c), NULL)
PAIR(open, 5, FILE_OPEN, SECOND(c), NULL)
PAIR(copy, 6, FILE_COPY, FIRST(c), THIRD(c))
/* clang-format on */

SEC("kprobe")
int kprobe_close(void *c)
{
        done(false, FIRST(c), FILE_CLOSE, 0);
        return 0;
}
