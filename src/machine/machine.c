/* machine.c: looks at the whole machine; see machine.h. */
#include "machine/machine.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int machine_open(struct machine *m, const char *root)
{
        m->hertz = (uint64_t)sysconf(_SC_CLK_TCK);
        m->page = (uint64_t)sysconf(_SC_PAGESIZE);
        m->root = open(root[0] ? root : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        return m->root < 0 ? -errno : 0;
}

void machine_close(struct machine *m)
{
        fd_close_at(&m->root);
}

int machine_read(struct machine *m, const char *path)
{
        scoped_fd int fd = openat(m->root, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        size_t length = 0;

        m->text[0] = 0;
        if (fd < 0)
                return -errno;
        while (length + 1 < sizeof m->text) {
                ssize_t n = read(fd, m->text + length, sizeof m->text - 1 - length);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                m->text[length += (size_t)n] = 0;
                if (!n)
                        return (int)length;
        }
        return -EFBIG;
}

const char *machine_missing(int error)
{
        switch (-error) {
        case 0:
                return "";
        case ENOENT:
        case ENODATA:
        case ENODEV:
                return "the kernel does not tell";
        case EOPNOTSUPP:
                return "switched off in the kernel";
        case EACCES:
        case EPERM:
                return "not permitted";
        case EINVAL:
                return "not in the form that is known";
        default:
                return error_text(error);
        }
}

struct disks {
        struct machine *m;
        struct machine_look *look;
};

/* Whole disks of hardware only: partitions, and disks made of others, would be counted twice. */
static void add_disk(void *context, const char *name, const struct machine_disk *disk)
{
        static const char *const made[] = {"loop", "ram", "dm-", "md", "zram", "sr", "fd"};
        struct disks *c = context;
        char path[128];

        for (size_t i = 0; i < ARRAY_SIZE(made); i++)
                if (!strncmp(name, made[i], strlen(made[i])))
                        return;
        if (strchr(name, '/') || name[0] == '.')
                return;
        snprintf(path, sizeof path, "sys/class/block/%s/partition", name);
        if (faccessat(c->m->root, path, F_OK, 0) == 0)
                return;
        c->look->disks++;
        c->look->disk.reads += disk->reads;
        c->look->disk.writes += disk->writes;
        c->look->disk.read_bytes += disk->read_bytes;
        c->look->disk.written_bytes += disk->written_bytes;
        c->look->disk.busy_ms += disk->busy_ms;
}

static int look_disks(struct machine *m, struct machine_look *look)
{
        char *text scoped_free = NULL;
        struct disks context = {m, look};
        int r = machine_read(m, "proc/diskstats");

        if (r < 0)
                return r;
        text = strdup(m->text);
        if (!text)
                return -ENOMEM;
        r = machine_parse_disks(text, add_disk, &context);
        return r < 0 ? r : look->disks ? 0 : -ENODEV;
}

static void close_folder(DIR **d)
{
        if (*d)
                closedir(*d);
}

/* The processor's own sensor, by the names of the drivers that read one. */
static int look_heat(struct machine *m, int64_t *ret)
{
        static const char *const drivers[] = {"coretemp", "k10temp", "zenpower", "cpu_thermal"};
        int fd = openat(m->root, "sys/class/hwmon", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        __attribute__((cleanup(close_folder))) DIR *folder = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;

        if (!folder)
                return -ENOENT;
        for (unsigned int n = 0; n < 256 && (e = readdir(folder)); n++) {
                char path[320];
                long long value;

                if (strncmp(e->d_name, "hwmon", 5) != 0)
                        continue;
                snprintf(path, sizeof path, "sys/class/hwmon/%.64s/name", e->d_name);
                if (machine_read(m, path) <= 0)
                        continue;
                m->text[strcspn(m->text, "\n")] = 0;
                for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
                        if (strcmp(m->text, drivers[i]) != 0)
                                continue;
                        snprintf(path, sizeof path, "sys/class/hwmon/%.64s/temp1_input", e->d_name);
                        if (machine_read(m, path) <= 0 || sscanf(m->text, "%7lld", &value) != 1 || value < -100000 || value > 250000)
                                return -ENODATA;
                        *ret = value;
                        return 0;
                }
        }
        return -ENOENT;
}

void machine_look(struct machine *m, uint64_t now_ns, struct machine_look *ret)
{
        static const char *const pressures[MACHINE_PRESSURE_N] = {"proc/pressure/cpu", "proc/pressure/memory", "proc/pressure/io"};
        int r;

        memset(ret, 0, sizeof *ret);
        ret->taken_ns = now_ns;
        r = machine_read(m, "proc/stat");
        ret->stat_error = r < 0 ? r : machine_parse_stat(m->text, &ret->stat);
        r = machine_read(m, "proc/meminfo");
        ret->memory_error = r < 0 ? r : machine_parse_meminfo(m->text, &ret->memory);
        for (size_t i = 0; i < MACHINE_PRESSURE_N; i++) {
                r = machine_read(m, pressures[i]);
                ret->pressure_error[i] = r < 0 ? r : machine_parse_pressure(m->text, &ret->pressure[i]);
        }
        r = machine_read(m, "proc/net/dev");
        ret->network_error = r < 0 ? r : machine_parse_network(m->text, &ret->network);
        ret->disk_error = look_disks(m, ret);
        r = machine_read(m, "proc/loadavg");
        ret->load_error = r < 0 ? r : machine_parse_load(m->text, &ret->load);
        r = machine_read(m, "proc/vmstat");
        ret->vm_error = r < 0 ? r : machine_parse_vm(m->text, &ret->vm);
        ret->heat_error = look_heat(m, &ret->heat_millicelsius);
}

/* --- rates --- */

double machine_rate(uint64_t now, uint64_t before, uint64_t elapsed_ns)
{
        if (now == MACHINE_UNKNOWN || before == MACHINE_UNKNOWN || now < before || !elapsed_ns)
                return -1;
        return (double)(now - before) * 1e9 / (double)elapsed_ns;
}

/* Parts of the time of a processor. Its own sum is the measure: no clock of ours could agree with it. */
static void cpu_parts(const struct machine_cpu *now, const struct machine_cpu *before, double part[5])
{
        const uint64_t a[] = {now->user, now->system, now->wait, now->stolen, now->idle};
        const uint64_t b[] = {before->user, before->system, before->wait, before->stolen, before->idle};
        double all = 0;

        for (size_t i = 0; i < 5; i++) {
                /* The time of waiting is known to go back at times: then it did not grow. */
                part[i] = a[i] > b[i] ? (double)(a[i] - b[i]) : 0;
                all += part[i];
        }
        for (size_t i = 0; i < 5; i++)
                part[i] = all > 0 ? part[i] * 1000 / all : -1;
}

void machine_rates(const struct machine_look *now, const struct machine_look *before, struct machine_rates *ret)
{
        uint64_t elapsed = before && now->taken_ns > before->taken_ns ? now->taken_ns - before->taken_ns : 0;
        double part[5];

        ret->cpus = 0;
        ret->user = ret->system = ret->wait = ret->stolen = ret->busy = -1;
        ret->switches = ret->interrupts = ret->forks = ret->in_bytes = ret->out_bytes = -1;
        ret->read_bytes = ret->written_bytes = ret->disk_busy = ret->major_faults = -1;
        if (!elapsed)
                return;
        if (!now->stat_error && !before->stat_error) {
                cpu_parts(&now->stat.all, &before->stat.all, part);
                ret->user = part[0];
                ret->system = part[1];
                ret->wait = part[2];
                ret->stolen = part[3];
                ret->busy = part[0] < 0 ? -1 : part[0] + part[1] + part[3];
                ret->cpus = now->stat.cpus == before->stat.cpus ? now->stat.cpus : 0;
                for (uint32_t i = 0; i < ret->cpus; i++) {
                        cpu_parts(&now->stat.cpu[i], &before->stat.cpu[i], part);
                        ret->cpu_busy[i] = part[0] < 0 ? -1 : part[0] + part[1] + part[3];
                }
                ret->switches = machine_rate(now->stat.switches, before->stat.switches, elapsed);
                ret->interrupts = machine_rate(now->stat.interrupts, before->stat.interrupts, elapsed);
                ret->forks = machine_rate(now->stat.forks, before->stat.forks, elapsed);
        }
        if (!now->network_error && !before->network_error) {
                ret->in_bytes = machine_rate(now->network.in_bytes, before->network.in_bytes, elapsed);
                ret->out_bytes = machine_rate(now->network.out_bytes, before->network.out_bytes, elapsed);
        }
        if (!now->disk_error && !before->disk_error && now->disks == before->disks) {
                ret->read_bytes = machine_rate(now->disk.read_bytes, before->disk.read_bytes, elapsed);
                ret->written_bytes = machine_rate(now->disk.written_bytes, before->disk.written_bytes, elapsed);
                ret->disk_busy = machine_rate(now->disk.busy_ms, before->disk.busy_ms, elapsed) / now->disks;
                ret->disk_busy = ret->disk_busy > 1000 ? 1000 : ret->disk_busy;
        }
        if (!now->vm_error && !before->vm_error)
                ret->major_faults = machine_rate(now->vm.major_faults, before->vm.major_faults, elapsed);
}
