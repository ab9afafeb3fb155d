/* cycle.h: one job's way through a queue, over sockets: put, take, done; the same for Berth and its peers.
 *
 * An actor is a thread with a connection of its own and blocking calls. Each call returns when the queue has answered, so for a durable queue when it is durable.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BODY 256

struct actor {
        const struct queue *queue;
        const char *address;    /* as given on the command line */
        bool taker;
        int fd;
        void *own;              /* the queue's, for this connection */
        char input[65536];
        size_t have;
        uint64_t number;        /* of the actor */
};

struct queue {
        const char *name;
        /* Everything but `stop` may end the program with a message: a benchmark that goes on after an error measures nothing. */
        void (*open)(struct actor *a);
        void (*put)(struct actor *a, const char body[BODY]);
        /* false: stopped while waiting. */
        bool (*take)(struct actor *a, char body[BODY]);
        void (*done)(struct actor *a);
        void (*close)(struct actor *a);
};

extern const struct queue queue_berth, queue_beanstalkd, queue_redis, queue_postgresql;

_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* HOST:PORT or a path of a socket; no delay. */
int dial(const char *address);
void send_all(struct actor *a, const void *data, size_t bytes);
/* More input behind what is there; false: the connection was shut down while waiting for the first byte of an answer. */
bool receive_more(struct actor *a);
/* A line up to "\r\n", without it, into line; taken from the input. */
bool receive_line(struct actor *a, char *line, size_t size);
/* Exactly so many bytes. */
bool receive_exactly(struct actor *a, void *to, size_t bytes);
extern volatile bool stopping;
