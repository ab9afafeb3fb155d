/* need.c: what a task needs, as abilities; how many workers meet it; and the words of a refusal. */
#include "pool/internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static bool plain_text(const char *s, size_t size)
{
        for (size_t i = 0; i < size; i++) {
                if (!s[i])
                        return true;
                if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
                        return false;
        }
        return false; /* no end */
}

__attribute__((format(printf, 2, 3))) static int refuse(struct core_refusal *refusal, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(refusal->text, sizeof(refusal->text), format, arguments);
        va_end(arguments);
        return refusal->error = -EINVAL;
}

int need_check(const struct core_needs *needs, struct core_refusal *ret_refusal)
{
        if (!plain_text(needs->type, sizeof(needs->type)))
                return refuse(ret_refusal, "needs.type: not plain text of up to %d bytes", CORE_TEXT - 1);
        if (!needs->type[0])
                return refuse(ret_refusal, "needs.type: missing; name the kind of work, as workers list it");
        if (!plain_text(needs->device, sizeof(needs->device)))
                return refuse(ret_refusal, "needs.device: not plain text of up to %zu bytes", sizeof(needs->device) - 1);
        if (!plain_text(needs->model, sizeof(needs->model)))
                return refuse(ret_refusal, "needs.model: not plain text of up to %zu bytes", sizeof(needs->model) - 1);
        if (needs->label_count > CORE_LABELS)
                return refuse(ret_refusal, "needs.labels: %" PRIu32 " labels; up to %d are possible", needs->label_count, CORE_LABELS);
        for (uint32_t i = 0; i < needs->label_count; i++) {
                const struct core_label *label = &needs->labels[i];

                if (!plain_text(label->name, sizeof(label->name)) || !plain_text(label->value, sizeof(label->value)))
                        return refuse(ret_refusal, "needs.labels[%" PRIu32 "]: not plain text of up to %d bytes", i, CORE_TEXT - 1);
                if (!label->name[0] || strchr(label->name, '='))
                        return refuse(ret_refusal, "needs.labels[%" PRIu32 "]: a name must not be empty nor contain '='", i);
        }
        return 0;
}

static int need_one(struct core *core, bool make, char kind, const char *name, const char *value, uint64_t amount, struct ability *abilities,
                    uint32_t *count)
{
        uint32_t token = NONE;

        if (make) {
                int r = token_intern(core, kind, name, value, &token);

                if (r)
                        return r;
        } else {
                token = token_find(core, kind, name, value);
                if (token == NONE)
                        return -ENOENT;
        }
        for (uint32_t i = 0; i < *count; i++) {
                if (abilities[i].token == token)
                        return 0; /* the same label twice */
        }
        abilities[(*count)++] = (struct ability){.token = token, .amount = amount};
        return 0;
}

static void worker_name(const struct id *id, char text[ID_TEXT])
{
        id_text("", id, text);
}

static int by_token(const void *a, const void *b)
{
        const struct ability *x = a, *y = b;

        return x->token < y->token ? -1 : x->token > y->token;
}

int need_abilities(struct core *core, const struct core_needs *needs, bool make, struct ability abilities[CORE_NEEDS], uint32_t *ret_count)
{
        uint32_t count = 0;
        int r = need_one(core, make, TOKEN_TYPE, needs->type, NULL, 0, abilities, &count);

        if (!r && (needs->device[0] || needs->memory_bytes))
                r = need_one(core, make, TOKEN_DEVICE, needs->device, NULL, needs->memory_bytes, abilities, &count);
        if (!r && needs->model[0])
                r = need_one(core, make, TOKEN_MODEL, needs->model, NULL, 0, abilities, &count);
        for (uint32_t i = 0; i < needs->label_count && !r; i++)
                r = need_one(core, make, TOKEN_LABEL, needs->labels[i].name, needs->labels[i].value, 0, abilities, &count);
        if (!r && !id_is_none(&needs->worker)) {
                char text[ID_TEXT];

                worker_name(&needs->worker, text);
                r = need_one(core, make, TOKEN_WORKER, text, NULL, 0, abilities, &count);
        }
        qsort(abilities, count, sizeof(*abilities), by_token);
        *ret_count = count;
        return r;
}

static void unmet(const struct core *core, struct core_refusal *refusal, uint32_t matched, const char *text)
{
        struct core_unmet *u = &refusal->unmet[refusal->unmet_count++];

        u->total = core->known_workers;
        u->matched = matched;
        snprintf(u->need, sizeof(u->need), "%s", text);
}

static void memory_text(char text[CORE_TEXT * 3], const char *device, uint64_t bytes)
{
        static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
        double value = (double)bytes;
        int unit = 0;

        while (value >= 1024 && unit < 5) {
                value /= 1024;
                unit++;
        }
        snprintf(text, CORE_TEXT * 3, "%s%smemory ≥ %.4g %s", device, device[0] ? " " : "", value, units[unit]);
}

static void sum_up(struct core_refusal *refusal, uint32_t total)
{
        const struct core_unmet *least = NULL;

        refusal->error = -ENOTSUP;
        for (uint32_t i = 0; i < refusal->unmet_count; i++) {
                if (!least || refusal->unmet[i].matched < least->matched)
                        least = &refusal->unmet[i];
        }
        if (!total)
                snprintf(refusal->text, sizeof(refusal->text), "no worker is known yet");
        else if (least && !least->matched)
                snprintf(refusal->text, sizeof(refusal->text), "no worker could take it: %.180s is met by 0 of %" PRIu32 " worker%s", least->need, total, total == 1 ? "" : "s");
        else
                snprintf(refusal->text, sizeof(refusal->text), "no worker could take it: each need is met by some of %" PRIu32 " workers, all of them together by none",
                         total);
}

/* Every need by itself, with how many workers meet it; an error when none meets all. */
void need_explain(const struct core *core, const struct class *c, uint32_t account, struct core_refusal *ret_refusal)
{
        uint32_t others = core->known_workers;
        char text[CORE_TEXT * 3];

        for (uint32_t i = 0; i < c->needs_n; i++) {
                const struct token *token = TOKEN(core, c->needs[i].token);
                const char *kind = token->name[0] == TOKEN_TYPE    ? "type"
                                   : token->name[0] == TOKEN_MODEL ? "model"
                                   : token->name[0] == TOKEN_LABEL ? "label"
                                   : token->name[0] == TOKEN_WORKER ? "worker" : "device";

                if (!c->needs[i].amount || token->name[1]) {
                        snprintf(text, sizeof(text), "%s %.150s", kind, token->name + 1);
                        unmet(core, ret_refusal, token->holders_n, text);
                }
                if (c->needs[i].amount) {
                        memory_text(text, token->name + 1, c->needs[i].amount);
                        unmet(core, ret_refusal, class_count_ability(core, token->number, c->needs[i].amount), text);
                }
        }
        for (const struct profile *p = core->profiles_by_abilities; p; p = p->hh.next)
                others -= p->owner == NONE || p->owner == account ? p->workers : 0;
        if (others)
                unmet(core, ret_refusal, core->known_workers - others, "open to this account");
        if (!class_workers(core, c, account, NULL))
                sum_up(ret_refusal, core->known_workers);
}
