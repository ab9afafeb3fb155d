/* gpu.c: loads and attaches the programs of gpu.bpf.c to every copy of the driver's library; see gpu.h. */
#include "bpf/gpu.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "bpf/budget.h"
#include "bpf/gpu-map.h"
#include "bpf/ladder.h"
#include "bpf/libraries.h"
#include "bpf/place.h"
#include "bpf/trial.h"
#include "bpf/turns.h"

#include "gpu-places.h"
#include "gpu.skel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Functions of one library: launches apart, as they are counted part of the time where there are many. */
struct group {
        struct gpu_places places;
        int multi; /* the link; -1: none */
        struct bpf_link *links[GPU_MOST_PLACES];
        uint32_t links_n;
};

struct library {
        struct library *next;
        uint32_t number;
        int fd; /* of libraries.c */
        bool cheap;
        struct group launches, others;
};

struct gpu {
        struct gpu_bpf *skeleton;
        uint32_t rung, processors, libraries_n;
        uint64_t cheap_ps, stepped_ps, period_ns, window_ns, counted_ns, began_ns, read_ns;
        uint32_t permille;
        struct library *first;
        struct libraries *libraries;
        struct turns turns;
        struct gpu_totals *each_processor;
        uint64_t launches_before;
        int last_error;
        bool open;   /* launches are counted now */
        bool unread; /* a library has gone since the last reading, and its calls may be in the map */
};

static const uint32_t rungs[] = {PROBES_UPROBE_MULTI, PROBES_UPROBE};

/* --- attaching --- */

static void detach(struct group *g)
{
        fd_close_at(&g->multi);
        while (g->links_n)
                bpf_link__destroy(g->links[--g->links_n]);
}

static int attach(struct gpu *gpu, int file, struct group *g)
{
        char path[64];

        if (g->multi >= 0 || g->links_n || !g->places.count)
                return 0;
        /* The very file that was looked at, whatever its path means by now. */
        snprintf(path, sizeof path, "/proc/self/fd/%d", file);
        if (gpu->rung == PROBES_UPROBE_MULTI) {
                int fd = place_uprobe_multi(bpf_program__fd(gpu->skeleton->progs.call_multi), path, g->places.offsets, g->places.cookies, g->places.count);

                if (fd < 0)
                        return fd;
                g->multi = fd;
                return 0;
        }
        for (uint32_t i = 0; i < g->places.count; i++) {
                int r = place_uprobe(gpu->skeleton->progs.call_single, path, g->places.offsets[i], g->places.cookies[i], &g->links[g->links_n]);

                if (r < 0) {
                        detach(g);
                        return r;
                }
                g->links_n++;
        }
        return 0;
}

static void free_library(struct library *l)
{
        detach(&l->launches);
        detach(&l->others);
        free(l);
}

static void found(void *data, uint32_t number, int fd)
{
        struct library *l = calloc(1, sizeof *l);
        struct gpu *gpu = data;
        int r;

        if (!l)
                return;
        l->number = number;
        l->fd = fd;
        l->launches.multi = l->others.multi = -1;
        r = gpu_places_find(fd, &l->launches.places, &l->others.places, &l->cheap);
        if (r == 0)
                r = attach(gpu, l->fd, &l->others);
        if (r == 0 && gpu->open)
                r = attach(gpu, l->fd, &l->launches);
        if (r < 0) {
                gpu->last_error = r;
                free_library(l);
                return;
        }
        l->next = gpu->first;
        gpu->first = l;
        gpu->libraries_n++;
}

static void gone(void *data, uint32_t number)
{
        struct gpu *gpu = data;

        for (struct library **at = &gpu->first; *at; at = &(*at)->next) {
                struct library *l = *at;

                if (l->number != number)
                        continue;
                *at = l->next;
                gpu->libraries_n--;
                gpu->unread = true;
                free_library(l);
                return;
        }
}

