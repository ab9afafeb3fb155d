/* config.c: settings from one table; see config.h.
 *
 * Every load fills a fresh copy and hands it over only when all of it was accepted. libinih splits the lines; the reader it is given
 * here counts them, so that every message names file and line, and refuses what libinih would quietly cut or join: lines longer than
 * its buffer, bytes that are no text, continuation lines.
 */
#include "base/config.h"

#include "base/error.h"
#include "base/text.h"

#include <dirent.h>
#include <ini.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int __attribute__((format(printf, 2, 3))) refuse(char message[CONFIG_MESSAGE], const char *format, ...)
{
        va_list args;

        va_start(args, format);
        vsnprintf(message, CONFIG_MESSAGE, format, args);
        va_end(args);
        return -E_CONFIG;
}

/* Text of strangers for messages: short, clean, and marked where it was cut. */
struct shown {
        char text[64];
};

static struct shown show(const char *s)
{
        struct shown out;

        text_copy_clean(out.text, sizeof out.text, s);
        if (strlen(s) >= sizeof out.text)
                memcpy(out.text + sizeof out.text - 4, "...", 4);
        return out;
}

static const struct config_entry *find(const struct config_table *table, const char *section, const char *name)
{
        for (size_t i = 0; i < table->count; i++)
                if (!strcmp(table->entries[i].section, section) && !strcmp(table->entries[i].name, name))
                        return &table->entries[i];
        return NULL;
}

static bool has_section(const struct config_table *table, const char *section)
{
        for (size_t i = 0; i < table->count; i++)
                if (!strcmp(table->entries[i].section, section))
                        return true;
        return false;
}

static void list_add(char *list, size_t size, const char *word)
{
        size_t length = strlen(list);

        snprintf(list + length, size - length, "%s%s", length ? ", " : "", word);
}

/* "a, b, c": the sections, or the names within one. */
static void list_names(const struct config_table *table, const char *section, char *list, size_t size)
{
        list[0] = 0;
        for (size_t i = 0; i < table->count; i++) {
                const struct config_entry *e = &table->entries[i];

                if (section) {
                        if (!strcmp(e->section, section))
                                list_add(list, size, e->name);
                } else if (i == 0 || strcmp(e->section, table->entries[i - 1].section)) {
                        list_add(list, size, e->section);
                }
        }
}

static int choice_index(const char *choices, const char *value, uint32_t *ret_index)
{
        uint32_t index = 0;

        for (const char *p = choices;; index++) {
                size_t n = strcspn(p, "|");

                if (strlen(value) == n && !strncasecmp(p, value, n)) {
                        *ret_index = index;
                        return 0;
                }
                if (!p[n])
                        return -EINVAL;
                p += n + 1;
        }
}

/* A size that reads back as the same number. */
static void format_bytes(uint64_t bytes, char *buffer, size_t size)
{
        static const char *const names[] = {"", "KiB", "MiB", "GiB", "TiB"};
        size_t i = 0;

        for (; bytes && bytes % 1024 == 0 && i + 1 < ARRAY_SIZE(names); i++)
                bytes /= 1024;
        snprintf(buffer, size, "%" PRIu64 "%s", bytes, names[i]);
}

static void format_duration(uint64_t ns, char *buffer, size_t size)
{
        static const struct {
                uint64_t scale;
                const char *name;
        } units[] = {{1000000000, "s"}, {1000000, "ms"}, {1000, "us"}, {1, "ns"}};
        size_t i = 0;

        while (ns % units[i].scale)
                i++;
        snprintf(buffer, size, "%" PRIu64 "%s", ns / units[i].scale, units[i].name);
}

static void format_scaled(const struct config_entry *entry, uint64_t value, char *buffer, size_t size)
{
        if (entry->type == CONFIG_BYTES)
                format_bytes(value, buffer, size);
        else if (entry->type == CONFIG_DURATION)
                format_duration(value, buffer, size);
        else
                snprintf(buffer, size, "%" PRIu64, value);
}

