/* fuzz-core.c: bytes become events for a small core: eight workers, four accounts, tasks of a few needs; right and wrong words about leases, numbers that
 * fit nobody's books, texts without an end, jumps of time. After every event all invariants of pool/core.h hold.
 */
#include "base/error.h"
#include "pool/core.h"

#include "fuzz.h"

#include <string.h>

enum { WORKERS = 8, TASKS = 64, MAX_EVENTS = 500 };

struct lease {
        struct id task;
        uint64_t nonce;
        uint32_t worker;
};

struct world {
        struct core *core;
        uint64_t now;
        struct lease leases[TASKS]; /* as told; some are long over */
        uint32_t leases_n, ids;
};

static struct id make_id(char kind, uint8_t number)
{
        struct id id = {.bytes = {(uint8_t)kind, [15] = number}};

        return id;
}

static void short_text(char *text, size_t size, struct fuzz_input *in)
{
        uint8_t kind = fuzz_byte(in);

        memset(text, 0, size);
        if (kind == 255)
                memset(text, 'x', size); /* no end */
        else if (kind == 254)
                text[0] = (char)fuzz_byte(in);
        else if (kind & 3)
                text[0] = (char)('a' + (kind & 3));
}

static void needs(struct core_needs *n, struct fuzz_input *in)
{
        uint8_t kind = fuzz_byte(in);

        short_text(n->type, sizeof(n->type), in);
        if (kind & 1)
                short_text(n->device, sizeof(n->device), in);
        if (kind & 2)
                short_text(n->model, sizeof(n->model), in);
        if (kind & 4)
                n->memory_bytes = (uint64_t)(fuzz_byte(in) & 7) << 30;
        if (kind & 8)
                n->label_count = kind & 16 ? fuzz_byte(in) : 1;
        if (kind & 8)
                short_text(n->labels[0].name, sizeof(n->labels[0].name), in);
        if (kind & 32)
                n->worker = make_id('w', fuzz_byte(in) % WORKERS + 1);
}

static void task(struct world *w, struct fuzz_input *in)
{
        uint8_t kind = fuzz_byte(in), more = fuzz_byte(in);
        struct core_task_spec spec = {.id = make_id('t', (uint8_t)(kind & 1 ? fuzz_byte(in) : ++w->ids)), .account = make_id('a', more & 3),
                                      .band = more >> 2 & 7, .deadline = CORE_NEVER, .wait_for_workers = kind & 2, .attempts = more >> 5};
        struct core_refusal refusal;
        struct id after[2];
        uint32_t number;
        int r;

        needs(&spec.needs, in);
        if (kind & 4)
                spec.deadline = w->now + fuzz_u16(in);
        if (kind & 8)
                spec.not_before = w->now + fuzz_byte(in);
        if (kind & 16) {
                after[0] = make_id('t', fuzz_byte(in));
                after[1] = make_id('t', fuzz_byte(in));
                spec.after = after;
                spec.after_count = 2;
        }
        if (kind & 32)
                spec.key = make_id('k', fuzz_byte(in) & 3);
        if (kind & 64)
                spec.cost = fuzz_u16(in);
        if (kind & 128) {
                struct core_restored was = {.state = fuzz_byte(in) & 7, .attempt = fuzz_byte(in), .nonce = fuzz_byte(in), .retry_at = w->now + fuzz_u16(in),
                                            .worker = make_id('w', fuzz_byte(in) % WORKERS), .blamed_count = more, .broken = more == 77};

                r = core_restore(w->core, w->now, &spec, &was, NULL, &number);
                return;
        }
        r = core_submit(w->core, w->now, &spec, NULL, &number, &refusal);
        promise(!r || (refusal.error == r && refusal.text[0]), "refused with %d and without a word", r);
        promise(refusal.unmet_count <= CORE_UNMET, "unmet %u", refusal.unmet_count);
}

static void worker(struct world *w, uint32_t number, struct fuzz_input *in)
{
        uint8_t kind = fuzz_byte(in);
        char types[2][CORE_TEXT], models[2][CORE_TEXT * 2];
        struct core_worker_spec spec = {.id = make_id('w', (uint8_t)(number + 1)), .account = make_id('a', kind & 3), .slots = kind >> 2 & 3,
                                        .host_memory_bytes = (uint64_t)(kind & 7) << 30, .types = types, .type_count = kind & 16 ? 2 : 1, .models = models,
                                        .model_count = 2, .private_pool = kind & 32};
        uint32_t joined;
        int r;

        for (int i = 0; i < 2; i++) {
                short_text(types[i], sizeof(types[i]), in);
                short_text(models[i], sizeof(models[i]), in);
        }
        if (kind & 64) {
                spec.device_count = 1;
                short_text(spec.devices[0].kind, sizeof(spec.devices[0].kind), in);
                spec.devices[0].memory_bytes = (uint64_t)(fuzz_byte(in) & 7) << 30;
        }
        if (kind & 128) {
                spec.label_count = 1;
                short_text(spec.labels[0].name, sizeof(spec.labels[0].name), in);
        }
        r = fuzz_byte(in) & 1 ? core_worker_join(w->core, w->now, &spec, NULL, &joined) : core_worker_change(w->core, w->now, number, &spec);
        (void)r;
}

