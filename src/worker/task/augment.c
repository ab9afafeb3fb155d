/* augment.c: the type `augment`: variants of records' text, and of pictures, by a seed: the same seed gives the same variants wherever it runs. */
#include "worker/task/data.h"
#include "worker/task/functions.h"
#include "worker/task/image.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/strbuf.h"

#include <ctype.h>
#include <string.h>
#include <sys/stat.h>

struct chances {
        double letter_case, space, dropout; /* of a word; of a gap; of a word */
        double flip, crop, brightness;
};

/* One variant of a text: words may change case (ASCII) or fall out, gaps may double. A text never becomes empty. */
static char *vary_text(const char *text, const struct chances *c, uint64_t *state)
{
        struct strbuf b = {0};
        size_t words = 0;

        for (const char *p = text; *p;) {
                size_t gap = strspn(p, " \t\n"), word = strcspn(p + gap, " \t\n");
                bool keep = !word || data_share(state) >= c->dropout, change = data_share(state) < c->letter_case, twice = data_share(state) < c->space;

                if (keep || (!words && !p[gap + word])) {
                        strbuf_add(&b, "%.*s%s", (int)gap, p, gap && twice ? " " : "");
                        for (size_t i = 0; i < word; i++) {
                                unsigned char ch = (unsigned char)p[gap + i];

                                if (change && ch < 0x80)
                                        ch = (unsigned char)(isupper(ch) ? tolower(ch) : toupper(ch));
                                strbuf_fill(&b, (char)ch, 1);
                        }
                        words += word > 0;
                }
                p += gap + word;
        }
        if (b.failed) {
                strbuf_done(&b);
                return NULL;
        }
        return b.text ? b.text : strdup("");
}

static int augment_text(struct task *t, const struct chances *c, uint64_t seed, uint64_t copies)
{
        struct record_writer w = {0};
        struct data_input in;
        const char *field, *output;
        json_t *record = NULL;
        uint64_t number = 0;
        int r = 0, n;

        field = task_string(t, t->payload, "field", "text", &r);
        output = task_string(t, t->payload, "output", "output.jsonl", &r);
        n = data_open(&in, t);
        r = r < 0 ? r : n;
        r = r < 0 ? r : data_writer(t, output, &w);
        while (r >= 0 && (r = data_next(&in, &record)) > 0) {
                const char *text = json_string_value(json_object_get(record, field));
                char *original scoped_free = text ? strdup(text) : NULL;

                number++;
                json_object_set_new(record, "augmented", json_integer(0));
                r = record_write(&w, record);
                for (uint64_t k = 1; r >= 0 && original && k <= copies; k++) {
                        uint64_t state = seed ^ number * UINT64_C(0xd1342543de82ef95) ^ k << 48;
                        char *variant scoped_free = vary_text(original, c, &state);

                        if (!variant)
                                r = -ENOMEM;
                        json_object_set_new(record, field, json_string(variant));
                        json_object_set_new(record, "augmented", json_integer((json_int_t)k));
                        r = r < 0 ? r : record_write(&w, record);
                }
                json_decref(record);
        }
        n = record_finish(&w);
        json_object_update_new(t->report, json_pack("{s:I, s:I, s:I, s:O}", "read", (json_int_t)number, "written", (json_int_t)w.records, "malformed",
                                                    (json_int_t)in.malformed, "faults", in.faults));
        data_close(&in);
        return r < 0 ? r : n;
}

static int one_variant(const struct image *from, const struct chances *c, uint64_t *state, struct image *ret)
{
        double share = 1 - c->crop * data_share(state);
        uint32_t width = (uint32_t)(from->width * share), height = (uint32_t)(from->height * share), x, y;
        int r;

        width = width ? width : 1;
        height = height ? height : 1;
        x = (uint32_t)(data_share(state) * (from->width - width + 1));
        y = (uint32_t)(data_share(state) * (from->height - height + 1));
        r = image_crop(from, x, y, width, height, ret);
        if (r < 0)
                return r;
        if (data_share(state) < c->flip)
                image_flip(ret);
        image_brighten(ret, 1 + c->brightness * (2 * data_share(state) - 1));
        return 0;
}

