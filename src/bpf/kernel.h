/* kernel.h: the few types of the kernel that our programs look into, with the few fields they read. For *.bpf.c only.
 *
 * Where a field really lies in the running kernel is put in at the load (CO-RE), from the kernel's own BTF: so these declarations need names and
 * types, not order or size, and no header generated from one kernel.
 */
#pragma once

#include <linux/bpf.h>

#include <stdbool.h>
#include <stddef.h>

/* The C library's <stdint.h> is made for the machine's processor, not for this one. */
typedef __u8 uint8_t;
typedef __u16 uint16_t;
typedef __u32 uint32_t;
typedef __u64 uint64_t;
typedef __s32 int32_t;
typedef __s64 int64_t;

#include "casts.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define EVERYBODY ((uint32_t)-1)
/* typed: the verifier knows the pointer's type and a plain load does; else a probe read, some 25 ns each. */
#define LOAD(typed, pointer, field) ((typed) ? (pointer)->field : BPF_CORE_READ(pointer, field))
#define FROM_KERNEL __attribute__((preserve_access_index))

struct super_block {
        unsigned int s_dev;
        unsigned long s_magic;
} FROM_KERNEL;

struct inode {
        unsigned short i_mode;
        unsigned int i_generation;
        unsigned long i_ino;
        struct super_block *i_sb;
} FROM_KERNEL;

struct qstr {
        const unsigned char *name;
} FROM_KERNEL;

struct dentry {
        struct dentry *d_parent;
        struct qstr d_name;
} FROM_KERNEL;

struct path {
        struct dentry *dentry;
} FROM_KERNEL;

struct file {
        struct path f_path;
        struct inode *f_inode;
} FROM_KERNEL;

/* Nothing but a pointer: as this one element of an array of pointers is read by a plain load. */
struct llist_node {
        struct llist_node *next;
} FROM_KERNEL;

struct fdtable {
        unsigned int max_fds;
        struct file **fd;
} FROM_KERNEL;

struct files_struct {
        struct fdtable *fdt;
} FROM_KERNEL;

struct thread_info {
        unsigned int status;
} FROM_KERNEL;

struct kuid {
        unsigned int val;
} FROM_KERNEL;

struct cred {
        struct kuid uid;
} FROM_KERNEL;

struct task_struct {
        struct thread_info thread_info;
        unsigned int __state;
        int pid, tgid;
        const struct cred *cred;
        unsigned long start_boottime;
        struct task_struct *group_leader;
        struct files_struct *files;
        char comm[16];
} FROM_KERNEL;

/* x86-64's registers at the entry of a system call. */
struct pt_regs {
        unsigned long r10, r8, cx, dx, si, di, orig_ax;
        long ax;
} FROM_KERNEL;

struct io_cqe {
        int res;
} FROM_KERNEL;

struct io_kiocb {
        struct file *file;
        unsigned char opcode;
        struct io_cqe cqe;
} FROM_KERNEL;

struct gendisk {
        int major, first_minor;
} FROM_KERNEL;

struct request_queue {
        struct gendisk *disk;
} FROM_KERNEL;

struct request {
        struct request_queue *q;
        unsigned int cmd_flags, __data_len;
} FROM_KERNEL;

/* A pointer to read by plain loads that can't fault, of a type by the kernel's own number: 6.2 and later; see casts.h. */
static void *(*const bpf_rdonly_cast)(void *object, unsigned int type) = (void *)CASTS_PLACEHOLDER;
