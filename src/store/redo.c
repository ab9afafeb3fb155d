/* redo.c: the log of commits on disk; see redo.h. Everything is in the machine's byte order, which is little-endian wherever Berth runs; the head says so. */
#include "store/redo.h"

#include "base/error.h"
#include "base/fd.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <zlib.h>

#define BLOCK 512u
#define HEAD_BYTES 4096u
#define FILE_BYTES (HEAD_BYTES + 2 * (uint64_t)REDO_HALF)

struct file_head {
        char magic[8];
        uint32_t version, half_bytes;
        uint8_t identity[REDO_IDENTITY];
        uint32_t check;
};

/* Before the changes of a record. check: over all behind it, begun with the identity, so that another log's records never pass. */
struct record_head {
        uint32_t magic, check;
        uint64_t number;
        uint32_t bytes, changes; /* of the record without the filling of its last block */
};

struct change_head {
        uint32_t bytes; /* with texts and filling */
        uint8_t kind, table, has, zero;
        uint32_t queue, state, task_kind;
        uint32_t key_bytes, spec_bytes, status_bytes;
        int64_t until_ms;
        struct id id, account;
};

enum { HAS_KEY = 1, HAS_SPEC = 2, HAS_STATUS = 4 };

static const char file_magic[8] = "BerthRd";
#define RECORD_MAGIC 0x6f646552u

struct redo {
        int fd;
        uint32_t seed;               /* of checks */
        uint64_t last, forgotten;    /* numbers */
        uint64_t last_of[2];         /* the last record in each half; 0: none */
        unsigned half;
        uint64_t at;                 /* in the present half */
};

static uint32_t check_of(uint32_t seed, const void *data, size_t bytes)
{
        return (uint32_t)crc32_z(seed, data, bytes);
}

/* --- records --- */

static size_t padded(size_t bytes, size_t to)
{
        return (bytes + to - 1) / to * to;
}

static size_t change_bytes(const struct store_row *row)
{
        size_t n = sizeof(struct change_head) + (row->text_key ? strlen(row->text_key) + 1 : 0);

        n += row->spec ? row->spec_bytes + 1 : 0;
        n += row->status ? row->status_bytes + 1 : 0;
        return padded(n, 8);
}

static uint8_t *put_text(uint8_t *at, const char *text, size_t bytes)
{
        memcpy(at, text, bytes);
        at[bytes] = '\0';
        return at + bytes + 1;
}

static void put_change(uint8_t *at, const struct store_change *change)
{
        const struct store_row *row = &change->row;
        struct change_head head = {
                .bytes = (uint32_t)change_bytes(row), .kind = (uint8_t)change->kind, .table = (uint8_t)row->table, .queue = row->queue, .state = row->state, .task_kind = row->kind,
                .has = (uint8_t)((row->text_key ? HAS_KEY : 0) | (row->spec ? HAS_SPEC : 0) | (row->status ? HAS_STATUS : 0)), .until_ms = row->until_ms, .id = row->id,
                .account = row->account, .key_bytes = row->text_key ? (uint32_t)strlen(row->text_key) : 0, .spec_bytes = row->spec ? (uint32_t)row->spec_bytes : 0,
                .status_bytes = row->status ? (uint32_t)row->status_bytes : 0,
        };

        memcpy(at, &head, sizeof(head));
        at += sizeof(head);
        if (row->text_key)
                at = put_text(at, row->text_key, head.key_bytes);
        if (row->spec)
                at = put_text(at, row->spec, head.spec_bytes);
        if (row->status)
                put_text(at, row->status, head.status_bytes);
}

struct redo_record *redo_record_new(const struct store_batch *batches, size_t count)
{
        size_t bytes = sizeof(struct record_head), size, changes = 0;
        struct record_head head = {.magic = RECORD_MAGIC};
        struct redo_record *record;
        uint8_t *at;

