/* test-full.c: more processes than the kernel's maps have room for, thousands a second, known to the call: what was counted and what is told as full add up to what was done, while nobody
 * reads and while somebody reads all the time; no row has what its process did not do; and once the rows were read there is room again.
 *
 * Needs the kernel: what it refuses is told and tried no further. The crowd is of a user of its own, who alone is counted.
 */
#include "bpf/file.h"
#include "bpf/gpu.h"
#include "bpf/runqueue.h"
#include "bpf/syscalls.h"

#include "base/clock.h"
#include "base/fd.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define UID 54324
#define CROWDS 2
#define ENTRIES 256 /* the fewest rows of files that can be had */

/* --- crowds: processes that each make many others, of which one lives at a time --- */

enum kind { OPENS, CALLS, DRIVER };

#define CALLS_OF_ONE 4  /* getppid, and the exit */
#define DRIVER_OF_ONE 5 /* of five kinds */

struct crowd {
        enum kind kind;
        long number;
        int go[2];
};

static char file[] = "/tmp/berth-full-XXXXXX";
static int (*driver[DRIVER_OF_ONE])(uint64_t, uint64_t, uint64_t);

static int one(void *data)
{
        const struct crowd *c = data;
        char byte;
        int fd;

        switch (c->kind) {
        case OPENS:
                fd = open(file, O_RDONLY);
                if (fd < 0 || read(fd, &byte, 1) != 1 || close(fd) < 0)
                        syscall(SYS_exit, 1);
                break;
        case CALLS:
                for (int i = 0; i < CALLS_OF_ONE - 1; i++)
                        syscall(SYS_getppid);
                break;
        case DRIVER:
                for (int i = 0; i < DRIVER_OF_ONE; i++)
                        (void)driver[i](0, 0, 0);
                break;
        }
        return 0; /* by the call that ends a thread: one */
}

/* Two calls for each of them, one to read and one to end. */
static _Noreturn void crowd(struct crowd *c)
{
        static char stack[256 * 1024] __attribute__((aligned(16)));
        int status = 0;
        char byte;

        if (read(c->go[0], &byte, 1) != 1)
                syscall(SYS_exit_group, 1);
        for (long i = 0; i < c->number && !status; i++) {
                /* In our memory, and we wait: the cheapest process there is. */
                pid_t pid = clone(one, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, c);

                if (pid < 0 || waitpid(pid, &status, 0) != pid)
                        status = -1;
        }
        syscall(SYS_exit_group, status != 0);
        __builtin_unreachable();
}

/* Of that user from its first call on: its parent becomes that user, makes it a child of this process, and ends. Waits to be told, inside of a call that is under way. */
static pid_t crowd_new(struct crowd *c, pid_t *ret_parent)
{
        volatile pid_t *number = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        char path[64], text[256] = "";
        pid_t parent, pid;
        int status;

        assert_true(number != MAP_FAILED && pipe2(c->go, O_CLOEXEC) == 0);
        parent = fork();
        if (parent == 0) {
                if (syscall(SYS_setresuid, UID, UID, UID) < 0)
                        _exit(1);
                pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
                if (pid == 0)
                        crowd(c);
                *number = pid;
                _exit(pid < 0);
        }
        assert_int_equal(waitpid(parent, &status, 0), parent);
        assert_int_equal(status, 0);
        *ret_parent = parent;
        pid = *number;
        munmap((void *)(uintptr_t)number, 4096);
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        /* The first thing that it sleeps in is that call. */
        while (!strstr(text, ") S ")) {
                scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
                ssize_t n = read(fd, text, sizeof text - 1);

                assert_true(fd >= 0 && n >= 0);
                text[n] = 0;
        }
        return pid;
}


static pid_t pids[CROWDS], makers[CROWDS], parents[CROWDS]; /* pids: 0 once it has ended; parents: what they did is left out */
static struct crowd crowds[CROWDS];

