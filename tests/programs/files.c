/* files.c: uses files in every way that probes count, and prints what it did to which, to be compared with what they counted.
 *
 * usage: files FOLDER [UNTIL]     UNTIL: a file whose coming ends the program; else it ends at once
 *
 * One file for each way, so that a kind of probe that can't see one way is still exact on the others. Each line of the output:
 * NAME INODE OPENS CLOSES READS WRITES READ_BYTES WRITE_BYTES. Short reads, an end of file, calls that fail and a pipe, a socket and a folder are in it, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *folder;
static char buffer[65536];

struct counts {
        uint64_t opens, closes, reads, writes, read_bytes, write_bytes;
};

static void die(const char *what)
{
        fprintf(stderr, "files: %s: %s\n", what, strerror(errno));
        exit(1);
}

static int open_file(const char *name, struct counts *c)
{
        char path[4096];
        int fd;

        snprintf(path, sizeof path, "%s/%s", folder, name);
        fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        if (fd < 0)
                die(path);
        c->opens++;
        return fd;
}

static void did_read(struct counts *c, ssize_t n, ssize_t expected)
{
        if (n != expected)
                die("a read of another length");
        c->reads++;
        c->read_bytes += (uint64_t)n;
}

static void did_write(struct counts *c, ssize_t n, ssize_t expected)
{
        if (n != expected)
                die("a write of another length");
        c->writes++;
        c->write_bytes += (uint64_t)n;
}

static void end_file(const char *name, int fd, struct counts *c)
{
        struct stat st;

        if (fstat(fd, &st) < 0 || close(fd) < 0)
                die(name);
        c->closes++;
        printf("%s %llu %llu %llu %llu %llu %llu %llu\n", name, (unsigned long long)st.st_ino, (unsigned long long)c->opens,
               (unsigned long long)c->closes, (unsigned long long)c->reads, (unsigned long long)c->writes,
               (unsigned long long)c->read_bytes, (unsigned long long)c->write_bytes);
}

static void plain(void)
{
        struct counts c = {0};
        char path[4096];
        int fd = open_file("plain", &c), other;

        did_write(&c, write(fd, buffer, 10000), 10000);
        did_write(&c, pwrite(fd, buffer, 1, 20000), 1);
        did_write(&c, write(fd, buffer, 0), 0);
        did_read(&c, pread(fd, buffer, 65536, 10000), 10001); /* short */
        did_read(&c, pread(fd, buffer, 100, 1 << 20), 0);     /* the end */
        did_read(&c, pread(fd, buffer, 11, 5), 11);
        for (int i = 0; i < 1000; i++)
                did_read(&c, pread(fd, buffer, 7, 0), 7);
        /* What fails counts nothing. */
        if (pread(fd, buffer, 1, -1) >= 0 || read(-1, buffer, 1) >= 0 || syscall(SYS_write, fd, 8, 1) >= 0)
                die("a call that had to fail");
        /* The same file through another descriptor, and by another way of opening. */
        other = dup(fd);
        did_read(&c, pread(other, buffer, 3, 0), 3);
        if (close(other) < 0)
                die("close");
        c.closes++;
        snprintf(path, sizeof path, "%s/plain", folder);
        other = creat(path, 0600); /* empties it */
        if (other < 0)
                die("creat");
        c.opens++;
        did_write(&c, write(other, buffer, 5), 5);
        if (close(other) < 0)
                die("close");
        c.closes++;
        end_file("plain", fd, &c);
}

static void vectors(void)
{
        struct iovec v[3] = {{buffer, 10}, {buffer + 100, 20}, {buffer + 200, 47}};
        struct counts c = {0};
        int fd = open_file("vectors", &c);

        did_write(&c, writev(fd, v, 3), 77);
        did_write(&c, pwritev(fd, v, 2, 100), 30);
        did_write(&c, pwritev2(fd, v, 1, 200, 0), 10);
        did_read(&c, preadv(fd, v, 3, 0), 77);
        did_read(&c, preadv2(fd, v, 3, 190, 0), 20); /* short */
        did_read(&c, readv(fd, v, 2), 30);
        end_file("vectors", fd, &c);
}

