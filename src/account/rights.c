/* rights.c: roles, rights and names: the table of rights.def as bits, and what each is called. */
#include "account/books.h"

#include <string.h>

static const struct {
        const char *name, *text;
        uint8_t roles; /* bit per role */
} rights[RIGHTS] = {
#define RIGHT(symbol, name_, text_, user, worker, auditor, operator, admin)                                                                          \
        [RIGHT_##symbol] = {name_, text_,                                                                                                            \
                            (uint8_t)((user) << ROLE_USER | (worker) << ROLE_WORKER | (auditor) << ROLE_AUDITOR | (operator) << ROLE_OPERATOR |      \
                                      (admin) << ROLE_ADMIN)},
#include "rights.def"
#undef RIGHT
};

static const char *const roles[ROLES] = {
        [ROLE_NONE] = "none",       [ROLE_USER] = "user",         [ROLE_WORKER] = "worker",
        [ROLE_AUDITOR] = "auditor", [ROLE_OPERATOR] = "operator", [ROLE_ADMIN] = "admin",
};

_Static_assert(RIGHTS <= 63, "a bit for each right, and SCOPES_ALL is none of them");

const struct account_caller account_pool_itself = {.role = ROLE_ADMIN, .scopes = SCOPES_ALL, .name = "the pool", .weight = 100};

bool account_role_has(enum account_role role, enum account_right right)
{
        if ((unsigned int)right >= RIGHTS || (unsigned int)role >= ROLES)
                return false;
        return right == RIGHT_NONE || rights[right].roles >> role & 1;
}

uint64_t rights_of_role(enum account_role role)
{
        uint64_t bits = 0;

        for (unsigned int r = 0; r < RIGHTS; r++)
                if (account_role_has(role, r))
                        bits |= UINT64_C(1) << r;
        return bits;
}

uint64_t rights_of(const struct account_caller *caller)
{
        /* What is open to everybody, and seeing itself, are no matter of scopes. */
        return rights_of_role(caller->role) & (caller->scopes | 1u << RIGHT_NONE | 1u << RIGHT_SELF);
}

bool account_may(const struct account_caller *caller, enum account_right right)
{
        if (!account_role_has(caller->role, right))
                return false;
        return right == RIGHT_NONE || right == RIGHT_SELF || caller->scopes >> right & 1;
}

const char *account_role_name(enum account_role role)
{
        return (unsigned int)role < ROLES ? roles[role] : "?";
}

int account_role_parse(const char *name, enum account_role *ret_role)
{
        for (int i = ROLE_NONE + 1; i < ROLES; i++)
                if (!strcmp(name, roles[i])) {
                        *ret_role = i;
                        return 0;
                }
        return -EINVAL;
}

const char *account_right_name(enum account_right right)
{
        return (unsigned int)right < RIGHTS ? rights[right].name : "?";
}

const char *account_right_text(enum account_right right)
{
        return (unsigned int)right < RIGHTS ? rights[right].text : "?";
}

int account_right_parse(const char *name, enum account_right *ret_right)
{
        for (int i = 0; i < RIGHTS; i++)
                if (!strcmp(name, rights[i].name)) {
                        *ret_right = i;
                        return 0;
                }
        return -EINVAL;
}

bool name_ok(const char *name)
{
        size_t n = strnlen(name, 64);

        return n >= 1 && n <= 63 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}
