/* engines-view.c: models and their engines for people, and people's wishes about them; see engines.h. */
#include "service/internal.h"

#include <stdio.h>

bool service_generate_waiting(const struct service *s)
{
        struct generate_counts counts;

        generate_counts(s->generate, &counts);
        return counts.waiting != 0;
}

const struct generate *service_generate(const struct service *s)
{
        return s->generate;
}

/* For each engine of a model, of all workers; a result other than 0 ends it. */
static int each_of(const struct service *s, const char *model, int (*each)(void *context, const struct served *e), void *context)
{
        int r = 0;

        for (const struct worker *worker = s->workers; worker && !r; worker = worker->by_id.next)
                for (const struct served *e = worker->served; e && !r; e = e->next)
                        if (!strcmp(e->model, model))
                                r = each(context, e);
        return r;
}

static int add_tasks(void *context, const struct served *e)
{
        *(unsigned *)context |= e->tasks;
        return 0;
}

bool service_model_tasks(const struct service *s, const char *model, unsigned *ret_tasks)
{
        *ret_tasks = 0;
        if (!generate_knows(s->generate, model))
                return false;
        each_of(s, model, add_tasks, ret_tasks);
        return true;
}

static int first_revision(void *context, const struct served *e)
{
        if (!e->revision[0])
                return 0;
        *(const char **)context = e->revision;
        return 1;
}

const char *service_model_revision(const struct service *s, const char *model)
{
        const char *revision = "";

        each_of(s, model, first_revision, &revision);
        return revision;
}

/* What stands best for the whole of it. */
static const int ranks[] = {[GENERATE_READY] = 5, [GENERATE_STARTING] = 4, [GENERATE_COLD] = 3, [GENERATE_STOPPING] = 2, [GENERATE_FAILED] = 1, [GENERATE_AWAY] = 0};

struct summary {
        const struct served *best;
        unsigned tasks;
        uint32_t context, count;
        bool resident, resident_known;
};

static int sum_up(void *context, const struct served *e)
{
        struct summary *sum = context;

        if (!sum->best || ranks[e->state] > ranks[sum->best->state])
                sum->best = e;
        sum->tasks |= e->tasks;
        sum->context = e->context > sum->context ? e->context : sum->context;
        sum->resident = sum->resident || e->resident == GENERATE_IN;
        sum->resident_known = sum->resident_known || e->resident != GENERATE_UNKNOWN;
        sum->count++;
        return 0;
}

static void put_resident(struct strbuf *b, bool known, bool in)
{
        put_text(b, !known ? "null" : in ? "true" : "false");
}

static int put_engine(void *context, const struct served *e)
{
        struct strbuf *b = context;
        bool no_road = e->state == GENERATE_READY && e->worker->connection && engine_state_seen(e->worker->connection->service, e) == GENERATE_STARTING;
        const char *text = no_road && !e->text[0] ? "its worker's tunnel is not open" : e->text;

        if (b->text[b->length - 1] == '}')
                put_literal(b, ",");
        put_literal(b, "{\"worker\":");
        put_id(b, "worker", &e->worker->id);
        put_literal(b, ",\"name\":");
        put_string(b, e->worker->name, strlen(e->worker->name));
        put_literal(b, ",\"kind\":");
        put_string(b, e->kind, strlen(e->kind));
        strbuf_add(b, ",\"state\":\"%s\",\"resident\":", engine_state_names[no_road ? GENERATE_STARTING : e->state]);
        put_resident(b, e->resident != GENERATE_UNKNOWN, e->resident == GENERATE_IN);
        strbuf_add(b, ",\"parallel\":%u,\"context\":%u,\"memory_bytes\":%llu,\"revision\":", e->parallel, e->context, (unsigned long long)e->memory);
        put_string(b, e->revision, strlen(e->revision));
        put_literal(b, ",\"text\":");
        put_string(b, text, strlen(text));
        put_literal(b, "}");
        return 0;
}

static bool put_model(struct service *s, struct strbuf *b, const char *model, void (*more)(void *context, const char *model, struct strbuf *text), void *context)
{
        struct summary sum = {0};
        struct generate_view v;
        bool first = true;

        each_of(s, model, sum_up, &sum);
        if (!sum.count || !generate_model_view(s->generate, s->now_ms, model, &v))
                return false;
        put_literal(b, "{\"name\":");
        put_string(b, model, strlen(model));
        strbuf_add(b, ",\"object\":\"model\",\"state\":\"%s\",\"resident\":", engine_state_names[sum.best->state]);
        put_resident(b, sum.resident_known, sum.resident);
        put_literal(b, ",\"tasks\":[");
        for (unsigned bit = 0; bit < ENGINE_TASKS; bit++) {
                if (!(sum.tasks & 1u << bit))
                        continue;
                strbuf_add(b, "%s\"%s\"", first ? "" : ",", engine_task_names[bit]);
                first = false;
        }
        strbuf_add(b, "],\"context\":%u,\"waiting\":%u,\"running\":%u,\"oldest_wait_ms\":%llu", sum.context, v.waiting, v.running, (unsigned long long)v.oldest_ms);
        if (more)
                more(context, model, b);
        put_literal(b, ",\"workers\":[");
        if (!b->failed)
                each_of(s, model, put_engine, b);
        put_literal(b, "]}");
        return true;
}

void service_models_each(const struct service *s, void (*each)(void *context, const char *model), void *context)
{
        for (const struct worker *worker = s->workers; worker; worker = worker->by_id.next)
                for (const struct served *e = worker->served; e; e = e->next) {
                        bool told = false;

                        /* The first worker that has it tells of it. */
                        for (const struct worker *earlier = s->workers; earlier != worker && !told; earlier = earlier->by_id.next)
                                for (const struct served *other = earlier->served; other && !told; other = other->next)
                                        told = !strcmp(other->model, e->model);
                        if (!told)
                                each(context, e->model);
                }
}

struct all_models {
        struct service *s;
        struct strbuf *b;
        void (*more)(void *context, const char *model, struct strbuf *text);
        void *context;
        size_t count;
};

static void one_of_all(void *context, const char *model)
{
        struct all_models *all = context;

        if (all->count)
                put_literal(all->b, ",");
        all->count += put_model(all->s, all->b, model, all->more, all->context);
}

size_t service_models_text(struct service *s, const char *model, struct strbuf *b, void (*more)(void *context, const char *model, struct strbuf *text), void *context)
{
        struct all_models all = {.s = s, .b = b, .more = more, .context = context};

        service_time(s);
        if (model)
                return put_model(s, b, model, more, context);
        service_models_each(s, one_of_all, &all);
        return all.count;
}

int service_model_want(struct service *s, const char *model, const struct id *id, bool ready)
{
        struct worker *worker, *next;
        int told = 0;

        service_time(s);
        HASH_ITER(by_id, s->workers, worker, next)
        {
                for (struct served *e = worker->served; e; e = e->next) {
                        if (strcmp(e->model, model) || (!id_is_none(id) && !id_equal(id, &worker->id)))
                                continue;
                        if (worker->connection)
                                engine_want(e, ready);
                        told++;
                }
        }
        return told ? told : -ENOENT;
}
