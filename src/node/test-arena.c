/* test-arena.c: the arena's books with small segments: budget, readiness, users kept apart, adoption. */
#include "node/arena.h"

#include "base/error.h"
#include "base/fd.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#define SEGMENT (UINT64_C(2) << 20)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t told = PTHREAD_COND_INITIALIZER;
static unsigned int notes;

static void notify(void *user)
{
        (void)user;
        pthread_mutex_lock(&lock);
        notes++;
        pthread_cond_signal(&told);
        pthread_mutex_unlock(&lock);
}

/* Until at least one file was finished since the last call. */
static void wait_for_workers(struct arena *arena)
{
        pthread_mutex_lock(&lock);
        while (!notes)
                pthread_cond_wait(&told, &lock);
        notes = 0;
        pthread_mutex_unlock(&lock);
        (void)arena_collect(arena);
}

static struct arena *make(uint64_t segments, uint64_t ready)
{
        const struct arena_options options = {
                .budget = segments * SEGMENT, .segment = SEGMENT, .ready = ready * SEGMENT, .threads = 2, .notify = notify};
        struct arena *arena;

        notes = 0;
        assert_int_equal(arena_new(&options, &arena), 0);
        return arena;
}

static void settle(struct arena *arena)
{
        struct arena_stats s;

        for (arena_stats(arena, &s); s.other; arena_stats(arena, &s))
                wait_for_workers(arena);
}

static struct arena_segment lend(struct arena *arena, uid_t uid, uint64_t owner)
{
        struct arena_segment segment;
        int r;

        while ((r = arena_lend(arena, uid, owner, &segment)) == -EAGAIN)
                wait_for_workers(arena);
        assert_int_equal(r, 0);
        return segment;
}

