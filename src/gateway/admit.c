/* admit.c: who may come in; see admit.h. */
#define LOG_ROOM "gateway"
#include "gateway/admit.h"

#include "gateway/connection.h"
#include "gateway/forward.h"

#include "base/error.h"
#include "base/log.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <utlist.h>

#define TICKETS_MAX 4096
#define TICKETS_PER_PARTY 64
#define KNOWN_KEYS 1024
#define KNOWN_MS 1000

struct identity {
        char *credential;
        struct account_caller caller;
        unsigned uses;                    /* connections that hold it */
        bool ended;
        UT_hash_handle hh;
};

struct ticket {
        char text[TICKET_TEXT];
        char *credential;
        uint64_t until;
        struct id owner;
        UT_hash_handle hh;
};

static void ticket_free(struct server *server, struct ticket *ticket)
{
        HASH_DEL(server->tickets, ticket);
        server->ticket_count--;
        free(ticket->credential);
        free(ticket);
}

/* Who asks of the limits: the key, or the account of a token. */
static const struct id *party_of(const struct account_caller *caller)
{
        return id_is_none(&caller->key) ? &caller->account : &caller->key;
}

bool admit_stranger(struct request *r)
{
        struct server *server = r->server;
        struct limit_party *network = r->connection->network;

        network->per_minute = server->settings.strangers_per_minute;
        if (limit_take(&network->requests, server_now(server), network->per_minute, 1, &r->allowance))
                return true;
        r->keep_alive = false;
        reply_problem(r, "limit.requests", NULL, "Too many requests without an accepted identity from your address.");
        return false;
}

/* Keys that were accepted a moment ago: what their hash costs is paid once a second. */
struct known_key {
        uint64_t until_ms;
        uint32_t length;
        char credential[ACCOUNT_KEY_TEXT + 16];
        struct account_caller caller;
};

/* The place of such a credential; NULL: none. */
static struct known_key *known_key(struct server *server, const char *credential, size_t length)
{
        uint32_t hash = 2166136261u;

        if (length > sizeof server->known_keys->credential)
                return NULL;
        if (!server->known_keys)
                server->known_keys = calloc(KNOWN_KEYS, sizeof *server->known_keys);
        for (size_t i = 0; i < length; i++)
                hash = (hash ^ (unsigned char)credential[i]) * 16777619u;
        return server->known_keys ? &server->known_keys[hash % KNOWN_KEYS] : NULL;
}

static int identify(struct request *r, const char *credential, struct account_caller *caller)
{
        struct server *server = r->server;
        uint8_t random[64];
        struct account_now now = server_account_now(server, random, r->connection->address);
        size_t length = strlen(credential);
        struct known_key *known = known_key(server, credential, length);
        int e;

        /* Whether it has ended is looked at each time. */
        if (known && now.monotonic_ms < known->until_ms && known->length == length && !CRYPTO_memcmp(known->credential, credential, length) &&
            account_still(server->accounts, &now, &known->caller)) {
                *caller = known->caller;
                return 0;
        }
        e = account_identify(server->accounts, &now, credential, length, caller);
        if (known && e == 0 && !id_is_none(&caller->key)) {
                memcpy(known->credential, credential, length);
                known->length = (uint32_t)length;
                known->until_ms = now.monotonic_ms + KNOWN_MS;
                known->caller = *caller;
        }
        return e;
}

/* A ticket in the query, used up by being looked at. */
static bool take_ticket(struct request *r)
{
        char text[TICKET_TEXT];
        struct ticket *ticket = NULL;

        if (query_get(r->path.query, r->path.query_length, "ticket", text, sizeof text) != 1)
                return false;
        HASH_FIND_STR(r->server->tickets, text, ticket);
        if (!ticket)
                return false;
        if (ticket->until > server_now(r->server))
                r->own_credential = take(ticket->credential);
        ticket_free(r->server, ticket);
        return r->own_credential != NULL;
}

static void ignore(void *context, const struct service_answer *answer)
{
}

static void audit_refusal(struct request *r)
{
        struct account_changes changes = {0};
        uint8_t random[64];
        struct account_now now = server_account_now(r->server, random, r->connection->address);
        int e;

        e = account_audit(r->server->accounts, &now, &r->caller, r->route->name, r->path.text, -EPERM, &changes);
        if (changes.count) {
                service_commit(r->server->service, &changes, ignore, NULL);
                server_turn_soon(r->server);
        }
        if (e < 0)
                log_debug("refusal not audited: %s", error_text(e));
}

