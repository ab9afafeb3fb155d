/* upstream-internal.h: what upstream.c (exchanges) and link.c (connections to engines) share. */
#pragma once

#include "gateway/upstream.h"

#include "wire/tunnel.h"

#include <http_parser.h>
#include <sys/socket.h>

/* Where an engine is. */
struct target {
        UT_hash_handle hh;
        struct upstreams *all;
        char address[200], host[160], port[8], prefix[64];
        struct sockaddr_storage where;
        socklen_t where_length;        /* 0: not known yet */
        bool numeric, resolving;
        uint64_t resolved_ms;
        uv_getaddrinfo_t question;
        struct link *idle;             /* the last used first */
        size_t idle_count;
};

/* A connection. */
struct link {
        uv_poll_t poll;
        struct upstreams *all;
        struct target *target;
        struct upstream *exchange;     /* NULL: idle, or closing */
        struct link *prev, *next;      /* of the idle ones */
        http_parser parser;
        int fd, watched;
        uint64_t idle_until;
        bool connecting, reused, closing;
};

enum stage { UPSTREAM_RESOLVING, UPSTREAM_OPENING, UPSTREAM_RUNNING, UPSTREAM_FAILED };

/* An exchange. */
struct upstream {
        struct upstreams *all;
        struct target *target;
        struct link *link;             /* NULL: none yet */
        struct upstream *prev, *next;
        enum stage stage;
        const struct upstream_calls *calls;
        void *context;
        char *head;
        size_t head_length, sent;      /* sent: of head and body */
        const char *body;
        size_t body_length;
        struct upstream_answer answer;
        uint64_t due_ms, first_ms, quiet_ms;
        const char *failure;
        uint32_t head_bytes;           /* of the answer's */
        char name[16], number[12];
        uint8_t name_length, number_length, header; /* header: 0 other, 1 content-type, 2 retry-after */
        bool in_value, any, paused, complete, keep;
        /* In a tunnel: its frames' road, in place of a link. */
        struct tunnel *tunnel;
        UT_hash_handle of_tunnel;
        uint32_t stream, may_send;     /* bytes of its body that the worker still takes */
        uint32_t may_come, taken;      /* bytes of the answer that the worker may still send; that were handed on, and are not credited yet */
        char *held;                    /* came while its client was slow; TUNNEL_ANSWER_WINDOW bytes of room */
        size_t held_begin, held_end;
        bool headed, over;             /* HEAD, END came */
        char *last_words;              /* END's, of one that broke; NULL: it is whole */
};

/* The tunnel of a worker. */
struct tunnel {
        UT_hash_handle hh;             /* by worker */
        struct id worker;
        struct upstreams *all;
        struct connection *connection;
        struct upstream *streams;      /* by of_tunnel */
        uint32_t last;                 /* stream that was begun */
        unsigned depth;                /* calls that still look at it */
        bool blocked, gone, current;   /* blocked: some body waits for room to send; current: it is the one in the table */
};

struct upstreams {
        struct server *server;
        struct target *targets;
        struct upstream *active;
        struct tunnel *tunnels;
        struct upstream_counts counts;
        uv_idle_t later;               /* runs while exchanges failed at once and are still to be told */
        bool closed;
        size_t handles;
};

/* upstream.c */
void exchange_fail(struct upstream *exchange, const char *text);
void exchange_go(struct upstream *exchange);
/* Bytes came, or the end (length 0). */
void exchange_input(struct link *link, const char *data, size_t length);
void exchange_writable(struct link *link);
void upstreams_free(struct upstreams *all);

/* Has on_later look at the exchanges. */
void exchange_later(struct upstreams *all);
void exchange_fail_later(struct upstream *exchange, const char *text);
/* Ends it: the last call. */
void exchange_end(struct upstream *exchange, int error, const char *text);

/* tunnel.c */
void tunnel_begin(struct upstream *exchange, const struct upstream_request *request);
/* The exchange leaves its tunnel; its worker is told, unless it said the end. */
void tunnel_leave(struct upstream *exchange);
/* There is something to hand on, and its client reads. */
bool tunnel_is_due(const struct upstream *exchange);
void tunnel_go_on(struct upstream *exchange);

/* link.c */
must_check int target_get(struct upstreams *all, const char *address, struct target **ret_target);
/* A connection for the exchange, kept or new; 0, or -errno. */
must_check int link_take(struct upstream *exchange, bool fresh);
/* Its exchange is over: kept, or closed. */
void link_keep(struct link *link);
void link_close(struct link *link);
void link_watch(struct link *link, int events);
/* Finds the address of the exchange's target; 0: known, -EAGAIN: exchange_go comes later, else an error. */
must_check int target_resolve(struct target *target);
void links_tick(struct upstreams *all, uint64_t now_ms);
