/* place.c: kprobes and uprobes by perf_event_open, uprobe-multi by a bpf(2) of our own, as libbpf 1.1 lacks it; see place.h. */
#include "bpf/place.h"

#include "base/fd.h"
#include "base/scope.h"

#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A number out of a file of the kernel's; -errno when there is none. */
static int read_number(const char *path, const char *format)
{
        FILE *f = fopen(path, "re");
        int value = -1, n;

        if (!f)
                return -errno;
        n = fscanf(f, format, &value);
        fclose(f);
        return n == 1 ? value : -EINVAL;
}

static int open_event(const char *kind, bool at_return, uint64_t config1, uint64_t config2)
{
        struct perf_event_attr attr = {.size = sizeof attr};
        char path[96];
        int type, bit = 0, fd;

        snprintf(path, sizeof path, "/sys/bus/event_source/devices/%s/type", kind);
        type = read_number(path, "%d");
        if (type < 0)
                return type;
        if (at_return) {
                snprintf(path, sizeof path, "/sys/bus/event_source/devices/%s/format/retprobe", kind);
                bit = read_number(path, "config:%d");
                if (bit < 0 || bit > 63)
                        return -ENOTSUP;
                attr.config |= UINT64_C(1) << bit;
        }
        attr.type = (uint32_t)type;
        attr.config1 = config1;
        attr.config2 = config2;
        /* Of no process means of all, and asks for a processor; the probe itself runs on every one. */
        fd = (int)syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static int link_event(struct bpf_program *program, int event, uint64_t cookie, struct bpf_link **ret)
{
        LIBBPF_OPTS(bpf_perf_event_opts, options, .bpf_cookie = cookie);
        struct bpf_link *link = bpf_program__attach_perf_event_opts(program, event, &options);

        if (!link) {
                int r = -errno;

                close(event);
                return r;
        }
        *ret = link; /* owns the event */
        return 0;
}

int place_kprobe(struct bpf_program *program, const char *function, bool at_return, struct bpf_link **ret)
{
        int event = open_event("kprobe", at_return, (uint64_t)(uintptr_t)function, 0);

        return event < 0 ? event : link_event(program, event, 0, ret);
}

int place_uprobe(struct bpf_program *program, const char *path, uint64_t offset, uint64_t cookie, struct bpf_link **ret)
{
        int event = open_event("uprobe", false, (uint64_t)(uintptr_t)path, offset);

        return event < 0 ? event : link_event(program, event, cookie, ret);
}

int place_uprobe_multi(int program_fd, const char *path, const uint64_t *offsets, const uint64_t *cookies, uint32_t count)
{
        struct {
                uint32_t program, target, type, flags;
                uint64_t path, offsets, reference_counters, cookies;
                uint32_t count, multi_flags;
                int32_t pid;
                uint32_t padding;
        } attr = {
                .program = (uint32_t)program_fd,
                .type = PLACE_UPROBE_MULTI,
                .path = (uint64_t)(uintptr_t)path,
                .offsets = (uint64_t)(uintptr_t)offsets,
                .cookies = (uint64_t)(uintptr_t)cookies,
                .count = count,
        };
        int fd = (int)syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof attr);

        return fd < 0 ? -errno : fd;
}
