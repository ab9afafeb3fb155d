/* catalogue.c: reads and checks models.conf; see catalogue.h. */
#include "engine/catalogue.h"

#include "base/error.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define AT(field) .offset = offsetof(struct catalogue_entry, field)
#define DAY UINT64_C(86400000000000)

static const struct config_entry settings[] = {
        {"model", "kind", CONFIG_CHOICE, AT(kind), "command", .choices = "llama|command|url", .help = "llama: the server that comes with Berth, for a GGUF file; command: any program; url: a server that is there anyway"},
        {"model", "url", CONFIG_STRING, AT(url), "", .help = "kind url: http://HOST:PORT or https://HOST:PORT"},
        {"model", "ca_file", CONFIG_STRING, AT(ca_file), "", .help = "kind url, https: file of certificates that may have signed its own; empty: the system's"},
        {"model", "key_file", CONFIG_STRING, AT(key_file), "", .help = "kind url: file that holds the key which that server asks for"},
        {"model", "port", CONFIG_NUMBER, AT(port), "0", 0, 65535, .help = "that the server is to listen on; 0: a free one"},
        {"model", "health", CONFIG_STRING, AT(health), "/health", .help = "path that answers 2xx once it can work"},
        {"model", "memory", CONFIG_BYTES, AT(memory), "0", 0, UINT64_C(1) << 50, .help = "device memory that it needs; 0: it works on the processor"},
        {"model", "host_memory", CONFIG_BYTES, AT(host_memory), "0", 0, UINT64_C(1) << 50, .help = "host memory that it needs; 0: not said"},
        {"model", "device", CONFIG_STRING, AT(device), "auto", .help = "auto, all, or a device's number or UUID"},
        {"model", "idle", CONFIG_DURATION, AT(idle), "10min", 0, 365 * DAY, .help = "stopped when so long nobody asked for it; 0: never"},
        {"model", "always", CONFIG_BOOL, AT(always), "no", .help = "started with the worker and kept, also when nobody asks for it"},
        {"model", "start", CONFIG_DURATION, AT(start), "10min", 1000000, DAY, .help = "it must be healthy within so long from its start"},
        {"model", "stop", CONFIG_DURATION, AT(stop), "10s", 0, DAY, .help = "asked to end, it gets so long before it is killed"},
        {"model", "parallel", CONFIG_NUMBER, AT(parallel), "4", 1, 65536, .help = "requests that it works on at once"},
        {"model", "context", CONFIG_NUMBER, AT(context), "0", 0, UINT64_C(1) << 32, .help = "tokens of its context window; 0: 4096 for kind llama, else not said"},
        {"model", "labels", CONFIG_STRING, AT(labels), "", .help = "words, separated by commas"},
        {"model", "tasks", CONFIG_STRING, AT(tasks), "", .help = "of chat, completion, embedding, separated by commas; empty: chat and completion, of kind llama embedding, too"},
        {"model", "revision", CONFIG_STRING, AT(revision), "", .help = "changes when answers may; empty: worked out from this section, and from the file's size and time"},
};

const struct config_table catalogue_table = {settings, ARRAY_SIZE(settings), sizeof(struct catalogue_entry)};

/* Too long for the table. */
static const struct {
        const char *name;
        size_t offset;
} longs[] = {{"command", offsetof(struct catalogue_entry, command)}, {"file", offsetof(struct catalogue_entry, file)}, {"environment", offsetof(struct catalogue_entry, environment)}};

static int refuse(char message[CONFIG_MESSAGE], const char *format, ...) __attribute__((format(printf, 2, 3)));
static int refuse(char message[CONFIG_MESSAGE], const char *format, ...)
{
        va_list args;

        va_start(args, format);
        vsnprintf(message, CONFIG_MESSAGE, format, args);
        va_end(args);
        return -E_CONFIG;
}

bool catalogue_is_name(const char *s)
{
        size_t length = strnlen(s, CATALOGUE_NAME);
        static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/@+-";

        return length && length < CATALOGUE_NAME && strspn(s, letters) == length && !strchr("._:/@+-", s[0]) && s[length - 1] != '/' && !strstr(s, "..") && !strstr(s, "//");
}

const char *catalogue_kind_name(uint32_t kind)
{
        static const char *const names[] = {"llama", "command", "url"};

        return kind < ARRAY_SIZE(names) ? names[kind] : "unknown";
}

/* ---- lines ---------------------------------------------------------------------------------------------------------------- */

