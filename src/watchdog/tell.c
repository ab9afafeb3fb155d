/* tell.c: see tell.h. The desktop is reached over the session bus with libsystemd's sd-bus, which is looked for at run time: without it, or without a bus or
 * somebody who shows notifications, that is said once and the other channels go on. */
#include "watchdog/tell.h"

#include "base/clock.h"
#include "base/strbuf.h"
#include "base/text.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUBBLE_NS (10 * NS_PER_S)
#define BUS_PATIENCE_US 500000

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

static bool find_calls(struct tell *t, struct bus_calls *c)
{
        if (!t->bus_library)
                t->bus_library = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);
        if (!t->bus_library)
                return false;
        *(void **)&c->open_user = dlsym(t->bus_library, "sd_bus_open_user");
        *(void **)&c->call_method = dlsym(t->bus_library, "sd_bus_call_method");
        *(void **)&c->set_timeout = dlsym(t->bus_library, "sd_bus_set_method_call_timeout");
        *(void **)&c->read = dlsym(t->bus_library, "sd_bus_message_read");
        *(void **)&c->unref_message = dlsym(t->bus_library, "sd_bus_message_unref");
        *(void **)&c->close_unref = dlsym(t->bus_library, "sd_bus_flush_close_unref");
        return c->open_user && c->call_method && c->set_timeout && c->read && c->unref_message && c->close_unref;
}

/* org.freedesktop.Notifications.Notify(application, replaces, icon, summary, body, actions, hints, expires) */
static int notify(struct tell *t, enum rule_severity severity, const char *summary, const char *body)
{
        struct bus_calls c;
        void *bus = NULL, *reply = NULL;
        int r;

        if (!find_calls(t, &c))
                return -ENOENT;
        r = c.open_user(&bus);
        if (r < 0)
                return r;
        (void)c.set_timeout(bus, BUS_PATIENCE_US);
        r = c.call_method(bus, "org.freedesktop.Notifications", "/org/freedesktop/Notifications", "org.freedesktop.Notifications", "Notify", NULL, &reply,
                          "susssasa{sv}i", "berth", t->bubble, "", summary, body, 0, 1, "urgency", "y", severity == RULE_CRITICAL ? 2 : 1, -1);
        if (r >= 0 && reply && c.read(reply, "u", &t->bubble) < 0)
                t->bubble = 0;
        if (reply)
                (void)c.unref_message(reply);
        (void)c.close_unref(bus);
        return r;
}

static void show(struct tell *t, uint64_t now_ns, enum rule_severity severity, const char *text)
{
        char summary[96], line[160];
        int r;

        if (!t->desktop || t->desktop_failed || severity == RULE_INFO || (t->desktop_ns && now_ns - t->desktop_ns < BUBBLE_NS))
                return;
        t->desktop_ns = now_ns;
        snprintf(summary, sizeof summary, "Berth: %.80s", t->name);
        r = notify(t, severity, summary, text);
        if (r >= 0)
                return;
        t->desktop_failed = true;
        snprintf(line, sizeof line, "berth-watchdog: no notifications on this desktop: %s\n", r == -ENOENT ? "libsystemd is not there, or too old" : strerror(-r));
        write_line(t, t->log, line, strlen(line));
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
        if (t->bus_library)
                dlclose(t->bus_library);
        t->bus_library = NULL;
}