/* The queue of the caller's account may be another server's. */
static bool is_ours(struct request *r)
{
        char server[256];
        int e = service_owner(r->server->service, &r->caller.account, server);

        if (e == 0)
                return true;
        if (e == -EAGAIN && !forward_was(r)) {
                if (r->route->flags & (ROUTE_UPLOAD | ROUTE_SOCKET)) {
                        forward_redirect(r, server);
                        return false;
                }
                r->elsewhere = strdup(server); /* when its body is here */
                if (r->elsewhere)
                        return true;
                reply_problem(r, "pool.busy", NULL, "Out of memory.");
        } else {
                r->allowance.retry_s = 1;
                reply_problem(r, "pool.unavailable", NULL, "No server looks after your account's tasks at the moment; one soon will.");
        }
        return false;
}

/* To be asked at the server of the caller's account. */
static bool is_owned(const struct request *r)
{
        unsigned flags = r->route->flags;

        return flags & ROUTE_OWNED || (flags & ROUTE_OWN_VIEW && !account_may(&r->caller, RIGHT_TASK_READ_ALL)) ||
               (flags & ROUTE_OWN_FILES && r->caller.role != ROLE_WORKER);
}

static bool known_caller(struct request *r)
{
        const char *header = request_header(r, HEADER_AUTHORIZATION);
        struct connection *c = r->connection;
        int e = -ENOENT;

        if (header)
                r->credential = header;
        else if (r->route->flags & ROUTE_TICKET && take_ticket(r))
                r->credential = r->own_credential;
        if (r->credential)
                e = identify(r, r->credential, &r->caller);
        if (e == 0) {
                if (c->stranger) {
                        c->stranger = false;
                        c->network->connections--;
                }
                return true;
        }
        memset(&r->caller, 0, sizeof r->caller);
        if (!admit_stranger(r))
                return false;
        if (r->credential)
                reply_problem(r, "auth.invalid", NULL, "The Authorization header is not accepted: wrong, expired, ended, or not of this pool.");
        else
                reply_problem(r, "auth.required", NULL, "An Authorization header (Bearer, with an API key or an access token) is needed here.");
        return false;
}

static bool may_ask_now(struct request *r)
{
        struct server *server = r->server;
        struct limit_party *party = limit_party(&server->parties, party_of(&r->caller)->bytes);

        if (!party) {
                reply_problem(r, "pool.busy", NULL, "Too many different keys at a time.");
                return false;
        }
        party->per_minute = r->caller.limits.requests_per_minute ? r->caller.limits.requests_per_minute : server->settings.requests_per_minute;
        if (!limit_take(&party->requests, server_now(server), party->per_minute, 1, &r->allowance)) {
                reply_problem(r, "limit.requests", NULL, "More than %llu requests in a minute.", (unsigned long long)party->per_minute);
                return false;
        }
        if (party->in_flight >= server->settings.in_flight_per_key) {
                r->allowance.retry_s = 1;
                reply_problem(r, "limit.in_flight", NULL, "%u requests of this key are being answered already.", party->in_flight);
                return false;
        }
        party->in_flight++;
        r->counted = party;
        return true;
}

bool admit_request(struct request *r)
{
        struct server *server = r->server;

        if (r->route->flags & ROUTE_PLAIN && r->route->right == RIGHT_NONE)
                return true;
        if (server->stopping || server->in_flight >= server->settings.in_flight) {
                reply_problem(r, "pool.busy", NULL, server->stopping ? "The pool is stopping." : "Too many requests are being answered.");
                return false;
        }
        server->in_flight++;
        r->flying = true;
        if (r->route->right == RIGHT_NONE)
                return admit_stranger(r);
        if (!known_caller(r) || !may_ask_now(r))
                return false;
        if (!account_may(&r->caller, r->route->right)) {
                if (r->route->flags & ROUTE_MANAGE)
                        audit_refusal(r);
                reply_problem(r, "auth.forbidden", NULL, "The right \"%s\" is needed here; %s \"%s\" does not give it.", account_right_name(r->route->right),
                              id_is_none(&r->caller.key) ? "the role" : "the key, or the role", account_role_name(r->caller.role));
                return false;
        }
        return !is_owned(r) || is_ours(r);
}

void admit_leave(struct request *r)
{
        if (r->flying)
                r->server->in_flight--;
        if (r->counted)
                r->counted->in_flight--;
        r->flying = false;
        r->counted = NULL;
}

static void drop_identity(struct server *server, struct identity *identity)
{
        if (--identity->uses)
                return;
        HASH_DEL(server->identities, identity);
        free(identity->credential);
        free(identity);
}

