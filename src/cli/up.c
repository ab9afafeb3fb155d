/* up.c: `berth up`: node daemon, pool and a worker on this machine, with one command; and `berth pool`, `berth worker`, which start one of them. */
#include "cli/catalogue-file.h"
#include "cli/connection.h"
#include "cli/pool-client.h"
#include "cli/supervise.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/folder.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_NO_NODE = 0x100, KEY_NO_WORKER, KEY_STORE, KEY_SLOTS, KEY_TLS };

struct ask {
        const char *folder, *listen, *store, *slots, *tls;
        bool no_node, no_worker;
};

static const struct argp_option options[] = {
        {"folder", 'f', "DIR", 0, "where everything is kept (/var/lib/berth for root, else ~/.local/share/berth)", 0},
        {"listen", 'l', "ADDRESS:PORT", 0, "where the pool is reached (127.0.0.1:7780); another machine needs an address of this one", 0},
        {"tls", KEY_TLS, "auto|off|CERT,KEY", 0, "encryption (off on 127.0.0.1, else auto: a certificate of its own)", 0},
        {"store", KEY_STORE, "URL", 0, "postgresql://… in place of the file in the folder", 0},
        {"slots", KEY_SLOTS, "N", 0, "tasks that the worker here runs at once (by the number of processors)", 0},
        {"no-node", KEY_NO_NODE, NULL, 0, "no berthd: no sharing of devices here, or one runs already", 0},
        {"no-worker", KEY_NO_WORKER, NULL, 0, "only the pool: workers join from elsewhere", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct ask *a = state->input;

        switch (key) {
        case 'f':
                a->folder = arg;
                return 0;
        case 'l':
                a->listen = arg;
                return 0;
        case KEY_TLS:
                a->tls = arg;
                return 0;
        case KEY_STORE:
                a->store = arg;
                return 0;
        case KEY_SLOTS:
                a->slots = arg;
                return 0;
        case KEY_NO_NODE:
                a->no_node = true;
                return 0;
        case KEY_NO_WORKER:
                a->no_worker = true;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

/* One `berth up` a folder. The lock's descriptor, or an error. */
static int lock_folder(const char *folder, char message[CLI_MESSAGE])
{
        char path[500];
        int fd, r;

        snprintf(path, sizeof path, "%s/up.lock", folder);
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0) {
                r = -errno;
                snprintf(message, CLI_MESSAGE, errno == EWOULDBLOCK ? "`berth up' runs already on the folder %.300s" : "can't lock the folder %.300s", folder);
                fd_close_at(&fd);
                return r;
        }
        return fd;
}

static bool node_answers(void)
{
        scoped_connection struct connection c = CONNECTION_CLOSED;
        char message[CLI_MESSAGE];

        return connection_open(&c, message) >= 0;
}

static int add(struct supervise *s, size_t at, const char *name, const char *program, const char *room, char message[CLI_MESSAGE])
{
        struct child *child = &s->children[at];
        int r = supervise_find(program, room, child->program, sizeof child->program);

        child->name = name;
        child->pidfd = child->ready = -1;
        if (r < 0)
                snprintf(message, CLI_MESSAGE, "%s is not beside this program nor in ../sbin; install Berth whole, or build it", program);
        return r;
}

static void push(struct child *child, const char *argument)
{
        size_t n = 0;

        while (child->arguments[n])
                n++;
        if (n + 1 < SUPERVISE_ARGUMENTS)
                child->arguments[n] = (char *)argument;
}

static void push_pair(struct child *child, const char *option, const char *value)
{
        if (value) {
                push(child, option);
                push(child, value);
        }
}

/* What the pool wrote for its own machine: url, sign-in link. */
static void greet(const char *local, const char *folder, bool worker)
{
        json_t *o = json_load_file(local, 0, NULL);
        const char *link = json_string_value(json_object_get(o, "sign_in"));

        printf("\nThe pool and its page: %s\n", pool_text(o, "url"));
        if (link)
                printf("Nobody is admin yet. Whoever opens this link in a browser becomes it, once:\n  %s\n", link);
        else
                printf("To sign in there: as one of `berth account', with the password that `berth account password NAME' gives.\n");
        if (json_object_get(o, "pin"))
                printf("Fingerprint of its certificate: %s\n", pool_text(o, "pin"));
        printf("Everything is kept in %s.%s\n", folder, worker ? " One worker runs here." : "");
        printf("Try:  berth submit --wait -- echo hello     berth tasks     berth workers\nCtrl-C ends it; tasks and results stay.\n\n");
        fflush(stdout);
        json_decref(o);
}

struct paths {
        char folder[440], pool[480], worker[480], local[480], token[480], models[480];
        char url[512], pin[128], listen[256];
};

/* Port 0 was any port; a pool that is started again takes the one it had, where the worker and the file of keys look for it. */
static void keep_port(struct child *child, struct paths *p)
{
        const char *line = child->line, *host = strstr(line, "://"), *port = host ? strrchr(host + 3, ':') : NULL;
        size_t n = strlen(p->listen);

        if (n < 2 || strcmp(p->listen + n - 2, ":0") || !port)
                return;
        snprintf(p->listen + n - 2, sizeof p->listen - n + 2, ":%.*s", (int)strspn(port + 1, "0123456789"), port + 1);
}

/* The worker's address and fingerprint of the pool, from the file that the pool wrote when it was ready. */
static int read_local(struct paths *p, char message[CLI_MESSAGE])
{
        json_t *o = json_load_file(p->local, 0, NULL);
        const char *url = json_string_value(json_object_get(o, "url")), *pin = json_string_value(json_object_get(o, "pin"));
        int r = 0;

        if (!url || strncmp(url, "http", 4) ||
            snprintf(p->url, sizeof p->url, "ws%s/worker/v1", url + 4) >= (int)sizeof p->url || snprintf(p->pin, sizeof p->pin, "%s", pin ? pin : "") >= (int)sizeof p->pin) {
                snprintf(message, CLI_MESSAGE, "the pool left no usable %.300s", p->local);
                r = -EBADMSG;
        }
        json_decref(o);
        return r;
}

static int start_all(struct supervise *s, const struct ask *a, struct paths *p, char message[CLI_MESSAGE])
{
        struct child *child;
        size_t n = 0;
        int r;

        if (!a->no_node && !node_answers()) {
                r = add(s, n, "berthd", "berthd", "node", message);
                if (r < 0)
                        return r;
                s->children[n].optional = true; /* a machine without a device to share is a good one for other work */
                r = supervise_start(s, &s->children[n++], message);
                if (r < 0)
                        return r;
        }
        child = &s->children[n++];
        r = add(s, n - 1, "the pool", "berth-pool", "gateway", message);
        if (r < 0)
                return r;
        push_pair(child, "--folder", p->pool);
        snprintf(p->listen, sizeof p->listen, "%.250s", a->listen ? a->listen : "127.0.0.1:7780");
        push_pair(child, "--listen", p->listen);
        push_pair(child, "--local", p->local);
        push_pair(child, "--tls", a->tls);
        push_pair(child, "--store", a->store);
        push_pair(child, "--ready-fd", "{ready}");
        child->needs_ready = true;
        child->patience_ms = 120000; /* a large store is checked and loaded */
        r = supervise_start(s, child, message);
        keep_port(child, p);
        if (r >= 0)
                r = read_local(p, message);
        if (r < 0 || a->no_worker)
                return r;
        child = &s->children[n++];
        r = add(s, n - 1, "the worker", "berth-worker", "worker", message);
        if (r < 0)
                return r;
        push_pair(child, "--pool", p->url);
        push_pair(child, "--pin", p->pin[0] ? p->pin : NULL);
        push_pair(child, "--token-file", p->token);
        push_pair(child, "--folder", p->worker);
        push_pair(child, "--models", p->models);
        push_pair(child, "--slots", a->slots);
        push_pair(child, "--ready-fd", "{ready}");
        child->needs_ready = true;
        child->patience_ms = 30000;
        return supervise_start(s, child, message);
}

static int run(const struct verb *self, int argc, char **argv)
{
        struct supervise s = {.signals = -1};
        char message[CLI_MESSAGE] = "", folder[420];
        scoped_fd int lock = -1;
        struct ask a = {0};
        struct paths p;
        int r;

        cli_parse(self, argc, argv, &a);
        r = a.folder ? (snprintf(folder, sizeof folder, "%s", a.folder) < (int)sizeof folder ? 0 : -ENAMETOOLONG) : pool_folder(folder, sizeof folder);
        if (r < 0)
                return cli_usage(self, "which folder? --folder DIR, or set HOME");
        r = folder_make(folder, 0700, 0700);
        if (r < 0)
                snprintf(message, sizeof message, "can't make the folder %.300s: %s", folder, error_text(r));
        if (r >= 0) {
                char *full scoped_free = realpath(folder, NULL);

                if (!full || snprintf(p.folder, sizeof p.folder, "%s", full) >= (int)sizeof p.folder) {
                        cli_error("the folder's path is too long");
                        return CLI_FAILED;
                }
                snprintf(p.pool, sizeof p.pool, "%s/pool", p.folder);
                snprintf(p.worker, sizeof p.worker, "%s/worker", p.folder);
                snprintf(p.local, sizeof p.local, "%s/local.json", p.folder);
                snprintf(p.token, sizeof p.token, "%s/worker.key", p.folder);
                snprintf(p.models, sizeof p.models, "%s/models.conf", p.folder);
                r = lock = lock_folder(p.folder, message);
        }
        if (r >= 0 && !a.no_worker)
                r = catalogue_file_first(p.models, message);
        if (r >= 0)
                r = supervise_begin(&s);
        if (r >= 0)
                r = start_all(&s, &a, &p, message);
        if (r >= 0) {
                greet(p.local, p.folder, !a.no_worker);
                supervise_watch(&s);
                cli_error("ending: what runs gets a moment to finish; Ctrl-C again hurries it");
        }
        supervise_end(&s);
        if (r < 0 && r != -ECANCELED) {
                cli_error("%s", message[0] ? message : error_text(r));
                return cli_exit_code(r);
        }
        return CLI_OK;
}

const struct verb verb_up = {
        .name = "up",
        .summary = "start everything on this machine: node daemon, pool and a worker",
        .more = "No configuration is needed. The other verbs find the pool by themselves. What ends unasked is started again.\n\n"
                "Examples:\n\n  berth up\n  berth up --listen 0.0.0.0:7780      # others may join; encrypted",
        .options = options,
        .parse = parse,
        .run = run,
};

/* ---- one of them ------------------------------------------------------------------------------------------------- */

static int run_program(const struct verb *self, int argc, char **argv)
{
        bool pool = !strcmp(self->name, "pool");
        const char *program = pool ? "berth-pool" : "berth-worker";
        char path[512];

        /* The program's own options: berth-pool --help. */
        if (argc == 2 && !strcmp(argv[1], "--help")) {
                cli_help(self);
                return CLI_OK;
        }
        if (supervise_find(program, pool ? "gateway" : "worker", path, sizeof path) < 0) {
                cli_error("%s is not beside this program nor in ../sbin; install Berth whole, or build it", program);
                return CLI_NOT_FOUND;
        }
        argv[0] = path;
        execv(path, argv);
        cli_error("can't start %s: %s", path, strerror(errno));
        return CLI_CANNOT_RUN;
}

const struct verb verb_pool = {
        .name = "pool",
        .summary = "serve a pool, with all its options: berth-pool(8)",
        .more = "All options are berth-pool's; `berth-pool --help' lists them.\n\nExample:\n\n  berth pool --listen 0.0.0.0:7780 --store postgresql://pool@db.example/pool",
        .run = run_program,
};

const struct verb verb_worker = {
        .name = "worker",
        .summary = "work for a pool, here or elsewhere: berth-worker(8)",
        .more = "All options are berth-worker's; `berth-worker --help' lists them.\n\nExample:\n\n  berth worker --pool wss://pool.example:7780 --token-file key",
        .run = run_program,
};
