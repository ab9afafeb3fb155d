/* runner.c: one task in order: folder, files, program, loop, output, answer, clean up; see runner.h. */
#include "worker/runner-internal.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "worker/describe.h"
#include "worker/task/task.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define LOG_BURST_S 4

void run_tell(struct run *r, json_t *o)
{
        char *text scoped_free = o ? json_dumps(o, JSON_COMPACT) : NULL;
        size_t length = text ? strlen(text) : 0;

        json_decref(o);
        if (!text)
                return;
        text[length] = '\n';
        for (size_t done = 0; done <= length;) {
                ssize_t n = send(r->agent, text + done, length + 1 - done, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0) {
                        r->stopped = true; /* the agent is gone */
                        return;
                }
                done += (size_t)n;
        }
}

void run_progress(struct run *r, double share, const char *text)
{
        json_t *o = json_pack("{s:s, s:s}", "m", "progress", "text", text);

        if (share >= 0)
                json_object_set_new(o, "share", json_real(share > 1 ? 1 : share));
        run_tell(r, o);
}

bool run_is_stopped(struct run *r)
{
        struct pollfd p[2] = {{.fd = r->signals, .events = POLLIN}, {.fd = r->agent, .events = POLLIN | POLLRDHUP}};

        if (!r->stopped && poll(p, 2, 0) > 0 && (p[0].revents || p[1].revents))
                r->stopped = true;
        return r->stopped;
}

void run_kill(struct run *r, const char *code, bool retry, bool worker, const char *format, ...)
{
        va_list args;

        if (r->killed)
                return;
        va_start(args, format);
        vsnprintf(r->killed_text, sizeof r->killed_text, format, args);
        va_end(args);
        r->killed = code;
        r->killed_retry = retry;
        r->killed_worker = worker;
}

static json_t *usage(const struct run *r)
{
        json_t *o = json_object();
        struct rusage all;
        uint64_t end = r->ended_ns ? r->ended_ns : clock_now_ns(), cpu = r->cpu_ms, peak = r->memory_peak;

        if (!r->started_ns)
                return o;
        if (getrusage(RUSAGE_CHILDREN, &all) == 0) {
                uint64_t ms = (uint64_t)(all.ru_utime.tv_sec + all.ru_stime.tv_sec) * 1000 + (uint64_t)(all.ru_utime.tv_usec + all.ru_stime.tv_usec) / 1000;

                cpu = ms > cpu ? ms : cpu;
                /* The largest single process: what was too short for a look is at least in this. */
                peak = (uint64_t)all.ru_maxrss << 10 > peak ? (uint64_t)all.ru_maxrss << 10 : peak;
        }
        if (group_killed(&r->group) && r->spec.limits.memory_bytes > peak)
                peak = r->spec.limits.memory_bytes; /* the kernel ended it there, perhaps between two looks */
        json_object_set_new(o, "wall_ms", json_integer((json_int_t)((end - r->started_ns) / NS_PER_MS)));
        json_object_set_new(o, "cpu_ms", json_integer((json_int_t)cpu));
        json_object_set_new(o, "memory_peak_bytes", json_integer((json_int_t)peak));
        if (r->memory_valid)
                json_object_set_new(o, "processes_peak", json_integer((json_int_t)r->processes_peak));
        json_object_set_new(o, "output_bytes", json_integer((json_int_t)(r->out.bytes + r->err.bytes)));
        return o;
}

static void tell_fail(struct run *r, const char *code, const char *text, int exit_code, bool retry, bool worker)
{
        char clean[512];
        json_t *error;

        text_copy_clean(clean, sizeof clean, text);
        error = json_pack("{s:s, s:s}", "code", code, "text", clean);
        if (exit_code >= 0)
                json_object_set_new(error, "exit", json_integer(exit_code));
        run_tell(r, json_pack("{s:s, s:o, s:b, s:s, s:o, s:O}", "m", "fail", "error", error, "retryable", (int)retry, "blame", worker ? "worker" : "task", "usage",
                              usage(r), "artifacts", r->artifacts));
}