static void crowds_new(enum kind kind, long number)
{
        for (size_t i = 0; i < CROWDS; i++) {
                crowds[i] = (struct crowd){.kind = kind, .number = number};
                pids[i] = makers[i] = crowd_new(&crowds[i], &parents[i]);
        }
}

static void crowds_go(void)
{
        for (size_t i = 0; i < CROWDS; i++) {
                assert_int_equal(write(crowds[i].go[1], "x", 1), 1);
                close(crowds[i].go[0]);
                close(crowds[i].go[1]);
        }
}

/* Whether all have ended; wait: until they have. */
static bool crowds_ended(bool wait)
{
        bool all = true;

        for (size_t i = 0; i < CROWDS; i++) {
                int status = 0;
                pid_t pid = pids[i] ? waitpid(pids[i], &status, wait ? 0 : WNOHANG) : 0;

                assert_int_equal(status, 0);
                if (pid)
                        pids[i] = 0;
                all = all && !pids[i];
        }
        return all;
}

/* What was read: rows, and calls of all of them. */
struct seen {
        uint64_t rows, calls, most; /* most: of one row */
};

static void see(struct seen *s, uint64_t calls)
{
        s->rows++;
        s->calls += calls;
        s->most = calls > s->most ? calls : s->most;
}

/* A crowd of so many, read when it has ended. */
static void once(enum kind kind, long number, void (*read)(void *family, struct seen *seen), void *family, struct seen *seen)
{
        crowds_new(kind, number);
        crowds_go();
        (void)crowds_ended(true);
        read(family, seen);
}

/* And another one, a fifth as large, that is read all the while. */
#define BOTH(of_one) ((of_one) + (of_one) / 5)
static void both(enum kind kind, long number, void (*read)(void *family, struct seen *seen), void *family, struct seen seen[2])
{
        once(kind, number, read, family, &seen[0]);
        crowds_new(kind, number / 5);
        crowds_go();
        while (!crowds_ended(false))
                read(family, &seen[1]);
        read(family, &seen[1]);
}

/* --- files --- */

static void each_file(void *data, const struct file_key *key, const struct file_counts *c, const struct file_user *user)
{
        assert_int_equal(user->uid, UID);
        assert_true(c->opens <= 1 && c->reads <= 1 && c->closes <= 1 && c->writes == 0 && c->read_bytes == c->reads && key->pid);
        see(data, (uint64_t)c->opens + c->reads + c->closes);
}

static void read_files(void *files, struct seen *seen)
{
        assert_int_equal(files_read(files, each_file, seen), 0);
}

static bool attached(const struct probes_family *f)
{
        if (f->state != PROBES_ATTACHED && f->state != PROBES_NOTHING_YET)
                print_message("not here: %s\n", f->refused_count ? f->refused[f->refused_count - 1].text : "?");
        return f->state == PROBES_ATTACHED || f->state == PROBES_NOTHING_YET;
}

static void files_that_find_no_room(void **state)
{
        static const uint32_t rungs[] = {PROBES_FEXIT, PROBES_KPROBE, PROBES_CALL_EXIT, PROBES_SYS_EXIT, PROBES_RAW_EXIT, PROBES_TRACEPOINTS};
        const uint64_t number = 1500, of_all = CROWDS * number * 3;

        for (size_t i = 0; i < ARRAY_SIZE(rungs); i++) {
                const struct file_options o = {.forced = rungs[i], .one_in = 1, .entries = ENTRIES, .uid = UID};
                scoped(files_free) struct files *files = NULL;
                struct probes_family f = {0};
                struct seen seen[3] = {{0}};
                struct file_totals t[3];

                files_open(&o, &f, &files);
                if (!attached(&f))
                        continue;
                both(OPENS, (long)number, read_files, files, seen);
                files_totals(files, &t[0]);
                assert_true(seen[0].rows > 0 && seen[0].rows <= ENTRIES && seen[0].most == 3);
                assert_int_equal(t[0].hooked, BOTH(of_all));
                assert_int_equal(seen[0].calls + seen[1].calls + t[0].full, BOTH(of_all));
                /* At least those of the first crowd that were more than there are rows. */
                assert_true(t[0].full >= of_all - 3 * ENTRIES);
                assert_true(t[0].opens == BOTH(of_all) / 3 && t[0].reads == t[0].opens && t[0].closes == t[0].opens && t[0].read_bytes == t[0].opens && t[0].writes == 0);
                /* And now there is room again. */
                once(OPENS, ENTRIES / 2 / CROWDS, read_files, files, &seen[2]);
                files_totals(files, &t[1]);
                assert_int_equal(seen[2].rows, ENTRIES / 2);
                assert_int_equal(seen[2].calls, 3 * ENTRIES / 2);
                assert_int_equal(t[1].full, t[0].full);
        }
}