        for (size_t b = 0; b < count; b++)
                for (size_t c = 0; c < batches[b].count; c++, changes++)
                        bytes += change_bytes(&batches[b].changes[c].row);
        size = padded(bytes, BLOCK);
        record = size < UINT32_MAX && changes < UINT32_MAX ? malloc(sizeof(*record) + size) : NULL;
        if (!record)
                return NULL;
        *record = (struct redo_record){.changes = (uint32_t)changes, .bytes = size};
        head.bytes = (uint32_t)bytes;
        head.changes = (uint32_t)changes;
        memcpy(record->data, &head, sizeof(head));
        at = record->data + sizeof(head);
        for (size_t b = 0; b < count; b++)
                for (size_t c = 0; c < batches[b].count; c++) {
                        size_t n = change_bytes(&batches[b].changes[c].row);

                        memset(at + n - 8, 0, 8);
                        put_change(at, &batches[b].changes[c]);
                        at += n;
                }
        memset(record->data + bytes, 0, size - bytes);
        return record;
}

static const char *text_at(const uint8_t **at, uint32_t bytes)
{
        const char *text = (const char *)*at;

        *at += bytes + 1;
        return text;
}

int redo_record_next(const struct redo_record *record, size_t *at, struct store_change *ret_change)
{
        struct record_head record_head;
        struct change_head head;
        const uint8_t *text;
        size_t left, need;

        memcpy(&record_head, record->data, sizeof(record_head));
        if (!*at)
                *at = sizeof(record_head);
        if (record_head.bytes > record->bytes || *at > record_head.bytes)
                return -EBADMSG;
        left = record_head.bytes - *at;
        if (!left)
                return -ENOENT;
        if (left < sizeof(head))
                return -EBADMSG;
        memcpy(&head, record->data + *at, sizeof(head));
        need = sizeof(head) + (head.has & HAS_KEY ? (size_t)head.key_bytes + 1 : 0) + (head.has & HAS_SPEC ? (size_t)head.spec_bytes + 1 : 0) +
               (head.has & HAS_STATUS ? (size_t)head.status_bytes + 1 : 0);
        if (head.bytes > left || head.bytes < need || head.bytes % 8 || head.table >= STORE_TABLES || head.kind > STORE_DELETE || head.queue >= STORE_QUEUES)
                return -EBADMSG;
        *ret_change = (struct store_change){
                .kind = head.kind,
                .row = {.table = head.table, .queue = head.queue, .id = head.id, .account = head.account, .state = head.state, .kind = head.task_kind, .until_ms = head.until_ms},
        };
        text = record->data + *at + sizeof(head);
        if (head.has & HAS_KEY)
                ret_change->row.text_key = text_at(&text, head.key_bytes);
        if (head.has & HAS_SPEC) {
                ret_change->row.spec = text_at(&text, head.spec_bytes);
                ret_change->row.spec_bytes = head.spec_bytes;
        }
        if (head.has & HAS_STATUS) {
                ret_change->row.status = text_at(&text, head.status_bytes);
                ret_change->row.status_bytes = head.status_bytes;
        }
        if (ret_change->row.text_key && strnlen(ret_change->row.text_key, head.key_bytes + 1u) != head.key_bytes)
                return -EBADMSG;
        *at += head.bytes;
        return 0;
}

bool redo_fits(const struct redo_record *record)
{
        return record->bytes <= REDO_HALF;
}

/* --- the file --- */

static int error_of(int e)
{
        return e == ENOSPC || e == EDQUOT || e == EFBIG ? -ENOSPC : e == ENOMEM ? -ENOMEM : -EIO;
}

/* Durable when it returns 0. */
static int write_all(int fd, const uint8_t *data, size_t bytes, uint64_t at, int flags)
{
        while (bytes) {
                struct iovec piece = {(void *)(uintptr_t)data, bytes};
                ssize_t n = pwritev2(fd, &piece, 1, (off_t)at, flags);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n ? error_of(errno) : -EIO;
                data += n;
                at += (uint64_t)n;
                bytes -= (size_t)n;
        }
        return 0;
}

static int read_all(int fd, void *data, size_t bytes, uint64_t at)
{
        for (size_t have = 0; have < bytes;) {
                ssize_t n = pread(fd, (char *)data + have, bytes - have, (off_t)(at + have));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n ? error_of(errno) : -EBADMSG; /* cut off */
                have += (size_t)n;
        }
        return 0;
}

