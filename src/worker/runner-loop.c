/* runner-loop.c: while the program runs: its output becomes log lines of clean text, its words progress, and its figures are held against its limits. */
#include "worker/runner-internal.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "worker/task/task.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#define LOOK_MS 100
#define FOLDER_NS (500 * NS_PER_MS)
#define FOLDER_ENTRIES 200000
#define SPARE_BYTES (UINT64_C(256) << 20) /* of the disk below the work folder, never for tasks */
#define LOG_BURST_S 4
#define SAVED_BYTES (UINT64_C(1) << 30)
#define LINE_BYTES (1U << 20)
#define MARK "\xef\xbf\xbd" /* U+FFFD: stands where bytes were no text */

/* The length of the character at s if it is whole and right, 0 if it is wrong, -1 if its end is missing. */
static int character(const unsigned char *s, size_t n)
{
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        int length = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
        uint32_t value = length < 2 ? s[0] : s[0] & (0x7fU >> length);

        if (length == 1)
                return s[0] ? 1 : 0;
        for (int i = 1; i < length; i++) {
                if ((size_t)i >= n)
                        return -1;
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
                value = value << 6 | (s[i] & 0x3fU);
        }
        if (length && (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)))
                return 0;
        return length;
}

/* s as valid UTF-8 in *to; what may still become a character is left: its number of bytes is returned. */
static size_t clean(const unsigned char *s, size_t n, struct strbuf *to)
{
        size_t from = 0, i = 0;

        while (i < n) {
                int length = character(s + i, n - i);

                if (length > 0) {
                        i += (size_t)length;
                        continue;
                }
                strbuf_add(to, "%.*s", (int)(i - from), (const char *)s + from);
                if (length < 0)
                        return n - i;
                strbuf_add(to, MARK);
                from = ++i;
        }
        strbuf_add(to, "%.*s", (int)(i - from), (const char *)s + from);
        return 0;
}

/* Text of the program: to the agent as far as rate and bound allow; its place counts all of it, so that a gap shows. */
static void log_text(struct run *r, const char *text, size_t bytes)
{
        uint64_t now = clock_now_ns(), most = r->settings->log_rate * LOG_BURST_S;

        r->log_allowance += (now - r->log_at_ns) * r->settings->log_rate / NS_PER_S;
        r->log_allowance = r->log_allowance > most ? most : r->log_allowance;
        r->log_at_ns = now;
        if (bytes <= r->log_allowance && r->log_sent + bytes <= r->settings->log_bytes) {
                run_tell(r, json_pack("{s:s, s:I, s:o}", "m", "log", "offset", (json_int_t)r->log_offset, "text", json_stringn(text, bytes)));
                r->log_allowance -= bytes;
                r->log_sent += bytes;
        } else {
                r->log_cut = true;
        }
        r->log_offset += bytes;
}

void run_log(struct run *r, const char *text, size_t bytes)
{
        log_text(r, text, bytes);
}

static void keep_tail(struct stream *s, const char *text, size_t bytes)
{
        if (bytes >= STREAM_TAIL) {
                memcpy(s->tail, text + bytes - STREAM_TAIL, STREAM_TAIL);
                s->tail_bytes = STREAM_TAIL;
        } else {
                size_t drop = s->tail_bytes + bytes > STREAM_TAIL ? s->tail_bytes + bytes - STREAM_TAIL : 0;

                memmove(s->tail, s->tail + drop, s->tail_bytes - drop);
                s->tail_bytes -= drop;
                memcpy(s->tail + s->tail_bytes, text, bytes);
                s->tail_bytes += bytes;
        }
        s->bytes += bytes;
}

static void take_text(struct run *r, struct stream *s, const unsigned char *data, size_t bytes, bool last)
{
        struct strbuf text = {0};
        size_t left = clean(data, bytes, &text);

        if (left && last) {
                strbuf_add(&text, MARK);
                left = 0;
        }
        memmove(s->rest, data + bytes - left, left);
        s->rest_bytes = left;
        if (text.length && !text.failed) {
                keep_tail(s, text.text, text.length);
                log_text(r, text.text, text.length);
        }
        strbuf_done(&text);
}

/* False: nothing more to come now. */
static bool read_stream(struct run *r, struct stream *s)
{
        unsigned char data[4 + 32768];
        ssize_t n;

        if (s->fd < 0)
                return false;
        memcpy(data, s->rest, s->rest_bytes);
        n = read(s->fd, data + s->rest_bytes, sizeof data - 4);
        if (n < 0 && errno == EINTR)
                return true;
        if (n < 0 && errno == EAGAIN)
                return false;
        if (n <= 0) {
                if (s->rest_bytes)
                        take_text(r, s, data, s->rest_bytes, true);
                fd_close_at(&s->fd);
                return false;
        }
        if (r->saved_bytes + (uint64_t)n <= SAVED_BYTES && write(r->saved, data + s->rest_bytes, (size_t)n) == n)
                r->saved_bytes += (uint64_t)n;
        else
                r->log_cut = true;
        take_text(r, s, data, s->rest_bytes + (size_t)n, false);
        return true;
}

