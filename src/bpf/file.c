/* file.c: loads, attaches and reads the programs of file.bpf.c, rung by rung; see file.h. */
#include "bpf/file.h"

#include "base/clock.h"
#include "base/error.h"
#include "bpf/ladder.h"
#include "bpf/place.h"
#include "bpf/trial.h"

#include "file.skel.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_LINKS 48
#define BATCH 4096

struct files {
        struct file_bpf *skeleton;
        struct bpf_link *links[MAX_LINKS];
        uint32_t link_count, rung, batch, processors;
        struct file_key *keys;
        struct file_counts *counts;
        struct file_totals *each_processor;
        struct probes_family *family; /* while it is being opened */
        uint32_t entries, entries_max;
        uint64_t read_ns;
        bool without_closes;
        char text[120];
};

static const uint32_t rungs[] = {PROBES_FEXIT, PROBES_KPROBE, PROBES_SYS_EXIT, PROBES_RAW_EXIT, PROBES_TRACEPOINTS};

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

static void blind(struct probes_family *f, const char *what)
{
        if (f->blind_count < PROBES_MAX_BLIND)
                snprintf(f->blind[f->blind_count++], sizeof f->blind[0], "%s", what);
}

static int attached(struct files *f, struct bpf_link *link, const char *what)
{
        if (!link) {
                int r = -errno;

                snprintf(f->text, sizeof f->text, "%s does not attach: %s", what, strerror(-r));
                return r ? r : -EIO;
        }
        f->links[f->link_count++] = link;
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

static void choose_rung(struct file_bpf *s, uint32_t rung)
{
        struct bpf_program *program;

        bpf_object__for_each_program(program, s->obj)
                bpf_program__set_autoload(program, false);
        switch (rung) {
        case PROBES_FEXIT:
                choose_fexit(s);
                break;
        case PROBES_KPROBE:
                choose_kprobe(s);
                break;
        case PROBES_SYS_EXIT:
                choose(s->progs.sys_exit);
                break;
        case PROBES_RAW_EXIT:
                choose(s->progs.raw_exit);
                break;
        default:
                choose(s->progs.enter_call);
                choose(s->progs.exit_call);
                break;
        }
        if (rung >= PROBES_SYS_EXIT)
                choose(s->progs.enter_close);
        choose(s->progs.ring_complete);
}

/* --- what each rung attaches --- */

static int pair(struct files *f, const char *function, struct bpf_program *at_entry, struct bpf_program *at_return)
{
        struct bpf_link *link = NULL;
        int r = place_kprobe(at_entry, function, false, &link);

        if (r == 0) {
                f->links[f->link_count++] = link;
                r = at_return ? place_kprobe(at_return, function, true, &link) : 0;
                if (r == 0 && at_return)
                        f->links[f->link_count++] = link;
        }
        if (r < 0)
                snprintf(f->text, sizeof f->text, "a kprobe on %s: %s", function, strerror(-r));
        return r;
}

static int attach_kprobes(struct files *f)
{
        struct file_bpf *s = f->skeleton;
        int r = pair(f, "vfs_read", s->progs.kprobe_read, s->progs.kretprobe_read);

        if (r == 0)
                r = pair(f, "vfs_write", s->progs.kprobe_write, s->progs.kretprobe_write);
        if (r == 0)
                r = pair(f, "vfs_open", s->progs.kprobe_open, s->progs.kretprobe_open);
        if (r < 0)
                return r;
        if (pair(f, "vfs_readv", s->progs.kprobe_readv, s->progs.kretprobe_readv) < 0)
                blind(f->family, "readv, preadv");
        if (pair(f, "vfs_writev", s->progs.kprobe_writev, s->progs.kretprobe_writev) < 0)
                blind(f->family, "writev, pwritev");
        if (pair(f, "vfs_copy_file_range", s->progs.kprobe_copy, s->progs.kretprobe_copy) < 0)
                blind(f->family, "copy_file_range");
        if (pair(f, "filp_flush", s->progs.kprobe_close, NULL) < 0 && pair(f, "filp_close", s->progs.kprobe_close, NULL) < 0)
                blind(f->family, "closes");
        return 0;
}

static int attach_fexit(struct files *f)
{
        struct file_bpf *s = f->skeleton;
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
                        r = attached(f, bpf_program__attach(all[i].program), all[i].name);
                if (r < 0 && !all[i].without)
                        return r;
                if (r < 0)
                        blind(f->family, all[i].without);
        }
        return 0;
}

