/* catalogue.h: the models that a machine can serve, as people write them down in models.conf: read, check, edit. Pure: text in, structure or text out.
 *
 *   # a comment has a line of its own
 *   [model NAME]
 *   kind = command
 *   command = llama-server --port {port} --host {host} -m '{folder}/some file.gguf'
 *   memory = 8GiB
 *
 * Every fault is told with file and line, and what is accepted; a file with a fault is no catalogue. Values go through the table of settings (base/config.h). Lines are
 * read here, because libinih cuts them at 200 characters and a command may be longer, and because adding and removing a section leaves all else in the file as it was.
 */
#pragma once

#include "base/config.h"
#include "base/strbuf.h"

#define CATALOGUE_NAME 96     /* bytes of a model's name, its end included */
#define CATALOGUE_ENTRIES 256
#define CATALOGUE_LONG 2048   /* of a command, a path, an environment */
#define CATALOGUE_WORDS 256   /* of a command */
#define CATALOGUE_BYTES (1U << 20) /* of the whole file */

enum catalogue_kind { CATALOGUE_LLAMA, CATALOGUE_COMMAND, CATALOGUE_URL };

struct catalogue_entry {
        char name[CATALOGUE_NAME];
        unsigned int line;               /* where its section begins */
        uint32_t kind;                   /* enum catalogue_kind */
        char command[CATALOGUE_LONG];    /* words as a shell splits them, with {port} {host} {model} {file} {folder} */
        char file[CATALOGUE_LONG];       /* of the model; relative to the catalogue's folder */
        char environment[CATALOGUE_LONG]; /* NAME=VALUE lines, each ended by '\n' */
        char url[CONFIG_TEXT], key_file[CONFIG_TEXT], ca_file[CONFIG_TEXT], health[CONFIG_TEXT], labels[CONFIG_TEXT], tasks[CONFIG_TEXT], revision[CONFIG_TEXT], device[CONFIG_TEXT];
        uint64_t port, memory, host_memory, idle, start, stop, parallel, context; /* idle, start, stop: ns */
        bool always;                     /* started without being asked for, and never idle */
};

struct catalogue {
        struct catalogue_entry *entries;
        uint32_t count;
};

/* The settings of a section, for manuals; the long ones (command, file, environment) are not in it. */
extern const struct config_table catalogue_table;

/* Letters, digits, "._:/@+-", beginning with a letter or digit, no ".." and no "//" in it: as clients ask for models. */
bool catalogue_is_name(const char *s);
const char *catalogue_kind_name(uint32_t kind);

/* path: for messages alone. 0, -E_CONFIG with message, -ENOMEM; *ret is left alone on failure. */
must_check int catalogue_parse(const char *text, size_t bytes, const char *path, struct catalogue *ret, char message[CONFIG_MESSAGE]);
void catalogue_done(struct catalogue *c);
#define scoped_catalogue __attribute__((cleanup(catalogue_done)))
/* NULL: there is none. */
const struct catalogue_entry *catalogue_find(const struct catalogue *c, const char *name);
bool catalogue_entry_equal(const struct catalogue_entry *a, const struct catalogue_entry *b);

struct catalogue_setting {
        const char *name, *value;
};
/* The text with one more section at its end, in *ret; the result is a catalogue. -EEXIST, -E_CONFIG (the text itself is wrong, or a value), -ENOMEM, with message. */
must_check int catalogue_add(const char *text, size_t bytes, const char *path, const char *name, const struct catalogue_setting *settings, size_t count, struct strbuf *ret,
                             char message[CONFIG_MESSAGE]);
/* The text without that section. -ENOENT, -ENOMEM. */
must_check int catalogue_remove(const char *text, size_t bytes, const char *name, struct strbuf *ret);

struct catalogue_values {
        const char *port, *host, *file, *folder;
};
/* The command's words with the values put in, as a list ended by NULL, in one block: free() it. NULL with a sentence: no memory, or no command that can be split. */
char **catalogue_argv(const struct catalogue_entry *e, const struct catalogue_values *values, char message[CONFIG_MESSAGE]);
/* What the answers of this model depend on, as 16 hex digits, or what its entry says. size, mtime: of its file, 0 without one. */
void catalogue_revision(const struct catalogue_entry *e, uint64_t size, uint64_t mtime_ns, char text[CONFIG_TEXT]);
