/* probes-client.c: asks the daemon for what its probes counted, and checks what comes; see probes-client.h. */
#include "cli/probes-client.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"

#include <stdio.h>

int probes_fetch_families(struct connection *c, uint32_t families, const struct probes_snapshot **ret, char message[CLI_MESSAGE])
{
        struct wire_message m = {.PROBES = {.flags = families}};
        scoped_fd int fd = -1;
        int r = connection_send(c, &m, WIRE_PROBES, message);

        if (r >= 0)
                r = connection_expect(c, WIRE_DONE, &m, &fd, message);
        if (r < 0)
                return r;
        r = fd < 0 ? -E_MESSAGE : probes_map(fd, ret);
        if (r < 0)
                snprintf(message, CLI_MESSAGE, "the daemon at %s answered without a sound snapshot of its probes; use the same release of both", c->path);
        return r;
}

int probes_fetch(struct connection *c, const struct probes_snapshot **ret, char message[CLI_MESSAGE])
{
        return probes_fetch_families(c, PROBES_USUAL, ret, message);
}

int probes_fetch_within(struct connection *c, uint32_t families, uint64_t patience_ns, const struct probes_snapshot **ret, char message[CLI_MESSAGE])
{
        uint64_t deadline = clock_now_ns() + patience_ns;
        int r;

        while ((r = probes_fetch_families(c, families, ret, message)) == -EAGAIN && clock_now_ns() < deadline) {
                const struct timespec pause = {.tv_nsec = 100000000};

                nanosleep(&pause, NULL);
        }
        return r;
}
