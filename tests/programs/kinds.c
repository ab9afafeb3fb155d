/* kinds.c: one kind of use of a device at a time, round after round, checked in every round.
 *
 * --kind NAME is one of the table below; --memory SIZE of ordinary memory goes along with it, all of it changed in every
 * round, so that two of these programs make each other move. What a kind sets up (streams, graphs, contexts, arrays,
 * managed and pinned memory) it sets up before the first round and uses until the last. Ends after --rounds or
 * --seconds or when the file --until is there, whichever is latest, with one line of JSON.
 */
#include "kinds.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

struct cu_base base;
const char *failed;
CUdeviceptr area;

bool all_are(CUdeviceptr at, uint64_t words, uint32_t value, CUstream s)
{
        uint32_t *host = malloc(words * 4);
        bool same = host != NULL;

        CU(cu.cuMemcpyDtoHAsync(host, at, words * 4, s));
        CU(cu.cuStreamSynchronize(s));
        for (uint64_t i = 0; same && i < words; i++)
                same = host[i] == value;
        free(host);
        return same;
}

/* --- streams --- */

static struct {
        CUstream plain, other, urgent;
        CUevent event;
} streams;

static void streams_begin(void)
{
        CU(cu.cuStreamCreate(&streams.plain, CU_STREAM_DEFAULT));
        CU(cu.cuStreamCreate(&streams.other, CU_STREAM_NON_BLOCKING));
        CU(cu.cuStreamCreateWithPriority(&streams.urgent, CU_STREAM_NON_BLOCKING, -1));
        CU(cu.cuEventCreate(&streams.event, CU_EVENT_DISABLE_TIMING));
}

static void *on_own_stream(void *argument)
{
        CUdeviceptr at = *(CUdeviceptr *)argument;

        CU(cu.cuCtxSetCurrent(base.context));
        CU(cu_words(base.add, at, 1024, 1, CU_STREAM_PER_THREAD));
        CU(cu.cuStreamSynchronize(CU_STREAM_PER_THREAD));
        return NULL;
}

static void next_stream(CUstream from, CUstream to)
{
        CU(cu.cuEventRecord(streams.event, from));
        CU(cu.cuStreamWaitEvent(to, streams.event, 0));
}

/* One chain through streams of all kinds, and another thread's default stream beside it. */
static void streams_round(uint32_t round)
{
        CUdeviceptr beside = area + 4096 * 4;
        pthread_t thread;

        (void)round;
        CU(cu_words(base.fill, beside, 1024, 10, NULL));
        CU(cu.cuStreamSynchronize(NULL));
        WANT(pthread_create(&thread, NULL, on_own_stream, &beside) == 0);
        CU(cu_words(base.fill, area, 1024, 1, CU_STREAM_LEGACY));
        CU(cu_words(base.add, area, 1024, 1, streams.plain)); /* after the legacy stream, by its nature */
        CU(cu_words(base.add, area, 1024, 1, NULL));
        next_stream(NULL, streams.other);
        CU(cu_words(base.add, area, 1024, 1, streams.other));
        next_stream(streams.other, streams.urgent);
        CU(cu_words(base.add, area, 1024, 1, streams.urgent));
        next_stream(streams.urgent, CU_STREAM_PER_THREAD);
        CU(cu_words(base.add, area, 1024, 1, CU_STREAM_PER_THREAD));
        WANT(all_are(area, 1024, 6, CU_STREAM_PER_THREAD));
        pthread_join(thread, NULL);
        WANT(all_are(beside, 1024, 11, streams.other));
}

static void streams_end(void)
{
        CU(cu.cuEventDestroy(streams.event));
        CU(cu.cuStreamDestroy(streams.plain));
        CU(cu.cuStreamDestroy(streams.other));
        CU(cu.cuStreamDestroy(streams.urgent));
}

/* --- host memory: pinned in each way there is, and registered --- */

enum { HOST_WORDS = 1 << 14, HOST_KINDS = 5 };
static uint32_t *pinned[HOST_KINDS], *registered;

