/* test-core-match.c: which worker fits which task, and which of those that fit gets it; what is refused, and why. */
#include "pool/test-core.h"

#define GIB (UINT64_C(1) << 30)

static const char both_models[][CORE_TEXT * 2] = {"llama", "mistral"};

static struct core_worker_spec gpu_worker(uint32_t number, uint64_t memory)
{
        struct core_worker_spec spec = worker_spec(number, 1);

        spec.device_count = 1;
        spec.devices[0] = (struct core_device){.kind = "gpu", .memory_bytes = memory};
        spec.models = both_models;
        spec.model_count = 2;
        spec.label_count = 2;
        snprintf(spec.labels[0].name, CORE_TEXT, "zone");
        snprintf(spec.labels[0].value, CORE_TEXT, "%s", number % 2 ? "a" : "b");
        snprintf(spec.labels[1].name, CORE_TEXT, "host");
        snprintf(spec.labels[1].value, CORE_TEXT, "machine-%u", number);
        return spec;
}

static struct core_task_spec needing(uint32_t number, const char *device, uint64_t memory, const char *model, const char *zone)
{
        struct core_task_spec spec = task_spec(number, 1);

        spec.wait_for_workers = false;
        snprintf(spec.needs.device, sizeof(spec.needs.device), "%s", device);
        snprintf(spec.needs.model, sizeof(spec.needs.model), "%s", model);
        spec.needs.memory_bytes = memory;
        if (zone) {
                spec.needs.label_count = 1;
                snprintf(spec.needs.labels[0].name, CORE_TEXT, "zone");
                snprintf(spec.needs.labels[0].value, CORE_TEXT, "%s", zone);
        }
        return spec;
}

static int try_spec(const struct core_task_spec *spec, uint32_t *workers)
{
        int r = core_try(core, spec, workers, &refusal);

        hear();
        assert_int_equal(seen_n, 0);
        return r;
}

static void test_every_need_counts(void **state)
{
        struct core_task_spec spec;
        uint32_t workers;

        (void)state;
        begin();
        for (uint32_t i = 1; i <= 6; i++) {
                struct core_worker_spec w = gpu_worker(i, i * 8 * GIB);

                join_spec(&w);
        }
        join(7, 1); /* no device */
        spec = needing(1, "", 0, "", NULL);
        assert_int_equal(try_spec(&spec, &workers), 0);
        assert_int_equal(workers, 7);
        spec = needing(1, "gpu", 0, "", NULL);
        assert_int_equal(try_spec(&spec, &workers), 0);
        assert_int_equal(workers, 6);
        spec = needing(1, "gpu", 24 * GIB, "", NULL);
        assert_int_equal(try_spec(&spec, &workers), 0);
        assert_int_equal(workers, 4);
        spec = needing(1, "gpu", 24 * GIB + 1, "llama", "a");
        assert_int_equal(try_spec(&spec, &workers), 0);
        assert_int_equal(workers, 1);
        spec = needing(1, "cpu", 16 * GIB, "", NULL); /* the host's memory */
        assert_int_equal(try_spec(&spec, &workers), 0);
        assert_int_equal(workers, 7);
        spec = needing(1, "", 30 * GIB, "", NULL); /* any device */
        assert_int_equal(try_spec(&spec, &workers), 0);
        assert_int_equal(workers, 3);
}

static void test_refused_with_a_count_for_each_need(void **state)
{
        struct core_task_spec spec;
        uint32_t workers, task;

        (void)state;
        begin();
        for (uint32_t i = 1; i <= 3; i++) {
                struct core_worker_spec w = gpu_worker(i, i * 8 * GIB);

                join_spec(&w);
        }
        spec = needing(1, "gpu", 24 * GIB, "gpt", "a");
        assert_int_equal(core_submit(core, now, &spec, NULL, &task, &refusal), -ENOTSUP);
        hear();
        assert_int_equal(refusal.error, -ENOTSUP);
        assert_int_equal(refusal.unmet_count, 5);
        for (uint32_t i = 0; i < refusal.unmet_count; i++) {
                const struct core_unmet *u = &refusal.unmet[i];

                assert_int_equal(u->total, 3);
                assert_int_equal(u->matched, !strcmp(u->need, "model gpt") ? 0 : !strcmp(u->need, "gpu memory ≥ 24 GiB") ? 1
                                             : !strcmp(u->need, "label zone=a") ? 2 : 3);
        }
        assert_string_equal(refusal.text, "no worker could take it: model gpt is met by 0 of 3 workers");
        /* Each by some, all by none: zone b has 16 GiB at most. */
        spec = needing(1, "gpu", 24 * GIB, "llama", "b");
        assert_int_equal(try_spec(&spec, &workers), -ENOTSUP);
        assert_int_equal(workers, 0);
        assert_non_null(strstr(refusal.text, "each need is met by some"));
        spec.wait_for_workers = true;
        submit_spec(&spec);
        assert_int_equal(core->classes.live, 2);
}

