/* replay.c: see replay.h. Records are found once; to go back is to begin at the record before that stands alone. */
#include "cli/replay.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "wire/series.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define FILE_MOST (UINT64_C(4) << 30)
#define SERIES_MOST 256

struct place {
        size_t at, bytes;
        bool key;
};

struct replay {
        const char *bytes;
        size_t size;
        struct place *places;
        size_t count, next; /* next: what state is ready for */
        bool any;
        struct record_state state;
        struct record_look now, before;
        struct machine_rates rates;
        struct history_set *history;
};

void replay_free(struct replay *r)
{
        if (!r)
                return;
        if (r->bytes)
                munmap((void *)r->bytes, r->size);
        record_state_done(&r->state);
        record_look_done(&r->now);
        record_look_done(&r->before);
        history_set_free(r->history);
        free(r->places);
        free(r);
}

static int find_records(struct replay *r)
{
        size_t room = 0;

        for (size_t at = RECORD_HEAD_BYTES; at < r->size;) {
                struct place p = {.at = at};

                if (record_get(&r->state, r->bytes + at, r->size - at, &p.bytes, &p.key, NULL) < 0)
                        break; /* what follows is no part of the file */
                if (r->count == room) {
                        struct place *more = realloc(r->places, (room = room ? room * 2 : 1024) * sizeof *more);

                        if (!more)
                                return -ENOMEM;
                        r->places = more;
                }
                r->places[r->count++] = p;
                at += p.bytes;
        }
        return r->count && r->places[0].key ? 0 : -E_MESSAGE;
}

int replay_open(const char *path, struct replay **ret, char message[CLI_MESSAGE])
{
        scoped(replay_free) struct replay *r = calloc(1, sizeof *r);
        scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        struct stat st;
        int error;

        if (!r)
                return -ENOMEM;
        if (fd < 0 || fstat(fd, &st) < 0) {
                error = -errno;
                snprintf(message, CLI_MESSAGE, "%.300s: %s", path, error_text(error));
                return error;
        }
        if (!S_ISREG(st.st_mode) || st.st_size < RECORD_HEAD_BYTES || (uint64_t)st.st_size > FILE_MOST) {
                snprintf(message, CLI_MESSAGE, "%.300s is no record of `berth record'", path);
                return -E_MESSAGE;
        }
        r->size = (size_t)st.st_size;
        r->bytes = mmap(NULL, r->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (r->bytes == MAP_FAILED) {
                r->bytes = NULL;
                return -errno;
        }
        error = record_check_head(r->bytes, r->size);
        if (error < 0) {
                snprintf(message, CLI_MESSAGE, "%.300s is %s", path, error == -E_VERSION ? "a record of another release of berth; replay it with that one" : "no record of `berth record'");
                return error;
        }
        error = find_records(r);
        if (error < 0) {
                snprintf(message, CLI_MESSAGE, "%.300s holds no whole record", path);
                return error;
        }
        *ret = take(r);
        return 0;
}

size_t replay_count(const struct replay *r)
{
        return r->count;
}

size_t replay_at(const struct replay *r)
{
        return r->next ? r->next - 1 : 0;
}

static int step(struct replay *r)
{
        const struct place *p = &r->places[r->next];
        struct record_look fresh;
        size_t bytes;
        bool key;
        int error = record_get(&r->state, r->bytes + p->at, r->size - p->at, &bytes, &key, &fresh);

        if (error < 0)
                return error;
        record_look_done(&r->before);
        r->before = r->now;
        r->now = fresh;
        r->next++;
        r->any = true;
        return 0;
}

/* Another daemon, or one that had gone: nothing is compared across it. */
static bool comparable(const struct replay *r)
{
        return r->before.has_daemon && r->now.has_daemon && r->before.snapshot.daemon.pid == r->now.snapshot.daemon.pid &&
               r->now.snapshot.taken_ns > r->before.snapshot.taken_ns;
}

static void keep(struct replay *r)
{
        const struct record_look *l = &r->now;

        machine_rates(l->has_machine ? l->look : &(struct machine_look){0}, l->has_machine && r->before.has_machine ? r->before.look : NULL, &r->rates);
        if (!r->history)
                return;
        if (l->has_machine)
                machine_series(r->history, l->unix_ns, l->look, &r->rates);
        for (size_t i = 0; i < l->snapshot.device_count; i++) {
                const struct wire_STATUS_DEVICE *d = &l->snapshot.devices[i];

                series_device(r->history, l->unix_ns, d, comparable(r) ? snapshot_device(&r->before.snapshot, d->index) : NULL,
                              comparable(r) ? l->snapshot.taken_ns - r->before.snapshot.taken_ns : 0);
        }
}

int replay_go(struct replay *r, size_t number, struct top_world *ret, uint64_t *ret_unix_ns, char message[CLI_MESSAGE])
{
        size_t first;
        int error = 0;

        if (number >= r->count)
                number = r->count - 1;
        /* From a record that stands alone, and one look earlier than wanted, for rates; a stretch before it makes the plots. */
        if (!r->any || number + 1 < r->next || number > r->next + RECORD_KEY_EVERY) {
                first = number > 600 ? number - 600 : 0;
                while (!r->places[first].key)
                        first--;
                record_state_done(&r->state);
                record_look_done(&r->now);
                record_look_done(&r->before);
                history_set_free(r->history);
                if (history_set_new(history_usual, HISTORY_USUAL_LEVELS, SERIES_MOST, &r->history) < 0)
                        r->history = NULL;
                r->next = first;
        }
        while (error == 0 && r->next <= number) {
                error = step(r);
                if (error == 0)
                        keep(r);
        }
        if (error < 0) {
                snprintf(message, CLI_MESSAGE, "record %zu of %zu is damaged", r->next + 1, r->count);
                return error;
        }
        *ret = (struct top_world){
                .now = r->now.has_daemon ? &r->now.snapshot : NULL,
                .before = comparable(r) ? &r->before.snapshot : NULL,
                .look = r->now.look,
                .rates = r->now.has_machine ? &r->rates : NULL,
                .processes = r->now.processes.count ? &r->now.processes : NULL,
                .processes_before = r->before.processes.count ? &r->before.processes : NULL,
                .hertz = r->now.hertz,
                .page = r->now.page,
                .history = r->history,
                .history_ns = r->now.unix_ns,
                .probes = r->now.probes,
                .probes_why = "not recorded",
                .status = {.uid = UINT32_MAX},
        };
        *ret_unix_ns = r->now.unix_ns;
        return 0;
}
