/* object.c: artifacts. An object is a file under objects/XX/ named by its SHA-256, whoever brought it; who may read it is a row of the store for each object and
 * account. An upload is a file of its account's own, so that knowing a digest gives nobody the bytes; its end is hashed, synced and renamed by the files'
 * thread, and only then becomes a row.
 */
#include "base/error.h"
#include "base/fd.h"
#include "service/internal.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/stat.h>

#define UPLOADS_PER_ACCOUNT 64

struct upload {
        UT_hash_handle by_name;
        char name[ID_TEXT + 66]; /* SHA256.account: of the file, too */
        struct account_record *owner;
        uint64_t bytes;
        bool ending;
};

bool object_sha256_valid(const char *sha256)
{
        return strlen(sha256) == 64 && strspn(sha256, "0123456789abcdef") == 64;
}

void object_row_id(const char *sha256, const struct id *account, struct id *ret)
{
        uint8_t digest[32];
        char text[64 + 16];

        memcpy(text, sha256, 64);
        memcpy(text + 64, account->bytes, 16);
        EVP_Digest(text, sizeof(text), digest, NULL, EVP_sha256(), NULL);
        memcpy(ret, digest, sizeof(*ret));
}

int object_grant(struct service *s, const char *sha256, const struct id *account, uint64_t bytes)
{
        char spec[64], key[ID_TEXT + 70], text[ID_TEXT];
        struct id id;
        int n = snprintf(spec, sizeof(spec), "{\"bytes\":%llu}", (unsigned long long)bytes);

        object_row_id(sha256, account, &id);
        snprintf(key, sizeof(key), "%s.%s", sha256, id_text("account", account, text));
        return pending_put(s, &(struct store_change){.kind = STORE_PUT, .row = {.table = STORE_OBJECT, .id = id, .account = *account, .text_key = key, .spec = spec,
                                                                                  .spec_bytes = (size_t)n, .status = "{}", .status_bytes = 2}});
}

static void path_of(const struct service *s, const char *sha256, char *path, size_t size)
{
        snprintf(path, size, "%s/objects/%.2s/%s", s->folder, sha256, sha256);
}

static void upload_name(const char *sha256, const struct id *account, char *name, size_t size)
{
        char text[ID_TEXT];

        snprintf(name, size, "%s.%s", sha256, id_text("account", account, text));
}

int objects_open(struct service *s, char message[SERVICE_MESSAGE])
{
        static const char *const folders[] = {"", "/logs", "/objects", "/objects/uploads"};
        char path[400];

        for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
                snprintf(path, sizeof(path), "%s%s", s->folder, folders[i]);
                if (mkdir(path, 0700) < 0 && errno != EEXIST) {
                        int r = -errno;

                        snprintf(message, SERVICE_MESSAGE, "can't make the folder %s: %s", path, error_text(r));
                        return r;
                }
        }
        return 0;
}

static void upload_free(struct service *s, struct upload *upload)
{
        HASH_DELETE(by_name, s->uploads, upload);
        upload->owner->uploads--;
        free(upload);
}

/* False: its end is being looked at. */
bool object_upload_forget(struct service *s, const char *name)
{
        struct upload *upload;

        HASH_FIND(by_name, s->uploads, name, strlen(name), upload);
        if (upload && upload->ending)
                return false;
        if (upload)
                upload_free(s, upload);
        return true;
}

void objects_free(struct service *s)
{
        struct upload *upload, *next;

        HASH_ITER(by_name, s->uploads, upload, next)
                upload_free(s, upload);
        object_uses_free(s);
}

int service_object_begin(struct service *s, const struct account_caller *caller, const char *sha256, uint64_t bytes, uint64_t *ret_offset, int *ret_fd)
{
        char name[sizeof(((struct upload *)0)->name)], path[600];
        struct account_record *owner;
        struct upload *upload;
        struct stat st;
        int fd scoped_fd = -1;

        service_time(s);
        if (!object_sha256_valid(sha256))
                return -EINVAL;
        if (bytes > (s->options.object_bytes ? s->options.object_bytes : UINT64_C(64) << 30))
                return -EFBIG;
        upload_name(sha256, &caller->account, name, sizeof(name));
        HASH_FIND(by_name, s->uploads, name, strlen(name), upload);
        if (upload && upload->ending)
                return -EBUSY;
        owner = service_account_record(s, &caller->account);
        if (!owner)
                return -ENOMEM;
        if (!upload && owner->uploads >= UPLOADS_PER_ACCOUNT)
                return -E_QUOTA;
        snprintf(path, sizeof(path), "%s/objects/uploads/%s", s->folder, name);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        /* What is there is longer than what is wanted: another size was said before. */
        if ((uint64_t)st.st_size > bytes) {
                if (ftruncate(fd, 0) < 0)
                        return -errno;
                st.st_size = 0;
        }
        if (lseek(fd, 0, SEEK_END) < 0)
                return -errno;
        if (!upload) {
                upload = calloc(1, sizeof(*upload));
                if (!upload)
                        return -ENOMEM;
                strcpy(upload->name, name);
                upload->owner = owner;
                owner->uploads++;
                HASH_ADD(by_name, s->uploads, name, strlen(upload->name), upload);
        }
        upload->bytes = bytes;
        *ret_offset = (uint64_t)st.st_size;
        *ret_fd = take_fd(fd);
        return 0;
}

