/* history.c: how the machine's and the devices' figures went, in fixed memory (base/history.h), once a second; see node.h.
 *
 * The file is written beside its place and renamed, so that it is whole or the old one. What lies there is checked before it is believed; what is damaged
 * or of another release is said once and written anew. Whoever asks gets a copy that is at most a second old: asking often costs nothing more.
 */
#define LOG_ROOM "node"
#include "node/node.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "machine/machine.h"
#include "wire/series.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#define SERIES_MOST 192
#define FILE_MOST (8 << 20)
#define WRITE_NS (300 * NS_PER_S)
#define CLOCK_SLACK (2 * (int64_t)NS_PER_S)

struct node_history {
        struct history_set *set;
        uint64_t offset; /* from the monotonic clock to the time of day */
        uint64_t written_ns, copied_ns;
        int copy; /* the memfd that was handed out last, or -1 */
        char path[CONFIG_TEXT];
        bool complained, readable;
        struct machine machine;
        struct machine_look now, before;
        struct machine_rates rates;
        uint64_t devices_ns;
        struct wire_STATUS_DEVICE last[WIRE_MAX_DEVICES];
};

static int read_file(const char *path, char **ret, size_t *ret_count)
{
        scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        char *bytes scoped_free = NULL;
        size_t count = 0;
        struct stat st;

        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > FILE_MOST)
                return -E_MESSAGE;
        bytes = malloc((size_t)st.st_size);
        if (!bytes)
                return -ENOMEM;
        while (count < (size_t)st.st_size) {
                ssize_t n = read(fd, bytes + count, (size_t)st.st_size - count);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return -E_MESSAGE;
                count += (size_t)n;
        }
        *ret = take(bytes);
        *ret_count = count;
        return 0;
}

static void load(struct node_history *h)
{
        char *bytes scoped_free = NULL;
        size_t count = 0;
        int r;

        if (!h->path[0])
                return;
        r = read_file(h->path, &bytes, &count);
        if (r == -ENOENT)
                return;
        if (r == 0)
                r = history_set_load(h->set, clock_now_ns() + h->offset, bytes, count);
        if (r < 0)
                log_warning("the history in %s is not used, and written anew: %s", h->path, error_text(r));
}

static int write_all(int fd, const char *bytes, size_t count)
{
        while (count) {
                ssize_t n = write(fd, bytes, count);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                bytes += n;
                count -= (size_t)n;
        }
        return 0;
}

static int save(const struct node_history *h)
{
        char *bytes scoped_free = NULL, beside[CONFIG_TEXT + 8];
        scoped_fd int fd = -1;
        size_t count = 0;
        int r = history_set_save(h->set, &bytes, &count);

        if (r < 0)
                return r;
        if (count > FILE_MOST)
                return -EFBIG;
        snprintf(beside, sizeof beside, "%s.new", h->path);
        fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (fd < 0)
                return -errno;
        r = write_all(fd, bytes, count);
        if (r == 0 && rename(beside, h->path) < 0)
                r = -errno;
        if (r < 0)
                (void)unlink(beside);
        return r;
}

static void keep(struct node_history *h, uint64_t now)
{
        int r;

        h->written_ns = now;
        if (!h->path[0])
                return;
        r = save(h);
        if (r < 0 && !h->complained)
                log_warning("the history can't be written to %s: %s", h->path, error_text(r));
        h->complained = r < 0;
}

/* Of the time of day over the monotonic clock. */
static uint64_t offset_now(uint64_t now)
{
        struct timespec t;

        clock_gettime(CLOCK_REALTIME, &t);
        return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec - now;
}

/* The time of day was set, or the machine stood still: slots are named by the new time from now on. Forward, that leaves a gap; back, what would lie in the future is given up, as
 * nothing could be kept before it. */
