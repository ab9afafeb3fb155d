/* ipc.c: two processes share device memory by legacy IPC handles, as torch.multiprocessing does, and have memory of their own beside it.
 *
 * The first one allocates a large piece and two small ones, and starts the second (--child), which opens them: twice, in the middle, and
 * with one close too few until the end. Then both change what they share in turn, and their own memory meanwhile, for so many rounds or so long. At the end every
 * word of all of it is compared; with --events they wait for each other's work on the device, by events of both, not on the host. With --hold they stay until FILE is there. Handles of freed memory, of one's own and of nobody's are refused. One line of JSON; status 0: all right.
 */
#include "cu.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define LARGE (25 * MIB)
#define SMALL UINT64_C(4096)

enum kind { OPEN, STEP, CLOSE, REFUSED };

struct message {
        CUipcMemHandle large, first, second;
        CUipcEventHandle ready, done; /* the parent's, and the answer's: the child's */
        uint32_t kind, value, k;
};

struct own {
        CUdeviceptr at;
        uint64_t bytes;
        uint32_t value;
};

static struct cu_base base;
static uint64_t wrong;
static bool events;
static CUevent ready, done; /* what the parent did is on the device, and what the child did */

static void fail(const char *what)
{
        fprintf(stderr, "ipc: %s\n", what);
        wrong++;
}

static uint32_t step(uint32_t value, uint32_t k)
{
        return value * 1664525U + 1013904223U + k;
}

static void run_step(CUdeviceptr at, uint64_t bytes, uint32_t k)
{
        CU(cu_words(base.step, at, bytes / 4, k, NULL));
}

/* Until here this process has done its part. */
static void hand_over(CUevent event)
{
        if (events)
                CU(cu.cuEventRecord(event, NULL));
        else
                CU(cu.cuCtxSynchronize());
}

static void take_over(CUevent event)
{
        if (events)
                CU(cu.cuStreamWaitEvent(NULL, event, 0));
}

static void compare(CUdeviceptr at, uint64_t bytes, uint32_t value, const char *what)
{
        if (cu_wrong(at, bytes, value, NULL))
                fail(what);
}

static void own_begin(struct own *o, uint64_t bytes, uint32_t value)
{
        *o = (struct own){.bytes = bytes, .value = value};
        CU(cu.cuMemAlloc(&o->at, bytes));
        CU(cu_words(base.fill, o->at, bytes / 4, value, NULL));
}

static void own_step(struct own *o)
{
        run_step(o->at, o->bytes, 7);
        o->value = step(o->value, 7);
}

/* --- the one that opens --- */

static CUdeviceptr open_handle(CUipcMemHandle handle, uint64_t bytes)
{
        CUdeviceptr at = 0, start = 0;
        size_t size = 0;

        CU(cu.cuIpcOpenMemHandle(&at, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS));
        CU(cu.cuMemGetAddressRange(&start, &size, at + bytes / 2));
        if (start != at || size < bytes)
                fail("opened memory has another range than it was allocated with");
        return at;
}

static int child(uint64_t memory)
{
        CUdeviceptr large = 0, first = 0, second = 0, other = 0;
        struct message m;
        struct own own;

        own_begin(&own, memory, 91);
        while (read(STDIN_FILENO, &m, sizeof m) == sizeof m) {
                switch (m.kind) {
                case OPEN:
                        if (events) {
                                CU(cu.cuIpcOpenEventHandle(&ready, m.ready));
                                CU(cu.cuEventCreate(&done, CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS));
                                CU(cu.cuIpcGetEventHandle(&m.done, done));
                        }
                        large = open_handle(m.large, LARGE);
                        second = open_handle(m.second, SMALL);
                        first = open_handle(m.first, SMALL);
                        if (open_handle(m.large, LARGE) != large)
                                fail("opened twice, it is at two addresses");
                        CU(cu.cuIpcCloseMemHandle(large));
                        compare(large, LARGE, m.value, "large memory is not what was written");
                        compare(first, SMALL, m.value + 1, "the first small memory is not what was written");
                        compare(second, SMALL, m.value + 2, "the second small memory is not what was written");
                        break;
                case STEP:
                        take_over(ready);
                        run_step(large, LARGE, m.k);
                        run_step(second, SMALL, m.k);
                        own_step(&own);
                        hand_over(done);
                        break;
                case CLOSE:
                        CU(cu.cuIpcCloseMemHandle(second));
                        run_step(first, SMALL, m.k);
                        CU(cu.cuIpcCloseMemHandle(first));
                        CU(cu.cuIpcCloseMemHandle(large));
                        if (cu.cuIpcCloseMemHandle(large) == CUDA_SUCCESS)
                                fail("closed once too often");
                        compare(own.at, own.bytes, own.value, "the second process's own memory is wrong");
                        break;
                case REFUSED:
                        if (cu.cuIpcOpenMemHandle(&other, m.large, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS) == CUDA_SUCCESS)
                                fail("a handle of freed memory was opened");
                        if (cu.cuIpcOpenMemHandle(&other, m.first, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS) == CUDA_SUCCESS)
                                fail("a handle of nobody's was opened");
                        break;
                default:
                        return 2;
                }
                if (write(STDOUT_FILENO, &wrong, sizeof wrong) != sizeof wrong || write(STDOUT_FILENO, &m.done, sizeof m.done) != sizeof m.done)
                        return 2;
        }
        CU(cu.cuMemFree(own.at));
        return wrong ? 1 : 0;
}

