/* test-fake.c: runs every case of the software device's tests in a process and a machine of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fd.h"
#include "test-fake.h"

#include <ftw.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- what cases share --- */

CUcontext context;
CUfunction nop, fill, add, checksum, spin, step;

static const char image[] = ".version 6.4\n.target sm_70\n"
                            ".visible .entry berth_nop()\n{ ret; }\n"
                            ".visible .entry berth_fill(.param .u64 a, .param .u64 b, .param .u32 c)\n{ ret; }\n"
                            ".visible .entry berth_add (.param .u64 a, .param .u64 b, .param .u32 c)\n{ ret; }\n"
                            ".entry berth_step(.param .u64 a, .param .u64 b, .param .u32 c)\n{ ret; }\n"
                            ".entry berth_checksum\n(.param .u64 a, .param .u64 b, .param .u64 c)\n{ ret; }\n"
                            ".entry berth_spin(.param .u64 a)\n{ ret; }\n"
                            ".entry stranger(.param .u64 a)\n{ ret; }\n";

void begin(void)
{
        CUmodule m;

        OK(cuInit(0));
        OK(cuDevicePrimaryCtxRetain(&context, 0));
        OK(cuCtxSetCurrent(context));
        OK(cuModuleLoadData(&m, image));
        OK(cuModuleGetFunction(&nop, m, "berth_nop"));
        OK(cuModuleGetFunction(&fill, m, "berth_fill"));
        OK(cuModuleGetFunction(&add, m, "berth_add"));
        OK(cuModuleGetFunction(&checksum, m, "berth_checksum"));
        OK(cuModuleGetFunction(&spin, m, "berth_spin"));
        OK(cuModuleGetFunction(&step, m, "berth_step"));
}

CUresult words(CUfunction f, CUdeviceptr at, uint64_t count, uint32_t argument, CUstream s)
{
        void *parameters[] = {&at, &count, &argument};

        return cuLaunchKernel(f, 4, 1, 1, 256, 1, 1, 0, s, parameters, NULL);
}

CUresult sum_into(CUdeviceptr at, uint64_t count, CUdeviceptr out, CUstream s)
{
        void *parameters[] = {&at, &count, &out};

        return cuLaunchKernel(checksum, 4, 1, 1, 256, 1, 1, 0, s, parameters, NULL);
}

CUresult busy(uint64_t ns, CUstream s)
{
        void *parameters[] = {&ns};

        return cuLaunchKernel(spin, 1, 1, 1, 1, 1, 1, 0, s, parameters, NULL);
}

uint32_t word_at(CUdeviceptr at)
{
        uint32_t word;

        OK(cuMemcpyDtoH_v2(&word, at, sizeof(word)));
        return word;
}

size_t free_bytes(void)
{
        size_t available, total;

        OK(cuMemGetInfo_v2(&available, &total));
        CHECK(total == 64 * MIB);
        return available;
}

CUmemGenericAllocationHandle physical(uint64_t bytes)
{
        CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                    .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
                                    .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
        CUmemGenericAllocationHandle h;

        OK(cuMemCreate(&h, bytes, &prop, 0));
        return h;
}

CUmemAccessDesc access_all(int flags)
{
        return (CUmemAccessDesc){.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}, .flags = flags};
}

struct other start_other(void (*run)(struct other *))
{
        int to[2], from[2], sockets[2];
        struct other o = {0};

        CHECK(pipe(to) == 0 && pipe(from) == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0);
        o.pid = fork();
        CHECK(o.pid >= 0);
        if (o.pid == 0) {
                o = (struct other){.to = from[1], .from = to[0], .socket = sockets[1]};
                close(to[1]);
                close(from[0]);
                close(sockets[0]);
                run(&o);
                exit(0);
        }
        close(to[0]);
        close(from[1]);
        close(sockets[1]);
        o.to = to[1];
        o.from = from[0];
        o.socket = sockets[0];
        return o;
}

void say(struct other *o)
{
        CHECK(write(o->to, "x", 1) == 1);
}

void hear(struct other *o)
{
        char c;

        CHECK(read(o->from, &c, 1) == 1);
}

void end_other(struct other *o, bool by_force)
{
        int status;

        if (by_force)
                kill(o->pid, SIGKILL);
        CHECK(waitpid(o->pid, &status, 0) == o->pid);
        CHECK(by_force ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void take_40(struct other *o)
{
        CUdeviceptr a;

        begin();
        OK(cuMemAlloc_v2(&a, 40 * MIB));
        say(o);
        hear(o);
}

/* --- running them --- */

static const struct test_case *const lists[] = {memory_cases, share_cases, engine_cases, capture_cases};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
        (void)st;
        (void)type;
        (void)where;
        return remove(path);
}

static void set_environment(const struct test_case *c, const char *folder)
{
        char *copy = c->environment ? strdup(c->environment) : NULL, *save = NULL;

        setenv("BERTH_SOFTWARE_DIR", folder, 1);
        setenv("BERTH_SOFTWARE_MEMORY", "64MiB", 1);
        for (char *s = copy ? strtok_r(copy, " ", &save) : NULL; s; s = strtok_r(NULL, " ", &save))
                putenv(s); /* lives until the exec that follows */
}

static void run_case(void **state)
{
        const struct test_case *c = *state;
        char folder[] = "/tmp/test-fake-XXXXXX";
        int status;
        pid_t pid;

        assert_non_null(mkdtemp(folder));
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                set_environment(c, folder);
                execl("/proc/self/exe", "test-fake", "--case", c->name, (char *)NULL);
                _exit(127);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                fail_msg("%s ended with status %#x", c->name, (unsigned)status);
}

int main(int argc, char **argv)
{
        struct CMUnitTest tests[64];
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
                for (const struct test_case *c = lists[i]; c->name; c++) {
                        if (argc == 3 && strcmp(argv[2], c->name) == 0) {
                                alarm(60); /* a case that hangs is a failure, not a wait */
                                c->run();
                                return 0;
                        }
                        tests[n++] = (struct CMUnitTest){
                                .name = c->name, .test_func = run_case, .initial_state = (void *)(uintptr_t)c};
                }
        if (argc > 1)
                return 127;
        return _cmocka_run_group_tests("software device", tests, n, NULL, NULL);
}
