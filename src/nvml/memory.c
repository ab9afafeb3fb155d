/* memory.c: NVML's memory figures: the device as if the program were alone on it, within its limit; see answer.h.
 *
 * As cuMemGetInfo: the total is the limit, used is what all processes of the program own, resident or not, and what others use is not seen. The
 * program's contexts count beside the limit. Without a limit, what no program may have shows as reserved.
 */
#include "nvml/answer.h"

#include <errno.h>
#include <string.h>

static uint64_t minus(uint64_t a, uint64_t b)
{
        return a > b ? a - b : 0;
}

struct answer_memory answer_memory(const struct ask_view *v)
{
        struct answer_memory m = {.total = v->limit && v->limit < v->total ? v->limit : v->total};

        m.used = v->used < m.total ? v->used : m.total;
        m.free = v->limit || !v->room ? m.total - m.used : minus(v->room < m.total ? v->room : m.total, m.used);
        m.reserved = m.total - m.used - m.free;
        return m;
}

static int digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "GPU-" and 32 digits with dashes among them. */
static bool parse_uuid(const char *text, uint8_t uuid[16])
{
        unsigned int digits = 0;

        if (strncmp(text, "GPU-", 4))
                return false;
        for (const char *p = text + 4; *p; p++) {
                int d = digit(*p);

                if (*p == '-')
                        continue;
                if (d < 0 || digits == 32)
                        return false;
                uuid[digits / 2] = (uint8_t)(digits % 2 ? uuid[digits / 2] | d : d << 4);
                digits++;
        }
        return digits == 32;
}

int answer_view(nvmlDevice_t device, struct ask_view *ret)
{
        char text[NVML_DEVICE_UUID_V2_BUFFER_SIZE];
        uint8_t uuid[16];

        if (REAL(real.nvmlDeviceGetUUID(device, text, sizeof text)) != NVML_SUCCESS)
                return -EINVAL;
        text[sizeof text - 1] = 0;
        return parse_uuid(text, uuid) ? ask_view(uuid, ret) : -EINVAL;
}

nvmlReturn_t hook_nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
        struct ask_view view;
        struct answer_memory m;
        nvmlReturn_t r;

        if (real_inside)
                return real.nvmlDeviceGetMemoryInfo(device, memory);
        r = REAL(real.nvmlDeviceGetMemoryInfo(device, memory));
        if (r != NVML_SUCCESS || answer_view(device, &view) < 0)
                return r;
        view.total = memory->total; /* the driver's own figure, to the byte */
        m = answer_memory(&view);
        /* In this first form used is all that is not free, with the driver as well. */
        *memory = (nvmlMemory_t){.total = m.total, .free = m.free, .used = m.used + m.reserved};
        return r;
}

nvmlReturn_t hook_nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory)
{
        struct ask_view view;
        struct answer_memory m;
        nvmlReturn_t r;

        if (real_inside)
                return real.nvmlDeviceGetMemoryInfo_v2(device, memory);
        r = REAL(real.nvmlDeviceGetMemoryInfo_v2(device, memory));
        /* The driver refuses layouts it does not know; one that it knows and we don't is its to answer. */
        if (r != NVML_SUCCESS || memory->version != nvmlMemory_v2 || answer_view(device, &view) < 0)
                return r;
        view.total = memory->total;
        m = answer_memory(&view);
        memory->total = m.total;
        memory->reserved = m.reserved;
        memory->free = m.free;
        memory->used = m.used;
        return r;
}
