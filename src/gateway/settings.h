/* settings.h: the settings of berth-pool, from their one table (base/config.h). */
#pragma once

#include "base/config.h"

#include <stddef.h>
#include <stdint.h>

struct gateway_settings {
        char listen[CONFIG_TEXT], store[CONFIG_TEXT], folder[CONFIG_TEXT], server[CONFIG_TEXT];
        char tls[CONFIG_TEXT];
        uint32_t log_level;
        uint64_t stop_ns;

        uint64_t max_connections, strangers_per_address, connections_per_account;
        uint64_t requests_per_minute, strangers_per_minute, in_flight, in_flight_per_key;
        uint64_t head_ns, body_ns, idle_ns, write_ns, ping_ns;
        uint64_t event_buffer, worker_buffer;

        uint64_t keep_ns, artifact_keep_ns, event_bytes, log_bytes, object_bytes, payload_bytes, memory_bytes;

        uint64_t generate_wait_ns, generate_delay_ns, generate_drain_ns, generate_first_ns, generate_quiet_ns, generate_waiting, generate_waiting_per_account, generate_cache;
        uint32_t generate_direct; /* enum service_direct */

        uint64_t lease_ns, suspect_ns, drain_ns, gone_ns, age_ns, backoff_ns, backoff_max_ns;
        uint64_t attempts, poison_workers, max_tasks, max_tasks_per_account, max_leases_per_account;
};

extern const struct config_table gateway_settings_table;

#define GATEWAY_LISTEN_DEFAULT "127.0.0.1:7780"

/* $XDG_CONFIG_HOME or /etc, and $XDG_STATE_HOME or /var/lib: where settings and state lie when nothing says otherwise. */
must_check int gateway_default_config(char *path, size_t size);
must_check int gateway_default_folder(char *path, size_t size);

/* "127.0.0.1:7780", "[::1]:80", ":7780" (all addresses), "7780"(127.0.0.1) → host and port; -EINVAL. */
must_check int gateway_parse_listen(const char *text, char host[128], uint16_t *ret_port);
