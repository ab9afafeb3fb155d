/* test-redo.c: the log of commits: what was written is read again, in order and whole; what a power cut tore is not there; damage is named, whatever byte it is. */
#include "base/error.h"
#include "base/fd.h"
#include "store/redo.h"
#include "store/test-store.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD 4096

static const uint8_t ours[REDO_IDENTITY] = {1, 2, 3}, others[REDO_IDENTITY] = {1, 2, 4};

static const char *path_in(struct test_place *place, char path[300])
{
        snprintf(path, 300, "%s/log-%u", place->folder, ++place->made);
        return path;
}

static struct redo_record *record_of(uint32_t n, size_t bytes)
{
        struct store_change changes[] = {{STORE_PUT, task_row(n, 3, 2)}, {STORE_PUT, setting_row(n, "a key")}, {STORE_DELETE, setting_row(n + 1, NULL)}};
        struct store_batch batches[] = {{changes, 1}, {changes + 1, 0}, {changes + 1, 2}};
        struct redo_record *record;
        char *text = malloc(bytes + 1);

        memset(text, 'x', bytes + 1);
        changes[0].row.status = text;
        changes[0].row.status_bytes = bytes;
        record = redo_record_new(batches, 3);
        free(text);
        assert_non_null(record);
        assert_int_equal(record->changes, 3);
        return record;
}

static void append(struct redo *redo, uint32_t n, size_t bytes, int error)
{
        struct redo_record *record scoped_free = record_of(n, bytes);

        assert_int_equal(redo_append(redo, record), error);
}

struct seen {
        uint64_t next, count;
        int end;
};

static int check(void *context, const struct redo_record *record)
{
        struct seen *seen = context;
        struct store_change change;
        size_t at = 0;

        assert_int_equal(record->number, seen->next++);
        assert_int_equal(redo_record_next(record, &at, &change), 0);
        assert_int_equal(change.kind, STORE_PUT);
        assert_int_equal(change.row.table, STORE_TASK);
        assert_int_equal(number_of(&change.row.id), record->number);
        assert_int_equal(change.row.queue, 3);
        assert_int_equal(change.row.state, 2);
        assert_int_equal(change.row.kind, 7);
        assert_int_equal(number_of(&change.row.account), 1000003);
        assert_null(change.row.text_key);
        assert_string_equal(change.row.spec, "{\"type\":\"command\"}");
        assert_int_equal(change.row.spec_bytes, 18);
        assert_int_equal(strlen(change.row.status), change.row.status_bytes);
        assert_int_equal(redo_record_next(record, &at, &change), 0);
        assert_string_equal(change.row.text_key, "a key");
        assert_null(change.row.status);
        assert_int_equal(redo_record_next(record, &at, &change), 0);
        assert_int_equal(change.kind, STORE_DELETE);
        assert_int_equal(number_of(&change.row.id), record->number + 1);
        assert_int_equal(redo_record_next(record, &at, &change), -ENOENT);
        return ++seen->count == 3 ? seen->end : 0;
}

/* Opens it anew: so many records above `after`, or the error. */
static void expect(const char *path, uint64_t after, int64_t wanted)
{
        struct redo *redo scoped(redo_close) = NULL;
        struct seen seen = {.next = after + 1};
        int r = redo_open(path, ours, true, &redo);

        if (!r)
                r = redo_read(redo, after, check, &seen);
        if ((r ? r : (int64_t)seen.count) != wanted)
                fail_msg("after %llu: %d, %llu records in place of %lld", (unsigned long long)after, r, (unsigned long long)seen.count, (long long)wanted);
}

static void test_what_was_written_is_read(void **state)
{
        char path[300];
        struct redo *redo;
        struct seen seen = {.next = 1, .end = 7};
        struct stat before, after;

        assert_int_equal(redo_open(path_in(*state, path), ours, false, &redo), -ENOENT);
        assert_int_equal(redo_make(path, ours, &redo), 0);
        assert_int_equal(stat(path, &before), 0);
        assert_int_equal(before.st_mode & 0777, 0600);
        expect(path, 0, 0);
        redo_restart(redo, 0);
        for (uint32_t n = 1; n <= 100; n++)
                append(redo, n, n * 37, 0);
        assert_int_equal(redo_last(redo), 100);
        assert_int_equal(stat(path, &after), 0);
        assert_int_equal(after.st_size, before.st_size);
        expect(path, 0, 100);
        expect(path, 60, 40);
        expect(path, 100, 0);
        assert_int_equal(redo_read(redo, 0, check, &seen), 7); /* ended by who reads */
        redo_close(redo);
        assert_int_equal(redo_open(path, others, false, &redo), -ESTALE);
}

