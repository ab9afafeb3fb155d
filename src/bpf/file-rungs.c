/* file-rungs.c: the kinds of probes on files: which programs each loads, and where it hangs them; see file-rungs.h. */
#include "file-rungs.h"

#include "base/error.h"
#include "bpf/casts.h"
#include "bpf/place.h"

#include "file.skel.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>

static const uint32_t rungs[] = {PROBES_FEXIT, PROBES_KPROBE, PROBES_CALL_EXIT, PROBES_SYS_EXIT, PROBES_RAW_EXIT, PROBES_TRACEPOINTS};
/* A program that is asked at each call, and mostly says no, costs a call of a file less than an event of its own does, and all others more. And it is off at once: the kernel
 * waits for a while with each event that it takes off, one after the other. */
static const uint32_t rungs_other[] = {PROBES_FEXIT, PROBES_KPROBE, PROBES_SYS_EXIT, PROBES_CALL_EXIT, PROBES_RAW_EXIT, PROBES_TRACEPOINTS};

/* Numbers of x86-64, with the names of their tracepoints. */
static const struct call {
        uint16_t number;
        uint8_t op;
        const char *name;
} calls[] = {
        {0, FILE_READ, "read"},           {17, FILE_READ, "pread64"},    {19, FILE_READ, "readv"},
        {295, FILE_READ, "preadv"},       {327, FILE_READ, "preadv2"},   {1, FILE_WRITE, "write"},
        {18, FILE_WRITE, "pwrite64"},     {20, FILE_WRITE, "writev"},    {296, FILE_WRITE, "pwritev"},
        {328, FILE_WRITE, "pwritev2"},    {2, FILE_OPEN, "open"},        {85, FILE_OPEN, "creat"},
        {257, FILE_OPEN, "openat"},       {437, FILE_OPEN, "openat2"},   {304, FILE_OPEN, "open_by_handle_at"},
        {40, FILE_SEND, "sendfile64"},    {326, FILE_COPY, "copy_file_range"}, {275, FILE_COPY, "splice"},
};

const uint32_t *file_rungs(bool sampled_or_part_of_time, size_t *ret_count)
{
        *ret_count = ARRAY_SIZE(rungs);
        return sampled_or_part_of_time ? rungs_other : rungs;
}

static void blind(struct probes_family *f, const char *what)
{
        if (f->blind_count < PROBES_MAX_BLIND)
                snprintf(f->blind[f->blind_count++], sizeof f->blind[0], "%s", what);
}

static int attached(struct file_links *f, struct bpf_link *link, const char *what)
{
        if (!link) {
                int r = -errno;

                snprintf(f->text, sizeof f->text, "%s does not attach: %s", what, strerror(-r));
                return r ? r : -EIO;
        }
        f->links[f->count++] = link;
        return 0;
}

/* --- what each rung loads --- */

static void choose(struct bpf_program *program)
{
        bpf_program__set_autoload(program, true);
}

static void choose_if(bool there, struct bpf_program *program)
{
        if (there)
                choose(program);
}

static void choose_fexit(struct file_bpf *s)
{
        struct btf *kernel = btf__load_vmlinux_btf();
#define THERE(function) (!libbpf_get_error(kernel) && btf__find_by_name_kind(kernel, function, BTF_KIND_FUNC) > 0)

        choose(s->progs.fexit_read);
        choose(s->progs.fexit_write);
        choose(s->progs.fexit_open);
        choose_if(THERE("vfs_readv"), s->progs.fexit_readv);
        choose_if(THERE("vfs_writev"), s->progs.fexit_writev);
        choose_if(THERE("vfs_copy_file_range"), s->progs.fexit_copy);
        /* close(2) calls the one since 6.6, the other before. */
        if (THERE("filp_flush"))
                choose(s->progs.fentry_flush);
        else
                choose_if(THERE("filp_close"), s->progs.fentry_close);
#undef THERE
        if (!libbpf_get_error(kernel))
                btf__free(kernel);
}

