/* fuzz.h: what every fuzz target has: one function for one input, and a way to say that a promise was broken. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* libFuzzer and replay-main.c call this. Always 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the process where a promise is broken: fuzzer and replay both take that as a find. */
#define promise(condition, ...)                                              \
        do {                                                                 \
                if (!(condition)) {                                          \
                        fprintf(stderr, "%s:%d: broken: %s: ", __FILE__, __LINE__, #condition); \
                        fprintf(stderr, __VA_ARGS__);                        \
                        fputc('\n', stderr);                                 \
                        abort();                                             \
                }                                                            \
        } while (0)

/* Reads numbers off the input; zeros once it is used up. */
struct fuzz_input {
        const uint8_t *data;
        size_t left;
};

static inline uint8_t fuzz_byte(struct fuzz_input *in)
{
        if (!in->left)
                return 0;
        in->left--;
        return *in->data++;
}

static inline uint16_t fuzz_u16(struct fuzz_input *in)
{
        uint16_t low = fuzz_byte(in);

        return (uint16_t)(low | fuzz_byte(in) << 8);
}
