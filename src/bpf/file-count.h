/* file-count.h: how file.bpf.c counts, whatever hook it hangs on: count() finds the row of a process and file and adds to it. For *.bpf.c only.
 *
 * Rows lie in one array that user space has mapped, one half for each of two periods that take turns: `period` says which is written; the other is read
 * meanwhile, without a call. A row is found through slots, a hash table of our own: no helper, no lock, and it empties itself, as slots of an older period count as
 * free. A row is whole before a slot says where it is, so whoever finds it may add to it; what two processors enter at once is one row.
 */
#pragma once

#include "maps.h"
#include "file-map.h"

/* Fixed before the load; the verifier leaves out what they rule out. */
const volatile uint32_t one_in = 1;
const volatile uint32_t only_uid = EVERYBODY;
const volatile uint32_t rows_each = 16384;      /* of a period */
const volatile uint32_t slots_shift = 32 - 16;  /* there are 2^(32 - shift) slots */
const volatile uint64_t mix[2] = {1, 1};        /* odd, and chosen by chance: nobody can aim at a line */
const volatile uint8_t calls[FILE_CALLS] = {0}; /* enum file_op by number of the system call */

uint32_t period = 1; /* counts on with each reading */
uint32_t taken[2] = {0}; /* rows of each half */

#define MODE_TYPE 0170000
#define MODE_REGULAR 0100000
#define NO_ROW ((uint32_t)-1)

struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, 65536);
        __type(key, uint32_t);
        __type(value, uint64_t);
} slots SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(map_flags, BPF_F_MMAPABLE);
        __uint(max_entries, 2 * 16384);
        __type(key, uint32_t);
        __type(value, struct file_use);
} rows SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(map_flags, BPF_F_MMAPABLE);
        __uint(max_entries, 2 * 16384);
        __type(key, uint32_t);
        __type(value, struct file_user);
} users SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_LRU_HASH);
        __uint(max_entries, 16384);
        __type(key, struct file_name_key);
        __type(value, struct file_name);
} file_names SEC(".maps");

TOTALS_OF(struct file_totals)

struct {
        __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
        __uint(max_entries, 1);
        __type(key, uint32_t);
        __type(value, struct file_name);
} scratch SEC(".maps");

/* btrfs numbers the files of each subvolume by themselves, and stat tells them apart by a device that the file system makes up for each: it stands where only btrfs
 * knows it, behind the inode. Where the kernel does not describe that (a module, to a process that may not look at it), files of several subvolumes may be taken for one. */
#define BTRFS 0x9123683e

struct btrfs_root {
        unsigned int anon_dev;
} FROM_KERNEL;

struct btrfs_inode {
        struct btrfs_root *root;
        struct inode vfs_inode;
} FROM_KERNEL;

static __always_inline bool knows_subvolumes(void)
{
        return bpf_core_field_exists(struct btrfs_root, anon_dev) && bpf_core_field_exists(struct btrfs_inode, root) &&
               bpf_core_field_exists(struct btrfs_inode, vfs_inode);
}

static __always_inline uint32_t device_of(bool typed, struct inode *inode, struct super_block *sb)
{
        uint32_t device = LOAD(typed, sb, s_dev), own = 0;
        struct btrfs_root *root;
        struct btrfs_inode *b;

        /* Those of no block device have major 0: all others are through here. */
        if (device >> 20 || !knows_subvolumes() || LOAD(typed, sb, s_magic) != BTRFS)
                return device;
        b = (struct btrfs_inode *)((char *)inode - bpf_core_field_offset(struct btrfs_inode, vfs_inode));
        if (bpf_core_read(&root, sizeof root, &b->root) == 0 && bpf_core_read(&own, sizeof own, &root->anon_dev) == 0 && own)
                device = own;
        return device;
}

static __always_inline struct task_struct *me(bool typed)
{
        return typed ? bpf_get_current_task_btf() : (struct task_struct *)bpf_get_current_task();
}

/* --- at first sight in a period --- */

struct first_sight {
        struct file_key key;
        struct file *file;
        struct super_block *sb;
        uint32_t hash, period, inode_generation;
        int32_t fd;
};