/* Who a task's files belong to when it has a user of its own. */
static uid_t task_user(const struct run *r)
{
        return r->settings->confine.root ? CONFINE_UID + r->slot : geteuid();
}

static int make_folders(struct run *r)
{
        uid_t user = task_user(r);
        char path[PATH_MAX];
        int n = snprintf(path, sizeof path, "%s/work", r->settings->folder);

        if (n < 0 || n + ID_TEXT + 16 >= PATH_MAX)
                return -ENAMETOOLONG;
        if (mkdir(path, 0711) < 0 && errno != EEXIST)
                return -errno;
        snprintf(r->folder, sizeof r->folder, "%.4000s/%u-%s", path, r->slot, r->lease->task);
        (void)watch_remove(r->folder);
        snprintf(r->work, sizeof r->work, "%.4060s/files", r->folder);
        snprintf(r->output, sizeof r->output, "%.4060s/output.log", r->folder);
        snprintf(r->cache, sizeof r->cache, "%.4060s/cache", r->settings->folder);
        if (mkdir(r->folder, 0711) < 0 || mkdir(r->work, 0700) < 0 || chown(r->work, user, user == geteuid() ? getegid() : CONFINE_GID) < 0)
                return -errno;
        r->saved = open(r->output, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        return r->saved < 0 ? -errno : 0;
}

static json_t *strings(const char *const *list)
{
        json_t *o = json_array();

        for (; *list; list++)
                json_array_append_new(o, json_string(*list));
        return o;
}

/* A fixed small set: nothing of the worker's own environment, in which its key may stand. */
static json_t *environment(const struct run *r, const struct confine_task *t)
{
        const char *software = getenv("BERTH_SOFTWARE_DIR"), *home = confine_work(&r->settings->confine, t), *key;
        json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin", "HOME", home, "TMPDIR",
                              r->settings->confine.mode == CONFINE_BWRAP ? "/tmp" : home, "LANG", "C.UTF-8", "USER", "task", "BERTH_TASK", r->lease->task,
                              "BERTH_PROGRESS", "3"),
               *v;

        if (t->device && t->berth_socket)
                json_object_set_new(o, "BERTH_SOCKET", json_string(t->berth_socket));
        if (t->device && software)
                json_object_set_new(o, "BERTH_SOFTWARE_DIR", json_string(software));
        json_object_foreach (r->spec.env, key, v)
                json_object_set(o, key, v);
        return o;
}

/* Whether the program can't be there because of the confinement. Whether it is on the machine is not looked at: that is not for tasks to know. */
static bool hidden(const struct run *r)
{
        const char *program = r->spec.device.wanted ? r->settings->confine.berth : json_string_value(json_array_get(r->spec.argv, 0));

        return r->settings->confine.mode == CONFINE_BWRAP && program && program[0] == '/' && strncmp(program, "/usr/", 5) && strncmp(program, "/opt/", 5) && strncmp(program, "/bin/", 5);
}

/* A command that needs a device runs under `berth run`. */
static json_t *command_line(const struct run *r)
{
        const struct spec_device *d = &r->spec.device;
        json_t *o = json_array();

        if (d->wanted) {
                const char *const options[][2] = {{"--memory", d->memory}, {"--soft-memory", d->soft_memory}, {"--need", d->need}};

                json_array_append_new(o, json_string(r->settings->confine.berth));
                json_array_append_new(o, json_string("run"));
                json_array_append_new(o, json_string("--quiet"));
                for (size_t i = 0; i < ARRAY_SIZE(options); i++)
                        if (options[i][1][0]) {
                                json_array_append_new(o, json_string(options[i][0]));
                                json_array_append_new(o, json_string(options[i][1]));
                        }
                json_array_append_new(o, json_string("--"));
        }
        json_array_extend(o, r->spec.argv);
        return o;
}

