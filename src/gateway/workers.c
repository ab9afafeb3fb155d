/* workers.c: routes of workers for people, and what events and the pool itself tell. */
#include "gateway/handlers.h"

#include "base/error.h"

#include <string.h>

static bool worker_part(struct request *r, struct id *ret_id)
{
        return request_id_part(r, 0, "worker", ret_id);
}

void handle_workers(struct request *r)
{
        struct service_list list;
        char state[64];

        if (!request_list(r, "worker", &list, state, NULL))
                return;
        request_begin(r);
        service_workers(r->server->service, &r->caller, &list, request_done, r);
}

void handle_worker(struct request *r)
{
        struct id worker;

        if (!worker_part(r, &worker))
                return;
        request_begin(r);
        service_worker(r->server->service, &r->caller, &worker, request_done, r);
}

void handle_worker_why(struct request *r)
{
        struct id worker;

        if (!worker_part(r, &worker))
                return;
        request_begin(r);
        service_worker_why(r->server->service, &r->caller, &worker, request_done, r);
}

void handle_worker_node(struct request *r)
{
        struct id worker;

        if (!worker_part(r, &worker))
                return;
        request_begin(r);
        service_worker_node(r->server->service, &r->caller, &worker, request_done, r);
}

void handle_worker_machine(struct request *r)
{
        uint64_t since = 600;
        struct id worker;

        if (!worker_part(r, &worker) || request_query_number(r, "since", 1, HISTORY_SPAN_S, &since) < 0)
                return;
        request_begin(r);
        service_worker_machine(r->server->service, &r->caller, &worker, since, request_done, r);
}

void handle_worker_change(struct request *r)
{
        struct id worker;
        uint64_t version;

        if (!worker_part(r, &worker) || !request_if_match(r, &version))
                return;
        request_begin(r);
        service_worker_change(r->server->service, &r->caller, &worker, r->json, version, request_done, r);
}

void handle_worker_remove(struct request *r)
{
        struct id worker;

        if (!worker_part(r, &worker))
                return;
        request_begin(r);
        service_worker_remove(r->server->service, &r->caller, &worker, request_done, r);
}

void handle_events_push(struct request *r)
{
        request_begin(r);
        service_events_push(r->server->service, &r->caller, r->json, request_done, r);
}

void handle_snapshot(struct request *r)
{
        request_begin(r);
        service_snapshot(r->server->service, &r->caller, request_done, r);
}

void handle_audit(struct request *r)
{
        struct service_list list;

        if (!request_list(r, "audit", &list, NULL, NULL))
                return;
        request_begin(r);
        service_audit(r->server->service, &r->caller, &list, request_done, r);
}
