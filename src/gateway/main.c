/* main.c: berth-pool: options, settings, the loop, the first sign-in's link, and an orderly end. */
#define LOG_ROOM "pool"
#include "gateway/gateway.h"
#include "gateway/local.h"

#include "base/error.h"
#include "base/folder.h"
#include "base/log.h"
#include "base/sample.h"
#include "base/text.h"

#include <argp.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


const char *argp_program_version = "berth-pool " BERTH_VERSION;

enum { KEY_STORE = 0x100, KEY_TLS, KEY_SERVER, KEY_READY, KEY_LOCAL, KEY_SAMPLE };

static struct {
        const char *config, *local;
        const char *named[5];            /* values of --listen, --store, --folder, --tls, --server */
        struct config_overrides overrides;
        bool check, sample;
        int ready_fd;
} options = {.ready_fd = -1};

static const char *const named_settings[] = {"listen", "store", "folder", "tls", "server"};

static const struct argp_option option_table[] = {
        {"config", 'c', "FILE", 0, "Settings file (FILE.d/*.conf are read after it); default: /etc/berth/pool.conf for root, else ~/.config/berth/pool.conf", 0},
        {"listen", 'l', "ADDRESS:PORT", 0, "Serve here (127.0.0.1:7780); port 0: any free one", 0},
        {"store", KEY_STORE, "URL", 0, "postgresql://…, or the path of a SQLite file (pool.db in the folder)", 0},
        {"folder", 'f', "DIR", 0, "Where secrets, logs and artifacts lie", 0},
        {"tls", KEY_TLS, "off|auto|CERTIFICATE,KEY", 0, "Encryption (off on loopback addresses, else auto: a certificate of our own)", 0},
        {"server", KEY_SERVER, "URL", 0, "This server's address as others reach it, when several share a store", 0},
        {"set", 'o', "SECTION.NAME=VALUE", 0, "One setting, stronger than files and environment; may be repeated", 0},
        {"sample", KEY_SAMPLE, NULL, 0, "Print a settings file with every setting at its default, and end", 0},
        {"check-config", 'n', NULL, 0, "Read the settings, say whether they are good, and end", 0},
        {"ready-fd", KEY_READY, "N", 0, "Write one line with the address to this descriptor when it is served", 0},
        {"local", KEY_LOCAL, "FILE", 0, "Leave address and keys for this machine's owner in FILE, and a worker's key beside it", 0},
        {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
        uint64_t fd;

        switch (key) {
        case 'c':
                options.config = arg;
                return 0;
        case 'l':
                options.named[0] = arg;
                return 0;
        case KEY_STORE:
                options.named[1] = arg;
                return 0;
        case 'f':
                options.named[2] = arg;
                return 0;
        case KEY_TLS:
                options.named[3] = arg;
                return 0;
        case KEY_SERVER:
                options.named[4] = arg;
                return 0;
        case 'o':
                if (!config_override_keep(&options.overrides, arg))
                        argp_error(state, "more than %d --set", CONFIG_OVERRIDES);
                return 0;
        case 'n':
                options.check = true;
                return 0;
        case KEY_READY:
                if (text_parse_u64(arg, 0, 65535, &fd) < 0 || fcntl((int)fd, F_GETFD) < 0)
                        argp_error(state, "--ready-fd %.20s: no open descriptor", arg);
                options.ready_fd = (int)fd;
                return 0;
        case KEY_SAMPLE:
                options.sample = true;
                return 0;
        case KEY_LOCAL:
                options.local = arg;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

/* Files, environment, command line, then what goes across values. */
static int load(struct gateway_settings *ret, char message[CONFIG_MESSAGE])
{
        struct gateway_settings fresh;
        char path[4096], host[128];
        uint16_t port;
        int r;

        r = options.config ? 0 : gateway_default_config(path, sizeof path);
        r = config_load(&gateway_settings_table, options.config ? options.config : r == 0 ? path : NULL, options.config != NULL, &fresh, message);
        if (r == 0)
                r = config_override_all(&gateway_settings_table, &fresh, &options.overrides, message);
        for (size_t i = 0; r == 0 && i < ARRAY_SIZE(named_settings); i++)
                if (options.named[i])
                        r = config_set(&gateway_settings_table, &fresh, "pool", named_settings[i], options.named[i], message);
        if (r == 0 && gateway_parse_listen(fresh.listen, host, &port) < 0) {
                snprintf(message, CONFIG_MESSAGE, "pool.listen = %.200s: not of the form ADDRESS:PORT", fresh.listen);
                r = -E_CONFIG;
        }
        if (r == 0 && !fresh.folder[0] && gateway_default_folder(fresh.folder, sizeof fresh.folder) < 0) {
                snprintf(message, CONFIG_MESSAGE, "no folder to keep things in: give --folder, or set HOME");
                r = -E_CONFIG;
        }
        if (r == 0 && !(fresh.suspect_ns < fresh.drain_ns && fresh.drain_ns < fresh.gone_ns)) {
                snprintf(message, CONFIG_MESSAGE, "tasks.suspect, tasks.drain and tasks.gone must grow in this order");
                r = -E_CONFIG;
        }
        if (r == 0)
                *ret = fresh;
        return r;
}

static void on_signal(uv_signal_t *handle, int number)
{
        struct server *server = handle->data;

        if (!server->stopping)
                log_notice("signal %d (%s): stopping; what was accepted is finished", number, strsignal(number));
        server_stop(server);
}

/* Someone must be able to come in: while there is no admin, each start prints a link that makes one. */
static void offer_setup(struct server *server, char *link, size_t size)
{
        char token[128];
        uint8_t random[64];
        struct account_now now = server_account_now(server, random, NULL);

        link[0] = 0;
        if (!accounts_fresh(server->accounts))
                return;
        if (account_setup_token(server->accounts, &now, token, sizeof token) < 0) {
                log_error("no one-time link could be made");
                return;
        }
        snprintf(link, size, "%s/setup#%s", server->url, token);
}

static void announce(const struct server *server, const char *link)
{
        if (!options.local) /* else who started us tells it */
                printf("pool: serving at %s\n", server->url);
        if (!options.local && server->fingerprint[0])
                printf("pool: fingerprint of the certificate (--pin): %s\n", server->fingerprint);
        if (!options.local && link[0])
                printf("pool: nobody is admin yet; this link makes one, once: %s\n", link);
        fflush(stdout);
        if (options.ready_fd >= 0) {
                dprintf(options.ready_fd, "%s\n", server->url);
                close(options.ready_fd);
        }
}

static int serve(struct server *server, uv_loop_t *loop)
{
        static const int numbers[] = {SIGTERM, SIGINT};
        uv_signal_t signals[ARRAY_SIZE(numbers)];
        char link[500], message[SERVER_MESSAGE] = "";
        int r = 0;

        offer_setup(server, link, sizeof link);
        if (options.local)
                r = local_write(server, options.local, link, message);
        if (r < 0) {
                log_error("%s", message);
                server_stop(server);
                uv_run(loop, UV_RUN_DEFAULT);
                return r;
        }
        for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
                uv_signal_init(loop, &signals[i]);
                signals[i].data = server;
                uv_signal_start(&signals[i], on_signal, numbers[i]);
                uv_unref((uv_handle_t *)&signals[i]);
        }
        announce(server, link);
        uv_run(loop, UV_RUN_DEFAULT);
        for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
                uv_close((uv_handle_t *)&signals[i], NULL);
        uv_run(loop, UV_RUN_DEFAULT);
        return 0;
}

static int print_sample(void)
{
        struct strbuf b = {0};
        int r = EXIT_FAILURE;

        sample_config(&gateway_settings_table,
                      "# pool.conf: settings of the pool's server, see berth-pool(8). Every setting stands here at its default;\n"
                      "# take away the \";\" to change one, then `berth-pool --check-config --config FILE'.\n",
                      &b);
        if (!b.failed && fputs(b.text, stdout) >= 0 && fflush(stdout) == 0)
                r = EXIT_SUCCESS;
        strbuf_done(&b);
        return r;
}

int main(int argc, char **argv)
{
        static const struct argp parser = {
                .options = option_table,
                .parser = parse_option,
                .doc = "Serves a pool: tasks, workers, events, artifacts and accounts, over HTTP and WebSocket.\v"
                       "Settings and files: berth-pool(8). SIGTERM ends it in order.",
        };
        static struct server server;
        char message[SERVER_MESSAGE] = "";
        struct gateway_settings settings;
        uv_loop_t loop;
        int r;

        argp_parse(&parser, argc, argv, 0, NULL, NULL);
        if (options.sample)
                return print_sample();
        r = load(&settings, message);
        if (r < 0) {
                log_error("%s", message);
                return EXIT_FAILURE;
        }
        if (options.check) {
                puts("the settings are good");
                return EXIT_SUCCESS;
        }
        log_set_level((enum log_level)settings.log_level);
        signal(SIGPIPE, SIG_IGN);
        umask(0077);
        r = folder_make(settings.folder, 0700, 0700);
        if (r < 0) {
                log_error("can't make the folder %s: %s", settings.folder, error_text(r));
                return EXIT_FAILURE;
        }
        r = uv_loop_init(&loop);
        if (r < 0) {
                log_error("no event loop: %s", uv_strerror(r));
                return EXIT_FAILURE;
        }
        r = server_open(&server, &loop, &settings, message);
        if (r < 0)
                log_error("%s", message);
        else
                r = serve(&server, &loop);
        server_done(&server);
        (void)uv_loop_close(&loop);
        if (r == 0)
                log_notice("ended in order");
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
