/* processes.c: NVML's lists of processes: only the program's own, with the memory that Berth counts for each.
 *
 * The real list is fetched whole, into memory of our own, since it may be longer than what the caller has room for. Own processes that the
 * driver does not tell of, as in containers, are added to the list of compute processes.
 */
#include "nvml/processes.h"

#include "nvml/answer.h"
#include "nvml/own.h"

#include <errno.h>
#include <string.h>

enum { FIRST_SIZE = 64, MOST = 65536, TRIES = 4 };

static const struct processes_layout info_v1 = {sizeof(nvmlProcessInfo_v1_t), offsetof(nvmlProcessInfo_v1_t, pid),
                                                offsetof(nvmlProcessInfo_v1_t, usedGpuMemory), 0};
static const struct processes_layout info_v2 = {sizeof(nvmlProcessInfo_v2_t), offsetof(nvmlProcessInfo_v2_t, pid),
                                                offsetof(nvmlProcessInfo_v2_t, usedGpuMemory), offsetof(nvmlProcessInfo_v2_t, gpuInstanceId)};
static const struct processes_layout detail_v1 = {sizeof(nvmlProcessDetail_v1_t), offsetof(nvmlProcessDetail_v1_t, pid),
                                                  offsetof(nvmlProcessDetail_v1_t, usedGpuMemory),
                                                  offsetof(nvmlProcessDetail_v1_t, gpuInstanceId)};
static const struct processes_layout sample_v1 = {sizeof(nvmlProcessUtilizationSample_t), offsetof(nvmlProcessUtilizationSample_t, pid), 0, 0};
static const struct processes_layout utilization_v1 = {sizeof(nvmlProcessUtilizationInfo_v1_t), offsetof(nvmlProcessUtilizationInfo_v1_t, pid), 0,
                                                       0};

static const struct processes_layout pid_only = {sizeof(unsigned int), 0, 0, 0};

static unsigned int pid_of(const struct processes_layout *l, const char *entry)
{
        unsigned int pid;

        memcpy(&pid, entry + l->pid, sizeof pid);
        return pid;
}

static void put_used(const struct processes_layout *l, char *entry, uint64_t bytes)
{
        unsigned long long used = bytes;

        memcpy(entry + l->used, &used, sizeof used);
}

unsigned int processes_filter(const struct processes_layout *l, void *entries, unsigned int n, const struct ask_view *view)
{
        unsigned int kept = 0;

        for (unsigned int i = 0; i < n; i++) {
                char *from = (char *)entries + i * l->bytes, *to = (char *)entries + kept * l->bytes;
                unsigned int pid = pid_of(l, from);
                const struct ask_client *c = ask_client_of(view, pid);

                if (!c && !own_process((pid_t)pid))
                        continue;
                memmove(to, from, l->bytes);
                if (c && l->used)
                        put_used(l, to, c->bytes);
                kept++;
        }
        return kept;
}

unsigned int processes_complete(const struct processes_layout *l, void *entries, unsigned int n, const struct ask_view *view)
{
        for (unsigned int i = 0, had = n; i < view->clients_n; i++) {
                unsigned int pid = (unsigned int)view->clients[i].pid, at = 0;
                char *to = (char *)entries + n * l->bytes;

                while (at < had && pid_of(l, (char *)entries + at * l->bytes) != pid)
                        at++;
                if (at < had)
                        continue;
                memset(to, 0, l->bytes);
                memcpy(to + l->pid, &pid, sizeof pid);
                put_used(l, to, view->clients[i].bytes);
                if (l->instances)
                        memset(to + l->instances, 0xff, 2 * sizeof(unsigned int));
                n++;
        }
        return n;
}

/* One real call with room for n entries, which tells how many there are. */
struct source {
        nvmlReturn_t (*fetch)(const struct source *source, void *entries, unsigned int *n);
        nvmlDevice_t device;
        const void *extra;
        const struct processes_layout *layout;
        bool compute; /* own processes that are missing are added */
};

