/* crowd.h: very many connections to one pool at a time, over sockets, and what they cost it.
 *
 * A line is one connection, with or without TLS. It is opened and brought as far as it shall come by blocking calls on several threads (join_all), then one
 * thread looks after all of them with epoll. What the pool used is read of its process by the kernel's own counts.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct line {
        int fd;
        struct ssl_st *ssl;     /* NULL: without TLS */
        char *kept;             /* the begin of something that is not whole yet; NULL: none */
        size_t kept_bytes;
};

struct crowd {
        const char *address;    /* HOST:PORT */
        bool tls;
        int pid;                /* of the pool */
        struct line *lines;
        size_t count;
};

_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t now_ns(void);

/* ---- line.c: blocking, until line_watch -------------------------------------------------------------------------- */
void line_open(const struct crowd *crowd, struct line *line);
void line_send(struct line *line, const void *data, size_t bytes);
/* At least one byte; ends the program when the connection ended. 0 only of a line that is watched: nothing more at present. */
size_t line_receive(struct line *line, void *to, size_t size);
/* The head of an answer, up to its empty line, which ends `text`; what came behind it stays with the line. Returns the status. */
int line_head(struct line *line, char *text, size_t size);
/* GET or POST (body not NULL) on a connection that stays open; the answer's body is read and dropped, other than 2xx ends the program. */
void line_ask(struct line *line, const char *path, const char *key, const char *body);
void line_close(struct line *line);
/* Calls `join` for each line, on several threads; they are all opened before. */
void join_all(struct crowd *crowd, void (*join)(struct crowd *crowd, size_t number));
/* No call blocks from now on; the epoll descriptor tells the line's number. */
void line_watch(int epoll, struct line *line, size_t number);

/* ---- what the pool's process used -------------------------------------------------------------------------------- */
uint64_t process_cpu_ns(int pid);
uint64_t process_rss_kib(int pid);

/* Each prints one line of JSON. */
void crowd_of_workers(struct crowd *crowd, const char *admin, const char *worker_key, unsigned seconds);
void crowd_of_subscribers(struct crowd *crowd, const char *idle_key, const char *busy_key, size_t busy, unsigned events_per_s, unsigned seconds);

/* Sorts, and takes the value below which `share` of them lie. */
uint64_t quantile(uint64_t *values, size_t count, double share);