/* What an entry takes, in words. */
static void accepted(const struct config_entry *entry, char *buffer, size_t size)
{
        const char *what = "";
        char low[32], high[32];

        switch (entry->type) {
        case CONFIG_BYTES:
                what = "a size such as 512MiB";
                break;
        case CONFIG_SHARE:
                what = "a size such as 4GiB, or a percentage such as 50%";
                break;
        case CONFIG_DURATION:
                what = "a time such as 30s or 500ms";
                break;
        case CONFIG_NUMBER:
                what = "a whole number";
                break;
        case CONFIG_BOOL:
                what = "yes or no";
                break;
        case CONFIG_CHOICE:
                what = entry->choices;
                break;
        case CONFIG_STRING:
                what = "printable text of at most 255 characters";
                break;
        }
        if (!entry->max || (entry->type != CONFIG_BYTES && entry->type != CONFIG_DURATION && entry->type != CONFIG_NUMBER)) {
                snprintf(buffer, size, "%s", what);
                return;
        }
        format_scaled(entry, entry->min, low, sizeof low);
        format_scaled(entry, entry->max, high, sizeof high);
        snprintf(buffer, size, "%s from %s to %s", what, low, high);
}

static int apply(const struct config_entry *entry, void *target, const char *value)
{
        uint64_t min = entry->min, max = entry->max ? entry->max : UINT64_MAX, number;
        void *at = (char *)target + entry->offset;
        int r = 0;

        switch (entry->type) {
        case CONFIG_BYTES:
                r = text_parse_bytes(value, &number);
                break;
        case CONFIG_DURATION:
                r = text_parse_duration(value, &number);
                break;
        case CONFIG_NUMBER:
                r = text_parse_u64(value, min, max, &number);
                break;
        case CONFIG_SHARE: {
                struct config_share share = {0};

                r = text_parse_share(value, &share.bytes, &share.permille);
                if (r == 0)
                        memcpy(at, &share, sizeof share);
                return r;
        }
        case CONFIG_BOOL:
                return text_parse_bool(value, at);
        case CONFIG_CHOICE:
                return choice_index(entry->choices, value, at);
        case CONFIG_STRING:
                if (strlen(value) >= CONFIG_TEXT || !text_is_clean(value, CONFIG_TEXT))
                        return -EINVAL;
                memset(at, 0, CONFIG_TEXT);
                memcpy(at, value, strlen(value));
                return 0;
        default:
                return -EINVAL;
        }
        if (r < 0)
                return r;
        if (number < min || number > max)
                return -ERANGE;
        memcpy(at, &number, sizeof number);
        return 0;
}

void config_defaults(const struct config_table *table, void *target)
{
        memset(target, 0, table->bytes);
        for (size_t i = 0; i < table->count; i++)
                if (apply(&table->entries[i], target, table->entries[i].fallback) < 0) {
                        fprintf(stderr, "the default of %s.%s is not accepted by its own rule\n", table->entries[i].section,
                                table->entries[i].name);
                        abort();
                }
}

/* where: "file:12: ", "NVSHARE_…: " or "". */
static int set_at(const struct config_table *table, void *target, const char *where, const char *section, const char *name,
                  const char *value, char message[CONFIG_MESSAGE])
{
        const struct config_entry *entry = find(table, section, name);
        char list[256];

        if (!has_section(table, section)) {
                list_names(table, NULL, list, sizeof list);
                if (!*section)
                        return refuse(message, "%ssetting \"%s\" stands before any [section]; there are: %s", where,
                                      show(name).text, list);
                return refuse(message, "%sunknown section [%s]; there are: %s", where, show(section).text, list);
        }
        if (!entry) {
                list_names(table, section, list, sizeof list);
                return refuse(message, "%sunknown setting \"%s\" in [%s]; there are: %s", where, show(name).text, section, list);
        }
        if (apply(entry, target, value) < 0) {
                accepted(entry, list, sizeof list);
                return refuse(message, "%s%s.%s does not accept \"%s\"; accepted: %s", where, section, name, show(value).text, list);
        }
        return 0;
}

int config_set(const struct config_table *table, void *target, const char *section, const char *name, const char *value,
               char message[CONFIG_MESSAGE])
{
        message[0] = 0;
        return set_at(table, target, "", section, name, value, message);
}

struct reading {
        const struct config_table *table;
        void *target;
        const char *path;
        FILE *file;
        unsigned int line;
        unsigned int *seen; /* per entry: the line that set it in this file, 0: none */
        char *text;
        size_t size;
        int failed; /* once set, message is final and no further line is read */
        char *message;
};