static void follow_clock(struct node_history *h, uint64_t now)
{
        uint64_t offset = offset_now(now);
        int64_t jump = (int64_t)(offset - h->offset);
        struct history_set *fresh = NULL;
        char *bytes scoped_free = NULL, text[16];
        size_t count = 0;
        int r;

        if (jump <= CLOCK_SLACK && jump >= -CLOCK_SLACK)
                return;
        log_notice("the time of day has gone %s by %s; the history goes on with it", jump > 0 ? "forward" : "back",
                   text_duration((uint64_t)(jump > 0 ? jump : -jump), text, sizeof text));
        h->offset = offset;
        h->copied_ns = 0;
        fd_close_at(&h->copy);
        if (jump > 0)
                return;
        r = history_set_new(history_usual, HISTORY_USUAL_LEVELS, SERIES_MOST, &fresh);
        if (r == 0)
                r = history_set_save(h->set, &bytes, &count);
        if (r == 0)
                r = history_set_load(fresh, now + offset, bytes, count);
        if (!fresh) {
                log_warning("the history stands still until the time that it was: %s", error_text(r));
                return;
        }
        history_set_free(h->set);
        h->set = fresh;
}

struct node_history *history_start(const struct node *node)
{
        struct node_history *h = calloc(1, sizeof *h);

        if (!h || history_set_new(history_usual, HISTORY_USUAL_LEVELS, SERIES_MOST, &h->set) < 0) {
                free(h);
                return NULL;
        }
        h->copy = -1;
        h->machine.root = -1;
        h->readable = machine_open(&h->machine, "") == 0;
        h->written_ns = clock_now_ns();
        h->offset = offset_now(h->written_ns);
        memcpy(h->path, node->settings.history, sizeof h->path);
        load(h);
        return h;
}

static void put_devices(struct node *n, struct node_history *h, uint64_t now)
{
        uint32_t index = n->devices_n;

        for (uint32_t i = 0; i < n->devices_n; i++) {
                struct wire_STATUS_DEVICE d = {0};

                dump_device(n, i, now, &d);
                series_device(h->set, now + h->offset, &d, h->devices_ns ? &h->last[i] : NULL, now - h->devices_ns);
                h->last[i] = d;
        }
        for (size_t i = 0; i < observe_count(n->observe); i++) {
                struct wire_STATUS_DEVICE d = {0};

                if (observe_device(n->observe, i)->shareable)
                        continue;
                dump_observed(n, i, &d);
                d.index = index++;
                series_device(h->set, now + h->offset, &d, NULL, 0);
        }
        h->devices_ns = now;
}

void history_turn(struct node *node, uint64_t now)
{
        struct node_history *h = node->history;

        if (!h)
                return;
        follow_clock(h, now);
        if (h->readable) {
                bool first = !h->now.taken_ns;

                h->before = h->now;
                machine_look(&h->machine, now, &h->now);
                machine_rates(&h->now, first ? NULL : &h->before, &h->rates);
                machine_series(h->set, now + h->offset, &h->now, &h->rates);
        }
        put_devices(node, h, now);
        /* Nobody would be given one that is so old. */
        if (h->copy >= 0 && now - h->copied_ns >= NS_PER_S)
                fd_close_at(&h->copy);
        if (now - h->written_ns >= WRITE_NS)
                keep(h, now);
}

int history_open(struct node *node)
{
        struct node_history *h = node->history;
        uint64_t now = clock_now_ns();
        char *bytes scoped_free = NULL;
        scoped_fd int fd = -1;
        size_t count = 0;
        int r;

        if (!h)
                return -E_UNAVAILABLE;
        if (h->copy < 0 || now - h->copied_ns >= NS_PER_S) {
                r = history_set_save(h->set, &bytes, &count);
                if (r < 0)
                        return r;
                fd = memfd_create("berth-history", MFD_CLOEXEC | MFD_ALLOW_SEALING);
                if (fd < 0)
                        return -errno;
                r = write_all(fd, bytes, count);
                if (r == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
                        r = -errno;
                if (r < 0)
                        return r;
                fd_close_at(&h->copy);
                h->copy = take_fd(fd);
                h->copied_ns = now;
        }
        fd = fcntl(h->copy, F_DUPFD_CLOEXEC, 3);
        return fd < 0 ? -errno : take_fd(fd);
}

void history_end(struct node *node)
{
        struct node_history *h = node->history;

        if (!h)
                return;
        keep(h, clock_now_ns());
        fd_close_at(&h->copy);
        machine_close(&h->machine);
        history_set_free(h->set);
        free(h);
        node->history = NULL;
}
