/* lend.c: arena segments on their way to programs and back; see node.h and arena.h.
 *
 * A program asks for host memory in all; segments follow as they are ready, oldest connection first. What it may hold is bounded by what it could ever
 * have on its devices. Where the arena can't hold all, each has a bound (places.h), known to the gate; what a program has beyond it is asked back when
 * another needs it. When a connection ends, the process may still use its segments (it runs on without a daemon): they
 * stay its own, as a ghost, until it ends or comes back.
 */
#define LOG_ROOM "arena"
#include "node/node.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "node/places.h"

#include <stdlib.h>
#include <string.h>

/* Nobody can need more host memory than it may have on its devices, and a segment that is partly used. */
static uint64_t cap(const struct client *c)
{
        uint64_t bytes = 0;

        for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++)
                if (c->devices[i])
                        bytes += c->node->devices[c->devices[i]->device].info.total_bytes + c->node->segment;
        return bytes;
}

static uint64_t least(uint64_t a, uint64_t b)
{
        return a < b ? a : b;
}

static bool contended(const struct client *c)
{
        for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++)
                if (c->devices[i] && gate_contended(c->node->gate, c->devices[i]->device))
                        return true;
        return false;
}

/* What all programs of a device together need beyond its room: more of it is never out at once, so more places are of no use. One of them may be about
 * to need more than the gate knows. */
static void measure_over(struct node *n, const struct client_device *growing, uint64_t need)
{
        uint64_t now = clock_now_ns(), needed[WIRE_MAX_DEVICES] = {0};

        for (const struct client *c = n->clients; c; c = c->next)
                for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++) {
                        const struct client_device *d = c->devices[i];
                        struct gate_client_view view;

                        if (!d || !gate_view_client(n->gate, now, d->gate, &view))
                                continue;
                        if (d == growing && need > view.need)
                                view.need = need;
                        needed[d->device] += (view.need > view.grant ? view.need : view.grant) + view.part;
                }
        for (uint32_t i = 0; i < n->devices_n; i++) {
                struct gate_device_view device;

                /* Places are whole units in whole segments: one more of these covers the rounding. */
                if (!gate_view_device(n->gate, now, i, &device) || needed[i] <= device.room)
                        n->over[i] = 0;
                else
                        n->over[i] = needed[i] - device.room + n->segment;
        }
}

static uint64_t overcommitted(const struct client *c)
{
        uint64_t sum = 0;

        for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++)
                sum += c->devices[i] ? c->node->over[c->devices[i]->device] : 0;
        return sum;
}

/* What of it can leave: what it has asked places for, or will ask for once it has what it declared or is about to want. */
static struct places_program describe(const struct client *c, const struct client_device *growing, uint64_t need)
{
        struct places_program p = {0};
        uint64_t expected = 0;

        for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++) {
                const struct client_device *d = c->devices[i];
                struct gate_client_view view;

                if (!d || d->storage)
                        continue;
                p.devices |= UINT64_C(1) << d->device;
                if (gate_view_client(c->node->gate, clock_now_ns(), d->gate, &view))
                        expected += d == growing && need > view.need ? need : view.need;
        }
        p.wanted = least(c->host_wanted > expected ? c->host_wanted : expected, cap(c));
        return p;
}

/* All of them, in the order of n->clients; NULL: out of memory. The caller frees it. */
static struct places_program *describe_all(struct node *n, const struct client_device *growing, uint64_t need, size_t *ret_count)
{
        struct places_program *programs;
        size_t count = 0, i = 0;

        measure_over(n, growing, need);
        for (const struct client *c = n->clients; c; c = c->next)
                count += !c->doomed;
        programs = calloc(count + 1, sizeof *programs);
        if (!programs)
                return NULL;
        for (const struct client *c = n->clients; c; c = c->next)
                if (!c->doomed)
                        programs[i++] = describe(c, growing, need);
        *ret_count = count;
        return programs;
}

uint64_t lend_needed(struct node *n)
{
        struct places_program *programs scoped_free = NULL;
        struct arena_stats stats;
        uint64_t needed;
        size_t count;

        programs = describe_all(n, NULL, 0, &count);
        if (!programs)
                return 0;
        arena_stats(n->arena, &stats);
        needed = places_needed(programs, count, n->over, n->segment);
        return needed > stats.budget ? needed : 0;
}