static char *read_line(char *to, int size, void *stream)
{
        struct reading *r = stream;
        const char *start;
        char section[64];
        ssize_t n;

        if (r->failed)
                return NULL;
        n = getline(&r->text, &r->size, r->file);
        if (n < 0) {
                if (ferror(r->file))
                        r->failed = refuse(r->message, "%s: can't be read after line %u: %s", r->path, r->line, error_text(errno));
                return NULL;
        }
        r->line++;
        if (strlen(r->text) != (size_t)n) {
                r->failed = refuse(r->message, "%s:%u: holds a zero byte: not a text file", r->path, r->line);
                return NULL;
        }
        /* An indented line would continue the one before: not here. */
        start = r->text + strspn(r->text, " \t");
        if (strlen(start) >= (size_t)size - 1) {
                r->failed = refuse(r->message, "%s:%u: line of %zu characters; accepted: at most %d", r->path, r->line,
                                   strcspn(start, "\r\n"), size - 3);
                return NULL;
        }
        if (*start == '[' && strchr(start, ']')) {
                snprintf(section, sizeof section, "%.*s", (int)strcspn(start + 1, "]"), start + 1);
                if (!has_section(r->table, section)) {
                        char list[256];

                        list_names(r->table, NULL, list, sizeof list);
                        r->failed = refuse(r->message, "%s:%u: unknown section [%s]; there are: %s", r->path, r->line,
                                           show(section).text, list);
                        return NULL;
                }
        }
        return strcpy(to, start);
}

static int take_setting(void *user, const char *section, const char *name, const char *value)
{
        struct reading *r = user;
        const struct config_entry *entry = find(r->table, section, name);
        char where[4500];

        if (r->failed)
                return 0;
        snprintf(where, sizeof where, "%s:%u: ", r->path, r->line);
        if (entry && r->seen[entry - r->table->entries]) {
                r->failed = refuse(r->message, "%s%s.%s is set twice; first on line %u", where, section, name,
                                   r->seen[entry - r->table->entries]);
                return 0;
        }
        r->failed = set_at(r->table, r->target, where, section, name, value, r->message);
        if (r->failed)
                return 0;
        r->seen[entry - r->table->entries] = r->line;
        return 1;
}

static void close_file(FILE **file)
{
        if (*file)
                fclose(*file);
}

static int read_file(const struct config_table *table, void *target, const char *path, bool must_exist,
                     char message[CONFIG_MESSAGE])
{
        __attribute__((cleanup(close_file))) FILE *file = fopen(path, "re");
        unsigned int *seen scoped_free = calloc(table->count, sizeof *seen);
        struct reading reading = {.table = table, .target = target, .path = path, .file = file, .seen = seen, .message = message};
        struct stat st;
        int r;

        if (!seen)
                return -ENOMEM;
        if (!file) {
                r = -errno;
                if (r == -ENOENT && !must_exist)
                        return 0;
                (void)refuse(message, "%s: can't be opened: %s", path, error_text(r));
                return r;
        }
        if (fstat(fileno(file), &st) == 0 && S_ISDIR(st.st_mode)) {
                (void)refuse(message, "%s: is a folder, not a file of settings", path);
                return -EISDIR;
        }
        r = ini_parse_stream(read_line, &reading, take_setting, &reading);
        free(reading.text);
        if (r > 0 && (!reading.failed || (unsigned int)r < reading.line))
                return refuse(message, "%s:%d: neither \"[section]\" nor \"name = value\"", path, r);
        if (reading.failed)
                return reading.failed;
        return r < 0 ? -ENOMEM : 0;
}

static int is_drop_in(const struct dirent *entry)
{
        size_t n = strlen(entry->d_name);

        return entry->d_name[0] != '.' && n > 5 && !strcmp(entry->d_name + n - 5, ".conf");
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
        return strcmp((*a)->d_name, (*b)->d_name); /* not by locale: the same order everywhere */
}

static int read_drop_ins(const struct config_table *table, void *target, const char *path, char message[CONFIG_MESSAGE])
{
        struct dirent **names = NULL;
        char folder[4096], file[4096 + 256];
        int count, r = 0;

        if (snprintf(folder, sizeof folder, "%s.d", path) >= (int)sizeof folder)
                return refuse(message, "the path of the settings file is too long");
        count = scandir(folder, &names, is_drop_in, by_name);
        if (count < 0) {
                r = -errno;
                if (r == -ENOENT || r == -ENOTDIR)
                        return 0;
                (void)refuse(message, "%s: can't be read: %s", folder, error_text(r));
                return r;
        }
        for (int i = 0; i < count; i++) {
                if (r == 0) {
                        snprintf(file, sizeof file, "%s/%s", folder, names[i]->d_name);
                        r = read_file(table, target, file, true, message);
                }
                free(names[i]);
        }
        free(names);
        return r;
}

