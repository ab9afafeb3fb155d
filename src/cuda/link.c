/* link.c: the helper thread's loop, and how other threads come to a device and to memory; see link.h. What this side says is in tell.c, what it
 * hears in hear.c, when it may run in turn.c.
 *
 * The helper blocks all signals, never touches stdio or the program's files, and is the only reader of the socket.
 */
#include "cuda/link.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "cuda/cache.h"
#include "cuda/hear.h"
#include "cuda/defer.h"
#include "cuda/host.h"
#include "cuda/lane.h"
#include "cuda/memory.h"
#include "cuda/move.h"
#include "cuda/release.h"
#include "cuda/say.h"
#include "cuda/tell.h"
#include "cuda/tier.h"
#include "cuda/trim.h"
#include "cuda/turn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>

static int kick_fd = -1;
static _Atomic bool kicked;
static uint64_t next_try;
static bool starting;
static bool resting; /* the helper looks again within TELL_REPORT_NS; books */

#define RETRY_NS (250 * NS_PER_MS)
#define FULL_PAUSE_NS (50 * (long)NS_PER_MS)
#define FULL_TRIES 40

void link_kick(void)
{
        uint64_t one = 1;

        if (kick_fd < 0 || atomic_exchange(&kicked, true))
                return;
        if (write(kick_fd, &one, sizeof one) < 0) {
        }
}

void link_report(const struct device *d)
{
        if (!resting || tell_report_due(d))
                link_kick();
}

static void on_wait(void)
{
        link_kick();
}

static void on_evicted(struct device *d, const struct move_progress *progress)
{
        if (berth.link == LINK_CONNECTED)
                tell_evicted(d, progress);
}

/* Nothing of the program runs, so there is nothing to wait for. */
static void on_failed_in(struct device *d)
{
        CUresult r = CUDA_SUCCESS;
        CUcontext popped;

        if (d->contexts_n && real.cuCtxPushCurrent_v2(d->contexts[0]) == CUDA_SUCCESS) {
                r = real.cuCtxSynchronize();
                real.cuCtxPopCurrent_v2(&popped);
        }
        if (r != CUDA_SUCCESS)
                turn_broken(d, r);
        else if (!d->failed_in)
                say("device memory could not be brought in; it is whole on the host, and tried again");
        d->failed_in = true;
}

static void on_brought_in(struct device *d, uint64_t returned, bool done, int status)
{
        if (berth.link == LINK_CONNECTED)
                tell_brought_in(d, returned, done, status);
        else if (done && status == 0)
                turn_let_run(d);
        else if (done)
                d->retry_at = clock_now_ns() + 500 * NS_PER_MS;
        if (status == -EIO)
                on_failed_in(d); /* after the report: the program may end by it at once */
        else if (done && status == 0)
                d->failed_in = false;
}

static void went_away(void)
{
        tell_disconnect();
        host_recall_forget();
        turn_without_daemon();
        next_try = berth.away_since + RETRY_NS;
}

static void hear_all(void)
{
        while (berth.link == LINK_CONNECTED) {
                struct wire_message m;
                int fd;
                ssize_t n = tell_receive(&m, &fd);

                if (n == -EAGAIN)
                        return;
                if (n <= 0) {
                        went_away();
                        return;
                }
                if (wire_check(&m, (size_t)n, TO_CLIENT, WIRE_VERSION_MAX, NULL) == 0)
                        hear(&m, &fd);
                fd_close_at(&fd);
        }
}

/* How long the helper may sleep: not at all with work at hand, forever when only others can bring news. Sets resting when it looks again by itself. */
static int sleep_ms(bool busy, bool draining)
{
        int idle = tier_idle_ms(clock_now_ns());

        resting = false;
        if (busy)
                return 0;
        if (draining)
                return 1;
        if (berth.link == LINK_AWAY)
                return 100;
        for (unsigned int i = 0; i < berth.devices_n; i++)
                resting |= berth.devices[i].managed && (berth.devices[i].dirty || clock_now_ns() < berth.devices[i].told_at + TELL_REPORT_NS);
        return resting ? (int)(TELL_REPORT_NS / NS_PER_MS) : idle;
}

