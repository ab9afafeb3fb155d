/* test-store-kill.c: a process that commits through the writer and says what was acknowledged is killed at any moment, again and again: what it said is there, and no
 * batch is there in part. On both stores.
 */
#include "base/fd.h"
#include "store/test-store.h"
#include "store/writer.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 20
#define TASKS_A_BATCH 3

static void tell(void *context)
{
        uint64_t one = 1;
        ssize_t n = write(*(int *)context, &one, sizeof(one));

        (void)n;
}

/* Claims the queue; the server may need a moment to see that the process before is gone. */
static uint64_t claim(struct store *store, uint32_t queue)
{
        char owner[256];
        uint64_t epoch;
        int r;

        while ((r = store_claim(store, queue, &epoch, owner)) == -EBUSY)
                usleep(5000);
        if (r)
                _exit(11);
        return epoch;
}

/* Writes batches from number `first` on for ever: three tasks each, the first of the batch before changed. Says on `out` how far it is durable. */
static void commit_for_ever(const char *url, uint32_t first, int out)
{
        static char spec[3000];
        char message[STORE_MESSAGE];
        int wake = eventfd(0, EFD_CLOEXEC);
        struct writer_options options = {.wake = tell, .context = &wake, .max_bytes = 1 << 22};
        struct writer *writer;
        uint64_t number = 0, count;

        if (store_open(&(struct store_options){.url = url}, &options.store, message) || wake < 0)
                _exit(10);
        count = claim(options.store, 2);
        if (writer_start(&options, &writer))
                _exit(12);
        writer_set_epoch(writer, 2, count);
        memset(spec, 'x', sizeof(spec));
        for (uint32_t n = first;; n++) {
                struct store_change changes[TASKS_A_BATCH + 1];
                struct store_batch batch = {changes, TASKS_A_BATCH + (n > first)};
                struct writer_state state;

                for (uint32_t i = 0; i < TASKS_A_BATCH; i++) {
                        changes[i] = (struct store_change){STORE_PUT, task_row(n * TASKS_A_BATCH + i, 2, 2)};
                        changes[i].row.spec = spec;
                        changes[i].row.spec_bytes = (n * 100 + i) % sizeof(spec);
                }
                changes[TASKS_A_BATCH] = (struct store_change){STORE_PUT, task_row((n - 1) * TASKS_A_BATCH, 2, 5)};
                changes[TASKS_A_BATCH].row.spec = NULL;
                if (writer_put(writer, &batch, &number))
                        _exit(13);
                do {
                        writer_get_state(writer, &state);
                        if (state.error)
                                _exit(14);
                        if (state.durable + 8 < number && read(wake, &count, sizeof(count)) != sizeof(count)) /* eight at once */
                                _exit(15);
                } while (state.durable + 8 < number);
                if (state.durable) {
                        uint32_t sure = first + (uint32_t)state.durable - 1;

                        if (write(out, &sure, sizeof(sure)) != sizeof(sure))
                                _exit(0);
                }
        }
}

struct checking {
        uint32_t rows, last_task, ended;
        bool gap;
};

static int look(void *context, const struct store_row *row)
{
        struct checking *c = context;
        uint32_t n = number_of(&row->id);

        c->gap = c->gap || n != c->last_task + 1;
        c->last_task = n;
        c->rows++;
        if (row->state == 5)
                c->ended++;
        if (row->spec_bytes != (n / TASKS_A_BATCH * 100 + n % TASKS_A_BATCH) % 3000)
                c->gap = true;
        return 0;
}

static void test_what_was_acknowledged_survives_kill(void **state)
{
        char url[300];
        uint32_t durable = 0; /* batches 1 … durable must be there */
        unsigned seed = (unsigned)getpid(), acknowledged = 0;

        store_close(open_store(fresh_url(*state, url)));
        for (int round = 0; round < ROUNDS; round++) {
                uint32_t said = durable, wanted = 1 + (uint32_t)rand_r(&seed) % 60;
                struct checking c = {.last_task = TASKS_A_BATCH - 1};
                struct store *store;
                int ends[2], status;
                pid_t child;

                assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
                child = fork();
                assert_true(child >= 0);
                if (!child) {
                        close(ends[0]);
                        commit_for_ever(url, durable + 1, ends[1]);
                }
                close(ends[1]);
                for (uint32_t heard = 0; heard < wanted; heard++) {
                        if (read(ends[0], &said, sizeof(said)) != sizeof(said)) {
                                waitpid(child, &status, 0);
                                fail_msg("round %d: the child ended with status %d", round, WEXITSTATUS(status));
                        }
                        acknowledged++;
                }
                kill(child, SIGKILL);
                while (read(ends[0], &said, sizeof(said)) == sizeof(said)) /* what it could still say */
                        acknowledged++;
                close(ends[0]);
                waitpid(child, &status, 0);
                store = open_store(url);
                (void)claim(store, 2); /* whoever has the queue sees all that the one before could still commit */
                assert_int_equal(store_list(store, &(struct store_query){.table = STORE_TASK, .kind = -1}, look, &c), 0);
                store_close(store);
                assert_false(c.gap);
                assert_int_equal(c.rows % TASKS_A_BATCH, 0); /* no batch in part */
                if (c.rows / TASKS_A_BATCH < said)
                        fail_msg("round %d: %u batches were acknowledged, %u are there", round, said, c.rows / TASKS_A_BATCH);
                durable = c.rows / TASKS_A_BATCH;
        }
        assert_true(acknowledged >= ROUNDS);
        print_message("%u batches in %d rounds, %u acknowledgements\n", durable, ROUNDS, acknowledged);
}

int main(void)
{
        int (*make)(void **state) = getenv("BERTH_TEST_POSTGRES") ? make_database : make_folder;
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_what_was_acknowledged_survives_kill, make, remove_folder),
        };

        return cmocka_run_group_tests_name("killed", tests, NULL, NULL);
}
