/* state.h: the interposer's books in one place: devices, memory, host segments, and who may touch them.
 *
 * One mutex, berth_books, guards everything here; the launch path never takes it. Threads that wait for memory sleep on berth_changed. The helper
 * thread (link.c) talks to the daemon and moves memory; it holds the mutex for one step at a time. Driver calls that wait for the
 * device are made without it.
 */
#pragma once

#include "cuda/real.h"
#include "cuda/soft.h"
#include "wire/page.h"
#include "wire/wire.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define MAX_DEVICES 16
#define MAX_CONTEXTS 16
#define GRANULE (UINT64_C(2) << 20) /* physical memory comes in multiples of this on all devices known */
#define MOVE_WINDOW 64              /* copies in flight */
#define MAX_GIFTS 64
#define NO_SEGMENT UINT32_MAX

/* See clean.h. */
struct clean_hash {
        uint64_t low, high;
};

/* One physical piece of memory, the unit of moving. It lies wholly in one block and, when it has a place, in one host segment. */
struct unit {
        CUmemGenericAllocationHandle handle; /* valid while resident */
        CUdeviceptr address;
        uint64_t bytes;
        uint64_t host_offset;
        uint32_t segment; /* index into berth.segments, NO_SEGMENT: no place in the host arena yet */
        bool resident, in_flight;
        bool host_valid;   /* the host's copy held all of it at clean_at */
        uint64_t clean_at; /* gated calls of the process (lane_calls) when both copies were last known to be equal */
        struct shelf *shelf; /* tier.c: where its bytes are while it is out and not on the host, else NULL */
        uint64_t shelf_offset;
        uint64_t lent; /* its number with the daemon if another program handed it over, else 0 */
        bool host_hashed;
        struct clean_hash host_hash; /* of the host's copy */
};

struct slab; /* slab.c: the small allocations inside a block */
struct vmm;  /* vmm.c: a handle of the program's own */

/* One reserved address range with its units: an allocation of the program, a slab of small ones, or memory that the program mapped itself. */
struct block {
        CUdeviceptr address;
        uint64_t bytes;  /* as asked for */
        uint64_t mapped; /* multiple of GRANULE */
        struct device *device;
        CUcontext context; /* it goes when this goes */
        struct slab *slab;
        struct block *next_kept; /* cache.c */
        struct vmm *vmm;
        uint64_t share; /* share.c; 0: nobody was given a ticket */
        bool fixed;    /* one of these reasons lasts as long as the block */
        uint32_t holds; /* reasons to stay on the device; while there are any its bytes count as pinned */
        uint32_t units_n;
        struct unit units[];
};

/* Between the device, the host, and a shelf on a neighbour. */
enum route { ROUTE_OUT, ROUTE_IN, ROUTE_SHELVE, ROUTE_FETCH, ROUTE_EMPTY };

struct flight {
        struct unit *unit;
        CUevent event;
        enum route route;
        bool hashed; /* a hash of the unit is being made in the flight's slot */
};

/* A physical unit from another program, not yet in use; see hand.h. */
struct gift {
        int fd;
        uint64_t bytes, number;
};

struct device {
        bool known;      /* the slot is used */
        bool storage;    /* a neighbour that only holds bytes of ours, see tier.h */
        bool managed;    /* the daemon knows it: memory is VMM-backed, calls are gated */
        CUdevice handle;
        uint8_t uuid[16];
        uint32_t ordinal; /* index in berth.devices; names it on the wire */
        struct page *page; /* device 0 of the process: berth_page, with the lanes */
        int page_fd;
        CUcontext contexts[MAX_CONTEXTS];
        unsigned int contexts_n;
        CUdevice peers[MAX_DEVICES]; /* devices that may use this one's memory (cuCtxEnablePeerAccess) */
        unsigned int peers_n;

        /* Books, in bytes. spare = granted − pinned − resident; what is kept and the gifts lie within it. */
        uint64_t total, limit, room, slack;
        uint64_t kept, gifts_bytes;
        struct soft soft;
        uint64_t soft_refused; /* allocations answered out-of-memory at the soft limit */
        bool trim;             /* all unused grant is to go back once */
        struct block *cache; /* freed blocks, cache.c */
        bool pooled;        /* pool.c: the program used memory pools */
        uint64_t pending;   /* ordered.c: part of movable: freed in stream order, and perhaps not yet in truth */
        uint64_t pool_keep; /* the largest release threshold of the pools that we serve */
        uint64_t pool_rest; /* part of pinned: what pools and graphs held, beyond what the program has, when it last gave way */
        struct block *small; /* the slab that served last */
        struct gift gifts[MAX_GIFTS];
        unsigned int gifts_n;
        uint64_t movable, pinned, resident, granted, backed, peak, device_peak;

