/* history-client.c: asks for the series, and checks what comes; see history-client.h. */
#include "cli/history-client.h"

#include "base/error.h"
#include "base/fd.h"

#include <stdio.h>
#include <sys/stat.h>

#define BYTES_MOST (64 << 20)

static int read_whole(int fd, char **ret, size_t *ret_count)
{
        char *bytes scoped_free = NULL;
        size_t at = 0;
        struct stat st;

        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > BYTES_MOST)
                return -E_MESSAGE;
        bytes = malloc((size_t)st.st_size);
        if (!bytes)
                return -ENOMEM;
        while (at < (size_t)st.st_size) {
                ssize_t n = pread(fd, bytes + at, (size_t)st.st_size - at, (off_t)at);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return -E_MESSAGE;
                at += (size_t)n;
        }
        *ret = take(bytes);
        *ret_count = at;
        return 0;
}

int history_fetch(struct connection *c, uint64_t now_ns, struct history_set *set, char message[CLI_MESSAGE])
{
        struct wire_message m = {0};
        char *bytes scoped_free = NULL;
        scoped_fd int fd = -1;
        size_t count = 0;
        int r = connection_send(c, &m, WIRE_HISTORY, message);

        if (r >= 0)
                r = connection_expect(c, WIRE_DONE, &m, &fd, message);
        if (r < 0)
                return r;
        r = fd < 0 ? -E_MESSAGE : read_whole(fd, &bytes, &count);
        if (r == 0)
                r = history_set_load(set, now_ns, bytes, count);
        if (r < 0)
                snprintf(message, CLI_MESSAGE, "the daemon at %s answered without sound series; use the same release of both", c->path);
        return r;
}
