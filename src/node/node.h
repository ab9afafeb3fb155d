/* node.h: berthd inside: one struct node, owned by the loop thread, and what its files offer each other.
 *
 *   server.c   the socket: who may connect            client.c   one connection: receive, check, queue, drop
 *   program.c  what programs ask                      control.c  what the command line asks (status, dump, reload)
 *   limits.c   limits of programs and jobs, trimming
 *   run.c      figures of what a berth run started, peaks by window
 *   carry.c    the gate's actions as messages          lend.c     arena segments to and from programs
 *   hand.c     physical units between programs
 *   probes.c   the probes process
 *   sensor.c   device samples on a worker thread       node.c     life, timers, settings
 *   history.c  how the figures went
 *
 * Everything runs on the loop thread but sensor.c's work and the arena's workers, which share nothing with it but their own results. After
 * every event node_turn() carries out what follows from it, then gives up the connections that ended; nobody frees a connection inside the
 * event that uses it.
 */
#pragma once

#include "bpf/probes.h"
#include "gate/gate.h"
#include "node/arena.h"
#include "observe/observe.h"
#include "wire/page.h"
#include "wire/settings.h"
#include "wire/window.h"
#include "wire/wire.h"

#include <limits.h>
#include <uv.h>

#define NODE_MAX_CONNECTIONS 4096
#define NODE_MAX_GATE_CLIENTS 2048
#define NODE_MAX_QUEUE 8192     /* messages to one connection that its socket does not take yet */
#define NODE_MAX_FAULTS 16      /* out-of-turn messages before a connection is dropped */
#define NODE_ROUND 64           /* messages read from one connection before the others get their turn */

struct sensor;
struct node_history;
struct server;

/* A device given to the gate: its number there is its place here. */
struct node_device {
        struct observe_device info;
        size_t observed; /* its place in node.observe */
        uint64_t dropped, handed; /* bytes that left without a copy; bytes of units that changed owner */
};

/* One program on one device. */
struct client_device {
        uint32_t device, ordinal, gate; /* gate: its number there */
        bool storage; /* of another device's memory */
        uint64_t limit, soft, room;
        struct page *page;
        int page_fd;
        bool slack_taken;   /* told to keep no unused grant */
        uint64_t dropped;   /* as told since its last EVICT */
};

struct queued {
        struct queued *next;
        int fd;
        size_t bytes;
        char data[];
};

struct client {
        struct node *node;
        struct client *next, **at;
        uv_poll_t *poll; /* NULL in fuzz runs */
        int fd, pidfd;
        pid_t pid;
        uid_t uid;
        uint32_t number;
        uint64_t owner; /* of arena segments */
        uint64_t came_ns;

        bool greeted, doomed, paused, killed;
        uint16_t version;
        uint32_t role, priority, sequence, faults;
        uint64_t tokens_ns; /* time not yet spent on messages */
        uint64_t refilled_ns;
        struct queued *queue, **queue_end;
        uint32_t queued;

        bool resumes;
        uint64_t need, limit_bytes, soft_bytes, job, run;
        uint32_t limit_permille, soft_permille;
        char job_name[48], name[72];
        struct client_device *devices[WIRE_MAX_DEVICES]; /* by the client's ordinal */

        struct run *watches; /* the command line: whose figures it keeps */
        uint64_t band_work, band_since; /* launches and copies at the last look for the band, and since when they have not changed */
        bool band_asked;
        uint64_t work_seen; /* launches and copies at the last look */
        struct kept_unit *units; /* hand.c */
        uint32_t units_n;
        uint64_t host_wanted, host_lent;
        bool host_refused; /* told that the arena is too small */
        uint64_t host_places; /* as many as it may have (places.h) */
        bool recalling;       /* RECALL sent, RECALLED not yet here */
        uint64_t recall_at;   /* not asked again before; while it is asked: not waited for beyond */
        uint64_t recall_lent; /* what it had when it was asked */
};