static json_t *orders(const struct run *r, const struct confine_task *t)
{
        const struct confine *c = &r->settings->confine;
        const struct spec_limits *l = &r->spec.limits;
        json_t *o = json_pack("{s:o, s:o, s:b, s:b, s:{s:I, s:I, s:I, s:I, s:I}}", "read", strings(t->read), "write", strings(t->write), "filter", (int)c->filter, "no_internet",
                              (int)!r->spec.network, "limits", "file_bytes", (json_int_t)l->disk_bytes,
                              /* A device's driver reserves far more than it uses. Twice, because the sum over all is what the limit means. */
                              "data_bytes", (json_int_t)(r->spec.device.wanted ? 0 : l->memory_bytes * 2), "cpu_s",
                              (json_int_t)(l->cpu_ms ? l->cpu_ms / 1000 + 1 : 0), "files", (json_int_t)4096,
                              /* Counts all of a user: only where the task has a user, or a user namespace, of its own. */
                              "processes", (json_int_t)(c->root || c->mode == CONFINE_BWRAP ? l->processes : 0));

        if (c->root) {
                json_object_set_new(o, "uid", json_integer(CONFINE_UID + r->slot));
                json_object_set_new(o, "gid", json_integer(CONFINE_GID));
        }
        json_object_set_new(o, "folder", json_string(confine_work(c, t)));
        json_object_set_new(o, "env", environment(r, t));
        if (r->spec.function) {
                json_object_set_new(o, "function", json_string(r->spec.function));
                json_object_set(o, "payload", r->lease->payload);
        } else {
                json_object_set_new(o, "argv", command_line(r));
        }
        return o;
}

static int open_input(const struct run *r)
{
        char path[PATH_MAX];
        int fd;

        if (r->spec.input_file) {
                snprintf(path, sizeof path, "%.3800s/%s", r->work, r->spec.input_file);
                fd = open(path, O_RDONLY | O_CLOEXEC);
        } else if (r->spec.input) {
                fd = memfd_create("input", MFD_CLOEXEC);
                if (fd >= 0 && (write(fd, r->spec.input, strlen(r->spec.input)) < 0 || lseek(fd, 0, SEEK_SET) < 0)) {
                        close(fd);
                        return -errno;
                }
        } else {
                fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        }
        return fd < 0 ? -errno : fd;
}

static void become_child(const struct run *r, char **argv, int input, int out, int err, int control)
{
        char *const variables[] = {(char *)"PATH=/usr/local/bin:/usr/bin:/bin", NULL};
        sigset_t none;

        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setsid();
        (void)!group_join(&r->group); /* else it is watched, as everywhere */
        umask(022); /* bubblewrap makes folders that the task must get through; berth-task closes it */
        /* First above all numbers that are about to be given away. */
        input = fcntl(input, F_DUPFD_CLOEXEC, 10);
        out = fcntl(out, F_DUPFD_CLOEXEC, 10);
        err = fcntl(err, F_DUPFD_CLOEXEC, 10);
        control = fcntl(control, F_DUPFD_CLOEXEC, 10);
        if (dup2(input, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0 || dup2(control, TASK_FD) < 0)
                _exit(TASK_TEMPORARY);
        if (syscall(SYS_close_range, TASK_FD + 1, ~0U, 0) < 0)
                for (int i = TASK_FD + 1; i < 1024; i++)
                        close(i);
        execve(argv[0], argv, variables);
        dprintf(TASK_FD, "{\"m\": \"exec\", \"text\": \"can't start the confinement\", \"temporary\": true}\n");
        _exit(TASK_TEMPORARY);
}

/* Starts the confined program and sends it its orders. */
static int start(struct run *r)
{
        struct confine_task t = {.work = r->work, .read = r->settings->read, .write = r->settings->write, .network = r->spec.network, .device = r->spec.device.wanted,
                                 .berth_socket = r->settings->socket};
        char **argv scoped_free = NULL, *text scoped_free = NULL;
        int out[2] = {-1, -1}, err[2] = {-1, -1}, control[2] = {-1, -1};
        const struct timeval patience = {.tv_sec = 30};
        scoped_fd int input = -1;
        json_t *o;
        char name[40];
        size_t length;
        int error;

        argv = confine_argv(&r->settings->confine, &t);
        input = open_input(r);
        if (!argv || input < 0)
                return input < 0 ? input : -ENOMEM;
        if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) < 0)
                return -errno;
        snprintf(name, sizeof name, GROUP_TASK "%d", (int)getpid());
        if (r->settings->groups.version)
                (void)!group_open(&r->settings->groups, name, r->spec.limits.memory_bytes, &r->group);
        r->started_ns = clock_now_ns();
        r->child = fork();
        if (r->child < 0)
                return -errno;
        if (!r->child)
                become_child(r, argv, input, out[1], err[1], control[1]);
        close(out[1]);
        close(err[1]);
        close(control[1]);
        r->out.fd = out[0];
        r->err.fd = err[0];
        r->control = control[0];
        (void)fcntl(out[0], F_SETFL, O_NONBLOCK);
        (void)fcntl(err[0], F_SETFL, O_NONBLOCK);
        r->pidfd = (int)syscall(SYS_pidfd_open, r->child, 0);
        if (r->pidfd < 0)
                return -errno;
        o = orders(r, &t);
        text = json_dumps(o, JSON_COMPACT);
        json_decref(o);
        if (!text)
                return -ENOMEM;
        length = strlen(text);
        text[length] = '\n';
        (void)setsockopt(r->control, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        for (size_t done = 0; done <= length;) {
                ssize_t n = send(r->control, text + done, length + 1 - done, MSG_NOSIGNAL);

                if (n < 0) {
                        error = errno;
                        return error == EPIPE || error == ECONNRESET ? 0 : -error; /* it ended already: the loop sees how */
                }
                done += (size_t)n;
        }
        (void)fcntl(r->control, F_SETFL, O_NONBLOCK);
        return 0;
}

