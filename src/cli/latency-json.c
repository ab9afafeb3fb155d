/* latency-json.c: waits for devices and processors, and system calls, as JSON; see probes-client.h. What was not measured is null. */
#include "cli/probes-client.h"

static json_t *number(uint64_t n)
{
        return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n);
}

static json_t *real(double x)
{
        return x < 0 ? json_null() : json_real(x);
}

static json_t *text(const char *bytes, size_t size)
{
        char safe[160];

        return json_string(probes_escape(safe, sizeof safe, bytes, size));
}

static json_t *times(const struct latency *l)
{
        json_t *buckets = json_array();

        for (uint32_t i = 0; i < LATENCY_BUCKETS; i++)
                json_array_append_new(buckets, number(l->buckets[i]));
        return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "count", number(latency_count(l)), "sum_ns", number(l->sum_ns), "mean_ns", real(latency_mean(l)),
                         "p50_ns", real(latency_quantile(l, 500)), "p95_ns", real(latency_quantile(l, 950)), "p99_ns", real(latency_quantile(l, 990)), "buckets",
                         buckets);
}

static json_t *requests(const struct probes_requests *r)
{
        json_t *o = times(&r->time);

        json_object_set_new(o, "bytes", number(r->bytes));
        json_object_set_new(o, "errors", number(r->errors));
        return o;
}

static json_t *waits(const struct probes_waits *w)
{
        return json_pack("{s:o, s:o, s:o}", "times", number(w->times), "sum_ns", number(w->sum_ns), "longest_ns", number(w->longest_ns));
}

static json_t *blocks(const struct probes_snapshot *s)
{
        json_t *list = json_array();

        for (uint32_t i = 0; i < s->blocks; i++) {
                const struct probes_block *b = &probes_blocks(s)[i];

                json_array_append_new(list, json_pack("{s:i, s:i, s:o, s:s, s:o, s:o}", "major", (int)(b->device >> 20), "minor", (int)(b->device & 0xfffff), "name",
                                                      b->name[0] ? text(b->name, sizeof b->name) : json_null(), "kind", probes_request_kind_name(b->kind), "now",
                                                      requests(&b->now), "total", requests(&b->total)));
        }
        return list;
}

static json_t *runners(const struct probes_snapshot *s, uint32_t most, bool with_waits, bool with_calls)
{
        json_t *list = json_array();

        for (uint32_t i = 0; i < s->runners && i < most; i++) {
                const struct probes_runner *r = &probes_runners(s)[i];

                json_array_append_new(list, json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "pid", (int)r->pid, "uid", r->uid == UINT32_MAX ? json_null() : number(r->uid),
                                                      "start_ns", number(r->start_ns), "comm", text(r->comm, sizeof r->comm),
                                                      "waits_now", with_waits ? waits(&r->wait_now) : json_null(),
                                                      "waits_total", with_waits ? waits(&r->wait_total) : json_null(),
                                                      "calls_now", with_calls ? number(r->calls_now) : json_null(),
                                                      "calls_total", with_calls ? number(r->calls_total) : json_null()));
        }
        return list;
}

json_t *probes_latency_json(const struct probes_snapshot *s, uint32_t most)
{
        bool block = s->families[PROBES_BLOCK].state == PROBES_ATTACHED, sched = s->families[PROBES_SCHED].state == PROBES_ATTACHED;
        bool calls = s->families[PROBES_SYSCALLS].state == PROBES_ATTACHED;
        json_t *families = json_array(), *bounds = json_array();

        for (uint32_t i = PROBES_BLOCK; i <= PROBES_SYSCALLS; i++)
                json_array_append_new(families, probes_family_json(s, i));
        for (uint32_t i = 0; i < LATENCY_BUCKETS; i++)
                json_array_append_new(bounds, number(latency_from_ns(i)));
        return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "families", families, "began_ns", number(s->began_ns), "taken_ns", number(s->taken_ns),
                         "window_ns", number(s->window_ns), "bucket_from_ns", bounds, "block", block ? blocks(s) : json_null(),
                         "sched", sched ? json_pack("{s:o, s:o}", "now", times(&s->wait_now), "total", times(&s->wait_total)) : json_null(),
                         "syscalls", calls ? json_pack("{s:o, s:o}", "now", number(s->calls_now), "total", number(s->calls_total)) : json_null(),
                         "processes", sched || calls ? runners(s, most, sched, calls) : json_null());
}
