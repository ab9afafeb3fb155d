/* vmm.c: a program with virtual memory management of its own, as allocators with expandable segments have it.
 *
 * Memory of several sizes is created, mapped into one long range and opened: small ones can be exported, some is released at once after
 * mapping, some becomes read-only, one piece is mapped twice, one is exported and imported. Rounds change all of it, take pieces away, put them
 * back, and move handles; a second thread maps and unmaps at any time, so also while the memory is out. All words are compared at
 * the end. --rules prints what the driver answers to right and wrong calls instead, to be compared with what it says without Berth. One line of
 * JSON; status 0: all right, 1: wrong words or answers.
 */
#include "cu.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define MAX_PIECES 256

struct piece {
        CUdeviceptr at;
        uint64_t bytes;
        CUmemGenericAllocationHandle handle;
        uint32_t value;
        bool released, read_only;
};

static struct cu_base base;
static struct piece pieces[MAX_PIECES];
static size_t pieces_n;
static CUdeviceptr twice_at, imported_at;
static CUmemGenericAllocationHandle imported;
static uint64_t rounds, wrong;
static _Atomic uint64_t churned, churn_wrong;
static _Atomic bool ending;

static CUmemAllocationProp properties(bool exportable)
{
        return (CUmemAllocationProp){.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                     .requestedHandleTypes = exportable ? CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR : 0,
                                     .location = {CU_MEM_LOCATION_TYPE_DEVICE, base.device}};
}

static void open_to(CUdeviceptr at, uint64_t bytes, int flags)
{
        CUmemAccessDesc access = {.location = {CU_MEM_LOCATION_TYPE_DEVICE, base.device}, .flags = flags};

        CU(cu.cuMemSetAccess(at, bytes, &access, 1));
}

static void fail(const char *what)
{
        fprintf(stderr, "vmm: %s\n", what);
        wrong++;
}

static void fill(CUdeviceptr at, uint64_t bytes, uint32_t value)
{
        CU(cu_words(base.fill, at, bytes / 4, value, NULL));
}

