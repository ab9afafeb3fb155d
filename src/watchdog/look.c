/* look.c: see look.h. */
#include "watchdog/look.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "wire/settings.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define PATIENCE_MS 2000
#define AGAIN_NS (5 * NS_PER_S)
#define THREADS_TOLD 64
#define PROCESSES_TOLD 64

int look_open(struct look *l, pid_t pid, const char *socket, const struct watchdog_page *page)
{
        memset(l, 0, sizeof *l);
        l->pid = pid;
        l->daemon = -1;
        l->page = page;
        if (socket && strlen(socket) >= sizeof l->socket)
                return -ENAMETOOLONG;
        snprintf(l->socket, sizeof l->socket, "%s", socket ? socket : "");
        return machine_open(&l->machine, "");
}

void look_close(struct look *l)
{
        fd_close_at(&l->daemon);
        machine_close(&l->machine);
}

/* --- its processes --- */

static void close_folder(DIR **d)
{
        if (*d)
                closedir(*d);
}

static void add_children(struct look *l, pid_t pid)
{
        char path[96];
        struct dirent *e;
        int fd;

        snprintf(path, sizeof path, "proc/%d/task", pid);
        fd = openat(l->machine.root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        __attribute__((cleanup(close_folder))) DIR *folder = fd < 0 ? NULL : fdopendir(fd);
        while (folder && (e = readdir(folder))) {
                if (e->d_name[0] == '.')
                        continue;
                snprintf(path, sizeof path, "proc/%d/task/%.16s/children", pid, e->d_name);
                if (machine_read(&l->machine, path) <= 0)
                        continue;
                for (char *at = l->machine.text, *end; *at; at = end) {
                        long child = strtol(at, &end, 10);

                        if (end == at)
                                break;
                        if (child > 0 && l->process_count < LOOK_PROCESSES)
                                l->processes[l->process_count++] = (pid_t)child;
                        end += strspn(end, " \n");
                }
        }
}

static bool is_mine(const struct look *l, uint32_t pid)
{
        for (uint32_t i = 0; i < l->process_count; i++)
                if ((uint32_t)l->processes[i] == pid)
                        return true;
        return false;
}

static void add(uint64_t *sum, uint64_t value)
{
        if (value != MACHINE_UNKNOWN && __builtin_add_overflow(*sum == JUDGE_UNKNOWN ? 0 : *sum, value, sum))
                *sum = JUDGE_UNKNOWN;
}

/* utime, stime and those of children that were waited for. */
static bool ticks_of(const char *text, uint64_t *ret)
{
        const char *close = strrchr(text, ')');
        unsigned long long t[4];

        if (!close || sscanf(close + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3]) != 4)
                return false;
        *ret = t[0] + t[1] + t[2] + t[3];
        return true;
}

static void look_at_process(struct look *l, pid_t pid, struct judge_look *ret, bool *all_stopped)
{
        struct machine_process_stat stat;
        struct machine_process_status status;
        struct machine_process_io io;
        char path[64];
        uint64_t ticks;

        snprintf(path, sizeof path, "proc/%d/stat", pid);
        if (machine_read(&l->machine, path) <= 0 || machine_parse_process(l->machine.text, &stat) < 0)
                return;
        *all_stopped &= stat.state == 'T' || stat.state == 't' || stat.state == 'Z';
        if (ticks_of(l->machine.text, &ticks))
                add(&ret->cpu_ns, ticks * (NS_PER_S / l->machine.hertz));
        snprintf(path, sizeof path, "proc/%d/io", pid);
        if (machine_read(&l->machine, path) > 0 && machine_parse_process_io(l->machine.text, &io) == 0) {
                add(&ret->bytes, io.read_characters);
                add(&ret->bytes, io.written_characters);
        }
        snprintf(path, sizeof path, "proc/%d/status", pid);
        if (machine_read(&l->machine, path) > 0 && machine_parse_process_status(l->machine.text, &status) == 0) {
                add(&ret->host_bytes, status.anonymous);
                add(&ret->host_bytes, status.shared);
                add(&ret->host_bytes, status.swapped);
        }
}

