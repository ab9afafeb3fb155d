/* main.c: berth-probes, the probes process: loads what the options ask for, and at each question reads what was counted and answers with a snapshot.
 *
 * It does nothing but answer; between two questions it only takes probes off and puts them back where the options say so. It ends with the daemon, however that
 * ends: by the kernel's signal, or by the end of the socket; and the probes end with it.
 */
#include "bpf/child.h"
#include "bpf/cost.h"
#include "bpf/delays.h"
#include "bpf/file.h"
#include "bpf/gpu.h"
#include "bpf/table.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/text.h"

#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* Paths that are looked up for one snapshot: each is two or three system calls. */
#define NAME_BUDGET 256

struct state {
        struct probes_options options;
        bool opened;
        struct table *table;
        struct files *files;
        struct gpu *gpu;
        struct delays *delays;
        uint64_t began_ns, turned_ns, detach_ns, close_ns; /* when the probes on files come off, and when launches are no longer counted; 0: not */
        struct probes_snapshot head;
};

/* --- files --- */

static void open_files(struct state *s)
{
        struct probes_family *f = &s->head.families[PROBES_FILES];
        const struct file_options o = {.forced = s->options.files_forced, .refuse = s->options.refuse, .one_in = s->options.one_in,
                                       .entries = s->options.entries, .uid = s->options.uid, .without_closes = s->options.without_closes != 0,
                                       .part_of_time = s->options.duty_percent < 100};
        struct cost without, with;

        files_free(s->files);
        s->files = NULL;
        memset(f, 0, sizeof *f);
        f->one_in = 1;
        f->window_permille = 1000;
        f->state = s->options.files_off ? PROBES_OFF : PROBES_NOT_ASKED;
        if (s->options.files_off || !(s->options.asked & 1U << PROBES_FILES))
                return;
        if (cost_measure(&without) < 0)
                memset(&without, 0, sizeof without);
        files_open(&o, f, &s->files);
        /* Loading took the kernel's type information in: as much again as all the rest. */
        malloc_trim(0);
        if (!s->files || !without.file_call_ps || cost_measure(&with) < 0)
                return;
        f->hooked_cost_ps = with.file_call_ps > without.file_call_ps ? with.file_call_ps - without.file_call_ps : 0;
        f->other_cost_ps = with.other_call_ps > without.other_call_ps ? with.other_call_ps - without.other_call_ps : 0;
}

static void each_file(void *data, const struct file_key *key, const struct file_counts *counts, const struct file_user *user)
{
        struct state *s = data;

        if (key->pid != s->head.pid)
                table_file(s->table, key, counts, user);
}

static bool name_of(void *data, const struct file_name_key *key, struct file_name *ret)
{
        return files_name(data, key, ret);
}

static int read_files(struct state *s)
{
        struct probes_family *f = &s->head.families[PROBES_FILES];
        int r;

        if (!s->files)
                return 0;
        r = files_read(s->files, each_file, s);
        files_family(s->files, f);
        /* Where all calls reach the program, what is not counted is mostly calls of other kinds; elsewhere it is calls of files, and those of other kinds are in no sum. */
        f->cost_ns = f->rung == PROBES_SYS_EXIT || f->rung == PROBES_RAW_EXIT ? (f->hooked * f->hooked_cost_ps + (f->hits - f->hooked) * f->other_cost_ps) / 1000
                                                                              : f->hits * f->hooked_cost_ps / 1000;
        f->window_permille = s->options.duty_percent * 10;
        return r;
}

/* --- calls of the driver --- */

static void open_gpu(struct state *s)
{
        struct probes_family *f = &s->head.families[PROBES_GPU];
        const struct gpu_options o = {.forced = s->options.gpu_forced, .refuse = s->options.refuse, .launch_permille = s->options.launch_permille,
                                      .uid = s->options.uid, .period_ns = s->options.period_ns};

        gpu_free(s->gpu);
        s->gpu = NULL;
        *f = (struct probes_family){.state = s->options.gpu_off ? PROBES_OFF : PROBES_NOT_ASKED, .one_in = 1, .window_permille = 1000};
        if (!s->options.gpu_off && s->options.asked & 1U << PROBES_GPU)
                gpu_open(&o, f, &s->gpu);
        malloc_trim(0);
}

