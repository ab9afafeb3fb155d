/* history.c: three rings of slots, each with one open slot that is being gathered; see history.h. */
#include "service/history.h"

#include <math.h>
#include <string.h>

#define RESOLUTIONS 3
/* Nobody spoke for so long: nothing changed. Longer: nobody looked, so it is unknown what was. */
#define QUIET_MS 5000

static const struct {
        uint64_t step_ms;
        size_t slots;
} resolutions[RESOLUTIONS] = {{1000, 600}, {10000, 3 * 360}, {300000, 7 * 288}};

struct ring {
        float *values;              /* of slot n and series i at (n % slots) * HISTORIES + i */
        uint64_t open;              /* number of the open slot: its begin divided by the step */
        uint64_t first;             /* the first slot that was there from its beginning */
        double sums[HISTORIES];     /* of the open slot */
        uint32_t counts[HISTORIES]; /* levels: how often told */
        bool whole;                 /* somebody looked all the time since the open slot began */
};

struct history {
        uint64_t heard_ms;
        double last[HISTORIES];     /* levels as last told */
        bool told[HISTORIES];
        struct ring rings[RESOLUTIONS];
        float values[];
};

static const struct {
        const char *name, *text;
        bool level;
} series_table[HISTORIES] = {
#define HISTORY_COUNTER(symbol, name, text) [HISTORY_##symbol] = {name, text, false},
#define HISTORY_LEVEL(symbol, name, text) [HISTORY_##symbol] = {name, text, true},
        HISTORY_SERIES(HISTORY_COUNTER, HISTORY_LEVEL)
#undef HISTORY_COUNTER
#undef HISTORY_LEVEL
};

struct history *history_new(uint64_t now_ms)
{
        struct history *h;
        size_t floats = 0, at = 0;

        for (size_t i = 0; i < RESOLUTIONS; i++)
                floats += resolutions[i].slots * HISTORIES;
        h = calloc(1, sizeof *h + floats * sizeof *h->values);
        if (!h)
                return NULL;
        h->heard_ms = now_ms;
        for (size_t i = 0; i < floats; i++)
                h->values[i] = NAN;
        for (size_t i = 0; i < RESOLUTIONS; i++) {
                struct ring *ring = &h->rings[i];

                ring->values = h->values + at;
                ring->open = now_ms / resolutions[i].step_ms;
                ring->whole = now_ms % resolutions[i].step_ms == 0;
                ring->first = ring->whole ? ring->open : ring->open + 1;
                at += resolutions[i].slots * HISTORIES;
        }
        return h;
}

void history_free(struct history *h)
{
        free(h);
}

static void close_slot(const struct history *h, struct ring *ring, size_t resolution, bool known)
{
        float *values = ring->values + ring->open % resolutions[resolution].slots * HISTORIES;

        for (size_t i = 0; i < HISTORIES; i++) {
                if (!known)
                        values[i] = NAN;
                else if (!series_table[i].level)
                        values[i] = (float)(ring->sums[i] * 1000 / (double)resolutions[resolution].step_ms);
                else if (ring->counts[i])
                        values[i] = (float)(ring->sums[i] / ring->counts[i]);
                else
                        values[i] = h->told[i] ? (float)h->last[i] : NAN;
        }
        memset(ring->sums, 0, sizeof ring->sums);
        memset(ring->counts, 0, sizeof ring->counts);
        ring->open++;
}

static void advance(struct history *h, uint64_t now_ms)
{
        bool asleep;

        if (now_ms <= h->heard_ms)
                return;
        asleep = now_ms - h->heard_ms > QUIET_MS;
        for (size_t i = 0; i < RESOLUTIONS; i++) {
                struct ring *ring = &h->rings[i];
                uint64_t now = now_ms / resolutions[i].step_ms;

                /* What lies further back than the ring reaches needs no closing. */
                if (now - ring->open > resolutions[i].slots + 1) {
                        close_slot(h, ring, i, false);
                        ring->open = now - resolutions[i].slots;
                }
                if (asleep)
                        ring->whole = false;
                while (ring->open < now) {
                        close_slot(h, ring, i, ring->whole);
                        ring->whole = !asleep;
                }
        }
        h->heard_ms = now_ms;
}

void history_tick(struct history *h, uint64_t now_ms)
{
        advance(h, now_ms);
}

void history_add(struct history *h, uint64_t now_ms, enum history_series series, uint64_t amount)
{
        if ((unsigned int)series >= HISTORIES || series_table[series].level)
                return;
        advance(h, now_ms);
        for (size_t i = 0; i < RESOLUTIONS; i++)
                h->rings[i].sums[series] += (double)amount;
}

void history_level(struct history *h, uint64_t now_ms, enum history_series series, uint64_t value)
{
        if ((unsigned int)series >= HISTORIES || !series_table[series].level)
                return;
        advance(h, now_ms);
        h->last[series] = (double)value;
        h->told[series] = true;
        for (size_t i = 0; i < RESOLUTIONS; i++) {
                h->rings[i].sums[series] += (double)value;
                h->rings[i].counts[series]++;
        }
}

static size_t complete(const struct ring *ring, size_t resolution)
{
        uint64_t n = ring->open > ring->first ? ring->open - ring->first : 0;

        return n > resolutions[resolution].slots ? resolutions[resolution].slots : (size_t)n;
}

void history_look(const struct history *h, uint64_t now_ms, uint64_t since_ms, struct history_view *ret_view)
{
        size_t i = 0;

        if (since_ms > HISTORY_SPAN_S * UINT64_C(1000))
                since_ms = HISTORY_SPAN_S * UINT64_C(1000);
        /* A ring that has everything there is reaches far enough, too. */
        while (i + 1 < RESOLUTIONS && resolutions[i].slots * resolutions[i].step_ms < since_ms && complete(&h->rings[i], i) == resolutions[i].slots)
                i++;
        *ret_view = (struct history_view){.step_ms = resolutions[i].step_ms, .count = complete(&h->rings[i], i)};
        /* Slots that began before the time asked for are left out, but for the one it lies in. */
        while (ret_view->count && (h->rings[i].open - ret_view->count + 1) * resolutions[i].step_ms + since_ms <= now_ms)
                ret_view->count--;
        ret_view->from_ms = (h->rings[i].open - ret_view->count) * resolutions[i].step_ms;
}

double history_value(const struct history *h, const struct history_view *view, enum history_series series, size_t i)
{
        for (size_t r = 0; r < RESOLUTIONS; r++)
                if (resolutions[r].step_ms == view->step_ms && i < view->count && (unsigned int)series < HISTORIES)
                        return (double)h->rings[r].values[(view->from_ms / view->step_ms + i) % resolutions[r].slots * HISTORIES + series];
        return NAN;
}

const char *history_name(enum history_series series)
{
        return (unsigned int)series < HISTORIES ? series_table[series].name : "?";
}

const char *history_text(enum history_series series)
{
        return (unsigned int)series < HISTORIES ? series_table[series].text : "?";
}

int history_parse(const char *name, size_t bytes, enum history_series *ret_series)
{
        for (int i = 0; i < HISTORIES; i++)
                if (strlen(series_table[i].name) == bytes && !memcmp(series_table[i].name, name, bytes)) {
                        *ret_series = (enum history_series)i;
                        return 0;
                }
        return -EINVAL;
}
