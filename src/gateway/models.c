/* models.c: models for people and for OpenAI's clients, and wishes to start and stop them; see openai.h. */
#include "gateway/openai.h"

#include "gateway/connection.h"
#include "gateway/fields.h"
#include "gateway/handlers.h"

#include "service/text.h"

#include <stdio.h>
#include <string.h>

static void put_median(struct strbuf *b, const char *name, const struct recent *recent)
{
        double seconds;

        if (recent && recent_median(recent, &seconds))
                strbuf_add(b, ",\"%s\":%.3f", name, seconds * 1000);
        else
                strbuf_add(b, ",\"%s\":null", name);
}

static void add_times(void *context, const char *name, struct strbuf *b)
{
        struct server *server = context;
        struct meter_model *model;

        HASH_FIND_STR(server->generations->meter.models, name, model);
        put_median(b, "ttft_ms", model ? &model->ttft : NULL);
        put_median(b, "tpot_ms", model ? &model->tpot : NULL);
        strbuf_add(b, ",\"requests\":%llu,\"prompt_tokens\":%llu,\"completion_tokens\":%llu", model ? (unsigned long long)model->requests : 0,
                   model ? (unsigned long long)model->prompt_tokens : 0, model ? (unsigned long long)model->completion_tokens : 0);
}

static void answer(struct request *r, struct strbuf *b)
{
        if (b->failed)
                reply_problem(r, "pool.busy", NULL, "Out of memory.");
        else
                reply_text(r, 200, "application/json", b->text, b->length);
        strbuf_done(b);
}

void handle_models(struct request *r)
{
        struct strbuf b = {0};

        put_literal(&b, "{\"object\":\"list\",\"data\":[");
        service_models_text(r->server->service, NULL, &b, add_times, r->server);
        put_literal(&b, "],\"has_more\":false}");
        answer(r, &b);
}

/* The model of the path. False: answered. */
static bool model_part(struct request *r, char name[GENERATE_MODEL])
{
        unsigned tasks;

        snprintf(name, GENERATE_MODEL, "%.*s", (int)r->parts[0].length, r->parts[0].text);
        if (r->parts[0].length < GENERATE_MODEL && service_model_tasks(r->server->service, name, &tasks))
                return true;
        reply_problem(r, "model.unknown", NULL, "The model \"%.*s\" does not exist, or you have no access to it.", (int)r->parts[0].length, r->parts[0].text);
        return false;
}

void handle_model(struct request *r)
{
        char name[GENERATE_MODEL];
        struct strbuf b = {0};

        if (!model_part(r, name))
                return;
        service_models_text(r->server->service, name, &b, add_times, r->server);
        answer(r, &b);
}

static void put_openai(struct strbuf *b, const char *name)
{
        put_literal(b, "{\"id\":");
        put_string(b, name, strlen(name));
        put_literal(b, ",\"object\":\"model\",\"created\":0,\"owned_by\":\"berth\"}");
}

static void one_openai(void *context, const char *name)
{
        struct strbuf *b = context;

        if (b->length && b->text[b->length - 1] == '}')
                put_literal(b, ",");
        put_openai(b, name);
}

void handle_openai_models(struct request *r)
{
        struct strbuf b = {0};

        put_literal(&b, "{\"object\":\"list\",\"data\":[");
        service_models_each(r->server->service, one_openai, &b);
        put_literal(&b, "]}");
        answer(r, &b);
}

void handle_openai_model(struct request *r)
{
        char name[GENERATE_MODEL];
        struct strbuf b = {0};

        if (!model_part(r, name))
                return;
        put_openai(&b, name);
        answer(r, &b);
}

static void wish(struct request *r, bool ready)
{
        char name[GENERATE_MODEL];
        struct id worker = {0};
        const char *text;
        int told;

        if (!model_part(r, name))
                return;
        if (r->json) {
                struct fields f = fields_of(r, "worker");

                text = fields_text(&f, "worker", 1, ID_TEXT, false);
                if (text && id_parse("worker", text, &worker) < 0)
                        fields_wrong(&f, "worker", "the id of a worker is wanted");
                if (!fields_good(&f))
                        return;
        }
        told = service_model_want(r->server->service, name, &worker, ready);
        if (told < 0)
                reply_problem(r, "not_found", NULL, "That worker does not have this model.");
        else
                reply_json(r, 202, json_pack("{s:s, s:s, s:i}", "model", name, "want", ready ? "ready" : "cold", "workers", told));
}

void handle_model_start(struct request *r)
{
        wish(r, true);
}

void handle_model_stop(struct request *r)
{
        wish(r, false);
}

void handle_usage(struct request *r)
{
        struct service_list list = {0};
        char text[ID_TEXT];
        int found = request_query(r, "account", text, sizeof text);

        if (found < 0)
                return;
        if (found && id_parse("account", text, &list.account) < 0) {
                reply_problem(r, "request.parameter", NULL, "account: not an account's id.");
                return;
        }
        request_begin(r);
        service_usage(r->server->service, &r->caller, &list, request_done, r);
}
