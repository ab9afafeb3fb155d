/* observe.c: the list of devices over its sources; see observe.h. Which library is tried where is decided here and nowhere else. */
#include "observe/observe.h"

#include "base/error.h"
#include "observe/host.h"
#include "observe/nvml.h"
#include "observe/remote.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef BERTH_LIBDIR
#define BERTH_LIBDIR "/usr/lib"
#endif

struct observe {
        struct nvml *nvml;
        struct remote *remote; /* the devices are another process's: all below but the list is unused */
        struct host_cpu_state cpu;
        bool fixed, asked;
        void (*fixed_sample)(size_t index, struct observe_sample *sample);
        size_t nvml_count, count; /* NVML's come first */
        struct observe_device devices[OBSERVE_MAX_DEVICES];
};

/* Our own NVML reads its devices from the environment, as programs under `berth run` do. Not replaced: who sets them means them. */
static void describe_software(const struct observe_options *options)
{
        char text[32];

        snprintf(text, sizeof text, "%" PRIu64, options->software_devices);
        setenv("BERTH_SOFTWARE_DEVICES", text, 0);
        snprintf(text, sizeof text, "%" PRIu64, options->software_memory);
        setenv("BERTH_SOFTWARE_MEMORY", text, 0);
        snprintf(text, sizeof text, "%" PRIu64, options->software_link);
        setenv("BERTH_SOFTWARE_LINK", text, 0);
}

/* Beside the executable in the build tree, then where it is installed. */
static int open_software(const struct observe_options *options, struct nvml **ret, char reason[160])
{
        static const char *const beside[] = {"../../tests/fake", "../tests/fake", "../lib/berth/software"};
        char path[4096 + 64], self[4096];
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        char *slash;

        describe_software(options);
        if (options->nvml && *options->nvml)
                return nvml_open(options->nvml, WIRE_SOFTWARE, ret, reason);
        self[n > 0 ? n : 0] = 0;
        slash = strrchr(self, '/');
        if (slash) {
                *slash = 0;
                for (size_t i = 0; i < ARRAY_SIZE(beside); i++) {
                        snprintf(path, sizeof path, "%s/%s/libnvidia-ml.so.1", self, beside[i]);
                        if (access(path, R_OK) == 0)
                                return nvml_open(path, WIRE_SOFTWARE, ret, reason);
                }
        }
        return nvml_open(BERTH_LIBDIR "/berth/software/libnvidia-ml.so.1", WIRE_SOFTWARE, ret, reason);
}

static bool any_shareable(const struct observe *o)
{
        for (size_t i = 0; i < o->count; i++)
                if (o->devices[i].shareable)
                        return true;
        return false;
}

int observe_open(const struct observe_options *options, struct observe **ret, char message[256])
{
        scoped(observe_free) struct observe *o = calloc(1, sizeof *o);
        char cuda[160] = "not asked for", software[160] = "not asked for";

        if (!o)
                return -ENOMEM;
        message[0] = 0;
        if (options->choice != OBSERVE_SOFTWARE) {
                const char *path = options->nvml && *options->nvml ? options->nvml : "libnvidia-ml.so.1";

                if (nvml_open(path, WIRE_CUDA, &o->nvml, cuda) == 0) {
                        o->count = nvml_list(o->nvml, o->devices, OBSERVE_MAX_DEVICES);
                        snprintf(cuda, sizeof cuda, "%.100s lists no usable device", path);
                }
        }
        if (options->choice != OBSERVE_CUDA && !any_shareable(o)) {
                nvml_close(o->nvml);
                o->nvml = NULL;
                o->count = 0;
                if (open_software(options, &o->nvml, software) == 0) {
                        o->count = nvml_list(o->nvml, o->devices, OBSERVE_MAX_DEVICES);
                        snprintf(software, sizeof software, "its library lists no usable device");
                }
        }
        if (!any_shareable(o)) {
                snprintf(message, 256, "no device to share: CUDA: %.100s; software device: %.100s", cuda, software);
                return -E_UNAVAILABLE;
        }
        o->nvml_count = o->count;
        o->count += host_list_npus("", o->devices + o->count, OBSERVE_MAX_DEVICES - o->count);
        if (o->count < OBSERVE_MAX_DEVICES)
                host_cpu("", &o->devices[o->count++]);
        *ret = take(o);
        return 0;
}

int observe_start(const struct observe_options *options, uint64_t patience_ns, struct observe **ret, char message[256])
{
        scoped(observe_free) struct observe *o = calloc(1, sizeof *o);
        int r;

        message[0] = 0;
        if (!o)
                return -ENOMEM;
        r = remote_open(options, patience_ns, &o->remote, o->devices, &o->count, message);
        if (r == 0)
                *ret = take(o);
        return r;
}

struct observe *observe_new_fixed(const struct observe_device *devices, size_t count,
                                  void (*sample)(size_t index, struct observe_sample *sample))
{
        struct observe *o = count <= OBSERVE_MAX_DEVICES ? calloc(1, sizeof *o) : NULL;

        if (o) {
                memcpy(o->devices, devices, count * sizeof *devices);
                o->count = count;
                o->fixed = true;
                o->fixed_sample = sample;
        }
        return o;
}

void observe_free(struct observe *observe)
{
        if (!observe)
                return;
        remote_free(observe->remote);
        nvml_close(observe->nvml);
        free(observe);
}

size_t observe_count(const struct observe *observe)
{
        return observe->count;
}

const struct observe_device *observe_device(const struct observe *observe, size_t index)
{
        return &observe->devices[index];
}

void observe_sample(struct observe *observe, size_t index, struct observe_sample *ret_sample)
{
        const struct observe_device *d = &observe->devices[index];

        memset(ret_sample, 0, offsetof(struct observe_sample, processes));
        if (observe->fixed) {
                ret_sample->total_bytes = d->total_bytes;
                ret_sample->valid = d->total_bytes ? WIRE_VALID_TOTAL : 0;
                if (observe->fixed_sample)
                        observe->fixed_sample(index, ret_sample);
        } else if (index < observe->nvml_count) {
                nvml_sample(observe->nvml, index, ret_sample);
        } else if (d->kind == WIRE_CPU) {
                host_sample_cpu("", &observe->cpu, ret_sample);
        } else {
                host_sample_npu("", host_npu_minor(d), ret_sample);
        }
}

int observe_fd(const struct observe *observe)
{
        return observe->remote ? remote_fd(observe->remote) : -1;
}

bool observe_ask(struct observe *observe, uint64_t now)
{
        if (observe->remote)
                return remote_ask(observe->remote, now);
        observe->asked = true;
        return true;
}

enum observe_news observe_take(struct observe *observe, uint64_t now, struct observe_sample *samples)
{
        if (observe->remote)
                return remote_take(observe->remote, now, samples);
        if (!observe->asked)
                return OBSERVE_NOTHING;
        observe->asked = false;
        for (size_t i = 0; i < observe->count; i++)
                observe_sample(observe, i, &samples[i]);
        return OBSERVE_SAMPLED;
}

const char *observe_why(const struct observe *observe)
{
        return observe->remote ? remote_why(observe->remote) : "";
}

pid_t observe_pid(const struct observe *observe)
{
        return observe->remote ? remote_pid(observe->remote) : 0;
}