/* Its words, as valid text, at most so many bytes of the end. */
static json_t *tail(const struct stream *s)
{
        size_t from = 0;

        while (s->bytes > s->tail_bytes && from < s->tail_bytes && ((unsigned char)s->tail[from] & 0xc0) == 0x80)
                from++;
        return json_stringn(s->tail + from, s->tail_bytes - from);
}

/* The last line that it wrote to standard error: where it begins in the tail, and its length. */
static size_t last_words(const struct run *r, size_t *ret_from)
{
        size_t end = r->err.tail_bytes, from;

        while (end && (r->err.tail[end - 1] == '\n' || r->err.tail[end - 1] == ' '))
                end--;
        for (from = end; from && end - from < 300 && r->err.tail[from - 1] != '\n'; from--)
                ;
        *ret_from = from;
        return end - from;
}

static void answer(struct run *r)
{
        int code = WIFEXITED(r->status) ? WEXITSTATUS(r->status) : -1, number = WIFSIGNALED(r->status) ? WTERMSIG(r->status) : code > 128 && code < 165 ? code - 128 : 0;
        json_t *result, *o;
        char text[600];
        size_t from;

        if (r->killed) {
                tell_fail(r, r->killed, r->killed_text, -1, r->killed_retry, r->killed_worker);
        } else if (r->said_exec[0]) {
                /* Another worker may have the program; a confinement that fails is the worker's own fault. */
                snprintf(text, sizeof text, "%.480s%s", r->said_exec, hidden(r) ? ": tasks see /usr, /opt, their own files, and folders that the worker's owner gives with --read" : "");
                tell_fail(r, "exec", text, code, true, r->said_temporary);
        } else if (!r->inside) {
                snprintf(text, sizeof text, "the confinement failed: %.*s", (int)last_words(r, &from), r->err.tail + from);
                tell_fail(r, "confine", text, code, true, true);
        } else if (r->said_fail[0] && code != 0) {
                tell_fail(r, "function", r->said_fail, code, r->said_temporary || code == TASK_TEMPORARY, false);
        } else if (number) {
                snprintf(text, sizeof text, "ended by signal %d (%s)%s", number, strsignal(number), number == SIGKILL ? ": the machine may be out of memory" : "");
                tell_fail(r, "signal", text, code, number == SIGKILL, false);
        } else if (code != 0) {
                size_t bytes = last_words(r, &from);

                snprintf(text, sizeof text, "exit code %d%s%s%.*s", code, code == TASK_TEMPORARY ? " (temporary)" : "", bytes ? ": " : "", (int)bytes, r->err.tail + from);
                tell_fail(r, "exit", text, code, code == TASK_TEMPORARY, false);
        } else if (r->spec.function && !r->said_result) {
                tell_fail(r, "function", "the function gave no result", code, true, true);
        } else {
                result = r->spec.function ? json_incref(r->said_result)
                                          : json_pack("{s:i, s:o, s:o, s:I, s:I}", "exit", 0, "stdout", tail(&r->out), "stderr", tail(&r->err), "stdout_bytes",
                                                      (json_int_t)r->out.bytes, "stderr_bytes", (json_int_t)r->err.bytes);
                o = json_pack("{s:s, s:o, s:O, s:o}", "m", "result", "result", result, "artifacts", r->artifacts, "usage", usage(r));
                run_tell(r, o);
        }
}