static void host_begin(void)
{
        CU(cu.cuMemAllocHost((void **)&pinned[HOST_KINDS - 1], HOST_WORDS * 4));
        for (unsigned i = 0; i < HOST_KINDS - 1; i++) {
                unsigned wish = i < 3 ? i : 2 | 4, flags = 99; /* plain, portable, mapped, mapped and write-combined */

                CU(cu.cuMemHostAlloc((void **)&pinned[i], HOST_WORDS * 4, wish));
                CU(cu.cuMemHostGetFlags(&flags, pinned[i]));
                WANT((flags & wish & ~1U) == (wish & ~1U)); /* a real driver does not say that it is portable: all of it is */
        }
        registered = aligned_alloc(4096, HOST_WORDS * 4);
        WANT(registered);
        CU(cu.cuMemHostRegister(registered, HOST_WORDS * 4, CU_MEMHOSTREGISTER_DEVICEMAP));
}

static void host_round(uint32_t round)
{
        for (unsigned i = 0; i <= HOST_KINDS; i++) {
                uint32_t *host = i < HOST_KINDS ? pinned[i] : registered;
                CUdeviceptr mapped;

                for (unsigned k = 0; k < HOST_WORDS; k++)
                        host[k] = round + i;
                CU(cu.cuMemcpyHtoDAsync(area, host, HOST_WORDS * 4, NULL));
                CU(cu_words(base.add, area, HOST_WORDS, 5, NULL));
                CU(cu.cuMemcpyDtoHAsync(host, area, HOST_WORDS * 4, NULL));
                CU(cu.cuMemHostGetDevicePointer(&mapped, host, 0));
                CU(cu_words(base.add, mapped, HOST_WORDS, 3, NULL)); /* in place, over the link */
                CU(cu.cuStreamSynchronize(NULL));
                WANT(host[0] == round + i + 8 && host[HOST_WORDS - 1] == round + i + 8);
        }
        if (round % 3 == 2) { /* let go and registered anew, in whatever state the device memory is */
                CU(cu.cuMemHostUnregister(registered));
                CU(cu.cuMemHostRegister(registered, HOST_WORDS * 4, CU_MEMHOSTREGISTER_DEVICEMAP));
        }
}

static void host_end(void)
{
        for (unsigned i = 0; i < HOST_KINDS; i++)
                CU(cu.cuMemFreeHost(pinned[i]));
        CU(cu.cuMemHostUnregister(registered));
        free(registered);
}

/* --- managed memory --- */

enum { MANAGED_WORDS = 2 << 18 };
static CUdeviceptr managed;

static void managed_begin(void)
{
        CU(cu.cuMemAllocManaged(&managed, MANAGED_WORDS * 4, 1));
}

static void managed_round(uint32_t round)
{
        uint32_t *host = (uint32_t *)(uintptr_t)managed;
        unsigned is = 0;

        host[7] = round;
        CU(cu_words(base.add, managed, MANAGED_WORDS, 1, NULL));
        CU(cu.cuStreamSynchronize(NULL));
        WANT(host[7] == round + 1 && host[MANAGED_WORDS - 1] == round + 1);
        CU(cu.cuMemcpyDtoD(area, managed + 4, 4096));
        WANT(all_are(area, 1, round + 1, NULL));
        CU(cu.cuPointerGetAttribute(&is, CU_POINTER_ATTRIBUTE_IS_MANAGED, managed + 4));
        WANT(is & 1);
}

static void managed_end(void)
{
        CU(cu.cuMemFree(managed));
}

/* --- arrays and textures --- */

enum { SIDE = 64, DEPTH = 4 };
static CUarray flat, deep, level;
static CUmipmappedArray mipmap;
static unsigned long long texture, linear_texture;
static uint32_t box[DEPTH][SIDE][SIDE], back[DEPTH][SIDE][SIDE];

