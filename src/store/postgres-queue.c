/* postgres-queue.c: who owns a queue. The advisory lock says who may claim, the epoch in berth.queue who may write; see postgres.h. */
#include "store/postgres.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static int try_lock(struct postgres_store *p, uint32_t queue, bool *ret_ours)
{
        struct postgres_parameters q = {0};
        PGresult *result;
        int r;

        postgres_add_int4(&q, POSTGRES_LOCK_CLASS);
        postgres_add_int4(&q, (int32_t)queue);
        r = postgres_query(p, "SELECT pg_try_advisory_lock($1, $2)", &q, "claiming a queue", &result);
        if (r)
                return r;
        *ret_ours = *PQgetvalue(result, 0, 0);
        PQclear(result);
        return 0;
}

static int unlock(struct postgres_store *p, uint32_t queue)
{
        struct postgres_parameters q = {0};
        PGresult *result;
        int r;

        postgres_add_int4(&q, POSTGRES_LOCK_CLASS);
        postgres_add_int4(&q, (int32_t)queue);
        r = postgres_query(p, "SELECT pg_advisory_unlock($1, $2)", &q, "releasing a queue", &result);
        if (!r)
                PQclear(result);
        return r;
}

static int read_owner(struct postgres_store *p, uint32_t queue, uint64_t *ret_epoch, char owner[256])
{
        struct postgres_parameters q = {0};
        PGresult *result;
        int r;

        postgres_add_int4(&q, (int32_t)queue);
        r = postgres_query(p, "SELECT epoch, server FROM queue WHERE queue = $1", &q, "reading who has a queue", &result);
        if (r)
                return r;
        if (PQntuples(result) == 1) {
                *ret_epoch = (uint64_t)postgres_int8(result, 0, 0);
                snprintf(owner, 256, "%s", PQgetvalue(result, 0, 1));
        } else {
                r = -ENOENT;
        }
        PQclear(result);
        return r;
}

int postgres_owner(struct store *store, uint32_t queue, uint64_t *ret_epoch, char owner[256])
{
        struct postgres_store *p = (struct postgres_store *)store;
        int r = postgres_connected(p);

        return r ? r : read_owner(p, queue, ret_epoch, owner);
}

int postgres_claim(struct store *store, uint32_t queue, uint64_t *ret_epoch, char owner[256])
{
        struct postgres_store *p = (struct postgres_store *)store;
        struct postgres_parameters q = {0};
        struct timespec now;
        PGresult *result;
        uint64_t epoch;
        bool ours;
        int r = postgres_connected(p);

        if (r)
                return r;
        if (store->claimed[queue]) {
                *ret_epoch = store->claimed[queue];
                return 0;
        }
        r = try_lock(p, queue, &ours);
        if (r)
                return r;
        if (!ours) {
                r = read_owner(p, queue, &epoch, owner);
                return r && r != -ENOENT ? r : store_fail(store, -EBUSY, "queue %u belongs to the server %s", queue, *owner ? owner : "that just took it");
        }
        clock_gettime(CLOCK_REALTIME, &now);
        postgres_add_int4(&q, (int32_t)queue);
        postgres_add_text(&q, store->server, strlen(store->server));
        postgres_add_int8(&q, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
        r = postgres_query(p,
                           "INSERT INTO queue (queue, epoch, server, since_ms) VALUES ($1, 1, $2, $3)"
                           " ON CONFLICT (queue) DO UPDATE SET epoch = queue.epoch + 1, server = $2, since_ms = $3 RETURNING epoch",
                           &q, "claiming a queue", &result);
        if (r) {
                char problem[STORE_MESSAGE];

                memcpy(problem, store->problem, sizeof(problem));
                if (p->connection && unlock(p, queue) && p->connection)
                        (void)postgres_broken(p, "releasing a queue", "the lock would stay");
                memcpy(store->problem, problem, sizeof(problem));
                return r;
        }
        *ret_epoch = store->claimed[queue] = (uint64_t)postgres_int8(result, 0, 0);
        p->lost = false;
        PQclear(result);
        return 0;
}

int postgres_release(struct store *store, uint32_t queue)
{
        struct postgres_store *p = (struct postgres_store *)store;
        int r;

        store->claimed[queue] = 0;
        if (!p->connection) /* the lock went with it */
                return 0;
        r = unlock(p, queue);
        return r == -E_UNAVAILABLE ? 0 : r;
}

int postgres_owned(struct store *store)
{
        struct postgres_store *p = (struct postgres_store *)store;
        int r = postgres_connected(p);

        if (!r)
                r = postgres_run(p, "SELECT 1", "looking whether the server is there");
        if (r)
                return r;
        return p->lost ? store_fail(store, -ESTALE, "another server took a queue over while the connection was lost") : 0;
}

int postgres_resume_claims(struct postgres_store *p)
{
        for (uint32_t queue = 0; queue < STORE_QUEUES; queue++) {
                char owner[256];
                uint64_t epoch = 0;
                bool ours;
                int r;

                if (!p->store.claimed[queue])
                        continue;
                r = try_lock(p, queue, &ours);
                if (!r && ours) {
                        r = read_owner(p, queue, &epoch, owner);
                        r = r == -ENOENT ? 0 : r;
                }
                if (r)
                        return r;
                if (epoch == p->store.claimed[queue])
                        continue;
                p->store.claimed[queue] = 0;
                p->lost = true;
                if (ours && (r = unlock(p, queue)))
                        return r;
        }
        return 0;
}
