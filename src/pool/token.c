/* token.c: abilities by name. Types, models, labels and kinds of devices are words that workers list and tasks need; each becomes a number once, with
 * the list of the workers that have it. A word that no class needs tells no workers apart (refs 0), so that a label with each machine's name, or memory
 * that differs by a few bytes, doesn't make every worker a kind of its own. */
#include "pool/internal.h"

#define NAME_BYTES (CORE_TEXT * 2 + 8)

/* The whole word, and its length. */
static size_t compose(char text[NAME_BYTES], char kind, const char *name, const char *value)
{
        size_t n = 1, length = strnlen(name, CORE_TEXT * 2 - 1);

        text[0] = kind;
        memcpy(text + n, name, length);
        n += length;
        if (value) {
                text[n++] = '='; /* a name has none (need_check) */
                length = strnlen(value, CORE_TEXT - 1);
                memcpy(text + n, value, length);
                n += length;
        }
        text[n] = '\0';
        return n;
}

uint32_t token_find(const struct core *core, char kind, const char *name, const char *value)
{
        char text[NAME_BYTES];
        size_t length = compose(text, kind, name, value);
        struct token *token;

        HASH_FIND(hh, core->tokens_by_name, text, length, token);
        return token ? token->number : NONE;
}

int token_intern(struct core *core, char kind, const char *name, const char *value, uint32_t *ret_token)
{
        char text[NAME_BYTES];
        size_t length = compose(text, kind, name, value);
        struct token *token;
        uint32_t number;
        char *copy;

        HASH_FIND(hh, core->tokens_by_name, text, length, token);
        if (token) {
                *ret_token = token->number;
                return 0;
        }
        copy = strdup(text);
        if (!copy)
                return -ENOMEM;
        if (slab_take(&core->tokens, &number)) {
                free(copy);
                return -ENOMEM;
        }
        token = TOKEN(core, number);
        token->number = number;
        token->name = copy;
        token->first_place = NONE;
        HASH_ADD_KEYPTR(hh, core->tokens_by_name, token->name, length, token);
        *ret_token = number;
        return 0;
}

/* Forgets a word that nobody has and nobody needs. */
void token_unuse(struct core *core, uint32_t number)
{
        struct token *token = TOKEN(core, number);

        if (token->refs || token->holders_n || number == core->any_device)
                return;
        while (token->first_place != NONE) {
                struct place *place = PLACE(core, token->first_place);

                token->first_place = place->next;
                HASH_DELETE(hh, core->places_by_key, place);
                heap_done(&place->ready);
                slab_give(&core->places, place->number);
        }
        HASH_DELETE(hh, core->tokens_by_name, token);
        free(token->holders);
        free(token->thresholds);
        free(token->name);
        slab_give(&core->tokens, number);
}

static int by_token(const void *a, const void *b)
{
        const struct ability *x = a, *y = b;

        return x->token < y->token ? -1 : x->token > y->token;
}