/* A process whose connection ended but that may still use its arena segments. */
struct ghost {
        struct ghost *next;
        struct node *node;
        uv_poll_t *poll;
        int pidfd;
        pid_t pid;
        uid_t uid;
        uint64_t owner;
};

struct job {
        uint64_t id;
        uid_t uid;
        char name[48];
        uint32_t users;
        uint64_t limit_bytes; /* for its members together, on each device: the least that any of them stated; 0: none */
        uint32_t limit_permille;
};

struct node {
        uv_loop_t *loop;
        struct settings settings;
        /* Reads the settings anew, command line included; NULL: nothing to reload (tests). */
        int (*load)(struct settings *ret, char message[CONFIG_MESSAGE]);

        struct observe *observe;
        struct sensor *sensor;
        struct node_probes *probes;
        struct node_history *history;
        struct gate *gate;
        struct arena *arena;
        struct server *server;
        struct node_device devices[WIRE_MAX_DEVICES];
        uint32_t devices_n;
        uint64_t unit, segment, part, arena_budget;
        uint64_t over[WIRE_MAX_DEVICES]; /* lend.c: by how many bytes each device is overcommitted */

        struct client *clients;
        uint32_t clients_n, last_client;
        uint64_t last_owner, last_job;
        struct ghost *ghosts;
        struct job *jobs;
        size_t jobs_n;
        struct {
                struct client *client;
                uint32_t ordinal;
        } by_gate[NODE_MAX_GATE_CLIENTS];

        uint64_t started_ns, messages, refused, killed, arena_told;
        uv_timer_t deadline, activity, pace;
        uv_async_t arena_async;
        int handles_open; /* the four above */
        bool activity_on, pace_on, turning, budget_warned;

        /* A physical unit on its way from one program to another, within one event; see hand.c. */
        struct {
                int fd;
                uint64_t bytes;
                uint32_t device;
                uid_t uid;
        } hand;
        uint64_t last_unit;
        uint32_t units_n; /* descriptors kept in all */
};

/* --- node.c --- */

/* Takes observe over on success. -E_CONFIG with message when the settings don't fit the machine. */
must_check int node_new(uv_loop_t *loop, const struct settings *settings, struct observe *observe, struct node **ret,
                        char message[CONFIG_MESSAGE]);
/* Ends every connection and closes every handle; the loop must then run once more (uv_run) before it is closed. */
void node_free(struct node *node);
/* Carries out everything that is due; call after every event. */
void node_turn(struct node *node);
/* Parse all, check all, then swap. On failure nothing has changed and message says why. */
must_check int node_reload(struct node *node, char message[CONFIG_MESSAGE]);
/* The job's number for this user; 0 for the empty name or when out of memory. Each call needs its node_job_release. */
uint64_t node_job(struct node *node, uid_t uid, const char *name);
void node_job_release(struct node *node, uint64_t id);
/* The grant that a program may keep unused on this device. */
uint64_t node_slack(const struct node *node, uint32_t device);
uint32_t node_find_device(const struct node *node, const uint8_t uuid[16]); /* GATE_NONE: unknown */
/* Tells the gate who was at work since the last look. Called before every WANT, at each sample of the sensors, and often while anyone waits. */
void node_look(struct node *node);
void node_pace(struct node *node); /* makes sure the pace timer runs */

/* --- server.c --- */

/* Makes this process the one that serves path: a lock to hold for life. -E_RUNNING when another daemon does; message explains any failure. */
must_check int server_lock(const char *path, char message[CONFIG_MESSAGE]);
/* Listens at path, in place of a socket that a daemon left there; takes the lock over, also on failure. */
must_check int server_open(struct node *node, const char *path, int lock, char message[CONFIG_MESSAGE]);
/* Removes the socket. */
void server_close(struct server *server);
/* Descriptors may be free again: goes on accepting. */
void server_resume(struct server *server);

