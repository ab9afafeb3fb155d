/* own-ipc.c: hooks of legacy IPC: handles of memory that moves are tickets of ours (wire/share.h); all others are the driver's.
 *
 * Opened memory is mapped once in a process, however many tickets and opens it serves, and unmapped with the last close. It is the other program's in
 * every book. Source of the rules: CUDA driver API 13.0, cuIpcOpenMemHandle.
 */
#include "cuda/lane.h"
#include "cuda/link.h"
#include "cuda/memory.h"
#include "cuda/own-ipc.h"
#include "cuda/say.h"
#include "cuda/share.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One opened allocation. */
struct piece {
        uint64_t offset, bytes;
        uint32_t opens;
        struct piece *next;
};

/* Memory of another program's, mapped here. */
struct opened {
        uint64_t place, share;
        CUdeviceptr address;
        struct share_answer answer;
        uint64_t devices; /* those that may use it, by number */
        struct piece *pieces;
        struct opened *next;
};

static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER; /* one open or close at a time; never inside the books */
static pthread_mutex_t list = PTHREAD_MUTEX_INITIALIZER;    /* guards what follows; innermost */
static struct opened *all;

CUresult hook_cuIpcGetMemHandle(CUipcMemHandle *ret, CUdeviceptr address)
{
        struct page_lane *lane;
        struct share_ticket ticket;
        CUdeviceptr base;
        uint64_t bytes;
        struct block *block;
        bool ours;
        int r;

        books_lock();
        ours = berth_enabled && ret && memory_range(address, &base, &bytes, &block);
        books_unlock();
        if (!ours)
                return real.cuIpcGetMemHandle(ret, address);
        lane = lane_enter(); /* it is on the device then */
        r = share_give(address, &ticket);
        lane_leave(lane, false);
        link_kick();
        if (r < 0) {
                say("no IPC handle for device memory: %s", strerror(-r));
                return r == -ENOENT ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_OUT_OF_MEMORY;
        }
        memcpy(ret, &ticket, sizeof *ret);
        return CUDA_SUCCESS;
}

static struct opened *find(const struct share_ticket *ticket)
{
        for (struct opened *o = all; o; o = o->next)
                if (o->place == ticket->place && o->share == ticket->share)
                        return o;
        return NULL;
}

static struct piece *find_piece(const struct opened *o, uint64_t offset)
{
        for (struct piece *p = o->pieces; p; p = p->next)
                if (p->offset == offset)
                        return p;
        return NULL;
}