/* The whole real list in *ret, with room for spare entries more. */
static nvmlReturn_t fetch_all(const struct source *s, unsigned int spare, char **ret, unsigned int *ret_n)
{
        unsigned int size = FIRST_SIZE;

        for (int i = 0; i < TRIES; i++) {
                unsigned int n = size;
                char *entries = calloc(size + spare, s->layout->bytes);
                nvmlReturn_t r;

                if (!entries)
                        return NVML_ERROR_MEMORY;
                r = s->fetch(s, entries, &n);
                if (r == NVML_SUCCESS && n <= size) {
                        *ret = entries;
                        *ret_n = n;
                        return r;
                }
                free(entries);
                if (r != NVML_ERROR_INSUFFICIENT_SIZE || n > MOST - FIRST_SIZE)
                        return r == NVML_SUCCESS ? NVML_ERROR_UNKNOWN : r;
                size = (n > size ? n : size * 2) + FIRST_SIZE;
                size = size < MOST ? size : MOST;
        }
        return NVML_ERROR_INSUFFICIENT_SIZE;
}

/* As the real call would, had the device no processes but ours: count is the room on entry and the number on return. -EAGAIN: the real answer
 * stands. Otherwise the code is in *ret. */
static int answer(const struct source *s, unsigned int *count, void *entries, nvmlReturn_t *ret)
{
        char *all scoped_free = NULL;
        struct ask_view view = {0};
        unsigned int n = 0, room;
        int r;

        if (real_inside || !count)
                return -EAGAIN;
        r = answer_view(s->device, &view);
        /* Which processes are of this run is known without the daemon, only what they own is not. */
        if (r < 0 && r != -ENODEV && !secure_getenv("BERTH_RUN"))
                return -EAGAIN;
        *ret = fetch_all(s, view.clients_n, &all, &n);
        if (*ret != NVML_SUCCESS)
                return *ret == NVML_ERROR_MEMORY ? -EAGAIN : 0;
        n = processes_filter(s->layout, all, n, r == 0 ? &view : NULL);
        if (s->compute && r == 0)
                n = processes_complete(s->layout, all, n, &view);
        room = *count;
        *count = n;
        if (n > room || (n && !entries))
                *ret = NVML_ERROR_INSUFFICIENT_SIZE;
        else if (n)
                memcpy(entries, all, n * s->layout->bytes);
        return 0;
}

typedef nvmlReturn_t (*list_fn)(nvmlDevice_t device, unsigned int *count, void *infos);

static nvmlReturn_t fetch_list(const struct source *s, void *entries, unsigned int *n)
{
        return REAL((*(const list_fn *)s->extra)(s->device, n, entries));
}

#define LIST(symbol, which, is_compute)                                                                                                \
        nvmlReturn_t hook_##symbol(nvmlDevice_t device, unsigned int *count, void *infos)                                              \
        {                                                                                                                              \
                const struct source s = {                                                                                              \
                        .fetch = fetch_list, .device = device, .extra = &real.symbol, .layout = &which, .compute = is_compute};         \
                nvmlReturn_t r;                                                                                                        \
                                                                                                                                       \
                return answer(&s, count, infos, &r) == 0 ? r : real.symbol(device, count, infos);                                      \
        }

LIST(nvmlDeviceGetComputeRunningProcesses, info_v1, true)
LIST(nvmlDeviceGetComputeRunningProcesses_v2, info_v2, true)
LIST(nvmlDeviceGetComputeRunningProcesses_v3, info_v2, true)
LIST(nvmlDeviceGetGraphicsRunningProcesses, info_v1, false)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, info_v2, false)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, info_v2, false)
LIST(nvmlDeviceGetMPSComputeRunningProcesses, info_v1, false)
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v2, info_v2, false)
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v3, info_v2, false)

