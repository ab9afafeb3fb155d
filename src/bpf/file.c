/* file.c: loads the programs of file.bpf.c, kind by kind, and reads what they counted; see file.h. */
#include "bpf/file.h"

#include "base/clock.h"
#include "base/error.h"
#include "bpf/climb.h"
#include "bpf/trial.h"

#include "file-rungs.h"
#include "file.skel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <inttypes.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

struct files {
        struct file_bpf *skeleton;
        struct file_links links;
        uint32_t rung, processors;
        const struct file_use *rows; /* of both halves, mapped */
        const struct file_user *users;
        struct file_totals *each_processor;
        uint32_t entries, entries_max;
        uint64_t read_ns;
        bool without_closes;
        uint32_t missed_at; /* in the family's blind list, + 1; 0: none was missed */
};

static size_t rows_bytes(const struct files *f)
{
        return 2 * (size_t)f->entries_max * sizeof *f->rows;
}

static size_t users_bytes(const struct files *f)
{
        return 2 * (size_t)f->entries_max * sizeof *f->users;
}

int files_attach(struct files *f)
{
        struct probes_family unused = {0};

        return f->links.count ? 0 : file_rung_attach(f->skeleton, f->rung, f->without_closes, &f->links, &unused);
}

void files_detach(struct files *f)
{
        file_rung_detach(&f->links);
}

/* --- loading --- */

/* Everything whose size or value depends on the options. */
static int prepare(struct file_bpf *s, const struct file_options *o)
{
        uint32_t bits = 0;

        while (UINT32_C(1) << bits < o->entries * FILE_SLOTS_A_ROW)
                bits++;
        s->rodata->one_in = o->one_in;
        s->rodata->only_uid = o->uid;
        s->rodata->rows_each = o->entries;
        s->rodata->slots_shift = 32 - bits;
        if (getrandom((void *)s->rodata->mix, sizeof s->rodata->mix, 0) != (ssize_t)sizeof s->rodata->mix)
                return -EIO;
        s->rodata->mix[0] |= 1;
        s->rodata->mix[1] |= 1;
        bpf_map__set_max_entries(s->maps.slots, UINT32_C(1) << bits);
        bpf_map__set_max_entries(s->maps.rows, 2 * o->entries);
        bpf_map__set_max_entries(s->maps.users, 2 * o->entries);
        bpf_map__set_max_entries(s->maps.file_names, o->entries);
        return 0;
}

static int load(struct files *f, const struct file_options *o)
{
        void *rows, *users;
        int r;

        f->skeleton = file_bpf__open();
        if (!f->skeleton) {
                r = -errno;
                snprintf(f->links.text, sizeof f->links.text, "the programs do not open: %s", strerror(-r));
                return r;
        }
        r = prepare(f->skeleton, o);
        if (r < 0)
                return r;
        r = file_rung_choose(f->skeleton, f->rung);
        if (r < 0) {
                snprintf(f->links.text, sizeof f->links.text, "%s", r == -EOPNOTSUPP ? "no typed cast of pointers in this kernel (6.2 and later)" : error_text(r));
                return r;
        }
        r = file_bpf__load(f->skeleton);
        if (r < 0) {
                trial_text(f->links.text, sizeof f->links.text, "the kernel does not load it", r);
                return r;
        }
        rows = mmap(NULL, rows_bytes(f), PROT_READ, MAP_SHARED, bpf_map__fd(f->skeleton->maps.rows), 0);
        f->rows = rows == MAP_FAILED ? NULL : rows;
        users = mmap(NULL, users_bytes(f), PROT_READ, MAP_SHARED, bpf_map__fd(f->skeleton->maps.users), 0);
        f->users = users == MAP_FAILED ? NULL : users;
        if (f->rows && f->users)
                return 0;
        r = -errno;
        snprintf(f->links.text, sizeof f->links.text, "its maps can't be mapped: %s", strerror(-r));
        return r;
}

static int open_rung(uint32_t rung, const struct file_options *o, struct probes_family *family, char text[120], struct files **ret)
{
        scoped(files_free) struct files *f = calloc(1, sizeof *f);
        int processors = libbpf_num_possible_cpus(), r;

        if (!f || processors < 1)
                return -ENOMEM;
        f->rung = rung;
        f->processors = (uint32_t)processors;
        f->entries_max = o->entries;
        f->without_closes = o->without_closes;
        f->each_processor = calloc(f->processors, sizeof *f->each_processor);
        r = f->each_processor ? load(f, o) : -ENOMEM;
        if (r == 0)
                r = file_rung_attach(f->skeleton, rung, f->without_closes, &f->links, family);
        if (r < 0) {
                snprintf(text, 120, "%s", f->links.text);
                return r;
        }
        *ret = take(f);
        return 0;
}

void files_open(const struct file_options *o, struct probes_family *family, struct files **ret)
{
        struct ladder l = {.forced = o->forced, .refuse = o->refuse};
        uint32_t rung;

        l.rungs = file_rungs(o->one_in > 1 || o->part_of_time, &l.count);
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
        if (f->rows)
                munmap((void *)(uintptr_t)f->rows, rows_bytes(f));
        if (f->users)
                munmap((void *)(uintptr_t)f->users, users_bytes(f));
        file_bpf__destroy(f->skeleton);
        free(f->each_processor);
        free(f);
}

/* --- reading --- */

int files_read(struct files *f, void (*each)(void *data, const struct file_key *key, const struct file_counts *counts, const struct file_user *user), void *data)
{
        uint32_t period = f->skeleton->data->period, half = period & 1, first = half ? f->entries_max : 0, taken;
        uint64_t began = clock_now_ns();

        __atomic_store_n(&f->skeleton->data->period, period + 1, __ATOMIC_SEQ_CST);
        /* Programs run inside of a read-side section; this waits until all that began before have ended. */
        if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) < 0)
                usleep(20000);
        taken = __atomic_load_n(&f->skeleton->bss->taken[half], __ATOMIC_SEQ_CST);
        if (taken > f->entries_max)
                taken = f->entries_max;
        f->entries = 0;
        for (uint32_t i = first; i < first + taken; i++) {
                const struct file_counts *c = &f->rows[i].counts;

                /* One that another row came before: nothing was added to it. */
                if (!(c->opens | c->closes | c->reads | c->writes))
                        continue;
                each(data, &f->rows[i].key, c, &f->users[i]);
                f->entries++;
        }
        /* It is written again from the next reading on. */
        __atomic_store_n(&f->skeleton->bss->taken[half], 0, __ATOMIC_SEQ_CST);
        f->read_ns = clock_now_ns() - began;
        return 0;
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

/* Whom such a run would have counted for nobody knows, or whether anybody: so it stands beside the sums. */
static void tell_missed(struct files *f, struct probes_family *family)
{
        struct bpf_program *program;
        uint64_t missed = 0;

        bpf_object__for_each_program(program, f->skeleton->obj)
                missed += climb_missed(program);
        if (!missed || (!f->missed_at && family->blind_count == PROBES_MAX_BLIND))
                return;
        if (!f->missed_at)
                f->missed_at = ++family->blind_count;
        snprintf(family->blind[f->missed_at - 1], sizeof family->blind[0], "%" PRIu64 " runs the kernel left out", missed);
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
        family->links = f->links.count;
        family->programs = f->links.count;
        family->read_ns = f->read_ns;
        tell_missed(f, family);
}
