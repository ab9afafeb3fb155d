/* doctor-sensors.c: which figures of the machine and of its devices can be had here, and why others can't; see doctor-checks.h. */
#include "cli/doctor-checks.h"

#include "base/clock.h"
#include "cli/snapshot.h"
#include "cli/watch-start.h"
#include "machine/machine.h"

#include <stdio.h>
#include <string.h>

static void add_word(char *list, size_t size, const char *word)
{
        size_t length = strlen(list);

        snprintf(list + length, size - length, "%s%s", length ? ", " : "", word);
}

static void check_machine(struct check *c)
{
        struct machine *m scoped_free = calloc(1, sizeof *m);
        struct machine_look *l scoped_free = calloc(1, sizeof *l);
        struct machine_device devices[MACHINE_DEVICES];
        char missing[100] = "";
        size_t count;

        c->name = "machine";
        if (!m || !l || machine_open(m, "") < 0) {
                c->finding = FINDING_WARNING;
                snprintf(c->found, sizeof c->found, "unavailable");
                snprintf(c->advice, sizeof c->advice, "/proc can't be read; mount it");
                return;
        }
        machine_look(m, clock_now_ns(), l);
        {
                const struct {
                        const char *name;
                        int error;
                } families[] = {
                        {"processors", l->stat_error},   {"memory", l->memory_error}, {"stalls", l->pressure_error[MACHINE_PRESSURE_MEMORY]},
                        {"network", l->network_error},   {"disks", l->disk_error},    {"load", l->load_error},
                        {"virtual memory", l->vm_error}, {"heat", l->heat_error},
                };

                for (size_t i = 0; i < ARRAY_SIZE(families); i++)
                        if (families[i].error)
                                add_word(missing, sizeof missing, families[i].name);
        }
        count = machine_devices(m, devices, MACHINE_DEVICES);
        machine_close(m);
        c->finding = l->stat_error || l->memory_error ? FINDING_WARNING : FINDING_OK;
        snprintf(c->found, sizeof c->found, "%s%.100s%s; %zu device%s of the kernel's own drivers", missing[0] ? "all but " : "all of them", missing,
                 missing[0] ? "" : "", count, count == 1 ? "" : "s");
}

static size_t check_devices(struct check *c, size_t most)
{
        static const struct {
                uint32_t bit;
                const char *name;
        } sensors[] = {
                {WIRE_VALID_USED, "memory in use"}, {WIRE_VALID_UTILISATION, "use"},   {WIRE_VALID_POWER, "power"},       {WIRE_VALID_TEMPERATURE, "temperature"},
                {WIRE_VALID_CLOCK, "clocks"},       {WIRE_VALID_THROTTLE, "throttling"}, {WIRE_VALID_ECC, "memory errors"}, {WIRE_VALID_XID, "driver errors"},
        };
        scoped_connection struct connection connection = CONNECTION_CLOSED;
        scoped_snapshot struct snapshot s = {0};
        char message[CLI_MESSAGE];
        size_t n = 0;

        if (connection_open(&connection, message) < 0 || snapshot_fetch(&connection, &s, message) < 0)
                return 0;
        for (size_t i = 0; i < s.device_count && n < most; i++) {
                char missing[120] = "";

                if (!snapshot_shared(&s.devices[i]))
                        continue;
                for (size_t k = 0; k < ARRAY_SIZE(sensors); k++)
                        if (!(s.devices[i].valid & sensors[k].bit))
                                add_word(missing, sizeof missing, sensors[k].name);
                c[n].name = "sensors";
                c[n].finding = FINDING_OK;
                snprintf(c[n].found, sizeof c[n].found, "device %u: %s%.120s", s.devices[i].index, missing[0] ? "all but " : "all of them", missing);
                n++;
        }
        return n;
}

static void check_watchdog(struct check *c)
{
        const struct watch_options o = {.wanted = true};
        char message[CLI_MESSAGE];

        c->name = "watchdog";
        if (watch_check(&o, message) == 0) {
                c->finding = FINDING_OK;
                snprintf(c->found, sizeof c->found, "berth-watchdog, for `berth run --watch'");
                return;
        }
        c->finding = FINDING_WARNING;
        snprintf(c->found, sizeof c->found, "not found");
        snprintf(c->advice, sizeof c->advice, "%.300s", message);
}

size_t doctor_sensors(struct check *checks, size_t most)
{
        size_t n = 0;

        if (most < 2)
                return 0;
        memset(checks, 0, most * sizeof *checks);
        check_machine(&checks[n++]);
        check_watchdog(&checks[n++]);
        return n + check_devices(&checks[n], most - n < 4 ? most - n : 4);
}