void gpu_scan(struct gpu *gpu, uint64_t now)
{
        const struct libraries_news news = {.found = found, .gone = gone, .data = gpu};

        libraries_scan(gpu->libraries, now, &news);
}

/* --- the trial, which measures as well --- */

/* What is probed in this process to find out whether the kernel takes it, and what it costs: of the cheap kind, and of that which is stepped through. */
__attribute__((noinline, used)) void gpu_trial_cheap(void);
__attribute__((noinline, used)) void gpu_trial_stepped(void);
__asm__(".text\n.globl gpu_trial_cheap\n.type gpu_trial_cheap,@function\ngpu_trial_cheap:\n push %rbp\n pop %rbp\n ret\n.size gpu_trial_cheap,.-gpu_trial_cheap\n"
        ".globl gpu_trial_stepped\n.type gpu_trial_stepped,@function\ngpu_trial_stepped:\n sub $8,%rsp\n add $8,%rsp\n ret\n.size gpu_trial_stepped,.-gpu_trial_stepped\n");

/* Where a function of this program lies in its file: the line of its mapping tells. */
static uint64_t own_offset(void (*function)(void))
{
        uint64_t address = (uint64_t)(uintptr_t)function, from, to, offset;
        FILE *f = fopen("/proc/self/maps", "re");
        uint64_t result = 0;
        char line[4300];

        while (f && !result && fgets(line, sizeof line, f))
                if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64, &from, &to, &offset) == 3 && address >= from && address < to)
                        result = offset + (address - from);
        if (f)
                fclose(f);
        return result;
}

static uint64_t time_calls(void (*function)(void), int calls)
{
        uint64_t least = UINT64_MAX;

        for (int i = 0; i < 10; i++) {
                uint64_t began = clock_now_ns(), took;

                for (int k = 0; k < calls; k++)
                        function();
                took = (clock_now_ns() - began) * 1000 / (uint64_t)calls;
                if (took < least)
                        least = took;
        }
        return least;
}

static int try_one(struct gpu *gpu, int self, void (*function)(void), uint64_t *ret_ps)
{
        struct group g = {.multi = -1};
        uint64_t without;
        int r;

        gpu_places_add(&g.places, own_offset(function), GPU_COOKIE(GPU_WAIT, 0, 0));
        without = time_calls(function, 100);
        r = attach(gpu, self, &g);
        if (r < 0)
                return r;
        *ret_ps = time_calls(function, 100);
        *ret_ps = *ret_ps > without ? *ret_ps - without : 1;
        detach(&g);
        return 0;
}

static int trial(struct gpu *gpu)
{
        scoped_fd int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        int r = self < 0 ? -errno : try_one(gpu, self, gpu_trial_cheap, &gpu->cheap_ps);

        return r < 0 ? r : try_one(gpu, self, gpu_trial_stepped, &gpu->stepped_ps);
}

static int open_rung(uint32_t rung, const struct gpu_options *o, char text[120], struct gpu **ret)
{
        scoped(gpu_free) struct gpu *gpu = calloc(1, sizeof *gpu);
        int processors = libbpf_num_possible_cpus(), r;

        if (!gpu || processors < 1)
                return -ENOMEM;
        gpu->rung = rung;
        gpu->permille = o->launch_permille;
        gpu->period_ns = gpu->window_ns = o->period_ns;
        gpu->processors = (uint32_t)processors;
        gpu->each_processor = calloc(gpu->processors, sizeof *gpu->each_processor);
        if (!gpu->each_processor || libraries_new("/proc", &gpu->libraries) < 0)
                return -ENOMEM;
        gpu->skeleton = gpu_bpf__open();
        if (!gpu->skeleton)
                return -errno;
        gpu->skeleton->rodata->only_uid = o->uid;
        bpf_program__set_autoload(gpu->skeleton->progs.call_multi, rung == PROBES_UPROBE_MULTI);
        bpf_program__set_autoload(gpu->skeleton->progs.call_single, rung == PROBES_UPROBE);
        bpf_program__set_expected_attach_type(gpu->skeleton->progs.call_multi, (enum bpf_attach_type)PLACE_UPROBE_MULTI);
        r = gpu_bpf__load(gpu->skeleton);
        if (r < 0) {
                trial_text(text, 120, "the kernel does not load it", r);
                return r;
        }
        r = turns_open(&gpu->turns, bpf_map__fd(gpu->skeleton->maps.even), bpf_map__fd(gpu->skeleton->maps.odd), &gpu->skeleton->bss->active, sizeof(struct gpu_key),
                       sizeof(struct gpu_counts));
        if (r < 0)
                return r;
        r = trial(gpu);
        if (r < 0) {
                trial_text(text, 120, "a probe on this process itself does not attach", r);
                return r;
        }
        *ret = take(gpu);
        return 0;
}