/* --- system calls, waits for a processor: a map of the kernel's own has so many rows --- */

#define NUMBER 5000 /* CROWDS times so many are more */
#define FEW 100

static bool is_in(const pid_t list[CROWDS], uint32_t pid)
{
        for (size_t i = 0; i < CROWDS; i++)
                if (list[i] == (pid_t)pid)
                        return true;
        return false;
}

struct calls {
        struct syscalls *syscalls;
        struct probes_family family;
};

static void each_call(void *data, const struct runner_key *key, const struct syscall_counts *c)
{
        assert_true(c->uid == UID || c->uid == UINT32_MAX);
        if (is_in(parents, key->pid))
                return;
        assert_true(c->calls <= (is_in(makers, key->pid) ? 2 * NUMBER + 2 : CALLS_OF_ONE));
        see(data, c->calls);
}

static void read_calls(void *data, struct seen *seen)
{
        struct calls *c = data;
        uint64_t total;

        assert_int_equal(syscalls_read(c->syscalls, &c->family, &total, each_call, seen), 0);
}

static uint64_t calls_of(uint64_t number)
{
        return CROWDS * (number * (CALLS_OF_ONE + 2) + 2);
}

static void system_calls_that_find_no_room(void **state)
{
        static const uint32_t rungs[] = {PROBES_TP_BTF, PROBES_RAW_TP};

        for (size_t i = 0; i < ARRAY_SIZE(rungs); i++) {
                scoped(syscalls_free) struct syscalls *s = NULL;
                struct seen seen[3] = {{0}};
                struct calls c = {0};
                uint64_t full;

                syscalls_open(rungs[i], 0, UID, &c.family, &s);
                if (!attached(&c.family))
                        continue;
                c.syscalls = s;
                assert_true(c.family.entries_max < CROWDS * NUMBER);
                both(CALLS, NUMBER, read_calls, &c, seen);
                full = c.family.full;
                assert_int_equal(seen[0].calls + seen[1].calls + full, calls_of(NUMBER) + calls_of(NUMBER / 5));
                assert_true(full >= (CROWDS * NUMBER - c.family.entries_max) * CALLS_OF_ONE);
                once(CALLS, FEW, read_calls, &c, &seen[2]);
                assert_int_equal(seen[2].calls, calls_of(FEW));
                assert_int_equal(c.family.full, full);
        }
}

struct waits {
        struct sched *sched;
        struct probes_family family;
};

static void each_wait(void *data, const struct runner_key *key, const struct sched_counts *c)
{
        assert_true(c->uid == UID && key->pid && c->times && c->longest_ns <= c->sum_ns);
        see(data, c->times);
}

static void read_waits(void *data, struct seen *seen)
{
        struct waits *w = data;
        struct latency total;

        assert_int_equal(sched_read(w->sched, &w->family, &total, each_wait, seen), 0);
        /* Of the machine each is counted, whether or not its process has a row. */
        assert_true(latency_count(&total) == w->family.hooked && w->family.entries <= w->family.entries_max);
}

