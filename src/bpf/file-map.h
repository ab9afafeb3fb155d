/* file-map.h: what file.bpf.c and file.c say to each other through maps. No padding: keys are compared as bytes. */
#pragma once

#ifndef __bpf__
#include <stdint.h>
#endif

#define FILE_UP 5 /* folders of a name that are kept */
#define FILE_BASE 96
#define FILE_FOLDER 32

struct file_key {
        uint64_t inode, start_ns; /* of the process's first thread: a reused pid is another process */
        uint32_t device, pid;
};

/* Of one period, so calls need no more than 32 bits. */
struct file_counts {
        uint32_t opens, closes, reads, writes;
        uint64_t read_bytes, write_bytes;
        uint32_t generation; /* of the inode */
        int32_t fd;          /* through which it was first seen, -1: unknown */
};

/* One process on one file, as each call writes it: a cache line. */
struct file_use {
        struct file_key key;
        struct file_counts counts;
};

/* What is written once for a row. */
struct file_user {
        uint32_t uid, reserved;
        char comm[16]; /* the process's; always ended */
};

/* Where the row of a key is found: a line of so many slots, and then so many lines in all. A slot is the number of the period << 32 | the row's; of an older period: free. */
#define FILE_LINE 8
#define FILE_LINES 4
#define FILE_SLOTS_A_ROW 4 /* of each so many are used at most: hardly a line ever is full */

struct file_name_key {
        uint64_t inode;
        uint32_t device, generation;
};

struct file_name {
        uint64_t magic; /* of the file system */
        uint32_t folders, knows_device; /* the device is its subvolume's, as stat tells it (btrfs) */
        char base[FILE_BASE];
        char up[FILE_UP][FILE_FOLDER]; /* the nearest first */
};

/* For each processor; plain counters. */
struct file_totals {
        uint64_t hits, hooked, full, entries, tick, reserved;
        uint64_t opens, closes, reads, writes, read_bytes, write_bytes;
};

struct file_pending { /* between the entry and the exit of a call */
        uint64_t first, second, third; /* arguments: descriptors, or struct file pointers */
};

enum file_op {
        FILE_NOTHING,
        FILE_READ,
        FILE_WRITE,
        FILE_OPEN,  /* the descriptor is what the call returns */
        FILE_SEND,  /* sendfile: from its second descriptor to its first */
        FILE_COPY,  /* copy_file_range and splice: from its first to its third */
        FILE_CLOSE,
};

#define FILE_CALLS 512
