/* graph.h: what captures and graphs share. Under engine_lock. */
#pragma once

#include "fake.h"

struct CUgraph_st {
        uint32_t mark;
        struct work *first, **end;
        size_t count;
        struct work *last;
        struct edge *edges; /* edge.c: what was said of dependencies; nodes of one capture are in order anyway */
        size_t edges_n, edges_room;
        struct CUgraph_st *next;
};

struct edge {
        struct work *from, *to;
        CUgraphEdgeData data;
};

/* edge.c, under engine_lock. INVALID_VALUE: nodes of another graph, an edge that is there already, or data that can't be. */
CUresult edge_add(CUgraph g, struct work *from, struct work *to, const CUgraphEdgeData *data);
/* All nodes, each after those that it depends on, else as they were added. false: they depend on each other. */
bool edge_sort(CUgraph g, struct work **ret_nodes);
/* branch.c, under engine_lock: a conditional node of graph g, made in one of its own; its bodies come with params. */
CUresult branch_new(CUgraph g, CUgraph alone, CUDA_CONDITIONAL_NODE_PARAMS *params);
/* The graph that it runs now, or NULL. */
CUgraph branch_taken(const struct branch *b);
void branch_end(struct branch *b);

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
