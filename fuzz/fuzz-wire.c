/* fuzz-wire.c: any bytes, offered as a datagram to either side. What wire_check lets through is safe to print and has the size it says. */
#include "base/error.h"
#include "wire/wire.h"

#include "fuzz.h"

#include <string.h>

static void use(const struct wire_message *m, size_t bytes)
{
        char uuid[WIRE_UUID_TEXT];

        promise(wire_name(m->header.type) != NULL, "number %u", m->header.type);
        promise((int)(bytes - sizeof m->header) == wire_body_bytes(m->header.type), "%zu bytes", bytes);
        switch (m->header.type) {
#define MESSAGE(name, number, direction, size, summary) \
        break;                                          \
        case number:
#define FIELD(...)
#define RAW(message, size, field, meaning) \
        promise(strlen(wire_uuid_text(m->message.field, uuid)) == WIRE_UUID_TEXT - 1, "%s", uuid);
#define RESERVED(message, type) promise(m->message.reserved == 0, "%u", m->message.reserved);
#define TEXT(message, size, field, meaning)                                      \
        promise(memchr(m->message.field, 0, size) != NULL, "not ended");         \
        for (const char *c = m->message.field; *c; c++)                          \
                promise(*c >= ' ' && *c <= '~', "character %d", *c);
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD
#undef RAW
#undef RESERVED
#undef TEXT
        break;
        default:
                promise(false, "number %u passed", m->header.type);
        }
        if (m->header.type == WIRE_HELLO)
                promise(m->HELLO.role < WIRE_ROLE_N && *wire_priority_name(m->HELLO.priority) != '?', "%u %u", m->HELLO.role,
                        m->HELLO.priority);
        if (m->header.type == WIRE_DEVICE)
                promise(m->DEVICE.ordinal < WIRE_MAX_DEVICES, "%u", m->DEVICE.ordinal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const enum wire_direction sides[] = {TO_DAEMON, TO_CLIENT};

        for (size_t i = 0; i < ARRAY_SIZE(sides); i++) {
                struct wire_message message = {0};
                const char *what = NULL;
                int r = wire_check(data, size, sides[i], WIRE_VERSION_MAX, &what);

                promise(r == 0 || ((r == -E_MESSAGE || r == -E_VERSION) && what && *what), "%d", r);
                if (r)
                        continue;
                memcpy(&message, data, size);
                use(&message, size);
                /* What passed can be sent on and passes there too. */
                promise(wire_seal(&message, message.header.type, WIRE_VERSION_MAX, 1) == size, "%zu", size);
                promise(wire_check(&message, size, sides[i], WIRE_VERSION_MAX, NULL) == 0, "type %u", message.header.type);
        }
        return 0;
}
