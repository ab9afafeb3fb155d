/* local.c: the file for this machine's owner; see local.h. */
#include "gateway/local.h"

#include "base/error.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define PATIENCE_MS 30000

struct waiting {
        bool done;
        int status;
};

static void committed(void *context, const struct service_answer *answer)
{
        struct waiting *w = context;

        w->done = true;
        w->status = answer->status;
}

/* The loop does not run yet: turns are taken here until the commit is told. */
static int commit(struct server *server, const struct account_changes *changes)
{
        struct waiting w = {0};

        if (!changes->count)
                return 0;
        service_commit(server->service, changes, committed, &w);
        for (unsigned i = 0; !w.done; i++) {
                (void)service_turn(server->service);
                if (!w.done)
                        (void)poll(NULL, 0, 1);
        }
        return w.status < 400 ? 0 : -E_UNAVAILABLE;
}

static bool still_good(struct server *server, const char *key, const char *name)
{
        struct account_caller caller;
        uint8_t random[64];
        struct account_now now = server_account_now(server, random, NULL);
        char header[ACCOUNT_KEY_TEXT + 16];

        if (!key || strlen(key) >= ACCOUNT_KEY_TEXT)
                return false;
        snprintf(header, sizeof header, "Bearer %s", key);
        return account_identify(server->accounts, &now, header, strlen(header), &caller) == 0 && !strcmp(caller.name, name);
}

/* A key of the account of that name, which is made when there is none. */
static int make_key(struct server *server, const char *name, enum account_role role, uint64_t scopes, char *key, size_t size)
{
        struct account_spec spec = {.role = role};
        struct account_key_spec key_spec = {.scopes = scopes};
        struct account_changes changes = {0};
        struct account_view view;
        uint8_t random[64];
        struct account_now now = server_account_now(server, random, NULL);
        struct id account, id;
        int r;

        snprintf(spec.name, sizeof spec.name, "%s", name);
        snprintf(key_spec.label, sizeof key_spec.label, "this machine");
        if (account_find(server->accounts, name, &view) == 0) {
                account = view.id;
        } else {
                r = account_create(server->accounts, &now, &account_pool_itself, &spec, &account, &changes);
                if (r == 0)
                        r = commit(server, &changes);
                if (r < 0)
                        return r;
        }
        now = server_account_now(server, random, NULL);
        changes = (struct account_changes){0};
        r = account_key_create(server->accounts, &now, &account_pool_itself, &account, &key_spec, key, size, &id, &changes);
        return r < 0 ? r : commit(server, &changes);
}

static int write_text(const char *path, const char *text)
{
        char part[CONFIG_TEXT + 300];
        int r;

        if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
                return -ENAMETOOLONG;
        (void)unlink(part);
        {
                scoped_fd int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
                size_t n = strlen(text);

                if (fd < 0)
                        return -errno;
                if (write(fd, text, n) != (ssize_t)n || fsync(fd) < 0)
                        return errno ? -errno : -EIO;
        }
        r = rename(part, path);
        return r < 0 ? -errno : 0;
}

static void read_line(const char *path, char *text, size_t size)
{
        FILE *file = fopen(path, "re");

        text[0] = 0;
        if (file && fgets(text, (int)size, file))
                text[strcspn(text, "\n")] = 0;
        if (file)
                fclose(file);
}

static uint64_t all_rights(void)
{
        uint64_t scopes = 0;

        for (unsigned right = RIGHT_NONE + 1; right < RIGHTS; right++)
                scopes |= UINT64_C(1) << right;
        return scopes;
}

int local_write(struct server *server, const char *path, const char *sign_in, char message[SERVER_MESSAGE])
{
        char worker_path[CONFIG_TEXT + 300], worker[ACCOUNT_KEY_TEXT + 1], key[ACCOUNT_KEY_TEXT] = "";
        const char *slash = strrchr(path, '/');
        json_t *before = json_load_file(path, 0, NULL), *now;
        char *text scoped_free = NULL;
        int r = 0;

        if (snprintf(worker_path, sizeof worker_path, "%.*sworker.key", slash ? (int)(slash - path + 1) : 0, path) >= (int)sizeof worker_path)
                r = -ENAMETOOLONG;
        if (r == 0 && still_good(server, json_string_value(json_object_get(before, "token")), "local"))
                snprintf(key, sizeof key, "%s", json_string_value(json_object_get(before, "token")));
        else if (r == 0)
                /* Its scopes stand there one by one: whoever owns this machine may do all, and yet the first admin is still to be made. */
                r = make_key(server, "local", ROLE_ADMIN, all_rights(), key, sizeof key);
        json_decref(before);
        if (r == 0) {
                now = json_pack("{s:s, s:s, s:s*, s:s*}", "url", server->url, "token", key, "pin", server->fingerprint[0] ? server->fingerprint : NULL, "sign_in",
                                sign_in[0] ? sign_in : NULL);
                text = json_dumps(now, JSON_INDENT(2));
                json_decref(now);
                r = text ? write_text(path, text) : -ENOMEM;
        }
        if (r == 0) {
                read_line(worker_path, worker, sizeof worker);
                if (!still_good(server, worker, "local-worker")) {
                        r = make_key(server, "local-worker", ROLE_WORKER, 0, worker, ACCOUNT_KEY_TEXT);
                        if (r == 0) {
                                strcat(worker, "\n");
                                r = write_text(worker_path, worker);
                        }
                }
        }
        explicit_bzero(key, sizeof key);
        explicit_bzero(worker, sizeof worker);
        if (r < 0)
                snprintf(message, SERVER_MESSAGE, "can't leave %s for this machine: %s", path, accounts_problem(server->accounts)[0] ? accounts_problem(server->accounts) : error_text(r));
        return r;
}
