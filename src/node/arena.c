/* arena.c: segments of host memory and their books; see arena.h. The worker threads are in touch.c. */
#include "node/arena.h"

#include "base/error.h"
#include "base/fd.h"
#include "node/touch.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

#define HUGE_PAGE (UINT64_C(2) << 20)
#define MAX_SEGMENTS 16384
#define ANY_USER ((uid_t)-1)
/* Ours alone carry both: nobody can make one larger or change the seals, and dropping one can still cut it to nothing. */
#define OUR_SEALS (F_SEAL_GROW | F_SEAL_SEAL)

enum segment_state { SEGMENT_NONE, SEGMENT_MAKING, SEGMENT_READY, SEGMENT_LENT, SEGMENT_WIPING, SEGMENT_CUTTING };

struct segment {
        enum segment_state state;
        uint32_t number;
        uid_t uid; /* who wrote to it last, ANY_USER: nobody yet */
        int fd;
        uint64_t bytes, owner;
        dev_t device; /* of the memfd's inode: tells a segment that comes back */
        ino_t inode;
};

struct arena {
        struct arena_options options;
        struct touch *touch;
        struct segment *segments;
        size_t count; /* of slots */
        uint32_t last_number, failed;
        uint64_t wanted;
        bool no_huge;
};

static uint64_t sum(const struct arena *arena, enum segment_state state)
{
        uint64_t bytes = 0;

        for (size_t i = 0; i < arena->count; i++)
                if (arena->segments[i].state == state)
                        bytes += arena->segments[i].bytes;
        return bytes;
}

static uint64_t used(const struct arena *arena)
{
        uint64_t bytes = 0;

        for (size_t i = 0; i < arena->count; i++)
                if (arena->segments[i].state != SEGMENT_NONE)
                        bytes += arena->segments[i].bytes;
        return bytes;
}

static bool read_number(const char *path, const char *name, uint64_t *ret_value)
{
        char line[256];
        bool found = false;
        FILE *f = fopen(path, "re");

        while (f && !found && fgets(line, sizeof line, f))
                found = !strncmp(line, name, strlen(name)) && sscanf(line + strlen(name), "%" SCNu64, ret_value) == 1;
        if (f)
                fclose(f);
        return found;
}

uint64_t arena_machine_bytes(void)
{
        uint64_t kib = 0, bytes = 0;
        struct sysinfo info;

        if (sysinfo(&info) == 0)
                bytes = (uint64_t)info.totalram * info.mem_unit;
        if (read_number("/proc/meminfo", "MemTotal:", &kib) && kib * 1024 > bytes)
                bytes = kib * 1024;
        return bytes;
}

/* Pages are taken for good, so the machine must keep something besides. Unknown means no objection. */
static bool machine_has(const struct arena *arena, uint64_t bytes)
{
        uint64_t kib;

        if (!read_number("/proc/meminfo", "MemAvailable:", &kib))
                return true;
        return kib * 1024 >= bytes + sum(arena, SEGMENT_MAKING) + arena_machine_bytes() / 32;
}