static void choose_kprobe(struct file_bpf *s)
{
        struct bpf_program *const all[] = {
                s->progs.kprobe_read,  s->progs.kretprobe_read,  s->progs.kprobe_write,  s->progs.kretprobe_write,
                s->progs.kprobe_readv, s->progs.kretprobe_readv, s->progs.kprobe_writev, s->progs.kretprobe_writev,
                s->progs.kprobe_open,  s->progs.kretprobe_open,  s->progs.kprobe_copy,   s->progs.kretprobe_copy,
                s->progs.kprobe_close,
        };

        for (size_t i = 0; i < ARRAY_SIZE(all); i++)
                choose(all[i]);
}

int file_rung_choose(struct file_bpf *s, uint32_t rung)
{
        struct bpf_program *const at_calls[] = {s->progs.exit_read, s->progs.exit_write, s->progs.exit_open, s->progs.exit_send, s->progs.exit_copy, s->progs.typed_close};
        struct bpf_program *const at_all[] = {s->progs.sys_exit, s->progs.typed_close};
        struct bpf_program *program;
        int r = 0;

        for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
                s->rodata->calls[calls[i].number] = calls[i].op;
        bpf_object__for_each_program(program, s->obj)
                bpf_program__set_autoload(program, false);
        switch (rung) {
        case PROBES_FEXIT:
                choose_fexit(s);
                break;
        case PROBES_KPROBE:
                choose_kprobe(s);
                break;
        case PROBES_CALL_EXIT:
                for (size_t i = 0; i < ARRAY_SIZE(at_calls); i++)
                        choose(at_calls[i]);
                r = casts_put(at_calls, ARRAY_SIZE(at_calls));
                break;
        case PROBES_SYS_EXIT:
                for (size_t i = 0; i < ARRAY_SIZE(at_all); i++)
                        choose(at_all[i]);
                r = casts_put(at_all, ARRAY_SIZE(at_all));
                break;
        case PROBES_RAW_EXIT:
                choose(s->progs.raw_exit);
                choose(s->progs.raw_close);
                break;
        default:
                choose(s->progs.enter_call);
                choose(s->progs.exit_call);
                choose(s->progs.raw_close);
                break;
        }
        choose(s->progs.ring_complete);
        return r;
}

/* --- what each rung attaches --- */

static int pair(struct file_links *l, const char *function, struct bpf_program *at_entry, struct bpf_program *at_return)
{
        struct bpf_link *link = NULL;
        int r = place_kprobe(at_entry, function, false, &link);

        if (r == 0) {
                l->links[l->count++] = link;
                r = at_return ? place_kprobe(at_return, function, true, &link) : 0;
                if (r == 0 && at_return)
                        l->links[l->count++] = link;
        }
        if (r < 0)
                snprintf(l->text, sizeof l->text, "a kprobe on %s: %s", function, strerror(-r));
        return r;
}

static int attach_kprobes(struct file_bpf *s, struct file_links *l, struct probes_family *family)
{
        int r = pair(l, "vfs_read", s->progs.kprobe_read, s->progs.kretprobe_read);

        if (r == 0)
                r = pair(l, "vfs_write", s->progs.kprobe_write, s->progs.kretprobe_write);
        if (r == 0)
                r = pair(l, "vfs_open", s->progs.kprobe_open, s->progs.kretprobe_open);
        if (r < 0)
                return r;
        if (pair(l, "vfs_readv", s->progs.kprobe_readv, s->progs.kretprobe_readv) < 0)
                blind(family, "readv, preadv");
        if (pair(l, "vfs_writev", s->progs.kprobe_writev, s->progs.kretprobe_writev) < 0)
                blind(family, "writev, pwritev");
        if (pair(l, "vfs_copy_file_range", s->progs.kprobe_copy, s->progs.kretprobe_copy) < 0)
                blind(family, "copy_file_range");
        if (pair(l, "filp_flush", s->progs.kprobe_close, NULL) < 0 && pair(l, "filp_close", s->progs.kprobe_close, NULL) < 0)
                blind(family, "closes");
        return 0;
}

