/* files-crowd.c: many threads on the same files at the same time, and what they did to each; to be compared with what probes counted.
 *
 * usage: files-crowd FOLDER THREADS FILES SWEEPS
 *
 * In each sweep all threads begin together and write one byte to each file and read two, in the same order: so two of them are often the first on a file at once.
 * Lines as files.c prints them: NAME INODE OPENS CLOSES READS WRITES READ_BYTES WRITE_BYTES.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST 4096

static int fds[MOST];
static long threads, files, sweeps;
static pthread_barrier_t together;

static void die(const char *what)
{
        fprintf(stderr, "files-crowd: %s: %s\n", what, strerror(errno));
        exit(1);
}

static void *sweep(void *unused)
{
        char two[2];

        for (long i = 0; i < sweeps; i++) {
                pthread_barrier_wait(&together);
                for (long k = 0; k < files; k++)
                        if (pwrite(fds[k], "x", 1, 2) != 1 || pread(fds[k], two, 2, 0) != 2)
                                die("a write of one byte or a read of two");
        }
        return unused;
}

int main(int argc, char **argv)
{
        pthread_t all[64];
        struct stat st;

        threads = argc == 5 ? atol(argv[2]) : 0;
        files = argc == 5 ? atol(argv[3]) : 0;
        sweeps = argc == 5 ? atol(argv[4]) : 0;
        if (threads < 1 || threads > 64 || files < 1 || files > MOST || sweeps < 1) {
                fputs("usage: files-crowd FOLDER THREADS FILES SWEEPS\n", stderr);
                return 2;
        }
        if (chdir(argv[1]) < 0)
                die(argv[1]);
        for (long i = 0; i < files; i++) {
                char name[16];

                snprintf(name, sizeof name, "%ld", i);
                fds[i] = open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
                if (fds[i] < 0 || write(fds[i], "abc", 3) != 3)
                        die(name);
        }
        if (pthread_barrier_init(&together, NULL, (unsigned)threads))
                die("barrier");
        for (long i = 0; i < threads; i++)
                if (pthread_create(&all[i], NULL, sweep, NULL))
                        die("thread");
        for (long i = 0; i < threads; i++)
                pthread_join(all[i], NULL);
        for (long i = 0; i < files; i++) {
                if (fstat(fds[i], &st) < 0 || close(fds[i]) < 0)
                        die("close");
                printf("%ld %lu 1 1 %ld %ld %ld %ld\n", i, (unsigned long)st.st_ino, threads * sweeps, threads * sweeps + 1, 2 * threads * sweeps, threads * sweeps + 3);
        }
        return 0;
}
