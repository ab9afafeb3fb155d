/* trial.h: what the kernel and libbpf said while a rung was tried, for the reason that people read. */
#pragma once

#include <stddef.h>

/* Takes libbpf's messages from now on, and forgets earlier ones. */
void trial_begin(void);
/* "what: why", with the first line that libbpf had to say, when it said any that tells more. */
void trial_text(char *to, size_t size, const char *what, int error);