        /* Conversation */
        bool announce_sent, announced; /* DEVICE went out on this connection; DEVICE_OK came */
        bool admitted;   /* a first GO came: the process may have a context here */
        bool running;    /* GO came, no GIVE_WAY since */
        bool draining;   /* GIVE_WAY came, GIVEN_WAY not yet sent */
        bool want_sent;  /* a WANT is open for this closed time */
        bool asked, ask_sent; /* a thread waits for ask_bytes */
        bool refused;         /* a storage: the daemon had no room on it; until the order to leave is carried out */
        unsigned int reserving; /* threads about to use spare grant: none is returned meanwhile */
        uint64_t ask_bytes;
        uint32_t ticket;
        bool denied;
        int denied_code;
        uint64_t denied_have;
        bool dirty;      /* MEMORY is due */
        uint64_t told_at, told_physical, told_backed; /* when it was sent last, and what was on the device and had a place then */
        uint64_t told_pinned; /* what the daemon knows of it */
        uint64_t returned; /* grant to return with the next MEMORY */
        uint64_t drain_since;

        /* Moving */
        uint64_t evict_left;
        bool evicting, coming, hand_over;
        uint64_t move_since, moved, move_ns, progress_returned, progress_at;
        uint64_t released; /* release.c: its own lock */
        int move_status;
        bool failed_in; /* the last time it was to come in, copies failed */
        CUcontext move_context;
        CUstream out_stream, in_stream;
        struct flight flights[MOVE_WINDOW];
        unsigned int flight_head, flights_n;
        size_t cursor_block;
        uint32_t cursor_unit;
        size_t clean_block; /* up to here no clean unit is left to drop */
        uint64_t dropped;   /* left without a copy since the order */
        struct clean *clean; /* of the move context; NULL: not made, or not possible there */
        bool clean_tried, looked; /* looked: clean units were searched for since the order */
        unsigned int vain_looks;  /* in a row that found next to nothing */
        uint64_t retry_at; /* no daemon: when to try coming in again */
};

struct segment {
        bool used, registered;
        bool needed; /* host_recall_next: can't be returned */
        bool resumed; /* told to a new daemon, its number there is not known yet */
        uint32_t id;
        int fd;
        uint64_t bytes;
        uint64_t free_bytes;
        char *map;
        uint64_t *bits; /* one per granule, 1: taken */
        CUcontext context; /* registered through this one */
};

/* How it stands with the daemon. */
enum link_state {
        LINK_NONE,      /* never tried */
        LINK_UNMANAGED, /* there was no daemon when first needed: everything passes for good */
        LINK_CONNECTED,
        LINK_AWAY,      /* was connected; trying again */
};

struct berth {
        enum link_state link;
        uint64_t unit_bytes, segment_bytes, return_ns;
        uint64_t away_since; /* LINK_AWAY: since when */
        CUresult broken; /* a context of ours answers every call with this, and what it has out can't come in; else CUDA_SUCCESS */
        struct device devices[MAX_DEVICES];
        unsigned int devices_n;
        struct block **blocks; /* sorted by address */
        size_t blocks_n, blocks_size;
        struct segment *segments;
        size_t segments_n;
        uint64_t host_wanted; /* last told to the daemon */
        uint64_t limit_bytes, soft_bytes, job_limit_bytes, need_bytes, run;
        uint32_t limit_permille, soft_permille, job_limit_permille, priority;
        bool clean; /* the daemon allows hashing */
        bool neighbours, neighbours_tried; /* it allows swapping to neighbours; they were looked for */
        char job[48];
};

extern struct berth berth;
extern pthread_mutex_t berth_books;
extern pthread_cond_t berth_changed;

static inline void books_lock(void)
{
        pthread_mutex_lock(&berth_books);
}

static inline void books_unlock(void)
{
        pthread_mutex_unlock(&berth_books);
}

static inline uint64_t device_spare(const struct device *d)
{
        uint64_t used = d->resident + d->pinned;

        return d->granted > used ? d->granted - used : 0;
}