struct lines {
        const char *at, *end, *path;
        unsigned int number;
        char text[2 * CATALOGUE_LONG]; /* the present line without spaces around it */
        size_t from;                   /* of the present line in the whole text */
        const char *whole;
};

/* 1: a line, 0: the end, -E_CONFIG. */
static int next_line(struct lines *l, char message[CONFIG_MESSAGE])
{
        const char *stop;
        size_t n;

        if (l->at == l->end)
                return 0;
        stop = memchr(l->at, '\n', (size_t)(l->end - l->at));
        stop = stop ? stop : l->end;
        l->number++;
        l->from = (size_t)(l->at - l->whole);
        n = (size_t)(stop - l->at);
        if (n >= sizeof l->text)
                return refuse(message, "%s:%u: line of %zu characters; accepted: at most %zu", l->path, l->number, n, sizeof l->text - 1);
        if (memchr(l->at, 0, n))
                return refuse(message, "%s:%u: holds a zero byte: not a text file", l->path, l->number);
        while (n && strchr(" \t\r", l->at[n - 1]))
                n--;
        while (n && strchr(" \t", *l->at))
                l->at++, n--;
        memcpy(l->text, l->at, n);
        l->text[n] = 0;
        l->at = stop == l->end ? stop : stop + 1;
        return 1;
}

/* "[model NAME]": the name's length, and where it begins; 0: another line. */
static size_t section_name(const char *line, const char **ret)
{
        size_t n = strlen(line);

        if (strncmp(line, "[model", 6) != 0 || n < 2 || line[n - 1] != ']' || !strchr(" \t", line[6]))
                return 0;
        *ret = line + 6 + strspn(line + 6, " \t");
        n = (size_t)(line + n - 1 - *ret);
        while (n && strchr(" \t", (*ret)[n - 1]))
                n--;
        return n;
}

/* ---- values ------------------------------------------------------------------------------------------------------------------ */

static int take_long(struct catalogue_entry *e, size_t which, const char *value, const char *where, char message[CONFIG_MESSAGE])
{
        char *to = (char *)e + longs[which].offset;
        size_t have = strlen(to), n = strlen(value), name = strcspn(value, "=");
        bool variable = !strcmp(longs[which].name, "environment");

        if (have + n + 2 > CATALOGUE_LONG)
                return refuse(message, "%s%s: longer than %d bytes", where, longs[which].name, CATALOGUE_LONG - 2);
        for (size_t i = 0; i < n; i++)
                if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
                        return refuse(message, "%s%s: holds a control character", where, longs[which].name);
        if (variable && (!value[name] || !name || strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") != name))
                return refuse(message, "%senvironment: not of the form NAME=VALUE; may stand several times, once for each variable", where);
        memcpy(to + have, value, n + 1);
        if (variable)
                memcpy(to + have + n, "\n", 2);
        return 0;
}

static int take_value(struct catalogue_entry *e, uint64_t *seen, const char *name, const char *value, const char *where, char message[CONFIG_MESSAGE])
{
        char said[CONFIG_MESSAGE];

        for (size_t i = 0; i < ARRAY_SIZE(longs); i++) {
                if (strcmp(name, longs[i].name) != 0)
                        continue;
                if (*seen & UINT64_C(1) << (32 + i) && strcmp(name, "environment") != 0)
                        return refuse(message, "%s%s is set twice in this section", where, name);
                *seen |= UINT64_C(1) << (32 + i);
                return take_long(e, i, value, where, message);
        }
        for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
                if (!strcmp(name, settings[i].name)) {
                        if (*seen & UINT64_C(1) << i)
                                return refuse(message, "%s%s is set twice in this section", where, name);
                        *seen |= UINT64_C(1) << i;
                }
        if (config_set(&catalogue_table, e, "model", name, value, said) < 0)
                return refuse(message, "%.160s%.350s", where, said);
        return 0;
}

static int check_tasks(const char *list)
{
        while (*list) {
                size_t n = strcspn(list, ",");
                char word[32];

                snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : sizeof word - 1), list);
                if (strcmp(word, "chat") != 0 && strcmp(word, "completion") != 0 && strcmp(word, "embedding") != 0)
                        return -EINVAL;
                list += n + (list[n] == ',');
        }
        return 0;
}

/* "a, b" becomes "a,b". */
static void close_up(char *list)
{
        char *to = list;

        for (const char *from = list; *from; from++)
                if (*from != ' ' && *from != '\t')
                        *to++ = *from;
        *to = 0;
}

