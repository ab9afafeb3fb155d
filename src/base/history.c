/* history.c: rings of slots, one for each level of a series, and a table of series; see history.h.
 *
 * The newest slot of a ring is the one that is being measured: it always holds the mean of what came so far, so reading needs no special case.
 * Before newest is moved on, the slots that are passed over are emptied; so a slot of the ring is valid exactly when it is within its length of
 * newest and holds a number.
 */
#include "base/history.h"

#include "base/error.h"
#include "base/strbuf.h"
#include "base/text.h"

#include <string.h>

const struct history_level history_usual[HISTORY_USUAL_LEVELS] = {
        {UINT64_C(1000000000), 600},
        {UINT64_C(10000000000), 1080},
        {UINT64_C(300000000000), 2016},
};

static const struct history_point nothing = {__builtin_nanf(""), __builtin_nanf("")};

struct ring {
        struct history_level level;
        uint64_t newest; /* the slot that is being measured */
        bool begun;
        uint32_t values; /* that came for it */
        double sum;
        struct history_point *points;
};

struct history {
        size_t levels;
        struct ring rings[HISTORY_MAX_LEVELS];
        struct history_point points[];
};

/* --- one series --- */

static int levels_check(const struct history_level *levels, size_t count)
{
        if (!count || count > HISTORY_MAX_LEVELS)
                return -EINVAL;
        for (size_t i = 0; i < count; i++)
                if (!levels[i].step_ns || !levels[i].slots || levels[i].slots > HISTORY_MAX_SLOTS ||
                    (i && levels[i].step_ns <= levels[i - 1].step_ns))
                        return -EINVAL;
        return 0;
}

int history_new(const struct history_level *levels, size_t count, struct history **ret)
{
        size_t slots = 0, at = 0;
        struct history *h;

        if (levels_check(levels, count) < 0)
                return -EINVAL;
        for (size_t i = 0; i < count; i++)
                slots += levels[i].slots;
        h = calloc(1, sizeof *h + slots * sizeof h->points[0]);
        if (!h)
                return -ENOMEM;
        h->levels = count;
        for (size_t i = 0; i < count; i++) {
                h->rings[i] = (struct ring){.level = levels[i], .points = h->points + at};
                at += levels[i].slots;
        }
        *ret = h;
        return 0;
}

void history_free(struct history *history)
{
        free(history);
}

size_t history_bytes(const struct history *history)
{
        size_t bytes = sizeof *history;

        for (size_t i = 0; i < history->levels; i++)
                bytes += history->rings[i].level.slots * sizeof(struct history_point);
        return bytes;
}

static struct history_point *point_of(const struct ring *r, uint64_t slot)
{
        return &r->points[slot % r->level.slots];
}

/* The first slot that the ring still holds. */
static uint64_t oldest(const struct ring *r)
{
        return r->newest >= r->level.slots ? r->newest - r->level.slots + 1 : 0;
}

static void begin(struct ring *r)
{
        for (uint32_t i = 0; i < r->level.slots; i++)
                r->points[i] = nothing;
        r->begun = true;
}

static bool advance(struct ring *r, uint64_t slot)
{
        if (!r->begun) {
                begin(r);
                r->newest = slot;
        } else if (slot < r->newest) {
                return false;
        } else if (slot > r->newest) {
                uint64_t passed = slot - r->newest;

                for (uint64_t i = 0; i < passed && i < r->level.slots; i++)
                        *point_of(r, slot - i) = nothing;
                r->newest = slot;
                r->values = 0;
                r->sum = 0;
        }
        return true;
}

void history_put(struct history *history, uint64_t now_ns, double value)
{
        const float most = 3.0e38f;
        bool known = value == value && value <= (double)most && value >= -(double)most;

        for (size_t i = 0; i < history->levels; i++) {
                struct ring *r = &history->rings[i];
                struct history_point *p;

                if (!advance(r, now_ns / r->level.step_ns) || !known)
                        continue;
                p = point_of(r, r->newest);
                r->sum += value;
                r->values++;
                p->most = r->values == 1 || (float)value > p->most ? (float)value : p->most;
                p->mean = (float)(r->sum / r->values);
        }
}

