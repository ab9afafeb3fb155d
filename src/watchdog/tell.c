/* tell.c: see tell.h. The desktop is reached over the session bus with libsystemd's sd-bus, which is looked for at run time: without it, or without a bus or
 * somebody who shows notifications, that is said once and the other channels go on. A bus or a desktop may hang, and sd-bus waits for both: so each bubble has a
 * process of its own, which nobody waits for and which an alarm ends. */
#include "watchdog/tell.h"

#include "base/clock.h"
#include "base/strbuf.h"
#include "base/text.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUBBLE_NS (10 * NS_PER_S)
#define BUS_PATIENCE_US (5 * UINT64_C(1000000))
#define BUBBLE_PATIENCE_S 8 /* less than between two */

static void json_text(struct strbuf *b, const char *text)
{
        strbuf_fill(b, '"', 1);
        for (; *text; text++) {
                if (*text == '"' || *text == '\\')
                        strbuf_fill(b, '\\', 1);
                if ((unsigned char)*text < 32)
                        strbuf_add(b, "\\u%04x", (unsigned char)*text);
                else
                        strbuf_fill(b, *text, 1);
        }
        strbuf_fill(b, '"', 1);
}

static void write_line(struct tell *t, int fd, const char *text, size_t length)
{
        ssize_t n;

        if (fd < 0)
                return;
        n = send(fd, text, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == ENOTSOCK)
                n = write(fd, text, length);
        t->lost += n != (ssize_t)length;
}

/* --- the desktop --- */

struct bus_calls {
        int (*open_user)(void **bus);
        int (*call_method)(void *bus, const char *destination, const char *path, const char *interface, const char *member, void *error, void **reply,
                           const char *types, ...);
        int (*set_timeout)(void *bus, uint64_t us);
        int (*read)(void *message, const char *types, ...);
        void *(*unref_message)(void *message);
        void *(*close_unref)(void *bus);
};

struct outcome {
        int32_t result; /* 0 or -errno; -ENOENT: no library */
        uint32_t bubble;
};

static bool find_calls(struct bus_calls *c)
{
        void *library = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);

        if (!library)
                return false;
        *(void **)&c->open_user = dlsym(library, "sd_bus_open_user");
        *(void **)&c->call_method = dlsym(library, "sd_bus_call_method");
        *(void **)&c->set_timeout = dlsym(library, "sd_bus_set_method_call_timeout");
        *(void **)&c->read = dlsym(library, "sd_bus_message_read");
        *(void **)&c->unref_message = dlsym(library, "sd_bus_message_unref");
        *(void **)&c->close_unref = dlsym(library, "sd_bus_flush_close_unref");
        return c->open_user && c->call_method && c->set_timeout && c->read && c->unref_message && c->close_unref;
}

/* org.freedesktop.Notifications.Notify(application, replaces, icon, summary, body, actions, hints, expires) */
static struct outcome notify(uint32_t replaces, enum rule_severity severity, const char *summary, const char *body)
{
        struct outcome o = {.result = -ENOENT};
        void *bus = NULL, *reply = NULL;
        struct bus_calls c;

        if (!find_calls(&c))
                return o;
        o.result = c.open_user(&bus);
        if (o.result < 0)
                return o;
        (void)c.set_timeout(bus, BUS_PATIENCE_US);
        o.result = c.call_method(bus, "org.freedesktop.Notifications", "/org/freedesktop/Notifications", "org.freedesktop.Notifications", "Notify", NULL, &reply,
                                 "susssasa{sv}i", "berth", replaces, "", summary, body, 0, 1, "urgency", "y", severity == RULE_CRITICAL ? 2 : 1, -1);
        if (o.result >= 0 && reply && c.read(reply, "u", &o.bubble) < 0)
                o.bubble = 0;
        if (reply)
                (void)c.unref_message(reply);
        (void)c.close_unref(bus);
        return o;
}

