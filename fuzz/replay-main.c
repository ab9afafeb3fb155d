/* replay-main.c: runs a fuzz target over files, without a fuzzer: the corpus is a test on every machine.
 *
 * usage: replay-TARGET FILE-OR-FOLDER …
 *
 * Each input is run whole and cut short at a few places, from a block of exactly its size so that the address sanitizer
 * sees a read beyond the end.
 */
#include "base/scope.h"
#include "fuzz.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#define LARGEST (1 << 20)

static unsigned int inputs;

static void run(const uint8_t *data, size_t size)
{
        uint8_t *exact = malloc(size ? size : 1);

        if (!exact)
                abort();
        memcpy(exact, data, size);
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
}

static int replay(const char *path, int depth)
{
        uint8_t *data scoped_free = NULL;
        struct stat st;
        size_t size;
        FILE *file;

        if (stat(path, &st) < 0) {
                perror(path);
                return 1;
        }
        if (S_ISDIR(st.st_mode)) {
                struct dirent **names;
                int count = depth ? 0 : scandir(path, &names, NULL, alphasort), failed = count < 0;

                for (int i = 0; i < count; i++) {
                        char inside[4096];

                        snprintf(inside, sizeof inside, "%s/%s", path, names[i]->d_name);
                        if (names[i]->d_name[0] != '.')
                                failed |= replay(inside, depth + 1);
                        free(names[i]);
                }
                if (!depth && count >= 0)
                        free(names);
                return failed;
        }
        file = fopen(path, "re");
        data = malloc(LARGEST);
        if (!file || !data) {
                perror(path);
                return 1;
        }
        size = fread(data, 1, LARGEST, file);
        fclose(file);
        run(data, size);
        for (size_t cut = size / 2; cut; cut /= 2)
                run(data, size - cut);
        inputs++;
        return 0;
}

int main(int argc, char **argv)
{
        int failed = 0;

        for (int i = 1; i < argc; i++)
                failed |= replay(argv[i], 0);
        printf("%u inputs\n", inputs);
        return failed || !inputs;
}