int service_object_offset(struct service *s, const struct account_caller *caller, const char *sha256, uint64_t *ret_offset)
{
        char name[sizeof(((struct upload *)0)->name)], path[600];
        struct stat st;

        if (!object_sha256_valid(sha256))
                return -EINVAL;
        upload_name(sha256, &caller->account, name, sizeof(name));
        snprintf(path, sizeof(path), "%s/objects/uploads/%s", s->folder, name);
        if (lstat(path, &st) < 0)
                return -errno;
        *ret_offset = (uint64_t)st.st_size;
        return 0;
}

/* The end of an upload. */
struct end_job {
        struct job job;
        struct account_caller caller;
        char sha256[65], from[600], to[600], folder[500], name[ID_TEXT + 66];
        uint64_t bytes, found;
        bool wrong_digest;
        service_done_fn done;
        void *context;
};

static int digest_of(int fd, char hex[65])
{
        EVP_MD_CTX *md = EVP_MD_CTX_new();
        char *buffer scoped_free = malloc(1 << 20);
        uint8_t digest[32];
        ssize_t n = -1;
        int r = -ENOMEM;

        if (md && buffer && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1) {
                while ((n = read(fd, buffer, 1 << 20)) > 0)
                        EVP_DigestUpdate(md, buffer, (size_t)n);
                r = n < 0 ? -errno : EVP_DigestFinal_ex(md, digest, NULL) == 1 ? 0 : -ENOMEM;
        }
        EVP_MD_CTX_free(md);
        for (int i = 0; !r && i < 32; i++)
                snprintf(hex + 2 * i, 3, "%02x", digest[i]);
        return r;
}

