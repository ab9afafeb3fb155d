/* kinds.h: what the kinds of kinds.c, kinds-graphs.c and kinds-edges.c have in common: the ordinary memory that they play with, and how they check. */
#pragma once

#include "cu.h"

#define MIB (UINT64_C(1) << 20)

enum { AREA_WORDS = 1 << 16 }; /* what a kind plays with, beside the ordinary memory */

extern struct cu_base base;
extern const char *failed;
extern CUdeviceptr area; /* AREA_WORDS words of ordinary memory */

#define WANT(condition)                                                                                                \
        do {                                                                                                           \
                if (!(condition)) {                                                                                    \
                        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                \
                        failed = #condition;                                                                           \
                }                                                                                                      \
        } while (0)

/* All words of a range, by copying them out. */
bool all_are(CUdeviceptr at, uint64_t words, uint32_t value, CUstream s);
void nothing(void);

struct kind {
        const char *name;
        void (*begin)(void);
        void (*round)(uint32_t);
        void (*end)(void);
};

/* kinds-graphs.c */
void graphs_begin(void);
void graphs_round(uint32_t round);
void graphs_end(void);
void nodes_begin(void);
void nodes_round(uint32_t round);
void nodes_end(void);
CUDA_KERNEL_NODE_PARAMS on_words(CUfunction f, void **parameters); /* parameters: address, words, argument */
void values_begin(void);
void values_round(uint32_t round);
void values_end(void);

/* kinds-edges.c */
void edges_begin(void);
void edges_round(uint32_t round);
void edges_end(void);
