/* ordered.c: the rules of allocations in stream order, and a program that lives by them.
 *
 * First the rules, one by one: memory that was freed on a stream is another stream's only when that stream has got there, the same stream's at once, and nobody's by the
 * handle of a stream that has ended; what is freed twice is refused; pools count what they lent. Then, as long as it is told (cu.h), three streams allocate, fill, change, compare and
 * free pieces of many sizes, so that an address that were handed out too early would be seen in what is in it; --memory is kept beside it and changed in every round.
 * One line of JSON; status 0: all right.
 */
#include "cu.h"

#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define STREAMS 3
#define PIECES 8
#define SPIN_NS UINT64_C(300000000)

static struct cu_base base;
static uint64_t wrong, checked;
static const char *failed;

#define WANT(condition)                                                                 \
        do {                                                                            \
                if (!(condition)) {                                                     \
                        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
                        failed = #condition;                                            \
                }                                                                       \
        } while (0)

static uint64_t compare(CUdeviceptr at, uint64_t words, uint32_t value, CUstream s)
{
        uint32_t *copy = malloc(words * 4);
        uint64_t n = 0;

        if (!copy)
                abort();
        CU(cu.cuMemcpyDtoHAsync(copy, at, words * 4, s));
        CU(cu.cuStreamSynchronize(s));
        for (uint64_t i = 0; i < words; i++)
                n += copy[i] != value;
        free(copy);
        checked++;
        return n;
}

/* A piece that was freed behind something that takes its time; *ret_mark tells whether the stream has got there. */
static CUdeviceptr freed_behind_a_spin(uint64_t bytes, CUstream s, CUevent mark)
{
        CUdeviceptr at;

        CU(cu.cuMemAllocAsync(&at, bytes, s));
        CU(cu_spin(base.spin, SPIN_NS, s));
        CU(cu_words(base.fill, at, bytes / 4, 77, s));
        CU(cu.cuMemFreeAsync(at, s));
        CU(cu.cuEventRecord(mark, s));
        return at;
}

static void rules(uint64_t bytes)
{
        CUdeviceptr a, b, c, plain;
        CUstream s[2], gone, next;
        CUmemoryPool pool, of = NULL;
        uint64_t used = 0, before = 0, reserved = 0;
        CUevent mark;

        CU(cu.cuStreamCreate(&s[0], CU_STREAM_NON_BLOCKING));
        CU(cu.cuStreamCreate(&s[1], CU_STREAM_NON_BLOCKING));
        CU(cu.cuEventCreate(&mark, 0));
        CU(cu.cuDeviceGetDefaultMemPool(&pool, base.device));
        CU(cu.cuMemPoolGetAttribute(pool, 7, &before));

        a = freed_behind_a_spin(bytes, s[0], mark);
        CU(cu.cuMemAllocAsync(&b, bytes, s[1]));
        WANT(b != a || cu.cuEventQuery(mark) == CUDA_SUCCESS);
        CU(cu_words(base.fill, b, bytes / 4, 5, s[1]));
        CU(cu.cuMemAllocAsync(&c, bytes, s[0])); /* after the free by itself */
        WANT(c != b);
        CU(cu_words(base.fill, c, bytes / 4, 6, s[0]));
        WANT(compare(b, bytes / 4, 5, s[1]) == 0);
        WANT(compare(c, bytes / 4, 6, s[0]) == 0);
        WANT(compare(b, bytes / 4, 5, s[1]) == 0);
        CU(cu.cuMemPoolGetAttribute(pool, 7, &used));
        CU(cu.cuMemPoolGetAttribute(pool, 5, &reserved));
        WANT(used - before >= 2 * bytes && reserved >= used);
        CU(cu.cuPointerGetAttribute(&of, 17, b));
        WANT(of == pool);
        CU(cu.cuMemFreeAsync(b, s[1]));
        CU(cu.cuMemFree(c));
        CU(cu.cuStreamSynchronize(s[1]));

        /* A stream that has ended frees nothing early for one that bears its handle now. */
        CU(cu.cuStreamCreate(&gone, CU_STREAM_NON_BLOCKING));
        a = freed_behind_a_spin(bytes, gone, mark);
        CU(cu.cuStreamDestroy(gone));
        CU(cu.cuStreamCreate(&next, CU_STREAM_NON_BLOCKING));
        CU(cu.cuMemAllocAsync(&b, bytes, next));
        WANT(b != a || cu.cuEventQuery(mark) == CUDA_SUCCESS);
        CU(cu_words(base.fill, b, bytes / 4, 9, next));
        CU(cu.cuEventSynchronize(mark));
        WANT(compare(b, bytes / 4, 9, next) == 0);

        WANT(cu.cuMemFreeAsync(b + 512, next) != CUDA_SUCCESS);
        CU(cu.cuMemFreeAsync(b, next));
        CU(cu.cuMemAlloc(&plain, bytes));
        CU(cu_words(base.fill, plain, bytes / 4, 1, next));
        CU(cu.cuMemFreeAsync(plain, next)); /* ordinary memory may be freed so, too */
        CU(cu.cuStreamSynchronize(next));
        CU(cu.cuCtxSynchronize()); /* frees of other streams count when they came to them */
        CU(cu.cuMemPoolGetAttribute(pool, 7, &used));
        WANT(used == before);
        CU(cu.cuStreamDestroy(next));
        CU(cu.cuStreamDestroy(s[0]));
        CU(cu.cuStreamDestroy(s[1]));
        CU(cu.cuEventDestroy(mark));
}

