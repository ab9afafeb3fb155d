/* config.h: settings from one table.
 *
 * A program describes its settings once, as an array of struct config_entry; that one list gives the parser, the
 * defaults, `berth config show`, the sample file, the manual's table and the error messages. Files are INI (libinih): one file, then a
 * drop-in folder <file>.d/ of *.conf in name order, then environment aliases. Loading fills a fresh copy of the target
 * struct: on any error nothing has changed, and the message says file, line, what was found and what is accepted.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_type {
        CONFIG_BYTES,    /* uint64_t: a size, see text_parse_bytes */
        CONFIG_SHARE,    /* struct config_share: a size or a percentage */
        CONFIG_DURATION, /* uint64_t ns */
        CONFIG_NUMBER,   /* uint64_t within min … max */
        CONFIG_BOOL,     /* bool */
        CONFIG_CHOICE,   /* uint32_t: index into the '|'-separated choices */
        CONFIG_STRING,   /* char[CONFIG_TEXT] */
};

#define CONFIG_TEXT 256

struct config_share {
        uint64_t bytes;    /* 0 when a percentage was given */
        uint32_t permille; /* 0 when a size was given */
        uint32_t reserved;
};

struct config_entry {
        const char *section, *name;
        enum config_type type;
        size_t offset;           /* of the value in the target struct */
        const char *fallback;    /* default, in the same notation as in a file */
        uint64_t min, max;       /* CONFIG_NUMBER, CONFIG_BYTES, CONFIG_DURATION; max 0: no bound */
        const char *choices;     /* CONFIG_CHOICE: "auto|fixed" */
        const char *environment; /* variable that sets it too, or NULL (several: "A B") */
        bool live;               /* may change on reload */
        const char *help;        /* one sentence */
};

struct config_table {
        const struct config_entry *entries;
        size_t count;
        size_t bytes; /* of the target struct */
};

#define CONFIG_MESSAGE 512

/* Fills target with the defaults. A default that its own entry refuses is a bug: aborts. */
void config_defaults(const struct config_table *table, void *target);

/* Defaults, then path (when it exists or must_exist), then path.d, then the environment, into target, which is left alone on
 * failure. 0, -ENOENT, -EACCES …, or -E_CONFIG; message explains every failure in one line. */
must_check int config_load(const struct config_table *table, const char *path, bool must_exist, void *target,
                           char message[CONFIG_MESSAGE]);

/* One value, as "section.name=value" on a command line gives it. 0 or -E_CONFIG with message. */
must_check int config_set(const struct config_table *table, void *target, const char *section, const char *name,
                          const char *value, char message[CONFIG_MESSAGE]);

/* The same from "SECTION.NAME=VALUE", as --set takes it. */
must_check int config_override(const struct config_table *table, void *target, const char *text, char message[CONFIG_MESSAGE]);

/* All that --set said, in order: kept while options are read, taken over once files and environment are. The texts are borrowed. */
#define CONFIG_OVERRIDES 64
struct config_overrides {
        const char *list[CONFIG_OVERRIDES];
        size_t count;
};
/* False: there are CONFIG_OVERRIDES already. */
must_check bool config_override_keep(struct config_overrides *overrides, const char *text);
must_check int config_override_all(const struct config_table *table, void *target, const struct config_overrides *overrides, char message[CONFIG_MESSAGE]);

/* The value in file notation; 300 bytes are always enough. */
char *config_format(const struct config_entry *entry, const void *target, char *buffer, size_t size);

/* The name of a setting that is not live and differs between the two, or NULL. */
const char *config_frozen_change(const struct config_table *table, const void *before, const void *after);