static int attach_pairs(struct files *f)
{
        struct file_bpf *s = f->skeleton;

        for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
                char name[64];
                int r = 0;

                if (calls[i].op != FILE_OPEN) {
                        snprintf(name, sizeof name, "sys_enter_%s", calls[i].name);
                        r = attached(f, bpf_program__attach_tracepoint(s->progs.enter_call, "syscalls", name), name);
                }
                snprintf(name, sizeof name, "sys_exit_%s", calls[i].name);
                if (r == 0)
                        r = attached(f, bpf_program__attach_tracepoint(s->progs.exit_call, "syscalls", name), name);
                /* Where read can't be had nothing can; a call that this kernel lacks is no loss but of itself. */
                if (r < 0 && i == 0)
                        return r;
                if (r < 0)
                        blind(f->family, calls[i].name);
        }
        return 0;
}

int files_attach(struct files *f)
{
        struct file_bpf *s = f->skeleton;
        struct probes_family unused = {0}, *family = f->family ? f->family : &unused;
        int r;

        if (f->link_count)
                return 0;
        f->family = family;
        blind(family, "memory-mapped files");
        switch (f->rung) {
        case PROBES_FEXIT:
                r = attach_fexit(f);
                break;
        case PROBES_KPROBE:
                r = attach_kprobes(f);
                break;
        case PROBES_SYS_EXIT:
                r = attached(f, bpf_program__attach(s->progs.sys_exit), "tp_btf on sys_exit");
                break;
        case PROBES_RAW_EXIT:
                r = attached(f, bpf_program__attach(s->progs.raw_exit), "the raw tracepoint on sys_exit");
                break;
        default:
                r = attach_pairs(f);
                break;
        }
        if (r == 0 && f->rung >= PROBES_SYS_EXIT) {
                if (f->without_closes || attached(f, bpf_program__attach(s->progs.enter_close), "sys_enter_close") < 0)
                        blind(family, "closes");
                blind(family, "calls of 32-bit programs");
                blind(family, "closing by dup2, close_range or exit");
        } else {
                blind(family, "sendfile and splice");
        }
        if (r == 0 && attached(f, bpf_program__attach(s->progs.ring_complete), "io_uring_complete") < 0)
                blind(family, "io_uring");
        else
                blind(family, "opening and closing by io_uring");
        f->family = NULL;
        if (r < 0)
                files_detach(f);
        return r;
}

void files_detach(struct files *f)
{
        while (f->link_count)
                bpf_link__destroy(f->links[--f->link_count]);
}

/* --- loading --- */

static int load(struct files *f, const struct file_options *o)
{
        struct file_bpf *s = file_bpf__open();
        int r;

        if (!s) {
                r = -errno;
                snprintf(f->text, sizeof f->text, "the programs do not open: %s", strerror(-r));
                return r;
        }
        f->skeleton = s;
        s->rodata->one_in = o->one_in;
        s->rodata->only_uid = o->uid;
        for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
                s->rodata->calls[calls[i].number] = calls[i].op;
        bpf_map__set_max_entries(s->maps.even, o->entries);
        bpf_map__set_max_entries(s->maps.odd, o->entries);
        bpf_map__set_max_entries(s->maps.file_names, o->entries);
        choose_rung(s, f->rung);
        r = file_bpf__load(s);
        if (r < 0)
                trial_text(f->text, sizeof f->text, "the kernel does not load it", r);
        return r;
}

static int open_rung(uint32_t rung, const struct file_options *o, struct probes_family *family, char text[120], struct files **ret)
{
        scoped(files_free) struct files *f = calloc(1, sizeof *f);
        int processors = libbpf_num_possible_cpus(), r;

        if (!f || processors < 1)
                return -ENOMEM;
        f->rung = rung;
        f->family = family;
        f->processors = (uint32_t)processors;
        f->batch = BATCH;
        f->entries_max = o->entries;
        f->without_closes = o->without_closes;
        f->keys = calloc(f->batch, sizeof *f->keys);
        f->counts = calloc(f->batch, sizeof *f->counts);
        f->each_processor = calloc(f->processors, sizeof *f->each_processor);
        r = f->keys && f->counts && f->each_processor ? load(f, o) : -ENOMEM;
        if (r == 0)
                r = files_attach(f);
        if (r < 0) {
                snprintf(text, 120, "%s", f->text);
                return r;
        }
        *ret = take(f);
        return 0;
}