static int read_environment(const struct config_table *table, void *target, char message[CONFIG_MESSAGE])
{
        for (size_t i = 0; i < table->count; i++) {
                const struct config_entry *entry = &table->entries[i];

                for (const char *p = entry->environment; p && *p; p += strcspn(p, " "), p += strspn(p, " ")) {
                        char name[64], where[96];
                        const char *value;
                        int r;

                        snprintf(name, sizeof name, "%.*s", (int)strcspn(p, " "), p);
                        value = getenv(name);
                        if (!value || !*value)
                                continue;
                        snprintf(where, sizeof where, "environment variable %s: ", name);
                        r = set_at(table, target, where, entry->section, entry->name, value, message);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

int config_load(const struct config_table *table, const char *path, bool must_exist, void *target, char message[CONFIG_MESSAGE])
{
        char *fresh scoped_free = calloc(1, table->bytes);
        int r = 0;

        message[0] = 0;
        if (!fresh) {
                (void)refuse(message, "out of memory");
                return -ENOMEM;
        }
        config_defaults(table, fresh);
        if (path) {
                r = read_file(table, fresh, path, must_exist, message);
                if (r == 0)
                        r = read_drop_ins(table, fresh, path, message);
        }
        if (r == 0)
                r = read_environment(table, fresh, message);
        if (r < 0) {
                if (!message[0])
                        (void)refuse(message, "%s: %s", path ? path : "settings", error_text(r));
                return r;
        }
        memcpy(target, fresh, table->bytes);
        return 0;
}

int config_override(const struct config_table *table, void *target, const char *text, char message[CONFIG_MESSAGE])
{
        const char *dot = strchr(text, '.'), *equals = strchr(text, '=');
        char section[64], name[64];

        if (!dot || !equals || dot > equals || dot - text >= (ptrdiff_t)sizeof section || equals - dot > (ptrdiff_t)sizeof name) {
                char shown[64];

                text_copy_clean(shown, sizeof shown, text);
                snprintf(message, CONFIG_MESSAGE, "--set %s: not of the form SECTION.NAME=VALUE", shown);
                return -E_CONFIG;
        }
        snprintf(section, sizeof section, "%.*s", (int)(dot - text), text);
        snprintf(name, sizeof name, "%.*s", (int)(equals - dot - 1), dot + 1);
        return config_set(table, target, section, name, equals + 1, message);
}

bool config_override_keep(struct config_overrides *overrides, const char *text)
{
        if (overrides->count == CONFIG_OVERRIDES)
                return false;
        overrides->list[overrides->count++] = text;
        return true;
}

int config_override_all(const struct config_table *table, void *target, const struct config_overrides *overrides, char message[CONFIG_MESSAGE])
{
        int r = 0;

        for (size_t i = 0; !r && i < overrides->count; i++)
                r = config_override(table, target, overrides->list[i], message);
        return r;
}

char *config_format(const struct config_entry *entry, const void *target, char *buffer, size_t size)
{
        const void *at = (const char *)target + entry->offset;
        struct config_share share;
        uint64_t number;
        uint32_t choice;

        switch (entry->type) {
        case CONFIG_BYTES:
        case CONFIG_DURATION:
        case CONFIG_NUMBER:
                memcpy(&number, at, sizeof number);
                format_scaled(entry, number, buffer, size);
                break;
        case CONFIG_SHARE:
                memcpy(&share, at, sizeof share);
                if (!share.permille)
                        format_bytes(share.bytes, buffer, size);
                else if (share.permille % 10)
                        snprintf(buffer, size, "%u.%u%%", share.permille / 10, share.permille % 10);
                else
                        snprintf(buffer, size, "%u%%", share.permille / 10);
                break;
        case CONFIG_BOOL:
                snprintf(buffer, size, "%s", *(const bool *)at ? "yes" : "no");
                break;
        case CONFIG_CHOICE: {
                const char *p = entry->choices;

                memcpy(&choice, at, sizeof choice);
                for (; choice && strchr(p, '|'); choice--)
                        p = strchr(p, '|') + 1;
                snprintf(buffer, size, "%.*s", (int)strcspn(p, "|"), p);
                break;
        }
        case CONFIG_STRING:
                snprintf(buffer, size, "%s", (const char *)at);
                break;
        }
        return buffer;
}

const char *config_frozen_change(const struct config_table *table, const void *before, const void *after)
{
        static char name[128];
        char a[300], b[300];

        for (size_t i = 0; i < table->count; i++) {
                const struct config_entry *entry = &table->entries[i];

                if (entry->live || !strcmp(config_format(entry, before, a, sizeof a), config_format(entry, after, b, sizeof b)))
                        continue;
                snprintf(name, sizeof name, "%s.%s", entry->section, entry->name);
                return name;
        }
        return NULL;
}
