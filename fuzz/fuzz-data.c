/* fuzz-data.c: any bytes as JSON lines, CSV and a picture. The first byte chooses; every fault is told and the reader goes on, what was read can be written and read
 * again as the same. */
#include "worker/task/image.h"
#include "worker/task/record.h"

#include "fuzz.h"

#include <string.h>

static void records(const uint8_t *data, size_t size, enum record_format format)
{
        FILE *in = fmemopen((void *)data, size, "r");
        struct record_reader r;
        uint64_t last = 0;
        char why[128];

        if (!in)
                return;
        record_open(&r, in, format);
        for (size_t turns = 0;; turns++) {
                json_t *o = NULL, *again = NULL;
                int n = record_next(&r, &o, why);

                if (n == 0)
                        break;
                promise(turns <= size, "more records than bytes");
                promise(n == 1 || n == -EINVAL, "%d", n);
                promise(r.line > last || (r.line == last && n == -EINVAL), "line %llu after %llu", (unsigned long long)r.line, (unsigned long long)last);
                last = r.line;
                if (n != 1) {
                        promise(strlen(why) < sizeof why, "why");
                        continue;
                }
                promise(json_is_object(o), "a record");
                {
                        struct record_writer w = {.format = format};
                        struct record_reader back;
                        char *text = NULL;
                        size_t bytes = 0;

                        w.file = open_memstream(&text, &bytes);
                        promise(record_write(&w, o) == 0 && record_finish(&w) == 0, "writing");
                        /* One field of a CSV with an empty name is not told apart from no field. */
                        record_open(&back, fmemopen(text, bytes, "r"), format);
                        n = back.file && bytes ? record_next(&back, &again, why) : 0;
                        if (n == 1)
                                promise(json_equal(o, again), "%s", text);
                        else
                                promise(!json_object_size(o) || format == RECORD_CSV, "not read again: %s", text);
                        record_close(&back);
                        json_decref(again);
                        free(text);
                }
                json_decref(o);
        }
        record_close(&r);
}

static void picture(const uint8_t *data, size_t size)
{
        struct image i = {0}, part = {0};
        FILE *in = fmemopen((void *)data, size, "r");
        char why[128] = "";

        if (!in)
                return;
        if (image_read(in, &i, why) == 0) {
                promise((i.samples == 1 || i.samples == 3) && (size_t)i.width * i.height * i.samples <= size, "bounds");
                image_flip(&i);
                image_brighten(&i, 1.5);
                if (image_crop(&i, i.width / 2, i.height / 2, i.width - i.width / 2, i.height - i.height / 2, &part) == 0)
                        image_done(&part);
                image_done(&i);
        }
        fclose(in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size < 2)
                return 0;
        if (data[0] % 3 == 2)
                picture(data + 1, size - 1);
        else
                records(data + 1, size - 1, data[0] % 3 ? RECORD_CSV : RECORD_JSONL);
        return 0;
}
