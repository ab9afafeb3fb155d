/* graph.h: what captures and graphs share. Under engine_lock. */
#pragma once

#include "fake.h"

struct CUgraph_st {
        uint32_t mark;
        struct work *first, **end;
        size_t count;
        struct work *last;
        struct CUgraph_st *next;
};

CUgraph graph_new(void);
/* Adds a copy of *work as the last node. */
CUresult graph_append(CUgraph g, const struct work *work);
/* Its nodes are gone, its handle is stale. */
void graph_end(CUgraph g);