static void *helper(void *unused)
{
        int relaxed = CU_STREAM_CAPTURE_MODE_RELAXED;

        (void)unused;
        prctl(PR_SET_NAME, "berth");
        /* Our own calls must never disturb a capture of the program's. */
        if (real.cuThreadExchangeStreamCaptureMode)
                real.cuThreadExchangeStreamCaptureMode(&relaxed);
        books_lock();
        for (;;) {
                struct pollfd polls[2] = {{.fd = kick_fd, .events = POLLIN}, {.fd = tell_socket(), .events = POLLIN}};
                bool busy = false, draining;
                uint64_t count, now = clock_now_ns();
                int timeout;

                if (berth.link == LINK_AWAY) {
                        if (now >= next_try) {
                                next_try = now + RETRY_NS;
                                if (tell_connect(true) == 0)
                                        berth.link = LINK_CONNECTED;
                                polls[1].fd = tell_socket();
                        }
                        if (berth.link == LINK_AWAY)
                                turn_return_alone(now);
                }
                draining = turn_drain_step();
                for (unsigned int i = 0; i < berth.devices_n; i++)
                        if (berth.devices[i].managed)
                                busy |= move_step(&berth.devices[i]);
                turn_open_when_landed();
                tier_tidy(clock_now_ns());
                if (berth.link == LINK_CONNECTED && tell_due() < 0)
                        went_away();
                if (!busy && !draining)
                        busy = host_recall_next() || host_register_next() || move_prepare() || tier_prepare();
                timeout = sleep_ms(busy, draining);
                books_unlock();
                defer_run();
                if (poll(polls, 2, timeout) < 0 && errno != EINTR)
                        usleep(1000);
                if (polls[0].revents & POLLIN) {
                        /* In this order: a kick that comes in between is not written, but what it is about is seen below. The other way
                         * round its write could be swallowed with the mark left standing, and no kick would ever be written again. */
                        if (read(kick_fd, &count, sizeof count) < 0) {
                        }
                        atomic_store(&kicked, false);
                }
                books_lock();
                hear_all();
        }
        return NULL;
}

/* Connects and starts the helper. Books held. */
static void start(void)
{
        sigset_t all, before;
        pthread_t thread;
        int r;

        move_on_evicted = on_evicted;
        move_on_brought_in = on_brought_in;
        lane_on_wait = on_wait;
        r = tell_connect(false);
        if (r < 0) {
                berth.link = LINK_UNMANAGED;
                say("no node daemon answers (%s): running without Berth; start berthd first, or use berth run", error_text(r));
                return;
        }
        berth.link = LINK_CONNECTED;
        kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r = kick_fd < 0 ? errno : pthread_create(&thread, NULL, helper, NULL);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (r) {
                tell_disconnect();
                berth.link = LINK_UNMANAGED;
                say("can't start the helper thread (%s): running without Berth", error_text(r));
                return;
        }
        pthread_detach(thread);
}

/* The first thread that needs the daemon connects, which lets go of the books; others wait for its word. */
static void ensure_started(void)
{
        while (berth.link == LINK_NONE) {
                if (starting) {
                        pthread_cond_wait(&berth_changed, &berth_books);
                        continue;
                }
                starting = true;
                start();
                starting = false;
                pthread_cond_broadcast(&berth_changed);
        }
}

static struct device *find_device(CUdevice handle)
{
        for (unsigned int i = 0; i < berth.devices_n; i++)
                if (berth.devices[i].known && !berth.devices[i].storage && berth.devices[i].handle == handle)
                        return &berth.devices[i];
        return NULL;
}