static void test_every_need_at_once_is_counted(void **state)
{
        struct core_task_spec spec = needing(1, "gpu", 24 * GIB, "gpt", NULL);
        struct core_worker_spec w = gpu_worker(1, 8 * GIB);
        uint32_t workers;

        (void)state;
        begin();
        w.private_pool = true;
        w.account = id_of('a', 9);
        join_spec(&w);
        spec.needs.worker = w.id;
        spec.needs.label_count = CORE_LABELS;
        for (uint32_t i = 0; i < CORE_LABELS; i++)
                snprintf(spec.needs.labels[i].name, CORE_TEXT, "label-%u", i);
        assert_int_equal(try_spec(&spec, &workers), -ENOTSUP);
        assert_int_equal(refusal.unmet_count, CORE_UNMET);
}

static void test_workers_that_differ_in_nothing_asked_for_are_one_kind(void **state)
{
        struct core_task_spec spec;
        struct core_worker_spec w;

        (void)state;
        begin();
        for (uint32_t i = 1; i <= 50; i++) {
                w = gpu_worker(i, 8 * GIB + i);
                w.host_memory_bytes = 16 * GIB + i * 4096;
                join_spec(&w);
        }
        assert_int_equal(core->profiles.live, 1);
        spec = needing(1, "gpu", 8 * GIB + 20, "", "a");
        submit_spec(&spec); /* tells memory and zone apart: 2 × 2 kinds, and the name of the type is everyone's */
        assert_int_equal(core->profiles.live, 4);
        spec = needing(2, "", 0, "", NULL);
        spec.needs.label_count = 1;
        snprintf(spec.needs.labels[0].name, CORE_TEXT, "host");
        snprintf(spec.needs.labels[0].value, CORE_TEXT, "machine-7");
        submit_spec(&spec);
        assert_int_equal(core->profiles.live, 5);
        assert_int_equal(view_of(1).fitting, 1);
}

static void test_the_resident_model_is_preferred(void **state)
{
        struct core_task_spec spec;
        uint32_t workers[3], task;

        (void)state;
        begin();
        for (uint32_t i = 0; i < 3; i++) {
                struct core_worker_spec w = gpu_worker(i + 1, (i + 1) * 8 * GIB);

                workers[i] = join_spec(&w);
                ready(workers[i], 1);
                now += 10;
        }
        core_worker_models(core, now, workers[2], both_models + 1, 1);
        hear();
        spec = needing(1, "", 0, "mistral", NULL);
        task = submit_spec(&spec);
        assert_int_equal(worker_of(task), workers[2]);
        spec = needing(2, "", 0, "mistral", NULL);
        task = submit_spec(&spec);
        assert_int_equal(worker_of(task), workers[0]); /* else who is ready longest */
}

static void test_a_worker_goes_on_with_its_resident_model(void **state)
{
        struct core_worker_spec w = gpu_worker(1, 8 * GIB);
        struct core_task_spec spec;
        uint32_t worker, other, same;

        (void)state;
        begin();
        worker = join_spec(&w);
        core_worker_models(core, now, worker, both_models, 1);
        spec = needing(1, "", 0, "mistral", NULL);
        other = submit_spec(&spec);
        spec = needing(2, "", 0, "llama", NULL);
        same = submit_spec(&spec);
        ready(worker, 1);
        assert_int_equal(state_of(same), CORE_LEASED);
        assert_int_equal(state_of(other), CORE_QUEUED);
}

static void test_the_least_loaded_worker_is_preferred(void **state)
{
        struct core_task_spec spec = task_spec(1, 1);
        uint32_t one, two, task;

        (void)state;
        begin();
        one = join(1, 4);
        two = join(2, 4);
        ready(one, 4);
        spec.cost = 10000;
        submit_spec(&spec);
        ready(two, 4);
        for (uint32_t i = 2; i < 6; i++) { /* four of 1 s each: still less than one of 10 s */
                spec.id = id_of('t', i);
                spec.cost = 1000;
                task = submit_spec(&spec);
                assert_int_equal(worker_of(task), two);
        }
}