/* A body is markup to those who show it. */
static void plain(struct strbuf *b, const char *text)
{
        for (; *text; text++) {
                const char *entity = *text == '&' ? "&amp;" : *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : NULL;

                if (entity)
                        strbuf_add(b, "%s", entity);
                else
                        strbuf_fill(b, *text, 1);
        }
}

static int start_bubble(struct tell *t, enum rule_severity severity, const char *summary, const char *body)
{
        int pair[2];
        pid_t pid;

        if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        pid = fork();
        if (pid == 0) {
                struct outcome o;

                signal(SIGALRM, SIG_DFL);
                alarm(BUBBLE_PATIENCE_S);
                o = notify(t->bubble, severity, summary, body);
                _exit(write(pair[1], &o, sizeof o) == (ssize_t)sizeof o ? 0 : 1);
        }
        close(pair[1]);
        if (pid < 0) {
                int r = -errno;

                close(pair[0]);
                return r;
        }
        t->desktop_pid = pid;
        t->desktop_answer = pair[0];
        return 0;
}

static void failed(struct tell *t, int r)
{
        char line[160];

        if (!t->desktop_failed) {
                snprintf(line, sizeof line, "berth-watchdog: no notifications on this desktop: %s\n", r == -ENOENT ? "libsystemd or the session's bus is not there" : strerror(-r));
                write_line(t, t->log, line, strlen(line));
        }
        t->desktop_failed = true;
}

void tell_hear(struct tell *t)
{
        struct outcome o = {.result = -ETIMEDOUT};

        if (!t->desktop_pid || waitpid(t->desktop_pid, NULL, WNOHANG) == 0)
                return;
        t->desktop_pid = 0;
        if (read(t->desktop_answer, &o, sizeof o) != (ssize_t)sizeof o)
                o = (struct outcome){.result = -ETIMEDOUT};
        close(t->desktop_answer);
        t->bubble = o.result < 0 ? 0 : o.bubble;
        if (o.result < 0)
                failed(t, o.result);
        else
                t->desktop_failed = false;
}

static void show(struct tell *t, uint64_t now_ns, enum rule_severity severity, const char *text)
{
        __attribute__((cleanup(strbuf_done_at))) struct strbuf body = {0};
        char summary[96];
        int r;

        if (!t->desktop || severity == RULE_INFO || (t->desktop_ns && now_ns - t->desktop_ns < BUBBLE_NS))
                return;
        tell_hear(t);
        if (t->desktop_pid)
                return; /* its alarm ends it */
        t->desktop_ns = now_ns;
        snprintf(summary, sizeof summary, "Berth: %.80s", t->name);
        plain(&body, text);
        r = body.failed ? -ENOMEM : start_bubble(t, severity, summary, body.text);
        if (r < 0)
                failed(t, r);
}

void tell_say(struct tell *t, uint64_t now_ns, const char *event, enum rule_severity severity, const char *format, ...)
{
        __attribute__((cleanup(strbuf_done_at))) struct strbuf b = {0};
        char text[512], clean[512];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        text_copy_clean(clean, sizeof clean, text);
        strbuf_add(&b, "berth-watchdog: %s: %s\n", t->name, clean);
        if (!b.failed)
                write_line(t, t->log, b.text, b.length);
        strbuf_clear(&b);
        strbuf_add(&b, "{\"m\":\"watchdog\",\"event\":");
        json_text(&b, event);
        strbuf_add(&b, ",\"severity\":\"%s\",\"text\":", rule_severity_name(severity));
        json_text(&b, clean);
        strbuf_add(&b, "}\n");
        if (!b.failed)
                write_line(t, t->events, b.text, b.length);
        show(t, now_ns, severity, clean);
}

void tell_close(struct tell *t)
{
        /* The last bubble is shown without us. */
        if (t->desktop_pid)
                close(t->desktop_answer);
        t->desktop_pid = 0;
}
