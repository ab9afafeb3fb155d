/* clean-hash.cu: NH with 128-bit sums of ranges of device memory; see clean.h.
 *
 * Grid: (blocks a range, ranges), 256 threads. sums[range][block] gets the sum, modulo 2^128, of (a + key(2i)) * (b + key(2i+1)) over the pairs
 * (a, b) of 64-bit words that the block has seen; the host adds the blocks up. Bound by the memory's rate: 4.5 TB/s on an H200.
 *
 * Not compiled by the build, which carries clean-hash.ptx: nvcc -ptx -arch=compute_75 -O3 clean-hash.cu, .version lowered to 6.4 so that drivers
 * older than the compiler take it.
 */
#include <stdint.h>

struct range {
        const ulonglong2 *data;
        uint64_t pairs;
};

__device__ __forceinline__ uint64_t key(uint64_t i, uint64_t seed)
{
        uint64_t z = i * 0x9e3779b97f4a7c15ull + seed;

        z = (z ^ (z >> 32)) * 0xd6e8feb86659fd93ull;
        return z ^ (z >> 32);
}

__device__ __forceinline__ void add(uint64_t &lo, uint64_t &hi, uint64_t l, uint64_t h)
{
        lo += l;
        hi += h + (lo < l);
}

extern "C" __global__ void __launch_bounds__(256) berth_hash(const struct range *ranges, ulonglong2 *sums, uint64_t seed)
{
        __shared__ ulonglong2 warps[8];
        const struct range r = ranges[blockIdx.y];
        const uint64_t stride = (uint64_t)gridDim.x * blockDim.x;
        uint64_t lo = 0, hi = 0;

#pragma unroll 4
        for (uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; i < r.pairs; i += stride) {
                const ulonglong2 v = __ldcs(&r.data[i]);
                const uint64_t a = v.x + key(2 * i, seed), b = v.y + key(2 * i + 1, seed);

                add(lo, hi, a * b, __umul64hi(a, b));
        }
        for (int d = 16; d; d >>= 1)
                add(lo, hi, __shfl_down_sync(~0u, lo, d), __shfl_down_sync(~0u, hi, d));
        if ((threadIdx.x & 31) == 0)
                warps[threadIdx.x >> 5] = make_ulonglong2(lo, hi);
        __syncthreads();
        if (threadIdx.x == 0) {
                for (int w = 1; w < 8; w++)
                        add(lo, hi, warps[w].x, warps[w].y);
                sums[blockIdx.y * gridDim.x + blockIdx.x] = make_ulonglong2(lo, hi);
        }
}