/* About a lease that was told, by its worker or another one, with its nonce or another one. */
static void word(struct world *w, struct fuzz_input *in)
{
        uint8_t kind = fuzz_byte(in);
        struct lease l = w->leases_n ? w->leases[fuzz_byte(in) % w->leases_n] : (struct lease){.task = make_id('t', 1)};
        enum core_verdict verdict;

        if (kind & 64)
                l.worker = fuzz_byte(in) % WORKERS;
        if (kind & 128)
                l.nonce ^= fuzz_byte(in);
        switch (kind % 8) {
        case 0:
        case 1:
        case 2:
                verdict = core_result(w->core, w->now, l.worker, &l.task, l.nonce, fuzz_u16(in));
                if (verdict == CORE_OK)
                        promise(core_result(w->core, w->now, l.worker, &l.task, l.nonce, 1) == CORE_STALE, "a result twice");
                break;
        case 3:
        case 4:
                verdict = core_fail(w->core, w->now, l.worker, &l.task, l.nonce, kind & 16, kind & 32);
                if (verdict == CORE_OK)
                        promise(core_fail(w->core, w->now, l.worker, &l.task, l.nonce, true, true) == CORE_STALE, "failed twice");
                break;
        case 5:
                verdict = core_renew(w->core, w->now, l.worker, &l.task, l.nonce);
                break;
        case 6:
                verdict = core_decline(w->core, w->now, l.worker, &l.task, l.nonce);
                break;
        default:
                verdict = core_resume(w->core, w->now, l.worker, &l.task, l.nonce);
                break;
        }
}

static void carry_out(struct world *w)
{
        struct core_action a;

        for (uint32_t i = 0; core_next_action(w->core, &a); i++) {
                promise(i < 10000, "actions without end");
                promise(a.kind <= CORE_BRAKE && a.reason < CORE_REASONS && a.state <= CORE_EXPIRED, "action %u", a.kind);
                if (a.kind != CORE_LEASE)
                        continue;
                w->leases[w->leases_n % TASKS] = (struct lease){a.task_id, a.nonce, a.worker};
                w->leases_n += w->leases_n < TASKS;
        }
}

static void look(struct world *w, uint32_t number)
{
        struct core_task_view task_view;
        struct core_worker_view worker_view;
        struct core_statistics statistics;

        core_task_view(w->core, w->now, number, &task_view);
        promise(task_view.why.unmet_count <= CORE_UNMET, "unmet %u", task_view.why.unmet_count);
        core_worker_view(w->core, w->now, number, &worker_view);
        core_statistics(w->core, &statistics);
}

static void step(struct world *w, struct fuzz_input *in)
{
        uint8_t op = fuzz_byte(in);
        uint32_t number = op >> 4;
        struct core_settings settings;
        struct id id;
        char models[1][CORE_TEXT * 2];
        int r = 0;

        switch (op & 15) {
        case 0:
        case 1:
        case 2:
                task(w, in);
                break;
        case 3:
                worker(w, number % WORKERS, in);
                break;
        case 4:
        case 5:
                core_ready(w->core, w->now, number % WORKERS, fuzz_byte(in));
                break;
        case 6:
        case 7:
                word(w, in);
                break;
        case 8:
                w->now += fuzz_u16(in) << (op >> 5);
                core_tick(w->core, w->now);
                break;
        case 9:
                r = core_cancel(w->core, w->now, fuzz_byte(in));
                break;
        case 10:
                r = core_prioritise(w->core, w->now, fuzz_byte(in), number);
                break;
        case 11:
                r = core_set_deadline(w->core, w->now, fuzz_byte(in), number ? w->now + fuzz_u16(in) : CORE_NEVER);
                break;
        case 12:
                if (number & 8)
                        core_worker_silent(w->core, w->now, number % WORKERS);
                else
                        core_worker_leave(w->core, w->now, number % WORKERS);
                break;
        case 13:
                r = core_worker_drain(w->core, w->now, number % WORKERS, fuzz_byte(in) & 1);
                short_text(models[0], sizeof(models[0]), in);
                core_worker_models(w->core, w->now, number % WORKERS, models, 1);
                break;
        case 14:
                id = make_id('a', number & 3);
                r = core_account(w->core, &id, fuzz_byte(in), fuzz_byte(in) & 7);
                id = make_id('k', number & 3);
                r = core_key(w->core, &id, fuzz_byte(in) & 3);
                core_forget(w->core, fuzz_byte(in));
                break;
        default:
                settings = core_default_settings;
                settings.age_ms = fuzz_byte(in) * 100;
                settings.max_leases_per_account = fuzz_byte(in) & 3;
                settings.brake_min = fuzz_byte(in) & 3;
                core_change_settings(w->core, w->now, &settings);
                break;
        }
        (void)r;
        look(w, number);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct core_settings settings = core_default_settings;
        struct fuzz_input in = {data, size};
        struct world w = {.now = 1000000};
        char message[256];

        settings.max_tasks = TASKS;
        w.core = core_new(&settings, 1);
        promise(w.core != NULL, "memory");
        for (unsigned int i = 0; in.left && i < MAX_EVENTS; i++) {
                int r;

                step(&w, &in);
                carry_out(&w);
                r = core_check(w.core, w.now, message);
                promise(r == 0, "event %u: %s", i, message);
        }
        core_free(w.core);
        return 0;
}
