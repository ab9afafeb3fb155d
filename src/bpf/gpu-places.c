/* gpu-places.c: the driver's functions that are probed, looked up in its library; see gpu-places.h. */
#include "gpu-places.h"

#include "bpf/gpu-map.h"
#include "bpf/symbols.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* Larger than any driver's library. */
#define MOST_BYTES (UINT64_C(1) << 30)

static const struct function {
        const char *name;
        uint8_t op, first, second; /* of GPU_COOKIE */
} functions[] = {
        {"cuLaunchKernel", GPU_LAUNCH, 0, 0},
        {"cuLaunchKernel_ptsz", GPU_LAUNCH, 0, 0},
        {"cuLaunchKernelEx", GPU_LAUNCH, 0, 0},
        {"cuLaunchKernelEx_ptsz", GPU_LAUNCH, 0, 0},
        {"cuLaunchCooperativeKernel", GPU_LAUNCH, 0, 0},
        {"cuLaunchCooperativeKernel_ptsz", GPU_LAUNCH, 0, 0},
        {"cuLaunch", GPU_LAUNCH, 0, 0},
        {"cuLaunchGrid", GPU_LAUNCH, 0, 0},
        {"cuLaunchGridAsync", GPU_LAUNCH, 0, 0},
        {"cuGraphLaunch", GPU_GRAPH, 0, 0},
        {"cuGraphLaunch_ptsz", GPU_GRAPH, 0, 0},
        {"cuCtxSynchronize", GPU_WAIT, 0, 0},
        {"cuCtxSynchronize_v2", GPU_WAIT, 0, 0},
        {"cuStreamSynchronize", GPU_WAIT, 0, 0},
        {"cuStreamSynchronize_ptsz", GPU_WAIT, 0, 0},
        {"cuEventSynchronize", GPU_WAIT, 0, 0},
        {"cuMemFree_v2", GPU_FREE, 0, 0},
        {"cuMemFreeAsync", GPU_FREE, 0, 0},
        {"cuMemFreeAsync_ptsz", GPU_FREE, 0, 0},
        {"cuMemRelease", GPU_FREE, 0, 0},
        {"cuMemAlloc_v2", GPU_ALLOC, 2, 0},
        {"cuMemAllocManaged", GPU_ALLOC, 2, 0},
        {"cuMemAllocPitch_v2", GPU_ALLOC, 3, 4},
        {"cuMemAllocAsync", GPU_ALLOC, 2, 0},
        {"cuMemAllocAsync_ptsz", GPU_ALLOC, 2, 0},
        {"cuMemAllocFromPoolAsync", GPU_ALLOC, 2, 0},
        {"cuMemAllocFromPoolAsync_ptsz", GPU_ALLOC, 2, 0},
        {"cuMemCreate", GPU_ALLOC, 2, 0},
        {"cuMemcpyHtoD_v2", GPU_COPY_IN, 3, 0},
        {"cuMemcpyHtoD_v2_ptds", GPU_COPY_IN, 3, 0},
        {"cuMemcpyHtoDAsync_v2", GPU_COPY_IN, 3, 0},
        {"cuMemcpyHtoDAsync_v2_ptsz", GPU_COPY_IN, 3, 0},
        {"cuMemcpyDtoH_v2", GPU_COPY_OUT, 3, 0},
        {"cuMemcpyDtoH_v2_ptds", GPU_COPY_OUT, 3, 0},
        {"cuMemcpyDtoHAsync_v2", GPU_COPY_OUT, 3, 0},
        {"cuMemcpyDtoHAsync_v2_ptsz", GPU_COPY_OUT, 3, 0},
        {"cuMemcpyDtoD_v2", GPU_COPY_OTHER, 3, 0},
        {"cuMemcpyDtoD_v2_ptds", GPU_COPY_OTHER, 3, 0},
        {"cuMemcpyDtoDAsync_v2", GPU_COPY_OTHER, 3, 0},
        {"cuMemcpyDtoDAsync_v2_ptsz", GPU_COPY_OTHER, 3, 0},
        {"cuMemcpy", GPU_COPY_OTHER, 3, 0},
        {"cuMemcpy_ptds", GPU_COPY_OTHER, 3, 0},
        {"cuMemcpyAsync", GPU_COPY_OTHER, 3, 0},
        {"cuMemcpyAsync_ptsz", GPU_COPY_OTHER, 3, 0},
        {"cuMemcpyPeer", GPU_COPY_OTHER, 5, 0},
        {"cuMemcpyPeer_ptds", GPU_COPY_OTHER, 5, 0},
        {"cuMemcpyPeerAsync", GPU_COPY_OTHER, 5, 0},
        {"cuMemcpyPeerAsync_ptsz", GPU_COPY_OTHER, 5, 0},
};
_Static_assert(ARRAY_SIZE(functions) <= GPU_MOST_PLACES, "room for all");

void gpu_places_add(struct gpu_places *g, uint64_t offset, uint64_t cookie)
{
        for (uint32_t i = 0; i < g->count; i++)
                if (g->offsets[i] == offset)
                        return;
        g->offsets[g->count] = offset;
        g->cookies[g->count++] = cookie;
}

int gpu_places_find(int fd, struct gpu_places *launches, struct gpu_places *others, bool *ret_cheap)
{
        const char *names[ARRAY_SIZE(functions)];
        uint64_t offsets[ARRAY_SIZE(functions)];
        struct stat st;
        void *data;
        int r;

        if (fstat(fd, &st) < 0 || st.st_size <= 0 || (uint64_t)st.st_size > MOST_BYTES)
                return -EINVAL;
        data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED)
                return -errno;
        for (size_t i = 0; i < ARRAY_SIZE(functions); i++)
                names[i] = functions[i].name;
        *ret_cheap = true;
        r = symbols_find(data, (size_t)st.st_size, names, ARRAY_SIZE(functions), offsets);
        for (size_t i = 0; r > 0 && i < ARRAY_SIZE(functions); i++) {
                const struct function *f = &functions[i];
                bool cheap;
                uint64_t at;

                if (!offsets[i])
                        continue;
                at = symbols_probe_at(data, (size_t)st.st_size, offsets[i], &cheap);
                if (f->op == GPU_LAUNCH)
                        *ret_cheap &= cheap;
                gpu_places_add(f->op == GPU_LAUNCH ? launches : others, at, GPU_COOKIE(f->op, f->first, f->second));
        }
        munmap(data, (size_t)st.st_size);
        return r > 0 ? 0 : r < 0 ? r : -ENOENT;
}