static int attach_fexit(struct file_bpf *s, struct file_links *l, struct probes_family *family)
{
        const struct {
                struct bpf_program *program;
                const char *name, *without;
        } all[] = {
                {s->progs.fexit_read, "fexit on vfs_read", NULL},
                {s->progs.fexit_write, "fexit on vfs_write", NULL},
                {s->progs.fexit_open, "fexit on vfs_open", NULL},
                {s->progs.fexit_readv, "fexit on vfs_readv", "readv, preadv"},
                {s->progs.fexit_writev, "fexit on vfs_writev", "writev, pwritev"},
                {s->progs.fexit_copy, "fexit on vfs_copy_file_range", "copy_file_range"},
                {bpf_program__autoload(s->progs.fentry_flush) ? s->progs.fentry_flush : s->progs.fentry_close, "fentry on close", "closes"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
                int r = -ENOENT;

                if (bpf_program__autoload(all[i].program))
                        r = attached(l, bpf_program__attach(all[i].program), all[i].name);
                if (r < 0 && !all[i].without)
                        return r;
                if (r < 0)
                        blind(family, all[i].without);
        }
        return 0;
}

static struct bpf_program *exit_of(struct file_bpf *s, uint8_t op)
{
        switch (op) {
        case FILE_READ:
                return s->progs.exit_read;
        case FILE_WRITE:
                return s->progs.exit_write;
        case FILE_OPEN:
                return s->progs.exit_open;
        case FILE_SEND:
                return s->progs.exit_send;
        default:
                return s->progs.exit_copy;
        }
}

/* A tracepoint at the exit of each call, or a pair of them. */
static int attach_calls(struct file_bpf *s, bool pairs, struct file_links *l, struct probes_family *family)
{
        for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
                char name[64];
                int r = 0;

                if (pairs && calls[i].op != FILE_OPEN) {
                        snprintf(name, sizeof name, "sys_enter_%s", calls[i].name);
                        r = attached(l, bpf_program__attach_tracepoint(s->progs.enter_call, "syscalls", name), name);
                }
                snprintf(name, sizeof name, "sys_exit_%s", calls[i].name);
                if (r == 0)
                        r = attached(l, bpf_program__attach_tracepoint(pairs ? s->progs.exit_call : exit_of(s, calls[i].op), "syscalls", name), name);
                /* Where read can't be had nothing can; a call that this kernel lacks is no loss but of itself. */
                if (r < 0 && i == 0)
                        return r;
                if (r < 0)
                        blind(family, calls[i].name);
        }
        return 0;
}

int file_rung_attach(struct file_bpf *s, uint32_t rung, bool without_closes, struct file_links *l, struct probes_family *family)
{
        int r;

        blind(family, "memory-mapped files");
        switch (rung) {
        case PROBES_FEXIT:
                r = attach_fexit(s, l, family);
                break;
        case PROBES_KPROBE:
                r = attach_kprobes(s, l, family);
                break;
        case PROBES_SYS_EXIT:
                r = attached(l, bpf_program__attach(s->progs.sys_exit), "tp_btf on sys_exit");
                break;
        case PROBES_RAW_EXIT:
                r = attached(l, bpf_program__attach(s->progs.raw_exit), "the raw tracepoint on sys_exit");
                break;
        default:
                r = attach_calls(s, rung == PROBES_TRACEPOINTS, l, family);
                break;
        }
        if (r == 0 && rung >= PROBES_CALL_EXIT) {
                struct bpf_program *close = bpf_program__autoload(s->progs.typed_close) ? s->progs.typed_close : s->progs.raw_close;

                if (without_closes || attached(l, bpf_program__attach(close), "sys_enter_close") < 0)
                        blind(family, "closes");
                blind(family, "calls of 32-bit programs");
                blind(family, "closing by dup2, close_range or exit");
        } else {
                blind(family, "sendfile and splice");
        }
        if (r == 0 && attached(l, bpf_program__attach(s->progs.ring_complete), "io_uring_complete") < 0)
                blind(family, "io_uring");
        else
                blind(family, "opening and closing by io_uring");
        if (r < 0)
                file_rung_detach(l);
        return r;
}

void file_rung_detach(struct file_links *l)
{
        while (l->count)
                bpf_link__destroy(l->links[--l->count]);
}
