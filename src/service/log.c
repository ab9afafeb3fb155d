/* log.c: what tasks print, one file for each attempt under logs/ACCOUNT/. A worker says at which offset of its output a piece belongs: what came before
 * already is passed over, a gap is noted. A file that grows over its bound keeps its first half and the newest part, with a note of fixed length between
 * them that says how much is missing. Losing a piece (disk full, power cut) harms nothing else, so nothing here is synced.
 */
#include "base/fd.h"
#include "service/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define NOTE_BYTES 64

void log_path(const struct service *s, const struct id *account, const struct id *task, uint32_t attempt, char *path, size_t size)
{
        char a[ID_TEXT], t[ID_TEXT];

        snprintf(path, size, "%s/logs/%s/%s.%u.log", s->folder, id_text("account", account, a), id_text("task", task, t), attempt);
}

static int open_file(struct service *s, const struct task *task)
{
        char path[512], folder[400], a[ID_TEXT];
        int fd;

        log_path(s, &task->account, &task->id, task->now.attempt, path, sizeof(path));
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0 && errno == ENOENT) {
                snprintf(folder, sizeof(folder), "%s/logs/%s", s->folder, id_text("account", &task->account, a));
                if (mkdir(folder, 0700) < 0 && errno != EEXIST)
                        return -errno;
                fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        }
        return fd < 0 ? -errno : fd;
}

static void note(char text[NOTE_BYTES + 1], uint64_t cut)
{
        int n = snprintf(text, NOTE_BYTES + 1, "\n[%llu bytes of the middle were left out here", (unsigned long long)cut);

        memset(text + n, ' ', (size_t)(NOTE_BYTES - n));
        memcpy(text + NOTE_BYTES - 2, "]\n", 3);
}

/* After a restart: how far the file came, as its own length and note say. Notes of gaps are taken for output: by so much the place may be wrong then. */
static void look(struct service *s, struct task *task, int fd)
{
        uint64_t half = s->options.log_bytes / 2;
        char text[NOTE_BYTES + 1] = "";
        unsigned long long cut = 0;
        struct stat st;

        task->log = (struct log_state){.attempt = task->now.attempt};
        if (fstat(fd, &st) < 0)
                return;
        task->log.size = (uint64_t)st.st_size;
        if (task->log.size > half + NOTE_BYTES && pread(fd, text, NOTE_BYTES, (off_t)half) == NOTE_BYTES && !memcmp(text, "\n[", 2) &&
            !memcmp(text + NOTE_BYTES - 2, "]\n", 2) && sscanf(text, "\n[%llu bytes of the middle", &cut) == 1)
                task->log.cut = cut;
        task->log.received = task->log.size + task->log.cut - (task->log.cut ? NOTE_BYTES : 0);
}

/* Leaves the older half of the tail out. */
static int cut_middle(struct service *s, struct task *task, int fd)
{
        uint64_t half = s->options.log_bytes / 2, tail = task->log.cut ? half + NOTE_BYTES : half, keep, from;
        char *bytes scoped_free = NULL, text[NOTE_BYTES + 1];

        if (task->log.size <= tail)
                return 0;
        keep = (task->log.size - tail) / 2;
        if (keep > half / 2)
                keep = half / 2;
        from = task->log.size - keep;
        bytes = malloc(keep ? keep : 1);
        if (!bytes || pread(fd, bytes, keep, (off_t)from) != (ssize_t)keep)
                return -EIO;
        s->counters.log_cut += from - tail;
        task->log.cut += from - tail;
        note(text, task->log.cut);
        if (pwrite(fd, text, NOTE_BYTES, (off_t)half) != NOTE_BYTES || pwrite(fd, bytes, keep, (off_t)(half + NOTE_BYTES)) != (ssize_t)keep ||
            ftruncate(fd, (off_t)(half + NOTE_BYTES + keep)) < 0)
                return -EIO;
        task->log.size = half + NOTE_BYTES + keep;
        return 0;
}

static int append(struct service *s, struct task *task, int fd, const char *text, size_t bytes)
{
        while (bytes) {
                size_t piece = bytes < s->options.log_bytes / 4 ? bytes : s->options.log_bytes / 4;
                ssize_t n = pwrite(fd, text, piece, (off_t)task->log.size);

                if (n <= 0)
                        return -EIO;
                task->log.size += (uint64_t)n;
                text += n;
                bytes -= (size_t)n;
                if (task->log.size > s->options.log_bytes && cut_middle(s, task, fd) < 0)
                        return -EIO;
        }
        return 0;
}

void log_write(struct service *s, struct task *task, uint64_t offset, const char *text, size_t bytes)
{
        int fd scoped_fd = open_file(s, task);
        char gap[80];

        if (fd < 0) {
                s->counters.log_dropped += bytes;
                return;
        }
        if (task->log.attempt != task->now.attempt)
                look(s, task, fd);
        if (offset < task->log.received) {
                uint64_t known = task->log.received - offset;

                if (known >= bytes)
                        return;
                text += known;
                bytes -= known;
        } else if (offset > task->log.received) {
                int n = snprintf(gap, sizeof(gap), "\n[%llu bytes did not arrive]\n", (unsigned long long)(offset - task->log.received));

                s->counters.log_dropped += offset - task->log.received;
                task->log.received = offset;
                if (append(s, task, fd, gap, (size_t)n) < 0)
                        return;
        }
        task->log.received += bytes;
        s->counters.log_bytes += bytes;
        if (append(s, task, fd, text, bytes) < 0)
                s->counters.log_dropped += bytes;
}