void gpu_open(const struct gpu_options *o, struct probes_family *family, struct gpu **ret)
{
        struct ladder l = {.rungs = rungs, .count = ARRAY_SIZE(rungs), .forced = o->forced, .refuse = o->refuse};
        uint32_t rung;

        memset(family, 0, sizeof *family);
        family->state = PROBES_UNAVAILABLE;
        family->one_in = 1;
        family->window_permille = 1000;
        *ret = NULL;
        while ((rung = ladder_next(&l, family)) != PROBES_RUNG_NONE) {
                char text[120] = "";
                int r;

                trial_begin();
                r = open_rung(rung, o, text, ret);
                if (r == 0) {
                        family->rung = rung;
                        gpu_family(*ret, family);
                        return;
                }
                ladder_refused(family, rung, r, text[0] ? text : error_text(r));
        }
}

void gpu_free(struct gpu *gpu)
{
        if (!gpu)
                return;
        for (struct library *l = gpu->first, *next; l; l = next) {
                next = l->next;
                free_library(l);
        }
        gpu_bpf__destroy(gpu->skeleton);
        libraries_free(gpu->libraries);
        turns_close(&gpu->turns);
        free(gpu->each_processor);
        free(gpu);
}

/* --- reading --- */

static void sum(struct probes_gpu *to, uint32_t op, const struct gpu_counts *c)
{
        switch ((enum gpu_op)op) {
        case GPU_LAUNCH:
                to->launches = c->calls;
                break;
        case GPU_GRAPH:
                to->graphs = c->calls;
                break;
        case GPU_WAIT:
                to->waits = c->calls;
                break;
        case GPU_FREE:
                to->frees = c->calls;
                break;
        case GPU_ALLOC:
                to->allocs = c->calls;
                to->alloc_bytes = c->bytes;
                break;
        case GPU_COPY_IN:
                to->copies_in = c->calls;
                to->in_bytes = c->bytes;
                break;
        case GPU_COPY_OUT:
                to->copies_out = c->calls;
                to->out_bytes = c->bytes;
                break;
        case GPU_COPY_OTHER:
                to->copies_other = c->calls;
                to->other_bytes = c->bytes;
                break;
        case GPU_OPS:
        default:
                break;
        }
}

static void totals(struct gpu *gpu, struct gpu_totals *ret)
{
        uint32_t zero = 0;

        memset(ret, 0, sizeof *ret);
        if (bpf_map_lookup_elem(bpf_map__fd(gpu->skeleton->maps.totals), &zero, gpu->each_processor) < 0)
                return;
        for (uint32_t i = 0; i < gpu->processors; i++) {
                ret->hits += gpu->each_processor[i].hits;
                ret->full += gpu->each_processor[i].full;
                ret->launches += gpu->each_processor[i].launches;
        }
}

struct passing {
        void (*each)(void *data, uint32_t pid, uint64_t start_ns, uint32_t uid, const char *comm, const struct probes_gpu *sums);
        void *data;
};

