/* caching.c: a program with a caching allocator of its own, as frameworks have them: freed blocks are kept by size, and when the driver says
 * out-of-memory, all that is kept is freed and the request made once more.
 *
 *   caching [--live SIZE] [--rounds N] [--seed N] [--no-cache] [--give-up] [--trim-on] [--wait FILE]
 *
 * Each round takes a block of a new size, fills and checks it, and frees it, beside --live bytes that stay. --no-cache frees to the driver, and asks
 * again all the same; --give-up does not ask again. --trim-on frees its cache when asked to give back (berth.h). --wait: after the rounds, until
 * FILE is there. One line of JSON; status 0 when all data were right, 3 when memory was refused for good.
 */
#include "cu.h"

#include <berth.h>

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define KEPT 512

struct block {
        CUdeviceptr at;
        uint64_t bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block kept[KEPT];
static uint64_t kept_n, reserved, most_reserved, refused, refused_again, freed_on_trim;
static bool no_cache, give_up;
static CUcontext context;

static uint64_t free_kept(void)
{
        uint64_t bytes = 0;

        for (; kept_n; kept_n--) {
                CU(cu.cuMemFree(kept[kept_n - 1].at));
                bytes += kept[kept_n - 1].bytes;
        }
        reserved -= bytes;
        return bytes;
}

static CUdeviceptr take(uint64_t bytes)
{
        CUdeviceptr at;
        CUresult r;

        for (uint64_t i = 0; i < kept_n; i++)
                if (kept[i].bytes == bytes) {
                        at = kept[i].at;
                        kept[i] = kept[--kept_n];
                        return at;
                }
        r = cu.cuMemAlloc(&at, bytes);
        if (r == CUDA_ERROR_OUT_OF_MEMORY) {
                refused++;
                if (give_up)
                        exit(3);
                free_kept();
                r = cu.cuMemAlloc(&at, bytes);
                refused_again += r != CUDA_SUCCESS;
        }
        CU(r);
        reserved += bytes;
        most_reserved = reserved > most_reserved ? reserved : most_reserved;
        return at;
}

static void give(CUdeviceptr at, uint64_t bytes)
{
        if (no_cache || kept_n == KEPT) {
                CU(cu.cuMemFree(at));
                reserved -= bytes;
        } else {
                kept[kept_n++] = (struct block){at, bytes};
        }
}

static void on_trim(void *unused)
{
        (void)unused;
        pthread_mutex_lock(&lock);
        CU(cu.cuCtxSetCurrent(context));
        freed_on_trim += free_kept();
        pthread_mutex_unlock(&lock);
}

static void round_of(struct cu_base *base, uint64_t n)
{
        uint64_t bytes = (4 + n % 8 * 2) << 20, words = bytes / 4;
        CUdeviceptr at = take(bytes);
        uint32_t got[2];

        CU(cu_words(base->fill, at, words, (uint32_t)n, NULL));
        CU(cu_words(base->add, at, words, 1, NULL));
        CU(cu.cuMemcpyDtoH(&got[0], at, 4));
        CU(cu.cuMemcpyDtoH(&got[1], at + (words - 1) * 4, 4));
        if (got[0] != n + 1 || got[1] != n + 1) {
                fprintf(stderr, "caching: wrong data in round %llu\n", (unsigned long long)n);
                exit(1);
        }
        give(at, bytes);
}

int main(int argc, char **argv)
{
        const char *wait_for;
        uint64_t live, rounds;
        struct cu_base base;
        CUdeviceptr at = 0;

        (void)argc;
        cu_known(argv, "--live= --rounds= --seed= --no-cache --give-up --trim-on --wait=");
        live = cu_size(argv, "--live", 0);
        rounds = cu_number(argv, "--rounds", 100);
        wait_for = cu_option(argv, "--wait");
        no_cache = cu_flag(argv, "--no-cache");
        give_up = cu_flag(argv, "--give-up");
        cu_open(argv);
        cu_begin(&base);
        CU(cu.cuCtxGetCurrent(&context));
        if (live)
                at = take(live);
        if (cu_flag(argv, "--trim-on") && berth_trim_on(on_trim, NULL) != 0)
                return 4;
        for (uint64_t n = 0; n < rounds; n++) {
                pthread_mutex_lock(&lock);
                round_of(&base, n);
                pthread_mutex_unlock(&lock);
        }
        while (wait_for && access(wait_for, F_OK) < 0)
                usleep(2000);
        if (cu_flag(argv, "--trim-on"))
                (void)berth_trim_on(NULL, NULL);
        printf("{\"reserved\":%llu,\"most_reserved\":%llu,\"refused\":%llu,\"refused_again\":%llu,\"freed_on_trim\":%llu,\"ok\":true}\n",
               (unsigned long long)reserved, (unsigned long long)most_reserved, (unsigned long long)refused, (unsigned long long)refused_again,
               (unsigned long long)freed_on_trim);
        if (at)
                CU(cu.cuMemFree(at));
        free_kept();
        return 0;
}