static int sync_folder(const char *path)
{
        char *name scoped_free = strdup(path);
        char *slash = name ? strrchr(name, '/') : NULL;
        int fd scoped_fd = -1;

        if (!name)
                return -ENOMEM;
        if (slash)
                slash[slash == name] = '\0';
        fd = open(slash ? name : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 || fsync(fd) ? error_of(errno) : 0;
}

static int fill(int fd, const uint8_t identity[REDO_IDENTITY])
{
        static const size_t step = 1u << 20;
        struct file_head head = {.version = 1, .half_bytes = REDO_HALF};
        uint8_t *zeros scoped_free = calloc(1, step);
        int r = zeros ? 0 : -ENOMEM;

        for (uint64_t at = 0; at < FILE_BYTES && !r; at += step)
                r = write_all(fd, zeros, FILE_BYTES - at < step ? (size_t)(FILE_BYTES - at) : step, at, 0);
        memcpy(head.magic, file_magic, sizeof(head.magic));
        memcpy(head.identity, identity, sizeof(head.identity));
        head.check = check_of(0, &head, offsetof(struct file_head, check));
        if (!r)
                r = write_all(fd, (const uint8_t *)&head, sizeof(head), 0, 0);
        return r ? r : fsync(fd) ? error_of(errno) : 0;
}

/* Under another name until it is whole: a log with a wrong head is never the trace of a start that was cut short. */
static int make_file(const char *path, const uint8_t identity[REDO_IDENTITY])
{
        char *part scoped_free = NULL;
        int fd scoped_fd = -1, r;

        if (asprintf(&part, "%s.part", path) < 0)
                return -ENOMEM;
        fd = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_of(errno);
        r = fill(fd, identity);
        if (!r && rename(part, path))
                r = error_of(errno);
        if (r)
                (void)unlink(part);
        return r ? r : sync_folder(path);
}

static int check_head(int fd, const uint8_t identity[REDO_IDENTITY])
{
        struct file_head head;
        struct stat about;
        int r = read_all(fd, &head, sizeof(head), 0);

        if (r)
                return r;
        if (memcmp(head.magic, file_magic, sizeof(head.magic)) || head.check != check_of(0, &head, offsetof(struct file_head, check)))
                return -EBADMSG;
        if (memcmp(head.identity, identity, sizeof(head.identity)))
                return -ESTALE;
        if (head.version != 1 || head.half_bytes != REDO_HALF)
                return -E_VERSION;
        return fstat(fd, &about) ? error_of(errno) : (uint64_t)about.st_size < FILE_BYTES ? -EBADMSG : 0;
}

int redo_open(const char *path, const uint8_t identity[REDO_IDENTITY], bool read_only, struct redo **ret_redo)
{
        int fd scoped_fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC), r;
        struct redo *redo;

        if (fd < 0)
                return errno == ENOENT ? -ENOENT : error_of(errno);
        r = check_head(fd, identity);
        if (r)
                return r;
        redo = calloc(1, sizeof(*redo));
        if (!redo)
                return -ENOMEM;
        redo->seed = check_of(1, identity, REDO_IDENTITY);
        redo->fd = take_fd(fd);
        *ret_redo = redo;
        return 0;
}

int redo_make(const char *path, const uint8_t identity[REDO_IDENTITY], struct redo **ret_redo)
{
        int r = make_file(path, identity);

        return r ? r : redo_open(path, identity, false, ret_redo);
}

void redo_close(struct redo *redo)
{
        if (!redo)
                return;
        close(redo->fd);
        free(redo);
}

/* --- reading --- */

/* The record at data, of at most `left` bytes: 0 and its head, or -ENOENT: there is none that checks. */
static int look(const struct redo *redo, const uint8_t *data, size_t left, struct record_head *ret_head)
{
        struct record_head head;

        if (left < sizeof(head))
                return -ENOENT;
        memcpy(&head, data, sizeof(head));
        if (head.magic != RECORD_MAGIC || head.bytes < sizeof(head) || head.bytes > left ||
            head.check != check_of(redo->seed, data + offsetof(struct record_head, number), head.bytes - offsetof(struct record_head, number)))
                return -ENOENT;
        *ret_head = head;
        return 0;
}