static void run_task(struct run *r)
{
        struct run_failure failure = {0};
        char why[SPEC_MESSAGE] = "";
        int n = spec_parse(r->lease->type, r->lease->payload, r->lease->needs, &r->settings->most, r->settings->network, &r->spec, why);

        if (n < 0) {
                tell_fail(r, n == -E_LIMIT ? "limits" : "payload", why, -1, n == -E_LIMIT, n == -E_LIMIT);
                return;
        }
        if (r->spec.device.wanted && !r->settings->confine.berth[0]) {
                tell_fail(r, "device", "this worker has no `berth' program to share devices with", -1, true, true);
                return;
        }
        n = make_folders(r);
        if (n < 0) {
                snprintf(why, sizeof why, "can't make a work folder below %.150s: %s", r->settings->folder, error_text(n));
                tell_fail(r, "worker.folder", why, -1, true, true);
                return;
        }
        n = run_fetch(r, &failure);
        if (n >= 0 && !run_is_stopped(r)) {
                n = start(r);
                if (n < 0) {
                        failure = (struct run_failure){.code = "worker.start", .retry = true, .worker = true};
                        snprintf(failure.text, sizeof failure.text, "can't start the program: %s", error_text(n));
                }
        }
        if (n >= 0 && !r->stopped) {
                run_loop(r);
        }
        if (n >= 0 && !r->stopped)
                n = run_collect(r, &failure);
        if (r->stopped)
                return;
        if (n < 0 && !r->killed)
                tell_fail(r, failure.code, failure.text, -1, failure.retry, failure.worker);
        else
                answer(r);
}

noreturn void runner_main(const struct runner_settings *settings, uint32_t slot, const struct message *lease, const char *url, uint64_t payload_bytes, int agent)
{
        struct run r = {.settings = settings, .lease = lease, .slot = slot, .payload_bytes = payload_bytes, .agent = agent, .pidfd = -1, .control = -1, .saved = -1,
                        .group = GROUP_NONE, .out.fd = -1, .err.fd = -1, .artifacts = json_array()};
        sigset_t stop;

        snprintf(r.url, sizeof r.url, "http%s", strncmp(url, "ws", 2) ? url : url + 2);
        r.artifact = (struct artifact){.url = r.url, .token = settings->token, .pin = settings->pin, .ca = settings->ca, .cache = r.cache,
                                       .cache_bytes = settings->cache_bytes};
        prctl(PR_SET_NAME, "berth-runner");
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        signal(SIGPIPE, SIG_IGN);
        sigemptyset(&stop);
        sigaddset(&stop, SIGTERM);
        sigprocmask(SIG_SETMASK, &stop, NULL);
        r.signals = signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK);
        r.log_allowance = settings->log_rate * LOG_BURST_S;
        r.log_at_ns = clock_now_ns();
        run_task(&r);
        watch_signal(getpid(), SIGKILL, 0);
        while (waitpid(-1, NULL, 0) > 0)
                ;
        group_close(&r.group);
        if (r.folder[0])
                (void)watch_remove(r.folder);
        /* After a unit of work on a device, what this user's programs keep there unused goes back. */
        if (r.spec.device.wanted && settings->socket)
                (void)node_link_trim(settings->socket);
        _exit(0);
}
