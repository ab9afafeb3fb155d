/* session.c: sessions: a family of refresh tokens, each used once. A refresh token is "berthr_" and base64url of session, generation, 32 random bytes and a tag under
 * the pool's secret. The tag tells our old tokens from made-up ones, so that only somebody who really had a token of the family can end it; the store holds an HMAC of
 * the newest (and of the one before) only.
 *
 * A lost answer. The token just used up is taken once more within 10 s from the same address, and then replaces the token that it brought before. That gives a thief
 * nothing lasting: there is still one newest token; whoever of the two comes second with a replaced one ends the family, as without this rule. It can't be chained:
 * after such a repetition the next one ends the family, too.
 */
#include "account/books.h"

#include <stdio.h>
#include <string.h>

#define PREFIX "berthr_"
#define PREFIX_BYTES (sizeof(PREFIX) - 1)
#define TAG 16
#define BODY 52 /* id, generation, random */
#define LENGTH 91 /* base64url of BODY + TAG */
#define AGAIN_MS 10000
#define B64 sodium_base64_VARIANT_URLSAFE_NO_PADDING

static void mac(const crypto_auth_hmacsha256_state *key, const uint8_t body[BODY], uint8_t to[MAC])
{
        crypto_auth_hmacsha256_state state = *key;

        crypto_auth_hmacsha256_update(&state, body, BODY);
        crypto_auth_hmacsha256_final(&state, to);
        sodium_memzero(&state, sizeof(state));
}

/* The session's next refresh token and an access token. */
static int rotate(struct accounts *a, const struct account_now *now, struct session *s, struct account_tokens *tokens)
{
        uint8_t bytes[BODY + TAG], tag[MAC];
        int r;

        memset(tokens, 0, sizeof(*tokens));
        s->generation++;
        s->rotated_ms = a->clock_ms;
        s->expires_ms = a->clock_ms + (int64_t)a->refresh_ms;
        throttle_address(now->address, s->address);
        memcpy(bytes, s->id.bytes, 16);
        for (int i = 0; i < 4; i++)
                bytes[16 + i] = (uint8_t)(s->generation >> (24 - 8 * i));
        accounts_draw(a, now, bytes + 20, 32);
        mac(&a->refresh_tag, bytes, tag);
        memcpy(bytes + BODY, tag, TAG);
        mac(&a->refresh_mac, bytes, s->mac);
        memcpy(tokens->refresh, PREFIX, PREFIX_BYTES);
        sodium_bin2base64(tokens->refresh + PREFIX_BYTES, sizeof(tokens->refresh) - PREFIX_BYTES, bytes, sizeof(bytes), B64);
        sodium_memzero(bytes, sizeof(bytes));
        r = token_make(a, now, s, tokens);
        tokens->session = s->id;
        caller_of(&tokens->caller, s->account, NULL, s);
        return r;
}

/* Room for one more session: what has expired goes, then the one that was refreshed longest ago. */
static int make_room(struct accounts *a, struct account *account, struct account_changes *changes)
{
        struct session *s, *next, *oldest = NULL;
        int r;

        DL_FOREACH_SAFE(account->sessions, s, next) {
                if (!session_valid(s, a->clock_ms))
                        accounts_drop_session(a, s);
                else if (!oldest || s->rotated_ms < oldest->rotated_ms)
                        oldest = s;
        }
        if (account->session_count < ACCOUNT_SESSIONS_MAX)
                return 0;
        oldest->ended = true;
        r = changes_add_session(a, changes, oldest);
        accounts_drop_session(a, oldest);
        return r;
}

int session_begin(struct accounts *a, const struct account_now *now, struct account *account, struct account_tokens *ret_tokens,
                  struct account_changes *changes)
{
        struct session *s;
        int r = make_room(a, account, changes);

        if (r < 0)
                return r;
        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->id = accounts_new_id(a, now);
        s->account = account;
        s->epoch = account->epoch;
        s->created_ms = a->clock_ms;
        accounts_add_session(a, s);
        r = rotate(a, now, s, ret_tokens);
        if (!r)
                r = changes_add_session(a, changes, s);
        if (r < 0)
                accounts_drop_session(a, s);
        return r;
}

static int end(struct accounts *a, const struct account_now *now, struct session *s, const char *verb, int outcome, struct account_changes *changes)
{
        struct account_caller by;
        char id[ID_TEXT];
        int r;

        caller_of(&by, s->account, NULL, s);
        id_text("session", &s->id, id);
        s->ended = true;
        r = changes_add_session(a, changes, s);
        accounts_drop_session(a, s);
        return r < 0 ? r : audit_add(a, now, &by, verb, id, outcome, changes);
}

static int refuse(struct accounts *a)
{
        return accounts_refuse(a, -EACCES, "the session has ended or its refresh token was used before: sign in again");
}

int account_refresh(struct accounts *a, const struct account_now *now, const char *refresh, struct account_tokens *ret_tokens,
                    struct account_changes *ret_changes)
{
        uint8_t bytes[BODY + TAG], tag[MAC], stored[MAC];
        char address[64];
        struct session *s;
        struct id id;
        size_t n = 0;
        bool newest, again;
        int r;

        accounts_clock(a, now);
        changes_begin(a, ret_changes);
        if (strnlen(refresh, PREFIX_BYTES + LENGTH + 1) != PREFIX_BYTES + LENGTH || memcmp(refresh, PREFIX, PREFIX_BYTES) ||
            base64_decode(refresh + PREFIX_BYTES, LENGTH, bytes, sizeof(bytes), &n) || n != sizeof(bytes)) {
                a->counts.credentials_malformed++;
                return accounts_refuse(a, -EINVAL, "malformed refresh token: give what signing in or the last refresh returned (berthr_...)");
        }
        mac(&a->refresh_tag, bytes, tag);
        mac(&a->refresh_mac, bytes, stored);
        memcpy(id.bytes, bytes, 16);
        s = sodium_memcmp(tag, bytes + BODY, TAG) ? NULL : accounts_session(a, &id);
        sodium_memzero(bytes, sizeof(bytes));
        if (!s || !session_valid(s, a->clock_ms)) {
                a->counts.credentials_refused++;
                return refuse(a);
        }
        throttle_address(now->address, address);
        newest = !sodium_memcmp(stored, s->mac, MAC);
        again = s->has_before && !sodium_memcmp(stored, s->mac_before, MAC) && a->clock_ms - s->rotated_ms <= AGAIN_MS && !strcmp(address, s->address);
        if (!newest && !again) {
                a->counts.replays++;
                a->counts.credentials_refused++;
                r = end(a, now, s, "session.replay", -EACCES, ret_changes);
                return r == -ENOMEM ? r : refuse(a);
        }
        if (newest)
                memcpy(s->mac_before, s->mac, MAC);
        s->has_before = newest;
        r = rotate(a, now, s, ret_tokens);
        if (!r)
                r = changes_add_session(a, ret_changes, s);
        a->counts.refreshes += !r;
        return r;
}

int account_sign_out(struct accounts *a, const struct account_now *now, const struct id *session, struct account_changes *ret_changes)
{
        struct session *s;

        accounts_clock(a, now);
        changes_begin(a, ret_changes);
        s = accounts_session(a, session);
        if (!s)
                return accounts_refuse(a, -ENOENT, "there is no such session, or it has ended already");
        return end(a, now, s, "session.sign_out", 0, ret_changes);
}
