/* probe.c: the type `probe`: takes time, makes progress, uses memory and fails as it is told. For tests, demonstrations, and to see whether a worker works. */
#include "worker/task/functions.h"

#include "base/clock.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

int probe_run(struct task *t)
{
        int r = 0;
        double seconds = task_number(t, t->payload, "seconds", 0, 1e6, 0, &r), steps = task_number(t, t->payload, "steps", 1, 1e6, 1, &r);
        double mib = task_number(t, t->payload, "memory_mib", 0, 1 << 20, 0, &r);
        const char *fail = task_string(t, t->payload, "fail", "", &r), *print = task_string(t, t->payload, "print", "", &r);
        uint64_t begin = clock_now_ns();
        char *memory scoped_free = NULL;

        if (r < 0)
                return r;
        if (mib > 0) {
                memory = malloc((size_t)mib << 20);
                if (!memory)
                        return task_fail(t, -ENOMEM, "no memory for %.0f MiB", mib);
                memset(memory, 1, (size_t)mib << 20);
        }
        for (int64_t i = 1; i <= (int64_t)steps; i++) {
                uint64_t end = begin + (uint64_t)(seconds / steps * (double)i * 1e9), now = clock_now_ns();

                while (now < end) {
                        poll(NULL, 0, (int)((end - now) / NS_PER_MS) + 1);
                        now = clock_now_ns();
                }
                if (print[0])
                        printf("%s %lld\n", print, (long long)i);
                fflush(stdout);
                task_progress(t, (double)i / steps, i, (int64_t)steps, NULL);
        }
        if (!strcmp(fail, "temporary"))
                return task_fail(t, -EAGAIN, "told to fail for now");
        if (!strcmp(fail, "crash"))
                abort();
        if (fail[0])
                return task_fail(t, -EINVAL, "told to fail: %.200s", fail);
        json_object_set_new(t->report, "seconds", json_real((double)(clock_now_ns() - begin) / 1e9));
        json_object_set_new(t->report, "steps", json_integer((json_int_t)steps));
        if (json_object_get(t->payload, "echo"))
                json_object_set(t->report, "echo", json_object_get(t->payload, "echo"));
        return 0;
}
