/* monitor.c: the type `monitor`: samples of the machine, one JSON line each, for a while. What this kernel does not tell is null, never 0. */
#include "worker/task/data.h"
#include "worker/task/functions.h"

#include "base/clock.h"
#include "base/fd.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static ssize_t read_text(const char *path, char *text, size_t size)
{
        scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

        text[n > 0 ? n : 0] = 0;
        return n;
}

static json_t *memory(const char *text, const char *name)
{
        const char *at = strstr(text, name);

        return at ? json_integer((json_int_t)(strtoull(at + strlen(name), NULL, 10) << 10)) : json_null();
}

/* "some avg10=0.12 …": the share of the last ten seconds in which something waited. */
static json_t *pressure(const char *path)
{
        char text[512], *at;

        if (read_text(path, text, sizeof text) <= 0)
                return json_null();
        at = strstr(text, "avg10=");
        return at ? json_real(strtod(at + 6, NULL)) : json_null();
}

struct ticks {
        unsigned long long busy, all;
};

static bool read_ticks(struct ticks *ret)
{
        unsigned long long v[8] = {0};
        char text[512];

        if (read_text("/proc/stat", text, sizeof text) <= 0 ||
            sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]) < 5)
                return false;
        ret->all = v[0] + v[1] + v[2] + v[3] + v[4] + v[5] + v[6] + v[7];
        ret->busy = ret->all - v[3] - v[4];
        return true;
}

int monitor_run(struct task *t)
{
        int r = 0;
        double seconds = task_number(t, t->payload, "seconds", 0.1, 86400, 10, &r), interval = task_number(t, t->payload, "interval", 0.05, 3600, 1, &r);
        struct record_writer w = {0};
        uint64_t begin = clock_now_ns(), count = (uint64_t)(seconds / interval);
        struct ticks last, now;
        bool valid = read_ticks(&last);
        double busiest = 0, sum = 0;
        uint64_t measured = 0;

        count = count ? count : 1;
        r = r < 0 ? r : data_writer(t, "samples.jsonl", &w);
        for (uint64_t i = 1; r >= 0 && i <= count; i++) {
                uint64_t end = begin + (uint64_t)(interval * (double)i * 1e9), at = clock_now_ns();
                json_t *o = json_object(), *busy = json_null();
                char text[4096];
                struct timespec wall;

                while (at < end) {
                        poll(NULL, 0, (int)((end - at) / NS_PER_MS) + 1);
                        at = clock_now_ns();
                }
                clock_gettime(CLOCK_REALTIME, &wall);
                json_object_set_new(o, "time_ms", json_integer((json_int_t)wall.tv_sec * 1000 + wall.tv_nsec / 1000000));
                if (valid && read_ticks(&now) && now.all > last.all) {
                        double share = (double)(now.busy - last.busy) / (double)(now.all - last.all);

                        busy = json_real(share);
                        busiest = share > busiest ? share : busiest;
                        sum += share;
                        measured++;
                        last = now;
                }
                json_object_set_new(o, "cpu_share", busy);
                (void)read_text("/proc/meminfo", text, sizeof text);
                json_object_set_new(o, "memory_bytes", memory(text, "MemTotal:"));
                json_object_set_new(o, "memory_available_bytes", memory(text, "MemAvailable:"));
                json_object_set_new(o, "swap_free_bytes", memory(text, "SwapFree:"));
                json_object_set_new(o, "load", read_text("/proc/loadavg", text, sizeof text) > 0 ? json_real(strtod(text, NULL)) : json_null());
                json_object_set_new(o, "pressure_cpu", pressure("/proc/pressure/cpu"));
                json_object_set_new(o, "pressure_memory", pressure("/proc/pressure/memory"));
                json_object_set_new(o, "pressure_io", pressure("/proc/pressure/io"));
                r = record_write(&w, o);
                json_decref(o);
                task_progress(t, (double)i / (double)count, (int64_t)i, (int64_t)count, NULL);
        }
        json_object_set_new(t->report, "samples", json_integer((json_int_t)w.records));
        json_object_set_new(t->report, "cpu_share_mean", measured ? json_real(sum / (double)measured) : json_null());
        json_object_set_new(t->report, "cpu_share_max", measured ? json_real(busiest) : json_null());
        {
                int n = record_finish(&w);

                return r < 0 ? r : n;
        }
}
