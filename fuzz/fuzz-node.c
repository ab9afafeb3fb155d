/* fuzz-node.c: bytes become datagrams from three strangers to a daemon with one device: raw ones, and ones whose header is right so that
 * they get past the first check, with and without descriptors. Whatever they say, the gate's invariants hold, the arena lends no more than
 * it has but for what is adopted, and nothing else happens.
 *
 * An input is a list of records: who and how (one byte), message number (one byte), length (two), that many bytes.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "node/node.h"

#include "fuzz.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { PEERS = 3, MAX_RECORDS = 200, UNIT = 2 << 20 };
enum { HOW_PEER = 3, HOW_RAW = 4, HOW_FD = 0x18, HOW_CLOSE = 0x20, HOW_KNOWN_UUID = 0x40, HOW_LOOP = 0x80 };

static uv_loop_t loop;
static struct node *node;
static const uint8_t uuid[16] = {1, 2, 3};

static struct {
        struct client *client;
        uint32_t number;
        int fd;
} peers[PEERS];

static void start(void)
{
        const struct observe_device device = {
                .kind = WIRE_SOFTWARE, .uuid = {1, 2, 3}, .total_bytes = 256 * MIB, .name = "device", .shareable = true};
        char message[CONFIG_MESSAGE];
        struct settings s;

        log_set_level(LOG_ERROR_N);
        config_defaults(&settings_table, &s);
        s.unit = s.arena_segment = UNIT;
        s.arena_size = (struct config_share){.bytes = 4 * UNIT};
        s.arena_ready = 0;
        s.arena_threads = 1;
        s.kill_after = 0;
        promise(uv_loop_init(&loop) == 0, "no loop");
        promise(node_new(&loop, &s, observe_new_fixed(&device, 1, NULL), &node, message) == 0, "%s", message);
}

static bool alive(int peer)
{
        for (struct client *c = node->clients; c; c = c->next)
                if (c == peers[peer].client && c->number == peers[peer].number)
                        return true;
        return false;
}

static void hang_up(int peer)
{
        if (alive(peer))
                client_drop(peers[peer].client, NULL);
        node_turn(node);
        if (peers[peer].client)
                close(peers[peer].fd);
        peers[peer].client = NULL;
}

static void connect_peer(int peer)
{
        const struct client_peer who = {.pid = 1000 + peer, .uid = (uid_t)(peer / 2), .pidfd = -1};
        int pair[2];

        promise(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0, "no sockets");
        peers[peer].client = client_new(node, pair[0], &who, false);
        promise(peers[peer].client != NULL, "no client");
        peers[peer].number = peers[peer].client->number;
        peers[peer].fd = pair[1];
}

static void drain(int peer)
{
        struct wire_message m;
        ssize_t n;
        int fd;

        while ((n = fd_receive(peers[peer].fd, &m, sizeof m, MSG_DONTWAIT, &fd)) > 0) {
                const char *what = "";

                promise(wire_check(&m, (size_t)n, TO_CLIENT, WIRE_VERSION_MAX, &what) == 0, "the daemon sent %s", what);
                if (fd >= 0)
                        close(fd);
        }
}

/* None, a plain file, one like a segment, one like a page. */
static int descriptor(unsigned int how)
{
        int fd;

        if (!how)
                return -1;
        fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        promise(fd >= 0 && ftruncate(fd, how == 3 ? PAGE_BYTES : UNIT) == 0, "no memfd");
        if (how == 2)
                promise(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SEAL) == 0, "no seals");
        if (how == 3)
                promise(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) == 0, "no seals");
        return fd;
}

static void record(struct fuzz_input *in)
{
        uint8_t how = fuzz_byte(in), type = fuzz_byte(in);
        size_t length = fuzz_u16(in) % 1024, used = length < in->left ? length : in->left;
        int peer = (how & HOW_PEER) % PEERS, fd;
        struct wire_message m = {0};
        uint8_t raw[1024] = {0};
        char message[160];

        if (how & HOW_CLOSE || !alive(peer)) {
                hang_up(peer);
                connect_peer(peer);
        }
        memcpy(raw, in->data, used);
        in->data += used;
        in->left -= used;
        fd = descriptor((how & HOW_FD) >> 3);
        if (how & HOW_RAW || wire_body_bytes(type) < 0) {
                client_datagram(peers[peer].client, raw, length, fd);
        } else {
                memcpy(m.raw, raw, (size_t)wire_body_bytes(type));
                if (how & HOW_KNOWN_UUID && type == WIRE_DEVICE)
                        memcpy(m.DEVICE.uuid, uuid, sizeof uuid);
                client_datagram(peers[peer].client, &m, wire_seal(&m, type, WIRE_VERSION_MAX, 1), fd);
        }
        gate_tick(node->gate, clock_now_ns());
        node_turn(node);
        if (how & HOW_LOOP)
                uv_run(&loop, UV_RUN_NOWAIT);
        drain(peer);
        promise(gate_check(node->gate, clock_now_ns(), message, sizeof message) == 0, "%s", message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct fuzz_input in = {data, size};

        if (!node)
                start();
        for (int i = 0; i < MAX_RECORDS && in.left; i++)
                record(&in);
        for (int i = 0; i < PEERS; i++)
                if (peers[i].client)
                        hang_up(i);
        uv_run(&loop, UV_RUN_NOWAIT);
        promise(node->clients_n == 0 && !node->ghosts, "%u left", node->clients_n);
        return 0;
}