/* --- the one whose memory it is --- */

static int to_child = -1, from_child = -1;
static pid_t child_pid;

static void start_child(char **argv, const char *memory)
{
        int in[2], out[2];

        if (pipe(in) < 0 || pipe(out) < 0)
                abort();
        child_pid = fork();
        if (child_pid == 0) {
                dup2(in[0], STDIN_FILENO);
                dup2(out[1], STDOUT_FILENO);
                for (int fd = 3; fd < 16; fd++)
                        close(fd);
                execl("/proc/self/exe", argv[0], "--child", "--memory", memory, events ? "--events" : NULL, (char *)NULL);
                _exit(127);
        }
        close(in[0]);
        close(out[1]);
        to_child = in[1];
        from_child = out[0];
}

static void tell(struct message *m)
{
        uint64_t failed;

        if (write(to_child, m, sizeof *m) != sizeof *m || read(from_child, &failed, sizeof failed) != sizeof failed ||
            read(from_child, &m->done, sizeof m->done) != sizeof m->done) {
                fprintf(stderr, "ipc: the second process is gone\n");
                exit(2);
        }
        wrong += failed;
}

static uint64_t parent(char **argv)
{
        struct message m = {.kind = OPEN, .value = 1000};
        CUdeviceptr large, first, second, other = 0;
        uint32_t value = m.value, second_value = m.value + 2;
        CUipcMemHandle again;
        uint64_t rounds = 0;
        struct own own;
        struct cu_course course;
        const char *hold = cu_option(argv, "--hold");
        int status;

        own_begin(&own, cu_size(argv, "--memory", 32 * MIB), 17);
        CU(cu.cuMemAlloc(&large, LARGE));
        CU(cu.cuMemAlloc(&first, SMALL));
        CU(cu.cuMemAlloc(&second, SMALL));
        CU(cu_words(base.fill, large, LARGE / 4, value, NULL));
        CU(cu_words(base.fill, first, SMALL / 4, m.value + 1, NULL));
        CU(cu_words(base.fill, second, SMALL / 4, second_value, NULL));
        CU(cu.cuCtxSynchronize());
        CU(cu.cuIpcGetMemHandle(&m.large, large));
        CU(cu.cuIpcGetMemHandle(&m.first, first));
        CU(cu.cuIpcGetMemHandle(&m.second, second));
        CU(cu.cuIpcGetMemHandle(&again, large));
        if (memcmp(&again, &m.large, sizeof again) != 0)
                fail("one allocation has two handles");
        if (cu.cuIpcOpenMemHandle(&other, m.large, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS) == CUDA_SUCCESS)
                fail("a handle was opened where it was made");
        if (events) {
                CU(cu.cuEventCreate(&ready, CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS));
                CU(cu.cuIpcGetEventHandle(&m.ready, ready));
        }
        tell(&m);
        if (events)
                CU(cu.cuIpcOpenEventHandle(&done, m.done));
        m.kind = STEP;
        for (cu_course_begin(&course, argv, 20); cu_course_goes_on(&course, rounds); rounds++) {
                m.k = (uint32_t)rounds;
                own_step(&own);
                take_over(done);
                run_step(large, LARGE, m.k + 1);
                hand_over(ready);
                value = step(value, m.k + 1);
                tell(&m);
                value = step(value, m.k);
                second_value = step(second_value, m.k);
        }
        take_over(done);
        CU(cu.cuCtxSynchronize());
        m.kind = CLOSE;
        m.k = 5;
        tell(&m);
        compare(large, LARGE, value, "large memory is wrong");
        compare(first, SMALL, step(m.value + 1, m.k), "the first small memory is wrong");
        compare(second, SMALL, second_value, "the second small memory is wrong");
        compare(own.at, own.bytes, own.value, "the first process's own memory is wrong");
        CU(cu.cuMemFree(large));
        CU(cu.cuMemFree(first));
        CU(cu.cuMemFree(second));
        CU(cu.cuMemFree(own.at));
        m.kind = REFUSED;
        memset(&m.first, 17, sizeof m.first);
        tell(&m);
        while (hold && access(hold, F_OK) < 0)
                usleep(10000);
        close(to_child);
        if (waitpid(child_pid, &status, 0) != child_pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
                fail("the second process did not end well");
        return rounds;
}

int main(int argc, char **argv)
{
        const char *memory = cu_option(argv, "--memory");
        uint64_t rounds;

        (void)argc;
        cu_known(argv, "--memory= --child --events --hold= " CU_COURSE);
        events = cu_flag(argv, "--events");
        if (!cu_flag(argv, "--child"))
                start_child(argv, memory ? memory : "32MiB"); /* before the driver is used */
        cu_open(argv);
        cu_begin(&base);
        if (cu_flag(argv, "--child"))
                return child(cu_size(argv, "--memory", 32 * MIB));
        rounds = parent(argv);
        printf("{\"name\":\"ipc\",\"pid\":%d,\"child\":%d,\"ok\":%s,\"rounds\":%llu,\"wrong_words\":%llu}\n", (int)getpid(), (int)child_pid,
               wrong ? "false" : "true", (unsigned long long)rounds, (unsigned long long)wrong);
        return wrong ? 1 : 0;
}
