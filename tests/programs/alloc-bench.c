/* alloc-bench.c: what cuMemAlloc and cuMemFree cost, under Berth and in the bare driver, in the same process.
 *
 * For each size, rounds of `--live` allocations followed by their frees through the functions as this program found them (hooked, under Berth)
 * alternate with the same rounds through the driver that BERTH_BARE names. Of each kind the median round counts. Without BERTH_BARE only the
 * first kind runs. One line of JSON; times in microseconds for one allocation and its free.
 */
#include "cu.h"

#include "base/text.h"

#include <string.h>

enum { MAX_LIVE = 64, MAX_ROUNDS = 4096 };

static const uint64_t sizes[] = {2 * MIB, 8 * MIB, 32 * MIB, 64 * MIB};

static double a_round(const struct cu *c, uint64_t bytes, uint64_t live)
{
        CUdeviceptr at[MAX_LIVE];
        double begin = cu_seconds();

        for (uint64_t i = 0; i < live; i++)
                CU(c->cuMemAlloc(&at[i], bytes));
        for (uint64_t i = 0; i < live; i++)
                CU(c->cuMemFree(at[i]));
        return (cu_seconds() - begin) * 1e6 / (double)live;
}

static int by_value(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

static double median(double *values, uint64_t n)
{
        qsort(values, n, sizeof(*values), by_value);
        return values[n / 2];
}

int main(int argc, char **argv)
{
        static double hooked[MAX_ROUNDS], bare[MAX_ROUNDS];
        const char *bare_path = getenv("BERTH_BARE");
        uint64_t rounds, live, most;
        struct cu_base base;
        struct cu direct;

        (void)argc;
        cu_known(argv, "--rounds= --live= --most=");
        rounds = cu_number(argv, "--rounds", 200);
        live = cu_number(argv, "--live", 1);
        most = cu_size(argv, "--most", 64 * MIB);
        if (rounds == 0 || rounds > MAX_ROUNDS || live == 0 || live > MAX_LIVE) {
                fprintf(stderr, "%s: 1 to %d rounds of 1 to %d\n", argv[0], MAX_ROUNDS, MAX_LIVE);
                return 64;
        }
        cu_open(argv);
        cu_begin(&base);
        if (bare_path && *bare_path && !cu_open_path(bare_path, &direct))
                return 64;
        if (bare_path && !*bare_path)
                bare_path = NULL;
        printf("{\"name\":\"alloc-bench\",\"live\":%llu,\"rounds\":%llu,\"sizes\":[", (unsigned long long)live, (unsigned long long)rounds);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes) && sizes[i] <= most; i++) {
                for (int warm = 0; warm < 3; warm++) {
                        a_round(&cu, sizes[i], live);
                        if (bare_path)
                                a_round(&direct, sizes[i], live);
                }
                for (uint64_t n = 0; n < rounds; n++) {
                        hooked[n] = a_round(&cu, sizes[i], live);
                        if (bare_path)
                                bare[n] = a_round(&direct, sizes[i], live);
                }
                printf("%s{\"bytes\":%llu,\"us\":%.2f", i ? "," : "", (unsigned long long)sizes[i], median(hooked, rounds));
                if (bare_path)
                        printf(",\"bare_us\":%.2f", median(bare, rounds));
                printf("}");
        }
        puts("]}");
        return 0;
}
