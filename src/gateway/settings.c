/* settings.c: the one table of berth-pool's settings; see settings.h. */
#include "gateway/settings.h"

#include "base/error.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define AT(field) .offset = offsetof(struct gateway_settings, field)
#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define DAY (86400 * S)

static const struct config_entry entries[] = {
        {"pool", "listen", CONFIG_STRING, AT(listen), GATEWAY_LISTEN_DEFAULT, .environment = "BERTH_POOL_LISTEN",
         .help = "address and port to serve; port 0: any free one"},
        {"pool", "store", CONFIG_STRING, AT(store), "", .environment = "BERTH_POOL_STORE",
         .help = "postgresql://… or the path of a SQLite file; empty: pool.db in the folder"},
        {"pool", "folder", CONFIG_STRING, AT(folder), "", .environment = "BERTH_POOL_FOLDER",
         .help = "where secrets, logs and artifacts lie; empty: /var/lib/berth/pool for root, else ~/.local/state/berth/pool"},
        {"pool", "server", CONFIG_STRING, AT(server), "",
         .help = "this server's address as others reach it (https://host:port); needed when several share a store"},
        {"pool", "tls", CONFIG_STRING, AT(tls), "",
         .help = "off, auto (own certificate, made at the first start), or CERTIFICATE,KEY (PEM files); empty: off on loopback addresses, else auto"},
        {"pool", "log_level", CONFIG_CHOICE, AT(log_level), "info", .choices = "error|warning|notice|info|debug",
         .help = "log lines up to this level are written"},
        {"pool", "stop", CONFIG_DURATION, AT(stop_ns), "10s", MS, DAY, .help = "how long answers may take to finish when the pool is stopped"},

        {"limits", "connections", CONFIG_NUMBER, AT(max_connections), "20000", 16, 1000000, .help = "open connections; fewer where the system allows fewer descriptors"},
        {"limits", "strangers", CONFIG_NUMBER, AT(strangers_per_address), "1024", 1, 1000000,
         .help = "connections from one address that have not shown an identity"},
        {"limits", "connections_per_account", CONFIG_NUMBER, AT(connections_per_account), "16384", 1, 1000000,
         .help = "event streams and workers of one account, unless the account has its own limit"},
        {"limits", "requests_per_minute", CONFIG_NUMBER, AT(requests_per_minute), "0", 0, UINT32_MAX,
         .help = "requests of one key, unless it has its own limit; 0: no limit"},
        {"limits", "strangers_per_minute", CONFIG_NUMBER, AT(strangers_per_minute), "600", 1, UINT32_MAX,
         .help = "requests without an accepted identity from one address"},
        {"limits", "in_flight", CONFIG_NUMBER, AT(in_flight), "8192", 1, 1000000, .help = "requests that are being answered at a time"},
        {"limits", "in_flight_per_key", CONFIG_NUMBER, AT(in_flight_per_key), "1024", 1, 1000000, .help = "the same of one key"},
        {"limits", "head", CONFIG_DURATION, AT(head_ns), "10s", 100 * MS, DAY, .help = "a request's head must arrive within this"},
        {"limits", "body", CONFIG_DURATION, AT(body_ns), "30s", 100 * MS, DAY, .help = "a request's body must bring something (64 KiB when it is long) each time this is over"},
        {"limits", "idle", CONFIG_DURATION, AT(idle_ns), "75s", 100 * MS, DAY, .help = "a connection without a request is closed after this"},
        {"limits", "write", CONFIG_DURATION, AT(write_ns), "30s", 100 * MS, DAY, .help = "a receiver that takes nothing for this long is cut"},
        {"limits", "ping", CONFIG_DURATION, AT(ping_ns), "15s", 100 * MS, DAY, .help = "event streams are reminded, and WebSockets asked, when quiet for this long"},
        {"limits", "event_buffer", CONFIG_BYTES, AT(event_buffer), "64KiB", 4096, 1 << 30, .help = "of an event stream that is not read; beyond it events are skipped up to a new snapshot"},
        {"limits", "worker_buffer", CONFIG_BYTES, AT(worker_buffer), "8MiB", 65536, 1 << 30, .help = "of a worker that does not read; beyond it its connection ends"},

        {"keep", "ended", CONFIG_DURATION, AT(keep_ns), "720h", 0, 36500 * DAY, .help = "tasks that ended, with their logs; 0: for ever"},
        {"keep", "artifacts", CONFIG_DURATION, AT(artifact_keep_ns), "720h", 0, 36500 * DAY,
         .help = "artifacts that nobody used for so long and no kept task names; at least keep.ended; 0: for ever"},
        {"keep", "event_bytes", CONFIG_BYTES, AT(event_bytes), "32MiB", 65536, UINT64_C(1) << 36, .help = "event log in memory"},
        {"keep", "log_bytes", CONFIG_BYTES, AT(log_bytes), "4MiB", 4096, UINT64_C(1) << 36, .help = "log of one task"},
        {"keep", "object_bytes", CONFIG_BYTES, AT(object_bytes), "64GiB", 1, UINT64_C(1) << 50, .help = "one artifact"},
        {"keep", "payload_bytes", CONFIG_BYTES, AT(payload_bytes), "256KiB", 1024, 1 << 24, .help = "a task's payload; larger results are artifacts"},
        {"keep", "memory_bytes", CONFIG_BYTES, AT(memory_bytes), "2GiB", 1 << 20, UINT64_C(1) << 46, .help = "all unfinished tasks together"},

        {"generate", "wait", CONFIG_DURATION, AT(generate_wait_ns), "2min", 10 * MS, DAY, .help = "a request for a model has an engine within this, or is refused"},
        {"generate", "delay", CONFIG_DURATION, AT(generate_delay_ns), "3s", 0, DAY, .help = "who waits for a model that has no room makes the others give way after this, or after twice what a switch takes"},
        {"generate", "drain", CONFIG_DURATION, AT(generate_drain_ns), "20s", 0, DAY, .help = "then requests that run may end within this"},
        {"generate", "first", CONFIG_DURATION, AT(generate_first_ns), "5min", 10 * MS, DAY, .help = "an engine must begin its answer within this"},
        {"generate", "quiet", CONFIG_DURATION, AT(generate_quiet_ns), "2min", 10 * MS, DAY, .help = "an engine that says nothing for this long within an answer is given up"},
        {"generate", "cache", CONFIG_BYTES, AT(generate_cache), "64MiB", 0, UINT64_C(1) << 40, .help = "answers kept for those who ask for it; 0: none"},
        {"generate", "waiting", CONFIG_NUMBER, AT(generate_waiting), "8192", 1, 1000000, .help = "requests for models that wait at a time; more are refused"},
        {"generate", "waiting_per_account", CONFIG_NUMBER, AT(generate_waiting_per_account), "4096", 1, 1000000, .help = "the same of one account"},

        {"generate", "direct", CONFIG_CHOICE, AT(generate_direct), "local", .choices = "local|any|none",
         .help = "engines that are asked at the address that their worker tells, unencrypted, in place of its tunnel: those of workers on this machine, of all, none"},

        {"tasks", "lease", CONFIG_DURATION, AT(lease_ns), "60s", 100 * MS, DAY, .help = "a lease that its worker does not renew ends after this"},
        {"tasks", "suspect", CONFIG_DURATION, AT(suspect_ns), "30s", 100 * MS, DAY, .help = "a worker silent for this long gets no new tasks"},
        {"tasks", "drain", CONFIG_DURATION, AT(drain_ns), "90s", 100 * MS, DAY, .help = "after this its tasks are handed on"},
        {"tasks", "gone", CONFIG_DURATION, AT(gone_ns), "10min", 100 * MS, 30 * DAY, .help = "after this it is forgotten"},
        {"tasks", "age", CONFIG_DURATION, AT(age_ns), "5min", 0, 30 * DAY, .help = "a waiting task counts as one priority higher for each such time; 0: never"},
        {"tasks", "backoff", CONFIG_DURATION, AT(backoff_ns), "1s", MS, DAY, .help = "wait after a task's first failure, doubled each time"},
        {"tasks", "backoff_max", CONFIG_DURATION, AT(backoff_max_ns), "5min", MS, DAY, .help = "longest such wait"},
        {"tasks", "attempts", CONFIG_NUMBER, AT(attempts), "3", 1, 1000, .help = "of a task that does not say"},
        {"tasks", "poison_workers", CONFIG_NUMBER, AT(poison_workers), "3", 1, 8, .help = "a task that failed on so many different workers is given up"},
        {"tasks", "max", CONFIG_NUMBER, AT(max_tasks), "1000000", 1, UINT32_MAX, .help = "unfinished tasks; more are refused"},
        {"tasks", "max_per_account", CONFIG_NUMBER, AT(max_tasks_per_account), "200000", 1, UINT32_MAX, .help = "the same of one account"},
        {"tasks", "max_leases_per_account", CONFIG_NUMBER, AT(max_leases_per_account), "0", 0, UINT32_MAX, .help = "tasks of one account that run at a time; 0: no limit"},
};

