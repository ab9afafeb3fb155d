/* lane.c: lanes, closing and opening of the gate; see lane.h.
 *
 * Invariant: after lane_close(), lane_draining(false) and a true lane_quiet() with no capture open, no gated driver call is running or will start before
 * lane_open(). It rests on: in_call is raised before the gate is read (lane_enter), membarrier orders that against the store of CLOSED.
 */
#include "cuda/lane.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SHARED_LANE (PAGE_LANES - 1)

static struct page first_page __attribute__((aligned(4096))) = {.gate = PAGE_OPEN};
struct page *berth_page = &first_page;
__thread struct page_lane *berth_lane __attribute__((tls_model("initial-exec")));
static __thread unsigned int let_through __attribute__((tls_model("initial-exec"))); /* since the gate was closed */
void (*lane_on_wait)(void);

static pthread_key_t lane_key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static bool key_made;
static _Atomic bool barrier_missing;
static _Atomic unsigned int captures, passed;

static _Atomic bool awaits, draining;

static long futex(_Atomic uint32_t *word, int operation, uint32_t value, uint64_t ms)
{
        struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

        return syscall(SYS_futex, word, operation, value, ms ? &t : NULL, NULL, 0);
}

static void lane_give_back(void *lane)
{
        struct page_lane *l = lane;

        berth_lane = NULL;
        if (l != &berth_page->lanes[SHARED_LANE])
                atomic_store(&l->owned, 0);
}

static void make_key(void)
{
        key_made = pthread_key_create(&lane_key, lane_give_back) == 0;
}

int lane_start(void)
{
        struct page *page;
        int fd = memfd_create("berth-page", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        pthread_once(&key_once, make_key);
        atomic_store(&barrier_missing,
                     syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0);
        atomic_store(&captures, 0);
        atomic_store(&draining, false);
        berth_lane = NULL;
        if (fd >= 0 && (ftruncate(fd, PAGE_BYTES) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)) {
                close(fd);
                fd = -1;
        }
        /* Always at the place of the first page: nobody's pointer ever goes stale. */
        page = mmap(&first_page, PAGE_BYTES, PROT_READ | PROT_WRITE,
                    MAP_FIXED | (fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS), fd, 0);
        if (page == MAP_FAILED) {
                if (fd >= 0)
                        close(fd);
                return -1;
        }
        madvise(page, PAGE_BYTES, MADV_DONTFORK);
        page->magic = PAGE_MAGIC;
        page->version = PAGE_VERSION;
        page->bytes = PAGE_BYTES;
        atomic_store(&page->gate, PAGE_OPEN);
        return fd;
}

static struct page_lane *take_lane(void)
{
        struct page_lane *lane = &berth_page->lanes[SHARED_LANE];

        for (int i = 0; key_made && i < SHARED_LANE; i++) {
                uint32_t free = 0;

                if (atomic_compare_exchange_strong(&berth_page->lanes[i].owned, &free, 1)) {
                        lane = &berth_page->lanes[i];
                        pthread_setspecific(lane_key, lane);
                        break;
                }
        }
        return lane;
}

/* How long it stands before it is let through for the nth time. */
static uint64_t patience_ms(unsigned int times)
{
        return (uint64_t)(atomic_load(&awaits) ? LANE_AWAITS_MS : LANE_STANDS_MS) << (times < 8 ? times : 8);
}

/* Sleeps until the gate opens; false: it stood for that long, and the device is waited for. */
static bool sleep_at_gate(unsigned int times)
{
        while (atomic_load(&berth_page->gate) == PAGE_CLOSED)
                if (futex(&berth_page->gate, FUTEX_WAIT, PAGE_CLOSED, patience_ms(times)) < 0 && errno == ETIMEDOUT && atomic_load(&draining))
                        return false;
        return true;
}

/* Slow entries use locked instructions throughout: they serve the shared lane, too. */
struct page_lane *lane_enter_slow(void)
{
        struct page_lane *lane = berth_lane;
        bool opened = true;
        int saved;

        if (!lane) {
                lane = take_lane();
                /* Threads of the shared lane never take the quick way in, which assumes a single writer. */
                if (lane != &berth_page->lanes[SHARED_LANE])
                        berth_lane = lane;
                atomic_fetch_add(&lane->in_call, 1);
        }
        for (;;) {
                if (atomic_load(&berth_page->gate) == PAGE_OPEN) {
                        let_through = 0;
                        return lane;
                }
                /* The order is the same as with the gate: in_call is up before this is read, and down is waited for after it was set to false. */
                if (atomic_load(&captures) || (!opened && atomic_load(&draining))) {
                        let_through += !opened;
                        atomic_fetch_add(&passed, 1);
                        return lane;
                }
                atomic_fetch_sub(&lane->in_call, 1);
                atomic_fetch_add(&lane->waits, 1);
                atomic_fetch_add(&berth_page->waiting, 1);
                if (lane_on_wait)
                        lane_on_wait();
                saved = errno;
                opened = sleep_at_gate(let_through);
                errno = saved;
                atomic_fetch_sub(&berth_page->waiting, 1);
                atomic_fetch_add(&lane->in_call, 1);
        }
}

void lane_draining(bool now)
{
        atomic_store(&draining, now);
}

void lane_awaits(void)
{
        atomic_store_explicit(&awaits, true, memory_order_relaxed);
}

void lane_leave_shared(struct page_lane *lane, bool launch)
{
        atomic_fetch_add(launch ? &lane->launches : &lane->copies, 1);
        atomic_fetch_sub(&lane->in_call, 1);
}

void lane_close(void)
{
        atomic_store(&berth_page->gate, PAGE_CLOSED);
        if (atomic_load(&barrier_missing))
                usleep(1000); /* kernels before 4.14: store buffers are empty long before */
        else
                syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

bool lane_quiet(void)
{
        for (int i = 0; i < PAGE_LANES; i++)
                if (atomic_load(&berth_page->lanes[i].in_call))
                        return false;
        return true;
}

void lane_open(void)
{
        atomic_store(&berth_page->gate, PAGE_OPEN);
        futex(&berth_page->gate, FUTEX_WAKE, INT_MAX, 0);
}

uint64_t lane_calls(void)
{
        uint64_t calls = 0;

        for (int i = 0; i < PAGE_LANES; i++)
                calls += atomic_load(&berth_page->lanes[i].launches) + atomic_load(&berth_page->lanes[i].copies);
        return calls;
}

void lane_capture_began(void)
{
        atomic_fetch_add(&captures, 1);
}

void lane_capture_ended(void)
{
        unsigned int n = atomic_load(&captures);

        while (n && !atomic_compare_exchange_weak(&captures, &n, n - 1))
                ;
}

unsigned int lane_captures(void)
{
        return atomic_load(&captures);
}

unsigned int lane_passed(void)
{
        return atomic_load(&passed);
}