static bool huge_pages_free(const struct arena *arena)
{
        uint64_t pages;

        return !arena->no_huge && arena->options.segment % HUGE_PAGE == 0 &&
               read_number("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "", &pages) &&
               pages * HUGE_PAGE >= arena->options.segment + sum(arena, SEGMENT_MAKING);
}

/* Cutting the file frees its pages at once, whoever still has it open or mapped; the seal keeps it that way. */
static void drop(struct segment *s)
{
        if (ftruncate(s->fd, 0) < 0) {
        }
        close(s->fd);
        s->fd = -1;
        s->state = SEGMENT_NONE;
}

/* The same for what may be large: by the workers, and the room is there when they are done. */
static void drop_aside(struct arena *arena, struct segment *s)
{
        if (touch_start(arena->touch, s->number, s->fd, s->bytes, TOUCH_CUT) < 0)
                drop(s);
        else
                s->state = SEGMENT_CUTTING;
}

static struct segment *new_slot(struct arena *arena)
{
        size_t grown = arena->count ? arena->count * 2 : 16;
        struct segment *more;

        for (size_t i = 0; i < arena->count; i++)
                if (arena->segments[i].state == SEGMENT_NONE)
                        return &arena->segments[i];
        if (grown > MAX_SEGMENTS)
                return NULL;
        more = realloc(arena->segments, grown * sizeof *more);
        if (!more)
                return NULL;
        memset(more + arena->count, 0, (grown - arena->count) * sizeof *more);
        arena->segments = more;
        more += arena->count;
        arena->count = grown;
        return more;
}

static int identify(struct segment *s)
{
        struct stat st;

        if (fstat(s->fd, &st) < 0)
                return -errno;
        s->device = st.st_dev;
        s->inode = st.st_ino;
        return 0;
}

static int make_file(struct arena *arena, bool huge)
{
        scoped_fd int fd =
                memfd_create("berth-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0));

        if (fd < 0 || ftruncate(fd, (off_t)arena->options.segment) < 0 || fcntl(fd, F_ADD_SEALS, OUR_SEALS) < 0)
                return -errno;
        return take_fd(fd);
}

static int make(struct arena *arena)
{
        struct segment *s = new_slot(arena);
        int fd = -1, r;

        if (!s)
                return -ENFILE;
        if (huge_pages_free(arena))
                fd = make_file(arena, true);
        if (fd < 0)
                fd = make_file(arena, false);
        if (fd < 0)
                return fd;
        *s = (struct segment){.fd = fd, .bytes = arena->options.segment, .uid = ANY_USER};
        r = identify(s);
        if (r == 0)
                r = touch_start(arena->touch, s->number = ++arena->last_number, fd, s->bytes, TOUCH_FILL);
        if (r < 0) {
                close(fd);
                return r;
        }
        s->state = SEGMENT_MAKING;
        return 0;
}

static uint64_t target_of(const struct arena *arena)
{
        return arena->options.ready > arena->wanted ? arena->options.ready : arena->wanted;
}

/* Starts what is missing; at most a few at once, the rest follows as these are finished. */
static void plan(struct arena *arena)
{
        uint64_t target = target_of(arena);

        while (sum(arena, SEGMENT_MAKING) < 2 * arena->options.segment * arena->options.threads) {
                uint64_t have = sum(arena, SEGMENT_READY) + sum(arena, SEGMENT_MAKING) + sum(arena, SEGMENT_WIPING);

                if (have >= target || used(arena) + arena->options.segment > arena->options.budget ||
                    !machine_has(arena, arena->options.segment))
                        return;
                if (make(arena) < 0) {
                        arena->failed++;
                        return;
                }
        }
}

int arena_new(const struct arena_options *options, struct arena **ret)
{
        scoped(arena_free) struct arena *arena = calloc(1, sizeof *arena);
        int r;

        if (!arena)
                return -ENOMEM;
        arena->options = *options;
        r = touch_new(options->threads, options->notify, options->user, &arena->touch);
        if (r < 0)
                return r;
        plan(arena);
        *ret = take(arena);
        return 0;
}

void arena_free(struct arena *arena)
{
        if (!arena)
                return;
        touch_free(arena->touch);
        /* Lent segments live on in the clients that hold them: they bring them to the next daemon. */
        for (size_t i = 0; i < arena->count; i++)
                if (arena->segments[i].state != SEGMENT_NONE)
                        close(arena->segments[i].fd);
        free(arena->segments);
        free(arena);
}

void arena_set_ready(struct arena *arena, uint64_t bytes)
{
        arena->options.ready = bytes;
        for (size_t i = 0; i < arena->count && sum(arena, SEGMENT_READY) > target_of(arena); i++)
                if (arena->segments[i].state == SEGMENT_READY)
                        drop_aside(arena, &arena->segments[i]);
        plan(arena);
}

void arena_want(struct arena *arena, uint64_t bytes)
{
        arena->wanted = bytes;
        plan(arena);
}

static struct segment *find_ready(struct arena *arena, uid_t uid)
{
        for (size_t i = 0; i < arena->count; i++)
                if (arena->segments[i].state == SEGMENT_READY && arena->segments[i].uid == uid)
                        return &arena->segments[i];
        return NULL;
}

int arena_lend(struct arena *arena, uid_t uid, uint64_t owner, struct arena_segment *ret)
{
        struct segment *s = find_ready(arena, uid);

        if (!s)
                s = find_ready(arena, ANY_USER);
        if (!s) {
                /* Another user's wiped segments may stand in the way of a new one. */
                for (size_t i = 0; i < arena->count && used(arena) + arena->options.segment > arena->options.budget; i++)
                        if (arena->segments[i].state == SEGMENT_READY)
                                drop(&arena->segments[i]);
                if (arena->wanted < arena->options.segment)
                        arena->wanted = arena->options.segment;
                plan(arena);
                return sum(arena, SEGMENT_MAKING) + sum(arena, SEGMENT_WIPING) + sum(arena, SEGMENT_CUTTING) ? -EAGAIN : -E_ARENA;
        }
        s->state = SEGMENT_LENT;
        s->uid = uid;
        s->owner = owner;
        arena->wanted -= arena->wanted < s->bytes ? arena->wanted : s->bytes;
        *ret = (struct arena_segment){.number = s->number, .bytes = s->bytes, .fd = s->fd};
        plan(arena);
        return 0;
}

/* Wiped here for the same user, or dropped: odd sizes, what is beyond the budget, and what nobody needs ready: the machine gets it back. */
static void take_back(struct arena *arena, struct segment *s)
{
        uint64_t have = sum(arena, SEGMENT_READY) + sum(arena, SEGMENT_MAKING) + sum(arena, SEGMENT_WIPING);

        if (have >= target_of(arena) || s->bytes != arena->options.segment || used(arena) > arena->options.budget ||
            touch_start(arena->touch, s->number, s->fd, s->bytes, TOUCH_WIPE) < 0)
                drop_aside(arena, s);
        else
                s->state = SEGMENT_WIPING;
}

static struct segment *find_lent(struct arena *arena, uint64_t owner, uint32_t number)
{
        for (size_t i = 0; i < arena->count; i++) {
                struct segment *s = &arena->segments[i];

                if (s->state == SEGMENT_LENT && s->owner == owner && s->number == number)
                        return s;
        }
        return NULL;
}

int arena_return(struct arena *arena, uint64_t owner, uint32_t number)
{
        struct segment *s = find_lent(arena, owner, number);

        if (!s)
                return -ENOENT;
        take_back(arena, s);
        plan(arena);
        return 0;
}

uint64_t arena_orphan(struct arena *arena, uint64_t owner, bool dead)
{
        uint64_t bytes = 0;

        for (size_t i = 0; i < arena->count; i++) {
                struct segment *s = &arena->segments[i];

                if (s->state != SEGMENT_LENT || s->owner != owner)
                        continue;
                bytes += s->bytes;
                if (dead) {
                        take_back(arena, s);
                } else {
                        close(s->fd);
                        s->fd = -1;
                        s->state = SEGMENT_NONE;
                }
        }
        plan(arena);
        return bytes;
}

int arena_adopt(struct arena *arena, uid_t uid, uint64_t owner, uint64_t before, int fd, uint64_t bytes, uint32_t *ret_number)
{
        int seals = fcntl(fd, F_GET_SEALS), copy;
        struct segment *s;
        struct stat st;

        if (seals < 0 || seals != OUR_SEALS || fstat(fd, &st) < 0 || st.st_size <= 0 || (uint64_t)st.st_size != bytes)
                return -E_MESSAGE;
        for (size_t i = 0; i < arena->count; i++) {
                s = &arena->segments[i];
                if (s->state == SEGMENT_NONE || s->device != st.st_dev || s->inode != st.st_ino)
                        continue;
                /* Known: only a segment that this process was lent before may change its owner. */
                if (s->state != SEGMENT_LENT || s->uid != uid || (s->owner != owner && s->owner != before))
                        return -EBUSY;
                s->owner = owner;
                *ret_number = s->number;
                return 0;
        }
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (copy < 0)
                return -errno;
        s = new_slot(arena);
        if (!s) {
                close(copy);
                return -ENFILE;
        }
        *s = (struct segment){.state = SEGMENT_LENT, .number = ++arena->last_number, .uid = uid, .fd = copy, .bytes = bytes,
                              .owner = owner, .device = st.st_dev, .inode = st.st_ino};
        /* The budget is over, perhaps: what lies ready makes room first. */
        for (size_t i = 0; i < arena->count && used(arena) > arena->options.budget; i++)
                if (arena->segments[i].state == SEGMENT_READY)
                        drop(&arena->segments[i]);
        *ret_number = s->number;
        return 0;
}

uint64_t arena_lent_to(const struct arena *arena, uint64_t owner)
{
        uint64_t bytes = 0;

        for (size_t i = 0; i < arena->count; i++)
                if (arena->segments[i].state == SEGMENT_LENT && arena->segments[i].owner == owner)
                        bytes += arena->segments[i].bytes;
        return bytes;
}

bool arena_collect(struct arena *arena)
{
        struct touch_result result;
        bool changed = false;

        while (touch_next(arena->touch, &result)) {
                changed = true;
                for (size_t i = 0; i < arena->count; i++) {
                        struct segment *s = &arena->segments[i];

                        if (s->number != result.number || (s->state != SEGMENT_MAKING && s->state != SEGMENT_WIPING && s->state != SEGMENT_CUTTING))
                                continue;
                        if (s->state == SEGMENT_CUTTING) {
                                drop(s);
                                break;
                        }
                        if (result.status == 0 && used(arena) <= arena->options.budget) {
                                s->state = SEGMENT_READY;
                                break;
                        }
                        if (result.status < 0) {
                                arena->failed++;
                                arena->no_huge = true; /* the pool may have run dry between look and use */
                        }
                        drop(s);
                        break;
                }
        }
        if (changed)
                plan(arena);
        return changed;
}

void arena_stats(const struct arena *arena, struct arena_stats *ret)
{
        *ret = (struct arena_stats){
                .budget = arena->options.budget,
                .ready = sum(arena, SEGMENT_READY),
                .lent = sum(arena, SEGMENT_LENT),
                .other = sum(arena, SEGMENT_MAKING) + sum(arena, SEGMENT_WIPING) + sum(arena, SEGMENT_CUTTING),
                .failed = arena->failed,
        };
        ret->free = ret->budget > ret->lent ? ret->budget - ret->lent : 0;
        ret->free -= ret->free % arena->options.segment; /* only whole segments can be lent */
        for (size_t i = 0; i < arena->count; i++)
                ret->segments += arena->segments[i].state != SEGMENT_NONE;
}