static void arrays_begin(void)
{
        CUDA_ARRAY_DESCRIPTOR d = {SIDE, SIDE, CU_AD_FORMAT_UNSIGNED_INT32, 1};
        CUDA_ARRAY3D_DESCRIPTOR e = {SIDE, SIDE, DEPTH, CU_AD_FORMAT_UNSIGNED_INT32, 1, 0}, got;
        CUDA_RESOURCE_DESC resource = {.resType = CU_RESOURCE_TYPE_ARRAY}, linear = {.resType = CU_RESOURCE_TYPE_LINEAR};
        CUDA_TEXTURE_DESC how = {.addressMode = {1, 1, 1}};

        CU(cu.cuArrayCreate(&flat, &d));
        CU(cu.cuArray3DCreate(&deep, &e));
        CU(cu.cuArray3DGetDescriptor(&got, deep));
        WANT(got.Width == SIDE && got.Depth == DEPTH && got.Format == e.Format);
        e.Depth = 0;
        CU(cu.cuMipmappedArrayCreate(&mipmap, &e, 3));
        CU(cu.cuMipmappedArrayGetLevel(&level, mipmap, 1));
        CU(cu.cuArray3DGetDescriptor(&got, level));
        WANT(got.Width == SIDE / 2 && got.Height == SIDE / 2);
        resource.res.array = flat;
        CU(cu.cuTexObjectCreate(&texture, &resource, &how, NULL));
        linear.res.linear.devPtr = area;
        linear.res.linear.format = CU_AD_FORMAT_UNSIGNED_INT32;
        linear.res.linear.numChannels = 1;
        linear.res.linear.sizeInBytes = SIDE * SIDE * 4;
        CU(cu.cuTexObjectCreate(&linear_texture, &linear, &how, NULL));
}

static CUDA_MEMCPY3D box_copy(bool out)
{
        CUDA_MEMCPY3D c = {.WidthInBytes = SIDE * 4, .Height = SIDE, .Depth = DEPTH};

        c.srcMemoryType = out ? CU_MEMORYTYPE_ARRAY : CU_MEMORYTYPE_HOST;
        c.dstMemoryType = out ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_ARRAY;
        c.srcArray = c.dstArray = deep;
        c.srcHost = box;
        c.dstHost = back;
        c.srcPitch = c.dstPitch = SIDE * 4;
        c.srcHeight = c.dstHeight = SIDE;
        return c;
}

static void arrays_round(uint32_t round)
{
        CUDA_MEMCPY2D in = {.srcMemoryType = CU_MEMORYTYPE_DEVICE, .srcDevice = area, .srcPitch = SIDE * 4,
                            .dstMemoryType = CU_MEMORYTYPE_ARRAY, .dstArray = flat, .WidthInBytes = SIDE * 4,
                            .Height = SIDE};
        CUDA_MEMCPY3D copy;
        uint32_t row[SIDE];

        /* From before this round, and so from before a switch. */
        if (round > 0) {
                CU(cu.cuMemcpyAtoH(row, flat, 0, sizeof(row)));
                WANT(row[0] == round + 99 && row[SIDE - 1] == round + 99);
                copy = box_copy(true);
                CU(cu.cuMemcpy3D(&copy));
                WANT(memcmp(box, back, sizeof(box)) == 0);
                CU(cu.cuMemcpyAtoH(row, level, 0, SIDE * 2));
                WANT(row[0] == round - 1 && row[SIDE / 2 - 1] == round - 1);
        }
        CU(cu_words(base.fill, area, SIDE * SIDE, round + 100, NULL));
        CU(cu.cuMemcpy2D(&in));
        for (unsigned i = 0; i < DEPTH * SIDE * SIDE; i++)
                (&box[0][0][0])[i] = i * 7 + round;
        copy = box_copy(false);
        CU(cu.cuMemcpy3D(&copy));
        for (unsigned i = 0; i < SIDE; i++)
                row[i] = round;
        CU(cu.cuMemcpyHtoA(level, 0, row, SIDE * 2));
}

static void arrays_end(void)
{
        CU(cu.cuTexObjectDestroy(texture));
        CU(cu.cuTexObjectDestroy(linear_texture));
        CU(cu.cuMipmappedArrayDestroy(mipmap));
        CU(cu.cuArrayDestroy(deep));
        CU(cu.cuArrayDestroy(flat));
}

/* --- cooperative launches --- */

static void cooperative_begin(void)
{
        CU(cu.cuMemsetD8(area, 0, AREA_WORDS * 4));
}

static void cooperative_round(uint32_t round)
{
        uint64_t words = AREA_WORDS;
        uint32_t one = 1;
        void *parameters[] = {&area, &words, &one};

        CU(cu.cuLaunchCooperativeKernel(base.add, 8, 1, 1, 256, 1, 1, 0, NULL, parameters));
        WANT(all_are(area, words, round + 1, NULL));
}

void nothing(void)
{
}

/* --- a context with several users --- */

static CUcontext shared_context;
static CUdeviceptr shared_at;

