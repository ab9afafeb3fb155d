/* latency.c: how many, how long on the average, quantiles; see latency.h. */
#include "bpf/latency.h"

uint64_t latency_count(const struct latency *l)
{
        uint64_t n = 0;

        for (uint32_t i = 0; i < LATENCY_BUCKETS; i++)
                n += l->buckets[i];
        return n;
}

uint64_t latency_from_ns(uint32_t bucket)
{
        return bucket ? (UINT64_C(1) << (bucket - 1)) * 1000 : 0;
}

double latency_quantile(const struct latency *l, unsigned int permille)
{
        double count = 0, before = 0, rank;

        /* Not as whole numbers: whatever another process tells, nothing wraps around. */
        for (uint32_t i = 0; i < LATENCY_BUCKETS; i++)
                count += (double)l->buckets[i];
        if (count <= 0)
                return -1;
        rank = count * permille / 1000;
        for (uint32_t i = 0; i < LATENCY_BUCKETS - 1; i++) {
                double from = (double)latency_from_ns(i), to = (double)latency_from_ns(i + 1), here = (double)l->buckets[i];

                if (here > 0 && rank <= before + here) {
                        double share = (rank - before) / here;

                        return from + (to - from) * (share < 0 ? 0 : share > 1 ? 1 : share);
                }
                before += here;
        }
        return (double)latency_from_ns(LATENCY_BUCKETS - 1);
}

double latency_mean(const struct latency *l)
{
        uint64_t count = latency_count(l);

        return count ? (double)l->sum_ns / (double)count : -1;
}

void latency_add(struct latency *to, const struct latency *what)
{
        for (uint32_t i = 0; i < LATENCY_BUCKETS; i++)
                to->buckets[i] += what->buckets[i];
        to->sum_ns += what->sum_ns;
}

void latency_since(struct latency *ret, const struct latency *now, const struct latency *before)
{
        for (uint32_t i = 0; i < LATENCY_BUCKETS; i++)
                ret->buckets[i] = now->buckets[i] - before->buckets[i];
        ret->sum_ns = now->sum_ns - before->sum_ns;
}