static int one_image(struct task *t, const char *path, const struct chances *c, uint64_t state, uint64_t copies, uint64_t *written, json_t *faults)
{
        const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
        struct image from = {0};
        char why[128] = "";
        FILE *file;
        int fd = task_open(t, path, false), r;

        if (fd < 0)
                return fd;
        file = fdopen(fd, "re");
        if (!file) {
                close(fd);
                return -ENOMEM;
        }
        r = image_read(file, &from, why);
        fclose(file);
        if (r == -EINVAL) {
                if (json_array_size(faults) < 100)
                        json_array_append_new(faults, json_pack("{s:s, s:s}", "file", path, "text", why));
                return 0;
        }
        for (uint64_t k = 1; r >= 0 && k <= copies; k++) {
                struct image variant = {0};
                char output[300];

                snprintf(output, sizeof output, "%.*s-%llu%s", (int)(dot ? dot - name : (ptrdiff_t)strlen(name)), name, (unsigned long long)k, dot ? dot : "");
                r = one_variant(&from, c, &state, &variant);
                r = r < 0 ? r : data_create(t, output, &file);
                if (r >= 0) {
                        r = image_write(file, &variant);
                        if (fclose(file) != 0 && r >= 0)
                                r = -errno;
                        *written += r >= 0;
                }
                image_done(&variant);
        }
        image_done(&from);
        return r;
}

static int augment_images(struct task *t, const struct chances *c, uint64_t seed, uint64_t copies)
{
        const json_t *list = json_object_get(t->payload, "input");
        json_t *faults = json_array(), *v;
        uint64_t written = 0;
        size_t i;
        int r = 0;

        if (!json_is_array(list) || !json_array_size(list))
                return task_fail(t, -EINVAL, "input is no list of pictures (.pgm, .ppm)");
        json_array_foreach (list, i, v) {
                if (!json_is_string(v))
                        return task_fail(t, -EINVAL, "input[%zu] is no path", i);
                r = one_image(t, json_string_value(v), c, seed ^ (i + 1) * UINT64_C(0xd1342543de82ef95), copies, &written, faults);
                if (r < 0)
                        return t->message[0] ? r : task_fail(t, r, "%.200s: %s", json_string_value(v), error_text(r));
                task_progress(t, (double)(i + 1) / (double)json_array_size(list), (int64_t)i + 1, (int64_t)json_array_size(list), NULL);
        }
        json_object_update_new(t->report, json_pack("{s:I, s:I, s:I, s:o}", "read", (json_int_t)json_array_size(list), "written", (json_int_t)written, "malformed",
                                                    (json_int_t)json_array_size(faults), "faults", faults));
        return 0;
}

int augment_run(struct task *t)
{
        int r = 0;
        const char *kind = task_string(t, t->payload, "kind", "text", &r);
        uint64_t seed = (uint64_t)task_number(t, t->payload, "seed", 0, 9e15, 0, &r), copies = (uint64_t)task_number(t, t->payload, "copies", 1, 1000, 1, &r);
        const struct chances c = {.letter_case = task_number(t, t->payload, "case", 0, 1, 0.1, &r), .space = task_number(t, t->payload, "space", 0, 1, 0.05, &r),
                                  .dropout = task_number(t, t->payload, "dropout", 0, 1, 0.1, &r), .flip = task_number(t, t->payload, "flip", 0, 1, 0.5, &r),
                                  .crop = task_number(t, t->payload, "crop", 0, 0.9, 0.1, &r), .brightness = task_number(t, t->payload, "brightness", 0, 1, 0.2, &r)};

        if (r < 0)
                return r;
        if (!strcmp(kind, "text"))
                return augment_text(t, &c, seed, copies);
        if (!strcmp(kind, "image"))
                return augment_images(t, &c, seed, copies);
        return task_fail(t, -EINVAL, "kind is neither text nor image");
}
