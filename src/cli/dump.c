/* dump.c: `berth dump`: the daemon's whole state, as it sees it, for a report of a fault. */
#include "base/error.h"
#include "base/fd.h"
#include "cli/connection.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DUMP_BYTES (UINT64_C(64) << 20)

/* The descriptor is a file of the daemon's: read from its start, whatever its position. */
static int copy(int fd, char message[CLI_MESSAGE])
{
        char part[65536];
        off_t at = 0;

        for (;;) {
                ssize_t n = pread(fd, part, sizeof part, at);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0) {
                        n = -errno;
                        snprintf(message, CLI_MESSAGE, "reading the daemon's state: %s", error_text((int)n));
                        return (int)n;
                }
                if (n == 0)
                        return 0;
                at += n;
                if ((uint64_t)at > DUMP_BYTES) {
                        snprintf(message, CLI_MESSAGE,
                                 "the daemon's state is longer than %llu bytes; the rest is left out",
                                 (unsigned long long)DUMP_BYTES);
                        return -E2BIG;
                }
                if (fwrite(part, 1, (size_t)n, stdout) != (size_t)n) {
                        snprintf(message, CLI_MESSAGE, "cannot write to standard output: %s", strerror(errno));
                        return -EIO;
                }
        }
}

static int run(const struct verb *self, int argc, char **argv)
{
        scoped_connection struct connection c = CONNECTION_CLOSED;
        scoped_fd int fd = -1;
        struct wire_message m = {0};
        struct stat st;
        char message[CLI_MESSAGE];
        int r;

        cli_parse(self, argc, argv, NULL);
        r = connection_open(&c, message);
        if (r >= 0)
                r = connection_send(&c, &m, WIRE_DUMP, message);
        if (r >= 0)
                r = connection_expect(&c, WIRE_DONE, &m, &fd, message);
        if (r >= 0 && (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))) {
                snprintf(message, sizeof message,
                         "the daemon at %s answered without its state; use the same release of both", c.path);
                r = -E_MESSAGE;
        }
        if (r >= 0)
                r = copy(fd, message);
        if (r < 0) {
                cli_error("%s", message);
                return cli_exit_code(r);
        }
        return cli_print(NULL);
}

const struct verb verb_dump = {
        .name = "dump",
        .summary = "print the daemon's whole state as JSON",
        .more = "For reports of faults; the form may change from release to release. Only the daemon's own user and "
                "root may do this.\n\n"
                "Example:\n\n  berth dump > state.json",
        .run = run,
};
