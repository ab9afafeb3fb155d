/* connection.h: talking to berthd as a controller: connect, greet, ask, within a time.
 *
 * Every answer passes wire_check before anyone looks at it, and every wait has an end. Functions return 0 or a negative
 * error and then a sentence in message: what, where, what to do. After an error the connection is only good for
 * connection_close.
 */
#pragma once

#include "cli/cli.h"
#include "wire/wire.h"

#define CONNECTION_TIMEOUT_MS 5000

struct connection {
        int fd;                  /* -1: closed */
        unsigned int timeout_ms; /* for each answer */
        uint16_t version;
        uint32_t sequence;
        char path[128];
};

#define CONNECTION_CLOSED                                                                                              \
        {                                                                                                              \
                .fd = -1, .timeout_ms = CONNECTION_TIMEOUT_MS                                                          \
        }

/* Tries the user's own daemon, then the system's ($BERTH_SOCKET alone when set), and says HELLO.
 * -E_UNAVAILABLE: nobody there; -EACCES; -EPERM: the socket belongs to a stranger; -E_VERSION, -E_MESSAGE, -ETIMEDOUT,
 * -ECONNRESET. */
must_check int connection_open(struct connection *c, char message[CLI_MESSAGE]);

/* Says HELLO on a descriptor that is connected already and becomes the connection's. */
must_check int connection_greet(struct connection *c, int fd, const char *path, char message[CLI_MESSAGE]);

/* Seals and sends; the body is filled. */
must_check int connection_send(struct connection *c, struct wire_message *request, enum wire_type type,
                               char message[CLI_MESSAGE]);

/* The next message. An ERROR from the daemon is returned as its code, its sentence in message. *ret_fd as in
 * fd_receive, may be NULL. */
must_check int connection_receive(struct connection *c, struct wire_message *answer, int *ret_fd,
                                  char message[CLI_MESSAGE]);

/* connection_receive that takes nothing but `type`. */
must_check int connection_expect(struct connection *c, enum wire_type type, struct wire_message *answer, int *ret_fd,
                                 char message[CLI_MESSAGE]);

void connection_close(struct connection *c);
#define scoped_connection __attribute__((cleanup(connection_close)))