static int sync_folder(const char *path)
{
        int fd scoped_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static void end_run(struct job *job, struct store *store)
{
        struct end_job *end = (struct end_job *)job;
        int fd scoped_fd = open(end->from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        struct stat st;
        char hex[65];

        if (fd < 0 || fstat(fd, &st) < 0) {
                job->error = -errno;
                return;
        }
        end->found = (uint64_t)st.st_size;
        if (end->found != end->bytes) {
                job->error = -EMSGSIZE;
                return;
        }
        job->error = digest_of(fd, hex);
        if (!job->error && strcmp(hex, end->sha256)) {
                end->wrong_digest = true;
                unlink(end->from);
        }
        if (job->error || end->wrong_digest)
                return;
        if (fsync(fd) < 0 || (mkdir(end->folder, 0700) < 0 && errno != EEXIST) || rename(end->from, end->to) < 0)
                job->error = -errno;
        else
                job->error = sync_folder(end->folder);
}

static void end_finish(struct service *s, struct job *job)
{
        struct end_job *end = (struct end_job *)job;
        struct upload *upload;
        struct strbuf b = {0};
        char location[96], detail[160];

        HASH_FIND(by_name, s->uploads, end->name, strlen(end->name), upload);
        if (upload) {
                upload->ending = false;
                if (!job->error)
                        upload_free(s, upload);
        }
        if (job->error == -EMSGSIZE) {
                snprintf(detail, sizeof(detail), "%llu of %llu bytes are here: go on from there", (unsigned long long)end->found, (unsigned long long)end->bytes);
                answer_problem(s, end->done, end->context, 409, "artifact.incomplete", detail, NULL);
        } else if (job->error == -ENOSPC || job->error == -EDQUOT) {
                answer_problem(s, end->done, end->context, 507, "artifact.no_space", NULL, NULL);
        } else if (job->error) {
                answer_error(s, end->done, end->context, job->error == -ENOENT ? -ENOENT : -E_UNAVAILABLE);
        } else if (end->wrong_digest) {
                s->counters.wrong_digests++;
                answer_problem(s, end->done, end->context, 422, "artifact.digest", "what arrived has another SHA-256; it was thrown away", NULL);
        } else if (object_touch(s, end->sha256), object_grant(s, end->sha256, &end->caller.account, end->bytes) < 0) {
                answer_error(s, end->done, end->context, -ENOMEM);
        } else {
                s->counters.objects++;
                s->counters.object_bytes += end->bytes;
                snprintf(location, sizeof(location), "/api/v1/artifacts/%s", end->sha256);
                strbuf_add(&b, "{\"object\":\"artifact\",\"sha256\":\"%s\",\"bytes\":%llu}", end->sha256, (unsigned long long)end->bytes);
                answer_when_durable(s, end->done, end->context, 201, b.text, b.length, location);
        }
        free(end);
}

void service_object_end(struct service *s, const struct account_caller *caller, const char *sha256, service_done_fn done, void *context)
{
        struct upload *upload = NULL;
        struct end_job *end;

        service_time(s);
        if (!object_sha256_valid(sha256)) {
                answer_problem(s, done, context, 400, "artifact.name", "64 lowercase hex digits are wanted", NULL);
                return;
        }
        end = calloc(1, sizeof(*end));
        if (!end) {
                answer_error(s, done, context, -ENOMEM);
                return;
        }
        upload_name(sha256, &caller->account, end->name, sizeof(end->name));
        HASH_FIND(by_name, s->uploads, end->name, strlen(end->name), upload);
        if (!upload || upload->ending) {
                free(end);
                answer_problem(s, done, context, 409, upload ? "artifact.busy" : "artifact.unknown", upload ? "its end is being looked at" : "begin it first", NULL);
                return;
        }
        end->job = (struct job){.run = end_run, .finish = end_finish};
        end->caller = *caller;
        end->bytes = upload->bytes;
        end->done = done;
        end->context = context;
        strcpy(end->sha256, sha256);
        snprintf(end->from, sizeof(end->from), "%s/objects/uploads/%s", s->folder, end->name);
        path_of(s, sha256, end->to, sizeof(end->to));
        snprintf(end->folder, sizeof(end->folder), "%s/objects/%.2s", s->folder, sha256);
        if (jobs_put(s->files, &end->job) < 0) {
                free(end);
                answer_error(s, done, context, -E_QUOTA);
                return;
        }
        upload->ending = true;
}

/* Reading. Whose row lets the caller in: its own, or that of an account whose task a worker of the caller holds and whose payload names the object. */
struct open_job {
        struct job job;
        struct id accounts[1 + 16];
        size_t account_count;
        bool all, allowed;
        char sha256[65], path[600];
        service_file_fn done;
        void *context;
};

static int open_row(void *context, const struct store_row *row)
{
        *(bool *)context = true;
        return 0;
}

static void open_run(struct job *job, struct store *store)
{
        struct open_job *o = (struct open_job *)job;

        o->allowed = o->all;
        for (size_t i = 0; i < o->account_count && !o->allowed && !job->error; i++) {
                struct id id;
                int r;

                object_row_id(o->sha256, &o->accounts[i], &id);
                r = store ? store_get(store, STORE_OBJECT, &id, open_row, &o->allowed) : -E_UNAVAILABLE;
                if (r < 0 && r != -ENOENT)
                        job->error = r;
        }
}

static void open_finish(struct service *s, struct job *job)
{
        struct open_job *o = (struct open_job *)job;
        struct stat st;
        int fd = -1;

        if (!job->error && o->allowed)
                fd = open(o->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0 && fstat(fd, &st) == 0) {
                object_touch(s, o->sha256);
                o->done(o->context, 0, fd, (uint64_t)st.st_size);
        } else {
                if (fd >= 0)
                        close(fd);
                o->done(o->context, job->error ? -E_UNAVAILABLE : -ENOENT, -1, 0);
        }
        free(o);
}

static void lessors(struct service *s, const struct account_caller *caller, struct open_job *o)
{
        char wanted[80];
        struct worker *worker, *next;

        snprintf(wanted, sizeof(wanted), "\"sha256\":\"%s\"", o->sha256);
        HASH_ITER(by_id, s->workers, worker, next) {
                if (!id_equal(&worker->account, &caller->account))
                        continue;
                for (struct lease_links *link = worker->leases.next; link != &worker->leases; link = link->next) {
                        const struct task *task = (const struct task *)(const void *)((char *)link - offsetof(struct task, lease));

                        if (o->account_count < ARRAY_SIZE(o->accounts) && task->shown.state == CORE_LEASED && strstr(task->payload, wanted))
                                o->accounts[o->account_count++] = task->account;
                }
        }
}

void service_object_read(struct service *s, const struct account_caller *caller, const char *sha256, service_file_fn done, void *context)
{
        struct open_job *o;

        service_time(s);
        if (!object_sha256_valid(sha256)) {
                answer_file_error(s, done, context, -ENOENT);
                return;
        }
        o = calloc(1, sizeof(*o));
        if (!o) {
                answer_file_error(s, done, context, -E_UNAVAILABLE);
                return;
        }
        o->job = (struct job){.run = open_run, .finish = open_finish};
        strcpy(o->sha256, sha256);
        path_of(s, sha256, o->path, sizeof(o->path));
        o->accounts[o->account_count++] = caller->account;
        o->all = account_may(caller, RIGHT_TASK_READ_ALL);
        o->done = done;
        o->context = context;
        if (account_may(caller, RIGHT_WORKER_JOIN))
                lessors(s, caller, o);
        if (jobs_put(s->reader, &o->job) < 0) {
                free(o);
                answer_file_error(s, done, context, -E_UNAVAILABLE);
        }
}
