/* file.bpf.c: counts in the kernel, for each process and regular file: opens, closes, reads, writes, and the bytes that really moved.
 *
 * One program for each rung and place; file-rungs.c loads those of one rung. All end in count() of file-count.h: a row found without a helper and atomic adds, no clock,
 * no event. The name of a file is copied when it is first seen.
 */
#include "file-count.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

#define COMPAT_CALL 2 /* of thread_info.status: a 32-bit call, with numbers of its own */

struct {
        __uint(type, BPF_MAP_TYPE_LRU_HASH);
        __uint(max_entries, 16384);
        __type(key, uint64_t);
        __type(value, struct file_pending);
} pending SEC(".maps");

/* A call that has ended, with its first three arguments. */
static __always_inline void ended(bool typed, struct task_struct *task, struct file_totals *t, enum file_op op, struct file_pending a, long result)
{
        if (op == FILE_OPEN) {
                by_descriptor(typed, task, t, FILE_OPEN, (uint64_t)result, 0);
        } else if (op == FILE_SEND || op == FILE_COPY) {
                if (result == 0)
                        return;
                by_descriptor(typed, task, t, FILE_READ, op == FILE_SEND ? a.second : a.first, (uint64_t)result);
                by_descriptor(typed, task, t, FILE_WRITE, op == FILE_SEND ? a.first : a.third, (uint64_t)result);
        } else {
                by_descriptor(typed, task, t, op, a.first, (uint64_t)result);
        }
}

/* --- one tracepoint for all calls: at their exit the registers still hold number and arguments --- */

static __always_inline int at_exit(bool typed, struct pt_regs *regs, long result)
{
        struct file_totals *t = my_totals();
        struct file_pending a = {0};
        struct task_struct *task;
        uint64_t number;
        enum file_op op;

        if (!t)
                return 0;
        t->hits++;
        number = LOAD(typed, regs, orig_ax);
        if (number >= FILE_CALLS)
                return 0;
        op = calls[number];
        if (op == FILE_NOTHING || result < 0 || !sampled(op, t))
                return 0;
        task = me(typed);
        if (LOAD(typed, task, thread_info.status) & COMPAT_CALL)
                return 0;
        if (op != FILE_OPEN)
                a.first = LOAD(typed, regs, di);
        if (op == FILE_SEND)
                a.second = LOAD(typed, regs, si);
        else if (op == FILE_COPY)
                a.third = LOAD(typed, regs, dx);
        ended(typed, task, t, op, a, result);
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

/* --- a tracepoint for each call: other calls do not reach the program --- */

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

/* At their exit alone: the task still has the registers of its entry. Calls of 32-bit programs have no such tracepoints. */
static __always_inline int at_exit_of(enum file_op op, struct exit_context *c)
{
        struct file_totals *t = my_totals();
        struct file_pending a = {0};
        struct task_struct *task;
        struct pt_regs *regs;
        long result = c->result;

        if (!t)
                return 0;
        t->hits++;
        if (result < 0 || !sampled(op, t))
                return 0;
        task = me(true);
        if (op != FILE_OPEN) {
                regs = (struct pt_regs *)bpf_task_pt_regs(task);
                a.first = regs->di;
                if (op == FILE_SEND)
                        a.second = regs->si;
                else if (op == FILE_COPY)
                        a.third = regs->dx;
        }
        ended(true, task, t, op, a, result);
        return 0;
}

/* clang-format off */
#define EXIT_OF(name, op) SEC("tracepoint") int exit_##name(struct exit_context *c) { return at_exit_of(op, c); }

EXIT_OF(read, FILE_READ)
EXIT_OF(write, FILE_WRITE)
EXIT_OF(open, FILE_OPEN)
EXIT_OF(send, FILE_SEND)
EXIT_OF(copy, FILE_COPY)
/* clang-format on */

/* At the exit of close the file is gone. */
static __always_inline int at_close(bool typed, struct enter_context *c)
{
        struct file_totals *t = my_totals();

        if (!t)
                return 0;
        t->hits++;
        by_descriptor(typed, me(typed), t, FILE_CLOSE, c->args[0], 0);
        return 0;
}

SEC("tracepoint/syscalls/sys_enter_close")
int typed_close(struct enter_context *c)
{
        return at_close(true, c);
}

SEC("tracepoint/syscalls/sys_enter_close")
int raw_close(struct enter_context *c)
{
        return at_close(false, c);
}

/* --- io_uring: where a request completes --- */

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
                        count(false, me(false), t, BPF_CORE_READ(request, file), FILE_READ, (uint64_t)result, -1);
        } else if (opcode == RING_WRITE || opcode == RING_WRITEV || opcode == RING_WRITE_FIXED) {
                if (sampled(FILE_WRITE, t))
                        count(false, me(false), t, BPF_CORE_READ(request, file), FILE_WRITE, (uint64_t)result, -1);
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
        struct file_pending *p = NULL, a = {0};
        enum file_op op;

        if (!t || number >= FILE_CALLS)
                return 0;
        t->hits++;
        op = calls[number];
        if (op != FILE_OPEN) {
                p = bpf_map_lookup_elem(&pending, &who);
                if (!p)
                        return 0;
                a = *p;
                bpf_map_delete_elem(&pending, &who);
        }
        if (c->result >= 0 && sampled(op, t))
                ended(false, me(false), t, op, a, c->result);
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
                count(typed, me(typed), t, file, op, op == FILE_OPEN ? 0 : (uint64_t)result, -1);
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
