/* engines-catalogue.c: the catalogue's file: read, watched by inotify, taken over entry by entry; see engines.h. */
#include "worker/engines-internal.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"

#define LOG_ROOM "engines"
#include "base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

/* The folder, not the file: editors and `berth models` put a new file in its place. */
int engines_watch(struct engines *e)
{
        e->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        if (e->inotify < 0)
                return -errno;
        return inotify_add_watch(e->inotify, e->folder, IN_CLOSE_WRITE | IN_MOVED_TO) < 0 ? -errno : 0;
}

void engines_noticed(struct engines *e, uint64_t now)
{
        char data[8192] __attribute__((aligned(__alignof__(struct inotify_event))));
        bool changed = false;
        ssize_t n;

        while ((n = read(e->inotify, data, sizeof data)) > 0)
                for (ssize_t at = 0; at < n;) {
                        const struct inotify_event *event = (const void *)(data + at);

                        changed |= event->mask & IN_Q_OVERFLOW || (event->len && !strcmp(event->name, e->file));
                        at += (ssize_t)(sizeof *event + event->len);
                }
        if (changed)
                engines_load(e, now, false);
}

static int read_file(const char *path, struct strbuf *b)
{
        scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        struct stat st;
        ssize_t n;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EISDIR;
        if (st.st_size > CATALOGUE_BYTES)
                return -EFBIG;
        do {
                if (!strbuf_reserve(b, 65536))
                        return -ENOMEM;
                n = read(fd, b->text + b->length, 65536);
                if (n < 0)
                        return -errno;
                b->length += (size_t)n;
        } while (n && b->length <= CATALOGUE_BYTES);
        return 0;
}

static struct engines_slot *find(struct engines *e, const char *name)
{
        for (uint32_t i = 0; i < ENGINES_MOST; i++)
                if (e->slots[i] && !strcmp(e->slots[i]->entry.name, name))
                        return e->slots[i];
        return NULL;
}

static struct engine_rules rules_of(const struct catalogue_entry *entry)
{
        return (struct engine_rules){.managed = entry->kind != CATALOGUE_URL, .idle_ms = entry->always ? 0 : entry->idle / 1000000, .start_ms = entry->start / 1000000,
                                     .stop_ms = entry->stop / 1000000};
}

static void read_key(const struct engines *e, struct engines_slot *s)
{
        char path[PATH_MAX];
        ssize_t n = -1;
        int fd;

        s->key[0] = 0;
        if (!s->entry.key_file[0])
                return;
        snprintf(path, sizeof path, "%.3800s%s%.255s", s->entry.key_file[0] == '/' ? "" : e->folder, s->entry.key_file[0] == '/' ? "" : "/", s->entry.key_file);
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        n = fd < 0 ? -1 : read(fd, s->key, sizeof s->key - 1);
        s->key[n > 0 ? n : 0] = 0;
        s->key[strcspn(s->key, " \t\r\n")] = 0;
        if (n <= 0 || !text_is_clean(s->key, sizeof s->key)) {
                s->key[0] = 0;
                log_warning("%s: no key can be read from %s", s->entry.name, path);
        }
        fd_close_at(&fd);
}

static void begin(struct engines *e, uint64_t now, struct engines_slot *s, const struct catalogue_entry *entry)
{
        const struct engine_rules rules = rules_of(entry);
        uint32_t version = s->engine.version;

        s->entry = *entry;
        s->leaving = false;
        s->resident = -1;
        s->address[0] = s->key[0] = s->ca[0] = 0;
        engine_init(&s->engine, &rules);
        if (entry->always)
                engine_want(&s->engine, now, ENGINE_SERVERS, true, -1, false);
        s->engine.version = version + 1;
        health_cancel(e->health, s->index);
        if (entry->kind == CATALOGUE_URL) {
                snprintf(s->address, sizeof s->address, "%s", entry->url);
                read_key(e, s);
                if (entry->ca_file[0])
                        snprintf(s->ca, sizeof s->ca, "%.3800s%s%.255s", entry->ca_file[0] == '/' ? "" : e->folder, entry->ca_file[0] == '/' ? "" : "/", entry->ca_file);
        }
        engines_revise(e, s);
        e->dirty = true;
}

static struct engines_slot *add(struct engines *e)
{
        for (uint32_t i = 0; i < ENGINES_MOST; i++)
                if (!e->slots[i]) {
                        e->slots[i] = calloc(1, sizeof *e->slots[i]);
                        if (e->slots[i])
                                *e->slots[i] = (struct engines_slot){.index = i, .fd = -1, .pidfd = -1};
                        return e->slots[i];
                }
        return NULL;
}

