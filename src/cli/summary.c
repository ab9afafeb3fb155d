/* summary.c: the summary of a run and the process that tells it; see summary.h. */
#include "cli/summary.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "cli/status-render.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define TEXT_LINES 8      /* programs told of on standard error */
#define AGAIN_MS 100      /* between two tries to reach a daemon that went away */
#define LAST_TRIES 20      /* after the program's end */

/* --- what is told --- */

static void moved(struct strbuf *b, const char *way, uint64_t bytes, uint64_t ns)
{
        char text[16], rate[24];

        strbuf_add(b, "%s %s", way, text_bytes(bytes, text, sizeof text));
        if (bytes && ns)
                strbuf_add(b, " (%s)", cli_rate((double)bytes / (double)ns * 1e9, rate, sizeof rate));
}

static void line(const struct summary *s, const struct wire_STATUS_CLIENT *c, struct strbuf *b)
{
        const struct wire_STATUS_DEVICE *d = snapshot_device(s->programs, c->device);
        char peak[16], average[16], waited[16], ran[16];

        strbuf_add(b, "berth:   ");
        if (c->pid != s->pid)
                strbuf_add(b, c->pid ? "%s (pid %u) on " : "%s on ", c->name, c->pid);
        strbuf_add(b, "device %u%s%s: peak %s, average %s; moved ", c->device, d ? ", " : "", d ? d->name : "",
                   text_bytes(c->peak_bytes, peak, sizeof peak), text_bytes(c->average_bytes, average, sizeof average));
        moved(b, "out", c->out_bytes, c->out_ns);
        moved(b, ", in", c->in_bytes, c->in_ns);
        strbuf_add(b, "; waited %s", c->waited_ns ? text_duration(c->waited_ns, waited, sizeof waited) : "0 s");
        if (c->waits)
                strbuf_add(b, " (%llu time%s at the gate)", (unsigned long long)c->waits, c->waits == 1 ? "" : "s");
        strbuf_add(b, ", could run %s%s\n", c->ran_ns ? text_duration(c->ran_ns, ran, sizeof ran) : "0 s",
                   c->ended ? "" : "; still there");
}

void summary_text(const struct summary *s, struct strbuf *b)
{
        size_t n = s->programs->client_count;
        char wall[16];

        if (!n && s->complete)
                return;
        strbuf_add(b, "berth: %s (pid %u) took %s%s\n", s->program, s->pid, text_duration(s->wall_ns, wall, sizeof wall),
                   s->complete ? "" : "; the daemon was restarted meanwhile, what moved or waited before is not counted");
        for (size_t i = 0; i < n && i < TEXT_LINES; i++)
                line(s, &s->programs->clients[i], b);
        if (n > TEXT_LINES)
                strbuf_add(b, "berth:   and %zu more; berth run --summary FILE has them all\n", n - TEXT_LINES);
}

static json_t *number(uint64_t value)
{
        return value > INT64_MAX ? json_null() : json_integer((json_int_t)value);
}

json_t *summary_json(const struct summary *s)
{
        uint64_t peak = 0, out = 0, in = 0, waits = 0, waited = 0;
        json_t *o = json_object(), *list = json_array();
        bool failed = !o || !list;

        for (size_t i = 0; i < s->programs->client_count; i++) {
                const struct wire_STATUS_CLIENT *c = &s->programs->clients[i];
                const struct wire_STATUS_DEVICE *d = snapshot_device(s->programs, c->device);
                json_t *one = status_client_json(c);
                char uuid[WIRE_UUID_TEXT];

                failed |= json_object_set_new(one, "device_name", d ? json_string(d->name) : json_null()) < 0;
                failed |= json_object_set_new(one, "device_uuid", d ? json_string(wire_uuid_text(d->uuid, uuid)) : json_null()) < 0;
                failed |= json_object_set_new(one, "ended", json_boolean(c->ended)) < 0;
                failed |= json_array_append_new(list, one) < 0;
                peak = c->peak_bytes > peak ? c->peak_bytes : peak;
                out += c->out_bytes;
                in += c->in_bytes;
                waits += c->waits;
                waited += c->waited_ns;
        }
        failed |= json_object_set_new(o, "program", json_string(s->program)) < 0;
        failed |= json_object_set_new(o, "pid", number(s->pid)) < 0;
        failed |= json_object_set_new(o, "wall_ns", number(s->wall_ns)) < 0;
        failed |= json_object_set_new(o, "complete", json_boolean(s->complete)) < 0;
        failed |= json_object_set_new(o, "peak_bytes", number(peak)) < 0; /* of one process on one device */
        failed |= json_object_set_new(o, "out_bytes", number(out)) < 0;
        failed |= json_object_set_new(o, "in_bytes", number(in)) < 0;
        failed |= json_object_set_new(o, "waits", number(waits)) < 0;
        failed |= json_object_set_new(o, "waited_ns", number(waited)) < 0;
        failed |= json_object_set_new(o, "clients", list) < 0;
        if (failed) {
                json_decref(o);
                return NULL;
        }
        return o;
}

/* --- who tells it --- */

struct teller {
        struct connection c;
        uint64_t run, started;
        uint32_t pid;
        int pidfd, file;
        bool text, lost;
        char program[64];
};

