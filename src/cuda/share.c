/* share.c: both ends of sharing memory by tickets; see share.h. */
#include "cuda/share.h"

#include "base/clock.h"
#include "base/fd.h"
#include "cuda/lane.h"
#include "cuda/memory.h"
#include "cuda/say.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#define PATIENCE_S 5
#define MOST_NS (20 * NS_PER_S) /* for one request in all */
#define BATCH 16                /* units exported while the books are held */

static pthread_mutex_t giving = PTHREAD_MUTEX_INITIALIZER; /* before the books */
static int listener = -1;
static uint64_t place, secret, last_share;

static socklen_t name_of(uint64_t where, struct sockaddr_un *ret)
{
        *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                           (size_t)snprintf(ret->sun_path + 1, sizeof ret->sun_path - 1, "berth-share-%016lx", (unsigned long)where));
}

static void be_patient(int fd)
{
        struct timeval patience = {.tv_sec = PATIENCE_S};

        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

static bool same_user(int fd)
{
        struct ucred peer;
        socklen_t bytes = sizeof peer;

        return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 && peer.uid == geteuid();
}

void share_refused(void)
{
        atomic_fetch_add_explicit(&berth_page->ipc_refused, 1, memory_order_relaxed);
}

static struct block *find(uint64_t share)
{
        for (size_t i = 0; share && i < berth.blocks_n; i++)
                if (berth.blocks[i]->share == share)
                        return berth.blocks[i];
        return NULL;
}

/* Descriptors of up to BATCH units from first on; how many, or -1: the memory is gone. */
static int export(uint64_t share, uint32_t first, int fds[BATCH])
{
        struct block *block;
        int n = 0;

        books_lock();
        block = find(share);
        for (uint32_t i = first; block && i < block->units_n && n < BATCH; i++) {
                fds[n] = -1;
                if (real.cuMemExportToShareableHandle(&fds[n], block->units[i].handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0) != CUDA_SUCCESS)
                        break;
                n++;
        }
        books_unlock();
        return block ? n : -1;
}

static void serve(int fd)
{
        struct share_answer answer = {.magic = SHARE_MAGIC, .status = -ENOENT};
        struct share_request request;
        uint64_t until = clock_now_ns() + MOST_NS;
        struct block *block;
        ssize_t n;

        be_patient(fd);
        n = fd_receive(fd, &request, sizeof request, 0, NULL);
        if (n <= 0 || !same_user(fd) || !share_request_ok(&request, (size_t)n, secret)) {
                share_refused();
                return;
        }
        books_lock();
        block = find(request.share);
        if (block) {
                answer.status = 0;
                answer.units_n = block->units_n;
                answer.mapped = block->mapped;
                answer.unit_bytes = block->units[0].bytes;
        }
        books_unlock();
        if (answer.status < 0)
                share_refused(); /* its memory is freed */
        if (fd_send(fd, &answer, sizeof answer, -1, 0) < 0)
                return;
        for (uint32_t i = 0; i < answer.units_n;) {
                int fds[BATCH], got = export(request.share, i, fds), r = 0;

                for (int k = 0; k < got; k++) {
                        struct share_unit unit = {.index = i, .bytes = share_unit_bytes(&answer, i)};

                        if (r == 0)
                                r = fd_send(fd, &unit, sizeof unit, fds[k], 0);
                        fd_close_at(&fds[k]);
                        i++;
                }
                if (r < 0 || got <= 0 || clock_now_ns() > until)
                        return;
        }
}

static void *server(void *unused)
{
        int relaxed = CU_STREAM_CAPTURE_MODE_RELAXED, on = listener;

        (void)unused;
        prctl(PR_SET_NAME, "berth-share");
        if (real.cuThreadExchangeStreamCaptureMode)
                real.cuThreadExchangeStreamCaptureMode(&relaxed);
        for (;;) {
                scoped_fd int fd = accept4(on, NULL, NULL, SOCK_CLOEXEC);

                if (fd >= 0)
                        serve(fd);
                else if (errno != EINTR && errno != ECONNABORTED)
                        usleep(10000); /* out of descriptors */
        }
        return NULL;
}

/* The socket and its thread, once. */
static int start(void)
{
        scoped_fd int fd = -1;
        struct sockaddr_un name;
        sigset_t all, before;
        pthread_t thread;
        socklen_t bytes;
        int r;

        if (listener >= 0)
                return 0;
        if (getrandom(&place, sizeof place, 0) != sizeof place || getrandom(&secret, sizeof secret, 0) != sizeof secret)
                return -EIO;
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        bytes = name_of(place, &name);
        if (fd < 0 || bind(fd, (struct sockaddr *)&name, bytes) < 0 || listen(fd, 64) < 0)
                return -errno;
        listener = fd;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(&thread, NULL, server, NULL);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (r) {
                listener = -1;
                return -r;
        }
        pthread_detach(thread);
        take_fd(fd);
        return 0;
}

int share_give(CUdeviceptr address, struct share_ticket *ret)
{
        struct block *block;
        CUdeviceptr base;
        uint64_t bytes;
        int r;

        pthread_mutex_lock(&giving);
        r = start();
        pthread_mutex_unlock(&giving);
        if (r < 0)
                return r;
        books_lock();
        if (!memory_range(address, &base, &bytes, &block)) {
                r = -ENOENT;
        } else if (!block->share && !memory_hold(block)) {
                r = -EAGAIN;
        } else {
                if (!block->share)
                        block->share = ++last_share;
                *ret = (struct share_ticket){.magic = SHARE_MAGIC, .version = SHARE_VERSION, .place = place, .secret = secret, .share = block->share,
                                             .offset = base - block->address, .bytes = bytes};
        }
        books_unlock();
        return r;
}

bool share_is_own(const struct share_ticket *ticket)
{
        bool own;

        pthread_mutex_lock(&giving);
        own = listener >= 0 && ticket->place == place;
        pthread_mutex_unlock(&giving);
        return own;
}

static int ask(int fd, const struct share_ticket *ticket, struct share_answer *ret)
{
        struct share_request request = {.magic = SHARE_MAGIC, .version = SHARE_VERSION, .secret = ticket->secret, .share = ticket->share};
        struct sockaddr_un name;
        socklen_t bytes = name_of(ticket->place, &name);
        ssize_t n;
        int r;

        if (fd < 0)
                return -errno;
        be_patient(fd);
        if (connect(fd, (struct sockaddr *)&name, bytes) < 0)
                return -errno;
        if (!same_user(fd))
                return -EPERM;
        r = fd_send(fd, &request, sizeof request, -1, 0);
        if (r < 0)
                return r;
        n = fd_receive(fd, ret, sizeof *ret, 0, NULL);
        if (n <= 0)
                return n < 0 ? (int)n : -ECONNRESET;
        if ((size_t)n == sizeof *ret && ret->status < 0)
                return -ENOENT;
        return share_answer_ok(ret, (size_t)n, ticket) ? 0 : -EPROTO;
}

/* The next unit: received, imported and mapped. The mapping keeps the memory. */
static int map_next(int fd, CUdeviceptr address, const struct share_answer *answer, uint64_t index)
{
        CUmemGenericAllocationHandle handle;
        struct share_unit unit;
        scoped_fd int memory = -1;
        ssize_t n = fd_receive(fd, &unit, sizeof unit, 0, &memory);
        CUresult r;

        if (n <= 0)
                return n < 0 ? (int)n : -ECONNRESET;
        if (memory < 0 || !share_unit_ok(&unit, (size_t)n, answer, index))
                return -EPROTO;
        if (real.cuMemImportFromShareableHandle(&handle, (void *)(intptr_t)memory, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) != CUDA_SUCCESS)
                return -EIO;
        r = real.cuMemMap(address + index * answer->unit_bytes, unit.bytes, 0, handle, 0);
        real.cuMemRelease(handle);
        return r == CUDA_SUCCESS ? 0 : -EIO;
}

static void unmap(CUdeviceptr address, const struct share_answer *answer, uint64_t units_n)
{
        for (uint64_t i = 0; i < units_n; i++)
                real.cuMemUnmap(address + i * answer->unit_bytes, share_unit_bytes(answer, i));
        real.cuMemAddressFree(address, answer->mapped);
}

void share_drop(CUdeviceptr address, const struct share_answer *answer)
{
        unmap(address, answer, answer->units_n);
}

int share_fetch(const struct share_ticket *ticket, CUdeviceptr *ret_address, struct share_answer *ret)
{
        scoped_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        struct share_answer answer;
        CUdeviceptr address;
        int r = ask(fd, ticket, &answer);

        if (r < 0)
                return r;
        if (real.cuMemAddressReserve(&address, answer.mapped, 0, 0, 0) != CUDA_SUCCESS)
                return -ENOMEM;
        for (uint64_t i = 0; i < answer.units_n; i++) {
                r = map_next(fd, address, &answer, i);
                if (r < 0) {
                        unmap(address, &answer, i);
                        return r;
                }
        }
        *ret_address = address;
        *ret = answer;
        return 0;
}

void share_forked(void)
{
        pthread_mutex_init(&giving, NULL);
        fd_close_at(&listener);
}