/* What it was wanted for goes over to the new entry. */
void engines_settle(struct engines *e, uint64_t now, struct engines_slot *s)
{
        struct catalogue_entry *next = s->next;
        struct engine before = s->engine;

        if (before.alive)
                return;
        if (next) {
                s->next = NULL;
                begin(e, now, s, next);
                free(next);
                if (s->wanted_before)
                        engine_want(&s->engine, now, ENGINE_SERVERS, true, -1, false);
                s->wanted_before = false;
                for (uint32_t i = 0; i < ENGINE_SERVERS; i++)
                        if (before.requests[i])
                                engine_want(&s->engine, now, i, true, before.requests[i], false);
                return;
        }
        if (!s->leaving)
                return;
        health_cancel(e->health, s->index);
        e->slots[s->index] = NULL;
        strbuf_done(&s->line);
        free(s);
        e->dirty = true;
}

/* An entry that means the same to a program that runs: only what is told of it, and when it is stopped, differs. */
static bool same_program(const struct catalogue_entry *a, const struct catalogue_entry *b)
{
        struct catalogue_entry copy = *b;

        copy.line = a->line;
        copy.idle = a->idle;
        copy.always = a->always;
        copy.start = a->start;
        copy.stop = a->stop;
        memcpy(copy.labels, a->labels, sizeof copy.labels);
        memcpy(copy.tasks, a->tasks, sizeof copy.tasks);
        memcpy(copy.revision, a->revision, sizeof copy.revision);
        return !memcmp(a, &copy, sizeof copy);
}

static void take_entry(struct engines *e, uint64_t now, const struct catalogue_entry *entry)
{
        struct engines_slot *s = find(e, entry->name);
        const struct engine_rules rules = rules_of(entry);

        if (!s) {
                s = add(e);
                if (s)
                        begin(e, now, s, entry);
                else
                        log_error("%s: no room for one more engine", entry->name);
                return;
        }
        s->leaving = false;
        free(take(s->next));
        if (!s->engine.retired && catalogue_entry_equal(&s->entry, entry)) {
                s->entry.line = entry->line;
                engines_revise(e, s);
                return;
        }
        if (!s->engine.retired && same_program(&s->entry, entry)) {
                if (entry->always && !s->entry.always)
                        engine_want(&s->engine, now, ENGINE_SERVERS, true, -1, false);
                s->entry = *entry;
                engine_rules_changed(&s->engine, &rules);
                engines_revise(e, s);
                e->dirty = true;
                log_info("%s: its entry changed; its program runs on", entry->name);
                return;
        }
        s->next = malloc(sizeof *s->next);
        if (!s->next)
                return;
        *s->next = *entry;
        s->wanted_before |= s->engine.wanted;
        if (s->engine.alive)
                log_notice("%s: its entry changed: it ends, and is started anew when it is wanted", entry->name);
        engine_retire(&s->engine, now);
        engines_settle(e, now, s);
}

void engines_load(struct engines *e, uint64_t now, bool first)
{
        struct strbuf text __attribute__((cleanup(strbuf_done_at))) = {0};
        scoped_catalogue struct catalogue c = {0};
        char message[CONFIG_MESSAGE] = "";
        int r = read_file(e->catalogue, &text);

        if (r == -ENOENT && first) {
                log_info("no catalogue of models at %s yet; it is read when it appears", e->catalogue);
                return;
        }
        if (r >= 0)
                r = catalogue_parse(text.text ? text.text : "", text.length, e->catalogue, &c, message);
        if (r < 0) {
                log_error("%s%s%s; %s", message[0] ? message : e->catalogue, message[0] ? "" : ": ", message[0] ? "" : error_text(r),
                          first ? "no engines are served until it is mended" : "nothing was changed");
                return;
        }
        for (uint32_t i = 0; i < ENGINES_MOST; i++) {
                struct engines_slot *s = e->slots[i];

                if (!s || catalogue_find(&c, s->entry.name))
                        continue;
                free(take(s->next));
                s->leaving = true;
                engine_retire(&s->engine, now);
                log_notice("%s: not in the catalogue any more", s->entry.name);
                engines_settle(e, now, s);
        }
        for (uint32_t i = 0; i < c.count; i++)
                take_entry(e, now, &c.entries[i]);
        log_notice("%s: %u model%s", e->catalogue, c.count, c.count == 1 ? "" : "s");
        e->dirty = true;
}