static nvmlReturn_t fetch_pids(const struct source *s, void *entries, unsigned int *n)
{
        return REAL(real.nvmlDeviceGetAccountingPids(s->device, n, entries));
}

nvmlReturn_t hook_nvmlDeviceGetAccountingPids(nvmlDevice_t device, unsigned int *count, unsigned int *pids)
{
        const struct source s = {.fetch = fetch_pids, .device = device, .layout = &pid_only};
        nvmlReturn_t r;

        return answer(&s, count, pids, &r) == 0 ? r : real.nvmlDeviceGetAccountingPids(device, count, pids);
}

static nvmlReturn_t fetch_details(const struct source *s, void *entries, unsigned int *n)
{
        nvmlProcessDetailList_v1_t list = *(const nvmlProcessDetailList_v1_t *)s->extra;
        nvmlReturn_t r;

        list.numProcArrayEntries = *n;
        list.procArray = entries;
        r = REAL(real.nvmlDeviceGetRunningProcessDetailList(s->device, &list));
        *n = list.numProcArrayEntries;
        return r;
}

nvmlReturn_t hook_nvmlDeviceGetRunningProcessDetailList(nvmlDevice_t device, nvmlProcessDetailList_v1_t *list)
{
        const struct source s = {.fetch = fetch_details,
                                 .device = device,
                                 .extra = list,
                                 .layout = &detail_v1,
                                 .compute = list && list->mode == NVML_PROCESS_MODE_COMPUTE};
        nvmlReturn_t r;

        if (list && list->version == nvmlProcessDetailList_v1 && answer(&s, &list->numProcArrayEntries, list->procArray, &r) == 0)
                return r;
        return real.nvmlDeviceGetRunningProcessDetailList(device, list);
}

/* No samples is an error of its own, with the driver as well. */
static nvmlReturn_t none_is_an_error(nvmlReturn_t r, unsigned int n)
{
        return r == NVML_SUCCESS && !n ? NVML_ERROR_NOT_FOUND : r;
}

static nvmlReturn_t fetch_samples(const struct source *s, void *entries, unsigned int *n)
{
        return REAL(real.nvmlDeviceGetProcessUtilization(s->device, entries, n, *(const unsigned long long *)s->extra));
}

nvmlReturn_t hook_nvmlDeviceGetProcessUtilization(nvmlDevice_t device, nvmlProcessUtilizationSample_t *samples, unsigned int *count,
                                                  unsigned long long since)
{
        const struct source s = {.fetch = fetch_samples, .device = device, .extra = &since, .layout = &sample_v1};
        nvmlReturn_t r;

        if (answer(&s, count, samples, &r) == 0)
                return none_is_an_error(r, *count);
        return real.nvmlDeviceGetProcessUtilization(device, samples, count, since);
}

static nvmlReturn_t fetch_utilization(const struct source *s, void *entries, unsigned int *n)
{
        nvmlProcessesUtilizationInfo_v1_t info = *(const nvmlProcessesUtilizationInfo_v1_t *)s->extra;
        nvmlReturn_t r;

        info.processSamplesCount = *n;
        info.procUtilArray = entries;
        r = REAL(real.nvmlDeviceGetProcessesUtilizationInfo(s->device, &info));
        *n = info.processSamplesCount;
        return r;
}

nvmlReturn_t hook_nvmlDeviceGetProcessesUtilizationInfo(nvmlDevice_t device, nvmlProcessesUtilizationInfo_v1_t *info)
{
        const struct source s = {.fetch = fetch_utilization, .device = device, .extra = info, .layout = &utilization_v1};
        nvmlReturn_t r;

        if (info && info->version == nvmlProcessesUtilizationInfo_v1 && answer(&s, &info->processSamplesCount, info->procUtilArray, &r) == 0)
                return none_is_an_error(r, info->processSamplesCount);
        return real.nvmlDeviceGetProcessesUtilizationInfo(device, info);
}
