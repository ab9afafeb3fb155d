/* login.c: `berth login URL`: signs in and keeps a key for the other verbs; `berth login --out` forgets it. */
#include "cli/pool-client.h"
#include "cli/secret.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct ask {
        const char *url, *name, *key, *pin, *setup;
        bool out;
};

static const struct argp_option options[] = {
        {"name", 'n', "NAME", 0, "account", 0},
        {"key", 'k', "KEY|-", 0, "use this key in place of name and password; \"-\": read it from standard input", 0},
        {"pin", 'p', "SHA256", 0, "trust the server by its certificate's fingerprint, as `berth pool' prints it", 0},
        {"first", 'f', "TOKEN", 0, "make the first admin, with the token of the link that `berth up' prints", 0},
        {"out", 'o', NULL, 0, "forget the pool and its key here", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct ask *a = state->input;

        switch (key) {
        case 'n':
                a->name = arg;
                return 0;
        case 'k':
                a->key = arg;
                return 0;
        case 'p':
                a->pin = arg;
                return 0;
        case 'f':
                a->setup = arg;
                return 0;
        case 'o':
                a->out = true;
                return 0;
        case ARGP_KEY_ARG:
                if (a->url)
                        return ARGP_ERR_UNKNOWN;
                a->url = arg;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

/* The file whole or not at all, for its owner alone. */
static int keep(const char *path, const json_t *content, char message[CLI_MESSAGE])
{
        char part[500], folder[480];
        char *slash;
        int r = 0;

        snprintf(folder, sizeof folder, "%s", path);
        slash = strrchr(folder, '/');
        if (slash && slash != folder) {
                *slash = '\0';
                r = folder_make(folder, 0700, 0700);
        }
        snprintf(part, sizeof part, "%s.part", path);
        unlink(part);
        {
                scoped_fd int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

                if (fd < 0 || json_dumpfd(content, fd, JSON_INDENT(2)) < 0 || fsync(fd) < 0)
                        r = errno ? -errno : -EIO;
        }
        if (!r && rename(part, path) < 0)
                r = -errno;
        if (r < 0)
                snprintf(message, CLI_MESSAGE, "can't write %.300s: %s", path, error_text(r));
        return r;
}

/* Signs in and makes a key for this machine, so that no password and no short-lived token is kept. */
static int sign_in(struct pool_client *c, const struct ask *a, char *key, size_t size, char message[CLI_MESSAGE])
{
        char password[SECRET_BYTES], label[128] = "berth on ", host[64] = "";
        struct pool_ask ask = {.method = "POST", .path = a->setup ? "/api/v1/setup" : "/api/v1/sessions"};
        json_t *body, *answer = NULL;
        int r;

        r = a->setup ? secret_ask_twice("New password: ", password) : secret_ask("Password: ", password);
        if (r < 0) {
                snprintf(message, CLI_MESSAGE, "no password");
                return r;
        }
        body = json_pack("{s:s, s:s, s:s*}", "name", a->name, "password", password, "token", a->setup);
        secret_wipe(password);
        ask.body = body;
        c->token[0] = '\0';
        r = pool_ask(c, &ask, &answer, message);
        json_decref(body);
        if (r >= 0)
                r = snprintf(c->token, sizeof c->token, "%s", pool_text(answer, "access")) < (int)sizeof c->token ? 0 : -E_MESSAGE;
        json_decref(answer);
        answer = NULL;
        if (r >= 0) {
                gethostname(host, sizeof host - 1);
                strncat(label, host, sizeof label - strlen(label) - 1);
                body = json_pack("{s:s}", "label", label);
                ask = (struct pool_ask){.method = "POST", .path = "/api/v1/keys", .body = body};
                r = pool_ask(c, &ask, &answer, message);
                json_decref(body);
        }
        if (r >= 0)
                r = snprintf(key, size, "%s", pool_text(answer, "key")) < (int)size ? 0 : -E_MESSAGE;
        json_decref(answer);
        return r;
}

static int check(struct pool_client *c, char message[CLI_MESSAGE])
{
        struct pool_ask ask = {.method = "GET", .path = "/api/v1/me"};
        json_t *answer = NULL;
        int r = pool_ask(c, &ask, &answer, message);

        if (r >= 0)
                printf("signed in to %s as %s (%s)\n", c->url, pool_text(answer, "name"), pool_text(answer, "role"));
        json_decref(answer);
        return r;
}

static int run(const struct verb *self, int argc, char **argv)
{
        scoped_pool struct pool_client c = {0};
        char message[CLI_MESSAGE] = "", path[460], key[1200] = "", typed[SECRET_BYTES];
        struct ask a = {0};
        json_t *content;
        int r;

        cli_parse(self, argc, argv, &a);
        r = pool_login_path(path, sizeof path);
        if (r < 0) {
                cli_error("no home folder to keep a key in: set HOME");
                return CLI_FAILED;
        }
        if (a.out) {
                if (unlink(path) < 0 && errno != ENOENT) {
                        cli_error("can't remove %s: %s", path, strerror(errno));
                        return CLI_FAILED;
                }
                return CLI_OK;
        }
        if (!a.url || (!a.name && !a.key))
                return cli_usage(self, "where to, and as whom? an address, and --name or --key");
        if (a.key && !strcmp(a.key, "-")) {
                if (secret_ask("Key: ", typed) < 0)
                        return CLI_FAILED;
                a.key = typed;
        }
        setenv("BERTH_POOL", a.url, 1);
        setenv("BERTH_TOKEN", a.key ? a.key : "", 1);
        if (a.pin)
                setenv("BERTH_PIN", a.pin, 1);
        r = pool_open(&c, message);
        snprintf(c.source, sizeof c.source, "%s", a.key ? "--key" : "the command line");
        if (r >= 0) {
                if (a.key)
                        snprintf(key, sizeof key, "%s", a.key);
                else
                        r = sign_in(&c, &a, key, sizeof key, message);
        }
        if (r >= 0) {
                snprintf(c.token, sizeof c.token, "%s", key);
                r = check(&c, message);
        }
        if (r >= 0) {
                content = json_pack("{s:s, s:s, s:s*}", "url", c.url, "token", key, "pin", a.pin);
                r = keep(path, content, message);
                json_decref(content);
        }
        explicit_bzero(key, sizeof key);
        explicit_bzero(typed, sizeof typed);
        if (r < 0) {
                cli_error("%s", message);
                return cli_exit_code(r);
        }
        return cli_print(NULL);
}

const struct verb verb_login = {
        .name = "login",
        .arguments = "URL\n--out",
        .summary = "sign in to a pool, for the verbs that talk to one",
        .more = "A key for this machine is made and kept, readable by you alone; `berth key end' ends it. Without a login the verbs use the pool of this machine that "
                "`berth up' runs, or BERTH_POOL and BERTH_TOKEN.\n\n"
                "Examples:\n\n  berth login --name ada https://pool.example:7780\n  echo $KEY | berth login --key - http://127.0.0.1:7780",
        .options = options,
        .parse = parse,
        .run = run,
};
