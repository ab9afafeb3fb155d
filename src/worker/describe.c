/* describe.c: reads /proc and /sys, asks the node daemon; see describe.h. */
#include "worker/describe.h"
#include "worker/spec.h"

#include "base/fd.h"
#include "base/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

/* A line "Name:  123 kB" of /proc/meminfo in bytes, 0 when there is none. */
static uint64_t meminfo(const char *name)
{
        char text[4096], *at;
        scoped_fd int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

        if (n <= 0)
                return 0;
        text[n] = 0;
        at = strstr(text, name);
        return at && at[strlen(name)] == ':' ? strtoull(at + strlen(name) + 1, NULL, 10) << 10 : 0;
}

uint64_t describe_memory(void)
{
        return meminfo("MemTotal");
}

/* NPUs of the kernel's accel subsystem. Their memory is not told there in one way for all drivers: unavailable. */
static void add_npus(json_t *devices)
{
        DIR *d = opendir("/sys/class/accel");
        struct dirent *e;

        while (d && (e = readdir(d))) {
                char path[300], driver[256], *slash;
                ssize_t n;

                if (strncmp(e->d_name, "accel", 5) != 0)
                        continue;
                snprintf(path, sizeof path, "/sys/class/accel/%.100s/device/driver", e->d_name);
                n = readlink(path, driver, sizeof driver - 1);
                driver[n > 0 ? n : 0] = 0;
                slash = strrchr(driver, '/');
                json_array_append_new(devices, json_pack("{s:s, s:s}", "kind", "npu", "name", slash ? slash + 1 : e->d_name));
        }
        if (d)
                closedir(d);
}

static int add_label(void *context, const char *part)
{
        const char *equals = strchr(part, '=');
        char name[CONFIG_TEXT];

        snprintf(name, sizeof name, "%.*s", (int)(equals - part), part);
        json_object_set_new(context, name, json_string(equals + 1));
        return 0;
}

static int add_word(void *context, const char *part)
{
        json_array_append_new(context, json_string(part));
        return 0;
}

/* Of each type that it takes, what a payload may hold; of a type it does not know itself nothing is told. */
static json_t *members_of(const json_t *types)
{
        json_t *all = json_object(), *list, *v;
        size_t i;

        for (const struct spec_type *t = spec_types; t->name; t++)
                json_array_foreach (types, i, v) {
                        if (strcmp(json_string_value(v), t->name) != 0)
                                continue;
                        list = json_array();
                        for (const char *const *m = t->members; *m; m++)
                                json_array_append_new(list, json_string(*m));
                        json_object_set_new(all, t->name, list);
                }
        return all;
}

json_t *describe(const struct options *o, const struct confine *c)
{
        json_t *list = json_array(), *devices = json_array(), *labels = json_object(), *models = json_array(), *members, *about;
        uint64_t memory = describe_memory();
        char name[64], path[256];
        struct utsname machine;
        cpu_set_t set;

        if (o->types[0])
                options_each(o->types, add_word, list);
        else
                for (const struct spec_type *t = spec_types; t->name; t++)
                        json_array_append_new(list, json_string(t->name));
        if (sched_getaffinity(0, sizeof set, &set) == 0)
                json_array_append_new(devices, json_pack("{s:s, s:o, s:I}", "kind", "cpu", "name", json_sprintf("%d processors", CPU_COUNT(&set)), "memory_bytes", (json_int_t)memory));
        if (node_link_find(path, sizeof path) == 0 && node_link_devices(path, devices) < 0)
                json_object_set_new(labels, "devices", json_string("unavailable"));
        add_npus(devices);
        if (uname(&machine) == 0)
                json_object_set_new(labels, "arch", json_string(machine.machine));
        json_object_set_new(labels, "os", json_string("linux"));
        json_object_set_new(labels, "confine", json_string(confine_name(c->mode)));
        options_each(o->labels, add_label, labels);
        options_each(o->models, add_word, models);
        text_copy_clean(name, sizeof name, o->name[0] ? o->name : uname(&machine) == 0 ? machine.nodename : "worker");
        members = members_of(list);
        about = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:b, s:s}", "name", name, "types", list, "members", members, "devices", devices, "labels", labels, "models", models, "private",
                          (int)o->private_pool, "version", BERTH_VERSION);
        if (memory)
                json_object_set_new(about, "host_memory_bytes", json_integer((json_int_t)memory));
        return about;
}

json_t *describe_load(uint32_t running)
{
        uint64_t free_bytes = meminfo("MemAvailable");
        json_t *o = json_pack("{s:I}", "running", (json_int_t)running);
        double load;

        if (getloadavg(&load, 1) == 1)
                json_object_set_new(o, "load", json_real(load));
        if (free_bytes)
                json_object_set_new(o, "memory_free_bytes", json_integer((json_int_t)free_bytes));
        return o;
}
