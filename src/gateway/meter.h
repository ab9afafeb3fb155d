/* meter.h: how long first tokens and tokens took, and how many there were: histograms for /metrics, medians of the last requests for each model. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uthash.h>

#define METER_BUCKETS 20
#define METER_RECENT 101
#define METER_MODELS 1024

struct histogram {
        uint64_t buckets[METER_BUCKETS + 1]; /* the last: above all bounds */
        uint64_t count;
        double sum_s;
};

struct recent {
        float values[METER_RECENT];
        uint32_t count, next;
};

struct meter_model {
        UT_hash_handle hh;
        char name[128];
        struct recent ttft, tpot;
        uint64_t requests, prompt_tokens, completion_tokens;
};

struct meter {
        struct histogram ttft, tpot, gap, queue, duration;
        struct meter_model *models;
        uint64_t prompt_tokens, completion_tokens;
};

/* Upper bound of a bucket in seconds. */
extern const double meter_bounds[METER_BUCKETS];
void histogram_add(struct histogram *histogram, uint64_t ns);
/* NULL: out of memory, or METER_MODELS are there. */
struct meter_model *meter_model(struct meter *meter, const char *name);
void recent_add(struct recent *recent, double seconds);
/* False: nothing was measured yet. */
bool recent_median(const struct recent *recent, double *ret_seconds);
void meter_done(struct meter *meter);
struct strbuf;
void meter_text(const struct meter *meter, struct strbuf *text);