static void pass(void *data, const void *row_key, const void *value)
{
        const struct gpu_counts *counts = value;
        const struct gpu_key *key = row_key;
        const struct passing *p = data;
        struct probes_gpu sums = {0};

        sum(&sums, key->op, counts);
        p->each(p->data, key->pid, key->start_ns, counts->uid, counts->comm, &sums);
}

int gpu_read(struct gpu *gpu, void (*each)(void *data, uint32_t pid, uint64_t start_ns, uint32_t uid, const char *comm, const struct probes_gpu *sums), void *data)
{
        struct passing passing = {.each = each, .data = data};
        uint64_t began = clock_now_ns();
        int r;

        /* Nobody is counted, and the kernel need not be waited for. */
        if (!gpu->first && !gpu->unread) {
                gpu->turns.entries = 0;
                return 0;
        }
        r = turns_empty(&gpu->turns, turns_swap(&gpu->turns), pass, &passing);
        gpu->unread = false;
        gpu->read_ns = clock_now_ns() - began;
        return r;
}

/* --- windows --- */

static uint64_t cost_ps(const struct gpu *gpu)
{
        for (const struct library *l = gpu->first; l; l = l->next)
                if (!l->cheap)
                        return gpu->stepped_ps;
        return gpu->cheap_ps;
}

uint64_t gpu_begin_window(struct gpu *gpu, uint64_t now)
{
        struct gpu_totals t;

        totals(gpu, &t);
        if (gpu->open)
                gpu->counted_ns = now - gpu->began_ns;
        if (gpu->began_ns)
                gpu->window_ns = budget_window(t.launches - gpu->launches_before, gpu->counted_ns, cost_ps(gpu), gpu->permille, gpu->period_ns);
        gpu->launches_before = t.launches;
        gpu->began_ns = now;
        gpu->open = true;
        for (struct library *l = gpu->first; l; l = l->next) {
                int r = attach(gpu, l->fd, &l->launches);

                if (r < 0)
                        gpu->last_error = r;
        }
        return gpu->window_ns >= gpu->period_ns ? 0 : gpu->window_ns;
}

void gpu_end_window(struct gpu *gpu, uint64_t now)
{
        gpu->open = false;
        gpu->counted_ns = now - gpu->began_ns;
        for (struct library *l = gpu->first; l; l = l->next)
                detach(&l->launches);
}

void gpu_family(struct gpu *gpu, struct probes_family *f)
{
        struct gpu_totals t;

        totals(gpu, &t);
        f->state = gpu->first ? PROBES_ATTACHED : PROBES_NOTHING_YET;
        f->links = gpu->libraries_n;
        f->programs = 0;
        for (const struct library *l = gpu->first; l; l = l->next)
                f->programs += l->launches.places.count + l->others.places.count;
        f->hits = f->hooked = t.hits;
        f->full = t.full;
        f->entries = gpu->turns.entries;
        f->entries_max = bpf_map__max_entries(gpu->skeleton->maps.even);
        f->hooked_cost_ps = cost_ps(gpu);
        f->cost_ns = (uint64_t)((unsigned __int128)t.hits * f->hooked_cost_ps / 1000);
        f->read_ns = gpu->read_ns;
        f->window_permille = gpu->window_ns >= gpu->period_ns ? 1000 : (uint32_t)(gpu->window_ns * 1000 / gpu->period_ns);
        f->blind_count = 0;
        snprintf(f->blind[f->blind_count++], sizeof f->blind[0], "whether a call went well");
        snprintf(f->blind[f->blind_count++], sizeof f->blind[0], "calls before a library was found");
        snprintf(f->blind[f->blind_count++], sizeof f->blind[0], "copies described by a structure");
        if (libraries_refused(gpu->libraries))
                snprintf(f->blind[f->blind_count++], sizeof f->blind[0], "more than %d copies of it at a time", LIBRARIES_MOST);
        if (gpu->last_error)
                snprintf(f->blind[f->blind_count++], sizeof f->blind[0], "a library (%.30s)", error_name(gpu->last_error));
}