const struct config_table gateway_settings_table = {entries, ARRAY_SIZE(entries), sizeof(struct gateway_settings)};

static int below(char *path, size_t size, const char *root_path, const char *variable, const char *home_path, const char *name)
{
        const char *base = getenv(variable), *home = getenv("HOME");
        int n;

        if (geteuid() == 0)
                n = snprintf(path, size, "%s", root_path);
        else if (base && base[0] == '/')
                n = snprintf(path, size, "%s/%s", base, name);
        else if (home && home[0] == '/')
                n = snprintf(path, size, "%s/%s/%s", home, home_path, name);
        else
                return -ENOENT;
        return n >= 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}

int gateway_default_config(char *path, size_t size)
{
        return below(path, size, "/etc/berth/pool.conf", "XDG_CONFIG_HOME", ".config", "berth/pool.conf");
}

int gateway_default_folder(char *path, size_t size)
{
        return below(path, size, "/var/lib/berth/pool", "XDG_STATE_HOME", ".local/state", "berth/pool");
}

int gateway_parse_listen(const char *text, char host[128], uint16_t *ret_port)
{
        const char *colon = strrchr(text, ':'), *from = text;
        size_t n = colon ? (size_t)(colon - text) : 0;
        uint64_t port;

        if (text_parse_u64(colon ? colon + 1 : text, 0, 65535, &port) < 0)
                return -EINVAL;
        if (n && text[0] == '[') {
                if (text[n - 1] != ']')
                        return -EINVAL;
                from++;
                n -= 2;
        } else if (n && memchr(text, ':', n)) {
                return -EINVAL;
        }
        if (n >= 128)
                return -EINVAL;
        if (!colon)
                snprintf(host, 128, "127.0.0.1");
        else if (!n)
                snprintf(host, 128, "::");
        else
                snprintf(host, 128, "%.*s", (int)n, from);
        *ret_port = (uint16_t)port;
        return 0;
}