static CUresult allow(struct opened *o)
{
        CUmemAccessDesc access = {{CU_MEM_LOCATION_TYPE_DEVICE, 0}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
        CUdevice device;
        CUresult r = real.cuCtxGetDevice(&device);

        if (r != CUDA_SUCCESS || (device < 64 && o->devices >> device & 1))
                return r;
        access.location.id = device;
        r = real.cuMemSetAccess(o->address, o->answer.mapped, &access, 1);
        if (r == CUDA_SUCCESS && device < 64)
                o->devices |= UINT64_C(1) << device;
        return r;
}

static void drop(struct opened *o)
{
        share_drop(o->address, &o->answer);
        free(o);
}

static CUresult fetch(const struct share_ticket *ticket, struct opened **ret)
{
        struct opened *o = calloc(1, sizeof *o);
        int r;

        if (!o)
                return CUDA_ERROR_OUT_OF_MEMORY;
        o->place = ticket->place;
        o->share = ticket->share;
        r = share_fetch(ticket, &o->address, &o->answer);
        if (r < 0) {
                share_refused();
                say("an IPC handle of another program's could not be opened: %s", r == -ENOENT ? "its memory is freed" : strerror(-r));
                free(o);
                return CUDA_ERROR_MAP_FAILED;
        }
        *ret = o;
        return CUDA_SUCCESS;
}

static CUresult open_ticket(CUdeviceptr *ret, const struct share_ticket *ticket)
{
        struct opened *o = find(ticket);
        bool is_new = !o;
        struct piece *p, *made = NULL;
        CUresult r = o ? CUDA_SUCCESS : fetch(ticket, &o);

        if (r != CUDA_SUCCESS)
                return r;
        r = allow(o);
        p = find_piece(o, ticket->offset);
        if (r == CUDA_SUCCESS && !p && (ticket->offset >= o->answer.mapped || ticket->bytes > o->answer.mapped - ticket->offset))
                r = CUDA_ERROR_INVALID_VALUE;
        if (r == CUDA_SUCCESS && !p && !(p = made = calloc(1, sizeof *p)))
                r = CUDA_ERROR_OUT_OF_MEMORY;
        if (r != CUDA_SUCCESS) {
                if (is_new)
                        drop(o);
                return r;
        }
        pthread_mutex_lock(&list);
        if (made) {
                *made = (struct piece){.offset = ticket->offset, .bytes = ticket->bytes, .next = o->pieces};
                o->pieces = made;
        }
        p->opens++;
        if (is_new) {
                o->next = all;
                all = o;
        }
        pthread_mutex_unlock(&list);
        *ret = o->address + ticket->offset;
        return CUDA_SUCCESS;
}

#define OPEN(call)                                                              \
        do {                                                                    \
                struct share_ticket ticket_;                                    \
                CUresult r_;                                                    \
                                                                                \
                if (!berth_enabled || !share_is_ticket(&handle))                \
                        return call;                                            \
                memcpy(&ticket_, &handle, sizeof ticket_);                      \
                if (!ret || flags != CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS || !share_ticket_ok(&ticket_)) \
                        return CUDA_ERROR_INVALID_VALUE;                        \
                if (share_is_own(&ticket_))                                     \
                        return CUDA_ERROR_INVALID_CONTEXT;                      \
                pthread_mutex_lock(&opening);                                   \
                r_ = open_ticket(ret, &ticket_);                                \
                pthread_mutex_unlock(&opening);                                 \
                return r_;                                                      \
        } while (0)

CUresult hook_cuIpcOpenMemHandle(CUdeviceptr *ret, CUipcMemHandle handle, unsigned int flags)
{
        OPEN(real.cuIpcOpenMemHandle(ret, handle, flags));
}

CUresult hook_cuIpcOpenMemHandle_v2(CUdeviceptr *ret, CUipcMemHandle handle, unsigned int flags)
{
        OPEN(real.cuIpcOpenMemHandle_v2(ret, handle, flags));
}

/* Takes a piece, and with the last one its memory, out of the list. *ret: what is to be unmapped, or NULL. False: not ours. */
static bool close_piece(CUdeviceptr address, struct opened **ret)
{
        for (struct opened **at = &all; *at; at = &(*at)->next)
                for (struct piece **p = &(*at)->pieces; *p; p = &(*p)->next) {
                        struct opened *o = *at;
                        struct piece *piece = *p;

                        if (o->address + piece->offset != address)
                                continue;
                        if (--piece->opens == 0) {
                                *p = piece->next;
                                free(piece);
                        }
                        if (!o->pieces) {
                                *at = o->next;
                                *ret = o;
                        }
                        return true;
                }
        return false;
}

CUresult hook_cuIpcCloseMemHandle(CUdeviceptr address)
{
        struct opened *o = NULL;
        CUresult r = CUDA_SUCCESS;
        bool ours;

        if (!berth_enabled)
                return real.cuIpcCloseMemHandle(address);
        pthread_mutex_lock(&opening);
        pthread_mutex_lock(&list);
        ours = close_piece(address, &o);
        pthread_mutex_unlock(&list);
        if (o) {
                /* As with a free: the device may still be at work on it, unless nothing of us runs. */
                if (lane_is_open() && !lane_captures())
                        r = real.cuCtxSynchronize();
                drop(o);
        }
        pthread_mutex_unlock(&opening);
        return ours ? r : real.cuIpcCloseMemHandle(address);
}

bool own_ipc_range(CUdeviceptr address, CUdeviceptr *ret_base, uint64_t *ret_bytes)
{
        bool found = false;

        pthread_mutex_lock(&list);
        for (const struct opened *o = all; o && !found; o = o->next)
                for (const struct piece *p = o->pieces; p && !found; p = p->next) {
                        found = address >= o->address + p->offset && address < o->address + p->offset + p->bytes;
                        if (found) {
                                *ret_base = o->address + p->offset;
                                *ret_bytes = p->bytes;
                        }
                }
        pthread_mutex_unlock(&list);
        return found;
}

void own_ipc_forked(void)
{
        pthread_mutex_init(&opening, NULL);
        pthread_mutex_init(&list, NULL);
        all = NULL;
        share_forked();
}
