/* climb.c: tries rungs and looks at tracepoints; see climb.h. */
#include "bpf/climb.h"

#include "base/error.h"
#include "bpf/trial.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>

static const uint32_t rungs[] = {PROBES_TP_BTF, PROBES_RAW_TP};

bool climb(struct probes_family *f, uint32_t forced, uint32_t refuse, int (*try)(void *data, uint32_t rung, char text[120]), void *data)
{
        struct ladder l = {.rungs = rungs, .count = ARRAY_SIZE(rungs), .forced = forced, .refuse = refuse};
        uint32_t rung;

        memset(f, 0, sizeof *f);
        f->state = PROBES_UNAVAILABLE;
        f->one_in = 1;
        f->window_permille = 1000;
        while ((rung = ladder_next(&l, f)) != PROBES_RUNG_NONE) {
                char text[120] = "";
                int r;

                trial_begin();
                r = try(data, rung, text);
                if (r == 0) {
                        f->state = PROBES_ATTACHED;
                        f->rung = rung;
                        return true;
                }
                ladder_refused(f, rung, r, text[0] ? text : error_text(r));
        }
        return false;
}

uint64_t climb_missed(const struct bpf_program *program)
{
        struct bpf_prog_info info = {0};
        uint32_t size = sizeof info;
        int fd = bpf_program__fd(program);

        return fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &size) == 0 ? info.recursion_misses : 0;
}

void climb_add(struct probe_totals *to, const struct probe_totals *one)
{
        to->hits += one->hits;
        to->counted += one->counted;
        to->full += one->full;
        to->self_hits += one->self_hits;
        to->self_ns += one->self_ns;
}

void climb_told(const struct probe_totals *t, struct probes_family *f)
{
        f->hits = t->hits;
        f->hooked = t->counted;
        f->full = t->full;
        f->hooked_cost_ps = f->other_cost_ps = t->self_hits ? t->self_ns * 1000 / t->self_hits : 0;
        f->cost_ns = f->hits * f->hooked_cost_ps / 1000;
}

/* A tracepoint is a function type in the kernel's type information: btf_trace_NAME, a pointer to a function of (void *, its arguments). */
static int arguments_of(const struct btf *kernel, const char *name, uint32_t *ret)
{
        const struct btf_type *type;
        char full[80];
        int id;

        snprintf(full, sizeof full, "btf_trace_%s", name);
        id = btf__find_by_name_kind(kernel, full, BTF_KIND_TYPEDEF);
        if (id < 0)
                return -ENOENT;
        for (int depth = 0; depth < 4; depth++) {
                type = btf__type_by_id(kernel, (uint32_t)id);
                if (!type)
                        return -ENOENT;
                if (btf_is_func_proto(type)) {
                        *ret = btf_vlen(type) ? btf_vlen(type) - 1 : 0;
                        return 0;
                }
                id = (int)type->type;
        }
        return -ENOENT;
}

int climb_check(const struct climb_point *points, size_t count, char text[120])
{
        struct btf *kernel = btf__load_vmlinux_btf();
        int r = (int)libbpf_get_error(kernel);

        if (r) {
                snprintf(text, 120, "the kernel's type information: %s", error_text(r));
                return r;
        }
        for (size_t i = 0; r == 0 && i < count; i++) {
                uint32_t arguments = 0;

                r = arguments_of(kernel, points[i].name, &arguments);
                if (r < 0) {
                        snprintf(text, 120, "the kernel has no tracepoint %s", points[i].name);
                } else if (arguments < points[i].least || arguments > points[i].most) {
                        r = -EPROTO;
                        snprintf(text, 120, "the kernel's tracepoint %s has %u arguments, which is not the one that is known here", points[i].name, arguments);
                }
        }
        btf__free(kernel);
        return r;
}
