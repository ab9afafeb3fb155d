/* top-world.c: see top-world.h. */
#include "cli/top-world.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "cli/history-client.h"
#include "cli/probes-client.h"
#include "wire/series.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#define SERIES_MOST 256

void top_sources_open(struct top_sources *s, unsigned int timeout_ms)
{
        struct timespec t;

        memset(s, 0, sizeof *s);
        s->connection = (struct connection)CONNECTION_CLOSED;
        s->connection.timeout_ms = timeout_ms;
        s->machine.root = -1;
        s->readable = machine_open(&s->machine, "") == 0;
        s->status.uid = UINT32_MAX;
        clock_gettime(CLOCK_REALTIME, &t);
        s->clock_offset = (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec - clock_now_ns();
        if (history_set_new(history_usual, HISTORY_USUAL_LEVELS, SERIES_MOST, &s->history) < 0)
                s->history = NULL;
}

void top_sources_close(struct top_sources *s)
{
        connection_close(&s->connection);
        snapshot_done(&s->now);
        snapshot_done(&s->before);
        machine_processes_done(&s->processes);
        machine_processes_done(&s->processes_before);
        history_set_free(s->history);
        probes_unmap_at(&s->probes);
        machine_close(&s->machine);
}

/* What the daemon kept of the time before we came; without it plots begin empty. */
static void fetch_history(struct top_sources *s)
{
        scoped(history_set_free) struct history_set *set = NULL;
        char why[CLI_MESSAGE];
        int r;

        if (!s->history || history_set_count(s->history) || history_set_new(history_usual, HISTORY_USUAL_LEVELS, SERIES_MOST, &set) < 0)
                return;
        r = history_fetch(&s->connection, clock_now_ns() + s->clock_offset, set, why);
        if (r == 0) {
                history_set_free(s->history);
                s->history = take(set);
        } else if (r != -E_UNAVAILABLE) {
                connection_close(&s->connection);
        }
}

static int look_daemon(struct top_sources *s)
{
        struct snapshot fresh;
        bool came = s->connection.fd < 0;
        int r = 0;

        if (came)
                r = connection_open(&s->connection, s->message);
        if (r >= 0 && came)
                fetch_history(s);
        if (r >= 0 && s->connection.fd < 0)
                r = connection_open(&s->connection, s->message);
        if (r >= 0)
                r = snapshot_fetch(&s->connection, &fresh, s->message);
        if (r < 0) {
                connection_close(&s->connection);
                /* Another daemon counts from zero: no rates across the gap. */
                snapshot_done(&s->before);
                return r;
        }
        snapshot_done(&s->before);
        s->before = s->now;
        s->now = fresh;
        if (s->known && s->before.daemon.pid != s->now.daemon.pid)
                snapshot_done(&s->before);
        s->known = true;
        return 0;
}

static void look_machine(struct top_sources *s)
{
        struct machine_processes fresh;

        s->looks[1] = s->looks[0];
        machine_look(&s->machine, clock_now_ns(), &s->looks[0]);
        machine_rates(&s->looks[0], s->turns ? &s->looks[1] : NULL, &s->rates);
        memcpy(s->devices_before, s->devices, sizeof s->devices);
        s->device_count_before = s->device_count;
        s->device_count = machine_devices(&s->machine, s->devices, MACHINE_DEVICES);
        if (machine_processes(&s->machine, clock_now_ns(), s->device_count > 0, &fresh) == 0) {
                machine_processes_done(&s->processes_before);
                s->processes_before = s->processes;
                s->processes = fresh;
        }
        s->turns++;
}

/* The question keeps the daemon's probes at work. What was counted before stays no longer than the daemon tells it. */
static void look_probes(struct top_sources *s)
{
        const struct probes_snapshot *fresh = NULL;
        int r;

        s->probes_start = false;
        if (s->connection.fd < 0) {
                snprintf(s->probes_why, sizeof s->probes_why, "the daemon does not answer");
                probes_unmap_at(&s->probes);
                s->probes = NULL;
                return;
        }
        r = probes_fetch_families(&s->connection, s->ask_families, &fresh, s->probes_why);
        s->probes_start = r == -EAGAIN;
        /* A refusal leaves the connection as it was; all else ends it. */
        if (r < 0 && r != -E_UNAVAILABLE && r != -EPERM && r != -EAGAIN)
                connection_close(&s->connection);
        probes_unmap_at(&s->probes);
        s->probes = r == 0 ? fresh : NULL;
}

static void look_detail(struct top_sources *s, const struct top_target *target)
{
        char path[64];

        s->command[0] = 0;
        s->status = (struct machine_process_status){.uid = UINT32_MAX};
        if (s->readable) {
                machine_command(&s->machine, (pid_t)target->pid, s->command, sizeof s->command);
                snprintf(path, sizeof path, "proc/%u/status", target->pid);
                if (machine_read(&s->machine, path) > 0 && machine_parse_process_status(s->machine.text, &s->status) < 0)
                        s->status.uid = UINT32_MAX;
        }
}

static void keep(struct top_sources *s, bool fresh)
{
        uint64_t now = clock_now_ns() + s->clock_offset;

        if (!s->history)
                return;
        if (s->readable)
                machine_series(s->history, now, &s->looks[0], &s->rates);
        for (size_t i = 0; fresh && i < s->now.device_count; i++) {
                const struct wire_STATUS_DEVICE *d = &s->now.devices[i];

                series_device(s->history, now, d, snapshot_device(s->before.taken_ns ? &s->before : NULL, d->index),
                              s->before.taken_ns ? s->now.taken_ns - s->before.taken_ns : 0);
        }
}

/* How the process that is looked at goes: from when somebody began to look. */
static void follow(struct top_sources *s, const struct top_target *target)
{
        static const char *const names[] = {TOP_TARGET_CPU, TOP_TARGET_MEMORY, TOP_TARGET_LAUNCHES, TOP_TARGET_FILES};
        const struct probes_process *probed = NULL;
        const struct machine_process *m = NULL;
        double values[ARRAY_SIZE(names)] = {-1, -1, -1, -1};

        if (s->followed.pid != target->pid || s->followed.start_ticks != target->start_ticks)
                for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                        history_set_forget(s->history, names[i]);
        s->followed = *target;
        for (size_t i = 0; i < s->processes.count && !m; i++)
                if ((uint32_t)s->processes.list[i].stat.pid == target->pid && s->processes.list[i].stat.start_ticks == target->start_ticks)
                        m = &s->processes.list[i];
        if (m) {
                const struct machine_process *old = s->processes_before.taken_ns ? machine_process_find(&s->processes_before, m) : NULL;

                values[0] = old ? machine_rate(m->stat.ticks, old->stat.ticks, s->processes.taken_ns - s->processes_before.taken_ns) * 1000 / (double)s->machine.hertz : -1;
                values[1] = (double)(m->stat.resident_pages * s->machine.page);
        }
        for (uint32_t i = 0; s->probes && i < s->probes->processes; i++)
                if (probes_processes(s->probes)[i].pid == target->pid && probes_processes(s->probes)[i].alive)
                        probed = &probes_processes(s->probes)[i];
        if (s->probes && s->probes->window_ns) {
                double seconds = (double)s->probes->window_ns / 1e9;

                if (s->probes->families[PROBES_GPU].state == PROBES_ATTACHED)
                        values[2] = probed ? (double)(probed->gpu_now.launches + probed->gpu_now.graphs) / seconds : 0;
                if (s->probes->families[PROBES_FILES].state == PROBES_ATTACHED)
                        values[3] = probed ? (double)(probed->now.read_bytes + probed->now.write_bytes) / seconds : 0;
        }
        /* Of programs of Berth the interposer knows every launch, for less. */
        for (size_t i = 0, first = 1; s->known && s->before.taken_ns && i < s->now.client_count; i++) {
                const struct wire_STATUS_CLIENT *c = &s->now.clients[i], *old = c->pid == target->pid ? snapshot_client(&s->before, c) : NULL;

                if (!old || c->launches < old->launches || s->now.taken_ns <= s->before.taken_ns)
                        continue;
                values[2] = (first ? 0 : values[2]) + (double)(c->launches - old->launches) * 1e9 / (double)(s->now.taken_ns - s->before.taken_ns);
                first = 0;
        }
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                (void)history_set_put(s->history, names[i], clock_now_ns() + s->clock_offset, values[i] < 0 ? __builtin_nan("") : values[i]);
}

int top_look(struct top_sources *s, const struct top_target *detail)
{
        int r = look_daemon(s);

        if (s->readable)
                look_machine(s);
        if (detail && detail->pid)
                look_detail(s, detail);
        if (s->ask_probes || (detail && detail->pid))
                look_probes(s);
        keep(s, r >= 0);
        if (s->history && detail && detail->pid)
                follow(s, detail);
        s->world = (struct top_world){
                .now = s->known ? &s->now : NULL,
                .before = s->before.taken_ns ? &s->before : NULL,
                .look = s->readable ? &s->looks[0] : NULL,
                .rates = s->readable ? &s->rates : NULL,
                .processes = s->processes.taken_ns ? &s->processes : NULL,
                .processes_before = s->processes_before.taken_ns ? &s->processes_before : NULL,
                .devices = s->devices,
                .devices_before = s->device_count == s->device_count_before ? s->devices_before : NULL,
                .device_count = s->device_count,
                .hertz = s->machine.hertz,
                .page = s->machine.page,
                .history = s->history,
                .history_ns = clock_now_ns() + s->clock_offset,
                .probes = s->probes,
                .probes_why = s->probes ? NULL : s->probes_why,
                .command = s->command,
                .status = s->status,
        };
        return r;
}

void top_wait_probes(struct top_sources *s, uint64_t patience_ns)
{
        uint64_t deadline = clock_now_ns() + patience_ns;

        while (s->probes_start && clock_now_ns() < deadline) {
                const struct timespec pause = {.tv_nsec = 100 * NS_PER_MS};

                (void)nanosleep(&pause, NULL);
                look_probes(s);
        }
        s->world.probes = s->probes;
        s->world.probes_why = s->probes ? NULL : s->probes_why;
}

/* --- what is done to processes --- */

/* Holds the process by descriptor, then looks whether it is the right one: so nothing can come in between. */
static int hold(struct top_sources *s, const struct top_target *target, int *ret_fd)
{
        struct machine_process_stat stat;
        scoped_fd int fd = -1;
        char path[64];
        int r;

        if (!s->readable || target->start_ticks == MACHINE_UNKNOWN)
                return -E_UNAVAILABLE;
        fd = (int)syscall(SYS_pidfd_open, (pid_t)target->pid, 0);
        if (fd < 0)
                return -errno;
        snprintf(path, sizeof path, "proc/%u/stat", target->pid);
        r = machine_read(&s->machine, path);
        if (r >= 0)
                r = machine_parse_process(s->machine.text, &stat);
        if (r < 0 || stat.start_ticks != target->start_ticks)
                return -ESRCH;
        *ret_fd = take_fd(fd);
        return 0;
}

void top_signal(struct top_sources *s, const struct top_target *target, int number, char text[96])
{
        scoped_fd int fd = -1;
        int r = hold(s, target, &fd);

        if (r >= 0 && syscall(SYS_pidfd_send_signal, fd, number, NULL, 0) < 0)
                r = -errno;
        if (r < 0)
                snprintf(text, 96, "%u %.20s got no SIG%s: %.40s", target->pid, target->name, top_signal_name(number), error_text(r));
        else
                snprintf(text, 96, "SIG%s sent to %u %.40s", top_signal_name(number), target->pid, target->name);
}

void top_renice(struct top_sources *s, const struct top_target *target, int nice, char text[96])
{
        scoped_fd int fd = -1;
        int r = hold(s, target, &fd);

        if (r >= 0 && setpriority(PRIO_PROCESS, target->pid, nice) < 0)
                r = -errno;
        if (r < 0)
                snprintf(text, 96, "%u %.20s is as nice as before: %.40s", target->pid, target->name, error_text(r));
        else
                snprintf(text, 96, "%u %.40s is nice %d now", target->pid, target->name, nice);
}
