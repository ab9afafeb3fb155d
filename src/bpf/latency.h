/* latency.h: times by powers of two of a microsecond, as probes in the kernel count them, and what can be said of them. Pure; for programs in the kernel as well.
 *
 * Bucket 0 holds what took less than 1 µs, bucket i what took at least 2^(i-1) and less than 2^i µs, the last all that is longer. The counts and the sum are
 * exact; a quantile is an estimate, right to its bucket.
 */
#pragma once

#ifndef __bpf__
#include <stdint.h>
#endif

#define LATENCY_BUCKETS 28

struct latency {
        uint64_t buckets[LATENCY_BUCKETS];
        uint64_t sum_ns;
};

/* No loop and no division below 4.3 s: it runs at each switch of a processor from one thread to another. */
static inline uint32_t latency_bucket(uint64_t ns)
{
        uint64_t us = ns >> 32 ? ns / 1000 : ns * 274877907 >> 38;
        uint32_t v = (uint32_t)us, bits = 0;

        if (us >> (LATENCY_BUCKETS - 2))
                return LATENCY_BUCKETS - 1;
        if (v >> 16) {
                v >>= 16;
                bits += 16;
        }
        if (v >> 8) {
                v >>= 8;
                bits += 8;
        }
        if (v >> 4) {
                v >>= 4;
                bits += 4;
        }
        if (v >> 2) {
                v >>= 2;
                bits += 2;
        }
        if (v >> 1) {
                v >>= 1;
                bits += 1;
        }
        return bits + v;
}

#ifndef __bpf__
/* How many times are in it. */
uint64_t latency_count(const struct latency *latency);
/* Where a bucket begins, in ns; of LATENCY_BUCKETS, too: where the last would end. */
uint64_t latency_from_ns(uint32_t bucket);
/* The time that `permille` of a thousand did not exceed, taking those in a bucket as evenly spread; of the last bucket, which has no end, its beginning. In ns;
 * negative: there are none. */
double latency_quantile(const struct latency *latency, unsigned int permille);
/* In ns; negative: there are none. */
double latency_mean(const struct latency *latency);
void latency_add(struct latency *to, const struct latency *what);
/* What was counted between two readings of one that only grows. */
void latency_since(struct latency *ret, const struct latency *now, const struct latency *before);
#endif