static void test_private_workers_serve_their_owner(void **state)
{
        struct core_worker_spec w = worker_spec(1, 2);
        struct core_task_spec spec = task_spec(1, 2);
        uint32_t worker, task, workers;

        (void)state;
        begin();
        w.private_pool = true;
        w.account = id_of('a', 1);
        worker = join_spec(&w);
        ready(worker, 2);
        spec.wait_for_workers = false;
        assert_int_equal(try_spec(&spec, &workers), -ENOTSUP);
        assert_string_equal(refusal.unmet[1].need, "open to this account");
        assert_int_equal(refusal.unmet[1].matched, 0);
        spec.wait_for_workers = true;
        task = submit_spec(&spec);
        assert_int_equal(state_of(task), CORE_QUEUED);
        task = submit(2);
        assert_int_equal(worker_of(task), worker);
}

static void test_one_certain_worker(void **state)
{
        struct core_task_spec spec = task_spec(1, 1);
        uint32_t one, two, task, workers;

        (void)state;
        begin();
        one = join(1, 1);
        ready(one, 1);
        spec.needs.worker = id_of('w', 2);
        task = submit_spec(&spec);
        assert_int_equal(view_of(task).fitting, 0);
        two = join(2, 1);
        ready(two, 1);
        assert_int_equal(worker_of(task), two);
        spec.id = id_of('t', 2);
        assert_int_equal(try_spec(&spec, &workers), 0);
        assert_int_equal(workers, 1);
        core_worker_leave(core, now, two);
        hear();
        assert_int_equal(state_of(task), CORE_QUEUED);
        spec.wait_for_workers = false;
        assert_int_equal(try_spec(&spec, &workers), -ENOTSUP);
}

static void test_abilities_can_change(void **state)
{
        struct core_worker_spec w = gpu_worker(1, 8 * GIB);
        struct core_task_spec spec = needing(1, "gpu", 16 * GIB, "", NULL);
        uint32_t worker, task;

        (void)state;
        begin();
        spec.wait_for_workers = true;
        task = submit_spec(&spec);
        worker = join_spec(&w);
        ready(worker, 1);
        assert_int_equal(state_of(task), CORE_QUEUED);
        w.devices[0].memory_bytes = 16 * GIB;
        assert_int_equal(core_worker_change(core, now, worker, &w), 0);
        hear();
        assert_int_equal(worker_of(task), worker);
}

static void test_needs_come_and_go(void **state)
{
        struct core_task_spec spec;
        uint32_t workers;

        (void)state;
        begin();
        for (uint32_t i = 1; i <= 8; i++) {
                struct core_worker_spec w = gpu_worker(i, i * GIB);

                join_spec(&w);
        }
        for (uint32_t i = 0; i < CORE_CLASSES * 2; i++) { /* more than are kept */
                spec = needing(1, "gpu", GIB + i * (UINT64_C(1) << 20), "", NULL);
                (void)core_try(core, &spec, &workers, &refusal);
                assert_int_equal(workers, i > 7 * 1024 ? 0 : 8 - (i + 1023) / 1024);
        }
        hear();
        assert_int_equal(core->classes.live, CORE_CLASSES);
}

static void test_one_account_cannot_use_up_all_kinds(void **state)
{
        uint32_t task, taken = 0;

        (void)state;
        begin();
        join(1, 1);
        for (uint32_t i = 0; i < CORE_CLASSES; i++) {
                struct core_task_spec spec = task_spec(1 + i, 1);

                spec.needs.memory_bytes = 1 + i;
                taken += !core_submit(core, now, &spec, NULL, &task, &refusal);
        }
        assert_int_equal(taken, CORE_CLASSES_PER_ACCOUNT);
        assert_int_equal(refusal.error, -E_QUOTA);
        hear();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_every_need_counts, end_core),
                cmocka_unit_test_teardown(test_refused_with_a_count_for_each_need, end_core),
                cmocka_unit_test_teardown(test_every_need_at_once_is_counted, end_core),
                cmocka_unit_test_teardown(test_workers_that_differ_in_nothing_asked_for_are_one_kind, end_core),
                cmocka_unit_test_teardown(test_the_resident_model_is_preferred, end_core),
                cmocka_unit_test_teardown(test_a_worker_goes_on_with_its_resident_model, end_core),
                cmocka_unit_test_teardown(test_the_least_loaded_worker_is_preferred, end_core),
                cmocka_unit_test_teardown(test_private_workers_serve_their_owner, end_core),
                cmocka_unit_test_teardown(test_one_certain_worker, end_core),
                cmocka_unit_test_teardown(test_abilities_can_change, end_core),
                cmocka_unit_test_teardown(test_needs_come_and_go, end_core),
                cmocka_unit_test_teardown(test_one_account_cannot_use_up_all_kinds, end_core),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
