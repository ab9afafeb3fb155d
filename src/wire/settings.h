/* settings.h: what people may set for the node daemon. One table (settings.c) that generates parser, defaults, `berth config show`, the
 * sample file and the manual. Read by berthd; by the command line only to show it.
 */
#pragma once

#include "base/config.h"

enum settings_device { SETTINGS_DEVICE_AUTO, SETTINGS_DEVICE_CUDA, SETTINGS_DEVICE_SOFTWARE };

enum settings_probes { SETTINGS_PROBES_OFF, SETTINGS_PROBES_ASKED, SETTINGS_PROBES_ALWAYS };

struct settings {
        /* [node] */
        char socket[CONFIG_TEXT];
        uint32_t log_level;
        /* [device] */
        uint32_t device; /* enum settings_device */
        char nvml[CONFIG_TEXT];
        uint64_t software_devices, software_memory, software_link;
        /* [memory] */
        uint64_t reserve_percent;
        uint64_t client_part;
        uint32_t limits; /* 0 off, 1 classes */
        uint64_t band_low, band_high; /* percent, 0: off */
        /* [slice] */
        uint32_t slice_mode; /* 0 auto, 1 fixed */
        uint64_t slice_fixed, slice_multiplier, slice_multiplier_batch, slice_min, slice_max;
        /* [waiting] */
        uint64_t age, idle, give_way_bound, kill_after, move_bound, move_rate;
        /* [arena] */
        struct config_share arena_size;
        uint64_t arena_segment, arena_ready, arena_threads;
        bool arena_eager;
        /* [client] */
        uint64_t unit, return_after;
        bool clean, neighbours;
        struct config_share slack;
        /* [observe] */
        uint32_t probes;                    /* enum settings_probes */
        uint32_t probes_files, probes_gpu;  /* index of the choice: 0 auto, 1 off, then rungs in the order of enum probes_rung */
        uint32_t probes_block, probes_sched; /* the same */
        uint32_t probes_syscalls;           /* 0 no, 1 yes, then rungs */
        bool probes_closes;
        char probes_refuse[CONFIG_TEXT];    /* names of rungs */
        uint64_t probes_one_in, probes_duty, probes_entries, probes_launch_budget, probes_period, probes_answer, probes_uid;
        char history[CONFIG_TEXT]; /* a path */
        /* [limits] */
        uint64_t clients_per_user, messages_per_second;
};

extern const struct config_table settings_table;

/* config_load for this table, plus what one value alone can't tell: slice.min is 10 s when an NVSHARE_SWITCH_TIME_* variable is set and no
 * file sets it, slice.min ≤ slice.max, unit and segment fit each other. target is left alone on failure. path may be NULL. */
must_check int settings_load(const char *path, bool must_exist, struct settings *target, char message[CONFIG_MESSAGE]);

/* The checks across values alone, for settings that came by config_set. 0 or -E_CONFIG with message. */
must_check int settings_check(const struct settings *settings, char message[CONFIG_MESSAGE]);

/* Where the settings are read from when nobody says otherwise: $BERTH_CONFIG, else /etc/berth/berthd.conf for root,
 * else $XDG_CONFIG_HOME/berth/berthd.conf or ~/.config/berth/berthd.conf. Writes into path. 0 or -ENAMETOOLONG, -ENOENT (no home). */
must_check int settings_default_path(char *path, size_t size);

/* The daemon's socket: $BERTH_SOCKET, else the setting when it is not empty, else for a daemon of root /run/berth/node.sock and of a user
 * $XDG_RUNTIME_DIR/berth/node.sock or /tmp/berth-<uid>/node.sock. */
must_check int settings_socket_path(const struct settings *settings, char *path, size_t size);

/* For those who connect: the candidates in order (index 0, 1, …): $BERTH_SOCKET alone if set, else the user's own daemon, then the system's.
 * -ENOENT: no further one. */
must_check int settings_socket_candidate(unsigned int index, char *path, size_t size);
