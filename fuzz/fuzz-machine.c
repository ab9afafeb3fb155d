/* fuzz-machine.c: any text to every parser of /proc and /sys; the first byte says which. What is refused is not written, names are clean. */
#include "base/text.h"
#include "machine/parse.h"

#include "fuzz.h"

#include <string.h>

static void on_disk(void *context, const char *name, const struct machine_disk *disk)
{
        (void)disk;
        ++*(size_t *)context;
        promise(name[0] && strlen(name) < 64, "a name");
}

static void expected(int r)
{
        promise(r == 0 || r == -EINVAL || r == -ENODATA, "%d", r);
}

static void clean(const char *text, size_t size)
{
        promise(text_is_clean(text, size), "not clean");
}

static void processes(unsigned int which, const char *text)
{
        struct machine_process_status status;
        struct machine_process_stat stat;
        struct machine_process_io io;
        struct machine_drm drm;

        if (which == 7) {
                int r = machine_parse_process(text, &stat);

                expected(r);
                if (r == 0) {
                        clean(stat.name, sizeof stat.name);
                        promise(stat.pid > 0 && stat.nice >= -20 && stat.nice <= 19, "%d", stat.nice);
                }
        } else if (which == 8) {
                expected(machine_parse_process_io(text, &io));
        } else if (which == 9) {
                expected(machine_parse_process_status(text, &status));
        } else if (machine_parse_drm(text, &drm) == 0) {
                promise(drm.engines <= MACHINE_ENGINES && drm.regions <= MACHINE_REGIONS, "%u", drm.engines);
                clean(drm.driver, sizeof drm.driver);
                clean(drm.device, sizeof drm.device);
                for (uint32_t i = 0; i < drm.engines; i++) {
                        clean(drm.engine[i].name, sizeof drm.engine[i].name);
                        promise(drm.engine[i].capacity > 0, "a divisor");
                }
                for (uint32_t i = 0; i < drm.regions; i++)
                        clean(drm.region[i].name, sizeof drm.region[i].name);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static struct machine_stat stat;
        struct machine_pressure pressure;
        struct machine_network network;
        struct machine_memory memory;
        struct machine_load load;
        struct machine_vm vm;
        size_t disks = 0;
        char *text;

        if (!size)
                return 0;
        text = malloc(size);
        promise(text != NULL, "memory");
        memcpy(text, data + 1, size - 1);
        text[size - 1] = 0;
        switch (data[0] % 11) {
        case 0:
                expected(machine_parse_stat(text, &stat));
                promise(stat.cpus <= MACHINE_CPUS, "%u", stat.cpus);
                break;
        case 1:
                expected(machine_parse_meminfo(text, &memory));
                break;
        case 2:
                expected(machine_parse_pressure(text, &pressure));
                break;
        case 3:
                expected(machine_parse_network(text, &network));
                break;
        case 4:
                expected(machine_parse_disks(text, on_disk, &disks));
                break;
        case 5:
                expected(machine_parse_load(text, &load));
                break;
        case 6:
                expected(machine_parse_vm(text, &vm));
                break;
        default:
                processes(data[0] % 11, text);
                break;
        }
        free(text);
        return 0;
}