/* How often each waited nobody knows, and not every kernel tells of every switch: but nearly all processes have a row or are told. */
static void waits_that_find_no_room(void **state)
{
        static const uint32_t rungs[] = {PROBES_TP_BTF, PROBES_RAW_TP};

        for (size_t i = 0; i < ARRAY_SIZE(rungs); i++) {
                scoped(sched_free) struct sched *s = NULL;
                struct seen seen[2] = {{0}};
                struct waits w = {0};

                sched_open(rungs[i], 0, UID, &w.family, &s);
                if (!attached(&w.family))
                        continue;
                w.sched = s;
                once(CALLS, NUMBER, read_waits, &w, &seen[0]);
                assert_true(seen[0].rows <= w.family.entries_max && seen[0].calls <= w.family.hooked);
                assert_true(seen[0].rows + w.family.full >= CROWDS * NUMBER / 10 * 9);
                once(CALLS, FEW, read_waits, &w, &seen[1]);
                assert_true(seen[1].rows >= CROWDS * FEW / 10 * 9 && seen[1].rows <= w.family.entries_max);
        }
}

/* --- the driver --- */

struct drivers {
        struct gpu *gpu;
        struct probes_family family;
};

static void each_driver(void *data, uint32_t pid, uint64_t start_ns, uint32_t uid, const char *comm, const struct probes_gpu *sums)
{
        uint64_t calls = sums->waits + sums->frees + sums->allocs + sums->copies_in + sums->copies_out + sums->launches + sums->graphs + sums->copies_other;

        assert_true(uid == UID && calls == 1); /* a row for each kind */
        see(data, calls);
}

static void read_driver(void *data, struct seen *seen)
{
        struct drivers *d = data;

        assert_int_equal(gpu_read(d->gpu, each_driver, seen), 0);
        gpu_family(d->gpu, &d->family);
}

static void calls_of_the_driver_that_find_no_room(void **state)
{
        static const uint32_t rungs[] = {PROBES_UPROBE_MULTI, PROBES_UPROBE};
        static const char *const names[DRIVER_OF_ONE] = {"cuCtxSynchronize", "cuMemFree_v2", "cuMemAlloc_v2", "cuMemcpyHtoD_v2", "cuMemcpyDtoH_v2"};
        void *library = dlopen(getenv("TEST_LIBRARY"), RTLD_NOW);

        assert_non_null(library);
        for (size_t i = 0; i < DRIVER_OF_ONE; i++) {
                *(void **)&driver[i] = dlsym(library, names[i]);
                assert_non_null(driver[i]);
        }
        for (size_t i = 0; i < ARRAY_SIZE(rungs); i++) {
                const struct gpu_options o = {.forced = rungs[i], .launch_permille = 1000, .uid = UID, .period_ns = NS_PER_S};
                scoped(gpu_free) struct gpu *gpu = NULL;
                struct seen seen[3] = {{0}};
                struct drivers d = {0};
                uint64_t full;

                gpu_open(&o, &d.family, &gpu);
                if (!attached(&d.family))
                        continue;
                d.gpu = gpu;
                /* This process has it mapped: that is how it is found. */
                gpu_scan(gpu, clock_now_ns());
                gpu_family(gpu, &d.family);
                assert_int_equal(d.family.state, PROBES_ATTACHED);
                both(DRIVER, NUMBER / DRIVER_OF_ONE, read_driver, &d, seen);
                full = d.family.full;
                assert_int_equal(seen[0].calls + seen[1].calls + full, BOTH(CROWDS * NUMBER));
                assert_true(full >= CROWDS * NUMBER - d.family.entries_max);
                once(DRIVER, FEW, read_driver, &d, &seen[2]);
                assert_int_equal(seen[2].calls, CROWDS * FEW * DRIVER_OF_ONE);
                assert_int_equal(d.family.full, full);
        }
        dlclose(library);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(files_that_find_no_room),
                cmocka_unit_test(system_calls_that_find_no_room),
                cmocka_unit_test(waits_that_find_no_room),
                cmocka_unit_test(calls_of_the_driver_that_find_no_room),
        };
        int fd = mkstemp(file), r;

        if (fd < 0 || write(fd, "x", 1) != 1 || fchmod(fd, 0644) < 0)
                return EXIT_FAILURE;
        close(fd);
        r = cmocka_run_group_tests(tests, NULL, NULL);
        unlink(file);
        return r;
}
