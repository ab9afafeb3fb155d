/* fake-daemon.h: a daemon that follows a script, for the tests of the command line. Runs in a thread on one end of a
 * socket pair. */
#pragma once

#include "cli/snapshot.h"

#include <pthread.h>

enum fake_act {
        FAKE_END,     /* close */
        FAKE_TAKE,    /* receive a message of `type` */
        FAKE_SEND,    /* send `message`, sealed as `type` */
        FAKE_RAW,     /* send `bytes` bytes of the message as they are */
        FAKE_SEND_FD, /* FAKE_SEND with a descriptor for a file that holds text */
        FAKE_HANG,    /* wait until the other side closes */
};

struct fake_step {
        enum fake_act act;
        enum wire_type type;
        const struct wire_message *message;
        size_t bytes;
        uint16_t version; /* 0: WIRE_VERSION_MAX */
        const char *text;
};

struct fake_daemon {
        pthread_t thread;
        int fd;                        /* the daemon's end */
        const struct fake_step *steps; /* ended by FAKE_END */
        int wrong;                     /* messages that were not of the script's type or not well-formed */
};

/* The client's end, connected. Aborts when it can't. */
int fake_start(struct fake_daemon *d, const struct fake_step *steps);
/* Waits for its end; the number of messages that did not follow the script. */
int fake_stop(struct fake_daemon *d);

/* HELLO taken, WELCOME sent: the usual beginning. */
extern const struct wire_message fake_welcome;
#define FAKE_GREETING                                                                                                  \
        {FAKE_TAKE, WIRE_HELLO},                                                                                       \
        {                                                                                                              \
                FAKE_SEND, WIRE_WELCOME, &fake_welcome                                                                 \
        }

/* A daemon on a real socket that answers every STATUS_ASK with the same world, RELOAD with DONE and DUMP with "{}\n",
 * one connection at a time, until fake_serve_stop. */
struct fake_server {
        pthread_t thread;
        int listener, wake[2];
        const struct snapshot *world;
        char folder[32], path[64];
};

void fake_serve(struct fake_server *s, const struct snapshot *world);
void fake_serve_stop(struct fake_server *s);
