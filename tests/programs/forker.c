/* forker.c: processes that fork, as programs with data loaders do.
 *
 * "child-first": the child uses the device, the parent has not touched it yet; "bystander": the parent uses it, its
 * child does not, and the parent's data stays right; "inherited": a child of a process that uses the device is told
 * that it cannot; "exec": a child becomes a new program that uses it. One line of JSON; status 0 when all four hold.
 */
#include "cu.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Whether a small job comes out right. */
static bool job(struct cu_base *base, uint32_t value)
{
        const uint64_t words = 1 << 18;
        CUdeviceptr at;
        uint32_t got[2];

        CU(cu.cuMemAlloc(&at, words * 4));
        CU(cu_words(base->fill, at, words, value, NULL));
        CU(cu_words(base->add, at, words, 1, NULL));
        CU(cu.cuMemcpyDtoH(&got[0], at, 4));
        CU(cu.cuMemcpyDtoH(&got[1], at + (words - 1) * 4, 4));
        CU(cu.cuMemFree(at));
        return got[0] == value + 1 && got[1] == value + 1;
}

static bool ended_well(pid_t pid)
{
        int status;

        return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static pid_t fork_job(uint32_t value)
{
        pid_t pid = fork();

        if (pid == 0) {
                struct cu_base base;

                cu_begin(&base);
                _exit(job(&base, value) ? 0 : 1);
        }
        return pid;
}

int main(int argc, char **argv)
{
        bool first, bystander, inherited, exec;
        struct cu_base base;
        CUdeviceptr kept;
        uint32_t word = 0;
        pid_t pid;

        (void)argc;
        cu_known(argv, "--child");
        cu_open(argv);
        if (cu_flag(argv, "--child")) {
                cu_begin(&base);
                return job(&base, 99) ? 0 : 1;
        }
        first = ended_well(fork_job(5));
        cu_begin(&base);
        CU(cu.cuMemAlloc(&kept, 4096));
        CU(cu.cuMemsetD32(kept, 4242, 1024));
        pid = fork();
        if (pid == 0)
                _exit(0);
        bystander = ended_well(pid) && job(&base, 6);
        CU(cu.cuMemcpyDtoH(&word, kept, 4));
        bystander = bystander && word == 4242;
        pid = fork();
        if (pid == 0) {
                CUdeviceptr at;

                _exit(cu.cuInit(0) != CUDA_SUCCESS || cu.cuMemAlloc(&at, 4096) != CUDA_SUCCESS ? 0 : 1);
        }
        inherited = ended_well(pid);
        pid = fork();
        if (pid == 0) {
                execl("/proc/self/exe", argv[0], "--child", (char *)NULL);
                _exit(127);
        }
        exec = ended_well(pid);
        word = 0;
        CU(cu.cuMemcpyDtoH(&word, kept, 4));
        bystander = bystander && word == 4242;
        printf("{\"name\":\"forker\",\"ok\":%s,\"child_first\":%s,\"bystander\":%s,\"inherited\":%s,\"exec\":%s}\n",
               first && bystander && inherited && exec ? "true" : "false", first ? "true" : "false",
               bystander ? "true" : "false", inherited ? "true" : "false", exec ? "true" : "false");
        return first && bystander && inherited && exec ? 0 : 1;
}
