/* probes.c: the probes process, as long as the settings or somebody's questions want it; see node.h and bpf/remote.h.
 *
 * The loop never waits for it. With observe.probes = asked it is started by the first question and ended a minute after the last: while nobody looks
 * nothing is attached and nothing costs anything.
 */
#define LOG_ROOM "probes"
#include "node/node.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "bpf/ladder.h"
#include "bpf/remote.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define LINGER_NS (60 * NS_PER_S)

_Static_assert(WIRE_PROBE_FAMILIES == PROBES_FAMILY_N, "a question can be about each family");

struct node_probes {
        struct node *node;
        struct probes_remote *remote;
        uv_timer_t timer;
        uv_poll_t poll;
        int handles_open;
        uint64_t last_asked_ns[PROBES_FAMILY_N], timer_ms;
        bool complained;
        uint32_t told[PROBES_FAMILY_N]; /* rung that the log has told of, + 1 */
};

/* The settings' choices are auto, off, then the rungs in order. */
static uint32_t forced(uint32_t choice, uint32_t first)
{
        return choice < 2 ? PROBES_RUNG_NONE : first + choice - 2;
}

/* The families that are to count: bits 1 << family. */
static uint32_t wanted(const struct node_probes *p, uint64_t now)
{
        uint32_t bits = 0;

        if (p->node->settings.probes == SETTINGS_PROBES_ALWAYS)
                return PROBES_EVERY;
        if (p->node->settings.probes == SETTINGS_PROBES_OFF)
                return 0;
        for (uint32_t i = 0; i < PROBES_FAMILY_N; i++)
                if (p->last_asked_ns[i] && now - p->last_asked_ns[i] < LINGER_NS)
                        bits |= 1U << i;
        return bits;
}

static struct probes_options options_of(const struct settings *s, uint32_t asked)
{
        struct probes_options o = {.files_off = s->probes_files == 1, .files_forced = forced(s->probes_files, PROBES_FEXIT),
                                   .gpu_off = s->probes_gpu == 1, .gpu_forced = forced(s->probes_gpu, PROBES_UPROBE_MULTI),
                                   .one_in = (uint32_t)s->probes_one_in, .duty_percent = (uint32_t)s->probes_duty,
                                   .entries = (uint32_t)s->probes_entries, .launch_permille = (uint32_t)s->probes_launch_budget,
                                   .uid = (uint32_t)s->probes_uid, .without_closes = !s->probes_closes, .period_ns = s->probes_period,
                                   .asked = asked, .block_off = s->probes_block == 1, .block_forced = forced(s->probes_block, PROBES_TP_BTF),
                                   .sched_off = s->probes_sched == 1, .sched_forced = forced(s->probes_sched, PROBES_TP_BTF),
                                   .syscalls_off = s->probes_syscalls == 0, .syscalls_forced = forced(s->probes_syscalls, PROBES_TP_BTF)};
        const char *word;

        (void)!ladder_parse_rungs(s->probes_refuse, &o.refuse, &word); /* settings_check has */
        return o;
}

static void tell(struct node_probes *p, const struct probes_snapshot *s)
{
        for (uint32_t i = 0; i < PROBES_FAMILY_N; i++) {
                const struct probes_family *f = &s->families[i];

                if (p->told[i] == f->rung + 1)
                        continue;
                p->told[i] = f->rung + 1;
                if (f->state == PROBES_ATTACHED)
                        log_info("%s: counted by %s", probes_family_name(i), probes_rung_name(f->rung));
                else if (f->state == PROBES_UNAVAILABLE)
                        log_notice("%s: not counted: %s", probes_family_name(i),
                                   f->refused_count ? f->refused[f->refused_count - 1].text : "nothing to try");
        }
}

static void hear(struct node_probes *p)
{
        enum probes_news news;

        while ((news = probes_remote_take(p->remote, clock_now_ns())) != PROBES_NO_NEWS) {
                if (news == PROBES_CAME) {
                        p->complained = false;
                        tell(p, probes_remote_last(p->remote, NULL));
                } else if (!p->complained) {
                        p->complained = true;
                        log_warning("%s; what probes count is unavailable until another process has answered", probes_remote_why(p->remote));
                }
        }
}

