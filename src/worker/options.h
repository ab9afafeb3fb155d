/* options.h: what berth-worker is told: one table for its settings file and its command line. */
#pragma once

#include "base/config.h"
#include "worker/confine.h"
#include "worker/message.h"

enum options_road { ROAD_AUTO, ROAD_DIRECT, ROAD_TUNNEL };

struct options {
        char pool[CONFIG_TEXT], pin[CONFIG_TEXT], ca[CONFIG_TEXT], token_file[CONFIG_TEXT], name[CONFIG_TEXT], labels[CONFIG_TEXT], types[CONFIG_TEXT], models[CONFIG_TEXT];
        char catalogue[CONFIG_TEXT], engine_address[CONFIG_TEXT];
        char folder[CONFIG_TEXT], read[CONFIG_TEXT], write[CONFIG_TEXT], slots[CONFIG_TEXT];
        uint32_t confine, log_level;
        bool private_pool, network;
        uint64_t engine_log, memory, disk, wall, cpu, processes, cache, log_bytes, log_rate, drain, grace, hang_after;
        uint32_t on_hang; /* 0 report, 1 end */
        uint32_t show;    /* 0 figures, 1 processes, 2 files: as enum sight_depth */
        uint32_t engine_road; /* enum options_road */
        /* Not settings of the file */
        char token[1024];
        int ready_fd;           /* -1: none */
        uint32_t slot_count;    /* worked out */
        bool far;               /* some pool is on another machine */
        char urls[MESSAGE_SERVERS][MESSAGE_URL];
        uint32_t url_count;
};

extern const struct config_table options_table;

/* Command line, settings file, environment; checked. 0, or -E_CONFIG with a sentence. --help and --version end the program. The key is taken out of the
 * environment. */
must_check int options_read(int argc, char **argv, struct options *ret, char message[CONFIG_MESSAGE]);
/* The parts of a comma list: calls fn for each, stops at other than 0. */
int options_each(const char *list, int (*fn)(void *context, const char *part), void *context);