/* A line from the other side of the confinement: a stranger's, whatever it says. */
static void take_line(struct run *r, const char *text, size_t bytes)
{
        json_t *o = json_loadb(text, bytes, 0, NULL), *v;
        const char *kind = json_string_value(json_object_get(o, "m")), *words = json_string_value(json_object_get(o, "text"));

        if (kind && !strcmp(kind, "progress")) {
                json_t *p = json_pack("{s:s}", "m", "progress");
                static const char *const counts[] = {"step", "steps"};

                v = json_object_get(o, "share");
                if (json_is_number(v) && json_number_value(v) >= 0 && json_number_value(v) <= 1)
                        json_object_set(p, "share", v);
                for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
                        v = json_object_get(o, counts[i]);
                        if (json_is_integer(v) && json_integer_value(v) >= 0)
                                json_object_set(p, counts[i], v);
                }
                if (words) {
                        char line[201];

                        text_copy_clean(line, sizeof line, words);
                        json_object_set_new(p, "text", json_string(line));
                }
                r->told_progress++;
                /* The agent thins it, too; this spares it most. */
                if (json_object_size(p) > 1)
                        run_tell(r, p);
                else
                        json_decref(p);
        } else if (kind && !strcmp(kind, "result") && r->spec.function && !r->said_result) {
                r->said_result = json_incref(json_object_get(o, "result"));
        } else if (kind && words && !strcmp(kind, "fail") && r->spec.function) {
                text_copy_clean(r->said_fail, sizeof r->said_fail, words);
                r->said_temporary = json_is_true(json_object_get(o, "temporary"));
        } else if (kind && !strcmp(kind, "inside") && !r->inside) {
                r->inside = true;
                run_tell(r, json_pack("{s:s}", "m", "accepted"));
        } else if (kind && words && !strcmp(kind, "exec")) {
                text_copy_clean(r->said_exec, sizeof r->said_exec, words);
                r->said_temporary = json_is_true(json_object_get(o, "temporary"));
        }
        json_decref(o);
}

