/* ladder.h: which rung of a family's probes is to be tried next, and what the kernel said to those before. Pure.
 *
 * Rungs are tried in their order, and any error means the next: kernels, hypervisors and security modules refuse with whatever number they like. The
 * settings may force one rung, then no other is tried, or refuse some. Each refusal is kept, with its error and text.
 */
#pragma once

#include "bpf/probes.h"

struct ladder {
        const uint32_t *rungs; /* enum probes_rung, best first */
        size_t count, next;
        uint32_t forced;       /* enum probes_rung, PROBES_RUNG_NONE: none */
        uint32_t refuse;       /* bits 1 << rung: not to be tried */
};

/* The next rung to try; PROBES_RUNG_NONE: there is none left. Those that the settings refuse go to the family's list. */
uint32_t ladder_next(struct ladder *ladder, struct probes_family *family);
/* This rung did not load. text is cleaned. */
void ladder_refused(struct probes_family *family, uint32_t rung, int error, const char *text);
/* "fexit,kprobe" to bits of rungs; spaces are allowed. 0 or -EINVAL with *ret_word where the unknown name starts. */
must_check int ladder_parse_rungs(const char *text, uint32_t *ret_bits, const char **ret_word);