static void attached_begin(void)
{
        CUcontext again, popped;

        CU(cu.cuMemsetD8(area, 0, AREA_WORDS * 4));
        CU(cu.cuCtxCreate(&shared_context, 0, base.device));
        CU(cu.cuCtxAttach(&again, 0));
        WANT(again == shared_context);
        CU(cu.cuMemAlloc(&shared_at, 8 * MIB));
        CU(cu.cuMemsetD32(shared_at, 11, 2 * MIB));
        CU(cu.cuCtxDetach(shared_context)); /* the first user's: the context goes on */
        CU(cu.cuCtxPopCurrent(&popped));
}

static void attached_round(uint32_t round)
{
        CUcontext again, popped;

        CU(cu.cuCtxPushCurrent(shared_context));
        CU(cu.cuCtxAttach(&again, 0));
        WANT(all_are(shared_at + 4 * MIB, 1024, round + 11, NULL));
        CU(cu.cuMemsetD32(shared_at, round + 12, 2 * MIB));
        CU(cu.cuCtxDetach(again));
        CU(cu.cuCtxPopCurrent(&popped));
        CU(cu_words(base.add, area, AREA_WORDS, 1, NULL));
        WANT(all_are(area, AREA_WORDS, round + 1, NULL));
}

/* With the last user the context goes, and what it had. */
static void attached_end(void)
{
        CUcontext current = NULL;

        CU(cu.cuCtxPushCurrent(shared_context));
        CU(cu.cuCtxDetach(shared_context));
        CU(cu.cuCtxGetCurrent(&current));
        if (current != base.context)
                CU(cu.cuCtxSetCurrent(base.context));
}

/* --- several contexts --- */

static struct {
        CUcontext context;
        CUfunction add;
        CUdeviceptr at;
} second;

static void contexts_begin(void)
{
        struct cu_base made;
        CUcontext popped;

        CU(cu.cuMemsetD8(area, 0, AREA_WORDS * 4));
        CU(cu.cuCtxCreate(&second.context, 0, base.device));
        cu_load(&made);
        second.add = made.add;
        CU(cu.cuMemAlloc(&second.at, 8 * MIB));
        CU(cu.cuMemsetD8(second.at, 0, 8 * MIB));
        CU(cu.cuCtxPopCurrent(&popped));
        WANT(popped == second.context);
}

static void contexts_round(uint32_t round)
{
        CUcontext popped;

        CU(cu_words(base.add, area, AREA_WORDS, 1, NULL));
        CU(cu.cuCtxPushCurrent(second.context));
        CU(cu_words(second.add, second.at, 2 * MIB, 1, NULL));
        WANT(all_are(second.at + 8 * MIB - 4096, 1024, round + 1, NULL));
        CU(cu.cuCtxPopCurrent(&popped));
        WANT(all_are(area, AREA_WORDS, round + 1, NULL));
}

/* What the second one had ends with it; the first one's goes on. */
static void contexts_end(void)
{
        CU(cu.cuCtxDestroy(second.context));
        CU(cu_words(base.fill, area, AREA_WORDS, 3, NULL));
        WANT(all_are(area, AREA_WORDS, 3, NULL));
}

/* --- green contexts --- */

static struct {
        CUgreenCtx green;
        CUcontext context;
        CUstream stream;
        CUdeviceptr at;
} green;

static void green_begin(void)
{
        CUdevResource whole, half;
        unsigned groups = 1;
        CUcontext popped;
        void *share;

        CU(cu.cuDeviceGetDevResource(base.device, &whole, CU_DEV_RESOURCE_TYPE_SM));
        CU(cu.cuDevSmResourceSplitByCount(&half, &groups, &whole, NULL, 0, whole.sm.smCount / 2));
        WANT(groups == 1 && half.sm.smCount < whole.sm.smCount);
        CU(cu.cuDevResourceGenerateDesc(&share, &half, 1));
        CU(cu.cuGreenCtxCreate(&green.green, share, base.device, CU_GREEN_CTX_DEFAULT_STREAM));
        CU(cu.cuGreenCtxStreamCreate(&green.stream, green.green, CU_STREAM_NON_BLOCKING, 0));
        CU(cu.cuCtxFromGreenCtx(&green.context, green.green));
        CU(cu.cuMemsetD8(area, 0, AREA_WORDS * 4));
        CU(cu.cuCtxPushCurrent(green.context));
        CU(cu.cuMemAlloc(&green.at, 8 * MIB)); /* lives in the primary context */
        CU(cu.cuMemsetD32Async(green.at, 9, 2 * MIB, green.stream));
        CU(cu.cuStreamSynchronize(green.stream));
        CU(cu.cuCtxPopCurrent(&popped));
}

