/* fuzz-remote.c: what the probes process says to the daemon (bpf/remote.h), byte by byte: datagrams, descriptors, silence and its end, in any order. There is no process:
 * this program takes the keeper's place, and is handed the other end of the socket.
 *
 * Input: records of one byte that says how, one of length, and so many bytes of a reply from its beginning; what is left out is right.
 */
#include "bpf/child.h"
#include "bpf/remote.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"

#include "fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE (30 * NS_PER_S)

enum { SNAPSHOT = 1, UNSEALED = 2, DAMAGED = 4, CUT = 8, ENDS = 16, SILENT = 32, LATER = 64, STOPS = 128 };

static int snapshot(uint8_t how, struct fuzz_input *in)
{
        struct probes_snapshot s = {.magic = PROBES_MAGIC, .version = PROBES_VERSION, .bytes = sizeof s};
        int fd;

        for (size_t i = 0; i < PROBES_FAMILY_N; i++)
                s.families[i].one_in = 1;
        if (how & DAMAGED)
                ((uint8_t *)&s)[fuzz_u16(in) % sizeof s] ^= fuzz_byte(in);
        if (!(how & UNSEALED))
                return probes_seal(&s, how & CUT ? fuzz_u16(in) % sizeof s : sizeof s);
        fd = memfd_create("unsealed", MFD_CLOEXEC);
        promise(fd >= 0 && write(fd, &s, sizeof s) == (ssize_t)sizeof s, "a file");
        return fd;
}

/* The process's end of the socket, when one was started since; the one before has ended then. */
static void follow(int keeper, int *child)
{
        for (;;) {
                scoped_fd int fd = -1;
                uint32_t word;

                if (fd_receive(keeper, &word, sizeof word, MSG_DONTWAIT, &fd) != (ssize_t)sizeof word)
                        return;
                fd_close_at(child);
                *child = take_fd(fd);
        }
}

static void look(const struct probes_remote *m, enum probes_news news)
{
        const struct probes_snapshot *s = probes_remote_last(m, NULL);

        promise(text_is_clean(probes_remote_why(m), 240), "why");
        promise(news != PROBES_CAME || (s && !probes_remote_why(m)[0]), "a snapshot came");
        promise(news != PROBES_LOST || (!s && probes_remote_why(m)[0]), "lost, and why");
        promise(!s || probes_check(s, s->bytes) == 0, "a snapshot that is right");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const struct probes_options options = {.one_in = 1};
        struct fuzz_input in = {data, size};
        struct probes_remote *m = NULL;
        scoped_fd int keeper = -1;
        scoped_fd int child = -1;
        uint64_t now = NS_PER_S;
        int pair[2];

        promise(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0 && probes_remote_new(pair[0], &m) == 0, "a remote");
        keeper = pair[1];
        while (in.left) {
                uint8_t how = fuzz_byte(&in), bytes = fuzz_byte(&in);
                struct probes_request q = {0};
                struct probes_reply r;
                scoped_fd int file = -1;
                enum probes_news news;

                probes_remote_ask(m, now, PATIENCE, &options);
                follow(keeper, &child);
                while (child >= 0 && recv(child, &q, sizeof q, MSG_DONTWAIT) == (ssize_t)sizeof q)
                        ;
                r = (struct probes_reply){.magic = PROBES_CHILD_MAGIC, .sequence = q.sequence};
                for (size_t i = 0; i < bytes; i++)
                        ((uint8_t *)&r)[i] = fuzz_byte(&in);
                if (how & SNAPSHOT)
                        file = snapshot(how, &in);
                if (child >= 0 && !(how & SILENT))
                        (void)!fd_send(child, &r, how & CUT && !(how & SNAPSHOT) ? bytes : sizeof r, file, MSG_DONTWAIT);
                if (how & ENDS)
                        fd_close_at(&child);
                if (how & LATER)
                        now += PATIENCE;
                do {
                        news = probes_remote_take(m, now);
                        look(m, news);
                } while (news != PROBES_NO_NEWS);
                if (how & STOPS)
                        probes_remote_stop(m);
        }
        probes_remote_free(m);
        return 0;
}