/* --- client.c --- */

struct client_peer {
        pid_t pid;
        uid_t uid;
        int pidfd; /* taken over; -1: the process can't be watched */
};

/* A connection on fd, which it takes over, also on failure (NULL). */
struct client *client_new(struct node *node, int fd, const struct client_peer *peer, bool poll);
/* One datagram of the true length bytes (of which at most WIRE_MAX_BYTES are at data), with a descriptor or -1, taken over. */
void client_datagram(struct client *client, const void *data, size_t bytes, int fd);
/* Fills the header and sends, now or when the socket takes it; fd stays the caller's. A peer that does not read is dropped. */
void client_send(struct client *client, enum wire_type type, struct wire_message *message, int fd);
void client_error(struct client *client, int code, uint32_t about, uint32_t sequence, uint32_t ordinal, const char *format, ...)
        __attribute__((format(printf, 6, 7)));
/* To be ended by the end of the turn; why is for the log, NULL: it left by itself. */
void client_drop(struct client *client, const char *why);
/* The event was out of turn or false: counted, answered, and too many end the connection. */
void client_fault(struct client *client, const struct wire_header *about, uint32_t ordinal, const char *what);
/* For node_turn: ends it now. */
void client_end(struct client *client);
/* Tokens came back: goes on reading. False: still has to wait. */
bool client_unpause(struct client *client, uint64_t now);
void client_free_queue(struct client *client);

/* --- program.c --- */

void program_message(struct client *client, const struct wire_message *message, int fd);
/* Forgets all its devices. */
void program_gone(struct client *client);

/* --- control.c, dump.c --- */

void control_message(struct client *client, const struct wire_message *message);
/* The whole state as JSON in a memfd; the fd or -errno. */
must_check int dump_open(struct node *node);
uint64_t dump_own_rss(void);
void dump_client(struct client *client, const struct client_device *d, uint64_t now, struct wire_STATUS_CLIENT *ret);
void dump_device(struct node *node, uint32_t device, uint64_t now, struct wire_STATUS_DEVICE *ret);
void dump_observed(struct node *node, size_t observed, struct wire_STATUS_DEVICE *ret);

/* --- limits.c --- */

/* The lesser of a size and a share of the device, 0: none of both. */
uint64_t limits_of(uint64_t bytes, uint32_t permille, uint64_t total);
/* A member states a limit of its job's. */
void limits_job(struct node *node, uint64_t job, uint64_t bytes, uint32_t permille);
/* The limit of the client's job on a device, 0: none. */
uint64_t limits_of_job(const struct client *client, uint32_t device);
/* Grant that it may keep unused on a device while nobody waits. */
uint64_t limits_slack(const struct client *client, uint32_t device);
/* Growth to a grant of need that its job's limit forbids: the most it could have into *ret_have. */
bool limits_forbid(const struct client *client, const struct client_device *d, uint64_t need, uint64_t *ret_have);
/* Once a second: programs that have become idle are asked to give back while a device is above the band's lower end. */
void limits_band(struct node *node, uint64_t now);
void limits_trim(struct client *asker, const struct wire_message *message);
void limits_prefetch(struct client *asker, const struct wire_message *message);

/* --- run.c --- */

/* Keeps the last figures of a program of this run from now on, as long as the connection lasts. 0, -E_MESSAGE: it keeps those of another. */
must_check int run_watch(struct client *watcher, uint64_t number);
/* A program leaves: its figures, of all devices, for those who keep them. Before its devices are forgotten. */
void run_left(struct client *program, uint64_t now);
void run_free(struct client *watcher);
/* Lines of the watcher's run, ended programs first: how many were sent. */
uint32_t run_send(struct client *watcher, uint64_t now);
void run_peak(struct client *asker, const struct wire_message *message);

/* --- history.c --- */

