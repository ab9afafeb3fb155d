/* host.c: NPUs (class accel) and the CPU; see host.h. Reads small kernel files only; what a driver does not tell stays invalid. */
#include "observe/host.h"

#include "base/text.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void close_folder(DIR **d)
{
        if (*d)
                closedir(*d);
}

/* A small file's text, without the final newline. */
static bool read_text(const char *path, char *text, size_t size)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n;

        if (fd < 0)
                return false;
        n = read(fd, text, size - 1);
        close(fd);
        if (n <= 0)
                return false;
        text[n] = 0;
        if (text[n - 1] == '\n')
                text[n - 1] = 0;
        return true;
}

size_t host_list_npus(const char *root, struct observe_device *devices, size_t max)
{
        char path[512], text[128];
        size_t count = 0;

        snprintf(path, sizeof path, "%s/sys/class/accel", root);
        __attribute__((cleanup(close_folder))) DIR *folder = opendir(path);
        for (struct dirent *e; folder && count < max && (e = readdir(folder));) {
                struct observe_device *d = &devices[count];
                unsigned int minor;
                int end = 0;

                if (sscanf(e->d_name, "accel%u%n", &minor, &end) != 1 || e->d_name[end])
                        continue;
                memset(d, 0, sizeof *d);
                d->kind = WIRE_NPU;
                memcpy(d->uuid, "NPU", 3);
                memcpy(d->uuid + 4, &minor, sizeof minor);
                snprintf(path, sizeof path, "%s/sys/class/accel/accel%u/device/uevent", root, minor);
                snprintf(d->name, sizeof d->name, "accel%u", minor);
                if (read_text(path, text, sizeof text) && !strncmp(text, "DRIVER=", 7)) {
                        text[strcspn(text, "\n")] = 0;
                        snprintf(d->name, sizeof d->name, "accel%u (%.64s)", minor, text + 7);
                        text_copy_clean(text, sizeof text, d->name);
                        snprintf(d->name, sizeof d->name, "%.100s", text);
                }
                count++;
        }
        return count;
}

unsigned int host_npu_minor(const struct observe_device *device)
{
        unsigned int minor;

        memcpy(&minor, device->uuid + 4, sizeof minor);
        return minor;
}

void host_sample_npu(const char *root, unsigned int minor, struct observe_sample *ret_sample)
{
        char path[512], text[64];
        uint64_t value;

        /* Intel's NPU driver tells its memory use; others tell nothing so far. */
        snprintf(path, sizeof path, "%s/sys/class/accel/accel%u/device/npu_memory_utilization", root, minor);
        if (read_text(path, text, sizeof text) && text_parse_u64(text, 0, UINT64_MAX, &value) == 0) {
                ret_sample->used_bytes = value;
                ret_sample->valid |= WIRE_VALID_USED;
        }
}

static bool meminfo(const char *root, const char *name, uint64_t *ret_bytes)
{
        char path[512], text[4096], *at;
        uint64_t kib;

        snprintf(path, sizeof path, "%s/proc/meminfo", root);
        if (!read_text(path, text, sizeof text))
                return false;
        at = strstr(text, name);
        if (!at || sscanf(at + strlen(name), ": %" SCNu64, &kib) != 1)
                return false;
        *ret_bytes = kib * 1024;
        return true;
}

void host_cpu(const char *root, struct observe_device *ret_device)
{
        char path[512], text[4096], *at;

        memset(ret_device, 0, sizeof *ret_device);
        ret_device->kind = WIRE_CPU;
        memcpy(ret_device->uuid, "CPU", 3);
        snprintf(ret_device->name, sizeof ret_device->name, "CPU");
        snprintf(path, sizeof path, "%s/proc/cpuinfo", root);
        if (read_text(path, text, sizeof text) && (at = strstr(text, "model name")) && (at = strchr(at, ':'))) {
                at[1 + strcspn(at + 1, "\n")] = 0;
                text_copy_clean(ret_device->name, sizeof ret_device->name, at + 1 + strspn(at + 1, " "));
        }
        (void)meminfo(root, "MemTotal", &ret_device->total_bytes);
}

void host_sample_cpu(const char *root, struct host_cpu_state *state, struct observe_sample *ret_sample)
{
        uint64_t user, nice, system, idle, iowait, irq, softirq, steal, busy, all, available, total;
        char path[512], text[512];

        if (meminfo(root, "MemTotal", &total)) {
                ret_sample->total_bytes = total;
                ret_sample->valid |= WIRE_VALID_TOTAL;
                if (meminfo(root, "MemAvailable", &available) && available <= total) {
                        ret_sample->used_bytes = total - available;
                        ret_sample->valid |= WIRE_VALID_USED;
                }
        }
        snprintf(path, sizeof path, "%s/proc/stat", root);
        if (!read_text(path, text, sizeof text) ||
            sscanf(text, "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &user,
                   &nice, &system, &idle, &iowait, &irq, &softirq, &steal) != 8)
                return;
        busy = user + nice + system + irq + softirq + steal;
        all = busy + idle + iowait;
        if (state->all && all > state->all && busy >= state->busy && busy - state->busy <= all - state->all) {
                ret_sample->utilisation_permille = (uint32_t)((busy - state->busy) * 1000 / (all - state->all));
                ret_sample->valid |= WIRE_VALID_UTILISATION;
        }
        state->busy = busy;
        state->all = all;
}
