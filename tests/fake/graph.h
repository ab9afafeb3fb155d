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
CUresult graph_check(CUgraph g);
/* Under engine_lock: the nodes of another graph, which becomes stale, as its last ones; the last of them. */
struct work *graph_take(CUgraph g, CUgraph from);
/* Under engine_lock: from its next launch on an instance does the one thing that is in the other graph, where it did what the node says. */
CUresult exec_replace(CUgraphExec e, CUgraphNode node, CUgraph instead);
/* Its nodes are gone, its handle is stale. */
void graph_end(CUgraph g);
