/* work.c: a program that works like a training: it fills memory, changes all of it in every round, and knows what must
 * come out.
 *
 * Each chunk of memory is 64 blocks, each with a value of its own; a round applies the same step to every word. The
 * value of each block is followed on the CPU. At the end every block's checksum is compared, and some chunks are copied
 * back and compared word by word; so a word that was lost, mixed up or not updated shows. Prints one line of JSON;
 * status 0: all right, 1: wrong words, 2: an error, 3: out of memory.
 */
#include "cu.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCKS = 64, MAX_STREAMS = 32 };

struct chunk {
        CUdeviceptr at;
        uint64_t words; /* a multiple of BLOCKS */
        uint32_t value[BLOCKS];
};

struct work {
        struct cu_base base;
        struct chunk *chunks;
        size_t count, room;
        uint64_t bytes, seed, rounds, limit, wrong;
        double begin;
        CUstream streams[MAX_STREAMS];
        unsigned stream_count;
        bool graph;
        CUgraphExec exec;
        size_t captured; /* chunks that exec covers */
        CUdeviceptr sums;
        const char *name, *progress;
};

static uint64_t mix(uint64_t x)
{
        x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
        return x ^ (x >> 31);
}

static void report(struct work *w, bool ok, bool oom)
{
        printf("{\"name\":\"%s\",\"pid\":%d,\"ok\":%s,\"rounds\":%llu,\"bytes\":%llu,\"wrong_words\":%llu,\"oom\":%s,"
               "\"seconds\":%.3f}\n",
               w->name, (int)getpid(), ok ? "true" : "false", (unsigned long long)w->rounds,
               (unsigned long long)w->bytes, (unsigned long long)w->wrong, oom ? "true" : "false",
               cu_seconds() - w->begin);
        fflush(stdout);
}

static CUstream stream_for(struct work *w, size_t chunk)
{
        return w->streams[chunk % w->stream_count];
}

static uint32_t step_of(const struct work *w, size_t chunk)
{
        return (uint32_t)mix(w->seed ^ chunk);
}

/* What the step kernel does to a word. */
static uint32_t step(uint32_t value, uint32_t k)
{
        return value * 1664525U + 1013904223U + k;
}

static void out_of_memory(struct work *w, uint64_t bytes)
{
        fprintf(stderr, "%s: out of device memory: %llu bytes refused with %llu held\n", w->name,
                (unsigned long long)bytes, (unsigned long long)w->bytes);
        report(w, false, true);
        exit(3);
}

static void add_chunk(struct work *w, uint64_t bytes)
{
        struct chunk *c;
        CUresult r;

        if (w->count == w->room) {
                w->room = w->room ? w->room * 2 : 64;
                w->chunks = realloc(w->chunks, w->room * sizeof(*w->chunks));
                if (!w->chunks)
                        abort();
        }
        c = &w->chunks[w->count];
        c->words = bytes / 4 / BLOCKS * BLOCKS;
        r = cu.cuMemAlloc(&c->at, c->words * 4);
        if (r == CUDA_ERROR_OUT_OF_MEMORY)
                out_of_memory(w, bytes);
        CU(r);
        w->bytes += c->words * 4;
        for (int b = 0; b < BLOCKS; b++) {
                c->value[b] = (uint32_t)mix(w->seed + w->count * BLOCKS + (uint64_t)b);
                CU(cu_words(w->base.fill, c->at + (uint64_t)b * c->words / BLOCKS * 4, c->words / BLOCKS, c->value[b],
                            stream_for(w, w->count)));
        }
        w->count++;
}

static void launch_steps(struct work *w)
{
        for (size_t i = 0; i < w->count; i++)
                CU(cu_words(w->base.step, w->chunks[i].at, w->chunks[i].words, step_of(w, i), stream_for(w, i)));
}

static void synchronize(struct work *w)
{
        for (unsigned i = 0; i < w->stream_count; i++)
                CU(cu.cuStreamSynchronize(w->streams[i]));
}

/* All steps of a round as a graph: the other streams branch off the first one and come back to it. */
static void capture(struct work *w)
{
        CUevent events[MAX_STREAMS];
        CUgraph graph;

        if (w->exec)
                CU(cu.cuGraphExecDestroy(w->exec));
        for (unsigned i = 0; i < w->stream_count; i++)
                CU(cu.cuEventCreate(&events[i], CU_EVENT_DISABLE_TIMING));
        CU(cu.cuStreamBeginCapture(w->streams[0], CU_STREAM_CAPTURE_MODE_GLOBAL));
        CU(cu.cuEventRecord(events[0], w->streams[0]));
        for (unsigned i = 1; i < w->stream_count; i++)
                CU(cu.cuStreamWaitEvent(w->streams[i], events[0], 0));
        launch_steps(w);
        for (unsigned i = 1; i < w->stream_count; i++) {
                CU(cu.cuEventRecord(events[i], w->streams[i]));
                CU(cu.cuStreamWaitEvent(w->streams[0], events[i], 0));
        }
        CU(cu.cuStreamEndCapture(w->streams[0], &graph));
        CU(cu.cuGraphInstantiateWithFlags(&w->exec, graph, 0));
        CU(cu.cuGraphDestroy(graph));
        for (unsigned i = 0; i < w->stream_count; i++)
                CU(cu.cuEventDestroy(events[i]));
        w->captured = w->count;
}

