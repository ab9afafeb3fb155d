/* turn.c: when this process may run: opening, draining and closing its gate, and what becomes of it without a daemon; see turn.h. */
#include "cuda/turn.h"

#include "base/clock.h"
#include "cuda/cache.h"
#include "cuda/hand.h"
#include "cuda/lane.h"
#include "cuda/move.h"
#include "cuda/ordered.h"
#include "cuda/pool.h"
#include "cuda/say.h"
#include "cuda/tell.h"
#include "cuda/tier.h"

static bool gate_closing, open_held;

static bool in_flight(void)
{
        for (unsigned int i = 0; i < berth.devices_n; i++)
                if (berth.devices[i].flights_n)
                        return true;
        return false;
}

/* The gate is open when every device that ever admitted us lets us run. Copies of an order that was withdrawn land first, whoever said go:
 * the program would change memory under a copy out, and read it under a copy in. */
void turn_open_if_all_run(void)
{
        for (unsigned int i = 0; i < berth.devices_n; i++) {
                const struct device *d = &berth.devices[i];

                if (d->managed && d->admitted && !d->running)
                        return;
        }
        open_held = in_flight();
        if (open_held)
                return;
        gate_closing = false;
        berth.broken = CUDA_SUCCESS; /* that context has ended, and all that was its */
        lane_open();
        pthread_cond_broadcast(&berth_changed);
}

void turn_broken(const struct device *d, CUresult error)
{
        if (berth.broken)
                return;
        berth.broken = error;
        say("%lu MiB of device memory can't come back: the driver answers error %d to everything in this context. The program's calls go on to the driver, and fail there",
            (unsigned long)(move_out_bytes(d) >> 20), error);
        gate_closing = open_held = false;
        lane_open();
        pthread_cond_broadcast(&berth_changed);
}

void turn_open_when_landed(void)
{
        if (!open_held || in_flight())
                return;
        for (unsigned int i = 0; i < berth.devices_n; i++)
                if (berth.devices[i].draining)
                        return;
        turn_open_if_all_run();
}

void turn_let_run(struct device *d)
{
        d->running = d->admitted = true;
        d->draining = false;
        d->want_sent = false;
        turn_open_if_all_run();
}

/* Closes the gate and waits, over several calls, until nothing of this process runs on a device. */
bool turn_drain_step(void)
{
        unsigned int passed;
        bool draining = false;

        for (unsigned int i = 0; i < berth.devices_n; i++)
                draining |= berth.devices[i].draining;
        if (!draining)
                return false;
        if (!gate_closing) {
                if (lane_captures())
                        return true; /* never under an open capture; it ends soon */
                lane_close();
                gate_closing = true;
        }
        if (lane_captures() || !lane_quiet())
                return true;
        passed = lane_passed();
        lane_draining(true);
        for (unsigned int i = 0; i < berth.devices_n; i++) {
                for (unsigned int c = 0; c < berth.devices[i].contexts_n; c++) {
                        CUcontext context = berth.devices[i].contexts[c], popped;

                        books_unlock();
                        if (real.cuCtxPushCurrent_v2(context) == CUDA_SUCCESS) {
                                /* A broken context answers with its error: nothing runs there either. */
                                (void)real.cuCtxSynchronize();
                                real.cuCtxPopCurrent_v2(&popped);
                        }
                        books_lock();
                }
        }
        lane_draining(false);
        if (lane_captures() || !lane_quiet() || lane_passed() != passed)
                return true;
        for (unsigned int i = 0; i < berth.devices_n; i++) {
                struct device *d = &berth.devices[i];

                if (d->draining) {
                        bool wants = turn_wanted();

                        ordered_limit(d, 0);
                        cache_limit(d, 0);
                        pool_settle(d);
                        d->draining = d->running = false;
                        d->want_sent = wants;
                        d->ask_sent = false;
                        tell_given_way(d, clock_now_ns() - d->drain_since, wants);
                }
        }
        return false;
}

bool turn_wanted(void)
{
        if (atomic_load(&berth_page->waiting))
                return true;
        for (unsigned int i = 0; i < berth.devices_n; i++)
                /* What is asked for on a neighbour is for moving, and no wish of the program's. */
                if (!berth.devices[i].storage && (berth.devices[i].asked || berth.devices[i].reserving))
                        return true;
        return false;
}

bool turn_held_elsewhere(const struct device *d)
{
        for (unsigned int i = 0; i < berth.devices_n; i++) {
                const struct device *other = &berth.devices[i];

                if (other != d && other->managed && other->admitted && !other->running)
                        return true;
        }
        return false;
}

/* Without a daemon, who has nothing out on any device runs on. Who has runs on none: a new daemon would take one of its devices for running, and
 * nobody would ask for the others. */
static void run_if_whole(void)
{
        bool whole = true;

        for (unsigned int i = 0; i < berth.devices_n; i++) {
                struct device *d = &berth.devices[i];

                if (d->managed && d->admitted && !d->running && (d->coming || move_out_bytes(d)))
                        whole = false;
        }
        for (unsigned int i = 0; i < berth.devices_n; i++) {
                struct device *d = &berth.devices[i];

                if (!d->managed || !d->admitted)
                        continue;
                if (!whole)
                        d->running = false;
                else if (!d->running)
                        turn_let_run(d);
        }
}

/* The daemon went away: nothing it ordered counts any more. */
void turn_without_daemon(void)
{
        berth.link = LINK_AWAY;
        berth.away_since = clock_now_ns();
        hand_forget();
        tier_done();
        for (unsigned int i = 0; i < berth.devices_n; i++) {
                struct device *d = &berth.devices[i];

                if (!d->managed)
                        continue;
                move_stop(d);
                d->announce_sent = d->announced = d->want_sent = d->ask_sent = d->draining = false;
                d->dirty = true;
        }
        run_if_whole();
        berth.host_wanted = 0;
        turn_open_if_all_run();
        pthread_cond_broadcast(&berth_changed);
}

/* Without a daemon for too long: come back by ourselves, as memory allows. */
void turn_return_alone(uint64_t now)
{
        if (now < berth.away_since + berth.return_ns)
                return;
        for (unsigned int i = 0; i < berth.devices_n; i++) {
                struct device *d = &berth.devices[i];

                if (!d->managed || d->storage || d->running || d->coming || now < d->retry_at)
                        continue;
                if (move_out_bytes(d)) {
                        d->granted = d->pinned + d->movable;
                        move_come(d);
                } else {
                        turn_let_run(d);
                }
        }
}

void turn_forked(void)
{
        gate_closing = open_held = false;
}