size_t history_levels(const struct history *history)
{
        return history->levels;
}

struct history_level history_level(const struct history *history, size_t level)
{
        return history->rings[level].level;
}

struct history_point history_at(const struct history *history, size_t level, uint64_t slot)
{
        const struct ring *r = &history->rings[level];

        return r->begun && slot <= r->newest && slot >= oldest(r) ? *point_of(r, slot) : nothing;
}

static struct history_point column_of(const struct ring *r, uint64_t first, uint64_t last)
{
        struct history_point column = nothing;
        double sum = 0;
        uint32_t values = 0;

        if (!r->begun || first > r->newest || last < oldest(r))
                return nothing;
        first = first < oldest(r) ? oldest(r) : first;
        last = last > r->newest ? r->newest : last;
        for (uint64_t slot = first; slot <= last; slot++) {
                struct history_point p = *point_of(r, slot);

                if (!history_known(p))
                        continue;
                sum += p.mean;
                column.most = !values || p.most > column.most ? p.most : column.most;
                values++;
        }
        if (values)
                column.mean = (float)(sum / values);
        return column;
}

uint64_t history_plot(const struct history *history, uint64_t now_ns, uint64_t span_ns, struct history_point *columns, size_t count)
{
        const struct ring *r = &history->rings[0];
        uint64_t steps, last;

        if (!count)
                return 0;
        for (size_t i = 1; i < history->levels && r->level.step_ns * r->level.slots < span_ns; i++)
                r = &history->rings[i];
        steps = span_ns / count / r->level.step_ns;
        steps += !steps || span_ns / count > steps * r->level.step_ns;
        last = now_ns / r->level.step_ns / steps;
        for (size_t i = 0; i < count; i++) {
                uint64_t back = count - 1 - i;

                columns[i] = back > last ? nothing : column_of(r, (last - back) * steps, (last - back) * steps + steps - 1);
        }
        return steps * r->level.step_ns;
}

/* --- series by name --- */

struct series {
        char name[HISTORY_NAME];
        uint64_t last_ns;
        struct history *history;
};

struct history_set {
        size_t levels, max, count;
        uint64_t refused;
        struct history_level level[HISTORY_MAX_LEVELS];
        struct series series[];
};

int history_set_new(const struct history_level *levels, size_t count, size_t max_series, struct history_set **ret)
{
        struct history_set *set;

        if (levels_check(levels, count) < 0)
                return -EINVAL;
        set = calloc(1, sizeof *set + max_series * sizeof set->series[0]);
        if (!set)
                return -ENOMEM;
        set->levels = count;
        set->max = max_series;
        memcpy(set->level, levels, count * sizeof *levels);
        *ret = set;
        return 0;
}

static void empty(struct history_set *set)
{
        for (size_t i = 0; i < set->count; i++)
                history_free(set->series[i].history);
        set->count = 0;
}

void history_set_free(struct history_set *set)
{
        if (set)
                empty(set);
        free(set);
}

static struct series *find(const struct history_set *set, const char *name)
{
        for (size_t i = 0; i < set->count; i++)
                if (!strcmp(set->series[i].name, name))
                        return (struct series *)&set->series[i];
        return NULL;
}

static void forget(struct history_set *set, struct series *s)
{
        size_t index = (size_t)(s - set->series);

        history_free(s->history);
        memmove(s, s + 1, (set->count - index - 1) * sizeof *s);
        set->count--;
}

static int make_room(struct history_set *set, uint64_t now_ns)
{
        struct series *least = NULL;

        if (set->count < set->max)
                return 0;
        for (size_t i = 0; i < set->count; i++)
                if (!least || set->series[i].last_ns < least->last_ns)
                        least = &set->series[i];
        if (!least || now_ns < least->last_ns || now_ns - least->last_ns < set->level[0].step_ns * set->level[0].slots) {
                set->refused++;
                return -ENOSPC;
        }
        forget(set, least);
        return 0;
}

