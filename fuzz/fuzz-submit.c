/* fuzz-submit.c: any JSON as the body of a submission: read without a crash, faults told with paths; what is accepted comes back the same out of its row. */
#include "service/internal.h"

#include "fuzz.h"

static struct service service;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const struct id earlier[2] = {{{1}}, {{2}}};
        struct submission one = {.key = {{7}}}, again = {0};
        json_t *body = json_loadb((const char *)data, size, JSON_DECODE_ANY, NULL), *violations, *row;
        struct strbuf text = {0};
        int64_t ms;
        int r;

        if (size < 64) {
                char time[64];

                memcpy(time, data, size);
                time[size] = '\0';
                r = time_parse(time, &ms);
                promise(r == 0 || r == -EINVAL, "%d", r);
                put_string(&text, (const char *)data, size);
                strbuf_done(&text);
        }
        if (!body)
                return 0;
        service.options.payload_bytes = 4096;
        violations = json_array();
        r = submission_read(&service, body, "", earlier, 2, violations, &one);
        promise(r == 0 || r == -EINVAL, "%d", r);
        promise((r == 0) == !json_array_size(violations), "%d with %zu faults", r, json_array_size(violations));
        if (!r) {
                put_literal(&text, "{\"head\":10000000,");
                strbuf_put(&text, one.head.text, one.head.length);
                put_literal(&text, ",\"payload\":");
                strbuf_put(&text, one.payload.text, one.payload.length);
                put_literal(&text, "}");
                row = json_loadb(text.text, text.length, JSON_REJECT_DUPLICATES, NULL);
                promise(row != NULL, "a row that is no JSON: %s", text.text);
                promise(submission_read(&service, row, "", NULL, 0, NULL, &again) == 0, "a row that can't be read: %s", text.text);
                promise(!memcmp(&one.needs, &again.needs, sizeof(one.needs)) && one.attempts == again.attempts && one.not_before == again.not_before &&
                                one.after_count == again.after_count && one.wait_for_workers == again.wait_for_workers && one.cost == again.cost,
                        "another task out of its row: %s", text.text);
                json_decref(row);
        }
        strbuf_done(&text);
        submission_done(&one);
        submission_done(&again);
        json_decref(violations);
        json_decref(body);
        return 0;
}
