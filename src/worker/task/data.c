/* data.c: inputs, outputs, chance and digests for functions over data; see data.h. */
#include "worker/task/data.h"

#include "base/error.h"
#include "base/fd.h"

#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>

#define FAULTS 100
#define INPUTS 10000

int data_open(struct data_input *in, struct task *t)
{
        const json_t *given = json_object_get(t->payload, "input");
        enum record_format format;
        json_t *v;
        size_t i;
        int r = 0;

        *in = (struct data_input){.t = t, .paths = json_is_array(given) ? json_deep_copy(given) : json_array(), .faults = json_array()};
        if (json_is_string(given))
                json_array_append(in->paths, (json_t *)given);
        if (!json_array_size(in->paths) || json_array_size(in->paths) > INPUTS)
                return task_fail(t, -EINVAL, "input is neither a path nor a list of 1 to %d of them", INPUTS);
        in->given = task_string(t, t->payload, "format", "", &r);
        if (r < 0)
                return r;
        json_array_foreach (in->paths, i, v) {
                scoped_fd int fd = -1;
                struct stat st;

                if (!json_is_string(v) || record_format(json_string_value(v), in->given, &format) < 0)
                        return task_fail(t, -EINVAL, "input[%zu]: a path ending in .jsonl or .csv, or give format", i);
                fd = task_open(t, json_string_value(v), false);
                if (fd < 0)
                        return fd;
                if (fstat(fd, &st) == 0)
                        t->total_bytes += (uint64_t)st.st_size;
        }
        return 0;
}

void data_rewind(struct data_input *in)
{
        record_close(&in->reader);
        in->next = 0;
        in->malformed = 0;
        json_array_clear(in->faults);
}

void data_close(struct data_input *in)
{
        record_close(&in->reader);
        json_decref(in->paths);
        json_decref(in->faults);
        *in = (struct data_input){0};
}

int data_next(struct data_input *in, json_t **ret)
{
        for (;;) {
                char why[128] = "";
                int r;

                if (!in->reader.file) {
                        enum record_format format;
                        FILE *file;
                        int fd;

                        if (in->next >= json_array_size(in->paths))
                                return 0;
                        in->path = json_string_value(json_array_get(in->paths, in->next++));
                        fd = task_open(in->t, in->path, false);
                        if (fd < 0)
                                return fd;
                        file = fdopen(fd, "re");
                        if (!file || record_format(in->path, in->given, &format) < 0) {
                                close(fd);
                                return -ENOMEM;
                        }
                        in->told = 0;
                        record_open(&in->reader, file, format);
                }
                r = record_next(&in->reader, ret, why);
                task_advance(in->t, in->reader.bytes - in->told);
                in->told = in->reader.bytes;
                if (r == 1)
                        return 1;
                if (r == -EINVAL) {
                        in->malformed++;
                        if (json_array_size(in->faults) < FAULTS)
                                json_array_append_new(in->faults, json_pack("{s:s, s:I, s:s}", "file", in->path, "line", (json_int_t)in->reader.line, "text", why));
                        continue;
                }
                if (r < 0)
                        return task_fail(in->t, r, "reading %.200s: %s", in->path, error_text(r));
                record_close(&in->reader);
        }
}

int data_create(struct task *t, const char *name, FILE **ret)
{
        char path[300];
        int fd;

        snprintf(path, sizeof path, "out/%s", name);
        fd = task_open(t, path, true);
        if (fd < 0)
                return fd;
        *ret = fdopen(fd, "w+e");
        if (!*ret) {
                close(fd);
                return -ENOMEM;
        }
        return 0;
}

int data_writer(struct task *t, const char *name, struct record_writer *ret)
{
        *ret = (struct record_writer){0};
        if (record_format(name, NULL, &ret->format) < 0)
                return task_fail(t, -EINVAL, "output \"%.100s\" ends neither in .jsonl nor in .csv", name);
        return data_create(t, name, &ret->file);
}

uint64_t data_chance(uint64_t *state)
{
        uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        return z ^ z >> 31;
}

double data_share(uint64_t *state)
{
        return (double)(data_chance(state) >> 11) / 9007199254740992.0;
}

struct data_hash data_hash(const void *bytes, size_t n)
{
        unsigned char digest[EVP_MAX_MD_SIZE];
        struct data_hash h = {0};

        if (EVP_Digest(bytes, n, digest, NULL, EVP_sha256(), NULL)) {
                memcpy(&h.a, digest, 8);
                memcpy(&h.b, digest + 8, 8);
        }
        return h;
}

int data_digest(struct task *t, int fd, char sha256[65])
{
        EVP_MD_CTX *md = EVP_MD_CTX_new();
        unsigned char buffer[1 << 16], digest[32];
        off_t at = 0;
        ssize_t n = -1;

        if (md && EVP_DigestInit_ex(md, EVP_sha256(), NULL))
                while ((n = pread(fd, buffer, sizeof buffer, at)) > 0) {
                        EVP_DigestUpdate(md, buffer, (size_t)n);
                        at += n;
                        task_advance(t, (uint64_t)n);
                }
        if (n == 0)
                EVP_DigestFinal_ex(md, digest, NULL);
        EVP_MD_CTX_free(md);
        if (n < 0)
                return errno ? -errno : -EIO;
        for (size_t i = 0; i < 32; i++)
                snprintf(sha256 + 2 * i, 3, "%02x", digest[i]);
        return 0;
}