/* Bounds for all; true when one of them changed. */
static bool share_out(struct node *n, const struct client_device *growing, uint64_t need)
{
        struct places_program *programs scoped_free = NULL;
        struct arena_stats stats;
        bool changed = false;
        size_t count, i = 0;

        programs = describe_all(n, growing, need, &count);
        if (!programs)
                return false;
        arena_stats(n->arena, &stats);
        places_share(programs, count, n->over, stats.budget, n->segment);
        for (struct client *c = n->clients; c; c = c->next) {
                if (c->doomed)
                        continue;
                changed |= c->host_places != programs[i].places;
                c->host_places = programs[i++].places;
                for (uint32_t k = 0; k < WIRE_MAX_DEVICES; k++)
                        if (c->devices[k] && !c->devices[k]->storage)
                                gate_places(n->gate, clock_now_ns(), c->devices[k]->gate, c->host_places);
        }
        return changed;
}

void lend_expect(struct client *c, const struct client_device *d, uint64_t need)
{
        share_out(c->node, d, need);
}

/* Host memory is handed out ahead of need, so that the first switch finds it pinned: all that is wanted, if the arena has that much. Otherwise no
 * program alone may take what others will need: ahead, everyone gets an equal share with one share left over; beyond that, what
 * overcommitment makes necessary. */
static uint64_t missing(const struct client *c)
{
        uint64_t wanted = least(c->host_wanted, cap(c)), share, needed;
        struct arena_stats stats;
        uint64_t programs = 1, all = 0;

        if (c->doomed || wanted <= c->host_lent)
                return 0;
        for (const struct client *o = c->node->clients; o; o = o->next) {
                programs += o->host_wanted > 0;
                all += least(o->host_wanted, cap(o)) + c->node->segment; /* the last one is never full */
        }
        arena_stats(c->node->arena, &stats);
        if (c->host_places != PLACES_UNBOUNDED) {
                wanted = c->node->settings.arena_eager || contended(c) ? least(wanted, c->host_places) : 0;
                return wanted > c->host_lent ? wanted - c->host_lent : 0;
        }
        share = !c->node->settings.arena_eager ? 0 : all <= stats.budget ? wanted : stats.budget / programs;
        needed = c->node->settings.arena_eager || contended(c) ? overcommitted(c) : 0;
        wanted = least(wanted, share > needed ? share : needed);
        return wanted > c->host_lent ? wanted - c->host_lent : 0;
}

static void refuse(struct client *c, uint64_t short_bytes)
{
        char a[16], b[16], d[16], e[16];
        struct arena_stats s;
        uint64_t needed;

        if (c->host_refused)
                return;
        c->host_refused = true;
        arena_stats(c->node->arena, &s);
        needed = lend_needed(c->node);
        text_bytes(needed ? needed : s.budget + short_bytes, e, sizeof e);
        client_error(c, -E_ARENA, WIRE_HOST, 0, UINT32_MAX,
                     "host arena: %s more wanted; %s of %s are lent; programs wait for each other to end. "
                     "Set arena.size to at least %s or end something",
                     text_bytes(short_bytes, a, sizeof a), text_bytes(s.lent, b, sizeof b), text_bytes(s.budget, d, sizeof d), e);
        log_warning("client=%u pid=%d wants %s more host memory; %s of %s are lent: set arena.size to at least %s", c->number, (int)c->pid, a, b, d, e);
}

/* True: go on with this client. */
static bool lend_one(struct client *c)
{
        struct arena_segment segment;
        struct wire_message m = {0};
        int r = arena_lend(c->node->arena, c->uid, c->owner, &segment);

        if (r == -E_ARENA && c->host_places == PLACES_UNBOUNDED) /* else it comes back from others, and what is there suffices */
                refuse(c, missing(c));
        if (r < 0)
                return false;
        c->host_lent += segment.bytes;
        c->host_refused = false;
        m.SEGMENT = (struct wire_SEGMENT){.bytes = segment.bytes, .segment = segment.number};
        client_send(c, WIRE_SEGMENT, &m, segment.fd);
        return true;
}