static void green_round(uint32_t round)
{
        CUcontext popped;

        CU(cu_words(base.add, area, AREA_WORDS, 1, green.stream));
        WANT(all_are(area, AREA_WORDS, round + 1, green.stream));
        CU(cu.cuCtxPushCurrent(green.context));
        CU(cu_words(base.add, green.at, 2 * MIB, 1, green.stream));
        WANT(all_are(green.at + 8 * MIB - 4096, 1024, round + 10, green.stream));
        CU(cu.cuCtxPopCurrent(&popped));
}

static void green_end(void)
{
        uint32_t word = 0;

        CU(cu.cuStreamDestroy(green.stream));
        CU(cu.cuMemcpyDtoH(&word, green.at, 4));
        CU(cu.cuMemFree(green.at));
        CU(cu.cuGreenCtxDestroy(green.green));
        WANT(word > 9);
        CU(cu_words(base.fill, area, AREA_WORDS, 4, NULL));
        WANT(all_are(area, AREA_WORDS, 4, NULL));
}

static const struct kind kinds[] = {
        {"streams", streams_begin, streams_round, streams_end},
        {"host", host_begin, host_round, host_end},
        {"managed", managed_begin, managed_round, managed_end},
        {"arrays", arrays_begin, arrays_round, arrays_end},
        {"graphs", graphs_begin, graphs_round, graphs_end},
        {"nodes", nodes_begin, nodes_round, nodes_end},
        {"edges", edges_begin, edges_round, edges_end},
        {"values", values_begin, values_round, values_end},
        {"cooperative", cooperative_begin, cooperative_round, nothing},
        {"attached", attached_begin, attached_round, attached_end},
        {"contexts", contexts_begin, contexts_round, contexts_end},
        {"green", green_begin, green_round, green_end},
};

static const struct kind *find_kind(const char *name)
{
        for (size_t i = 0; name && i < sizeof(kinds) / sizeof(kinds[0]); i++)
                if (strcmp(kinds[i].name, name) == 0)
                        return &kinds[i];
        fprintf(stderr, "--kind is one of:");
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
                fprintf(stderr, " %s", kinds[i].name);
        fprintf(stderr, "\n");
        exit(64);
}

int main(int argc, char **argv)
{
        uint64_t bytes, sum = 0;
        CUdeviceptr ballast, out;
        const struct kind *kind;
        struct cu_course course;
        uint32_t round = 0;

        (void)argc;
        cu_known(argv, "--kind= --memory= " CU_COURSE);
        kind = find_kind(cu_option(argv, "--kind"));
        bytes = cu_size(argv, "--memory", 16 * MIB) / 4 * 4;
        cu_open(argv);
        cu_begin(&base);
        CU(cu.cuMemAlloc(&area, AREA_WORDS * 4));
        CU(cu.cuMemAlloc(&out, 8));
        CU(cu.cuMemAlloc(&ballast, bytes));
        CU(cu_words(base.fill, ballast, bytes / 4, 1000, NULL));
        kind->begin();
        for (cu_course_begin(&course, argv, 3); !failed && cu_course_goes_on(&course, round); round++) {
                kind->round(round);
                CU(cu_words(base.add, ballast, bytes / 4, 1, NULL));
                if (round % 4 == 3)
                        CU(cu.cuStreamSynchronize(NULL)); /* most kinds don't wait for this stream: it would queue without end */
        }
        kind->end();
        CU(cu.cuMemsetD8(out, 0, 8));
        CU(cu_checksum(base.checksum, ballast, bytes / 4, out, NULL));
        CU(cu.cuMemcpyDtoH(&sum, out, 8));
        WANT(sum == bytes / 4 * (1000 + (uint64_t)round));
        CU(cu.cuMemFree(ballast));
        CU(cu.cuMemFree(area));
        printf("{\"name\":\"kinds\",\"kind\":\"%s\",\"ok\":%s,\"rounds\":%u,\"bytes\":%llu}\n", kind->name,
               failed ? "false" : "true", round, (unsigned long long)bytes);
        return failed ? 1 : 0;
}