static void on_timer(uv_timer_t *timer)
{
        struct node_probes *p = timer->data;
        uint64_t now = clock_now_ns();
        uint32_t asked = wanted(p, now);
        struct probes_options o = options_of(&p->node->settings, asked);

        hear(p);
        if (asked) {
                probes_remote_ask(p->remote, now, p->node->settings.probes_answer, &o);
                return;
        }
        probes_remote_stop(p->remote);
        memset(p->told, 0, sizeof p->told);
        uv_timer_stop(timer);
        p->timer_ms = 0;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
        (void)status;
        (void)events;
        hear(poll->data);
}

void node_probes_changed(struct node_probes *p)
{
        uint64_t ms = p ? p->node->settings.probes_period / NS_PER_MS : 0;

        if (!p || (!wanted(p, clock_now_ns()) && !p->timer_ms) || p->timer_ms == ms)
                return;
        p->timer_ms = ms;
        uv_timer_start(&p->timer, on_timer, 0, ms);
}

void node_probes_keeper(struct node_probes *p, int keeper)
{
        probes_remote_keeper(p->remote, keeper);
}

/* A descriptor of what this user may see of the snapshot behind fd, the caller's; or -errno. */
static int copy_for(int fd, uid_t uid)
{
        scoped(probes_unmap) const struct probes_snapshot *all = NULL;
        int r;

        if (uid == 0 || uid == geteuid()) {
                r = fcntl(fd, F_DUPFD_CLOEXEC, 0);
                return r < 0 ? -errno : r;
        }
        r = probes_map(fd, &all);
        return r < 0 ? r : probes_for_user(all, uid);
}

int node_probes_answer(struct node_probes *p, uid_t uid, uint32_t families, int *ret_fd, char message[160])
{
        const struct probes_snapshot *s;
        int fd = -1, r;

        if (!p || p->node->settings.probes == SETTINGS_PROBES_OFF) {
                snprintf(message, 160, "observe.probes is off in the settings");
                return -E_UNAVAILABLE;
        }
        if (!families)
                families = PROBES_USUAL;
        for (uint32_t i = 0; i < PROBES_FAMILY_N; i++)
                if (families & 1U << i)
                        p->last_asked_ns[i] = clock_now_ns();
        node_probes_changed(p);
        s = probes_remote_last(p->remote, &fd);
        if (!s) {
                const char *why = probes_remote_why(p->remote);

                snprintf(message, 160, "%.150s", why[0] ? why : "the probes have just been started; ask again in a second");
                return why[0] ? -E_UNAVAILABLE : -EAGAIN;
        }
        for (uint32_t i = 0; i < PROBES_FAMILY_N; i++)
                if (families & 1U << i && s->families[i].state == PROBES_NOT_ASKED) {
                        snprintf(message, 160, "the probes have just been started; ask again in a second");
                        return -EAGAIN;
                }
        r = copy_for(fd, uid);
        if (r < 0) {
                snprintf(message, 160, "no copy of what probes counted: %s", error_text(r));
                return r;
        }
        *ret_fd = r;
        return 0;
}

static void one_closed(uv_handle_t *handle)
{
        struct node_probes *p = handle->data;

        if (--p->handles_open)
                return;
        probes_remote_free(p->remote);
        free(p);
}

int node_probes_new(struct node *node, struct node_probes **ret)
{
        struct node_probes *p = calloc(1, sizeof *p);
        int r = p ? probes_remote_new(-1, &p->remote) : -ENOMEM;

        if (r == 0)
                r = uv_timer_init(node->loop, &p->timer);
        if (r < 0) {
                if (p)
                        probes_remote_free(p->remote);
                free(p);
                return r;
        }
        p->node = node;
        p->timer.data = p->poll.data = p;
        p->handles_open = 1;
        r = uv_poll_init(node->loop, &p->poll, probes_remote_fd(p->remote));
        if (r < 0) {
                uv_close((uv_handle_t *)&p->timer, one_closed);
                return r;
        }
        p->handles_open = 2;
        uv_poll_start(&p->poll, UV_READABLE, on_readable);
        node_probes_changed(p);
        *ret = p;
        return 0;
}

void node_probes_free(struct node_probes *p)
{
        if (!p)
                return;
        /* The process ends now; the descriptor that the loop watches only with the handles. */
        probes_remote_stop(p->remote);
        uv_close((uv_handle_t *)&p->poll, one_closed);
        uv_close((uv_handle_t *)&p->timer, one_closed);
}