/* The control group's own bound, if it has one and it is less than the machine; and whether the kernel had to kill in it. */
static void look_at_group(struct look *l, struct judge_look *ret)
{
        char path[512], group[256], *at;
        uint64_t most;

        snprintf(path, sizeof path, "proc/%d/cgroup", l->pid);
        if (machine_read(&l->machine, path) <= 0)
                return;
        at = strncmp(l->machine.text, "0::", 3) == 0 ? l->machine.text : strstr(l->machine.text, "\n0::");
        if (!at)
                return;
        at = strchr(at, '/');
        if (!at || strcspn(at, "\n") >= sizeof group || strstr(at, "/.."))
                return;
        snprintf(group, sizeof group, "%.*s", (int)strcspn(at, "\n"), at);
        snprintf(path, sizeof path, "sys/fs/cgroup%s/memory.max", group);
        if (machine_read(&l->machine, path) > 0) {
                l->machine.text[strcspn(l->machine.text, "\n")] = 0;
                if (text_parse_u64(l->machine.text, 1, UINT64_MAX - 1, &most) == 0 && (!ret->host_limit || most < ret->host_limit))
                        ret->host_limit = most;
        }
        snprintf(path, sizeof path, "sys/fs/cgroup%s/memory.events", group);
        if (machine_read(&l->machine, path) > 0 && (at = strstr(l->machine.text, "oom_kill ")) && sscanf(at, "oom_kill %" SCNu64, &most) == 1)
                ret->oom_kills = most;
}

static void look_at_machine(struct look *l, struct judge_look *ret)
{
        struct machine_pressure pressure;
        struct machine_memory memory;

        if (machine_read(&l->machine, "proc/meminfo") > 0 && machine_parse_meminfo(l->machine.text, &memory) == 0)
                ret->host_limit = memory.total;
        if (machine_read(&l->machine, "proc/pressure/memory") > 0 && machine_parse_pressure(l->machine.text, &pressure) == 0)
                ret->pressure_permille = pressure.some_permille;
}

/* --- the daemon --- */

static int say(struct look *l, struct wire_message *m, enum wire_type type)
{
        return fd_send(l->daemon, m, wire_seal(m, type, l->version, ++l->sequence), -1, 0);
}

static int hear(struct look *l, struct wire_message *m, uint64_t deadline)
{
        const char *what;
        int extra = -1;
        ssize_t bytes;

        if (fd_wait(l->daemon, POLLIN, deadline) < 0)
                return -ETIMEDOUT;
        bytes = fd_receive(l->daemon, m, sizeof *m, MSG_DONTWAIT, &extra);
        fd_close_at(&extra);
        if (bytes <= 0 || (size_t)bytes > sizeof *m || wire_check(m, (size_t)bytes, TO_CLIENT, l->version, &what) < 0)
                return -E_MESSAGE;
        return 0;
}

static int reach(struct look *l)
{
        struct wire_message m = {.HELLO = {.role = WIRE_CONTROL, .version_min = WIRE_VERSION_MIN, .version_max = WIRE_VERSION_MAX, .priority = WIRE_NORMAL,
                                           .pid = (uint32_t)getpid(), .name = "berth-watchdog"}};
        char path[128];
        int r = -E_UNAVAILABLE;

        if (l->socket[0]) {
                l->daemon = fd_connect_within(l->socket, 0, PATIENCE_MS);
        } else {
                for (unsigned int i = 0; l->daemon < 0 && settings_socket_candidate(i, path, sizeof path) == 0; i++)
                        l->daemon = fd_connect_within(path, 0, PATIENCE_MS);
        }
        if (l->daemon < 0)
                return -E_UNAVAILABLE;
        l->version = WIRE_VERSION_MAX;
        l->sequence = 0;
        if (say(l, &m, WIRE_HELLO) == 0 && hear(l, &m, clock_now_ns() + PATIENCE_MS * NS_PER_MS) == 0 && m.header.type == WIRE_WELCOME &&
            m.WELCOME.version >= WIRE_VERSION_MIN && m.WELCOME.version <= WIRE_VERSION_MAX) {
                l->version = (uint16_t)m.WELCOME.version;
                r = 0;
        }
        if (r < 0)
                fd_close_at(&l->daemon);
        return r;
}

