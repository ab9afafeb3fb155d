/* main.c: berth-watchdog: an independent process beside one job. It looks, judges (judge.h), tells (tell.h), keeps the job's last state in a report before
 * anything is ended, and ends it only when it was asked to. It is no relative of the job: neither's death takes the other along. */
#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "watchdog/look.h"
#include "watchdog/tell.h"

#include <argp.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#define KEPT 120 /* looks that a report shows */
#define LISTED 16

const char *argp_program_version = "berth-watchdog " BERTH_VERSION;

enum action { ON_HANG_REPORT, ON_HANG_TERM, ON_HANG_KILL };

struct watchdog {
        uint64_t pid, start, period_ns, limit_ns, grace_ns, events, most_looks;
        const char *socket, *report, *progress, *name;
        enum action action;
        bool desktop, quiet;
        int pidfd;
        struct look look;
        struct judge judge;
        struct tell tell;
        struct judge_look kept[KEPT];
        enum judge_state states[KEPT];
        uint64_t looks, reports, acted_ns;
        bool alarmed;
};

static struct watchdog w = {.period_ns = NS_PER_S, .limit_ns = 45 * NS_PER_S, .grace_ns = 10 * NS_PER_S, .events = UINT64_MAX, .start = MACHINE_UNKNOWN};

enum { KEY_PID = 0x100, KEY_START, KEY_SOCKET, KEY_REPORT, KEY_PROGRESS, KEY_NAME, KEY_LIMIT, KEY_PERIOD, KEY_ON_HANG, KEY_GRACE, KEY_EVENTS, KEY_DESKTOP, KEY_QUIET };

static const struct argp_option options[] = {
        {"pid", KEY_PID, "NUMBER", 0, "The process to watch, with all that descends from it", 0},
        {"start", KEY_START, "TICKS", 0, "When it began, as /proc/PID/stat has it: another process under this number is not watched", 0},
        {"name", KEY_NAME, "TEXT", 0, "What it is called", 0},
        {"socket", KEY_SOCKET, "PATH", 0, "Of the node daemon", 0},
        {"report", KEY_REPORT, "FILE", 0, "Where its last state goes when it hangs, or ends in trouble", 0},
        {"progress", KEY_PROGRESS, "FILE", 0, "Page on which the job counts its steps (BERTH_PROGRESS)", 0},
        {"hang-after", KEY_LIMIT, "TIME", 0, "No progress for so long is a hang (45s); 0: never", 0},
        {"period", KEY_PERIOD, "TIME", 0, "Between two looks (1s)", 0},
        {"on-hang", KEY_ON_HANG, "report|term|kill", 0, "What to do about a hang, after the report (report)", 0},
        {"grace", KEY_GRACE, "TIME", 0, "Between TERM and KILL (10s)", 0},
        {"events", KEY_EVENTS, "DESCRIPTOR", 0, "Lines of JSON go there", 0},
        {"desktop", KEY_DESKTOP, NULL, 0, "Notifications on the desktop", 0},
        {"quiet", KEY_QUIET, NULL, 0, "Nothing on standard error", 0},
        {0},
};