/* Reads what observe.history kept. NULL: out of memory, then the daemon works without. */
struct node_history *history_start(const struct node *node);
/* Once a second. */
void history_turn(struct node *node, uint64_t now);
/* All series in a sealed memfd, at most a second old: a descriptor, or -errno. */
must_check int history_open(struct node *node);
/* Writes the file, frees. */
void history_end(struct node *node);

/* --- carry.c --- */

/* All actions that wait. True when there were any. */
bool carry_out(struct node *node);

/* --- hand.c --- */

#define HAND_MAX_UNITS 65536 /* descriptors kept for all clients */

/* Whether somebody else of the same user has memory outside: then units are worth handing over. */
bool hand_worth(const struct client *leaver, uint32_t device);
/* The unit in hand, if the bytes of this BRING_IN reach for it and it may go to this client. A descriptor to send along, not the caller's; -1: none. */
int hand_take(struct client *client, const struct gate_action *action, uint64_t *ret_bytes, uint64_t *ret_number);
/* An EVICTED may bring a unit along (fd stays the caller's) or name one that was handed to it: carries out what follows from the message, so that
 * whoever gets its bytes gets the unit; else it goes back to the driver. */
void hand_evicted(struct client *client, uint32_t device, const struct wire_EVICTED *message, int fd);
/* UNIT_BACK */
void hand_back(struct client *client, const struct wire_message *message);
void hand_gone(struct client *client);

/* --- lend.c --- */

/* Lends what was asked for, as far as the arena has it; tells the gate what is left. */
void lend_serve(struct node *node);
/* The least arena.size with which all programs here could take turns; 0: it is large enough. */
uint64_t lend_needed(struct node *node);
void lend_wanted(struct client *client, uint64_t bytes);
/* A program is about to want so much on a device: who may have how many places is settled before anybody leaves for it. */
void lend_expect(struct client *client, const struct client_device *device, uint64_t need);
void lend_recalled(struct client *client, const struct wire_message *message);
void lend_return(struct client *client, const struct wire_message *message);
void lend_adopt(struct client *client, const struct wire_message *message, int fd);
/* A program said hello: what an earlier image of the same process left is its own (resumes), or free. */
void lend_greeted(struct client *client);
/* Its connection ends: segments stay until the process has ended. */
void lend_gone(struct client *client);
void lend_free_ghosts(struct node *node);
uint32_t lend_ghosts_of(const struct node *node, uid_t uid);

/* --- sensor.c --- */

must_check int sensor_new(struct node *node, struct sensor **ret);
/* Before observe_free. */
void sensor_free(struct sensor *sensor);
/* The last sample, or NULL when it is too old, there is none, or the sensor process was lost since. */
const struct observe_sample *sensor_last(const struct sensor *sensor, size_t observed);
/* Tells the gate what others use, as of the last sample and the clients of now; call when a program came. */
void sensor_apply(struct sensor *sensor);
/* A program left: the last sample still counts its memory. */
void sensor_departed(struct sensor *sensor, pid_t pid);
/* What others use of a device, if it is known. */
bool sensor_foreign(const struct sensor *sensor, size_t observed, uint64_t *ret_bytes);

/* --- probes.c --- */

/* Starts the process only when the settings say always. */
must_check int node_probes_new(struct node *node, struct node_probes **ret);
void node_probes_free(struct node_probes *probes);
/* Who starts the probes process (bpf/keeper.h), the room's from now on; before the loop runs. Without, probes are unavailable. */
void node_probes_keeper(struct node_probes *probes, int keeper);
/* The settings may have changed. */
void node_probes_changed(struct node_probes *probes);
/* What probes counted, for this user: a descriptor, the caller's. -EAGAIN: just started; -E_UNAVAILABLE; message says why. The question keeps the probes
 * going for another minute. */
must_check int node_probes_answer(struct node_probes *probes, uid_t uid, uint32_t families, int *ret_fd, char message[160]);