static __noinline void keep_name(struct first_sight *f)
{
        struct file_name_key name_key = {.inode = f->key.inode, .device = f->key.device, .generation = f->inode_generation};
        struct super_block *sb = f->sb;
        struct dentry *entry, *parent;
        struct file *file = f->file;
        struct file_name *name;
        uint32_t zero = 0;

        if (bpf_map_lookup_elem(&file_names, &name_key))
                return;
        name = bpf_map_lookup_elem(&scratch, &zero);
        if (!name)
                return;
        name->magic = BPF_CORE_READ(sb, s_magic);
        name->knows_device = knows_subvolumes();
        name->folders = 0;
        entry = BPF_CORE_READ(file, f_path.dentry);
        bpf_probe_read_kernel_str(name->base, sizeof name->base, BPF_CORE_READ(entry, d_name.name));
#pragma unroll
        for (int i = 0; i < FILE_UP; i++) {
                parent = BPF_CORE_READ(entry, d_parent);
                if (!parent || parent == entry)
                        break;
                bpf_probe_read_kernel_str(name->up[i], sizeof name->up[i], BPF_CORE_READ(parent, d_name.name));
                name->folders = (uint32_t)i + 1;
                entry = parent;
        }
        bpf_map_update_elem(&file_names, &name_key, name, BPF_ANY);
}

static __always_inline bool same_key(const struct file_key *a, const struct file_key *b)
{
        return a->inode == b->inode && a->start_ns == b->start_ns && a->device == b->device && a->pid == b->pid;
}

/* The row that a slot of this period points to, if it is this key's. */
static __always_inline struct file_use *row_if_same(uint64_t slot, const struct file_key *key)
{
        uint32_t at = (uint32_t)slot;
        struct file_use *row = bpf_map_lookup_elem(&rows, &at);

        return row && same_key(&row->key, key) ? row : NULL;
}

/* A row of one's own that nobody else sees yet; NO_ROW: there is none left. */
static __always_inline uint32_t new_row(const struct first_sight *f)
{
        struct task_struct *leader = BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), group_leader);
        uint32_t half = f->period & 1, at;
        struct file_user *user;
        struct file_use *row;

        if (*(volatile uint32_t *)&taken[half] >= rows_each)
                return NO_ROW;
        at = __sync_fetch_and_add(&taken[half], 1);
        if (at >= rows_each)
                return NO_ROW;
        at += half ? rows_each : 0;
        row = bpf_map_lookup_elem(&rows, &at);
        user = bpf_map_lookup_elem(&users, &at);
        if (!row || !user)
                return NO_ROW;
        row->key = f->key;
        row->counts = (struct file_counts){.generation = f->inode_generation, .fd = f->fd};
        user->uid = (uint32_t)bpf_get_current_uid_gid();
        bpf_probe_read_kernel(user->comm, sizeof user->comm, &leader->comm);
        return at;
}

/* What is added up alone would set the inodes of a row, one after the other, into few lines, where chance chose a bad factor: one in thirty is. */
static __always_inline uint32_t hash_of(const struct file_key *key)
{
        uint64_t sum = key->inode * mix[0] + ((uint64_t)key->device << 32 | key->pid) * mix[1];

        sum ^= sum >> 32;
        return (uint32_t)(sum * mix[1] >> 32);
}

/* Where the n-th look for a key goes: from its own slot on around its line, then through the other lines. */
static __always_inline uint32_t slot_at(uint32_t hash, uint32_t n)
{
        uint32_t first = (n < FILE_LINE ? hash : hash * (n / FILE_LINE * 0x9e3779b2 + 1)) >> slots_shift;

        return (first & ~(uint32_t)(FILE_LINE - 1)) | ((first + n) & (FILE_LINE - 1));
}

static __noinline struct file_use *find_or_enter(struct first_sight *f)
{
        struct file_totals *t = my_totals();
        uint32_t own = NO_ROW;

        if (!t)
                return NULL;
        for (uint32_t n = 0; n < FILE_LINES * FILE_LINE; n++) {
                uint32_t at = slot_at(f->hash, n);
                uint64_t *slot = bpf_map_lookup_elem(&slots, &at), was, seen;
                struct file_use *row;

                if (!slot)
                        return NULL;
                was = *(volatile uint64_t *)slot;
                if ((uint32_t)(was >> 32) != f->period) {
                        /* Free, unless the next period has begun meanwhile and has it already. */
                        if ((int32_t)((uint32_t)(was >> 32) - f->period) > 0)
                                continue;
                        if (own == NO_ROW) {
                                own = new_row(f);
                                if (own == NO_ROW)
                                        break;
                        }
                        seen = __sync_val_compare_and_swap(slot, was, (uint64_t)f->period << 32 | own);
                        if (seen == was) {
                                t->entries++;
                                keep_name(f);
                                return bpf_map_lookup_elem(&rows, &own);
                        }
                        /* Another was first. Perhaps with this very key: then our row stays empty. */
                        was = seen;
                        if ((uint32_t)(was >> 32) != f->period)
                                continue;
                }
                row = row_if_same(was, &f->key);
                if (row)
                        return row;
        }
        t->full++;
        return NULL;
}

/* --- at each call --- */