static int ask(struct look *l)
{
        uint64_t deadline = clock_now_ns() + PATIENCE_MS * NS_PER_MS;
        struct wire_message m = {0};
        int r = say(l, &m, WIRE_STATUS_ASK);

        l->program_count = 0;
        memset(l->device_room, 0, sizeof l->device_room);
        while (r == 0) {
                r = hear(l, &m, deadline);
                if (r < 0 || m.header.type == WIRE_STATUS_END)
                        return r;
                if (m.header.type == WIRE_ERROR)
                        return -E_MESSAGE;
                if (m.header.type == WIRE_STATUS_DEVICE && m.STATUS_DEVICE.index < WIRE_MAX_DEVICES)
                        l->device_room[m.STATUS_DEVICE.index] = m.STATUS_DEVICE.room_bytes;
                if (m.header.type == WIRE_STATUS_CLIENT && is_mine(l, m.STATUS_CLIENT.pid) && l->program_count < LOOK_PROGRAMS)
                        l->programs[l->program_count++] = m.STATUS_CLIENT;
        }
        return r;
}

static void look_at_daemon(struct look *l, uint64_t now_ns, struct judge_look *ret)
{
        uint64_t nearest = 0;

        l->programs_known = false;
        if (l->daemon < 0 && (now_ns < l->again_ns || reach(l) < 0)) {
                l->again_ns = now_ns < l->again_ns ? l->again_ns : now_ns + AGAIN_NS;
                return;
        }
        if (ask(l) < 0) {
                fd_close_at(&l->daemon);
                l->again_ns = now_ns + AGAIN_NS;
                l->program_count = 0;
                return;
        }
        l->programs_known = true;
        for (uint32_t i = 0; i < l->program_count; i++) {
                const struct wire_STATUS_CLIENT *c = &l->programs[i];
                uint64_t room = c->device < WIRE_MAX_DEVICES ? l->device_room[c->device] : 0;
                uint64_t limit = c->limit_bytes ? c->limit_bytes : room, owned = 0;

                add(&ret->device, c->launches);
                add(&ret->device, c->copies);
                (void)__builtin_add_overflow(c->movable_bytes, c->pinned_bytes, &owned);
                /* Whichever is nearest to its limit is what is compared. */
                if (limit && (ret->device_bytes == JUDGE_UNKNOWN || owned * 1000 / limit >= nearest)) {
                        nearest = owned * 1000 / limit;
                        ret->device_bytes = owned;
                        ret->device_limit = limit;
                }
                /* Its turn will come, or its memory moves. One that ought to give way and does not has nothing to wait for. */
                ret->waits |= !c->stuck && (c->position > 0 || c->state == WIRE_COMING_IN || c->state == WIRE_GIVING_WAY || c->state == WIRE_GOING_OUT);
        }
}

void look_at(struct look *l, uint64_t now_ns, struct judge_look *ret)
{
        bool all_stopped = true;
        uint64_t work;

        *ret = (struct judge_look){.now_ns = now_ns,
                                   .work = JUDGE_UNKNOWN,
                                   .device = JUDGE_UNKNOWN,
                                   .bytes = JUDGE_UNKNOWN,
                                   .cpu_ns = JUDGE_UNKNOWN,
                                   .device_bytes = JUDGE_UNKNOWN,
                                   .host_bytes = JUDGE_UNKNOWN,
                                   .pressure_permille = -1,
                                   .oom_kills = JUDGE_UNKNOWN};
        l->process_count = 0;
        l->processes[l->process_count++] = l->pid;
        for (uint32_t i = 0; i < l->process_count; i++)
                add_children(l, l->processes[i]);
        for (uint32_t i = 0; i < l->process_count; i++)
                look_at_process(l, l->processes[i], ret, &all_stopped);
        look_at_machine(l, ret);
        look_at_group(l, ret);
        look_at_daemon(l, now_ns, ret);
        ret->waits |= all_stopped;
        work = l->page && l->page->magic == WATCHDOG_PAGE_MAGIC ? atomic_load_explicit(&l->page->work, memory_order_relaxed) : 0;
        if (work)
                ret->work = work;
}

/* --- words --- */

static void tell_file(struct look *l, struct strbuf *b, const char *title, const char *path)
{
        if (machine_read(&l->machine, path) <= 0)
                return;
        strbuf_add(b, "%s", title);
        for (char *line = l->machine.text, *end; *line; line = end) {
                char clean[200];

                end = line + strcspn(line, "\n");
                if (*end)
                        *end++ = 0;
                text_copy_clean(clean, sizeof clean, line);
                strbuf_add(b, "      %s\n", clean);
        }
}

