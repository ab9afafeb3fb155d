/* device.c: GPUs of the DRM subsystem and NPUs of the accel one, by /sys; see machine.h.
 *
 * amdgpu tells load and memory in the device's folder, power, heat and fan through hwmon; i915 and xe tell frequency, and energy through hwmon, their
 * load only by the descriptors of processes; intel_vpu tells its busy time, memory and frequency.
 */
#include "machine/machine.h"

#include "base/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void close_folder(DIR **d)
{
        if (*d)
                closedir(*d);
}
#define scoped_folder __attribute__((cleanup(close_folder)))

static DIR *open_folder(int root, const char *path)
{
        int fd = openat(root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 ? NULL : fdopendir(fd);
}

/* A file with one number. */
static uint64_t number(struct machine *m, const char *folder, const char *name)
{
        char path[320];
        uint64_t value;

        snprintf(path, sizeof path, "%.200s/%.100s", folder, name);
        if (machine_read(m, path) <= 0)
                return MACHINE_UNKNOWN;
        m->text[strcspn(m->text, "\n")] = 0;
        return text_parse_u64(m->text, 0, UINT64_MAX - 1, &value) == 0 ? value : MACHINE_UNKNOWN;
}

static uint64_t first(struct machine *m, const char *folder, const char *const *names, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                uint64_t value = number(m, folder, names[i]);

                if (value != MACHINE_UNKNOWN)
                        return value;
        }
        return MACHINE_UNKNOWN;
}

static void read_uevent(struct machine *m, const char *folder, struct machine_device *d)
{
        char path[320];

        snprintf(path, sizeof path, "%.200s/uevent", folder);
        if (machine_read(m, path) <= 0)
                return;
        for (char *line = m->text, *end; line && *line; line = end) {
                end = strchr(line, '\n');
                if (end)
                        *end++ = 0;
                if (!strncmp(line, "DRIVER=", 7))
                        text_copy_clean(d->driver, sizeof d->driver, line + 7);
                else if (!strncmp(line, "PCI_SLOT_NAME=", 14))
                        text_copy_clean(d->bus, sizeof d->bus, line + 14);
        }
}

static void read_hwmon(struct machine *m, const char *folder, struct machine_device *d)
{
        static const char *const power[] = {"power1_average", "power1_input"};
        char path[320];
        struct dirent *e;

        snprintf(path, sizeof path, "%.200s/hwmon", folder);
        scoped_folder DIR *list = open_folder(m->root, path);
        for (unsigned int n = 0; list && n < 64 && (e = readdir(list)); n++) {
                if (strncmp(e->d_name, "hwmon", 5) != 0)
                        continue;
                snprintf(path, sizeof path, "%.200s/hwmon/%.32s", folder, e->d_name);
                d->power_uw = first(m, path, power, ARRAY_SIZE(power));
                d->energy_uj = number(m, path, "energy1_input");
                d->heat_millicelsius = number(m, path, "temp1_input");
                d->fan_rpm = number(m, path, "fan1_input");
                if (d->frequency_mhz == MACHINE_UNKNOWN) {
                        uint64_t hertz = number(m, path, "freq1_input");

                        d->frequency_mhz = hertz == MACHINE_UNKNOWN ? MACHINE_UNKNOWN : hertz / 1000000;
                }
                return;
        }
}

static void fresh(struct machine_device *d, enum machine_device_kind kind, uint32_t number_of)
{
        memset(d, 0, sizeof *d);
        d->kind = kind;
        d->number = number_of;
        d->busy_permille = d->busy_us = d->total_bytes = d->used_bytes = d->power_uw = d->energy_uj = d->frequency_mhz = d->frequency_most_mhz =
                d->heat_millicelsius = d->fan_rpm = MACHINE_UNKNOWN;
}

static void read_gpu(struct machine *m, struct machine_device *d)
{
        static const char *const act[] = {"gt/gt0/rps_act_freq_mhz", "gt_act_freq_mhz", "device/tile0/gt0/freq0/act_freq"};
        static const char *const most[] = {"gt/gt0/rps_max_freq_mhz", "gt_max_freq_mhz", "device/tile0/gt0/freq0/max_freq"};
        char card[64], folder[80];
        uint64_t busy;

        snprintf(card, sizeof card, "sys/class/drm/card%u", d->number);
        snprintf(folder, sizeof folder, "%s/device", card);
        read_uevent(m, folder, d);
        busy = number(m, folder, "gpu_busy_percent");
        d->busy_permille = busy <= 100 ? busy * 10 : MACHINE_UNKNOWN;
        d->total_bytes = number(m, folder, "mem_info_vram_total");
        d->used_bytes = number(m, folder, "mem_info_vram_used");
        d->frequency_mhz = first(m, card, act, ARRAY_SIZE(act));
        d->frequency_most_mhz = first(m, card, most, ARRAY_SIZE(most));
        read_hwmon(m, folder, d);
        snprintf(d->name, sizeof d->name, "card%u%s%.24s", d->number, d->driver[0] ? " " : "", d->driver);
}

static void read_npu(struct machine *m, struct machine_device *d)
{
        char folder[64];

        snprintf(folder, sizeof folder, "sys/class/accel/accel%u/device", d->number);
        read_uevent(m, folder, d);
        d->busy_us = number(m, folder, "npu_busy_time_us");
        d->used_bytes = number(m, folder, "npu_memory_utilization");
        d->frequency_mhz = number(m, folder, "npu_current_frequency_mhz");
        d->frequency_most_mhz = number(m, folder, "npu_max_frequency_mhz");
        read_hwmon(m, folder, d);
        snprintf(d->name, sizeof d->name, "accel%u%s%.24s", d->number, d->driver[0] ? " " : "", d->driver);
}

static int by_kind_and_number(const void *a, const void *b)
{
        const struct machine_device *x = a, *y = b;

        if (x->kind != y->kind)
                return x->kind < y->kind ? -1 : 1;
        return (x->number > y->number) - (x->number < y->number);
}

/* "card0", and none of its connectors "card0-DP-1". */
static bool numbered(const char *name, const char *prefix, uint32_t *ret)
{
        uint64_t value;

        if (strncmp(name, prefix, strlen(prefix)) != 0 || text_parse_u64(name + strlen(prefix), 0, 4095, &value) < 0)
                return false;
        *ret = (uint32_t)value;
        return true;
}

size_t machine_devices(struct machine *m, struct machine_device *devices, size_t max)
{
        static const struct {
                const char *folder, *prefix;
                enum machine_device_kind kind;
        } classes[] = {{"sys/class/drm", "card", MACHINE_GPU}, {"sys/class/accel", "accel", MACHINE_NPU}};
        size_t count = 0;

        for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
                scoped_folder DIR *folder = open_folder(m->root, classes[i].folder);
                struct dirent *e;
                uint32_t n;

                while (folder && count < max && (e = readdir(folder)))
                        if (numbered(e->d_name, classes[i].prefix, &n))
                                fresh(&devices[count++], classes[i].kind, n);
        }
        if (count)
                qsort(devices, count, sizeof *devices, by_kind_and_number);
        for (size_t i = 0; i < count; i++) {
                if (devices[i].kind == MACHINE_GPU)
                        read_gpu(m, &devices[i]);
                else
                        read_npu(m, &devices[i]);
        }
        return count;
}
