/* place.h: attaching by perf event: kprobes and uprobes that end with their descriptor. Nothing is ever written into tracefs: what is made there outlives
 * its maker.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct bpf_program;
struct bpf_link;

/* 0 with *ret, or -errno: -ENOENT also where the kernel has no kprobes at all. */
int place_kprobe(struct bpf_program *program, const char *function, bool at_return, struct bpf_link **ret);
/* offset is in the file at path, which is kept by its inode from then on; cookie as bpf_get_attach_cookie gives it. */
int place_uprobe(struct bpf_program *program, const char *path, uint64_t offset, uint64_t cookie, struct bpf_link **ret);
/* One link for count functions of one file, of Linux 6.6 and later; the descriptor, or -errno. The program was loaded with attach type PLACE_UPROBE_MULTI. */
int place_uprobe_multi(int program_fd, const char *path, const uint64_t *offsets, const uint64_t *cookies, uint32_t count);
#define PLACE_UPROBE_MULTI 48
