/* store.h: the memory of one software "machine", shared by every process that uses it.
 *
 * A folder holds one small header (sizes, counters) and one file for each physical allocation. A file belongs to
 * whoever has it open or mapped: each open file description carries a shared flock, which descriptors sent to other
 * processes and mappings keep alive and which the kernel drops when the last of them goes, however their processes
 * ended. Files that nobody holds are removed by the next sweep. Every function is safe from any thread. A child of a
 * process that has it open starts with nothing open.
 *
 * The environment, read by whoever is first on a machine (sizes as in "512MiB"):
 *   BERTH_SOFTWARE_DIR      the folder; /dev/shm/berth-software-UID, or in /tmp where that is too small
 *   BERTH_SOFTWARE_DEVICES  how many devices, 1
 *   BERTH_SOFTWARE_MEMORY   bytes of each, 1GiB
 *   BERTH_SOFTWARE_CONTEXT  bytes that a context takes, 8MiB
 *   BERTH_SOFTWARE_LINK     bytes a second and direction between host and device; 0: as fast as it goes
 *   BERTH_SOFTWARE_PEER_LINK  the same between two devices; seven times the link, as measured where NVLink is
 * and by each process for itself: BERTH_SOFTWARE_FAIL, BERTH_SOFTWARE_LOG (trace.c).
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { STORE_DEVICES = 8, STORE_NAME = 64 };

struct store_device {
        _Atomic uint64_t used;         /* bytes, contexts included; exact after a sweep */
        _Atomic uint64_t busy_ns;      /* time spent in kernels, all processes */
        _Atomic uint64_t copy_ns;      /* time spent in copies */
        _Atomic uint64_t link_free[2]; /* when the modelled link is free again, to and from the device */
        _Atomic uint64_t peer_free[2]; /* the same of its link to other devices */
};

struct store_header {
        uint32_t magic, version;
        uint32_t devices, reserved;
        uint64_t capacity; /* bytes of each device */
        uint64_t context_bytes;
        uint64_t link; /* bytes per second and direction; 0: not modelled */
        uint64_t peer; /* the same between devices */
        uint64_t seed; /* of the UUIDs */
        _Atomic uint64_t serial;
        struct store_device device[STORE_DEVICES];
};

/* One physical allocation, held open by this process. */
struct store_file {
        char name[STORE_NAME];
        int fd, device;
        uint64_t bytes;
        bool shared; /* may be open in another process */
        struct store_file *next, **at;
};

struct store_process {
        unsigned pid;
        uint64_t bytes;
};

/* Opens or makes the machine that the environment describes; again is no error. 0 or -errno, explained once on standard
 * error. */
int store_open(void);
/* NULL before store_open. */
struct store_header *store(void);

/* A new allocation; its pages are there when memory is set, else it only counts. -ENOMEM when it does not fit. */
int store_create(int device, uint64_t bytes, bool memory, struct store_file *file);
/* Takes over fd when it is an allocation of this machine: -EBADF otherwise, and fd stays the caller's. */
int store_adopt(int fd, struct store_file *file);
/* A new descriptor of the allocation for another process: close-on-exec, the caller's; -errno. */
int store_share(struct store_file *file);
/* Its number on this machine, by which other processes can open it from now on; 0 when it has none. */
unsigned long long store_publish(struct store_file *file);
/* Opens an allocation that its owner published; -ENOENT when it is gone. It counts for its owner. */
int store_open_published(unsigned long long serial, struct store_file *file);
/* Moves it to another place in memory. */
void store_move(struct store_file *from, struct store_file *to);
/* Closes the descriptor: a mapping keeps it alive from here on. */
void store_seal(struct store_file *file);
/* Closes it; when nobody else holds it, it is gone. Mappings of this process must have ended before. */
void store_drop(struct store_file *file);

/* Removes what nobody holds and counts again. */
void store_sweep(void);
/* Processes with memory on the device, after a sweep; how many there are, of which at most size are written. */
unsigned store_processes(int device, struct store_process *list, unsigned size);
/* "GPU-xxxxxxxx-…" and its 16 bytes; text may be NULL. */
void store_uuid(int device, unsigned char bytes[16], char text[48]);

/* Waits as long as bytes take on the modelled link; direction 0 to the device, 1 from it. */
void store_link(int device, int direction, uint64_t bytes);
/* The same between two devices. */
void store_peer(int from, int to, uint64_t bytes);