const struct holding *token_holding(const struct worker *w, uint32_t token)
{
        uint32_t low = 0, high = w->holdings_n;

        while (low < high) {
                uint32_t middle = (low + high) / 2;

                if (w->holdings[middle].token < token)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low < w->holdings_n && w->holdings[low].token == token ? &w->holdings[low] : NULL;
}

static int hold(struct core *core, struct token *token, uint32_t worker, uint32_t *ret_position)
{
        if (token->holders_n == token->holders_size) {
                uint32_t size = token->holders_size ? token->holders_size * 2 : 4;
                uint32_t *holders = realloc(token->holders, size * sizeof(*holders));

                if (!holders)
                        return -ENOMEM;
                token->holders = holders;
                token->holders_size = size;
        }
        token->holders[token->holders_n] = worker;
        *ret_position = token->holders_n++;
        return 0;
}

static void unhold(struct core *core, struct token *token, uint32_t position)
{
        uint32_t last = token->holders[--token->holders_n];

        if (position == token->holders_n)
                return;
        token->holders[position] = last;
        ((struct holding *)token_holding(WORKER(core, last), token->number))->position = position;
}

/* The worker has these abilities and no others. Doubles become one, with the larger amount. On -ENOMEM it has none. */
int token_hold(struct core *core, uint32_t worker, struct ability *abilities, uint32_t count)
{
        struct worker *w = WORKER(core, worker);
        uint32_t n = 0;

        /* What it had and has again is not forgotten in between. */
        for (uint32_t i = 0; i < count; i++)
                TOKEN(core, abilities[i].token)->refs++;
        token_unhold(core, worker);
        for (uint32_t i = 0; i < count; i++)
                TOKEN(core, abilities[i].token)->refs--;
        qsort(abilities, count, sizeof(*abilities), by_token);
        for (uint32_t i = 0; i < count; i++) {
                if (n && abilities[n - 1].token == abilities[i].token) {
                        if (abilities[n - 1].amount < abilities[i].amount)
                                abilities[n - 1].amount = abilities[i].amount;
                } else {
                        abilities[n++] = abilities[i];
                }
        }
        w->holdings = calloc(n ? n : 1, sizeof(*w->holdings));
        if (!w->holdings)
                return -ENOMEM;
        for (uint32_t i = 0; i < n; i++) {
                struct holding *h = &w->holdings[i];

                h->token = abilities[i].token;
                h->amount = abilities[i].amount;
                if (hold(core, TOKEN(core, h->token), worker, &h->position)) {
                        token_unhold(core, worker);
                        return -ENOMEM;
                }
                w->holdings_n++;
        }
        return 0;
}

void token_unhold(struct core *core, uint32_t worker)
{
        struct worker *w = WORKER(core, worker);

        for (uint32_t i = 0; i < w->holdings_n; i++) {
                unhold(core, TOKEN(core, w->holdings[i].token), w->holdings[i].position);
                token_unuse(core, w->holdings[i].token);
        }
        free(w->holdings);
        w->holdings = NULL;
        w->holdings_n = 0;
}

/* One more, that it did not have. */
int token_add_holding(struct core *core, uint32_t worker, uint32_t token)
{
        struct worker *w = WORKER(core, worker);
        struct holding *more;
        uint32_t at = 0, position;

        if (token_holding(w, token))
                return 0;
        more = realloc(w->holdings, (w->holdings_n + 1) * sizeof(*more));
        if (!more)
                return -ENOMEM;
        w->holdings = more;
        if (hold(core, TOKEN(core, token), worker, &position))
                return -ENOMEM;
        while (at < w->holdings_n && more[at].token < token)
                at++;
        memmove(more + at + 1, more + at, (w->holdings_n - at) * sizeof(*more));
        more[at] = (struct holding){.token = token, .position = position};
        w->holdings_n++;
        return 0;
}

/* The largest threshold that the amount reaches, or 0. */
uint64_t token_floor(const struct token *token, uint64_t amount)
{
        uint32_t low = 0, high = token->thresholds_n;

        while (low < high) {
                uint32_t middle = (low + high) / 2;

                if (token->thresholds[middle].amount <= amount)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low ? token->thresholds[low - 1].amount : 0;
}

/* Puts the holders that a new need tells apart where they belong now. */
static void tell_apart(struct core *core, struct token *token)
{
        for (uint32_t i = 0; i < token->holders_n; i++)
                class_place(core, token->holders[i]);
}

/* A class needs it, or no longer does. */
void token_need(struct core *core, const struct ability *need, bool on)
{
        struct token *token = TOKEN(core, need->token);
        bool changed = on && !token->refs;
        uint32_t at = 0;

        if (on)
                token->refs++;
        else
                token->refs--;
        if (need->amount) {
                while (at < token->thresholds_n && token->thresholds[at].amount < need->amount)
                        at++;
                if (at < token->thresholds_n && token->thresholds[at].amount == need->amount) {
                        token->thresholds[at].refs += on ? 1U : -1U;
                        if (!token->thresholds[at].refs) {
                                token->thresholds_n--;
                                memmove(token->thresholds + at, token->thresholds + at + 1, (token->thresholds_n - at) * sizeof(struct threshold));
                        }
                } else {
                        struct threshold *more = realloc(token->thresholds, (token->thresholds_n + 1) * sizeof(*more));

                        core_memory(more ? 0 : -ENOMEM);
                        token->thresholds = more;
                        memmove(more + at + 1, more + at, (token->thresholds_n - at) * sizeof(*more));
                        more[at] = (struct threshold){need->amount, 1};
                        token->thresholds_n++;
                        changed = true;
                }
        }
        if (changed)
                tell_apart(core, token);
        if (!on)
                token_unuse(core, need->token);
}