static void each_gpu(void *data, uint32_t pid, uint64_t start_ns, uint32_t uid, const char *comm, const struct probes_gpu *sums)
{
        struct state *s = data;

        if (pid != s->head.pid) /* the trial's */
                table_gpu(s->table, pid, start_ns, uid, comm, sums);
}

static int read_gpu(struct state *s, uint64_t now)
{
        int r;

        if (!s->gpu)
                return 0;
        r = gpu_read(s->gpu, each_gpu, s);
        gpu_scan(s->gpu, now);
        gpu_family(s->gpu, &s->head.families[PROBES_GPU]);
        return r;
}

/* --- the snapshot --- */

static void own_figures(struct probes_snapshot *h)
{
        struct rusage usage;
        FILE *f = fopen("/proc/self/statm", "re");
        unsigned long pages = 0;

        if (f && fscanf(f, "%*u %lu", &pages) != 1)
                pages = 0;
        if (f)
                fclose(f);
        h->rss_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
        if (getrusage(RUSAGE_SELF, &usage) == 0)
                h->cpu_ns = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NS_PER_S +
                            (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * NS_PER_US;
}

static int look(struct state *s)
{
        struct probes_snapshot *snapshot scoped_free = NULL;
        uint64_t now = clock_now_ns();
        int r;

        table_turn(s->table, now);
        r = read_files(s);
        if (r == 0)
                r = read_gpu(s, now);
        if (r == 0)
                r = delays_read(s->delays, &s->head);
        if (r < 0)
                return r;
        table_names(s->table, now, NAME_BUDGET, s->files ? name_of : NULL, s->files);
        table_sweep(s->table, now);
        s->head.magic = PROBES_MAGIC;
        s->head.version = PROBES_VERSION;
        s->head.began_ns = s->began_ns;
        s->head.taken_ns = now;
        s->head.window_ns = now - s->turned_ns;
        s->turned_ns = now;
        own_figures(&s->head);
        snapshot = table_snapshot(s->table, &s->head);
        if (snapshot)
                delays_rows(s->delays, snapshot);
        return snapshot ? probes_seal(snapshot, snapshot->bytes) : -ENOMEM;
}

static int apply(struct state *s, const struct probes_options *o)
{
        uint32_t fresh = s->opened ? s->options.asked ^ o->asked : PROBES_EVERY;
        bool files = fresh & 1U << PROBES_FILES || s->options.files_off != o->files_off || s->options.files_forced != o->files_forced ||
                     s->options.refuse != o->refuse || s->options.one_in != o->one_in || s->options.entries != o->entries || s->options.uid != o->uid ||
                     s->options.without_closes != o->without_closes || (s->options.duty_percent < 100) != (o->duty_percent < 100);
        bool gpu = fresh & 1U << PROBES_GPU || s->options.gpu_off != o->gpu_off || s->options.gpu_forced != o->gpu_forced || s->options.refuse != o->refuse ||
                   s->options.launch_permille != o->launch_permille || s->options.period_ns != o->period_ns || s->options.uid != o->uid;

        if (!o->one_in || o->one_in > 1024 || o->entries < 256 || o->entries > 1 << 20 || !o->duty_percent || o->duty_percent > 100 ||
            o->period_ns < NS_PER_MS)
                return -EINVAL;
        delays_apply(s->delays, s->opened ? &s->options : NULL, o, &s->head);
        s->options = *o;
        s->opened = true;
        if (files)
                open_files(s);
        if (gpu)
                open_gpu(s);
        return 0;
}

/* A period begins: the duty cycle of the probes on files, and the window in which launches are counted. */
static void begin_period(struct state *s)
{
        uint64_t now = clock_now_ns(), window = s->gpu ? gpu_begin_window(s->gpu, now) : 0;

        s->close_ns = window ? now + window : 0;
        s->detach_ns = 0;
        if (s->files && files_attach(s->files) == 0 && s->options.duty_percent < 100)
                s->detach_ns = now + s->options.period_ns / 100 * s->options.duty_percent;
}

static bool answer(int fd, struct state *s, const struct probes_request *request)
{
        struct probes_reply reply = {.magic = PROBES_CHILD_MAGIC, .sequence = request->sequence};
        scoped_fd int file = -1;
        int r = apply(s, &request->options);

        if (r == 0)
                r = file = look(s);
        if (r < 0) {
                reply.result = r;
                text_copy_clean(reply.text, sizeof reply.text, error_text(r));
        }
        if (fd_send(fd, &reply, sizeof reply, file, 0) < 0)
                return false;
        begin_period(s);
        return true;
}

static int wait_ms(const struct state *s)
{
        uint64_t now = clock_now_ns(), first = s->detach_ns && (!s->close_ns || s->detach_ns < s->close_ns) ? s->detach_ns : s->close_ns;

        if (!first)
                return -1;
        return first <= now ? 0 : (int)((first - now) / NS_PER_MS + 1);
}

/* What is due between two questions. */
static void carry_on(struct state *s)
{
        uint64_t now = clock_now_ns();

        if (s->detach_ns && now >= s->detach_ns) {
                files_detach(s->files);
                s->detach_ns = 0;
        }
        if (s->close_ns && now >= s->close_ns) {
                gpu_end_window(s->gpu, now);
                s->close_ns = 0;
        }
}

static void serve(int fd, struct state *s)
{
        struct probes_request request;

        for (;;) {
                struct pollfd p = {.fd = fd, .events = POLLIN};
                int r = poll(&p, 1, wait_ms(s));
                ssize_t n;

                if (r < 0 && errno != EINTR)
                        return;
                if (r <= 0) {
                        carry_on(s);
                        continue;
                }
                n = recv(fd, &request, sizeof request, 0);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n != (ssize_t)sizeof request || request.magic != PROBES_CHILD_MAGIC || !answer(fd, s, &request))
                        return;
        }
}

