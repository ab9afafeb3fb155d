/* serve.c: a program that works like a model server: weights that never change after they were loaded, and a little memory that each request
 * writes to.
 *
 *   serve --memory 128MiB --chunk 16MiB --state 16MiB [--seed N]
 *
 * Says {"ready":true} when loaded, then answers each line of standard input with one line of JSON: a request sums all weights on the device, changes
 * the state, and compares both with what the CPU knows. Ends with the input; status 0: all right, 1: wrong sums.
 */
#include "cu.h"

#include <string.h>
#include <unistd.h>

enum { MAX_CHUNKS = 4096 };

static CUdeviceptr chunks[MAX_CHUNKS], state, sums;

static uint32_t word_of(uint64_t seed, uint64_t chunk)
{
        return (uint32_t)((seed * 1000003 + chunk) * 2654435761u);
}

int main(int argc, char **argv)
{
        struct cu_base base;
        uint64_t memory, chunk, state_bytes, seed, n, requests = 0, wrong = 0;
        uint32_t steps = 0;
        char line[256];

        (void)argc;
        cu_known(argv, "--memory= --chunk= --state= --seed=");
        cu_open(argv);
        memory = cu_size(argv, "--memory", 64 << 20);
        chunk = cu_size(argv, "--chunk", 16 << 20);
        state_bytes = cu_size(argv, "--state", 2 << 20);
        seed = cu_number(argv, "--seed", 1);
        n = memory / chunk;
        if (!n || n > MAX_CHUNKS) {
                fprintf(stderr, "serve: --memory must be 1 to %d times --chunk\n", MAX_CHUNKS);
                return 64;
        }
        cu_begin(&base);
        for (uint64_t i = 0; i < n; i++) {
                CU(cu.cuMemAlloc(&chunks[i], chunk));
                CU(cu_words(base.fill, chunks[i], chunk / 4, word_of(seed, i), NULL));
        }
        CU(cu.cuMemAlloc(&state, state_bytes));
        CU(cu.cuMemAlloc(&sums, 8 * n + 8));
        CU(cu_words(base.fill, state, state_bytes / 4, 0, NULL));
        CU(cu.cuCtxSynchronize());
        printf("{\"ready\":true,\"pid\":%d,\"address\":%llu,\"bytes\":%llu}\n", (int)getpid(), (unsigned long long)chunks[0],
               (unsigned long long)(n * chunk));
        fflush(stdout);
        while (fgets(line, sizeof line, stdin)) {
                static uint64_t got[MAX_CHUNKS + 1];
                double begin = cu_seconds();
                uint64_t bad = 0;

                CU(cu.cuMemsetD8(sums, 0, 8 * n + 8));
                CU(cu_words(base.add, state, state_bytes / 4, 1, NULL));
                steps++;
                for (uint64_t i = 0; i < n; i++)
                        CU(cu_checksum(base.checksum, chunks[i], chunk / 4, sums + 8 * i, NULL));
                CU(cu_checksum(base.checksum, state, state_bytes / 4, sums + 8 * n, NULL));
                CU(cu.cuMemcpyDtoH(got, sums, 8 * n + 8));
                for (uint64_t i = 0; i < n; i++)
                        bad += got[i] != (uint64_t)word_of(seed, i) * (chunk / 4);
                bad += got[n] != (uint64_t)steps * (state_bytes / 4);
                wrong += bad;
                requests++;
                printf("{\"request\":%llu,\"ok\":%s,\"seconds\":%.4f}\n", (unsigned long long)requests, bad ? "false" : "true", cu_seconds() - begin);
                fflush(stdout);
        }
        printf("{\"name\":\"serve\",\"pid\":%d,\"ok\":%s,\"requests\":%llu}\n", (int)getpid(), wrong ? "false" : "true", (unsigned long long)requests);
        return wrong ? 1 : 0;
}