static void tell_threads(struct look *l, pid_t pid, struct strbuf *b)
{
        char path[96], word[64];
        struct dirent *e;
        unsigned int told = 0;
        int fd;

        snprintf(path, sizeof path, "proc/%d/task", pid);
        fd = openat(l->machine.root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        __attribute__((cleanup(close_folder))) DIR *folder = fd < 0 ? NULL : fdopendir(fd);
        while (folder && (e = readdir(folder)) && told < THREADS_TOLD) {
                struct machine_process_stat stat;

                if (e->d_name[0] == '.')
                        continue;
                told++;
                snprintf(path, sizeof path, "proc/%d/task/%.16s/stat", pid, e->d_name);
                if (machine_read(&l->machine, path) <= 0 || machine_parse_process(l->machine.text, &stat) < 0)
                        continue;
                strbuf_add(b, "    thread %.16s %s: state %c", e->d_name, stat.name, stat.state);
                snprintf(path, sizeof path, "proc/%d/task/%.16s/wchan", pid, e->d_name);
                if (machine_read(&l->machine, path) > 0 && strcmp(l->machine.text, "0") != 0) {
                        text_copy_clean(word, sizeof word, l->machine.text);
                        strbuf_add(b, ", sleeps in %s", word);
                }
                snprintf(path, sizeof path, "proc/%d/task/%.16s/syscall", pid, e->d_name);
                if (machine_read(&l->machine, path) > 0) {
                        l->machine.text[strcspn(l->machine.text, " \n")] = 0;
                        text_copy_clean(word, sizeof word, l->machine.text);
                        strbuf_add(b, ", system call %s", word);
                }
                strbuf_add(b, "\n");
                snprintf(path, sizeof path, "proc/%d/task/%.16s/stack", pid, e->d_name);
                tell_file(l, b, "", path);
        }
}

static void tell_process(struct look *l, pid_t pid, struct strbuf *b)
{
        struct machine_process_status status;
        struct machine_process_stat stat;
        char path[64], command[200], a[16], c[16];

        snprintf(path, sizeof path, "proc/%d/stat", pid);
        if (machine_read(&l->machine, path) <= 0 || machine_parse_process(l->machine.text, &stat) < 0)
                return;
        machine_command(&l->machine, pid, command, sizeof command);
        strbuf_add(b, "  process %d %s: %s\n", pid, stat.name, command[0] ? command : "(command unavailable)");
        snprintf(path, sizeof path, "proc/%d/status", pid);
        strbuf_add(b, "    state %c, parent %d, %u threads", stat.state, stat.parent, stat.threads);
        if (machine_read(&l->machine, path) > 0 && machine_parse_process_status(l->machine.text, &status) == 0)
                strbuf_add(b, ", resident %s, swapped %s", status.resident == MACHINE_UNKNOWN ? "unavailable" : text_bytes(status.resident, a, sizeof a),
                           status.swapped == MACHINE_UNKNOWN ? "unavailable" : text_bytes(status.swapped, c, sizeof c));
        strbuf_add(b, "\n");
        tell_threads(l, pid, b);
}

void look_tell(struct look *l, struct strbuf *b)
{
        strbuf_add(b, "processes\n");
        for (uint32_t i = 0; i < l->process_count && i < PROCESSES_TOLD; i++)
                tell_process(l, l->processes[i], b);
        if (l->process_count > PROCESSES_TOLD)
                strbuf_add(b, "  and %u more\n", l->process_count - PROCESSES_TOLD);
        strbuf_add(b, "programs on devices%s\n", l->programs_known ? "" : ": the daemon does not answer; as of the last look");
        for (uint32_t i = 0; i < l->program_count; i++) {
                const struct wire_STATUS_CLIENT *c = &l->programs[i];
                char a[16], d[16], e[16];

                strbuf_add(b, "  pid %u %s on device %u: %s%s; %s of %s on the device, peak %s\n", c->pid, c->name, c->device, wire_state_name(c->state),
                           c->stuck ? ", stuck" : "", text_bytes(c->resident_bytes, a, sizeof a), text_bytes(c->movable_bytes, d, sizeof d),
                           text_bytes(c->peak_bytes, e, sizeof e));
                strbuf_add(b, "    launches %" PRIu64 ", copies %" PRIu64 ", stood at the gate %" PRIu64 " times, waited %s", c->launches, c->copies, c->waits,
                           text_duration(c->waited_ns, a, sizeof a));
                if (c->position)
                        strbuf_add(b, "; %u. in the queue (%s) for %s", c->position, wire_reason_name(c->reason), text_duration(c->wait_ns, d, sizeof d));
                strbuf_add(b, "\n");
        }
}
