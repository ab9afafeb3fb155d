/* sessions.c: signing in and out, the first admin, who one is, tickets for pages. */
#include "gateway/admit.h"
#include "gateway/commit.h"
#include "gateway/connection.h"
#include "gateway/fields.h"
#include "gateway/handlers.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

#define PASSWORD_MAX 255

static struct account_now now_of(struct request *r, uint8_t random[64], char address[64])
{
        address[0] = 0;
        if (r->connection)
                snprintf(address, 64, "%s", r->connection->address);
        return server_account_now(r->server, random, address);
}

static json_t *rights_json(const struct account_caller *caller)
{
        json_t *list = json_array();

        for (unsigned right = RIGHT_NONE + 1; right < RIGHTS; right++)
                if (account_may(caller, right))
                        json_array_append_new(list, json_string(account_right_name(right)));
        return list;
}

static json_t *who_json(const struct account_caller *caller)
{
        char account[ID_TEXT], key[ID_TEXT], session[ID_TEXT];

        return json_pack("{s:s, s:s, s:s, s:s*, s:s*, s:o}", "account", id_text("account", &caller->account, account), "name", caller->name, "role",
                         account_role_name(caller->role), "key", id_is_none(&caller->key) ? NULL : id_text("key", &caller->key, key), "session",
                         id_is_none(&caller->session) ? NULL : id_text("session", &caller->session, session), "rights", rights_json(caller));
}

static json_t *tokens_json(const struct account_tokens *tokens)
{
        return json_pack("{s:s, s:s, s:s, s:o, s:o}", "access", tokens->access, "refresh", tokens->refresh, "type", "Bearer", "expires",
                         time_json((int64_t)tokens->access_expires_ms), "me", who_json(&tokens->caller));
}

/* Throttled: how long to wait stands in the answer. */
static void reply_throttled(struct request *r, uint64_t retry_ms)
{
        r->allowance.retry_s = retry_ms / 1000 + 1;
        reply_problem(r, "limit.sign_in", NULL, "Too many tries; wait %llu s.", (unsigned long long)r->allowance.retry_s);
}

static void signed_in(struct request *r, struct account_password_work *work)
{
        struct account_changes changes = {0};
        struct account_tokens tokens;
        char address[64];
        uint8_t random[64];
        struct account_now now = now_of(r, random, address);
        int error = work->error, e;

        if (!address[0])
                now.address = work->address;
        e = account_sign_in_end(r->server->accounts, &now, work, &tokens, &changes);
        if (e == 0 && r->connection) {
                commit_then_reply(r, &changes, 201, tokens_json(&tokens));
        } else {
                commit_aside(r->server, &changes);
                if (!r->connection)
                        request_release(r);
                else if (error)
                        reply_problem(r, "pool.busy", NULL, "Too many are signing in; try again in a moment.");
                else
                        reply_refusal(r, e);
        }
        explicit_bzero(&tokens, sizeof tokens);
}

void handle_sign_in(struct request *r)
{
        struct fields f = fields_of(r, "name password");
        const char *name = fields_text(&f, "name", 1, 63, true), *password = fields_text(&f, "password", 1, PASSWORD_MAX, true);
        struct account_password_work work;
        char address[64];
        uint8_t random[64];
        struct account_now now = now_of(r, random, address);
        uint64_t retry_ms = 0;
        int e;

        if (!fields_good(&f))
                return;
        e = account_sign_in_begin(r->server->accounts, &now, name, password, &work, &retry_ms);
        if (e == -E_QUOTA)
                reply_throttled(r, retry_ms);
        else if (e < 0)
                reply_refusal(r, e);
        else
                password_start(r, &work, signed_in);
}

void handle_setup(struct request *r)
{
        struct fields f = fields_of(r, "name password token");
        const char *name = fields_text(&f, "name", 1, 63, true), *password = fields_text(&f, "password", ACCOUNT_PASSWORD_MIN, PASSWORD_MAX, true),
                   *token = fields_text(&f, "token", 1, 200, true);
        struct account_password_work work;
        char address[64];
        uint8_t random[64];
        struct account_now now = now_of(r, random, address);
        int e;

        if (!fields_good(&f))
                return;
        e = account_setup_begin(r->server->accounts, &now, token, name, password, &work);
        if (e < 0)
                reply_refusal(r, e);
        else
                password_start(r, &work, signed_in);
}

void handle_refresh(struct request *r)
{
        struct fields f = fields_of(r, "refresh");
        const char *refresh = fields_text(&f, "refresh", 1, 200, true);
        struct account_changes changes = {0};
        struct account_tokens tokens;
        char address[64];
        uint8_t random[64];
        struct account_now now = now_of(r, random, address);
        int e;

        if (!fields_good(&f))
                return;
        e = account_refresh(r->server->accounts, &now, refresh, &tokens, &changes);
        if (e == 0) {
                commit_then_reply(r, &changes, 200, tokens_json(&tokens));
        } else {
                commit_aside(r->server, &changes);
                reply_refusal(r, e);
        }
        explicit_bzero(&tokens, sizeof tokens);
}

void handle_sign_out(struct request *r)
{
        struct account_changes changes = {0};
        char address[64];
        uint8_t random[64];
        struct account_now now = now_of(r, random, address);
        int e;

        if (id_is_none(&r->caller.session)) {
                reply_problem(r, "conflict", NULL, "This is an API key, not a session; DELETE /api/v1/keys/KEY ends it.");
                return;
        }
        e = account_sign_out(r->server->accounts, &now, &r->caller.session, &changes);
        if (e == 0)
                commit_then_reply(r, &changes, 204, NULL);
        else
                reply_refusal(r, e);
}

void handle_me(struct request *r)
{
        reply_json(r, 200, who_json(&r->caller));
}

void handle_ticket(struct request *r)
{
        char text[TICKET_TEXT];
        int e = admit_ticket(r, text);

        if (e == -E_QUOTA)
                reply_problem(r, "limit.requests", NULL, "Too many unused tickets.");
        else if (e < 0)
                reply_error(r, e, NULL);
        else
                reply_json(r, 201, json_pack("{s:s, s:i}", "ticket", text, "seconds", TICKET_MS / 1000));
}

void handle_jwks(struct request *r)
{
        char text[2048];
        int e = account_jwks(r->server->accounts, text, sizeof text);

        if (e < 0) {
                reply_error(r, e, NULL);
                return;
        }
        reply_header(r, "Cache-Control: public, max-age=300\r\n");
        reply_text(r, 200, "application/json", text, strlen(text));
}
