/* sight-process.c: "berth-look": looks at the machine whenever it is asked to; see sight.h. It reads /proc and asks the node daemon, and changes nothing. */
#include "worker/sight.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "worker/sight-daemon.h"
#include "wire/series.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#define SERIES_MOST 256
#define LEAST_NS (300 * NS_PER_MS) /* between two looks that rates are made of */

struct eyes {
        enum sight_depth depth;
        struct machine machine;
        bool readable;
        struct machine_look looks[2];
        struct machine_rates rates;
        struct machine_processes processes, processes_before;
        struct sight_daemon daemon;
        struct sight_status statuses[2];
        unsigned int turn;
        struct history_set *own; /* what was seen here, for where no daemon keeps it */
        uint64_t clock_offset;   /* from the monotonic clock to the time of day */
        uint64_t cost_ns[PROBES_FAMILY_N], probes_ns;
};

static struct eyes eyes; /* one a process; large */

static void look_at_machine(struct eyes *e)
{
        struct machine_processes fresh;
        bool first = !e->looks[0].taken_ns;

        if (!e->readable)
                return;
        e->looks[1] = e->looks[0];
        machine_look(&e->machine, clock_now_ns(), &e->looks[0]);
        machine_rates(&e->looks[0], first ? NULL : &e->looks[1], &e->rates);
        if (e->own)
                machine_series(e->own, clock_now_ns() + e->clock_offset, &e->looks[0], &e->rates);
        if (e->depth != SIGHT_FIGURES && machine_processes(&e->machine, clock_now_ns(), false, &fresh) == 0) {
                machine_processes_done(&e->processes_before);
                e->processes_before = e->processes;
                e->processes = fresh;
        }
}

static void open_eyes(struct eyes *e, enum sight_depth depth)
{
        struct timespec t;

        e->depth = depth;
        e->daemon.fd = -1;
        e->machine.root = -1;
        e->readable = machine_open(&e->machine, "") == 0;
        clock_gettime(CLOCK_REALTIME, &t);
        e->clock_offset = (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec - clock_now_ns();
        if (history_set_new(history_usual, HISTORY_USUAL_LEVELS, SERIES_MOST, &e->own) < 0)
                e->own = NULL;
        look_at_machine(e);
        if (sight_daemon_status(&e->daemon, &e->statuses[0]) < 0)
                e->statuses[0].taken_ns = 0;
}

static json_t *look_now(struct eyes *e, uint32_t span_s)
{
        __attribute__((cleanup(probes_unmap_at))) const struct probes_snapshot *probes = NULL;
        scoped(history_set_free) struct history_set *kept = NULL;
        struct sight_status *before = &e->statuses[e->turn % 2], *status = &e->statuses[(e->turn + 1) % 2];
        char why[120] = "no node daemon answers";
        struct sight_view v;
        json_t *report;

        look_at_machine(e);
        e->turn++;
        if (sight_daemon_status(&e->daemon, status) < 0)
                status->taken_ns = 0;
        if (status->taken_ns && e->depth != SIGHT_FIGURES && sight_daemon_probes(&e->daemon, &probes, why) < 0)
                probes = NULL;
        if (status->taken_ns && history_set_new(history_usual, HISTORY_USUAL_LEVELS, SERIES_MOST, &kept) == 0 &&
            sight_daemon_history(&e->daemon, clock_now_ns() + e->clock_offset, kept) < 0) {
                history_set_free(kept);
                kept = NULL;
        }
        v = (struct sight_view){
                .depth = e->depth,
                .look = e->readable ? &e->looks[0] : NULL,
                .rates = &e->rates,
                .processes = e->processes.taken_ns ? &e->processes : NULL,
                .processes_before = e->processes_before.taken_ns ? &e->processes_before : NULL,
                .hertz = e->machine.hertz,
                .page = e->machine.page,
                .status = status->taken_ns ? status : NULL,
                /* Another daemon counts from zero. */
                .status_before = status->taken_ns && before->taken_ns && before->daemon.pid == status->daemon.pid ? before : NULL,
                .probes = probes,
                .probes_why = probes ? NULL : why,
                .probes_before_ns = e->probes_ns,
                .history = kept ? kept : e->own,
                .history_ns = clock_now_ns() + e->clock_offset,
        };
        memcpy(v.cost_before_ns, e->cost_ns, sizeof v.cost_before_ns);
        report = sight_json(&v, span_s);
        e->probes_ns = probes ? probes->taken_ns : 0;
        for (uint32_t i = 0; probes && i < PROBES_FAMILY_N; i++)
                e->cost_ns[i] = probes->families[i].cost_ns;
        return report;
}

noreturn void sight_process(int socket, enum sight_depth depth)
{
        struct eyes *e = &eyes;
        sigset_t none;
        uint32_t span_s;

        /* It ends with the worker, however that ends; what is the worker's is not its. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, "berth-look");
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGINT, SIG_IGN); /* of the terminal: the worker's to hear */
        if (dup2(socket, 3) < 0 || close_range(4, ~0U, 0) < 0)
                _exit(1);
        open_eyes(e, depth);
        while (recv(3, &span_s, sizeof span_s, 0) == sizeof span_s) {
                uint64_t since = clock_now_ns() - e->looks[0].taken_ns;
                char *text scoped_free = NULL;
                json_t *report;
                size_t length;

                if (since < LEAST_NS) {
                        const struct timespec pause = {.tv_nsec = (long)(LEAST_NS - since)};

                        (void)nanosleep(&pause, NULL);
                }
                report = look_now(e, span_s);
                text = report ? json_dumps(report, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
                json_decref(report);
                length = text ? strlen(text) : 0;
                if (!length || send(3, text, length, MSG_NOSIGNAL) != (ssize_t)length)
                        break;
        }
        _exit(0);
}