static int add(struct history_set *set, const char *name, struct series **ret)
{
        struct series *s = &set->series[set->count];
        int r;

        *s = (struct series){0};
        r = history_new(set->level, set->levels, &s->history);
        if (r < 0)
                return r;
        text_copy_clean(s->name, sizeof s->name, name);
        set->count++;
        *ret = s;
        return 0;
}

int history_set_put(struct history_set *set, const char *name, uint64_t now_ns, double value)
{
        struct series *s = find(set, name);
        int r;

        if (!s) {
                if (!name[0] || !text_is_clean(name, HISTORY_NAME))
                        return -EINVAL;
                r = make_room(set, now_ns);
                if (r == 0)
                        r = add(set, name, &s);
                if (r < 0)
                        return r;
        }
        if (now_ns > s->last_ns)
                s->last_ns = now_ns;
        history_put(s->history, now_ns, value);
        return 0;
}

const struct history *history_set_find(const struct history_set *set, const char *name)
{
        const struct series *s = find(set, name);

        return s ? s->history : NULL;
}

void history_set_forget(struct history_set *set, const char *name)
{
        struct series *s = find(set, name);

        if (s)
                forget(set, s);
}

size_t history_set_count(const struct history_set *set)
{
        return set->count;
}

const char *history_set_name(const struct history_set *set, size_t index)
{
        return index < set->count ? set->series[index].name : NULL;
}

const struct history *history_set_at(const struct history_set *set, size_t index)
{
        return index < set->count ? set->series[index].history : NULL;
}

uint64_t history_set_refused(const struct history_set *set)
{
        return set->refused;
}

/* --- bytes ---
 *
 * A head with the levels, then each series: its name, then for each level the newest slot and the points up to it, oldest first; last a sum over all
 * before it. Numbers are as the machine has them: bytes of a machine of the other order have another magic number.
 */

#define MAGIC UINT32_C(0x42484953)
#define VERSION 1

struct head {
        uint32_t magic, version, levels, series;
        struct history_level level[HISTORY_MAX_LEVELS];
};

struct part {
        uint64_t newest;
        uint32_t points, begun;
};

_Static_assert(sizeof(struct head) == 16 + 16 * HISTORY_MAX_LEVELS && sizeof(struct part) == 16, "no padding but in levels");

/* FNV-1a: finds what a torn write or a bad disk leaves; it is no protection against forgery. */
static uint64_t sum_of(const char *bytes, size_t count)
{
        uint64_t sum = UINT64_C(0xcbf29ce484222325);

        for (size_t i = 0; i < count; i++)
                sum = (sum ^ (uint8_t)bytes[i]) * UINT64_C(0x100000001b3);
        return sum;
}

static void fill_head(const struct history_set *set, struct head *head)
{
        memset(head, 0, sizeof *head);
        head->magic = MAGIC;
        head->version = VERSION;
        head->levels = (uint32_t)set->levels;
        head->series = (uint32_t)set->count;
        for (size_t i = 0; i < set->levels; i++) {
                head->level[i].step_ns = set->level[i].step_ns;
                head->level[i].slots = set->level[i].slots;
        }
}

static void save_ring(struct strbuf *b, const struct ring *r)
{
        struct part part = {0};

        if (r->begun)
                part = (struct part){.newest = r->newest, .points = (uint32_t)(r->newest - oldest(r) + 1), .begun = 1};
        strbuf_put(b, (const char *)&part, sizeof part);
        for (uint32_t i = 0; i < part.points; i++)
                strbuf_put(b, (const char *)point_of(r, oldest(r) + i), sizeof(struct history_point));
}

/* Of one series, at most. */
static size_t series_bytes(const struct history_set *set)
{
        size_t bytes = HISTORY_NAME + set->levels * sizeof(struct part);

        for (size_t i = 0; i < set->levels; i++)
                bytes += set->level[i].slots * sizeof(struct history_point);
        return bytes;
}

