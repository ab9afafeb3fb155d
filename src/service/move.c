/* move.c: giving queues up to another server, in order: the core forgets their tasks in this turn, so nothing more is decided about them; what was accepted
 * before becomes durable; then the writer's thread lets the claims go, and what is in memory of them is freed. Who waits for a task is told to ask again, elsewhere.
 *
 * Leases go on: the worker that runs one is not told that it is lost (lease_moved), the new owner has it in its rows, and the worker shows it there when it connects.
 */
#include "base/error.h"
#include "base/log.h"
#include "service/internal.h"

#define LOG_ROOM "service"
#define MOVED_MS 600000

bool lease_moved(struct service *s, const struct id *task)
{
        struct moved_lease *moved;

        HASH_FIND(by_id, s->moved, task, sizeof(*task), moved);
        return moved;
}

static void remember(struct service *s, const struct id *task)
{
        struct moved_lease *moved;

        HASH_FIND(by_id, s->moved, task, sizeof(*task), moved);
        if (!moved) {
                moved = calloc(1, sizeof(*moved));
                if (!moved) /* then its worker stops it, and it is run once more */
                        return;
                moved->id = *task;
                HASH_ADD(by_id, s->moved, id, sizeof(moved->id), moved);
        }
        moved->until_ms = s->now_ms + MOVED_MS;
}

static void drop(struct service *s, struct moved_lease *moved)
{
        HASH_DELETE(by_id, s->moved, moved);
        free(moved);
}

void lease_moved_back(struct service *s, const struct id *task)
{
        struct moved_lease *moved;

        HASH_FIND(by_id, s->moved, task, sizeof(*task), moved);
        if (moved)
                drop(s, moved);
}

void moved_sweep(struct service *s, bool all)
{
        struct moved_lease *moved, *next;

        HASH_ITER(by_id, s->moved, moved, next)
                if (all || s->now_ms >= moved->until_ms)
                        drop(s, moved);
}

/* In this order, so that none that waits for another is taken for ready on the way, and no lease makes room for one that is about to go. */
void queues_forget(struct service *s, uint32_t queues)
{
        static const uint32_t order[] = {CORE_HELD, CORE_BACKOFF, CORE_QUEUED, CORE_LEASED};
        struct task *task, *next;

        for (size_t i = 0; i < ARRAY_SIZE(order); i++)
                HASH_ITER(by_id, s->tasks, task, next) {
                        if (!(queues & 1u << task->queue) || task->number == CORE_NONE || task->now.state != order[i])
                                continue;
                        if (order[i] == CORE_LEASED)
                                remember(s, &task->id);
                        core_forget(s->core, task->number);
                        task->number = CORE_NONE;
                        task_lease_unlink(task);
                }
}

struct leaving {
        uint32_t queues;
};

static void release_call(void *context, struct store *store)
{
        const struct leaving *leaving = context;

        for (uint32_t i = 0; i < STORE_QUEUES; i++)
                if (leaving->queues & 1u << i && store_release(store, i) < 0)
                        log_warning("queue %u could not be given up: %s", i, store_problem(store));
}

static void free_task(struct service *s, struct task *task)
{
        while (task->waits) {
                struct service_wait *wait = task->waits;

                answer_error(s, wait->done, wait->context, -ESTALE);
                service_wait_cancel(wait);
        }
        if (!task->operations) {
                task_free(s, task);
                return;
        }
        /* Freed with the last of them. */
        if (!task->ended) {
                task->owner->unfinished--;
                s->queues[task->queue].tasks--;
        }
        task->ended = true;
}

static void released(struct service *s, void *context, int error)
{
        struct leaving *leaving = context;
        struct task *task, *next;

        s->queues_busy = false;
        if (!error) {
                HASH_ITER(by_id, s->tasks, task, next)
                        if (leaving->queues & 1u << task->queue)
                                free_task(s, task);
                for (uint32_t i = 0; i < STORE_QUEUES; i++)
                        if (leaving->queues & 1u << i)
                                s->queues[i].state = QUEUE_FOREIGN;
        }
        free(leaving);
}

void queues_give_up(struct service *s, uint32_t queues)
{
        struct leaving *leaving = calloc(1, sizeof(*leaving));
        struct operation *op;
        uint64_t number;

        if (!leaving)
                return;
        act_drain(s);
        pending_flush(s);
        leaving->queues = queues;
        if (s->queues_busy || s->pending_count || writer_call(s->writer, release_call, leaving, &number) < 0) {
                free(leaving);
                return;
        }
        s->batch = number + 1;
        s->queues_busy = true;
        for (uint32_t i = 0; i < STORE_QUEUES; i++) {
                if (!(queues & 1u << i))
                        continue;
                s->queues[i].state = QUEUE_LEAVING;
                s->queues[i].owner[0] = '\0';
                s->counters.queues_given++;
        }
        queues_forget(s, queues);
        act_drain(s);
        op = operation_add(s, OPERATION_CALL);
        op->call = released;
        op->context = leaving;
        log_info("%d queues are given up to other servers", __builtin_popcount(queues));
}