bool admit_stream(struct request *r)
{
        struct server *server = r->server;
        struct connection *c = r->connection;
        struct limit_party *account = limit_party(&server->parties, r->caller.account.bytes);
        uint64_t most = r->caller.limits.max_connections ? r->caller.limits.max_connections : server->settings.connections_per_account;
        struct identity *identity = NULL;

        if (!account || account->connections >= most) {
                server->counters.sockets_refused++;
                r->allowance.retry_s = 5;
                reply_problem(r, "limit.connections", NULL, "The account has %u event streams and workers connected already.", account ? account->connections : 0);
                return false;
        }
        HASH_FIND_STR(server->identities, r->credential, identity);
        if (!identity) {
                identity = calloc(1, sizeof *identity);
                if (!identity || !(identity->credential = strdup(r->credential))) {
                        free(identity);
                        reply_problem(r, "pool.busy", NULL, "Out of memory.");
                        return false;
                }
                HASH_ADD_KEYPTR(hh, server->identities, identity->credential, strlen(identity->credential), identity);
        }
        identity->caller = r->caller;
        identity->uses++;
        account->connections++;
        c->account = account;
        c->identity = identity;
        return true;
}

const struct account_caller *admit_caller(const struct connection *c)
{
        return &c->identity->caller;
}

void admit_forget(struct connection *c)
{
        struct server *server = c->server;

        if (c->stranger)
                c->network->connections--;
        c->network->holds--;
        if (c->account)
                c->account->connections--;
        if (c->identity)
                drop_identity(server, c->identity);
        c->stranger = false;
        c->account = NULL;
        c->identity = NULL;
}

void admit_look_again(struct server *server)
{
        struct identity *identity, *next_identity;
        struct connection *c, *next;
        struct ticket *ticket, *next_ticket;
        uint64_t now_ms = server_now(server);
        uint8_t random[64];
        struct account_now now = server_account_now(server, random, NULL);
        size_t ended = 0;

        HASH_ITER(hh, server->tickets, ticket, next_ticket)
        {
                if (ticket->until <= now_ms)
                        ticket_free(server, ticket);
        }
        HASH_ITER(hh, server->identities, identity, next_identity)
        {
                struct account_caller caller;

                identity->ended = account_identify(server->accounts, &now, identity->credential, strlen(identity->credential), &caller) < 0;
                if (identity->ended)
                        ended++;
                else
                        identity->caller = caller;
        }
        DL_FOREACH_SAFE(server->connections, c, next)
        {
                if (ended && c->identity && c->identity->ended)
                        connection_kill(c);
        }
        limit_sweep(&server->networks, now_ms);
        limit_sweep(&server->parties, now_ms);
}

void admit_done(struct server *server)
{
        struct ticket *ticket, *next;

        HASH_ITER(hh, server->tickets, ticket, next)
        {
                ticket_free(server, ticket);
        }
        limit_done(&server->networks);
        limit_done(&server->parties);
        if (server->known_keys)
                explicit_bzero(server->known_keys, KNOWN_KEYS * sizeof *server->known_keys);
        free(server->known_keys);
}

bool admit_origin(struct request *r)
{
        const char *origin = request_header(r, HEADER_ORIGIN), *host = request_header(r, HEADER_HOST), *at;

        if (!origin || request_header(r, HEADER_AUTHORIZATION))
                return true;
        at = strstr(origin, "://");
        if (at && host && !strcmp(at + 3, host) && !strncmp(origin, r->server->tls ? "https" : "http", (size_t)(at - origin)) &&
            (size_t)(at - origin) == (r->server->tls ? 5u : 4u))
                return true;
        reply_problem(r, "auth.origin", NULL, "A page of another origin may not open this.");
        return false;
}

int admit_ticket(struct request *r, char *text)
{
        struct server *server = r->server;
        struct ticket *ticket, *next;
        size_t own = 0;
        uint8_t random[32];

        HASH_ITER(hh, server->tickets, ticket, next)
        {
                if (ticket->until <= server_now(server))
                        ticket_free(server, ticket);
                else
                        own += id_equal(&ticket->owner, &r->caller.account);
        }
        if (server->ticket_count >= TICKETS_MAX || own >= TICKETS_PER_PARTY)
                return -E_QUOTA;
        if (getrandom(random, sizeof random, 0) != sizeof random)
                return -EIO;
        ticket = calloc(1, sizeof *ticket);
        if (!ticket || !(ticket->credential = strdup(r->credential))) {
                free(ticket);
                return -ENOMEM;
        }
        for (size_t i = 0; i < sizeof random; i++)
                snprintf(ticket->text + 2 * i, 3, "%02x", random[i]);
        ticket->until = server_now(server) + TICKET_MS;
        ticket->owner = r->caller.account;
        HASH_ADD_STR(server->tickets, text, ticket);
        server->ticket_count++;
        memcpy(text, ticket->text, TICKET_TEXT);
        return 0;
}