static void make(struct piece *p, size_t i)
{
        CUmemAllocationProp wanted = properties(i % 2 == 0 && p->bytes <= 4 * MIB), got = {0};

        CU(cu.cuMemCreate(&p->handle, p->bytes, &wanted, 0));
        CU(cu.cuMemGetAllocationPropertiesFromHandle(&got, p->handle));
        if (got.requestedHandleTypes != wanted.requestedHandleTypes || got.location.id != base.device)
                fail("a handle has other properties than it was made with");
        CU(cu.cuMemMap(p->at, p->bytes, 0, p->handle, 0));
        p->released = i % 5 == 3;
        if (p->released)
                CU(cu.cuMemRelease(p->handle));
        open_to(p->at, p->bytes, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
        p->value = (uint32_t)(i * 2654435761U + rounds);
        fill(p->at, p->bytes, p->value);
        p->read_only = false;
}

static void make_read_only(struct piece *p)
{
        CU(cu.cuCtxSynchronize());
        open_to(p->at, p->bytes, CU_MEM_ACCESS_FLAGS_PROT_READ);
        p->read_only = true;
}

static void take_away(struct piece *p)
{
        CU(cu.cuCtxSynchronize());
        CU(cu.cuMemUnmap(p->at, p->bytes));
        if (!p->released)
                CU(cu.cuMemRelease(p->handle));
}

/* What is in a handle stays there while it is mapped nowhere. */
static void map_again(struct piece *p)
{
        CU(cu.cuCtxSynchronize());
        CU(cu.cuMemUnmap(p->at, p->bytes));
        CU(cu.cuMemMap(p->at, p->bytes, 0, p->handle, 0));
        open_to(p->at, p->bytes, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
}

static void check_handle(const struct piece *p)
{
        CUmemGenericAllocationHandle handle = 0;
        CUmemLocation location = {CU_MEM_LOCATION_TYPE_DEVICE, base.device};
        unsigned long long flags = 0;

        CU(cu.cuMemGetAccess(&flags, &location, p->at));
        if (flags != (p->read_only ? CU_MEM_ACCESS_FLAGS_PROT_READ : CU_MEM_ACCESS_FLAGS_PROT_READWRITE))
                fail("a mapping has other access rights than it was given");
        CU(cu.cuMemRetainAllocationHandle(&handle, (void *)(uintptr_t)(p->at + p->bytes / 2)));
        if (!p->released && handle != p->handle)
                fail("a retained handle is not the one that was mapped");
        CU(cu.cuMemRelease(handle));
}

static void one_round(void)
{
        struct piece *p = &pieces[rounds % pieces_n];

        for (size_t i = 0; i < pieces_n; i++) {
                if (pieces[i].read_only)
                        continue;
                CU(cu_words(base.step, pieces[i].at, pieces[i].bytes / 4, (uint32_t)i, NULL));
                pieces[i].value = pieces[i].value * 1664525U + 1013904223U + (uint32_t)i;
        }
        CU(cu.cuCtxSynchronize());
        check_handle(p);
        /* The first two are mapped elsewhere, too. */
        if (p > &pieces[1] && rounds % 3 == 0) {
                take_away(p);
                make(p, (size_t)(p - pieces));
        } else if (p > &pieces[1] && rounds % 3 == 1 && !p->released) {
                map_again(p);
                p->read_only = false;
        }
        if (p > &pieces[1] && rounds % 7 == 5)
                make_read_only(p);
        rounds++;
}

static void pause_us(long us)
{
        nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
}

/* Small pieces come and go at any time, whatever becomes of the rest meanwhile. */
static void *churn(void *unused)
{
        CUmemAllocationProp wanted = properties(false);
        CUstream s;
        CUdeviceptr at;
        uint32_t state = 1;

        (void)unused;
        CU(cu.cuCtxSetCurrent(base.context));
        CU(cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
        CU(cu.cuMemAddressReserve(&at, 8 * MIB, 0, 0, 0));
        while (!atomic_load(&ending)) {
                uint64_t bytes = (1 + state % 4) * 2 * MIB;
                CUmemGenericAllocationHandle handle;
                unsigned kind;

                state = state * 1664525U + 1013904223U;
                kind = state >> 16;
                CU(cu.cuMemCreate(&handle, bytes, &wanted, 0));
                CU(cu.cuMemMap(at, bytes, 0, handle, 0));
                open_to(at, bytes, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
                CU(cu_words(base.fill, at, bytes / 4, state, s));
                CU(cu.cuStreamSynchronize(s));
                pause_us(20000 + state % 180000);
                if (kind % 3 == 0) {
                        CU(cu.cuMemRelease(handle));
                        CU(cu.cuMemUnmap(at, bytes));
                } else {
                        CU(cu.cuMemUnmap(at, bytes));
                        pause_us(kind % 5 ? 0 : 100000);
                        if (kind % 3 == 1) {
                                CU(cu.cuMemMap(at, bytes, 0, handle, 0));
                                open_to(at, bytes, CU_MEM_ACCESS_FLAGS_PROT_READ);
                                atomic_fetch_add(&churn_wrong, cu_wrong(at, bytes, state, s));
                                CU(cu.cuMemUnmap(at, bytes));
                        }
                        CU(cu.cuMemRelease(handle));
                }
                atomic_fetch_add(&churned, 1);
        }
        CU(cu.cuMemAddressFree(at, 8 * MIB));
        CU(cu.cuStreamDestroy(s));
        return NULL;
}

/* A second name and a second place for two of the pieces: what is written at one shows at the other. */
static void share_two(void)
{
        int fd = -1;

        CU(cu.cuMemExportToShareableHandle(&fd, pieces[0].handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
        CU(cu.cuMemImportFromShareableHandle(&imported, (void *)(intptr_t)fd, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
        close(fd);
        CU(cu.cuMemAddressReserve(&imported_at, pieces[0].bytes, 0, 0, 0));
        CU(cu.cuMemMap(imported_at, pieces[0].bytes, 0, imported, 0));
        open_to(imported_at, pieces[0].bytes, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
        CU(cu.cuMemAddressReserve(&twice_at, pieces[1].bytes, 0, 0, 0));
        CU(cu.cuMemMap(twice_at, pieces[1].bytes, 0, pieces[1].handle, 0));
        open_to(twice_at, pieces[1].bytes, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
}

static void check_all(void)
{
        for (size_t i = 0; i < pieces_n; i++) {
                wrong += cu_wrong(pieces[i].at, pieces[i].bytes, pieces[i].value, NULL);
                check_handle(&pieces[i]);
        }
        if (imported_at) {
                wrong += cu_wrong(imported_at, pieces[0].bytes, pieces[0].value, NULL);
                wrong += cu_wrong(twice_at, pieces[1].bytes, pieces[1].value, NULL);
        }
}

static void end_sharing(void)
{
        CU(cu.cuMemUnmap(imported_at, pieces[0].bytes));
        CU(cu.cuMemRelease(imported));
        CU(cu.cuMemAddressFree(imported_at, pieces[0].bytes));
        CU(cu.cuMemUnmap(twice_at, pieces[1].bytes));
        CU(cu.cuMemAddressFree(twice_at, pieces[1].bytes));
}

static uint64_t segments(char **argv)
{
        static const uint64_t sizes[] = {4 * MIB, 2 * MIB, 20 * MIB, 24 * MIB, 2 * MIB, 6 * MIB};
        uint64_t memory = cu_size(argv, "--memory", 128 * MIB), bytes = 0;
        CUdeviceptr range, end;
        struct cu_course course;
        pthread_t thread;

        CU(cu.cuMemAddressReserve(&range, 2 * memory, 0, 0, 0));
        for (end = range; bytes < memory && pieces_n < MAX_PIECES; pieces_n++) {
                struct piece *p = &pieces[pieces_n];

                p->bytes = sizes[pieces_n % 6] < memory - bytes ? sizes[pieces_n % 6] : memory - bytes;
                p->at = end;
                make(p, pieces_n);
                end += p->bytes;
                bytes += p->bytes;
        }
        if (cu_flag(argv, "--share"))
                share_two();
        if (pthread_create(&thread, NULL, churn, NULL))
                abort();
        for (cu_course_begin(&course, argv, 20); cu_course_goes_on(&course, rounds);)
                one_round();
        atomic_store(&ending, true);
        pthread_join(thread, NULL);
        check_all();
        if (imported_at)
                end_sharing();
        /* Several mappings at once, and those that were released go with their mapping. */
        CU(cu.cuMemUnmap(range, end - range));
        for (size_t i = 0; i < pieces_n; i++)
                if (!pieces[i].released)
                        CU(cu.cuMemRelease(pieces[i].handle));
        CU(cu.cuMemAddressFree(range, 2 * memory));
        return bytes;
}

/* --- what the driver says --- */

#define SAY(name, call, value)                                                                                         \
        do {                                                                                                           \
                CUresult said_ = (call);                                                                               \
                                                                                                                       \
                printf("%s=%s,%llu\n", name, cu_name(said_), (unsigned long long)(value));                             \
        } while (0)

static void rules(void)
{
        CUmemAllocationProp plain = properties(false), exportable = properties(true), got = {0};
        CUmemLocation here = plain.location;
        CUmemAccessDesc all = {here, CU_MEM_ACCESS_FLAGS_PROT_READWRITE}, some = {here, CU_MEM_ACCESS_FLAGS_PROT_READ},
                        none = {here, CU_MEM_ACCESS_FLAGS_PROT_NONE};
        CUmemGenericAllocationHandle a = 0, b = 0, c = 0, other = 0;
        unsigned long long flags = 9;
        CUdeviceptr at = 0, start = 0;
        size_t bytes = 0;
        unsigned type = 0;
        uint32_t word = 0;
        int fd = -1;

        SAY("create-nothing", cu.cuMemCreate(&a, 0, &plain, 0), 0);
        SAY("create-odd", cu.cuMemCreate(&a, 4096, &plain, 0), 0);
        SAY("create-flags", cu.cuMemCreate(&a, 4 * MIB, &plain, 77), 0);
        SAY("create", cu.cuMemCreate(&a, 4 * MIB, &plain, 0), a != 0);
        SAY("create-exportable", cu.cuMemCreate(&b, 4 * MIB, &exportable, 0), b != 0 && b != a);
        SAY("create-large", cu.cuMemCreate(&c, 24 * MIB, &plain, 0), c != 0 && c != a && c != b);
        SAY("properties", cu.cuMemGetAllocationPropertiesFromHandle(&got, b), (unsigned)got.requestedHandleTypes);
        SAY("properties-bad", cu.cuMemGetAllocationPropertiesFromHandle(&got, 12345), 0);
        SAY("reserve", cu.cuMemAddressReserve(&at, 64 * MIB, 0, 0, 0), at % (2 * MIB));
        SAY("map", cu.cuMemMap(at, 4 * MIB, 0, a, 0), 0);
        SAY("map-over", cu.cuMemMap(at, 4 * MIB, 0, b, 0), 0);
        SAY("map-bad-handle", cu.cuMemMap(at + 4 * MIB, 4 * MIB, 0, 12345, 0), 0);
        SAY("map-flags", cu.cuMemMap(at + 4 * MIB, 4 * MIB, 0, b, 1), 0);
        SAY("map-b", cu.cuMemMap(at + 4 * MIB, 4 * MIB, 0, b, 0), 0);
        SAY("map-large", cu.cuMemMap(at + 8 * MIB, 24 * MIB, 0, c, 0), 0);
        SAY("map-outside", cu.cuMemMap(at + 62 * MIB, 4 * MIB, 0, b, 0), 0);
        SAY("access-before", cu.cuMemGetAccess(&flags, &here, at), flags);
        SAY("access-nothing", cu.cuMemSetAccess(at, 4 * MIB, &all, 0), 0);
        SAY("access-two", cu.cuMemSetAccess(at, 8 * MIB, &all, 1), 0);
        SAY("access-large", cu.cuMemSetAccess(at + 8 * MIB, 24 * MIB, &all, 1), 0);
        SAY("access-hole", cu.cuMemSetAccess(at + 32 * MIB, 2 * MIB, &all, 1), 0);
        SAY("access-get", cu.cuMemGetAccess(&flags, &here, at + 6 * MIB), flags);
        SAY("access-get-hole", cu.cuMemGetAccess(&flags, &here, at + 40 * MIB), 0);
        SAY("retain", cu.cuMemRetainAllocationHandle(&other, (void *)(uintptr_t)(at + 5 * MIB)), other == b);
        SAY("retain-hole", cu.cuMemRetainAllocationHandle(&other, (void *)(uintptr_t)(at + 40 * MIB)), 0);
        SAY("release-b", cu.cuMemRelease(b), 0);
        SAY("properties-b", cu.cuMemGetAllocationPropertiesFromHandle(&got, b), (unsigned)got.requestedHandleTypes);
        SAY("fill", cu_words(base.fill, at, 32 * MIB / 4, 1234, NULL), 0);
        SAY("copy", cu.cuMemcpyDtoH(&word, at + 31 * MIB, 4), word);
        SAY("type", cu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, at), type);
        SAY("range", cu.cuMemGetAddressRange(&start, &bytes, at + 5 * MIB), start == at + 4 * MIB ? bytes : 1);
        SAY("range-large", cu.cuMemGetAddressRange(&start, &bytes, at + 30 * MIB), start == at + 8 * MIB ? bytes : 1);
        SAY("range-size", cu.cuPointerGetAttribute(&bytes, CU_POINTER_ATTRIBUTE_RANGE_SIZE, at + 30 * MIB), bytes);
        SAY("free", cu.cuMemFree(at), 0);
        SAY("export-plain", cu.cuMemExportToShareableHandle(&fd, a, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0), 0);
        SAY("export", cu.cuMemExportToShareableHandle(&fd, b, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0), fd >= 0);
        SAY("import", cu.cuMemImportFromShareableHandle(&other, (void *)(intptr_t)fd, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR),
            other != b);
        SAY("map-imported", cu.cuMemMap(at + 40 * MIB, 4 * MIB, 0, other, 0), 0);
        SAY("access-imported", cu.cuMemSetAccess(at + 40 * MIB, 4 * MIB, &some, 1), 0);
        SAY("copy-imported", cu.cuMemcpyDtoH(&word, at + 41 * MIB, 4), word);
        close(fd);
        SAY("read-only", cu.cuMemSetAccess(at, 4 * MIB, &some, 1), 0);
        SAY("read-only-get", cu.cuMemGetAccess(&flags, &here, at), flags);
        SAY("closed", cu.cuMemSetAccess(at, 4 * MIB, &none, 1), 0);
        SAY("closed-get", cu.cuMemGetAccess(&flags, &here, at), flags);
        SAY("open", cu.cuMemSetAccess(at, 4 * MIB, &all, 1), 0);
        SAY("copy-open", cu.cuMemcpyDtoH(&word, at + 1 * MIB, 4), word);
        SAY("unmap-part", cu.cuMemUnmap(at, 2 * MIB), 0);
        SAY("unmap-large-part", cu.cuMemUnmap(at + 8 * MIB, 2 * MIB), 0);
        SAY("unmap-two", cu.cuMemUnmap(at, 8 * MIB), 0);
        SAY("unmap-again", cu.cuMemUnmap(at, 4 * MIB), 0);
        SAY("address-free-mapped", cu.cuMemAddressFree(at, 64 * MIB), 0);
        SAY("map-moved", cu.cuMemMap(at + 48 * MIB, 4 * MIB, 0, a, 0), 0);
        SAY("open-moved", cu.cuMemSetAccess(at + 48 * MIB, 4 * MIB, &all, 1), 0);
        SAY("copy-moved", cu.cuMemcpyDtoH(&word, at + 50 * MIB, 4), word);
        SAY("map-twice", cu.cuMemMap(at + 52 * MIB, 4 * MIB, 0, a, 0), 0);
        SAY("open-twice", cu.cuMemSetAccess(at + 52 * MIB, 4 * MIB, &all, 1), 0);
        SAY("fill-twice", cu_words(base.fill, at + 52 * MIB, MIB, 4321, NULL), 0);
        SAY("copy-twice", cu.cuMemcpyDtoH(&word, at + 48 * MIB, 4), word);
        SAY("release-a", cu.cuMemRelease(a), 0);
        SAY("release-a-again", cu.cuMemRelease(a), 0);
        SAY("map-released", cu.cuMemMap(at, 4 * MIB, 0, a, 0), 0);
        SAY("unmap-one", cu.cuMemUnmap(at + 48 * MIB, 4 * MIB), 0);
        SAY("copy-other", cu.cuMemcpyDtoH(&word, at + 52 * MIB, 4), word);
        SAY("unmap-other", cu.cuMemUnmap(at + 52 * MIB, 4 * MIB), 0);
        SAY("release-b-again", cu.cuMemRelease(b), 0);
        SAY("release-imported", cu.cuMemRelease(other), 0);
        SAY("unmap-imported", cu.cuMemUnmap(at + 40 * MIB, 4 * MIB), 0);
        SAY("unmap-large", cu.cuMemUnmap(at + 8 * MIB, 24 * MIB), 0);
        SAY("release-large", cu.cuMemRelease(c), 0);
        SAY("address-free-part", cu.cuMemAddressFree(at, 32 * MIB), 0);
        SAY("address-free", cu.cuMemAddressFree(at, 64 * MIB), 0);
}

int main(int argc, char **argv)
{
        uint64_t bytes;

        (void)argc;
        cu_known(argv, "--memory= --share --rules " CU_COURSE);
        cu_open(argv);
        cu_begin(&base);
        if (cu_flag(argv, "--rules")) {
                rules();
                return 0;
        }
        bytes = segments(argv);
        wrong += atomic_load(&churn_wrong);
        printf("{\"name\":\"vmm\",\"pid\":%d,\"ok\":%s,\"rounds\":%llu,\"churned\":%llu,\"bytes\":%llu,\"wrong_words\":%llu}\n", (int)getpid(),
               wrong ? "false" : "true", (unsigned long long)rounds, (unsigned long long)atomic_load(&churned), (unsigned long long)bytes,
               (unsigned long long)wrong);
        return wrong ? 1 : 0;
}
