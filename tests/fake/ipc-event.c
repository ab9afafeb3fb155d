/* ipc-event.c: events that several processes record and wait for.
 *
 * Such an event has a page that all of them map: how often it was recorded, and how many of the records the streams have reached. The page is a
 * memfd of the process that made the event; the handle says whose and which. To record is a host function that counts the page up, to wait is one that
 * waits for the count that was on the page when the wait was called.
 */
#include "fake.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct event_page {
        _Atomic uint64_t recorded, reached;
};

enum { MARK_IPC_EVENT = 0x49504531 };

struct ipc_event_handle {
        uint32_t mark, pid;
        int fd;
};

struct moment {
        struct event_page *page;
        uint64_t count;
};

static bool reached(const struct event_page *page, uint64_t count)
{
        return atomic_load(&page->reached) >= count;
}

static void wait_for(const struct event_page *page, uint64_t count)
{
        struct timespec pause = {.tv_nsec = 20000};

        while (!reached(page, count))
                nanosleep(&pause, NULL);
}

/* Records of several streams may be reached in another order than they were made. */
static void reach(void *data)
{
        struct moment *m = data;
        uint64_t before = atomic_load(&m->page->reached);

        while (before < m->count && !atomic_compare_exchange_weak(&m->page->reached, &before, m->count))
                ;
        free(m);
}

static void await(void *data)
{
        struct moment *m = data;

        wait_for(m->page, m->count);
        free(m);
}

static CUresult submit(CUevent e, CUstream s, void (*call)(void *), uint64_t count)
{
        struct moment *m = malloc(sizeof(*m));
        struct work w = {.kind = WORK_HOST, .host = {.call = call, .data = m}};
        CUresult r;

        if (!m)
                return CUDA_ERROR_OUT_OF_MEMORY;
        *m = (struct moment){e->page, count};
        r = stream_submit(s, &w, false);
        if (r)
                free(m);
        return r;
}

CUresult event_page_record(CUevent e, CUstream s)
{
        return submit(e, s, reach, atomic_fetch_add(&e->page->recorded, 1) + 1);
}

CUresult event_page_wait(CUevent e, CUstream s)
{
        uint64_t count = atomic_load(&e->page->recorded);

        return reached(e->page, count) ? CUDA_SUCCESS : submit(e, s, await, count);
}

bool event_page_done(CUevent e)
{
        return reached(e->page, atomic_load(&e->page->recorded));
}

void event_page_synchronize(CUevent e)
{
        wait_for(e->page, atomic_load(&e->page->recorded));
}

static struct event_page *map(int fd)
{
        void *at = mmap(NULL, sizeof(struct event_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        return at == MAP_FAILED ? NULL : at;
}

/* The page stays with its process: work that names it may still be under way when the event is destroyed. */
API(cuIpcGetEventHandle, (CUipcEventHandle *ret, CUevent e), (ret, e))
{
        struct ipc_event_handle h = {.mark = MARK_IPC_EVENT, .pid = (uint32_t)getpid()};

        TRY(event_check(e));
        if (!ret || !(e->flags & CU_EVENT_INTERPROCESS))
                return CUDA_ERROR_INVALID_VALUE;
        if (!e->page) {
                (void)cuEventSynchronize(e); /* what was recorded until now is reached */
                e->page_fd = memfd_create("berth-event", MFD_CLOEXEC);
                if (e->page_fd < 0 || ftruncate(e->page_fd, sizeof(struct event_page)) < 0 || !(e->page = map(e->page_fd))) {
                        if (e->page_fd >= 0)
                                close(e->page_fd);
                        return CUDA_ERROR_OUT_OF_MEMORY;
                }
        }
        h.fd = e->page_fd;
        memset(ret, 0, sizeof(*ret));
        memcpy(ret, &h, sizeof(h));
        return CUDA_SUCCESS;
}

API(cuIpcOpenEventHandle, (CUevent *ret, CUipcEventHandle handle), (ret, handle))
{
        struct ipc_event_handle h;
        struct event_page *page;
        char path[64];
        CUresult r;
        int fd;

        TRY(need_ready());
        memcpy(&h, &handle, sizeof(h));
        if (!ret || h.mark != MARK_IPC_EVENT)
                return CUDA_ERROR_INVALID_HANDLE;
        if (h.pid == (uint32_t)getpid())
                return CUDA_ERROR_INVALID_CONTEXT; /* its owner has it already */
        snprintf(path, sizeof(path), "/proc/%u/fd/%d", h.pid, h.fd);
        fd = open(path, O_RDWR | O_CLOEXEC);
        page = fd < 0 ? NULL : map(fd);
        if (!page) {
                if (fd >= 0)
                        close(fd);
                return CUDA_ERROR_INVALID_HANDLE;
        }
        r = cuEventCreate(ret, CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS);
        if (r) {
                munmap(page, sizeof(*page));
                close(fd);
                return r;
        }
        (*ret)->page = page;
        (*ret)->page_fd = fd;
        return CUDA_SUCCESS;
}
