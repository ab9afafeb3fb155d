/* options.c: the settings of berth-worker, from its file and its command line, with checks across them; see options.h. */
#include "worker/options.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "worker/artifact.h"

#include <argp.h>
#include <fcntl.h>
#include <netdb.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define AT(field) .offset = offsetof(struct options, field)
#define DAY UINT64_C(86400000000000)

static const struct config_entry entries[] = {
        {"worker", "pool", CONFIG_STRING, AT(pool), "", .environment = "BERTH_POOL", .help = "addresses of pool servers (wss://host:port), separated by commas"},
        {"worker", "token_file", CONFIG_STRING, AT(token_file), "", .help = "file that holds the key; readable by its owner alone"},
        {"worker", "pin", CONFIG_STRING, AT(pin), "", .environment = "BERTH_PIN", .help = "SHA-256 of the pool's certificate in hex; who signed it does not matter then"},
        {"worker", "ca", CONFIG_STRING, AT(ca), "", .help = "file of certificates that may sign the pool's; empty: the system's"},
        {"worker", "name", CONFIG_STRING, AT(name), "", .help = "how people see this worker; empty: the machine's name"},
        {"worker", "slots", CONFIG_STRING, AT(slots), "auto", .help = "tasks at once; auto: the processors the worker may use, at most 16"},
        {"worker", "labels", CONFIG_STRING, AT(labels), "", .help = "name=value, separated by commas: what tasks may ask for"},
        {"worker", "types", CONFIG_STRING, AT(types), "", .help = "task types that it takes, separated by commas; empty: all it knows"},
        {"worker", "models", CONFIG_STRING, AT(models), "", .help = "models it can serve, separated by commas"},
        {"worker", "private", CONFIG_BOOL, AT(private_pool), "no", .help = "only tasks of the account that owns the key"},
        {"worker", "folder", CONFIG_STRING, AT(folder), "", .help = "work folders, cache, identity; empty: /var/lib/berth/worker for root, else $XDG_DATA_HOME/berth/worker"},
        {"worker", "log_level", CONFIG_CHOICE, AT(log_level), "info", .choices = "error|warning|notice|info|debug", .help = "log lines up to this level are written"},
        {"worker", "drain", CONFIG_DURATION, AT(drain), "60s", 0, DAY, .help = "how long running tasks may go on after SIGTERM"},
        {"task", "confine", CONFIG_CHOICE, AT(confine), "auto", .choices = "auto|off|basic|bwrap", .help = "what stands around a task; auto: bubblewrap where it works, else basic"},
        {"task", "network", CONFIG_BOOL, AT(network), "yes", .help = "whether a task that asks for the network gets it"},
        {"task", "read", CONFIG_STRING, AT(read), "", .help = "folders that tasks may read, separated by commas"},
        {"task", "write", CONFIG_STRING, AT(write), "", .help = "folders that tasks may read and write, separated by commas"},
        {"task", "memory", CONFIG_BYTES, AT(memory), "0", 0, UINT64_C(1) << 46, .help = "of one task at most; 0: 80 % of the machine's, shared by the slots"},
        {"task", "disk", CONFIG_BYTES, AT(disk), "16GiB", 1 << 20, UINT64_C(1) << 50, .help = "in a task's work folder at most"},
        {"task", "wall", CONFIG_DURATION, AT(wall), "24h", 1000000, 365 * DAY, .help = "a task runs so long at most"},
        {"task", "cpu", CONFIG_DURATION, AT(cpu), "0", 0, 365 * DAY, .help = "processor time of a task at most; 0: no bound of its own"},
        {"task", "processes", CONFIG_NUMBER, AT(processes), "512", 1, 65536, .help = "of one task at once at most, threads included where the kernel counts"},
        {"task", "grace", CONFIG_DURATION, AT(grace), "5s", 0, DAY, .help = "between a task's SIGTERM and its SIGKILL"},
        {"task", "log_bytes", CONFIG_BYTES, AT(log_bytes), "4MiB", 1 << 10, UINT64_C(1) << 32, .help = "of a task's output that goes to the pool while it runs; all of it becomes an artifact when it is more"},
        {"task", "log_rate", CONFIG_BYTES, AT(log_rate), "1MiB", 1 << 10, UINT64_C(1) << 32, .help = "the same for a second"},
        {"cache", "size", CONFIG_BYTES, AT(cache), "20GiB", 0, UINT64_C(1) << 50, .help = "artifacts kept on this machine"},
        {"engine", "catalogue", CONFIG_STRING, AT(catalogue), "", .help = "file of the models that are served here; empty: models.conf in the worker's folder"},
        {"engine", "address", CONFIG_STRING, AT(engine_address), "", .help = "numeric address of this machine where engines listen; empty: 127.0.0.1"},
        {"engine", "log_bytes", CONFIG_BYTES, AT(engine_log), "8MiB", 64 << 10, UINT64_C(1) << 32, .help = "of one log file of an engine; two are kept for each"},
        /* At the end: the options below go by place. */
        {"task", "hang_after", CONFIG_DURATION, AT(hang_after), "45s", 0, DAY, .help = "a task that has made no progress for so long hangs, which its followers are told; 0: never"},
        {"task", "on_hang", CONFIG_CHOICE, AT(on_hang), "report", .choices = "report|end", .help = "what is done about one that hangs: its last state goes into its log; end: and it is ended, to be tried again"},
        {"worker", "show", CONFIG_CHOICE, AT(show), "files", .choices = "figures|processes|files", .help = "what operators of the pool may look at: figures of the machine, also its processes, also their files"},
        {"engine", "road", CONFIG_CHOICE, AT(engine_road), "auto", .choices = "auto|direct|tunnel", .help = "how requests come to engines: direct: pools go to their address, unencrypted; tunnel: over this worker's own connection; auto: direct if the only pool is on this machine or an address is given, else tunnel"},
};

