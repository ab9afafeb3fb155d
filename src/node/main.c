/* main.c: berthd, the node daemon: options, settings, devices, the loop, and an orderly end. */
#define LOG_ROOM "node"
#include "node/node.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/privilege.h"
#include "base/text.h"
#include "bpf/keeper.h"

#include <argp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* Drivers take seconds to wake a machine's devices; one that takes longer than this will not come. */
#define DRIVER_PATIENCE_S 10

const char *argp_program_version = "berthd " BERTH_VERSION;

static struct {
        const char *config, *socket;
        struct config_overrides overrides;
        bool check;
} options;

static const struct argp_option option_table[] = {
        {"config", 'c', "FILE", 0, "Settings file (FILE.d/*.conf are read after it); default: /etc/berth/berthd.conf for root, else "
                                   "~/.config/berth/berthd.conf, when they exist", 0},
        {"socket", 's', "PATH", 0, "Listen at PATH; the same as --set node.socket=PATH, and stronger than $BERTH_SOCKET", 0},
        {"set", 'o', "SECTION.NAME=VALUE", 0, "One setting, stronger than files and environment; may be repeated", 0},
        {"check-config", 'n', NULL, 0, "Read the settings, say whether they are good, and end", 0},
        {"foreground", 'f', NULL, 0, "Stay in the foreground; berthd always does", 0},
        {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
        switch (key) {
        case 'c':
                options.config = arg;
                return 0;
        case 's':
                options.socket = arg;
                return 0;
        case 'o':
                if (!config_override_keep(&options.overrides, arg))
                        argp_error(state, "more than %d --set", CONFIG_OVERRIDES);
                return 0;
        case 'n':
                options.check = true;
                return 0;
        case 'f':
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

/* Files, environment, command line, then the checks across values: the same at the start and at every reload. */
static int load(struct settings *ret, char message[CONFIG_MESSAGE])
{
        struct settings fresh;
        char path[4096];
        int r;

        r = options.config ? 0 : settings_default_path(path, sizeof path);
        if (r < 0 && r != -ENOENT) {
                snprintf(message, CONFIG_MESSAGE, "the path of the settings file: %s", error_text(r));
                return r;
        }
        r = settings_load(options.config ? options.config : r == 0 ? path : NULL, options.config != NULL, &fresh, message);
        if (r == 0)
                r = config_override_all(&settings_table, &fresh, &options.overrides, message);
        if (r == 0 && options.socket)
                r = config_set(&settings_table, &fresh, "node", "socket", options.socket, message);
        if (r == 0)
                r = settings_check(&fresh, message);
        if (r == 0)
                *ret = fresh;
        return r;
}

static int find_devices(const struct settings *s, struct observe **ret)
{
        const struct observe_options wanted = {.choice = s->device, .nvml = s->nvml, .software_devices = s->software_devices,
                                               .software_memory = s->software_memory, .software_link = s->software_link};
        char message[256];
        int r = observe_start(&wanted, DRIVER_PATIENCE_S * NS_PER_S, ret, message);

        if (r < 0)
                log_error("%s", message[0] ? message : error_text(r));
        return r;
}

static void on_end(uv_signal_t *handle, int number)
{
        log_notice("signal %d (%s): stopping; programs run on", number, strsignal(number));
        uv_stop(handle->loop);
}

static void on_hangup(uv_signal_t *handle, int number)
{
        struct node *n = handle->data;
        char message[CONFIG_MESSAGE];

        if (node_reload(n, message) < 0)
                log_error("settings not reloaded: %s", message);
        node_turn(n);
}

/* Each segment and each connection is a descriptor. */
static void raise_limits(void)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
                limit.rlim_cur = limit.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &limit);
        }
}

static int socket_path(const struct settings *settings, char *path, size_t size, char message[CONFIG_MESSAGE])
{
        int r = 0;

        if (options.socket)
                r = snprintf(path, size, "%s", options.socket) < (int)size ? 0 : -ENAMETOOLONG;
        else
                r = settings_socket_path(settings, path, size);
        if (r < 0)
                snprintf(message, CONFIG_MESSAGE, "the path of the socket: %s", error_text(r));
        return r;
}

/* What loading probes takes is left to the keeper (bpf/keeper.h); of the rest stays what is of use: to end a program of another user that is stuck, and to reach files that
 * the settings name, wherever they are. Before there are threads, and the sensor process. Returns the keeper, or -1. */
static int give_up_privileges(void)
{
        const uint64_t keep = UINT64_C(1) << CAP_KILL | UINT64_C(1) << CAP_DAC_OVERRIDE;
        int keeper = -1, r = keeper_start(NULL, &keeper);

        if (r < 0 && r != -ENOENT)
                log_warning("no process that could start probes: %s", error_text(r));
        r = privilege_keep(keep, false);
        if (r < 0)
                log_warning("privileges that berthd does not need can't be given up: %s", error_text(r));
        return keeper;
}

static int serve(uv_loop_t *loop, const struct settings *settings, struct observe *observe, const char *path, int lock, int keeper)
{
        static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
        char message[CONFIG_MESSAGE] = "";
        uv_signal_t signals[ARRAY_SIZE(numbers)];
        struct node *node;
        int r;

        r = node_new(loop, settings, observe, &node, message);
        if (r < 0) {
                observe_free(observe);
                close(lock);
                log_error("%s", message);
                return r;
        }
        node->load = load;
        node_probes_keeper(node->probes, keeper);
        for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
                uv_signal_init(loop, &signals[i]);
                signals[i].data = node;
                uv_signal_start(&signals[i], numbers[i] == SIGHUP ? on_hangup : on_end, numbers[i]);
        }
        r = server_open(node, path, lock, message);
        if (r < 0) {
                log_error("%s", message);
        } else {
                log_notice("berthd " BERTH_VERSION " serves %s", path);
                uv_run(loop, UV_RUN_DEFAULT);
        }
        for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
                uv_close((uv_handle_t *)&signals[i], NULL);
        node_free(node);
        while (uv_run(loop, UV_RUN_NOWAIT) != 0)
                ;
        return r;
}

int main(int argc, char **argv)
{
        static const struct argp parser = {
                .options = option_table,
                .parser = parse_option,
                .doc = "Shares this machine's accelerators between programs: decides who is resident in a device's memory and who may run.\v"
                       "Settings: berthd.conf(5). SIGHUP reads them again. Programs take part when started with `berth run`.",
        };
        char message[CONFIG_MESSAGE], path[4096];
        struct observe *observe = NULL;
        struct settings settings;
        uv_loop_t loop;
        int r, lock, keeper;

        memory_keep_small();
        if (argc > 1 && !strcmp(argv[1], OBSERVE_CHILD_OPTION))
                return observe_child_main(argc, argv);
        argp_parse(&parser, argc, argv, 0, NULL, NULL);
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
        raise_limits();
        keeper = give_up_privileges();
        /* Before anything that takes time or memory: another daemon may be serving. */
        lock = socket_path(&settings, path, sizeof path, message);
        if (lock == 0)
                lock = server_lock(path, message);
        if (lock < 0) {
                log_error("%s", message);
                return EXIT_FAILURE;
        }
        if (find_devices(&settings, &observe) < 0)
                return EXIT_FAILURE;
        r = uv_loop_init(&loop);
        if (r < 0) {
                log_error("no event loop: %s", uv_strerror(r));
                return EXIT_FAILURE;
        }
        r = serve(&loop, &settings, observe, path, lock, keeper);
        (void)uv_loop_close(&loop);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
