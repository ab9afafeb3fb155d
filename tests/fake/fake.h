/* fake.h: inside the software device.
 *
 * A libcuda.so.1 whose device is host memory (store.h) and whose engine is one thread for each stream. Two locks, taken
 * in this order when both are needed: memory_lock (read: an operation touches device memory; write: the tables change)
 * and engine_lock (streams, events, captures, contexts). Objects behind handles (contexts, streams, events, functions)
 * are never given back to malloc while the process lives, so a stale handle is recognised by its mark and not a crash.
 */
#pragma once

#include "base/clock.h"
#include "base/scope.h"
#include "cuda/abi/cuda.h"
#include "store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Results that abi/cuda.h has no need of. */
enum {
        FAKE_ERROR_UNSUPPORTED_LIMIT = 215,
        FAKE_ERROR_PEER_UNSUPPORTED = 217,
        FAKE_ERROR_INVALID_PTX = 218,
        FAKE_ERROR_FILE_NOT_FOUND = 301,
        FAKE_ERROR_OPERATING_SYSTEM = 304,
        FAKE_ERROR_PEER_ALREADY_ENABLED = 704,
        FAKE_ERROR_PEER_NOT_ENABLED = 705,
        FAKE_ERROR_CONTEXT_IS_DESTROYED = 709,
        FAKE_ERROR_HOST_ALREADY_REGISTERED = 712,
        FAKE_ERROR_HOST_NOT_REGISTERED = 713,
        FAKE_ERROR_MISALIGNED = 716,
        FAKE_ERROR_CAPTURE_MERGE = 902,
        FAKE_ERROR_CAPTURE_UNMATCHED = 903,
        FAKE_ERROR_CAPTURE_UNJOINED = 904,
        FAKE_ERROR_CAPTURE_ISOLATION = 905,
        FAKE_ERROR_CAPTURED_EVENT = 907,
        FAKE_ERROR_CAPTURE_WRONG_THREAD = 908,
        FAKE_ERROR_GRAPH_UPDATE = 910,
};

/* --- entry points (trace.c)
 * ------------------------------------------------------------------------------------------------ */

/* One for each exported function: what BERTH_SOFTWARE_FAIL and BERTH_SOFTWARE_LOG know about it. */
struct entry {
        const char *name;
        _Atomic int rule; /* 0: not looked up; -1: none; otherwise 1 + index of the rule */
};

extern bool trace_on; /* set once, before any call */
/* The result to return in place of the call, or -1 to go on. */
int trace_enter(struct entry *entry);
void trace_leave(struct entry *entry, int result);