static bool read_control(struct run *r)
{
        char data[16384];
        ssize_t n;

        if (r->control < 0)
                return false;
        n = recv(r->control, data, sizeof data, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
                return true;
        if (n < 0 && errno == EAGAIN)
                return false;
        if (n <= 0) {
                fd_close_at(&r->control);
                return false;
        }
        for (ssize_t from = 0; from < n;) {
                char *end = memchr(data + from, '\n', (size_t)(n - from));
                size_t bytes = end ? (size_t)(end - data - from) : (size_t)(n - from);

                if (r->line.length + bytes > LINE_BYTES)
                        r->line_skipped = true;
                if (!r->line_skipped)
                        strbuf_add(&r->line, "%.*s", (int)bytes, data + from);
                if (end) {
                        if (!r->line_skipped && r->line.length && !r->line.failed)
                                take_line(r, r->line.text, r->line.length);
                        strbuf_clear(&r->line);
                        r->line_skipped = false;
                }
                from += (ssize_t)bytes + (end != NULL);
        }
        return true;
}

static void look_at_folder(struct run *r, uint64_t now)
{
        char number[16], free_text[16];
        struct watch_folder f;
        struct statvfs vfs;

        watch_folder(r->work, FOLDER_ENTRIES, &f);
        /* A large folder takes long to walk: never more than a twentieth of the time. */
        r->folder_at_ns = clock_now_ns() + FOLDER_NS + 20 * (clock_now_ns() - now);
        if (f.cut || (f.valid && f.bytes > r->spec.limits.disk_bytes))
                run_kill(r, "limit.disk", true, false, "more in its folder than %s or %d files", text_bytes(r->spec.limits.disk_bytes, number, sizeof number), FOLDER_ENTRIES);
        else if (statvfs(r->work, &vfs) == 0 && (uint64_t)vfs.f_bavail * vfs.f_frsize < SPARE_BYTES && f.bytes > SPARE_BYTES / 4)
                run_kill(r, "worker.disk", true, true, "the worker's disk has only %s left",
                         text_bytes((uint64_t)vfs.f_bavail * vfs.f_frsize, free_text, sizeof free_text));
}

/* Somebody of it was ended for want of memory: all of it ends, and this is why. */
static void look_at_group(struct run *r)
{
        char number[16];

        if (group_killed(&r->group))
                run_kill(r, "limit.memory", true, false, "more memory than %s: the kernel ended it", text_bytes(r->spec.limits.memory_bytes, number, sizeof number));
}

static void look(struct run *r)
{
        const struct spec_limits *l = &r->spec.limits;
        uint64_t now = clock_now_ns();
        struct watch_sample s;
        char number[16];

        watch_look(getpid(), false, &s);
        if (s.valid) {
                /* Bubblewrap's own two are not the task's. */
                uint64_t processes = s.processes > 2 && r->settings->confine.mode == CONFINE_BWRAP ? s.processes - 2 : s.processes;

                r->memory_valid = true;
                r->memory_peak = s.memory_bytes > r->memory_peak ? s.memory_bytes : r->memory_peak;
                r->processes_peak = processes > r->processes_peak ? processes : r->processes_peak;
                r->cpu_ms = s.cpu_ms > r->cpu_ms ? s.cpu_ms : r->cpu_ms;
                if (l->memory_bytes && s.memory_bytes > l->memory_bytes)
                        run_kill(r, "limit.memory", true, false, "more memory than %s", text_bytes(l->memory_bytes, number, sizeof number));
                if (l->processes && processes > l->processes)
                        run_kill(r, "limit.processes", true, false, "more than %llu processes", (unsigned long long)l->processes);
        }
        look_at_group(r);
        if (l->cpu_ms && r->cpu_ms > l->cpu_ms)
                run_kill(r, "limit.cpu", true, false, "more processor time than %s", text_duration(l->cpu_ms * NS_PER_MS, number, sizeof number));
        if (l->wall_ms && now - r->started_ns > l->wall_ms * NS_PER_MS)
                run_kill(r, "limit.wall", true, false, "more time than %s", text_duration(l->wall_ms * NS_PER_MS, number, sizeof number));
        if (now >= r->folder_at_ns)
                look_at_folder(r, now);
}

/* Asks all of it to end, and after a while makes it. At once for what breaks a limit that others suffer from. */
static void end_program(struct run *r)
{
        uint64_t now = clock_now_ns();
        bool gently;

        r->end_ns = r->end_ns ? r->end_ns : now;
        gently = r->stopped || (r->killed && (!strcmp(r->killed, "limit.wall") || !strcmp(r->killed, "limit.hang")));

        if (gently && now - r->term_ns > NS_PER_S && now - r->end_ns < r->settings->grace_ms * NS_PER_MS) {
                /* Again after a while: what was only being started did not hear the first. */
                r->term_ns = now;
                watch_signal(getpid(), SIGTERM, r->settings->confine.mode == CONFINE_BWRAP ? r->child : 0);
        } else if (!gently || now - r->end_ns >= r->settings->grace_ms * NS_PER_MS) {
                watch_signal(getpid(), SIGKILL, 0);
        }
}

void run_loop(struct run *r)
{
        uint64_t look_at = 0;

        r->folder_at_ns = clock_now_ns() + FOLDER_NS;
        while (!r->ended) {
                struct pollfd p[] = {{.fd = r->pidfd, .events = POLLIN}, {.fd = r->out.fd, .events = POLLIN},   {.fd = r->err.fd, .events = POLLIN},
                                     {.fd = r->control, .events = POLLIN}, {.fd = r->signals, .events = POLLIN}, {.fd = r->agent, .events = POLLIN | POLLRDHUP}};
                uint64_t now;

                if (r->stopped) /* its reasons stay readable; they are known */
                        p[4].fd = p[5].fd = -1;
                (void)poll(p, ARRAY_SIZE(p), LOOK_MS);
                if (p[4].revents || p[5].revents)
                        r->stopped = true;
                (void)read_stream(r, &r->out);
                (void)read_stream(r, &r->err);
                (void)read_control(r);
                now = clock_now_ns();
                if (now >= look_at) {
                        look(r);
                        run_watch(r, now);
                        look_at = now + LOOK_MS * NS_PER_MS;
                }
                if (r->stopped || r->killed)
                        end_program(r);
                if (p[0].revents && waitpid(r->child, &r->status, WNOHANG) == r->child)
                        r->ended = true;
        }
        r->ended_ns = clock_now_ns();
        look_at_group(r);
        run_watch_end(r);
        /* What it left running ends with it; then its pipes end, too. */
        watch_signal(getpid(), SIGKILL, 0);
        while (waitpid(-1, NULL, WNOHANG) > 0)
                ;
        while (read_stream(r, &r->out) || read_stream(r, &r->err) || read_control(r))
                ;
        look_at_folder(r, clock_now_ns());
        fd_close_at(&r->out.fd);
        fd_close_at(&r->err.fd);
        fd_close_at(&r->control);
}
