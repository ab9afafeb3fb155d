/* hold.c: a program that holds device memory and does what it is told, one command a line on standard input, one line of JSON for each.
 *
 *   alloc BYTES [CHUNK]   more memory, filled with words that it remembers
 *   reserve BYTES [CHUNK] more memory, not written; what takes the device from others
 *   write                 every word changes
 *   check                 every word is compared, by checksum
 *   free                  gives all of it back
 *   spikes N SEED         N random allocations and frees, many shorter than a millisecond; says the most it ever held
 *   break                 a kernel writes where nothing is: the context is of no more use, and nothing is compared any more
 *   end                   as the end of the input
 *
 * begin and end of each answer are on the monotonic clock, so that answers of several processes can be put in one order. Status 1: words were wrong.
 */
#include "cu.h"

#include "base/text.h"

#include <string.h>
#include <unistd.h>

struct chunk {
        CUdeviceptr at;
        uint64_t bytes;
        uint32_t value;
        bool written;
};

enum { MAX_CHUNKS = 4096, SPIKES_LIVE = 24 };

static struct cu_base base;
static struct chunk chunks[MAX_CHUNKS];
static size_t count;
static uint64_t held, wrong_ever;
static CUdeviceptr sums;
static uint32_t seed;

static void answer(const char *did, double begin, uint64_t wrong, uint64_t most)
{
        wrong_ever += wrong;
        printf("{\"did\":\"%s\",\"pid\":%d,\"ok\":%s,\"bytes\":%llu,\"most\":%llu,\"begin\":%.6f,\"end\":%.6f}\n", did, (int)getpid(),
               wrong ? "false" : "true", (unsigned long long)held, (unsigned long long)most, begin, cu_seconds());
        fflush(stdout);
}

static void usage(const char *line)
{
        fprintf(stderr, "hold: \"%s\" is not understood; known: alloc, reserve, write, check, free, spikes, break, end\n", line);
        exit(64);
}

static void allocate(uint64_t bytes, uint64_t chunk, bool write)
{
        for (uint64_t done = 0; done < bytes;) {
                struct chunk *c = &chunks[count];
                uint64_t n = bytes - done < chunk ? bytes - done : chunk;

                if (count == MAX_CHUNKS) {
                        fprintf(stderr, "hold: at most %d chunks\n", MAX_CHUNKS);
                        exit(64);
                }
                *c = (struct chunk){.bytes = n / 4 * 4, .value = seed + (uint32_t)count * 2654435761U, .written = write};
                CU(cu.cuMemAlloc(&c->at, n));
                if (write)
                        CU(cu_words(base.fill, c->at, c->bytes / 4, c->value, NULL));
                count++;
                held += n;
                done += n;
        }
        CU(cu.cuCtxSynchronize());
}

static void change(void)
{
        for (size_t i = 0; i < count; i++) {
                struct chunk *c = &chunks[i];

                if (!c->written) {
                        CU(cu_words(base.fill, c->at, c->bytes / 4, c->value, NULL));
                        c->written = true;
                }
                CU(cu_words(base.step, c->at, c->bytes / 4, 7, NULL));
                c->value = c->value * 1664525U + 1013904223U + 7; /* what the step kernel does */
        }
        CU(cu.cuCtxSynchronize());
}

/* How many chunks are not as they must be. */
static uint64_t compare(void)
{
        uint64_t wrong = 0, sum;

        for (size_t i = 0; i < count; i++) {
                if (!chunks[i].written)
                        continue;
                CU(cu.cuMemsetD8(sums, 0, 8));
                CU(cu_checksum(base.checksum, chunks[i].at, chunks[i].bytes / 4, sums, NULL));
                CU(cu.cuMemcpyDtoH(&sum, sums, 8));
                wrong += sum != (uint64_t)chunks[i].value * (chunks[i].bytes / 4);
        }
        return wrong;
}

static void break_context(void)
{
        CUresult r;

        CU(cu_words(base.fill, 4096, 64, 1, NULL));
        r = cu.cuCtxSynchronize();
        if (r == CUDA_SUCCESS) {
                fprintf(stderr, "hold: a kernel wrote to address 4096 and nothing happened\n");
                exit(65);
        }
}

static void give_back(void)
{
        while (count)
                CU(cu.cuMemFree(chunks[--count].at));
        held = 0;
}

/* Sizes are multiples of 2 MiB, so that what the driver takes for each is known. */
static uint64_t spikes(uint64_t n, uint64_t random)
{
        CUdeviceptr live[SPIKES_LIVE] = {0};
        uint64_t bytes[SPIKES_LIVE] = {0}, now = held, most = held;

        for (uint64_t i = 0; i < n; i++) {
                random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
                unsigned slot = (unsigned)(random >> 33) % SPIKES_LIVE;

                if (live[slot]) {
                        CU(cu.cuMemFree(live[slot]));
                        now -= bytes[slot];
                        live[slot] = 0;
                        continue;
                }
                bytes[slot] = (1 + (random >> 40) % 2) * 2 * MIB;
                CU(cu.cuMemAlloc(&live[slot], bytes[slot]));
                now += bytes[slot];
                most = now > most ? now : most;
        }
        for (unsigned i = 0; i < SPIKES_LIVE; i++)
                if (live[i])
                        CU(cu.cuMemFree(live[i]));
        return most;
}

static void obey(char *line)
{
        char *save = NULL, *did = strtok_r(line, " \n", &save), *first = strtok_r(NULL, " \n", &save), *second = strtok_r(NULL, " \n", &save);
        uint64_t a = 0, b = UINT64_MAX, wrong = 0, most = held;
        double begin = cu_seconds();

        if (!did)
                usage(line);
        if (strcmp(did, "alloc") == 0 || strcmp(did, "reserve") == 0) {
                if (!first || text_parse_bytes(first, &a) < 0 || (second && text_parse_bytes(second, &b) < 0) || b < 4)
                        usage(did);
                allocate(a, b, *did == 'a');
        } else if (strcmp(did, "write") == 0) {
                change();
        } else if (strcmp(did, "check") == 0) {
                wrong = compare();
        } else if (strcmp(did, "free") == 0) {
                give_back();
        } else if (strcmp(did, "spikes") == 0) {
                if (!first || !second || text_parse_u64(first, 1, UINT32_MAX, &a) < 0 || text_parse_u64(second, 0, UINT32_MAX, &b) < 0)
                        usage(did);
                most = spikes(a, b);
        } else if (strcmp(did, "break") == 0) {
                break_context();
        } else {
                usage(did);
        }
        answer(did, begin, wrong, most > held ? most : held);
}

int main(int argc, char **argv)
{
        double begin = cu_seconds();
        char line[256];

        (void)argc;
        cu_known(argv, "--seed= --name=");
        seed = (uint32_t)cu_number(argv, "--seed", 1);
        cu_open(argv);
        cu_begin(&base);
        CU(cu.cuMemAlloc(&sums, 8));
        answer("ready", begin, 0, 0);
        while (fgets(line, sizeof(line), stdin) && strcmp(line, "end\n") != 0)
                obey(line);
        answer("end", cu_seconds(), 0, held);
        return wrong_ever ? 1 : 0;
}