static __always_inline void add_totals(struct file_totals *t, enum file_op op, uint64_t bytes, uint64_t times)
{
        t->hooked++;
        switch (op) {
        case FILE_READ:
                t->reads += times;
                t->read_bytes += bytes * times;
                break;
        case FILE_WRITE:
                t->writes += times;
                t->write_bytes += bytes * times;
                break;
        case FILE_OPEN:
                t->opens++;
                break;
        case FILE_CLOSE:
                t->closes++;
                break;
        default:
                break;
        }
}

static __always_inline void add_counts(struct file_counts *c, enum file_op op, uint64_t bytes, uint64_t times)
{
        switch (op) {
        case FILE_READ:
                __sync_fetch_and_add(&c->reads, (uint32_t)times);
                if (bytes)
                        __sync_fetch_and_add(&c->read_bytes, bytes * times);
                break;
        case FILE_WRITE:
                __sync_fetch_and_add(&c->writes, (uint32_t)times);
                if (bytes)
                        __sync_fetch_and_add(&c->write_bytes, bytes * times);
                break;
        case FILE_OPEN:
                __sync_fetch_and_add(&c->opens, 1);
                break;
        case FILE_CLOSE:
                __sync_fetch_and_add(&c->closes, 1);
                break;
        default:
                break;
        }
}

/* op is one of READ, WRITE, OPEN, CLOSE; task is the current one. */
static __always_inline void count(bool typed, struct task_struct *task, struct file_totals *t, struct file *file, enum file_op op, uint64_t bytes, int32_t fd)
{
        uint64_t times = one_in > 1 && (op == FILE_READ || op == FILE_WRITE) ? one_in : 1, *slot;
        struct inode *inode = LOAD(typed, file, f_inode);
        struct file_use *row = NULL;
        struct first_sight f;
        struct super_block *sb;
        uint32_t at;

        if (!inode || (LOAD(typed, inode, i_mode) & MODE_TYPE) != MODE_REGULAR)
                return;
        if (only_uid != EVERYBODY && (uint32_t)bpf_get_current_uid_gid() != only_uid)
                return;
        add_totals(t, op, bytes, times);
        sb = LOAD(typed, inode, i_sb);
        f.key.inode = LOAD(typed, inode, i_ino);
        f.key.device = device_of(typed, inode, sb);
        f.key.pid = typed ? (uint32_t)task->tgid : (uint32_t)(bpf_get_current_pid_tgid() >> 32);
        f.key.start_ns = typed ? task->group_leader->start_boottime : BPF_CORE_READ(task, group_leader, start_boottime);
        f.hash = hash_of(&f.key);
        f.period = *(volatile uint32_t *)&period;
        at = slot_at(f.hash, 0);
        slot = bpf_map_lookup_elem(&slots, &at);
        if (slot) {
                uint64_t was = *(volatile uint64_t *)slot;

                if ((uint32_t)(was >> 32) == f.period)
                        row = row_if_same(was, &f.key);
        }
        if (!row) {
                f.file = file;
                f.sb = sb;
                f.inode_generation = LOAD(typed, inode, i_generation);
                f.fd = fd;
                row = find_or_enter(&f);
                if (!row)
                        return;
        }
        add_counts(&row->counts, op, bytes, times);
}

/* Whether this read or write is one of those looked at. */
static __always_inline bool sampled(enum file_op op, struct file_totals *t)
{
        if (one_in <= 1 || op == FILE_OPEN || op == FILE_CLOSE)
                return true;
        if (++t->tick < one_in)
                return false;
        t->tick = 0;
        return true;
}

static __always_inline struct file *file_of(bool typed, struct task_struct *task, uint32_t fd)
{
        struct files_struct *files = LOAD(typed, task, files);
        struct fdtable *table;
        struct file **at, *file = NULL;

        if (!files)
                return NULL;
        table = LOAD(typed, files, fdt);
        if (!table || fd >= LOAD(typed, table, max_fds))
                return NULL;
        at = LOAD(typed, table, fd) + fd;
        if (typed) {
                struct llist_node *element = bpf_rdonly_cast(at, bpf_core_type_id_kernel(struct llist_node));

                file = (struct file *)element->next;
                return file ? bpf_rdonly_cast(file, bpf_core_type_id_kernel(struct file)) : NULL;
        }
        return bpf_probe_read_kernel(&file, sizeof file, at) < 0 ? NULL : file;
}

static __always_inline void by_descriptor(bool typed, struct task_struct *task, struct file_totals *t, enum file_op op, uint64_t fd, uint64_t bytes)
{
        struct file *file = file_of(typed, task, (uint32_t)fd);

        if (file)
                count(typed, task, t, file, op, bytes, (int32_t)fd);
}