static void show_progress(struct work *w)
{
        char path[4096];
        FILE *f;

        if (!w->progress)
                return;
        snprintf(path, sizeof(path), "%s.new", w->progress);
        f = fopen(path, "we");
        if (!f)
                return;
        fprintf(f, "{\"name\":\"%s\",\"pid\":%d,\"round\":%llu,\"rounds\":%llu,\"bytes\":%llu}\n", w->name,
                (int)getpid(), (unsigned long long)w->rounds, (unsigned long long)w->limit,
                (unsigned long long)w->bytes);
        fclose(f);
        if (rename(path, w->progress) < 0)
                perror(w->progress);
}

static void one_round(struct work *w)
{
        if (w->graph) {
                if (w->captured != w->count) {
                        synchronize(w);
                        capture(w);
                }
                CU(cu.cuGraphLaunch(w->exec, w->streams[0]));
        } else {
                launch_steps(w);
        }
        for (size_t i = 0; i < w->count; i++)
                for (int b = 0; b < BLOCKS; b++)
                        w->chunks[i].value[b] = step(w->chunks[i].value[b], step_of(w, i));
        synchronize(w);
        w->rounds++;
        show_progress(w);
}

static void compare_words(struct work *w, const struct chunk *c)
{
        uint32_t *words = malloc(c->words * 4);

        if (!words)
                abort();
        CU(cu.cuMemcpyDtoH(words, c->at, c->words * 4));
        for (uint64_t i = 0; i < c->words; i++)
                if (words[i] != c->value[i / (c->words / BLOCKS)])
                        w->wrong++;
        free(words);
}

/* All words by checksum; the words themselves where that is wrong, and in a few chunks in any case. */
static void check(struct work *w)
{
        uint64_t sums[BLOCKS];

        for (size_t i = 0; i < w->count; i++) {
                const struct chunk *c = &w->chunks[i];
                bool sampled = i == 0 || i + 1 == w->count || i == mix(w->seed) % w->count;
                uint64_t n = c->words / BLOCKS;

                CU(cu.cuMemsetD8(w->sums, 0, sizeof(sums)));
                for (uint64_t b = 0; b < BLOCKS; b++)
                        CU(cu_checksum(w->base.checksum, c->at + b * n * 4, n, w->sums + b * 8, NULL));
                CU(cu.cuMemcpyDtoH(sums, w->sums, sizeof(sums)));
                for (uint64_t b = 0; b < BLOCKS; b++)
                        if (sums[b] != (uint64_t)c->value[b] * n)
                                sampled = true;
                if (sampled)
                        compare_words(w, c);
        }
}

/* Between the rounds; no longer than what the program waits for. */
static void pause_ms(uint64_t ms, const struct cu_course *course)
{
        struct timespec t = {.tv_nsec = 10000000};

        for (double end = cu_seconds() + (double)ms / 1000; cu_seconds() < end;) {
                if (course->until && access(course->until, F_OK) == 0)
                        return;
                nanosleep(&t, NULL);
        }
}

int main(int argc, char **argv)
{
        struct work w = {.begin = cu_seconds()};
        uint64_t memory, chunk, grow, idle;
        struct cu_course course;

        (void)argc;
        cu_known(argv, "--memory= --chunk= --seed= --grow= --idle= --graph --streams= --progress= --name= " CU_COURSE);
        memory = cu_size(argv, "--memory", UINT64_C(256) << 20);
        chunk = cu_size(argv, "--chunk", UINT64_C(64) << 20);
        grow = cu_size(argv, "--grow", 0);
        idle = cu_number(argv, "--idle", 0);
        w.seed = cu_number(argv, "--seed", 1);
        w.stream_count = (unsigned)cu_number(argv, "--streams", 1);
        w.graph = cu_flag(argv, "--graph");
        w.progress = cu_option(argv, "--progress");
        w.name = cu_option(argv, "--name") ? cu_option(argv, "--name") : "work";
        if (w.stream_count < 1 || w.stream_count > MAX_STREAMS || chunk < BLOCKS * 4 || (grow && grow < BLOCKS * 4) ||
            memory < chunk) {
                fprintf(stderr, "%s: 1 to %d streams, chunks of at least %d bytes, memory for one chunk\n", argv[0],
                        MAX_STREAMS, BLOCKS * 4);
                return 64;
        }
        cu_open(argv);
        cu_begin(&w.base);
        for (unsigned i = 0; i < w.stream_count; i++)
                CU(cu.cuStreamCreate(&w.streams[i], CU_STREAM_NON_BLOCKING));
        CU(cu.cuMemAlloc(&w.sums, BLOCKS * 8));
        for (uint64_t done = 0; done < memory; done += chunk)
                add_chunk(&w, memory - done < chunk && memory - done >= BLOCKS * 4 ? memory - done : chunk);
        synchronize(&w);
        cu_course_begin(&course, argv, 10);
        w.limit = course.rounds;
        show_progress(&w);
        while (cu_course_goes_on(&course, w.rounds)) {
                if (grow && w.rounds > 0)
                        add_chunk(&w, grow);
                one_round(&w);
                pause_ms(idle, &course);
        }
        check(&w);
        report(&w, w.wrong == 0, false);
        free(w.chunks);
        return w.wrong == 0 ? 0 : 1;
}
