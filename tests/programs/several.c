/* several.c: a program with memory on several devices, which knows what must be in all of it.
 *
 *   several [--devices 0,1] [--memory SIZE] [--rounds N | --seconds S | --until FILE] [--seed S] [--name NAME] [--hold FILE]
 *
 * SIZE on each of the devices, named by their numbers in this process, in chunks of 16 MiB. A round changes every word on every device, on
 * all of them at once; then the first chunk of each goes to the next device by way of the host, so that data of all devices depend on
 * each other. At the end every word is compared. With --hold it waits for FILE once its memory is there. One line of JSON with the UUID and the
 * bytes of each device; status 0: all right, 1: wrong words, 2: an error, 3: out of memory.
 */
#include "cu.h"

#include <string.h>
#include <unistd.h>

enum { MOST_DEVICES = 8, CHUNK = 16 << 20, WORDS = CHUNK / 4 };

struct part {
        struct cu_base base;
        CUuuid uuid;
        CUstream stream;
        CUdeviceptr *chunks;
        uint32_t *values; /* what each chunk is full of */
};

static struct part parts[MOST_DEVICES];
static unsigned count;
static size_t chunks;
static uint64_t rounds, wrong;

static void on(struct part *p)
{
        CU(cu.cuCtxSetCurrent(p->base.context));
}

static void wait_for_all(void)
{
        for (unsigned i = 0; i < count; i++) {
                on(&parts[i]);
                CU(cu.cuStreamSynchronize(parts[i].stream));
        }
}

static void begin(struct part *p, int ordinal, uint64_t seed)
{
        cu_begin_on(&p->base, ordinal);
        CU(cu.cuDeviceGetUuid(&p->uuid, p->base.device));
        CU(cu.cuStreamCreate(&p->stream, CU_STREAM_NON_BLOCKING));
        p->chunks = calloc(chunks, sizeof(*p->chunks));
        p->values = calloc(chunks, sizeof(*p->values));
        if (!p->chunks || !p->values)
                abort();
        for (size_t c = 0; c < chunks; c++) {
                CU(cu.cuMemAlloc(&p->chunks[c], CHUNK));
                p->values[c] = (uint32_t)(seed * 40503 + (uint64_t)ordinal * 7919 + c);
                CU(cu_words(p->base.fill, p->chunks[c], WORDS, p->values[c], p->stream));
        }
}

/* What the step kernel does to a word. */
static uint32_t step(uint32_t value, uint32_t k)
{
        return value * 1664525U + 1013904223U + k;
}

/* The first chunks go round: device i's to device i + 1. */
static void pass_on(char *host[MOST_DEVICES])
{
        uint32_t last = parts[count - 1].values[0];

        for (unsigned i = 0; i < count; i++) {
                on(&parts[i]);
                CU(cu.cuMemcpyDtoH(host[i], parts[i].chunks[0], CHUNK));
        }
        for (unsigned i = 0; i < count; i++) {
                struct part *to = &parts[(i + 1) % count];

                on(to);
                CU(cu.cuMemcpyHtoD(to->chunks[0], host[i], CHUNK));
        }
        for (unsigned i = count; i-- > 1;)
                parts[i].values[0] = parts[i - 1].values[0];
        parts[0].values[0] = last;
}

static void one_round(char *host[MOST_DEVICES])
{
        uint32_t k = (uint32_t)rounds * 2654435761U + 1;

        for (unsigned i = 0; i < count; i++) {
                on(&parts[i]);
                for (size_t c = 0; c < chunks; c++) {
                        CU(cu_words(parts[i].base.step, parts[i].chunks[c], WORDS, k, parts[i].stream));
                        parts[i].values[c] = step(parts[i].values[c], k);
                }
        }
        wait_for_all();
        if (count > 1)
                pass_on(host);
        rounds++;
}

static void check(char *host)
{
        const uint32_t *words = (const uint32_t *)(const void *)host;

        for (unsigned i = 0; i < count; i++) {
                on(&parts[i]);
                for (size_t c = 0; c < chunks; c++) {
                        CU(cu.cuMemcpyDtoH(host, parts[i].chunks[c], CHUNK));
                        for (size_t w = 0; w < WORDS; w++)
                                wrong += words[w] != parts[i].values[c];
                }
        }
}

static void report(const char *name, double seconds)
{
        printf("{\"name\":\"%s\",\"pid\":%d,\"ok\":%s,\"rounds\":%llu,\"wrong_words\":%llu,\"seconds\":%.3f,\"devices\":[", name, (int)getpid(),
               wrong ? "false" : "true", (unsigned long long)rounds, (unsigned long long)wrong, seconds);
        for (unsigned i = 0; i < count; i++) {
                printf("%s[\"", i ? "," : "");
                for (int b = 0; b < 16; b++)
                        printf("%02x", (unsigned char)parts[i].uuid.bytes[b]);
                printf("\",%llu]", (unsigned long long)chunks * CHUNK);
        }
        printf("]}\n");
}

int main(int argc, char **argv)
{
        const char *list, *hold, *name;
        double start = cu_seconds();
        struct cu_course course;
        uint64_t seed;
        char *host[MOST_DEVICES], *end;

        (void)argc;
        cu_known(argv, "--devices= --memory= --seed= --name= --hold= " CU_COURSE);
        list = cu_option(argv, "--devices") ? cu_option(argv, "--devices") : "0,1";
        hold = cu_option(argv, "--hold");
        name = cu_option(argv, "--name") ? cu_option(argv, "--name") : "several";
        chunks = cu_size(argv, "--memory", 64 << 20) / CHUNK;
        seed = cu_number(argv, "--seed", 1);
        if (!chunks) {
                fprintf(stderr, "%s: at least 16 MiB\n", argv[0]);
                return 64;
        }
        cu_open(argv);
        for (const char *p = list; *p && count < MOST_DEVICES; p = *end ? end + 1 : end) {
                long ordinal = strtol(p, &end, 10);

                if (end == p || ordinal < 0) {
                        fprintf(stderr, "%s: --devices takes numbers with commas\n", argv[0]);
                        return 64;
                }
                host[count] = malloc(CHUNK);
                if (!host[count])
                        abort();
                begin(&parts[count++], (int)ordinal, seed);
        }
        wait_for_all();
        while (hold && access(hold, F_OK) < 0)
                usleep(10000);
        for (cu_course_begin(&course, argv, 10); cu_course_goes_on(&course, rounds);)
                one_round(host);
        check(host[0]);
        report(name, cu_seconds() - start);
        for (unsigned i = 0; i < count; i++)
                free(host[i]);
        return wrong ? 1 : 0;
}
