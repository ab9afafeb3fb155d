/* probes.c: snapshots of what probes counted: checking, sealing, mapping, what a user may see of them, and names made safe to show; see probes.h. */
#include "bpf/probes.h"

#include "base/error.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(sizeof(struct probes_family) % 8 == 0 && sizeof(struct probes_process) % 8 == 0 && sizeof(struct probes_file) % 8 == 0 &&
               sizeof(struct probes_use) % 8 == 0 && sizeof(struct probes_block) % 8 == 0 && sizeof(struct probes_runner) % 8 == 0 &&
               sizeof(struct probes_snapshot) % 8 == 0, "rows follow one another aligned");

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static const char *const rung_names[PROBES_RUNG_N] = {"none",        "fexit",        "kprobe", "call_exit", "sys_exit", "raw_exit",
                                                      "tracepoints", "uprobe_multi", "uprobe", "tp_btf",    "raw_tp"};
static const char *const state_names[PROBES_STATE_N] = {"off", "attached", "unavailable", "nothing_yet", "not_asked"};
static const char *const family_names[PROBES_FAMILY_N] = {"files", "gpu", "block", "sched", "syscalls"};
static const char *const request_kind_names[PROBES_REQUEST_KINDS] = {"read", "write", "flush", "discard", "other"};

const char *probes_rung_name(uint32_t rung)
{
        return rung < PROBES_RUNG_N ? rung_names[rung] : "?";
}

const char *probes_state_name(uint32_t state)
{
        return state < PROBES_STATE_N ? state_names[state] : "?";
}

const char *probes_family_name(uint32_t family)
{
        return family < PROBES_FAMILY_N ? family_names[family] : "?";
}

const char *probes_request_kind_name(uint32_t kind)
{
        return kind < PROBES_REQUEST_KINDS ? request_kind_names[kind] : "?";
}

static bool family_check(const struct probes_family *f)
{
        if (f->state >= PROBES_STATE_N || f->rung >= PROBES_RUNG_N || f->refused_count > PROBES_RUNG_N || f->blind_count > PROBES_MAX_BLIND ||
            !f->one_in || f->window_permille > 1000 || (f->state == PROBES_ATTACHED && f->rung == PROBES_RUNG_NONE))
                return false;
        for (uint32_t i = 0; i < f->refused_count; i++)
                if (f->refused[i].rung >= PROBES_RUNG_N || f->refused[i].error >= 0 || !text_is_clean(f->refused[i].text, sizeof f->refused[i].text))
                        return false;
        for (uint32_t i = 0; i < f->blind_count; i++)
                if (!text_is_clean(f->blind[i], sizeof f->blind[i]))
                        return false;
        return true;
}

int probes_check(const void *data, size_t size)
{
        const struct probes_snapshot *s = data;

        if (size < sizeof *s || s->magic != PROBES_MAGIC || s->version != PROBES_VERSION || s->processes > PROBES_MAX_PROCESSES ||
            s->files > PROBES_MAX_FILES || s->uses > PROBES_MAX_USES || s->blocks > PROBES_MAX_BLOCKS || s->runners > PROBES_MAX_RUNNERS ||
            s->bytes != size || size != probes_bytes(s->processes, s->files, s->uses, s->blocks, s->runners))
                return -E_MESSAGE;
        for (size_t i = 0; i < PROBES_FAMILY_N; i++)
                if (!family_check(&s->families[i]))
                        return -E_MESSAGE;
        for (uint32_t i = 0; i < s->processes; i++) {
                const struct probes_process *p = &probes_processes(s)[i];

                if (!memchr(p->comm, 0, sizeof p->comm) || !memchr(p->cgroup, 0, sizeof p->cgroup))
                        return -E_MESSAGE;
        }
        for (uint32_t i = 0; i < s->files; i++) {
                const struct probes_file *f = &probes_files(s)[i];

                if (f->flags & ~(uint32_t)PROBES_FILE_FLAGS || !memchr(f->name, 0, sizeof f->name))
                        return -E_MESSAGE;
        }
        for (uint32_t i = 0; i < s->uses; i++) {
                const struct probes_use *u = &probes_uses(s)[i];

                if ((u->process >= s->processes && u->process != PROBES_NONE) || (u->file >= s->files && u->file != PROBES_NONE))
                        return -E_MESSAGE;
        }
        for (uint32_t i = 0; i < s->blocks; i++)
                if (probes_blocks(s)[i].kind >= PROBES_REQUEST_KINDS || !memchr(probes_blocks(s)[i].name, 0, sizeof probes_blocks(s)[i].name))
                        return -E_MESSAGE;
        for (uint32_t i = 0; i < s->runners; i++)
                if (!memchr(probes_runners(s)[i].comm, 0, sizeof probes_runners(s)[i].comm))
                        return -E_MESSAGE;
        return 0;
}

