/* tell.h: what a program says to the daemon: the socket, HELLO, and reports of the books. Books held. */
#pragma once

#include "cuda/move.h"
#include "cuda/state.h"

#include <sys/types.h>

/* BERTH_MEMORY, BERTH_NEED, BERTH_PRIORITY, BERTH_JOB into the books. */
void tell_read_environment(void);
/* Connects and agrees on a version; resumes: brings along what earlier daemons knew. Books are released while it waits. 0 or -errno. */
int tell_connect(bool resumes);
void tell_disconnect(void);
int tell_socket(void);
/* The next message, without waiting; as fd_receive. */
ssize_t tell_receive(struct wire_message *message, int *ret_fd);

#define TELL_REPORT_NS (10 * UINT64_C(1000000)) /* a program tells its bytes at most this often */
/* Whether a change of the books has to be told at once, as the daemon decides by it. */
bool tell_report_due(const struct device *d);
/* A storage asks for room for ask_bytes more. */
void tell_storage_want(struct device *d);
/* Everything that is due: DEVICE, WANT, MEMORY, HOST. 0, or -errno: the connection is lost. */
int tell_due(void);
void tell_given_way(struct device *d, uint64_t drain_ns, bool wants);
void tell_evicted(struct device *d, const struct move_progress *progress);
void tell_brought_in(struct device *d, uint64_t returned, bool done, int status);
void tell_unit_back(uint64_t unit);
void tell_segment_back(uint32_t segment);
void tell_recalled(uint64_t bytes);

void tell_set_page_fd(int fd);
int tell_page_fd(void);
void tell_forked(void);
