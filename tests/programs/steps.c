/* steps.c: allocates and frees as a file tells it, line by line, and prints one line of JSON for each.
 *
 *   alloc NAME SIZE   free NAME   spike SIZE (both at once)   fill NAME   begin NAME, end NAME (a window of the program's own, by libberth)
 *   create SIZE (memory of its own making, kept)   say FILE (makes it)   wait FILE (until it is there)
 */
#include "cu.h"

#include "base/text.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define NAMES 256

static struct {
        char name[32];
        CUdeviceptr at;
        uint64_t bytes;
} held[NAMES];

static int place_of(const char *name)
{
        for (int i = 0; i < NAMES; i++)
                if (!strcmp(held[i].name, name))
                        return i;
        fprintf(stderr, "steps: nothing is called \"%s\"\n", name);
        exit(2);
}

static CUresult allocate(const char *name, const char *size)
{
        uint64_t bytes;
        CUdeviceptr at;
        CUresult r;

        if (text_parse_bytes(size, &bytes) < 0) {
                fprintf(stderr, "steps: \"%s\" is no size\n", size);
                exit(2);
        }
        r = cu.cuMemAlloc(&at, bytes);
        if (r == CUDA_SUCCESS) {
                int i = place_of("");

                snprintf(held[i].name, sizeof held[i].name, "%s", name);
                held[i].at = at;
                held[i].bytes = bytes;
        }
        return r;
}

static CUresult release(const char *name)
{
        int i = place_of(name);
        CUresult r = cu.cuMemFree(held[i].at);

        held[i].name[0] = 0;
        return r;
}

/* The library's own functions, by the name that berth.h has them under. */
static void window(const char *word, const char *name)
{
        bool begin = !strcmp(word, "begin");
        uint64_t peak = 0;
        int r;

        if (begin) {
                int (*f)(const char *);

                *(void **)&f = dlsym(RTLD_DEFAULT, "berth_peak_begin");
                r = f ? f(name) : -1;
        } else {
                int (*f)(const char *, uint64_t *);

                *(void **)&f = dlsym(RTLD_DEFAULT, "berth_peak_end");
                r = f ? f(name, &peak) : -1;
        }
        printf("{\"%s\":\"%s\",\"result\":%d,\"peak\":%llu}\n", word, name, r, (unsigned long long)peak);
}

static void step(struct cu_base *base, const char *word, const char *one, const char *two)
{
        CUresult r = CUDA_SUCCESS;

        if (!strcmp(word, "alloc")) {
                r = allocate(one, two);
        } else if (!strcmp(word, "free")) {
                r = release(one);
        } else if (!strcmp(word, "spike")) {
                r = allocate("a spike", one);
                if (r == CUDA_SUCCESS)
                        r = release("a spike");
        } else if (!strcmp(word, "fill")) {
                int i = place_of(one);

                r = cu_words(base->fill, held[i].at, held[i].bytes / 4, 7, NULL);
                if (r == CUDA_SUCCESS)
                        r = cu.cuCtxSynchronize();
        } else if (!strcmp(word, "begin") || !strcmp(word, "end")) {
                window(word, one);
                return;
        } else if (!strcmp(word, "create")) {
                CUmemAllocationProp properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, base->device}};
                CUmemGenericAllocationHandle handle;
                uint64_t bytes = 0;

                if (text_parse_bytes(one, &bytes) < 0)
                        exit(2);
                r = cu.cuMemCreate(&handle, bytes, &properties, 0);
        } else if (!strcmp(word, "say")) {
                close(open(one, O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
        } else if (!strcmp(word, "wait")) {
                while (access(one, F_OK) < 0)
                        usleep(2000);
        } else {
                fprintf(stderr, "steps: what is \"%s\"?\n", word);
                exit(2);
        }
        printf("{\"%s\":\"%s\",\"result\":\"%s\"}\n", word, one, cu_name(r));
}

int main(int argc, char **argv)
{
        struct cu_base base;
        char line[512];
        FILE *f;

        f = argc == 2 ? fopen(argv[1], "re") : NULL;
        if (!f) {
                fprintf(stderr, "usage: steps FILE\n");
                return 2;
        }
        cu_open(argv);
        cu_begin(&base);
        while (fgets(line, sizeof line, f)) {
                char word[16] = "", one[256] = "", two[64] = "";

                if (sscanf(line, "%15s %255s %63s", word, one, two) < 1)
                        continue;
                step(&base, word, one, two);
                fflush(stdout);
        }
        fclose(f);
        return 0;
}