struct place {
        uint64_t number;
        size_t at;
};

static int by_number(const void *a, const void *b)
{
        const struct place *x = a, *y = b;

        return x->number < y->number ? -1 : x->number > y->number;
}

/* Every record that checks, wherever a block begins. */
static size_t find_all(const struct redo *redo, const uint8_t *halves, struct place *places)
{
        struct record_head head;
        size_t count = 0;

        for (size_t at = 0, end = REDO_HALF; at < 2 * (size_t)REDO_HALF;) {
                if (at == end)
                        end += REDO_HALF;
                if (look(redo, halves + at, end - at, &head)) {
                        at += BLOCK;
                        continue;
                }
                places[count++] = (struct place){head.number, at};
                at += padded(head.bytes, BLOCK);
        }
        qsort(places, count, sizeof(*places), by_number);
        return count;
}

int redo_read(struct redo *redo, uint64_t after, int (*fn)(void *context, const struct redo_record *record), void *context)
{
        uint8_t *halves scoped_free = malloc(2 * (size_t)REDO_HALF);
        struct place *places scoped_free = malloc(2 * REDO_HALF / BLOCK * sizeof(*places));
        size_t count, first = 0;
        int r = halves && places ? read_all(redo->fd, halves, 2 * (size_t)REDO_HALF, HEAD_BYTES) : -ENOMEM;

        if (r)
                return r;
        count = find_all(redo, halves, places);
        while (first < count && places[first].number <= after)
                first++;
        /* One that is missing before the last was acknowledged, and is damaged now. */
        for (size_t i = first; i < count; i++)
                if (places[i].number != after + 1 + (i - first))
                        return -EBADMSG;
        for (size_t i = first; i < count && !r; i++) {
                struct redo_record *record scoped_free = NULL;
                struct record_head head;

                memcpy(&head, halves + places[i].at, sizeof(head));
                record = malloc(sizeof(*record) + head.bytes);
                if (!record)
                        return -ENOMEM;
                *record = (struct redo_record){.number = head.number, .changes = head.changes, .bytes = head.bytes};
                memcpy(record->data, halves + places[i].at, head.bytes);
                r = fn(context, record);
        }
        return r;
}

/* --- writing --- */

void redo_restart(struct redo *redo, uint64_t last)
{
        redo->last = redo->forgotten = last;
        redo->last_of[0] = redo->last_of[1] = 0;
        redo->half = 0;
        redo->at = 0;
}

int redo_append(struct redo *redo, struct redo_record *record)
{
        struct record_head head;
        int r;

        if (!redo_fits(record))
                return -E2BIG;
        if (redo->at + record->bytes > REDO_HALF) {
                if (redo->last_of[redo->half ^ 1] > redo->forgotten)
                        return -EAGAIN;
                redo->half ^= 1;
                redo->last_of[redo->half] = 0;
                redo->at = 0;
        }
        memcpy(&head, record->data, sizeof(head));
        record->number = head.number = redo->last + 1;
        memcpy(record->data, &head, sizeof(head));
        head.check = check_of(redo->seed, record->data + offsetof(struct record_head, number), head.bytes - offsetof(struct record_head, number));
        memcpy(record->data, &head, sizeof(head));
        r = write_all(redo->fd, record->data, record->bytes, HEAD_BYTES + (uint64_t)redo->half * REDO_HALF + redo->at, RWF_DSYNC);
        if (r)
                return r;
        redo->last = redo->last_of[redo->half] = record->number;
        redo->at += record->bytes;
        return 0;
}

uint64_t redo_last(const struct redo *redo)
{
        return redo->last;
}

void redo_forget(struct redo *redo, uint64_t number)
{
        if (number > redo->forgotten)
                redo->forgotten = number;
}

bool redo_waits(const struct redo *redo)
{
        return redo->last_of[redo->half ^ 1] > redo->forgotten;
}