/* A page of its own for every device but the first, which has the process's. */
static void give_page(struct device *d)
{
        if (d->ordinal == 0) {
                d->page = berth_page;
                d->page_fd = tell_page_fd();
                return;
        }
        d->page_fd = memfd_create("berth-page", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (d->page_fd < 0 || ftruncate(d->page_fd, PAGE_BYTES) < 0 ||
            fcntl(d->page_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
                return;
        d->page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, d->page_fd, 0);
        if (d->page == MAP_FAILED) {
                d->page = NULL;
                return;
        }
        madvise(d->page, PAGE_BYTES, MADV_DONTFORK);
        d->page->magic = PAGE_MAGIC;
        d->page->version = PAGE_VERSION;
        d->page->bytes = PAGE_BYTES;
}

static struct device *new_device(CUdevice handle)
{
        struct device *d;
        CUuuid uuid;
        size_t total;

        if (berth.devices_n == MAX_DEVICES || !real.cuDeviceGetUuid || !real.cuMemAddressReserve ||
            real.cuDeviceGetUuid(&uuid, handle) != CUDA_SUCCESS || real.cuDeviceTotalMem_v2(&total, handle) != CUDA_SUCCESS)
                return NULL;
        d = &berth.devices[berth.devices_n];
        *d = (struct device){.known = true, .handle = handle, .ordinal = berth.devices_n, .total = total, .page_fd = -1};
        memcpy(d->uuid, uuid.bytes, sizeof d->uuid);
        d->managed = berth.link != LINK_UNMANAGED;
        if (d->managed)
                give_page(d);
        berth.devices_n++;
        return d;
}

struct device *link_add_storage(CUdevice handle)
{
        struct device *d = new_device(handle);

        if (d)
                d->storage = true;
        return d;
}

struct device *link_attach(CUdevice handle)
{
        struct device *d;

        books_lock();
        ensure_started();
        d = find_device(handle);
        if (!d)
                d = new_device(handle);
        link_kick();
        while (d && d->managed && !d->admitted) {
                if (berth.link == LINK_AWAY) {
                        turn_let_run(d); /* nobody to ask; it is told when a daemon is back */
                        break;
                }
                pthread_cond_wait(&berth_changed, &berth_books);
        }
        books_unlock();
        return d;
}

struct device *link_current(void)
{
        struct device *d;
        CUdevice handle;

        if (!berth_enabled || real.cuCtxGetDevice(&handle) != CUDA_SUCCESS)
                return NULL;
        d = link_attach(handle);
        return d && d->managed ? d : NULL;
}

int link_reserve(struct device *d, uint64_t bytes)
{
        int r = link_await(d, bytes);

        if (r == 0)
                cache_limit(d, device_spare(d) - bytes);
        return r;
}

int link_await(struct device *d, uint64_t bytes)
{
        for (;;) {
                bool open = lane_is_open() || lane_captures();

                if (berth.broken)
                        return -EIO;
                if (d->limit && d->movable + d->pinned + bytes > d->limit)
                        return -E_LIMIT;
                if (open && device_spare(d) >= bytes)
                        return 0;
                if (open && berth.link == LINK_AWAY) {
                        d->granted = d->resident + d->pinned + bytes;
                        return 0;
                }
                /* Enough here, but the process is held on another device: that one's turn is asked for (turn_wanted), not more of this one. */
                if (d->running && device_spare(d) >= bytes && turn_held_elsewhere(d)) {
                        link_kick();
                } else if (!d->asked || d->ask_bytes != bytes) {
                        d->asked = true;
                        d->ask_sent = d->denied = false;
                        d->ask_bytes = bytes;
                        d->ticket++;
                        link_kick();
                }
                d->reserving++;
                pthread_cond_wait(&berth_changed, &berth_books);
                d->reserving--;
                if (d->denied) {
                        d->denied = false;
                        return d->denied_code;
                }
        }
}

bool link_full(unsigned int *tries)
{
        uint64_t now = clock_now_ns();
        struct timespec until;

        if (lane_captures() || (berth.link == LINK_AWAY ? now >= berth.away_since + berth.return_ns : ++*tries > FULL_TRIES))
                return false;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += FULL_PAUSE_NS;
        until.tv_sec += until.tv_nsec / (long)NS_PER_S;
        until.tv_nsec %= (long)NS_PER_S;
        pthread_cond_timedwait(&berth_changed, &berth_books, &until);
        return true;
}

uint64_t link_limit_of(CUdevice handle, uint64_t total)
{
        const struct device *d;
        uint64_t limit = 0;

        books_lock();
        d = find_device(handle);
        if (d && d->announced) {
                limit = d->limit;
        } else if (berth.link != LINK_UNMANAGED) {
                if (berth.link == LINK_NONE)
                        tell_read_environment();
                limit = berth.limit_permille ? total / 1000 * berth.limit_permille : berth.limit_bytes;
        }
        books_unlock();
        return limit;
}

void link_forked(bool used_driver)
{
        pthread_mutex_init(&berth_books, NULL);
        pthread_cond_init(&berth_changed, NULL);
        tell_forked();
        fd_close_at(&kick_fd);
        for (unsigned int i = 1; i < berth.devices_n; i++)
                fd_close_at(&berth.devices[i].page_fd);
        for (size_t i = 0; i < berth.segments_n; i++)
                fd_close_at(&berth.segments[i].fd);
        berth = (struct berth){.link = LINK_NONE};
        atomic_store(&kicked, false);
        starting = resting = false;
        turn_forked();
        trim_forked();
        tier_forked();
        release_forked();
        lane_on_wait = NULL;
        /* The driver refuses to work in such a child; everything passes, and it says so itself. */
        if (used_driver)
                berth_enabled = false;
}