struct held {
        CUdeviceptr at;
        uint64_t words;
        uint32_t value;
};

static void turn(struct held *h, CUstream s, uint64_t most, uint64_t *random)
{
        *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        if (h->at) {
                CU(cu_words(base.add, h->at, h->words, 3, s));
                wrong += compare(h->at, h->words, h->value + 3, s);
                CU(cu_words(base.fill, h->at, h->words, UINT32_MAX, s)); /* behind the compare, and ahead of the free */
                CU(cu.cuMemFreeAsync(h->at, s));
                h->at = 0;
                return;
        }
        h->words = ((UINT64_C(1) << ((*random >> 33) % 5)) * most / 16) / 4; /* few sizes, so that they fit again */
        h->value = (uint32_t)(*random >> 20);
        CU(cu.cuMemAllocAsync(&h->at, h->words * 4, s));
        CU(cu_words(base.fill, h->at, h->words, h->value, s));
}

int main(int argc, char **argv)
{
        uint64_t memory, most, random = 11, rounds = 0, threshold = UINT64_MAX;
        static struct held held[STREAMS][PIECES];
        CUstream s[STREAMS];
        CUmemoryPool pool;
        struct cu_course course;
        uint32_t value = 3;
        CUdeviceptr at;

        (void)argc;
        cu_known(argv, "--memory= --most= " CU_COURSE);
        memory = cu_size(argv, "--memory", 32 * MIB);
        most = cu_size(argv, "--most", 4 * MIB);
        cu_open(argv);
        cu_begin(&base);
        CU(cu.cuDeviceGetDefaultMemPool(&pool, base.device));
        CU(cu.cuMemPoolSetAttribute(pool, 4, &threshold));
        rules(most);
        /* From the pool, too: what stays allocated across swaps. */
        for (unsigned i = 0; i < STREAMS; i++)
                CU(cu.cuStreamCreate(&s[i], CU_STREAM_NON_BLOCKING));
        CU(cu.cuMemAllocAsync(&at, memory, s[0]));
        CU(cu_words(base.fill, at, memory / 4, value, s[0]));
        CU(cu.cuStreamSynchronize(s[0]));
        for (cu_course_begin(&course, argv, 500); cu_course_goes_on(&course, rounds); rounds++) {
                turn(&held[rounds % STREAMS][rounds / STREAMS % PIECES], s[rounds % STREAMS], most, &random);
                if (rounds % 8)
                        continue;
                CU(cu_words(base.step, at, memory / 4, 1, s[0]));
                value = value * 1664525U + 1013904223U + 1;
        }
        wrong += compare(at, memory / 4, value, s[0]);
        CU(cu.cuMemFreeAsync(at, s[0]));
        CU(cu.cuCtxSynchronize());
        printf("{\"name\":\"ordered\",\"pid\":%d,\"ok\":%s,\"rounds\":%llu,\"checked\":%llu,\"wrong_words\":%llu,\"failed\":\"%s\"}\n", (int)getpid(),
               wrong || failed ? "false" : "true", (unsigned long long)rounds, (unsigned long long)checked, (unsigned long long)wrong, failed ? failed : "");
        return wrong || failed ? 1 : 0;
}