/* A program that does not answer RECALL for so long is passed over until it does. */
#define RECALL_PATIENCE_NS (5 * NS_PER_S)

/* Places beyond somebody's bound are asked back for those who lack some: one program at a time, from the one with the most. */
static void recall(struct node *n, uint64_t lacking)
{
        uint64_t now = clock_now_ns(), most = 0;
        struct wire_message m = {0};
        struct client *rich = NULL;

        for (struct client *c = n->clients; c; c = c->next) {
                uint64_t beyond = c->host_places < c->host_lent ? c->host_lent - c->host_places : 0;

                if (c->doomed)
                        continue;
                if (c->recalling && now < c->recall_at)
                        return;
                if (!c->recalling && beyond > most && now >= c->recall_at) {
                        most = beyond;
                        rich = c;
                }
        }
        if (!rich)
                return;
        rich->recalling = true;
        rich->recall_at = now + RECALL_PATIENCE_NS;
        rich->recall_lent = rich->host_lent;
        m.RECALL.bytes = least(most, lacking);
        client_send(rich, WIRE_RECALL, &m, -1);
}

void lend_recalled(struct client *c, const struct wire_message *m)
{
        if (!c->recalling) {
                client_fault(c, &m->header, UINT32_MAX, "nothing was asked back");
                return;
        }
        c->recalling = false;
        /* What came back counts, not what it says came back: who returns nothing is not asked again and again. */
        c->recall_at = c->host_lent < c->recall_lent ? 0 : clock_now_ns() + NS_PER_S;
}

void lend_serve(struct node *n)
{
        struct client *oldest[64];
        struct arena_stats stats;
        uint64_t wanted = 0;
        size_t count = 0;
        bool changed = share_out(n, NULL, 0);

        /* The list has the newest first; a round serves the oldest few that miss something. */
        for (struct client *c = n->clients; c; c = c->next) {
                if (!missing(c))
                        continue;
                wanted += missing(c);
                memmove(oldest + 1, oldest, (count < ARRAY_SIZE(oldest) ? count : ARRAY_SIZE(oldest) - 1) * sizeof oldest[0]);
                oldest[0] = c;
                count += count < ARRAY_SIZE(oldest);
        }
        arena_want(n->arena, wanted);
        for (size_t i = 0; i < count; i++)
                while (missing(oldest[i]) && lend_one(oldest[i]))
                        ;
        arena_stats(n->arena, &stats);
        wanted = 0;
        for (const struct client *c = n->clients; c; c = c->next)
                wanted += missing(c);
        if (wanted > stats.free)
                recall(n, wanted - stats.free);
        if (changed || stats.free != n->arena_told) {
                n->arena_told = stats.free;
                gate_arena(n->gate, clock_now_ns(), stats.free);
        }
        if (stats.lent > stats.budget && !n->budget_warned)
                log_warning("programs of an earlier daemon hold more host memory than arena.size allows; nothing more is lent until they end");
        n->budget_warned = stats.lent > stats.budget;
}

void lend_wanted(struct client *c, uint64_t bytes)
{
        c->host_wanted = bytes;
}

void lend_return(struct client *c, const struct wire_message *m)
{
        if (arena_return(c->node->arena, c->owner, m->SEGMENT_BACK.segment) < 0) {
                client_fault(c, &m->header, UINT32_MAX, "this segment is not lent to you");
                return;
        }
        c->host_lent = arena_lent_to(c->node->arena, c->owner);
        c->host_refused = false;
}

static struct ghost *find_ghost(const struct node *n, pid_t pid, uid_t uid)
{
        for (struct ghost *g = n->ghosts; g; g = g->next)
                if (g->pid == pid && g->uid == uid)
                        return g;
        return NULL;
}

