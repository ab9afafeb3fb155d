/* engines.h: model engines of the workers, and the requests that go to them: generate/generate.h with its engines kept by what workers say.
 *
 * Workers announce their engines with `hello` and `change` (docs/worker-protocol.md); one whose connection is lost keeps them, away, until it is forgotten, so that
 * requests wait for it in place of being refused. Nothing here is durable.
 *
 * The gateway owns the requests: it embeds struct generate_request, hears through the two calls below (also from inside the functions here), and says when a request
 * is over. After each of these functions it gives the service a turn soon while requests wait (service_generate_waiting).
 */
#pragma once

#include "generate/generate.h"
#include "service/service.h"

struct strbuf;

/* Borrowed for the call. */
struct service_engine {
        uint32_t number;
        struct id worker;
        const char *worker_name, *model, *kind, *address, *key, *revision; /* address: NULL: through its worker's tunnel; key: NULL: none */
        uint32_t context;
        unsigned tasks;                  /* enum service_engine_task's bits */
};
enum service_engine_task { ENGINE_CHAT = 1 << 0, ENGINE_COMPLETION = 1 << 1, ENGINE_EMBEDDING = 1 << 2 };

struct service_generate_calls {
        void (*dispatch)(void *context, struct generate_request *request, const struct service_engine *engine);
        /* text: a sentence that says why. */
        void (*refuse)(void *context, struct generate_request *request, enum generate_reason reason, const char *text);
};
void service_generate_listen(struct service *service, const struct service_generate_calls *calls, void *context);
void service_generate_ask(struct service *service, const char *model, struct generate_request *request);
void service_generate_first(struct service *service, struct generate_request *request);
void service_generate_end(struct service *service, struct generate_request *request, uint64_t cost);
bool service_generate_again(struct service *service, struct generate_request *request);
/* The engine's worker says that all its places are taken: the request waits again. */
void service_generate_busy(struct service *service, struct generate_request *request);
void service_generate_judge(struct service *service, uint32_t engine, bool good);
bool service_generate_waiting(const struct service *service);
/* Once a second: tells workers which of their engines are used. */
void service_engines_tick(struct service *service);
const struct generate *service_generate(const struct service *service);

/* A worker's tunnel. credential: "WORKER:SECRET" as its welcome told it. 0 and whose it is; -EINVAL, -EACCES. */
must_check int service_tunnel_whose(struct service *service, const struct account_caller *caller, const char *credential, struct id *ret_worker);
/* It can be used (dispatches may follow from inside); it can't any more. */
void service_tunnel_opened(struct service *service, const struct id *worker);
void service_tunnel_closed(struct service *service, const struct id *worker);
/* An engine that was busy has a place. */
void service_tunnel_free(struct service *service, const struct id *worker, const char *model);

/* What a request used, added up by day, account and model, and stored within a second: what a crash takes away is less than that. */
struct service_usage {
        uint64_t requests, prompt_tokens, completion_tokens, cancelled, failed, cached, estimated;
};
void service_usage_add(struct service *service, const struct id *account, const char *model, const struct service_usage *usage);
/* Of the caller's account, or of all for who may see accounts; list: account. */
void service_usage(struct service *service, const struct account_caller *caller, const struct service_list *list, service_done_fn done, void *context);

/* What the model's engines can do, of all of them; false: nobody has it. */
bool service_model_tasks(const struct service *service, const char *model, unsigned *ret_tasks);
/* Any engine's revision: part of the cache's key. "" when none is known. */
const char *service_model_revision(const struct service *service, const char *model);
/* One model, or all (NULL), as JSON text {"name", "state", …, "workers": […]}; more adds members that the caller knows. How many were written. */
size_t service_models_text(struct service *service, const char *model, struct strbuf *text, void (*more)(void *context, const char *model, struct strbuf *text),
                           void *context);
void service_models_each(const struct service *service, void (*each)(void *context, const char *model), void *context);
/* Tells the workers that have it. worker: all zero: any of them. How many were told; -ENOENT: nobody has it. */
must_check int service_model_want(struct service *service, const char *model, const struct id *worker, bool ready);
