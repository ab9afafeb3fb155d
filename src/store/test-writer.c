/* test-writer.c: the writer thread: order, groups, refused batches, calls between batches, a disk that is full for a while, stopping. */
#include "store/writer.h"

#include "base/error.h"
#include "store/test-store.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct seen {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        unsigned wakes, refused;
        uint64_t refused_number;
        int refused_error;
};

static struct seen seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void woken(void *context)
{
        struct seen *s = context;

        pthread_mutex_lock(&s->lock);
        s->wakes++;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
}

static void refused(void *context, uint64_t number, int error)
{
        struct seen *s = context;

        pthread_mutex_lock(&s->lock);
        s->refused++;
        s->refused_number = number;
        s->refused_error = error;
        pthread_mutex_unlock(&s->lock);
}

static struct writer *start(const char *url, struct store **ret_store)
{
        struct store *store = open_store(url);
        struct writer_options options = {.store = store, .wake = woken, .refused = refused, .context = &seen, .max_bytes = 1 << 20};
        struct writer *writer;

        seen.wakes = seen.refused = 0;
        assert_int_equal(writer_start(&options, &writer), 0);
        if (ret_store)
                *ret_store = store;
        return writer;
}

/* Waits until `number` is durable, or a final error. */
static int wait_durable(struct writer *writer, uint64_t number)
{
        struct writer_state state;

        pthread_mutex_lock(&seen.lock);
        for (;;) {
                unsigned before = seen.wakes;

                pthread_mutex_unlock(&seen.lock);
                writer_get_state(writer, &state);
                pthread_mutex_lock(&seen.lock);
                if (state.durable >= number || state.final)
                        break;
                while (seen.wakes == before)
                        pthread_cond_wait(&seen.changed, &seen.lock);
        }
        pthread_mutex_unlock(&seen.lock);
        return state.durable >= number ? 0 : state.error;
}

static void count_it(void *context, struct store *store)
{
        *(uint64_t *)context = count_rows(store, STORE_SETTING);
}

static void test_batches_become_durable_in_order(void **state)
{
        char url[300];
        struct writer *writer = start(fresh_url(*state, url), NULL);
        struct writer_state now;
        uint64_t number = 0, counted = 99;
        char key[20];

        for (int i = 1; i <= 200; i++) {
                struct store_change change = {STORE_PUT, setting_row((uint32_t)i, NULL)};
                struct store_batch batch = {&change, 1};

                snprintf(key, sizeof(key), "name-%d", i);
                change.row.text_key = key; /* copied: overwritten in the next turn */
                assert_int_equal(writer_put(writer, &batch, &number), 0);
                assert_int_equal(number, i);
                memset(key, 'x', sizeof(key) - 1);
        }
        assert_int_equal(writer_call(writer, count_it, &counted, &number), 0);
        assert_int_equal(wait_durable(writer, number), 0);
        assert_int_equal(counted, 200); /* the call ran after all that came before */
        writer_get_state(writer, &now);
        assert_int_equal(now.put, 201);
        assert_int_equal(now.rows, 200);
        assert_true(now.commits >= 1 && now.commits <= 200);
        assert_int_equal(now.error, 0);
        assert_int_equal(now.waiting_bytes, 0);
        assert_int_equal(writer_stop(writer, 0), 201);
        {
                struct store *store = open_store(url);

                assert_true(has_setting(store, "name-200"));
                store_close(store);
        }
}

static void test_a_batch_that_can_not_be_is_refused_alone(void **state)
{
        char url[300];
        struct writer *writer = start(fresh_url(*state, url), NULL);
        struct store_change changes[3] = {
                {STORE_PUT, setting_row(1, "a")},
                {STORE_PUT, setting_row(2, "b")},
                {STORE_PUT, setting_row(3, "c")},
        };
        struct writer_state now;
        uint64_t number;

        changes[1].row.spec = NULL; /* a status for a row that isn't there */
        changes[1].row.status = "{}";
        changes[1].row.status_bytes = 2;
        for (int i = 0; i < 3; i++)
                assert_int_equal(writer_put(writer, &(struct store_batch){&changes[i], 1}, &number), 0);
        assert_int_equal(wait_durable(writer, number), 0);
        writer_get_state(writer, &now);
        assert_int_equal(now.refused, 1);
        assert_int_equal(now.error, 0);
        assert_int_equal(seen.refused_number, 2);
        assert_int_equal(seen.refused_error, -ENOENT);
        assert_int_equal(writer_stop(writer, 0), 3);
        {
                struct store *store = open_store(url);

                assert_true(has_setting(store, "a"));
                assert_false(has_setting(store, "b"));
                assert_true(has_setting(store, "c"));
                store_close(store);
        }
}

static void test_a_stale_epoch_is_final(void **state)
{
        char url[300], problem[STORE_MESSAGE];
        struct writer *writer = start(fresh_url(*state, url), NULL);
        struct store_change change = {STORE_PUT, task_row(1, 3, 2)};
        struct writer_state now;
        uint64_t number;

        writer_set_epoch(writer, 3, 7); /* never claimed */
        assert_int_equal(writer_put(writer, &(struct store_batch){&change, 1}, &number), 0);
        assert_int_equal(wait_durable(writer, number), -ESTALE);
        change = (struct store_change){STORE_PUT, setting_row(1, "late")};
        assert_int_equal(writer_put(writer, &(struct store_batch){&change, 1}, &number), 0);
        writer_get_state(writer, &now);
        assert_true(now.final);
        assert_int_equal(now.durable, 0);
        writer_get_problem(writer, problem);
        assert_non_null(strstr(problem, "queue 3"));
        assert_int_equal(writer_stop(writer, 0), 0);
        {
                struct store *store = open_store(url);

                assert_false(has_setting(store, "late"));
                store_close(store);
        }
}

static void hold(void *context, struct store *store)
{
        pthread_mutex_t *gate = context;

        (void)store;
        pthread_mutex_lock(gate);
        pthread_mutex_unlock(gate);
}

static void test_too_much_waiting_is_told(void **state)
{
        pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
        char url[300], *big = calloc(1, 700000);
        struct writer *writer = start(fresh_url(*state, url), NULL);
        struct store_change change = {STORE_PUT, setting_row(1, "big")};
        uint64_t number;

        memset(big, 'x', 699999);
        change.row.spec = big;
        change.row.spec_bytes = 699999;
        pthread_mutex_lock(&gate);
        assert_int_equal(writer_call(writer, hold, &gate, &number), 0);
        /* Its few bytes count as waiting while it runs; the first large one fits beside them, the second does not. */
        assert_int_equal(writer_put(writer, &(struct store_batch){&change, 1}, &number), 0);
        assert_int_equal(writer_put(writer, &(struct store_batch){&change, 1}, &number), -EAGAIN);
        assert_int_equal(number, 2);
        pthread_mutex_unlock(&gate);
        assert_int_equal(wait_durable(writer, 2), 0);
        assert_int_equal(writer_put(writer, &(struct store_batch){&change, 1}, &number), 0);
        assert_int_equal(number, 3);
        assert_int_equal(writer_stop(writer, 5000), 3);
        free(big);
}

#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, make, remove_folder)

int main(void)
{
        int (*make)(void **state) = getenv("BERTH_TEST_POSTGRES") ? make_database : make_folder;
        const struct CMUnitTest tests[] = {
                CASE(batches_become_durable_in_order),
                CASE(a_batch_that_can_not_be_is_refused_alone),
                CASE(a_stale_epoch_is_final),
                CASE(too_much_waiting_is_told),
        };

        return cmocka_run_group_tests_name("writer", tests, NULL, NULL);
}