int history_set_save(const struct history_set *set, char **ret, size_t *ret_bytes)
{
        struct strbuf b = {0};
        struct head head;
        uint64_t sum;

        fill_head(set, &head);
        /* At once: what grows step by step is copied, and leaves holes. */
        (void)strbuf_reserve(&b, sizeof head + set->count * series_bytes(set) + sizeof sum);
        strbuf_put(&b, (const char *)&head, sizeof head);
        for (size_t i = 0; i < set->count; i++) {
                strbuf_put(&b, set->series[i].name, HISTORY_NAME);
                for (size_t k = 0; k < set->levels; k++)
                        save_ring(&b, &set->series[i].history->rings[k]);
        }
        sum = b.failed ? 0 : sum_of(b.text, b.length);
        strbuf_put(&b, (const char *)&sum, sizeof sum);
        if (b.failed) {
                strbuf_done(&b);
                return -ENOMEM;
        }
        *ret = b.text;
        *ret_bytes = b.length;
        return 0;
}

static bool read_bytes(const char **at, size_t *left, void *to, size_t count)
{
        if (*left < count)
                return false;
        memcpy(to, *at, count);
        *at += count;
        *left -= count;
        return true;
}

static bool load_ring(struct ring *r, uint64_t now_ns, const char **at, size_t *left)
{
        uint64_t now = now_ns / r->level.step_ns;
        struct part part;

        if (!read_bytes(at, left, &part, sizeof part) || part.begun > 1 || part.points > r->level.slots ||
            (part.begun ? !part.points || part.newest + 1 < part.points : part.points || part.newest) || *left / sizeof *r->points < part.points)
                return false;
        for (uint32_t i = 0; i < part.points; i++) {
                uint64_t slot = part.newest - part.points + 1 + i;
                struct history_point p;

                (void)read_bytes(at, left, &p, sizeof p);
                if (p.mean - p.mean != 0 && history_known(p)) /* infinite */
                        return false;
                if (history_known(p) && !(p.most >= p.mean - 1e-3f * __builtin_fabsf(p.mean) && p.most - p.most == 0))
                        return false;
                if (slot > now || now - slot >= r->level.slots)
                        continue;
                if (!advance(r, slot))
                        return false;
                *point_of(r, slot) = history_known(p) ? p : nothing;
                r->values = history_known(p);
                r->sum = history_known(p) ? p.mean : 0;
        }
        return true;
}

static int load_series(struct history_set *set, uint64_t now_ns, const char **at, size_t *left)
{
        char name[HISTORY_NAME];
        struct series *s;
        int r;

        if (!read_bytes(at, left, name, sizeof name) || !name[0] || !text_is_clean(name, sizeof name) || find(set, name))
                return -E_MESSAGE;
        r = add(set, name, &s);
        if (r < 0)
                return r;
        for (size_t k = 0; k < set->levels; k++)
                if (!load_ring(&s->history->rings[k], now_ns, at, left))
                        return -E_MESSAGE;
        s->last_ns = s->history->rings[0].begun ? s->history->rings[0].newest * set->level[0].step_ns : 0;
        return 0;
}

int history_set_load(struct history_set *set, uint64_t now_ns, const char *bytes, size_t count)
{
        struct head head, ours;
        size_t left = count;
        uint64_t sum;
        int r = 0;

        if (set->count)
                return -EEXIST;
        if (count < sizeof head + sizeof sum)
                return -E_MESSAGE;
        (void)read_bytes(&bytes, &left, &head, sizeof head);
        fill_head(set, &ours);
        ours.series = head.series;
        if (head.magic != MAGIC)
                return -E_MESSAGE;
        memcpy(&sum, bytes + left - sizeof sum, sizeof sum);
        if (sum != sum_of(bytes - sizeof head, count - sizeof sum))
                return -E_MESSAGE;
        if (memcmp(&head, &ours, sizeof head) != 0)
                return -E_VERSION;
        if (head.series > set->max)
                return -ENOSPC;
        left -= sizeof sum;
        for (uint32_t i = 0; i < head.series && r == 0; i++)
                r = load_series(set, now_ns, &bytes, &left);
        if (r == 0 && left)
                r = -E_MESSAGE;
        if (r < 0)
                empty(set);
        return r;
}