void files_open(const struct file_options *o, struct probes_family *family, struct files **ret)
{
        struct ladder l = {.rungs = rungs, .count = ARRAY_SIZE(rungs), .forced = o->forced, .refuse = o->refuse};
        uint32_t rung;

        family->refused_count = family->blind_count = 0;
        family->state = PROBES_UNAVAILABLE;
        family->rung = PROBES_RUNG_NONE;
        family->one_in = o->one_in;
        family->window_permille = 1000;
        *ret = NULL;
        while ((rung = ladder_next(&l, family)) != PROBES_RUNG_NONE) {
                char text[120] = "";
                int r;

                family->blind_count = 0;
                trial_begin();
                r = open_rung(rung, o, family, text, ret);
                if (r == 0) {
                        family->state = PROBES_ATTACHED;
                        family->rung = rung;
                        files_family(*ret, family);
                        return;
                }
                ladder_refused(family, rung, r, text[0] ? text : error_text(r));
        }
        family->blind_count = 0;
}

void files_free(struct files *f)
{
        if (!f)
                return;
        files_detach(f);
        file_bpf__destroy(f->skeleton);
        free(f->keys);
        free(f->counts);
        free(f->each_processor);
        free(f);
}

/* --- reading --- */

static int grow(struct files *f)
{
        uint32_t batch = f->batch * 2;
        struct file_key *keys = realloc(f->keys, batch * sizeof *keys);
        struct file_counts *counts = NULL;

        if (!keys)
                return -ENOMEM;
        f->keys = keys;
        counts = realloc(f->counts, batch * sizeof *counts);
        if (!counts)
                return -ENOMEM;
        f->counts = counts;
        f->batch = batch;
        return 0;
}

int files_read(struct files *f, void (*each)(void *data, const struct file_key *key, const struct file_counts *counts), void *data)
{
        uint32_t was = f->skeleton->bss->active, seen = 0, at = 0;
        int map = bpf_map__fd(was ? f->skeleton->maps.odd : f->skeleton->maps.even), r = 0;
        uint64_t began = clock_now_ns();
        bool first = true;

        __atomic_store_n(&f->skeleton->bss->active, !was, __ATOMIC_SEQ_CST);
        /* Programs run inside of a read-side section; this waits until all that began before have ended. */
        if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) < 0)
                usleep(20000);
        for (;;) {
                uint32_t count = f->batch;

                r = bpf_map_lookup_and_delete_batch(map, first ? NULL : &at, &at, f->keys, f->counts, &count, NULL);
                if (r == -ENOSPC) { /* one bucket has more than fits */
                        r = grow(f);
                        if (r < 0)
                                break;
                        continue;
                }
                if (r < 0 && r != -ENOENT)
                        break;
                first = false;
                for (uint32_t i = 0; i < count; i++)
                        each(data, &f->keys[i], &f->counts[i]);
                seen += count;
                if (r == -ENOENT) { /* that was the last */
                        r = 0;
                        break;
                }
        }
        f->entries = seen;
        f->read_ns = clock_now_ns() - began;
        return r;
}

void files_totals(struct files *f, struct file_totals *ret)
{
        uint32_t zero = 0;

        memset(ret, 0, sizeof *ret);
        if (bpf_map_lookup_elem(bpf_map__fd(f->skeleton->maps.totals), &zero, f->each_processor) < 0)
                return;
        for (uint32_t i = 0; i < f->processors; i++) {
                const uint64_t *from = (const uint64_t *)&f->each_processor[i];

                for (size_t k = 0; k < sizeof *ret / sizeof *from; k++)
                        ((uint64_t *)ret)[k] += from[k];
        }
}

bool files_name(struct files *f, const struct file_name_key *key, struct file_name *ret)
{
        if (bpf_map_lookup_elem(bpf_map__fd(f->skeleton->maps.file_names), key, ret) < 0)
                return false;
        ret->base[sizeof ret->base - 1] = 0;
        if (ret->folders > FILE_UP)
                ret->folders = FILE_UP;
        for (uint32_t i = 0; i < FILE_UP; i++)
                ret->up[i][sizeof ret->up[i] - 1] = 0;
        return true;
}

void files_family(struct files *f, struct probes_family *family)
{
        struct file_totals t;

        files_totals(f, &t);
        family->hits = t.hits;
        family->hooked = t.hooked;
        family->full = t.full;
        family->entries = f->entries;
        family->entries_max = f->entries_max;
        family->links = f->link_count;
        family->programs = f->link_count;
        family->read_ns = f->read_ns;
}
