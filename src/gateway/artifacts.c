/* artifacts.c: artifacts in and out: bodies go to and come from descriptors, never through memory as a whole. */
#include "gateway/handlers.h"
#include "gateway/range.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SHA256_TEXT 65

static bool digest_part(struct request *r, char sha256[SHA256_TEXT])
{
        if (r->parts[0].length == SHA256_TEXT - 1) {
                memcpy(sha256, r->parts[0].text, SHA256_TEXT - 1);
                sha256[SHA256_TEXT - 1] = 0;
                if (strspn(sha256, "0123456789abcdef") == SHA256_TEXT - 1)
                        return true;
        }
        reply_problem(r, "request.schema", NULL, "An artifact is named by its SHA-256, 64 lower-case hexadecimal digits.");
        return false;
}

static void read_done(void *context, int error, int fd, uint64_t bytes)
{
        struct request *r = context;

        r->pending = false;
        if (!r->connection) {
                if (error == 0)
                        close(fd);
                request_release(r);
        } else if (error < 0) {
                reply_error(r, error, error == -ENOENT ? "There is no such artifact, or it is not yours." : NULL);
        } else {
                reply_file(r, fd, bytes, "application/octet-stream", 0);
        }
}

void handle_artifact(struct request *r)
{
        char sha256[SHA256_TEXT];

        if (!digest_part(r, sha256))
                return;
        request_begin(r);
        service_object_read(r->server->service, &r->caller, sha256, read_done, r);
}

/* Whole already? Then there is no upload any more. */
static void looked(void *context, int error, int fd, uint64_t bytes)
{
        struct request *r = context;
        char sha256[SHA256_TEXT];
        uint64_t offset;
        int e;

        r->pending = false;
        if (error == 0)
                close(fd);
        if (!r->connection) {
                request_release(r);
                return;
        }
        if (!digest_part(r, sha256))
                return;
        if (error == 0) {
                reply_json(r, 200, json_pack("{s:s, s:I, s:b}", "sha256", sha256, "offset", (json_int_t)bytes, "complete", true));
                return;
        }
        e = error == -ENOENT ? service_object_offset(r->server->service, &r->caller, sha256, &offset) : error;
        if (e < 0)
                reply_error(r, e, e == -ENOENT ? "Nothing of it is here." : NULL);
        else
                reply_json(r, 200, json_pack("{s:s, s:I, s:b}", "sha256", sha256, "offset", (json_int_t)offset, "complete", false));
}

void handle_artifact_upload(struct request *r)
{
        char sha256[SHA256_TEXT];

        if (!digest_part(r, sha256))
                return;
        request_begin(r);
        service_object_read(r->server->service, &r->caller, sha256, looked, r);
}

/* What an upload says of itself; kept from its head to its end. */
struct upload {
        uint64_t first, count, total;
};

static bool begin_upload(struct request *r, const char *sha256, struct upload *u)
{
        const char *range = request_header(r, HEADER_CONTENT_RANGE);
        uint64_t offset;
        int fd, e;

        *u = (struct upload){.count = r->content_length, .total = r->content_length};
        if (range && range_parse_content(range, &u->first, &u->count, &u->total) < 0) {
                reply_problem(r, "request.malformed", NULL, "Content-Range: \"bytes FIRST-LAST/TOTAL\" is taken, or \"bytes */0\".");
                return false;
        }
        if (u->count != r->content_length) {
                reply_problem(r, "request.malformed", NULL, "Content-Range names %llu bytes, Content-Length %llu.", (unsigned long long)u->count,
                              (unsigned long long)r->content_length);
                return false;
        }
        e = service_object_begin(r->server->service, &r->caller, sha256, u->total, &offset, &fd);
        if (e == -EBUSY) {
                reply_problem(r, "artifact.busy", NULL, "Its upload is being finished.");
                return false;
        }
        if (e < 0) {
                reply_error(r, e, e == -EFBIG ? "The artifact is larger than this pool takes." : e == -E_QUOTA ? "Too many uploads at a time." : NULL);
                return false;
        }
        if (offset != u->first) {
                close(fd);
                reply_problem(r, "artifact.offset", json_pack("{s:I}", "offset", (json_int_t)offset), "The upload goes on at %llu, not at %llu.",
                              (unsigned long long)offset, (unsigned long long)u->first);
                return false;
        }
        r->file = fd;
        r->file_at = offset;
        return true;
}

void handle_artifact_put(struct request *r)
{
        char sha256[SHA256_TEXT];
        struct upload u;

        if (!digest_part(r, sha256))
                return;
        if (!r->complete) {
                begin_upload(r, sha256, &u);
                return;
        }
        /* The head was good, or we would not be here. */
        u = (struct upload){.count = r->content_length, .total = r->content_length};
        if (request_header(r, HEADER_CONTENT_RANGE) && range_parse_content(request_header(r, HEADER_CONTENT_RANGE), &u.first, &u.count, &u.total) < 0)
                return;
        close(r->file);
        r->file = -1;
        if (u.first + u.count < u.total) {
                reply_json(r, 200, json_pack("{s:s, s:I, s:b}", "sha256", sha256, "offset", (json_int_t)r->file_at, "complete", false));
                return;
        }
        request_begin(r);
        service_object_end(r->server->service, &r->caller, sha256, request_done, r);
}
