/* file-rungs.h: inside of file.c and file-rungs.c: the kinds of probes on files. Which of the skeleton's programs each loads, and attaching them. */
#pragma once

#include "bpf/file-map.h"
#include "bpf/probes.h"

#include <stdbool.h>

struct file_bpf;
struct bpf_link;

#define FILE_MAX_LINKS 48

struct file_links {
        struct bpf_link *links[FILE_MAX_LINKS];
        uint32_t count;
        char text[120]; /* what went wrong */
};

/* The kinds, best first: that is another order where few calls are looked at, or the probes come off and on all the time. */
const uint32_t *file_rungs(bool sampled_or_part_of_time, size_t *ret_count);
/* Which program is loaded, and what they are to know of system calls. Before the load. 0; -EOPNOTSUPP: this kernel lacks what the kind takes. */
must_check int file_rung_choose(struct file_bpf *skeleton, uint32_t rung);
/* What this kernel lacks goes to the family's blind list. 0, or -errno with a text, and nothing is attached. */
must_check int file_rung_attach(struct file_bpf *skeleton, uint32_t rung, bool without_closes, struct file_links *links, struct probes_family *family);
void file_rung_detach(struct file_links *links);