void lend_adopt(struct client *c, const struct wire_message *m, int fd)
{
        struct ghost *ghost = find_ghost(c->node, c->pid, c->uid);
        uint64_t before = ghost ? ghost->owner : c->owner;
        struct wire_message answer = {0};
        uint64_t most = 0;
        uint32_t number;
        int r;

        if (!c->resumes || fd < 0) {
                client_fault(c, &m->header, UINT32_MAX, "only a resumed connection has segments, with a descriptor each");
                return;
        }
        for (uint32_t i = 0; i < c->node->devices_n; i++)
                most += c->node->devices[i].info.total_bytes + c->node->segment;
        if (m->SEGMENT_HAVE.bytes > most || c->host_lent > most - m->SEGMENT_HAVE.bytes) {
                client_fault(c, &m->header, UINT32_MAX, "more host memory than all devices could have filled");
                return;
        }
        /* The end of the old connection may not have been seen yet. */
        for (struct client *o = c->node->clients; o && !ghost; o = o->next)
                if (o != c && o->pid == c->pid && o->uid == c->uid)
                        before = o->owner;
        r = arena_adopt(c->node->arena, c->uid, c->owner, before, fd, m->SEGMENT_HAVE.bytes, &number);
        if (r < 0) {
                client_fault(c, &m->header, UINT32_MAX, r == -EBUSY ? "lent to another program" : "not a segment of an arena");
                return;
        }
        c->host_lent = arena_lent_to(c->node->arena, c->owner);
        answer.SEGMENT_KNOWN = (struct wire_SEGMENT_KNOWN){.old_segment = m->SEGMENT_HAVE.segment, .segment = number};
        client_send(c, WIRE_SEGMENT_KNOWN, &answer, -1);
}

static void close_poll(uv_handle_t *handle)
{
        free(handle);
}

static void free_ghost(struct ghost *ghost)
{
        struct ghost **p = &ghost->node->ghosts;

        while (*p != ghost)
                p = &(*p)->next;
        *p = ghost->next;
        if (ghost->poll) {
                uv_poll_stop(ghost->poll);
                uv_close((uv_handle_t *)ghost->poll, close_poll);
        }
        fd_close_at(&ghost->pidfd);
        free(ghost);
}

static void on_end(uv_poll_t *poll, int status, int events)
{
        struct ghost *ghost = poll->data;
        struct node *n = ghost->node;
        char text[16];
        uint64_t bytes = arena_orphan(n->arena, ghost->owner, true);

        if (bytes)
                log_info("pid=%d ended: %s of host memory are back", (int)ghost->pid, text_bytes(bytes, text, sizeof text));
        free_ghost(ghost);
        node_turn(n);
}

void lend_greeted(struct client *c)
{
        struct ghost *ghost;

        /* A process that starts over, by exec, has no mapping of the old segments. */
        while (!c->resumes && (ghost = find_ghost(c->node, c->pid, c->uid))) {
                (void)arena_orphan(c->node->arena, ghost->owner, true);
                free_ghost(ghost);
        }
}

void lend_gone(struct client *c)
{
        struct ghost *ghost;

        if (!c->host_lent)
                return;
        ghost = c->pidfd >= 0 && c->poll ? calloc(1, sizeof *ghost) : NULL;
        if (ghost)
                ghost->poll = calloc(1, sizeof *ghost->poll);
        if (!ghost || !ghost->poll || uv_poll_init(c->node->loop, ghost->poll, c->pidfd) < 0) {
                if (ghost)
                        free(ghost->poll);
                free(ghost);
                (void)arena_orphan(c->node->arena, c->owner, false);
                return;
        }
        ghost->node = c->node;
        ghost->pidfd = take_fd(c->pidfd);
        ghost->pid = c->pid;
        ghost->uid = c->uid;
        ghost->owner = c->owner;
        ghost->poll->data = ghost;
        ghost->next = c->node->ghosts;
        c->node->ghosts = ghost;
        if (uv_poll_start(ghost->poll, UV_READABLE, on_end) < 0) {
                (void)arena_orphan(c->node->arena, ghost->owner, false);
                free_ghost(ghost);
        }
}

void lend_free_ghosts(struct node *n)
{
        while (n->ghosts)
                free_ghost(n->ghosts);
}

uint32_t lend_ghosts_of(const struct node *n, uid_t uid)
{
        uint32_t count = 0;

        for (struct ghost *g = n->ghosts; g; g = g->next)
                count += g->uid == uid;
        return count;
}
