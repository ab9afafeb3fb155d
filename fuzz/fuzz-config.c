/* fuzz-config.c: any bytes as a file of settings. Refused with one clean line and nothing changed, or accepted within every bound and
 * readable back. */
#include "base/fd.h"
#include "wire/settings.h"

#include "fuzz.h"

#include <string.h>
#include <sys/mman.h>

static void check_values(const struct settings *s)
{
        for (size_t i = 0; i < settings_table.count; i++) {
                const struct config_entry *e = &settings_table.entries[i];
                char text[300], again[300], message[CONFIG_MESSAGE];
                struct settings back = *s;
                uint64_t value;

                config_format(e, s, text, sizeof text);
                promise(config_set(&settings_table, &back, e->section, e->name, text, message) == 0, "%s = %s: %s", e->name, text, message);
                config_format(e, &back, again, sizeof again);
                promise(!strcmp(text, again), "%s: %s became %s", e->name, text, again);
                if (e->type == CONFIG_NUMBER || e->type == CONFIG_BYTES || e->type == CONFIG_DURATION) {
                        memcpy(&value, (const char *)s + e->offset, sizeof value);
                        promise(value >= e->min && (!e->max || value <= e->max), "%s = %s", e->name, text);
                }
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct settings loaded, before;
        char path[64], message[CONFIG_MESSAGE];
        scoped_fd int fd = memfd_create("settings", MFD_CLOEXEC);
        int r;

        promise(fd >= 0, "memfd");
        promise(write(fd, data, size) == (ssize_t)size, "write");
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        config_defaults(&settings_table, &loaded);
        loaded.reserve_percent = 77; /* not a default: a load that fails must leave it */
        before = loaded;
        memset(message, 'x', sizeof message);
        r = settings_load(path, true, &loaded, message);
        if (r == 0) {
                check_values(&loaded);
                promise(settings_check(&loaded, message) == 0, "%s", message);
                return 0;
        }
        promise(r < 0 && memchr(message, 0, sizeof message) && message[0], "%d without a word", r);
        for (const char *c = message; *c; c++)
                promise((unsigned char)*c >= ' ' && *c != 0x7f, "message holds character %d", *c);
        promise(!memcmp(&loaded, &before, sizeof loaded), "changed by a file that was refused: %s", message);
        return 0;
}