static int check_url(char *url)
{
        size_t n = strlen(url), scheme = !strncmp(url, "https://", 8) ? 8 : 7, host;

        while (n && url[n - 1] == '/')
                url[--n] = 0;

        if ((scheme == 7 && strncmp(url, "http://", 7) != 0) || !text_is_clean(url, CONFIG_TEXT))
                return -EINVAL;
        host = strcspn(url + scheme, "/?#@ \"'\\<>{}");
        return !host || url[scheme + host] ? -EINVAL : 0;
}

/* What fits together, of one whole section. */
static int check_entry(struct catalogue_entry *e, const char *path, char message[CONFIG_MESSAGE])
{
        const struct catalogue_values none = {"1", "h", "f", "d"};
        char where[200];

        snprintf(where, sizeof where, "%.150s:%u: ", path, e->line);
        close_up(e->tasks);
        close_up(e->labels);
        if (check_tasks(e->tasks) < 0)
                return refuse(message, "%s[model %s] tasks \"%.60s\": accepted are chat, completion and embedding, separated by commas", where, e->name, e->tasks);
        if (!e->tasks[0])
                snprintf(e->tasks, sizeof e->tasks, "chat,completion%s", e->kind == CATALOGUE_LLAMA ? ",embedding" : "");
        if (e->health[0] != '/' || strpbrk(e->health, " \"<>\\"))
                return refuse(message, "%s[model %s] health \"%.60s\": a path, such as /health", where, e->name, e->health);
        if (!e->device[0])
                snprintf(e->device, sizeof e->device, "auto");
        if (e->kind != CATALOGUE_URL && (e->url[0] || e->key_file[0] || e->ca_file[0]))
                return refuse(message, "%s[model %s] url, key_file and ca_file are for kind = url", where, e->name);
        switch (e->kind) {
        case CATALOGUE_LLAMA:
                if (!e->file[0])
                        return refuse(message, "%s[model %s] kind llama needs file = PATH.gguf", where, e->name);
                if (e->command[0])
                        return refuse(message, "%s[model %s] command is for kind = command", where, e->name);
                e->context = e->context ? e->context : 4096;
                break;
        case CATALOGUE_COMMAND: {
                char said[CONFIG_MESSAGE];
                char **argv scoped_free = NULL;

                if (!e->command[0])
                        return refuse(message, "%s[model %s] kind command needs command = PROGRAM … {port}", where, e->name);
                argv = catalogue_argv(e, &none, said);
                if (!argv)
                        return refuse(message, "%s[model %s] command: %.200s", where, e->name, said);
                if (!e->port && !strstr(e->command, "{port}") && !strstr(e->environment, "{port}"))
                        return refuse(message, "%s[model %s] command must say where {port} goes, or port = N which one it uses", where, e->name);
                break;
        }
        default:
                if (check_url(e->url) < 0)
                        return refuse(message, "%s[model %s] kind url needs url = http://HOST:PORT or https://HOST:PORT, without a path", where, e->name);
                if (e->ca_file[0] && strncmp(e->url, "https://", 8) != 0)
                        return refuse(message, "%s[model %s] ca_file is for a url of https", where, e->name);
                if (e->command[0] || e->file[0] || e->port || e->environment[0] || e->memory || e->always)
                        return refuse(message, "%s[model %s] kind url: command, file, port, environment, memory and always are of servers that are started here", where, e->name);
        }
        return 0;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------------- */

struct reading {
        struct lines lines;
        struct catalogue c;
        uint64_t seen;
};

static int begin_entry(struct reading *r, const char *name, size_t length, char message[CONFIG_MESSAGE])
{
        const struct catalogue_entry *before;
        struct catalogue_entry *e;
        char copy[CATALOGUE_NAME + 1], shown[CATALOGUE_NAME];

        snprintf(copy, sizeof copy, "%.*s", (int)(length < CATALOGUE_NAME ? length : CATALOGUE_NAME), name);
        text_copy_clean(shown, sizeof shown, copy);
        if (!catalogue_is_name(copy))
                return refuse(message, "%s:%u: \"%s\" is no name of a model: up to %d letters, digits and ._:/@+-, a letter or digit first", r->lines.path, r->lines.number, shown,
                              CATALOGUE_NAME - 1);
        before = catalogue_find(&r->c, copy);
        if (before)
                return refuse(message, "%s:%u: [model %s] stands there twice; first on line %u", r->lines.path, r->lines.number, copy, before->line);
        if (r->c.count == CATALOGUE_ENTRIES)
                return refuse(message, "%s:%u: more than %d models", r->lines.path, r->lines.number, CATALOGUE_ENTRIES);
        if (!(r->c.count & (r->c.count - 1))) {
                e = realloc(r->c.entries, (r->c.count ? 2 * r->c.count : 1) * sizeof *e);
                if (!e)
                        return -ENOMEM;
                r->c.entries = e;
        }
        e = &r->c.entries[r->c.count++];
        config_defaults(&catalogue_table, e);
        memcpy(e->name, copy, strlen(copy) + 1);
        e->line = r->lines.number;
        r->seen = 0;
        return 0;
}

static int take_line(struct reading *r, char message[CONFIG_MESSAGE])
{
        char *line = r->lines.text, *value, where[200], shown[80];
        const char *name;
        size_t n;

        if (!line[0] || line[0] == '#' || line[0] == ';')
                return 0;
        snprintf(where, sizeof where, "%.150s:%u: ", r->lines.path, r->lines.number);
        text_copy_clean(shown, sizeof shown, line);
        if (line[0] == '[') {
                n = section_name(line, &name);
                if (!n)
                        return refuse(message, "%s\"%s\" is no section; there are: [model NAME]", where, shown);
                if (r->c.count && check_entry(&r->c.entries[r->c.count - 1], r->lines.path, message) < 0)
                        return -E_CONFIG;
                return begin_entry(r, name, n, message);
        }
        value = strchr(line, '=');
        if (!value)
                return refuse(message, "%s\"%s\" is neither [model NAME] nor \"name = value\"", where, shown);
        if (!r->c.count)
                return refuse(message, "%s\"%s\" stands before any [model NAME]", where, shown);
        *value++ = 0;
        value += strspn(value, " \t");
        for (n = strlen(line); n && strchr(" \t", line[n - 1]);)
                line[--n] = 0;
        return take_value(&r->c.entries[r->c.count - 1], &r->seen, line, value, where, message);
}

int catalogue_parse(const char *text, size_t bytes, const char *path, struct catalogue *ret, char message[CONFIG_MESSAGE])
{
        struct reading *r scoped_free = calloc(1, sizeof *r);
        int n;

        message[0] = 0;
        if (!r)
                return -ENOMEM;
        if (bytes > CATALOGUE_BYTES)
                return refuse(message, "%s: %zu bytes; accepted: at most %u", path, bytes, CATALOGUE_BYTES);
        r->lines = (struct lines){.at = text, .end = text + bytes, .path = path, .whole = text};
        while ((n = next_line(&r->lines, message)) > 0) {
                n = take_line(r, message);
                if (n < 0)
                        break;
        }
        if (n >= 0 && r->c.count)
                n = check_entry(&r->c.entries[r->c.count - 1], path, message);
        if (n < 0) {
                catalogue_done(&r->c);
                return n;
        }
        *ret = r->c;
        return 0;
}

void catalogue_done(struct catalogue *c)
{
        free(c->entries);
        *c = (struct catalogue){0};
}

const struct catalogue_entry *catalogue_find(const struct catalogue *c, const char *name)
{
        for (uint32_t i = 0; i < c->count; i++)
                if (!strcmp(c->entries[i].name, name))
                        return &c->entries[i];
        return NULL;
}

bool catalogue_entry_equal(const struct catalogue_entry *a, const struct catalogue_entry *b)
{
        struct catalogue_entry copy = *b;

        copy.line = a->line;
        return !memcmp(a, &copy, sizeof copy);
}

/* Entries are zero-filled, so that bytes compare. */
static uint64_t hash(uint64_t h, const void *data, size_t bytes)
{
        for (size_t i = 0; i < bytes; i++)
                h = (h ^ ((const unsigned char *)data)[i]) * UINT64_C(0x100000001b3);
        return h;
}

void catalogue_revision(const struct catalogue_entry *e, uint64_t size, uint64_t mtime_ns, char text[CONFIG_TEXT])
{
        uint64_t h = UINT64_C(0xcbf29ce484222325);

        if (e->revision[0]) {
                memcpy(text, e->revision, CONFIG_TEXT);
                return;
        }
        h = hash(h, &e->kind, sizeof e->kind);
        h = hash(h, e->command, strlen(e->command) + 1);
        h = hash(h, e->file, strlen(e->file) + 1);
        h = hash(h, e->environment, strlen(e->environment) + 1);
        h = hash(h, e->url, strlen(e->url) + 1);
        h = hash(h, &e->context, sizeof e->context);
        h = hash(h, &size, sizeof size);
        h = hash(h, &mtime_ns, sizeof mtime_ns);
        snprintf(text, CONFIG_TEXT, "%016llx", (unsigned long long)h);
}