static void parse_time(struct argp_state *state, const char *name, const char *text, uint64_t least, uint64_t *ret)
{
        uint64_t value;

        if (text_parse_duration(text, &value) < 0 || value < least || value > 7 * 86400 * NS_PER_S)
                argp_error(state, "--%s: \"%s\" is no time, or out of range", name, text);
        *ret = value;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
        switch (key) {
        case KEY_PID:
                if (text_parse_u64(arg, 1, INT32_MAX, &w.pid) < 0)
                        argp_error(state, "--pid: \"%s\" is no process", arg);
                return 0;
        case KEY_START:
                if (text_parse_u64(arg, 0, UINT64_MAX - 1, &w.start) < 0)
                        argp_error(state, "--start: \"%s\" is no number", arg);
                return 0;
        case KEY_NAME:
                w.name = arg;
                return 0;
        case KEY_SOCKET:
                w.socket = arg;
                return 0;
        case KEY_REPORT:
                w.report = arg;
                return 0;
        case KEY_PROGRESS:
                w.progress = arg;
                return 0;
        case KEY_LIMIT:
                parse_time(state, "hang-after", arg, 0, &w.limit_ns);
                return 0;
        case KEY_PERIOD:
                parse_time(state, "period", arg, 10 * NS_PER_MS, &w.period_ns);
                return 0;
        case KEY_GRACE:
                parse_time(state, "grace", arg, 0, &w.grace_ns);
                return 0;
        case KEY_ON_HANG:
                if (!strcmp(arg, "report"))
                        w.action = ON_HANG_REPORT;
                else if (!strcmp(arg, "term"))
                        w.action = ON_HANG_TERM;
                else if (!strcmp(arg, "kill"))
                        w.action = ON_HANG_KILL;
                else
                        argp_error(state, "--on-hang: \"%s\" is not report, term or kill", arg);
                return 0;
        case KEY_EVENTS:
                if (text_parse_u64(arg, 0, 1 << 20, &w.events) < 0)
                        argp_error(state, "--events: \"%s\" is no descriptor", arg);
                return 0;
        case KEY_DESKTOP:
                w.desktop = true;
                return 0;
        case KEY_QUIET:
                w.quiet = true;
                return 0;
        case ARGP_KEY_END:
                if (!w.pid)
                        argp_error(state, "--pid is missing");
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

/* --- the report --- */

static void add_figure(struct strbuf *b, uint64_t value)
{
        if (value == JUDGE_UNKNOWN)
                strbuf_add(b, " %14s", "-");
        else
                strbuf_add(b, " %14" PRIu64, value);
}

static void tell_looks(struct strbuf *b)
{
        uint64_t first = w.looks > KEPT ? w.looks - KEPT : 0;

        strbuf_add(b, "looks, oldest first; \"-\": unavailable\n  %10s %-7s %14s %14s %14s %14s %14s %14s\n", "seconds", "state", "own counter", "launches+copies",
                   "bytes by calls", "cpu us", "device bytes", "host bytes");
        for (uint64_t i = first; i < w.looks; i++) {
                const struct judge_look *l = &w.kept[i % KEPT];

                strbuf_add(b, "  %10.1f %-7s", -(double)(w.judge.last.now_ns - l->now_ns) / 1e9, judge_state_name(w.states[i % KEPT]));
                add_figure(b, l->work);
                add_figure(b, l->device);
                add_figure(b, l->bytes);
                add_figure(b, l->cpu_ns == JUDGE_UNKNOWN ? JUDGE_UNKNOWN : l->cpu_ns / 1000);
                add_figure(b, l->device_bytes);
                add_figure(b, l->host_bytes);
                strbuf_add(b, "\n");
        }
}

static int write_report(const char *text, size_t length)
{
        char beside[4096];
        scoped_fd int fd = -1;

        if ((size_t)snprintf(beside, sizeof beside, "%s.new", w.report) >= sizeof beside)
                return -ENAMETOOLONG;
        fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        while (length) {
                ssize_t n = write(fd, text, length);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                text += n;
                length -= (size_t)n;
        }
        return rename(beside, w.report) < 0 ? -errno : 0;
}

static void report(uint64_t now, const char *why)
{
        __attribute__((cleanup(strbuf_done_at))) struct strbuf b = {0};
        char phase[48] = "", when[32] = "", a[16], c[16];
        time_t seconds = time(NULL);
        struct tm utc;
        int r;

        if (!w.report)
                return;
        if (gmtime_r(&seconds, &utc))
                strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
        if (w.look.page)
                text_copy_clean(phase, sizeof phase, w.look.page->phase);
        strbuf_add(&b, "berth-watchdog report 1\njob %s, pid %" PRIu64 "\ntime %s\nreason %s\n", w.name, w.pid, when, why);
        strbuf_add(&b, "state %s; no progress for %s, the limit is %s\n", judge_state_name(w.judge.state),
                   text_duration(judge_stood_ns(&w.judge), a, sizeof a), text_duration(judge_limit_ns(&w.judge), c, sizeof c));
        if (phase[0])
                strbuf_add(&b, "phase %s\n", phase);
        look_tell(&w.look, &b);
        tell_looks(&b);
        r = b.failed ? -ENOMEM : write_report(b.text, b.length);
        w.reports += r == 0;
        if (r < 0)
                tell_say(&w.tell, now, "report", RULE_WARNING, "its last state can't be written to %s: %s", w.report, error_text(r));
        else
                tell_say(&w.tell, now, "report", RULE_INFO, "its last state is in %s", w.report);
}

/* --- what is done --- */

static void end_all(int number)
{
        /* Deepest first: a parent that restarts what died would be asked first otherwise. */
        for (uint32_t i = w.look.process_count; i > 1; i--)
                (void)kill(w.look.processes[i - 1], number);
        (void)syscall(SYS_pidfd_send_signal, w.pidfd, number, NULL, 0);
        if (number == SIGKILL)
                (void)syscall(SYS_process_mrelease, w.pidfd, 0);
}

static void act(uint64_t now)
{
        if (w.action == ON_HANG_REPORT || w.judge.state != JUDGE_HANGS)
                return;
        if (!w.acted_ns) {
                w.acted_ns = now;
                tell_say(&w.tell, now, "end", RULE_CRITICAL, "it is ended with %s", w.action == ON_HANG_KILL ? "KILL" : "TERM");
                end_all(w.action == ON_HANG_KILL ? SIGKILL : SIGTERM);
        } else if (now - w.acted_ns >= w.grace_ns) {
                w.acted_ns = now;
                tell_say(&w.tell, now, "end", RULE_CRITICAL, "it did not end, and is ended with KILL");
                end_all(SIGKILL);
        }
}

static void hear(uint64_t now, const struct judge_news *n)
{
        const struct rule *rule = judge_rule(n->alert);
        char text[256], a[16];

        if (n->alert == JUDGE_HANG || n->alert == JUDGE_SLOWNESS)
                snprintf(text, sizeof text, n->alert == JUDGE_HANG ? "hangs: no progress for %s" : "has launched nothing for %s, and burns processor time",
                         text_duration(judge_stood_ns(&w.judge), a, sizeof a));
        else if (n->alert == JUDGE_OOM_KILL)
                snprintf(text, sizeof text, "the kernel ended a process of its control group for lack of memory");
        else if (n->alert == JUDGE_PRESSURE)
                snprintf(text, sizeof text, "the machine stands still for lack of memory %.0f %% of the time", n->value / 10);
        else
                snprintf(text, sizeof text, "%s memory %s %.0f %% of its limit", n->alert == JUDGE_DEVICE_FULL || n->alert == JUDGE_DEVICE_SPIKE ? "device" : "host",
                         rule->kind == RULE_RISE ? "grew within seconds by" : "is at", n->value * 100);
        if (n->news == RULE_RESOLVED) {
                snprintf(text, sizeof text, "over: %s", rule->name);
                tell_say(&w.tell, now, rule->name, RULE_INFO, "%s", text);
                return;
        }
        tell_say(&w.tell, now, rule->name, rule->severity, "%s", text);
        if (rule->severity == RULE_CRITICAL) {
                w.alarmed = true;
                report(now, rule->name);
        }
}

static void one_look(uint64_t now)
{
        struct judge_news news[JUDGE_ALERT_N];
        struct judge_look *l = &w.kept[w.looks % KEPT];
        size_t count;

        look_at(&w.look, now, l);
        count = judge_step(&w.judge, l, news);
        w.states[w.looks++ % KEPT] = w.judge.state;
        for (size_t i = 0; i < count; i++)
                hear(now, &news[i]);
        act(now);
}

/* The job has ended: what its last looks said is all there is. */
static void ended(uint64_t now)
{
        bool memory = w.judge.rules[JUDGE_DEVICE_FULL].active || w.judge.rules[JUDGE_HOST_FULL].active || w.judge.rules[JUDGE_OOM_KILL].active;
        struct judge_news news[JUDGE_ALERT_N];
        struct judge_look last = w.judge.last, group;
        size_t count;

        /* Whether the kernel killed in its group shows only now. */
        look_at(&w.look, now, &group);
        last.oom_kills = group.oom_kills != JUDGE_UNKNOWN ? group.oom_kills : last.oom_kills;
        last.now_ns = now;
        count = judge_step(&w.judge, &last, news);
        for (size_t i = 0; i < count; i++)
                if (news[i].alert == JUDGE_OOM_KILL && news[i].news == RULE_TRIGGERED) {
                        hear(now, &news[i]);
                        memory = true;
                }
        if (memory && !w.judge.rules[JUDGE_OOM_KILL].active)
                report(now, "ended while its memory was full");
        tell_say(&w.tell, now, "ended", RULE_INFO, "ended%s, after %" PRIu64 " looks", w.acted_ns ? " by its watchdog" : memory ? " while its memory was full" : "",
                 w.looks);
}

/* --- life --- */

static const struct watchdog_page *map_page(const char *path)
{
        scoped_fd int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
        struct stat st;
        void *page;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < WATCHDOG_PAGE_BYTES)
                return NULL;
        page = mmap(NULL, WATCHDOG_PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
        return page == MAP_FAILED ? NULL : page;
}

/* It must go on when the machine runs out of memory: that is when it is needed. What is refused is done without. */
static void hold_on(void)
{
        int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

        if (fd >= 0) {
                (void)!write(fd, "-900", 4);
                close(fd);
        }
        /* Others have a limit of locked memory, and would run into it later. */
        if (geteuid() == 0)
                (void)mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
        prctl(PR_SET_NAME, "berth-watchdog");
        signal(SIGPIPE, SIG_IGN);
        signal(SIGINT, SIG_IGN); /* of the job's terminal */
        signal(SIGHUP, SIG_IGN);
}

static int begin(void)
{
        struct machine_process_stat stat;
        char path[64];
        int r;

        w.pidfd = (int)syscall(SYS_pidfd_open, (pid_t)w.pid, 0);
        if (w.pidfd < 0)
                return -errno;
        r = look_open(&w.look, (pid_t)w.pid, w.socket, map_page(w.progress));
        if (r < 0)
                return r;
        snprintf(path, sizeof path, "proc/%" PRIu64 "/stat", w.pid);
        r = machine_read(&w.look.machine, path);
        if (r >= 0)
                r = machine_parse_process(w.look.machine.text, &stat);
        if (r < 0)
                return r;
        return w.start != MACHINE_UNKNOWN && stat.start_ticks != w.start ? -ESRCH : 0;
}

int main(int argc, char **argv)
{
        static const struct argp argp = {options, parse_option, NULL, "Watches one job by its progress. `berth run --watch' and workers start it.", NULL, NULL, NULL};
        struct judge_settings settings;
        char name[256];
        int r;

        if (argp_parse(&argp, argc, argv, ARGP_NO_ARGS, NULL, NULL) != 0)
                return 2;
        text_copy_clean(name, sizeof name, w.name ? w.name : "job");
        w.name = name;
        w.tell = (struct tell){.log = w.quiet ? -1 : STDERR_FILENO, .events = w.events == UINT64_MAX ? -1 : (int)w.events, .desktop = w.desktop, .name = w.name};
        r = begin();
        if (r < 0) {
                fprintf(stderr, "berth-watchdog: process %" PRIu64 " can't be watched: %s\n", w.pid, error_text(r));
                return 1;
        }
        hold_on();
        settings = (struct judge_settings){w.limit_ns, w.period_ns};
        judge_begin(&w.judge, &settings);
        tell_say(&w.tell, clock_now_ns(), "watches", RULE_INFO, "is watched");
        for (;;) {
                struct pollfd end = {.fd = w.pidfd, .events = POLLIN};
                uint64_t now = clock_now_ns(), next;

                one_look(now);
                tell_hear(&w.tell);
                next = now + w.period_ns;
                now = clock_now_ns();
                if (poll(&end, 1, now < next ? (int)((next - now + NS_PER_MS - 1) / NS_PER_MS) : 0) > 0)
                        break;
        }
        ended(clock_now_ns());
        if (w.progress)
                (void)unlink(w.progress);
        tell_close(&w.tell);
        look_close(&w.look);
        return 0;
}
