/* fuzz-lease.c: any bytes as a message of a pool, and what comes of a lease's payload. Refused with a clean sentence, or all that is acted on keeps to its
 * bounds. */
#include "base/text.h"
#include "worker/message.h"
#include "worker/spec.h"

#include "fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const struct spec_limits most = {.wall_ms = 1000000, .cpu_ms = 1000000, .memory_bytes = 1 << 30, .disk_bytes = 1 << 30, .processes = 100};
        scoped_message struct message m = {0};
        char why[MESSAGE_WHY] = "";
        struct spec s;
        size_t i;
        json_t *v;

        if (message_parse((const char *)data, size, &m, why) < 0) {
                promise(why[0] && strlen(why) < sizeof why, "no reason");
                return 0;
        }
        if (m.kind == MESSAGE_WELCOME) {
                promise(message_is_name(m.worker, sizeof m.worker), "%s", m.worker);
                promise(m.lease_ms >= 100 && m.heartbeat_ms >= 50 && m.payload_bytes <= MESSAGE_BYTES, "times");
                for (i = 0; i < m.server_count; i++)
                        promise(!strncmp(m.servers[i], "ws", 2), "%s", m.servers[i]);
        }
        promise(text_is_clean(m.text, sizeof m.text) && text_is_clean(m.code, sizeof m.code), "unclean text");
        promise(m.model_count <= MESSAGE_UPCOMING && (m.kind != MESSAGE_ENGINE || m.model_count == 1), "models");
        for (i = 0; i < m.model_count; i++)
                promise(catalogue_is_name(m.models[i]), "%s", m.models[i]);
        if (m.kind != MESSAGE_LEASE)
                return 0;
        promise(message_is_name(m.task, sizeof m.task) && !strchr(m.task, '/'), "%s", m.task);
        if (spec_parse(m.type, m.payload, m.needs, &most, true, &s, why) < 0) {
                promise(why[0] && text_is_clean(why, sizeof why), "unclean reason");
                return 0;
        }
        promise(s.limits.memory_bytes <= most.memory_bytes && s.limits.wall_ms <= most.wall_ms, "limits");
        json_array_foreach (s.files, i, v)
                promise(spec_is_path(json_string_value(json_object_get(v, "name"))), "a file's name");
        return 0;
}