int probes_map(int fd, const struct probes_snapshot **ret)
{
        struct stat st;
        void *data;
        int seals = fcntl(fd, F_GET_SEALS);

        /* What could still change would have to be checked at each look. */
        if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) < 0 || (size_t)st.st_size < sizeof(struct probes_snapshot) ||
            (size_t)st.st_size > probes_bytes(PROBES_MAX_PROCESSES, PROBES_MAX_FILES, PROBES_MAX_USES, PROBES_MAX_BLOCKS, PROBES_MAX_RUNNERS))
                return -E_MESSAGE;
        data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED)
                return -ENOMEM;
        if (probes_check(data, (size_t)st.st_size) < 0) {
                munmap(data, (size_t)st.st_size);
                return -E_MESSAGE;
        }
        *ret = data;
        return 0;
}

void probes_unmap(const struct probes_snapshot *s)
{
        munmap((void *)(uintptr_t)s, s->bytes);
}

int probes_seal(const void *data, size_t size)
{
        int fd = memfd_create("berth-probes", MFD_CLOEXEC | MFD_ALLOW_SEALING), r = 0;

        if (fd < 0)
                return -errno;
        for (size_t at = 0; at < size && r == 0;) {
                ssize_t n = pwrite(fd, (const char *)data + at, size - at, (off_t)at);

                if (n < 0 && errno != EINTR)
                        r = -errno;
                else if (n > 0)
                        at += (size_t)n;
        }
        if (r == 0 && fcntl(fd, F_ADD_SEALS, SEALS) < 0)
                r = -errno;
        if (r < 0)
                close(fd);
        return r < 0 ? r : fd;
}

static void add(struct probes_sums *to, const struct probes_sums *from)
{
        to->opens += from->opens;
        to->closes += from->closes;
        to->reads += from->reads;
        to->writes += from->writes;
        to->read_bytes += from->read_bytes;
        to->write_bytes += from->write_bytes;
}

static void add_gpu(struct probes_gpu *to, const struct probes_gpu *from)
{
        const uint64_t *f = (const uint64_t *)from;
        uint64_t *t = (uint64_t *)to;

        for (size_t i = 0; i < sizeof *to / sizeof *t; i++)
                t[i] += f[i];
}