/* API(name, (parameters), (arguments)) { body }: an exported function that can be counted and made to fail. */
#define API_AS(symbol, body, parameters, arguments)                                                                    \
        EXPORT CUresult symbol parameters;                                                                             \
        EXPORT CUresult symbol parameters                                                                              \
        {                                                                                                              \
                static struct entry entry_ = {.name = #symbol};                                                        \
                CUresult result_;                                                                                      \
                                                                                                                       \
                if (LIKELY(!trace_on))                                                                                 \
                        return body arguments;                                                                         \
                result_ = trace_enter(&entry_);                                                                        \
                if (result_ < 0)                                                                                       \
                        result_ = body arguments;                                                                      \
                trace_leave(&entry_, result_);                                                                         \
                return result_;                                                                                        \
        }

#define API(symbol, parameters, arguments)                                                                             \
        static inline CUresult symbol##_body parameters;                                                               \
        API_AS(symbol, symbol##_body, parameters, arguments)                                                           \
        static inline CUresult symbol##_body parameters

/* The same for a function that takes a stream "s": NULL means the legacy stream in the plain form, the thread's own in
 * symbol_ptsz. */
#define ARGUMENTS(...) __VA_ARGS__
#define API_STREAM(symbol, parameters, arguments)                                                                      \
        static inline CUresult symbol##_body parameters;                                                               \
        static inline CUresult symbol##_own parameters                                                                 \
        {                                                                                                              \
                s = s ? s : CU_STREAM_PER_THREAD;                                                                      \
                return symbol##_body arguments;                                                                        \
        }                                                                                                              \
        API_AS(symbol, symbol##_body, parameters, arguments)                                                           \
        API_AS(symbol##_ptsz, symbol##_own, parameters, arguments)                                                     \
        static inline CUresult symbol##_body parameters

/* The same for a synchronous copy: the body's last parameter is the stream it runs on, which callers do not see. */
#define API_SYNC(symbol, parameters, arguments)                                                                        \
        static CUresult symbol##_body(ARGUMENTS parameters, CUstream s);                                               \
        static inline CUresult symbol##_plain(ARGUMENTS parameters)                                                    \
        {                                                                                                              \
                return symbol##_body(ARGUMENTS arguments, CU_STREAM_LEGACY);                                           \
        }                                                                                                              \
        static inline CUresult symbol##_own(ARGUMENTS parameters)                                                      \
        {                                                                                                              \
                return symbol##_body(ARGUMENTS arguments, CU_STREAM_PER_THREAD);                                       \
        }                                                                                                              \
        API_AS(symbol, symbol##_plain, (ARGUMENTS parameters), (ARGUMENTS arguments))                                  \
        API_AS(symbol##_ptds, symbol##_own, (ARGUMENTS parameters), (ARGUMENTS arguments))                             \
        static CUresult symbol##_body(ARGUMENTS parameters, CUstream s)

/* --- contexts (context.c)
 * -------------------------------------------------------------------------------------------------- */

enum {
        MARK_CONTEXT = 0x43545831,
        MARK_STREAM = 0x53545231,
        MARK_EVENT = 0x45565431,
        MARK_FUNCTION = 0x46554e31,
        MARK_MODULE = 0x4d4f4431,
        MARK_LIBRARY = 0x4c494231,
        MARK_GRAPH = 0x47524831,
        MARK_EXEC = 0x47455831,
        MARK_POOL = 0x504f4f31,
        MARK_ARRAY = 0x41525231,
        MARK_GREEN = 0x47524e31,
        MARK_GONE = 0x474f4e45
};

struct CUctx_st {
        uint32_t mark;
        int device;
        _Atomic unsigned attached; /* users beside the first */
        bool primary, counted; /* counted: file holds the context's bytes */
        unsigned flags, version;
        _Atomic unsigned peers; /* devices whose plain memory its kernels may touch, a bit each */
        uint64_t id;
        _Atomic int sticky;            /* CUDA_SUCCESS, or what every further call returns */
        _Atomic int blocking_captures; /* captures on streams that the legacy stream waits for */
        atomic_bool abort;             /* being destroyed: nothing waits any longer */
        struct CUstream_st *legacy;
        struct CUstream_st *streams; /* all of them, legacy included */
        struct store_file file;
        struct CUctx_st *next;
};

enum { THREAD_STACK = 16 };

/* context.c: a green context's own context, which takes nothing of the device, and its end; the primary one, held and let go. */
CUresult context_make_green(CUdevice d, CUcontext *ret);
void context_end_green(CUcontext c);
CUresult primary_hold(CUdevice d, CUcontext *ret);
CUresult primary_let_go(CUdevice d);

struct thread {
        CUcontext current;
        CUcontext own_context; /* whose per-thread stream own is */
        CUstream own;
        int capture_mode;
        unsigned depth;
        CUcontext stack[THREAD_STACK]; /* contexts below the current one */
};

extern __thread struct thread this_thread __attribute__((tls_model("initial-exec")));
enum { STATE_NEW, STATE_READY, STATE_FORKED };
extern _Atomic int fake_state;
extern unsigned fake_devices;

/* CUDA_SUCCESS once cuInit was called in this very process. */
static inline CUresult need_ready(void)
{
        return LIKELY(atomic_load_explicit(&fake_state, memory_order_acquire) == STATE_READY)
                       ? CUDA_SUCCESS
                       : CUDA_ERROR_NOT_INITIALIZED;
}

/* The calling thread's context, or why there is none that works. */
static inline CUresult need_context(CUcontext *ret)
{
        CUcontext c = this_thread.current;
        int sticky;

        if (need_ready())
                return CUDA_ERROR_NOT_INITIALIZED;
        if (!c)
                return CUDA_ERROR_INVALID_CONTEXT;
        if (UNLIKELY(c->mark != MARK_CONTEXT))
                return FAKE_ERROR_CONTEXT_IS_DESTROYED;
        sticky = atomic_load_explicit(&c->sticky, memory_order_relaxed);
        *ret = c;
        return sticky;
}

#define TRY(expression)                                                                                                \
        do {                                                                                                           \
                CUresult try_ = (expression);                                                                          \
                if (UNLIKELY(try_))                                                                                    \
                        return try_;                                                                                   \
        } while (0)

/* The current context's fault, or the first fault of any: for objects without a context. */
void context_fail(CUcontext c, CUresult fault);
CUresult device_check(CUdevice d);

/* --- device memory (vmm.c, memory.c)
 * --------------------------------------------------------------------------------------- */

#define GRANULE (UINT64_C(2) << 20)

extern pthread_rwlock_t memory_lock;

/* What is done to memory. A copy reaches plain allocations of all devices; kernels need peer access to them. */
enum { TOUCH_READ = 0, TOUCH_WRITE = 1, TOUCH_COPY = 2 };

/* Bytes at an address of the device, where they are in this process. */
struct span {
        void *at;
        uint64_t bytes;
        int device; /* whose memory it is; -1: the host's */
};

/* At most length bytes from at on. Under memory_lock. ILLEGAL_ADDRESS for unmapped memory and missing access rights. */
CUresult span_device(CUdeviceptr at, uint64_t length, CUcontext c, unsigned touch, struct span *ret);
/* The same for an address that may be host memory too. */
CUresult span_any(CUdeviceptr at, uint64_t length, CUcontext c, unsigned touch, struct span *ret);
/* Whether all of it may be touched. Under memory_lock. */
CUresult range_check(CUdeviceptr at, uint64_t length, CUcontext c, unsigned touch);
/* Kernels of device peer may touch what pools of the device hold. */
void vmm_open_pools(int device, int peer);
/* True when the address belongs to a reservation. Under memory_lock. */
bool is_device_address(CUdeviceptr at);

/* Physical memory at an address of its own, for plain allocations; takes memory_lock. vmm_unback is called under it
 * (write). */
CUresult vmm_back(int device, uint64_t bytes, CUdeviceptr *ret_at);
void vmm_unback(CUdeviceptr at);
/* The machine-wide number of the physical memory at an address and the offset into it; false when nothing is there. Takes
 * memory_lock. */
bool vmm_publish(CUdeviceptr at, unsigned long long *ret_serial, uint64_t *ret_offset);
/* Takes such memory of another process in, at an address of its own; takes memory_lock. */
CUresult vmm_open_published(unsigned long long serial, CUdeviceptr *ret_at);
/* The device and extent of the mapping at an address; false when there is none. Under memory_lock. */
bool vmm_find(CUdeviceptr at, CUdeviceptr *ret_base, uint64_t *ret_bytes, int *ret_device, bool *ret_accessible);
void vmm_forked(void);

enum host_kind { HOST_REGISTERED, HOST_ALLOCATED, HOST_MANAGED };
struct host_range {
        uint64_t base, bytes;
        enum host_kind kind;
        unsigned flags;
};
/* The registration, host or managed allocation that holds an address, or NULL. Under memory_lock. */
const struct host_range *host_find(uint64_t at);
/* What a copy does with its host side: *ret_pinned, or INVALID_VALUE when it begins in a registration and goes beyond
 * it. Takes memory_lock. */
CUresult host_check(uint64_t at, uint64_t bytes, bool *ret_pinned);

CUresult memory_alloc(int device, uint64_t bytes, CUdeviceptr *ret);
CUresult memory_free(CUdeviceptr at);
/* Takes an allocation off its pool's books, if it has one (pool.c). */
void pool_freed(CUdeviceptr at);
/* The pool that an allocation came from, or NULL. */
CUmemoryPool pool_lender(CUdeviceptr at);
/* The plain allocation that holds an address; false when there is none. Under memory_lock. */
bool memory_find(CUdeviceptr at, CUdeviceptr *ret_base, uint64_t *ret_bytes);
/* The same of another process's allocation that was opened here (ipc.c). Under memory_lock. */
bool ipc_find(CUdeviceptr at, CUdeviceptr *ret_base, uint64_t *ret_bytes);

/* --- engine (stream.c)
 * ----------------------------------------------------------------------------------------------------- */

enum work_kind {
        WORK_KERNEL,
        WORK_COPY,
        WORK_SET,
        WORK_HOST,
        WORK_CALLBACK,
        WORK_EVENT,
        WORK_WAIT,
        WORK_WRITE_VALUE,
        WORK_WAIT_VALUE,
        WORK_GRAPH,
        WORK_FREE,
        WORK_KEEP,  /* a graph's own allocation: nothing to do, but the memory lives as long as the node */
        WORK_BRANCH, /* only in graphs: an instance has the graph that it runs in its place */
        WORK_UNKEEP /* its end within the graph: nothing to do either */
};

struct dependency {
        CUstream stream;
        uint64_t sequence;
};

struct program; /* an instantiated graph (graph.c) */
struct holding; /* memory that a graph allocated (graph.c) */

/* One thing for a stream to do. Graph nodes are the same thing, kept. */
struct work {
        enum work_kind kind;
        CUstream stream;
        uint64_t sequence;
        struct work *next;
        union {
                struct {
                        int id;
                        uint64_t a[4];
                } kernel;
                struct {
                        CUdeviceptr to, from;
                        uint64_t width, height, to_pitch, from_pitch;
                        bool to_host, from_host;
                        CUcontext to_context, from_context; /* NULL: the stream's */
                } copy;
                struct {
                        CUdeviceptr to;
                        uint64_t width, height, pitch; /* width in elements */
                        uint32_t value, size;
                } set;
                struct {
                        void (*call)(void *);
                        void (*callback)(CUstream, CUresult, void *);
                        CUstream stream;
                        void *data;
                } host;
                struct {
                        CUevent event;
                        uint64_t generation;
                } event;
                struct {
                        CUdeviceptr at;
                        uint64_t value;
                        unsigned flags, size;
                } value;
                struct program *program;
                struct holding *holding;
                struct branch *branch;
                CUdeviceptr free_at;
        };
        unsigned dependencies, dependency_room;
        struct dependency *dependency;
        CUgraph owner; /* of a kept node */
        unsigned type; /* CUgraphNodeType of a kept node */
};

struct capture {
        CUgraph graph;
        CUstream origin;
        CUcontext context;
        pthread_t thread;
        int mode;
        uint64_t id;
        bool invalid;
        bool into;           /* the graph is the program's: its nodes before this capture end with `before`, and what comes first depends on these */
        struct work *before;
        CUgraphNode *after;
        size_t after_n;
        struct capture *next;
};

struct CUstream_st {
        uint32_t mark;
        CUcontext context;
        unsigned flags;
        int priority;
        uint64_t id;
        bool legacy, dying, threaded;
        _Atomic uint64_t submitted, completed;
        _Atomic(struct capture *) capture;
        uint64_t tail; /* nodes captured on this stream so far, as the graph counts them */
        bool unjoined; /* captured something that the origin has not waited for */
        struct work *head, **end;
        unsigned queued;
        pthread_cond_t wake;
        struct CUstream_st *next, *next_free;
};

struct CUevent_st {
        uint32_t mark;
        unsigned flags;
        bool recorded;
        CUstream stream;
        uint64_t sequence, generation;
        uint64_t time_ns;
        uint64_t capture_id, tail; /* recorded in this capture, at that point of stream; 0: in none */
        struct event_page *page; /* of one that other processes have, too */
        int page_fd;
        struct CUevent_st *next_free, *next;
};
CUresult event_check(CUevent e);

/* ipc-event.c */
CUresult event_page_record(CUevent e, CUstream s);
CUresult event_page_wait(CUevent e, CUstream s);
bool event_page_done(CUevent e);
void event_page_synchronize(CUevent e);
CUresult cuEventCreate(CUevent *event, unsigned flags);
CUresult cuEventSynchronize(CUevent e);

extern pthread_mutex_t engine_lock;
extern _Atomic unsigned captures_active;

/* Resolves NULL, CU_STREAM_LEGACY, CU_STREAM_PER_THREAD and plain handles; checks the current context. */
CUresult stream_of(CUstream handle, CUstream *ret);
/* Queues a copy of *work, or captures it; wait: returns when it is done. */
CUresult stream_submit(CUstream stream, const struct work *work, bool wait);
CUresult stream_create(CUcontext c, unsigned flags, int priority, CUstream *ret);
/* Under engine_lock: queues a copy of *work, which may take waiting; its number. */
CUresult stream_submit_locked(CUstream stream, const struct work *work, uint64_t *ret_sequence);
/* Under engine_lock, which is given up meanwhile. */
void stream_wait_for(CUstream stream, uint64_t sequence);
bool stream_busy(CUstream stream);
/* Under engine_lock: adds what work on the stream has to wait for beside the stream itself; false when out of memory.
 */
bool work_add_implicit(struct work *work, CUstream stream);
/* Waits for everything that the context was given so far. */
void context_drain(CUcontext c);
/* Ends all streams of a context; nothing of it runs afterwards. */
void context_stop(CUcontext c);

/* True when nothing on the stream or before it is unfinished: work with no effect may be taken as done. */
static inline bool stream_idle(CUstream s)
{
        return atomic_load_explicit(&s->submitted, memory_order_relaxed) ==
                       atomic_load_explicit(&s->completed, memory_order_acquire) &&
               !atomic_load_explicit(&s->capture, memory_order_relaxed);
}

/* Carries one thing out, on the stream's thread, without locks held (kernels.c, copy.c). */
CUresult work_run(struct work *w, CUcontext c);
CUresult kernel_run(const struct work *w, CUcontext c);
CUresult copy_run(const struct work *w, CUcontext c);
CUresult set_run(const struct work *w, CUcontext c);
CUresult program_run(struct program *p, CUcontext c);
void program_ref(struct program *p);
void program_unref(struct program *p);

/* --- captures and graphs (graph.c)
 * ----------------------------------------------------------------------------------------- */

/* For calls that a capture forbids to its thread or to all: 900, and the capture is lost. */
CUresult capture_forbids(void);
/* For calls that use the legacy stream: 906 while a stream that it waits for captures, and the capture is lost. */
CUresult capture_implicit(CUcontext c);
/* For calls that use the whole context: 900 while any of its streams captures, and the capture is lost. */
CUresult capture_context(CUcontext c);
/* For calls that look at a stream which captures: 900, and the capture is lost. */
CUresult capture_observed(CUstream s);
/* Under engine_lock: the event stands for what the stream has captured so far. */
CUresult capture_record(CUstream s, CUevent e);
/* What looking at an event that was recorded in a capture returns. Takes engine_lock. */
CUresult capture_event_error(CUevent e);
/* Under engine_lock: puts work into the stream's capture. */
CUresult capture_add(CUstream s, const struct work *w);
/* Under engine_lock: the stream takes part in the capture that the event was recorded in. */
CUresult capture_join(CUstream s, CUevent e);

/* Memory of a graph that lives as long as somebody has it; NULL when out of memory. */
struct holding *holding_new(int device, CUdeviceptr at, uint64_t bytes);
void holding_unref(struct holding *h);

/* --- arrays (array.c)
 * ------------------------------------------------------------------------------------------------------ */

/* Rows without padding in a plain allocation; level k of a mipmapped one is an array inside it. */
struct CUarray_st {
        uint32_t mark;
        int device, format;
        CUdeviceptr base;
        uint64_t width, height, depth, row; /* elements, rows (at least 1), slices (at least 1); bytes of a row */
        uint64_t asked_height, asked_depth;
        unsigned channels, flags;
        bool level; /* of a mipmapped array */
        struct CUarray_st *next;
};

/* --- functions (module.c, kernels.c)
 * --------------------------------------------------------------------------------------- */

enum kernel_id { KERNEL_NOP, KERNEL_FILL, KERNEL_ADD, KERNEL_CHECKSUM, KERNEL_SPIN, KERNEL_STEP, KERNEL_HASH, KERNEL_UNKNOWN };
#define KERNEL_PARAMETERS 3

struct kernel_type {
        const char *name;
        unsigned parameters;
        unsigned char bytes[KERNEL_PARAMETERS];
};
extern const struct kernel_type kernel_types[KERNEL_UNKNOWN + 1];

/* CUfunction and CUkernel are the same thing, as callers may pass either where a function is wanted. */
struct CUfunc_st {
        uint32_t mark;
        int id;
        struct CUmod_st *module;
        struct CUfunc_st *next;
        char name[];
};

/* Any name of the driver that this library exports and the version it came with; NULL when there is none (generated).
 */
void *symbol_find(const char *name, int *ret_since);