static void test_halves_take_turns(void **state)
{
        const size_t large = REDO_HALF / 3;
        char path[300];
        struct redo *redo;
        uint32_t n = 41;

        assert_int_equal(redo_make(path_in(*state, path), ours, &redo), 0);
        redo_restart(redo, 40);
        append(redo, n, REDO_HALF, -E2BIG);
        for (; n <= 44; n++)
                append(redo, n, large, 0);
        assert_true(redo_waits(redo));
        append(redo, n, large, -EAGAIN); /* the first half is full of what nobody let go */
        append(redo, n, large, -EAGAIN);
        expect(path, 40, 4);
        redo_forget(redo, 41);
        append(redo, n, large, -EAGAIN);
        redo_forget(redo, 42);
        assert_false(redo_waits(redo));
        append(redo, n++, large, 0);
        expect(path, 42, 3);
        expect(path, 43, 2);
        for (; n < 80; n++) {
                redo_forget(redo, redo_last(redo));
                append(redo, n, large, 0);
                expect(path, n - 1, 1);
        }
        redo_close(redo);
}

static void flip(const char *path, off_t at, uint8_t bits)
{
        int fd scoped_fd = open(path, O_RDWR | O_CLOEXEC);
        uint8_t byte;

        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= bits;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

static void test_a_flipped_bit_is_found(void **state)
{
        char path[300];
        struct redo *redo;
        unsigned seed = 5;

        assert_int_equal(redo_make(path_in(*state, path), ours, &redo), 0);
        redo_restart(redo, 0);
        for (uint32_t n = 1; n <= 3; n++)
                append(redo, n, 300, 0); /* two blocks each: more than 560 bytes, and filling that nothing depends on */
        redo_close(redo);
        expect(path, 0, 3);
        for (int i = 0; i < 400; i++) {
                off_t at = HEAD + rand_r(&seed) % 560, record = rand_r(&seed) % 3;
                uint8_t bits = (uint8_t)(1u << rand_r(&seed) % 8);

                flip(path, at + record * 1024, bits);
                /* The last one can't be told from one that was torn; the others are missed. */
                expect(path, 0, record == 2 ? 2 : -EBADMSG);
                expect(path, 3, 0); /* what the database has needs no log */
                if (record == 0)
                        expect(path, 1, 2);
                flip(path, at + record * 1024, bits);
        }
        for (off_t at = 0; at < 36; at++) {
                flip(path, at, 0x10);
                expect(path, 0, -EBADMSG);
                flip(path, at, 0x10);
        }
        assert_int_equal(truncate(path, HEAD + REDO_HALF), 0);
        expect(path, 0, -EBADMSG);
        assert_int_equal(truncate(path, 10), 0);
        expect(path, 0, -EBADMSG);
}

/* The last record, cut at every place where a power cut may end it, over what was there before. */
static void test_a_torn_record_is_not_there(void **state)
{
        struct redo_record *record;
        char path[300];
        struct redo *redo;

        assert_int_equal(redo_make(path_in(*state, path), ours, &redo), 0);
        redo_restart(redo, 0);
        for (uint32_t n = 1; n <= 3; n++)
                append(redo, n, 3000, 0);
        redo_restart(redo, 3); /* over these, as a new start does */
        append(redo, 4, 3000, 0);
        record = record_of(5, 3000);
        assert_int_equal(redo_append(redo, record), 0);
        expect(path, 3, 2);
        for (size_t kept = 0; kept < record->bytes; kept += 512) {
                int fd scoped_fd = open(path, O_RDWR | O_CLOEXEC);
                off_t at = HEAD + (off_t)record->bytes + (off_t)kept;
                size_t lost = record->bytes - kept;
                char *noise scoped_free = malloc(lost);

                memset(noise, 0x5a, lost);
                assert_int_equal(pwrite(fd, noise, lost, at), (ssize_t)lost);
                expect(path, 3, 1);
                /* It was not acknowledged; the next one takes its place and its number. */
                redo_restart(redo, 3);
                append(redo, 4, 3000, 0);
                append(redo, 5, 3000, 0);
                expect(path, 3, 2);
        }
        free(record);
        redo_close(redo);
}

static void test_records_that_lie_are_refused(void **state)
{
        struct redo_record *record = record_of(1, 100);
        unsigned seed = 11;
        (void)state;

        for (int i = 0; i < 20000; i++) {
                struct redo_record *copy scoped_free = malloc(sizeof(*copy) + record->bytes);
                struct store_change change;
                size_t at = 0;
                int r, count = 0;

                memcpy(copy, record, sizeof(*copy) + record->bytes);
                for (int k = 0; k < 3; k++)
                        copy->data[(size_t)rand_r(&seed) % 400] = (uint8_t)rand_r(&seed);
                while (!(r = redo_record_next(copy, &at, &change)))
                        if (change.row.text_key)
                                count += (int)strlen(change.row.text_key);
                assert_true(r == -ENOENT || r == -EBADMSG);
                assert_true(count < 1000);
        }
        free(record);
}

#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, make_folder, remove_folder)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(what_was_written_is_read), CASE(halves_take_turns),           CASE(a_flipped_bit_is_found),
                CASE(a_torn_record_is_not_there), CASE(records_that_lie_are_refused),
        };

        return cmocka_run_group_tests_name("redo", tests, NULL, NULL);
}