const struct config_table options_table = {entries, ARRAY_SIZE(entries), sizeof(struct options)};

enum { KEY_TOKEN = 0x100, KEY_READY_FD, KEY_CONFIG };

/* Each option that sets something of the table: key = KEY_FIRST + its number there. */
#define KEY_FIRST 0x200

struct line {
        const char *config;
        struct {
                size_t entry;
                const char *value;
        } given[64];
        size_t count;
        struct options *o;
};

static const struct argp_option argp_options[] = {
        {"pool", KEY_FIRST + 0, "URL", 0, "a pool server, wss://host:port; may be given several times", 0},
        {"token", KEY_TOKEN, "KEY", 0, "the key; better in a file or in BERTH_TOKEN, since others on this machine see command lines", 0},
        {"token-file", KEY_FIRST + 1, "FILE", 0, "the file that holds it", 0},
        {"pin", KEY_FIRST + 2, "SHA256", 0, "the pool's certificate has this fingerprint", 0},
        {"ca", KEY_FIRST + 3, "FILE", 0, "certificates that may sign the pool's", 0},
        {"name", KEY_FIRST + 4, "NAME", 0, "how people see this worker", 0},
        {"slots", KEY_FIRST + 5, "N|auto", 0, "tasks at once", 0},
        {"label", KEY_FIRST + 6, "NAME=VALUE", 0, "a label; may be given several times", 0},
        {"types", KEY_FIRST + 7, "LIST", 0, "task types that it takes", 0},
        {"model", KEY_FIRST + 8, "NAME", 0, "a model it can serve; may be given several times", 0},
        {"private", KEY_FIRST + 9, NULL, 0, "only tasks of the key's own account", 0},
        {"folder", KEY_FIRST + 10, "DIR", 0, "work folders, cache, identity", 0},
        {"log-level", KEY_FIRST + 11, "LEVEL", 0, "error, warning, notice, info or debug", 0},
        {"drain", KEY_FIRST + 12, "TIME", 0, "how long running tasks may go on after SIGTERM", 0},
        {"confine", KEY_FIRST + 13, "auto|off|basic|bwrap", 0, "what stands around a task", 0},
        {"no-network", KEY_FIRST + 14, NULL, 0, "no task gets the network", 0},
        {"read", KEY_FIRST + 15, "DIR", 0, "a folder that tasks may read; may be given several times", 0},
        {"write", KEY_FIRST + 16, "DIR", 0, "a folder that tasks may read and write; may be given several times", 0},
        {"memory", KEY_FIRST + 17, "SIZE", 0, "memory of one task at most", 0},
        {"disk", KEY_FIRST + 18, "SIZE", 0, "work folder of one task at most", 0},
        {"wall", KEY_FIRST + 19, "TIME", 0, "run time of one task at most", 0},
        {"cache", KEY_FIRST + 25, "SIZE", 0, "artifacts kept on this machine", 0},
        {"models", KEY_FIRST + 26, "FILE", 0, "the models that are served here (models.conf in --folder)", 0},
        {"engine-address", KEY_FIRST + 27, "ADDRESS", 0, "where their engines listen", 0},
        {"engine-road", KEY_FIRST + 32, "auto|direct|tunnel", 0, "whether pools go to that address themselves, unencrypted, or over this worker's connection", 0},
        {"hang-after", KEY_FIRST + 29, "TIME", 0, "a task that has made no progress for so long hangs (45s); 0: never", 0},
        {"on-hang", KEY_FIRST + 30, "report|end", 0, "what is done about it", 0},
        {"show", KEY_FIRST + 31, "figures|processes|files", 0, "what the pool's operators may look at on this machine (files)", 0},
        {"config", KEY_CONFIG, "FILE", 0, "settings file (default /etc/berth/worker.conf)", 0},
        {"ready-fd", KEY_READY_FD, "N", 0, "write a line to this descriptor once a pool has welcomed the worker", 0},
        {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
        struct line *l = state->input;

        if (key >= KEY_FIRST && key < KEY_FIRST + (int)ARRAY_SIZE(entries)) {
                if (l->count == ARRAY_SIZE(l->given))
                        argp_error(state, "too many options");
                l->given[l->count].entry = (size_t)(key - KEY_FIRST);
                l->given[l->count++].value = arg ? arg : key == KEY_FIRST + 14 ? "no" : "yes";
                return 0;
        }
        switch (key) {
        case KEY_TOKEN:
                if (strlen(arg) >= sizeof l->o->token)
                        argp_error(state, "the key is too long");
                snprintf(l->o->token, sizeof l->o->token, "%s", arg);
                memset(arg, '*', strlen(arg)); /* out of /proc/PID/cmdline, as far as that helps */
                return 0;
        case KEY_CONFIG:
                l->config = arg;
                return 0;
        case KEY_READY_FD: {
                uint64_t fd;

                if (text_parse_u64(arg, 0, 1023, &fd) < 0 || fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0)
                        argp_error(state, "--ready-fd: %s is no open descriptor", arg);
                l->o->ready_fd = (int)fd;
                return 0;
        }
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

int options_each(const char *list, int (*fn)(void *context, const char *part), void *context)
{
        char part[CONFIG_TEXT];
        int r = 0;

        while (*list && !r) {
                size_t n = strcspn(list, ",");

                while (n && *list == ' ')
                        list++, n--;
                snprintf(part, sizeof part, "%.*s", (int)n, list);
                list += n + (list[n] == ',');
                while (n && part[n - 1] == ' ')
                        part[--n] = 0;
                if (n)
                        r = fn(context, part);
        }
        return r;
}

static bool is_list(const char *name)
{
        static const char *const lists[] = {"pool", "labels", "types", "models", "read", "write"};

        for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
                if (!strcmp(name, lists[i]))
                        return true;
        return false;
}

/* The command line wins; what may be given several times adds up. */
static int apply(struct line *l, char message[CONFIG_MESSAGE])
{
        for (size_t i = 0; i < l->count; i++) {
                const struct config_entry *e = &entries[l->given[i].entry];
                char value[2 * CONFIG_TEXT];
                bool again = false, adds = is_list(e->name);
                int r;

                for (size_t k = 0; k < i; k++)
                        again |= adds && l->given[k].entry == l->given[i].entry;
                snprintf(value, sizeof value, "%s%s%s", again ? (const char *)l->o + e->offset : "", again ? "," : "", l->given[i].value);
                r = config_set(&options_table, l->o, e->section, e->name, value, message);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int wrong(char message[CONFIG_MESSAGE], const char *format, const char *what, const char *more)
{
        snprintf(message, CONFIG_MESSAGE, format, what, more);
        return -E_CONFIG;
}

static int take_key(struct options *o, char message[CONFIG_MESSAGE])
{
        char *given = getenv("BERTH_TOKEN");

        if (o->token[0])
                return 0;
        if (o->token_file[0]) {
                scoped_fd int fd = open(o->token_file, O_RDONLY | O_CLOEXEC);
                struct stat st;
                ssize_t n;

                if (fd < 0 || fstat(fd, &st) < 0)
                        return wrong(message, "the file with the key, %.200s: %s", o->token_file, strerror(errno));
                if (st.st_mode & 077)
                        return wrong(message, "%.200s can be read by others; chmod 600 it%s", o->token_file, "");
                n = read(fd, o->token, sizeof o->token - 1);
                o->token[n > 0 ? n : 0] = 0;
        } else if (given) {
                if (strlen(given) >= sizeof o->token)
                        return wrong(message, "BERTH_TOKEN is %s%s", "too long", "");
                snprintf(o->token, sizeof o->token, "%s", given);
                memset(given, 0, strlen(given));
        }
        o->token[strcspn(o->token, " \t\r\n")] = 0;
        if (!o->token[0])
                return wrong(message, "no key: give %s%s", "--token-file FILE, or set BERTH_TOKEN; a pool's administrator makes one with `berth key create LABEL --scope worker.join'", "");
        if (!text_is_clean(o->token, sizeof o->token))
                return wrong(message, "the key holds %s%s", "characters that no key has", "");
        return 0;
}

static int add_url(void *context, const char *part)
{
        struct options *o = context;

        if (o->url_count == MESSAGE_SERVERS)
                return -ENOSPC;
        return message_pool_url(part, o->urls[o->url_count]) < 0 ? -EINVAL : (o->url_count++, 0);
}

static int check_label(void *context, const char *part)
{
        const char *equals = strchr(part, '=');

        return equals && equals != part && equals - part < 64 && strlen(equals + 1) < 64 && text_is_clean(part, strlen(part) + 1) ? 0 : -EINVAL;
}

static int check_folder(void *context, const char *part)
{
        struct stat st;

        return part[0] == '/' && strlen(part) > 1 && part[strlen(part) - 1] != '/' && stat(part, &st) == 0 && S_ISDIR(st.st_mode) ? 0 : -EINVAL;
}

/* "ws://host…": whether that is this machine by a name that says so. */
static bool is_here(const char *url)
{
        const char *host = strstr(url, "://") + 3;
        size_t n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/");

        return (n == 9 && !strncmp(host, "localhost", 9)) || !strncmp(host, "127.", 4) || (n == 5 && !strncmp(host, "[::1]", 5));
}

static int check_engines(struct options *o, char message[CONFIG_MESSAGE])
{
        const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST};
        struct addrinfo *list = NULL;

        for (uint32_t i = 0; i < o->url_count; i++)
                o->far |= !is_here(o->urls[i]);
        if (o->engine_address[0]) {
                if (getaddrinfo(o->engine_address, NULL, &hints, &list) != 0 || !strcmp(o->engine_address, "0.0.0.0") || !strcmp(o->engine_address, "::"))
                        return wrong(message, "engine address \"%.200s\": %s", o->engine_address, "one numeric address of this machine, such as 192.168.1.5");
                freeaddrinfo(list);
        }
        if (o->engine_road == ROAD_DIRECT && o->far && !o->engine_address[0])
                return wrong(message, "engine road %s: %s", "direct", "a pool on another machine can't reach 127.0.0.1 here; give --engine-address, too");
        if (o->catalogue[0] && o->catalogue[0] != '/')
                return wrong(message, "models \"%.200s\": %s", o->catalogue, "give its full path");
        if (!o->catalogue[0] && snprintf(o->catalogue, sizeof o->catalogue, "%.240s/models.conf", o->folder) >= (int)sizeof o->catalogue - 12)
                return wrong(message, "the worker's folder has %s%s", "too long a path; give --models", "");
        return 0;
}

static int check(struct options *o, char message[CONFIG_MESSAGE])
{
        cpu_set_t set;
        uint64_t n;

        if (!o->pool[0])
                return wrong(message, "which pool? give %s%s", "--pool wss://host:port", "");
        if (options_each(o->pool, add_url, o) < 0)
                return wrong(message, "pool \"%.200s\": %s", o->pool, "up to 8 addresses like wss://host:port");
        if (o->pin[0] && artifact_pin(o->pin, o->pin) < 0)
                return wrong(message, "pin \"%.200s\": %s", o->pin, "a SHA-256 has 64 hex digits");
        for (uint32_t i = 0; i < o->url_count; i++)
                if ((o->pin[0] || o->ca[0]) && strncmp(o->urls[i], "wss://", 6) != 0)
                        return wrong(message, "%s: a pin or a CA needs %s", o->urls[i], "wss://");
        if (o->ca[0] && access(o->ca, R_OK) < 0)
                return wrong(message, "ca %.200s: %s", o->ca, strerror(errno));
        if (options_each(o->labels, check_label, NULL) < 0)
                return wrong(message, "labels \"%.200s\": %s", o->labels, "each is NAME=VALUE, both up to 63 characters");
        if (options_each(o->read, check_folder, NULL) < 0 || options_each(o->write, check_folder, NULL) < 0)
                return wrong(message, "read \"%.200s\", write \"%.200s\": each must be a folder by its full path", o->read, o->write);
        if (!strcmp(o->slots, "auto")) {
                o->slot_count = sched_getaffinity(0, sizeof set, &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
                o->slot_count = o->slot_count > 16 ? 16 : o->slot_count;
        } else if (text_parse_u64(o->slots, 1, 256, &n) < 0) {
                return wrong(message, "slots \"%.200s\": %s", o->slots, "auto, or 1 to 256");
        } else {
                o->slot_count = (uint32_t)n;
        }
        if (!o->folder[0]) {
                const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
                int length = geteuid() == 0                ? snprintf(o->folder, sizeof o->folder, "/var/lib/berth/worker")
                             : data && data[0] == '/' ? snprintf(o->folder, sizeof o->folder, "%s/berth/worker", data)
                                                      : snprintf(o->folder, sizeof o->folder, "%s/.local/share/berth/worker", home ? home : "");

                if (length < 0 || length >= (int)sizeof o->folder)
                        return wrong(message, "the worker's folder has %s%s", "too long a path; give --folder", "");
        }
        if (o->folder[0] != '/')
                return wrong(message, "folder \"%.200s\": %s", o->folder, "give its full path");
        if (check_engines(o, message) < 0)
                return -E_CONFIG;
        return take_key(o, message);
}

const char *argp_program_version = "berth-worker " BERTH_VERSION;

int options_read(int argc, char **argv, struct options *ret, char message[CONFIG_MESSAGE])
{
        static const struct argp argp = {argp_options, parse, NULL,
                                         "Takes tasks from a pool of Berth and runs them on this machine, confined.\v"
                                         "SIGTERM or SIGINT: nothing new is taken, running tasks get --drain to end; a second one ends at once.\n\n"
                                         "  berth-worker --pool wss://pool.example:8443 --token-file key --pin 3A:5B…",
                                         NULL, NULL, NULL};
        struct options o = {0};
        struct line l = {.o = &o};
        char token[sizeof o.token];
        int ready, r;

        o.ready_fd = -1;
        argp_parse(&argp, argc, argv, ARGP_NO_ARGS & 0, NULL, &l);
        memcpy(token, o.token, sizeof token);
        ready = o.ready_fd;
        r = config_load(&options_table, l.config ? l.config : "/etc/berth/worker.conf", l.config != NULL, &o, message);
        memcpy(o.token, token, sizeof token);
        o.ready_fd = ready;
        r = r < 0 ? r : apply(&l, message);
        r = r < 0 ? r : check(&o, message);
        unsetenv("BERTH_TOKEN");
        if (r < 0)
                return r;
        *ret = o;
        return 0;
}