/* From a file to a file within the kernel. */
static void moved(const char *from_name, const char *to_name, int way)
{
        struct counts from = {0}, to = {0};
        int in = open_file(from_name, &from), out = open_file(to_name, &to), ends[2];
        off_t zero = 0;

        did_write(&from, write(in, buffer, 5000), 5000);
        if (way == 0) {
                did_read(&from, sendfile(out, in, &zero, 9999), 5000);
                did_write(&to, 5000, 5000);
        } else if (way == 1) {
                did_read(&from, copy_file_range(in, &zero, out, NULL, 3000, 0), 3000);
                did_write(&to, 3000, 3000);
        } else {
                if (pipe(ends) < 0)
                        die("pipe");
                did_read(&from, splice(in, &zero, ends[1], NULL, 2000, 0), 2000);
                did_write(&to, splice(ends[0], NULL, out, NULL, 2000, 0), 2000);
                close(ends[0]);
                close(ends[1]);
        }
        end_file(from_name, in, &from);
        end_file(to_name, out, &to);
}

static void not_files(void)
{
        int ends[2], pair[2], fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0 || pipe(ends) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
                die("what is no file");
        for (int i = 0; i < 100; i++)
                if (write(ends[1], buffer, 50) != 50 || read(ends[0], buffer, 99) != 50 || write(pair[0], buffer, 50) != 50 ||
                    read(pair[1], buffer, 99) != 50)
                        die("what is no file");
        close(fd);
        close(ends[0]);
        close(ends[1]);
        close(pair[0]);
        close(pair[1]);
}

/* One request at a time through io_uring; false: not to be had here. */
static bool ring(void)
{
        struct io_uring_params p = {0};
        struct counts c = {0};
        int fd, r = (int)syscall(SYS_io_uring_setup, 4, &p);
        uint8_t *sq, *cq;
        struct io_uring_sqe *sqes;
        static const struct {
                uint8_t op;
                uint32_t bytes;
                uint64_t at;
        } steps[] = {{IORING_OP_WRITE, 4000, 0}, {IORING_OP_WRITE, 100, 4000}, {IORING_OP_READ, 65536, 0}, {IORING_OP_READ, 10, 1 << 20}};

        if (r < 0)
                return false;
        sq = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, r, IORING_OFF_SQ_RING);
        cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED, r, IORING_OFF_CQ_RING);
        sqes = mmap(NULL, p.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED, r, IORING_OFF_SQES);
        if (sq == MAP_FAILED || cq == MAP_FAILED || sqes == MAP_FAILED)
                die("io_uring");
        fd = open_file("ring", &c);
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
                uint32_t *tail = (uint32_t *)(void *)(sq + p.sq_off.tail), *array = (uint32_t *)(void *)(sq + p.sq_off.array);
                uint32_t *head = (uint32_t *)(void *)(cq + p.cq_off.head);
                uint32_t slot = *tail & (p.sq_entries - 1);
                struct io_uring_cqe *cqe;

                memset(&sqes[slot], 0, sizeof *sqes);
                sqes[slot].opcode = steps[i].op;
                sqes[slot].fd = fd;
                sqes[slot].addr = (uint64_t)(uintptr_t)buffer;
                sqes[slot].len = steps[i].bytes;
                sqes[slot].off = steps[i].at;
                array[slot] = slot;
                __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
                if (syscall(SYS_io_uring_enter, r, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
                        die("io_uring_enter");
                cqe = &((struct io_uring_cqe *)(void *)(cq + p.cq_off.cqes))[*head & (p.cq_entries - 1)];
                if (steps[i].op == IORING_OP_WRITE)
                        did_write(&c, cqe->res, (ssize_t)steps[i].bytes);
                else
                        did_read(&c, cqe->res, i == 2 ? 4100 : 0);
                __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
        }
        close(r);
        end_file("ring", fd, &c);
        return true;
}

int main(int argc, char **argv)
{
        if (argc < 2) {
                fputs("usage: files FOLDER [UNTIL]\n", stderr);
                return 2;
        }
        folder = argv[1];
        /* Into a file of the test's; one write at the end, so that it is not among what is counted on the way. */
        setvbuf(stdout, NULL, _IOFBF, 1 << 16);
        plain();
        vectors();
        moved("send-from", "send-to", 0);
        moved("copy-from", "copy-to", 1);
        moved("splice-from", "splice-to", 2);
        not_files();
        if (!ring())
                puts("# no io_uring");
        fflush(stdout);
        while (argc > 2 && access(argv[2], F_OK) < 0)
                usleep(10000);
        return 0;
}