int summary_number(uint64_t *ret_run)
{
        uint64_t number = 0;

        while (!number)
                if (getrandom(&number, sizeof number, 0) != sizeof number)
                        return -errno;
        *ret_run = number;
        return 0;
}

static void print(int fd, const char *text)
{
        for (size_t left = strlen(text); left;) {
                ssize_t n = write(fd, text, left);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return;
                text += n;
                left -= (size_t)n;
        }
}

static bool reach(struct teller *t)
{
        scoped_snapshot struct snapshot s = {0};
        char message[CLI_MESSAGE];
        int r = connection_open(&t->c, message);

        if (r >= 0) /* from here on it keeps our figures again */
                r = snapshot_fetch_run(&t->c, t->run, &s, message);
        if (r < 0)
                connection_close(&t->c);
        return r >= 0;
}

/* Until the program has ended. */
static void wait_for_end(struct teller *t)
{
        for (;;) {
                struct pollfd fds[] = {{.fd = t->pidfd, .events = POLLIN}, {.fd = t->c.fd, .events = POLLIN}};

                if (poll(fds, 2, t->c.fd < 0 ? AGAIN_MS : -1) < 0)
                        continue;
                if (fds[0].revents)
                        return;
                if (t->c.fd < 0) {
                        (void)reach(t);
                } else if (fds[1].revents) { /* nothing was asked: it ends */
                        t->lost = true;
                        connection_close(&t->c);
                }
        }
}

static int fetch(struct teller *t, struct snapshot *ret, char message[CLI_MESSAGE])
{
        int r = -E_UNAVAILABLE;

        for (int i = 0; i < LAST_TRIES; i++) {
                if (t->c.fd < 0)
                        r = connection_open(&t->c, message);
                if (t->c.fd >= 0)
                        r = snapshot_fetch_run(&t->c, t->run, ret, message);
                if (r >= 0)
                        return r;
                t->lost = true;
                connection_close(&t->c);
                poll(NULL, 0, AGAIN_MS);
        }
        return r;
}

static void tell(struct teller *t)
{
        __attribute__((cleanup(strbuf_done_at))) struct strbuf b = {0};
        scoped_snapshot struct snapshot programs = {0};
        struct summary s = {.program = t->program, .pid = t->pid, .programs = &programs};
        char message[CLI_MESSAGE] = "";
        json_t *o;
        int r;

        wait_for_end(t);
        s.wall_ns = clock_now_ns() - t->started;
        r = fetch(t, &programs, message);
        s.complete = !t->lost;
        if (r < 0) {
                strbuf_add(&b, "berth: no summary of %s (pid %u): %s\n", t->program, t->pid, message);
                print(STDERR_FILENO, b.text ? b.text : "");
                return;
        }
        if (t->file >= 0) {
                o = summary_json(&s);
                if (!o || json_dumpfd(o, t->file, JSON_INDENT(2)) < 0 || write(t->file, "\n", 1) != 1)
                        print(STDERR_FILENO, "berth: the summary can't be written\n");
                json_decref(o);
        }
        if (!t->text)
                return;
        summary_text(&s, &b);
        print(STDERR_FILENO, b.text && !b.failed ? b.text : "");
}

/* Nothing of the program's is held but its standard error, so that who reads its output sees the end of that with the program's. */
static void keep_only(const struct teller *t)
{
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        long most = sysconf(_SC_OPEN_MAX);

        if (null >= 0) {
                dup2(null, STDIN_FILENO);
                dup2(null, STDOUT_FILENO);
        }
        for (int fd = STDERR_FILENO + 1; fd < (most > 65536 || most < 0 ? 65536 : most); fd++)
                if (fd != t->pidfd && fd != t->file && fd != t->c.fd)
                        close(fd);
}

int summary_start(struct connection *c, uint64_t run, const char *program, const char *file, bool text, char message[CLI_MESSAGE])
{
        struct teller t = {.run = run, .started = clock_now_ns(), .pid = (uint32_t)getpid(), .file = -1, .text = text};
        scoped_fd int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0), out = -1;
        sigset_t all, before;
        pid_t child;
        int r;

        text_copy_clean(t.program, sizeof t.program, program);
        if (pidfd < 0) {
                r = -errno;
                snprintf(message, CLI_MESSAGE, "no summary: the end of a process can't be waited for (pidfd: %s)", strerror(-r));
                return r;
        }
        if (file) {
                out = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
                if (out < 0) {
                        r = -errno;
                        snprintf(message, CLI_MESSAGE, "--summary %.300s: %s", file, strerror(-r));
                        return r;
                }
        }
        t.pidfd = pidfd;
        t.file = out;
        t.c = *c;
        fflush(NULL);
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, &before);
        child = fork();
        if (child == 0) {
                /* The program must not find a child that it did not start: it is another's before the program begins. */
                if (fork() == 0) {
                        setsid();
                        prctl(PR_SET_NAME, "berth-summary");
                        signal(SIGPIPE, SIG_IGN);
                        keep_only(&t);
                        if (chdir("/") < 0) {
                        }
                        tell(&t);
                }
                _exit(0);
        }
        r = child < 0 ? -errno : 0;
        while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
                ;
        sigprocmask(SIG_SETMASK, &before, NULL);
        if (r < 0)
                snprintf(message, CLI_MESSAGE, "no summary: fork: %s", strerror(-r));
        return r;
}