/* Ties this process to the daemon that started it. */
static int begin(void)
{
        struct pollfd end = {.fd = PROBES_CHILD_FD, .events = 0};
        struct rlimit most = {RLIM_INFINITY, RLIM_INFINITY};
        socklen_t size = sizeof(int);
        int type = 0;

        if (getsockopt(PROBES_CHILD_FD, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET)
                return -ENOTSOCK;
        prctl(PR_SET_NAME, "berthd: probes");
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* A terminal signals the whole group; this process ends with the daemon and not before it. */
        signal(SIGINT, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        /* Kernels before 5.11 count maps as locked memory; later ones do not care. */
        (void)setrlimit(RLIMIT_MEMLOCK, &most);
        /* The daemon may have ended before the line above took effect. */
        return poll(&end, 1, 0) > 0 ? -EPIPE : 0;
}

int main(void)
{
        struct state s = {0};
        int r = begin();

        memory_keep_small();
        if (r == -ENOTSOCK) {
                fputs("berth-probes is for berthd alone: it starts its probes process with it\n", stderr);
                return EXIT_FAILURE;
        }
        if (r < 0)
                return EXIT_SUCCESS;
        if (table_new(&s.table) < 0 || delays_new(&s.delays) < 0)
                return EXIT_FAILURE;
        s.began_ns = s.turned_ns = clock_now_ns();
        s.head.pid = (uint32_t)getpid();
        for (size_t i = 0; i < PROBES_FAMILY_N; i++)
                s.head.families[i] = (struct probes_family){.one_in = 1, .window_permille = 1000};
        serve(PROBES_CHILD_FD, &s);
        files_free(s.files);
        gpu_free(s.gpu);
        delays_free(s.delays);
        table_free(s.table);
        return EXIT_SUCCESS;
}