int probes_for_user(const struct probes_snapshot *s, uid_t uid)
{
        struct probes_snapshot *own scoped_free = calloc(1, s->bytes);
        uint32_t *process_at scoped_free = calloc(s->processes + 1, sizeof *process_at);
        uint32_t *file_at scoped_free = calloc(s->files + 1, sizeof *file_at);
        struct probes_process *processes;
        struct probes_file *files;
        struct probes_use *uses;
        struct probes_block *blocks;
        struct probes_runner *runners;

        if (!own || !process_at || !file_at)
                return -ENOMEM;
        *own = *s;
        own->processes = own->files = own->uses = own->runners = 0;
        own->left_out = 0;
        memset(&own->all_now, 0, sizeof own->all_now);
        memset(&own->all_total, 0, sizeof own->all_total);
        memset(&own->others_now, 0, sizeof own->others_now);
        memset(&own->others_total, 0, sizeof own->others_total);
        memset(&own->gpu_now, 0, sizeof own->gpu_now);
        memset(&own->gpu_total, 0, sizeof own->gpu_total);
        processes = (struct probes_process *)(void *)(own + 1);
        for (uint32_t i = 0; i < s->processes; i++) {
                const struct probes_process *p = &probes_processes(s)[i];

                process_at[i] = PROBES_NONE;
                if (p->uid != uid)
                        continue;
                process_at[i] = own->processes;
                processes[own->processes++] = *p;
                add(&own->all_now, &p->now);
                add(&own->all_total, &p->total);
                add_gpu(&own->gpu_now, &p->gpu_now);
                add_gpu(&own->gpu_total, &p->gpu_total);
        }
        /* Files that a process of the user's used, with what the user's processes did there and nobody else's. */
        memset(file_at, 0xff, (s->files + 1) * sizeof *file_at);
        files = (struct probes_file *)(void *)(processes + own->processes);
        for (uint32_t i = 0; i < s->uses; i++) {
                const struct probes_use *u = &probes_uses(s)[i];

                if (u->process == PROBES_NONE || process_at[u->process] == PROBES_NONE || u->file == PROBES_NONE)
                        continue;
                if (file_at[u->file] == PROBES_NONE) {
                        file_at[u->file] = own->files;
                        files[own->files] = probes_files(s)[u->file];
                        files[own->files].now = files[own->files].total = (struct probes_sums){0};
                        own->files++;
                }
                add(&files[file_at[u->file]].now, &u->now);
                add(&files[file_at[u->file]].total, &u->total);
        }
        uses = (struct probes_use *)(void *)(files + own->files);
        for (uint32_t i = 0; i < s->uses; i++) {
                const struct probes_use *u = &probes_uses(s)[i];

                if (u->process == PROBES_NONE || process_at[u->process] == PROBES_NONE)
                        continue;
                uses[own->uses] = *u;
                uses[own->uses].process = process_at[u->process];
                uses[own->uses++].file = u->file == PROBES_NONE ? PROBES_NONE : file_at[u->file];
        }
        blocks = (struct probes_block *)(void *)(uses + own->uses);
        for (uint32_t i = 0; i < s->blocks; i++)
                blocks[i] = probes_blocks(s)[i];
        runners = (struct probes_runner *)(void *)(blocks + s->blocks);
        for (uint32_t i = 0; i < s->runners; i++)
                if (probes_runners(s)[i].uid == uid)
                        runners[own->runners++] = probes_runners(s)[i];
        own->bytes = probes_bytes(own->processes, own->files, own->uses, own->blocks, own->runners);
        return probes_seal(own, own->bytes);
}

/* One character of valid UTF-8 in at most left bytes: its length, 0 when it is none, and its number. */
static size_t decode(const unsigned char *s, size_t left, uint32_t *ret)
{
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        size_t length = s[0] < 0x80 ? 1 : (s[0] & 0xe0) == 0xc0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : (s[0] & 0xf8) == 0xf0 ? 4 : 0;
        uint32_t c = length == 1 ? s[0] : length ? s[0] & (0x7fU >> length) : 0;

        if (!length || length > left)
                return 0;
        for (size_t i = 1; i < length; i++) {
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (s[i] & 0x3f);
        }
        if (c < least[length] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
                return 0;
        *ret = c;
        return length;
}

/* Control characters, and what is not seen or turns what is seen around. */
static bool is_visible(uint32_t c)
{
        return c >= 0x20 && !(c >= 0x7f && c < 0xa0) && c != 0xad && c != 0x61c && c != 0x180e && !(c >= 0x200b && c <= 0x200f) &&
               !(c >= 0x2028 && c <= 0x202e) && !(c >= 0x2060 && c <= 0x206f) && c != 0xfeff && !(c >= 0xfff0 && c <= 0xfffb) &&
               !(c >= 0xe0000 && c <= 0xe0fff) && (c & 0xfffe) != 0xfffe && !(c >= 0xe000 && c < 0xf900);
}

char *probes_escape(char *to, size_t size, const char *from, size_t bytes)
{
        const unsigned char *s = (const unsigned char *)from;
        size_t at = 0, end = strnlen(from, bytes);

        for (size_t i = 0; i < end;) {
                uint32_t c = 0;
                size_t length = decode(s + i, end - i, &c);
                char piece[24];
                size_t n = 0;

                if (length && is_visible(c) && c != '\\') {
                        memcpy(piece, s + i, length);
                        n = length;
                } else if (c == '\\') {
                        n = (size_t)snprintf(piece, sizeof piece, "\\\\");
                } else {
                        length = length ? length : 1;
                        for (size_t k = 0; k < length; k++)
                                n += (size_t)snprintf(piece + n, sizeof piece - n, "\\x%02x", s[i + k]);
                }
                if (at + n + 1 > size)
                        break;
                memcpy(to + at, piece, n);
                at += n;
                i += length;
        }
        if (size)
                to[at] = 0;
        return to;
}