static char *map(int fd)
{
        char *p = mmap(NULL, SEGMENT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        assert_ptr_not_equal(p, MAP_FAILED);
        return p;
}

static void test_ready(void **state)
{
        scoped(arena_free) struct arena *arena = make(8, 3);
        struct arena_stats s;
        struct arena_segment segment;
        struct stat st;

        settle(arena);
        arena_stats(arena, &s);
        assert_int_equal(s.ready, 3 * SEGMENT);
        assert_int_equal(s.free, 8 * SEGMENT);
        /* Touched ahead: the pages are there. Lending never waits then, and what was lent is replaced. */
        assert_int_equal(arena_lend(arena, 1, 1, &segment), 0);
        assert_int_equal(fstat(segment.fd, &st), 0);
        assert_int_equal(st.st_size, SEGMENT);
        assert_true((uint64_t)st.st_blocks * 512 >= SEGMENT);
        assert_int_equal(ftruncate(segment.fd, (off_t)(2 * SEGMENT)), -1);
        settle(arena);
        arena_stats(arena, &s);
        assert_int_equal(s.ready, 3 * SEGMENT);
        assert_int_equal(s.lent, SEGMENT);
        assert_int_equal(s.free, 7 * SEGMENT);
        arena_set_ready(arena, 5 * SEGMENT);
        settle(arena);
        arena_stats(arena, &s);
        assert_int_equal(s.ready, 5 * SEGMENT);
        arena_set_ready(arena, 2 * SEGMENT);
        arena_stats(arena, &s);
        assert_int_equal(s.ready, 2 * SEGMENT);
}

static void test_budget(void **state)
{
        scoped(arena_free) struct arena *arena = make(3, 0);
        struct arena_segment segment;
        struct arena_stats s;

        for (int i = 0; i < 3; i++)
                segment = lend(arena, 1, 1);
        assert_int_equal(arena_lend(arena, 1, 2, &segment), -E_ARENA);
        arena_want(arena, 100 * SEGMENT);
        settle(arena);
        arena_stats(arena, &s);
        assert_int_equal(s.lent, 3 * SEGMENT);
        assert_int_equal(s.ready + s.other, 0);
        assert_int_equal(s.free, 0);
        assert_int_equal(arena_lent_to(arena, 1), 3 * SEGMENT);
}

static void test_return(void **state)
{
        scoped(arena_free) struct arena *arena = make(1, 1);
        struct arena_segment segment = lend(arena, 1, 1), again;
        char *p = map(segment.fd);

        memset(p, 0x77, SEGMENT);
        assert_int_equal(arena_return(arena, 2, segment.number), -ENOENT);
        assert_int_equal(arena_return(arena, 1, segment.number + 1), -ENOENT);
        assert_int_equal(arena_return(arena, 1, segment.number), 0);
        assert_int_equal(arena_return(arena, 1, segment.number), -ENOENT);
        again = lend(arena, 1, 5);
        assert_int_equal(again.number, segment.number); /* the same user's: wiped and used again */
        for (size_t i = 0; i < SEGMENT; i += 64)
                assert_int_equal(p[i], 0);
        munmap(p, SEGMENT);
}

static void test_users_apart(void **state)
{
        scoped(arena_free) struct arena *arena = make(1, 1);
        struct arena_segment first = lend(arena, 1, 1), second;
        struct stat st;
        int kept = fcntl(first.fd, F_DUPFD_CLOEXEC, 3);

        assert_int_equal(arena_return(arena, 1, first.number), 0);
        settle(arena);
        second = lend(arena, 2, 2);
        assert_int_not_equal(second.number, first.number);
        /* The other user's was cut to nothing, even though someone has it open. */
        assert_int_equal(fstat(kept, &st), 0);
        assert_int_equal(st.st_size, 0);
        assert_int_equal(st.st_blocks, 0);
        close(kept);
}

static void test_gives_back(void **state)
{
        scoped(arena_free) struct arena *arena = make(4, 1);
        struct arena_stats s;

        for (int i = 0; i < 4; i++)
                (void)lend(arena, 1, 1);
        assert_int_equal(arena_orphan(arena, 1, true), 4 * SEGMENT);
        settle(arena);
        arena_stats(arena, &s);
        assert_int_equal(s.ready, SEGMENT); /* no more is held than arena.ready says */
        assert_int_equal(s.segments, 1);
        assert_int_equal(s.free, 4 * SEGMENT);
}

static void test_orphans(void **state)
{
        scoped(arena_free) struct arena *arena = make(4, 0);
        struct arena_segment a = lend(arena, 1, 1);
        struct arena_stats s;
        struct stat st;
        int kept;

        (void)lend(arena, 1, 1);
        a = lend(arena, 1, 2);
        kept = fcntl(a.fd, F_DUPFD_CLOEXEC, 3);
        assert_int_equal(arena_orphan(arena, 1, true), 2 * SEGMENT);
        assert_int_equal(arena_orphan(arena, 1, true), 0);
        arena_stats(arena, &s);
        assert_int_equal(s.lent, SEGMENT);
        /* One whose holder can't be watched is let go of unharmed. */
        assert_int_equal(arena_orphan(arena, 2, false), SEGMENT);
        assert_int_equal(fstat(kept, &st), 0);
        assert_int_equal(st.st_size, SEGMENT);
        close(kept);
        settle(arena);
        arena_stats(arena, &s);
        assert_int_equal(s.lent, 0);
}

static void test_adopt(void **state)
{
        struct arena *before = make(4, 0);
        struct arena_segment a = lend(before, 1, 1);
        scoped_fd int kept = fcntl(a.fd, F_DUPFD_CLOEXEC, 3), odd = memfd_create("x", MFD_CLOEXEC), big = -1;
        struct stat st;
        char *p = map(kept);
        scoped(arena_free) struct arena *arena = NULL;
        struct arena_segment other;
        struct arena_stats s;
        uint32_t number, twice;

        strcpy(p, "swapped out");
        arena_free(before);
        arena = make(1, 1);
        settle(arena);
        assert_int_equal(arena_adopt(arena, 1, 7, 0, kept, 2 * SEGMENT, &number), -E_MESSAGE);
        assert_int_equal(ftruncate(odd, SEGMENT), 0);
        assert_int_equal(arena_adopt(arena, 1, 7, 0, odd, SEGMENT, &number), -E_MESSAGE);
        assert_int_equal(arena_adopt(arena, 1, 7, 0, 0, SEGMENT, &number), -E_MESSAGE);
        assert_int_equal(arena_adopt(arena, 1, 7, 0, kept, SEGMENT, &number), 0);
        assert_string_equal(p, "swapped out");
        arena_stats(arena, &s);
        assert_int_equal(s.lent, SEGMENT);
        assert_int_equal(s.ready + s.other, 0); /* it made room within the budget */
        assert_int_equal(s.free, 0);
        assert_int_equal(arena_lend(arena, 1, 7, &other), -E_ARENA);
        /* Once more by the same is the same one; another owner gets it only from the one before. */
        assert_int_equal(arena_adopt(arena, 1, 7, 0, kept, SEGMENT, &twice), 0);
        assert_int_equal(twice, number);
        assert_int_equal(arena_adopt(arena, 1, 8, 6, kept, SEGMENT, &twice), -EBUSY);
        assert_int_equal(arena_adopt(arena, 2, 8, 7, kept, SEGMENT, &twice), -EBUSY);
        assert_int_equal(arena_adopt(arena, 1, 8, 7, kept, SEGMENT, &twice), 0);
        assert_int_equal(arena_lent_to(arena, 8), SEGMENT);
        /* One more than the budget is taken as well, and goes as soon as it is back. */
        big = memfd_create("y", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        assert_int_equal(ftruncate(big, 3 * SEGMENT), 0);
        assert_int_equal(fcntl(big, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SEAL), 0);
        assert_int_equal(arena_adopt(arena, 1, 9, 0, big, 3 * SEGMENT, &number), 0);
        arena_stats(arena, &s);
        assert_int_equal(s.lent, 4 * SEGMENT);
        assert_int_equal(s.free, 0);
        assert_int_equal(arena_return(arena, 9, number), 0);
        settle(arena); /* cut by the workers: that takes long for much memory */
        assert_int_equal(fstat(big, &st), 0);
        assert_int_equal(st.st_size, 0);
        arena_stats(arena, &s);
        assert_int_equal(s.lent, SEGMENT);
        assert_int_equal(s.other, 0);
        munmap(p, SEGMENT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ready),       cmocka_unit_test(test_budget),  cmocka_unit_test(test_return),
                cmocka_unit_test(test_users_apart), cmocka_unit_test(test_orphans), cmocka_unit_test(test_adopt),
                cmocka_unit_test(test_gives_back),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
