/* meter.c: times and tokens counted; see meter.h. */
#include "gateway/meter.h"

#include "base/strbuf.h"

#include <stdlib.h>
#include <string.h>

const double meter_bounds[METER_BUCKETS] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160};

void histogram_add(struct histogram *h, uint64_t ns)
{
        double seconds = (double)ns / 1e9;
        size_t low = 0, high = METER_BUCKETS;

        while (low < high) {
                size_t middle = (low + high) / 2;

                if (seconds <= meter_bounds[middle])
                        high = middle;
                else
                        low = middle + 1;
        }
        h->buckets[low]++;
        h->count++;
        h->sum_s += seconds;
}

struct meter_model *meter_model(struct meter *m, const char *name)
{
        struct meter_model *model;

        HASH_FIND_STR(m->models, name, model);
        if (!model && HASH_COUNT(m->models) < METER_MODELS && strlen(name) < sizeof(model->name)) {
                model = calloc(1, sizeof(*model));
                if (!model)
                        return NULL;
                strcpy(model->name, name);
                HASH_ADD_STR(m->models, name, model);
        }
        return model;
}

void recent_add(struct recent *r, double seconds)
{
        r->values[r->next] = (float)seconds;
        r->next = (r->next + 1) % METER_RECENT;
        r->count += r->count < METER_RECENT;
}

static int by_value(const void *a, const void *b)
{
        float x = *(const float *)a, y = *(const float *)b;

        return x < y ? -1 : x > y;
}

bool recent_median(const struct recent *r, double *ret_seconds)
{
        float sorted[METER_RECENT];

        if (!r->count)
                return false;
        memcpy(sorted, r->values, r->count * sizeof(*sorted));
        qsort(sorted, r->count, sizeof(*sorted), by_value);
        *ret_seconds = (double)sorted[r->count / 2];
        return true;
}

void meter_done(struct meter *m)
{
        struct meter_model *model, *next;

        HASH_ITER(hh, m->models, model, next)
        {
                HASH_DEL(m->models, model);
                free(model);
        }
}

static void put(struct strbuf *b, const char *name, const char *help, const struct histogram *h)
{
        uint64_t sum = 0;

        strbuf_add(b, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name);
        for (size_t i = 0; i < METER_BUCKETS; i++) {
                sum += h->buckets[i];
                strbuf_add(b, "%s_bucket{le=\"%g\"} %llu\n", name, meter_bounds[i], (unsigned long long)sum);
        }
        strbuf_add(b, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.6f\n%s_count %llu\n", name, (unsigned long long)h->count, name, h->sum_s, name, (unsigned long long)h->count);
}

void meter_text(const struct meter *m, struct strbuf *b)
{
        put(b, "berth_ttft_seconds", "From the request to the first token of its answer.", &m->ttft);
        put(b, "berth_tpot_seconds", "Time per output token after the first, mean of each streamed request.", &m->tpot);
        put(b, "berth_token_gap_seconds", "Between two events with text of a stream.", &m->gap);
        put(b, "berth_queue_seconds", "From the request until an engine was given it.", &m->queue);
        put(b, "berth_generation_seconds", "From the request to the end of its answer.", &m->duration);
        strbuf_add(b, "# TYPE berth_tokens_total counter\nberth_tokens_total{kind=\"prompt\"} %llu\nberth_tokens_total{kind=\"completion\"} %llu\n",
                   (unsigned long long)m->prompt_tokens, (unsigned long long)m->completion_tokens);
}
