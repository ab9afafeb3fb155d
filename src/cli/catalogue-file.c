/* catalogue-file.c: reads models.conf and replaces it atomically; see catalogue-file.h. */
#include "cli/catalogue-file.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/installed.h"
#include "cli/pool-client.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

int catalogue_file_find(char *path, size_t size)
{
        char folder[420];
        int r = pool_folder(folder, sizeof folder);

        return r < 0 ? r : snprintf(path, size, "%s/models.conf", folder) < (int)size ? 0 : -ENAMETOOLONG;
}

static int say(char message[CONFIG_MESSAGE], const char *path, int error)
{
        snprintf(message, CONFIG_MESSAGE, "%.300s: %s", path, error_text(error));
        return error;
}

static int read_text(const char *path, struct strbuf *b, mode_t *ret_mode, char message[CONFIG_MESSAGE])
{
        scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        struct stat st;
        ssize_t n;

        if (fd < 0)
                return errno == ENOENT ? 0 : say(message, path, -errno);
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return say(message, path, S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL);
        *ret_mode = st.st_mode & 07777;
        do {
                if (!strbuf_reserve(b, 65536))
                        return say(message, path, -ENOMEM);
                n = read(fd, b->text + b->length, 65536);
                if (n < 0)
                        return say(message, path, -errno);
                b->length += (size_t)n;
        } while (n && b->length <= CATALOGUE_BYTES);
        return 0;
}

int catalogue_file_read(const char *path, struct catalogue *ret, char message[CONFIG_MESSAGE])
{
        struct strbuf text __attribute__((cleanup(strbuf_done_at))) = {0};
        mode_t mode;
        int r = read_text(path, &text, &mode, message);

        return r < 0 ? r : catalogue_parse(text.text ? text.text : "", text.length, path, ret, message);
}

static int write_text(const char *path, const struct strbuf *b, mode_t mode, char message[CONFIG_MESSAGE])
{
        char fresh[520];
        int fd, r = 0;

        snprintf(fresh, sizeof fresh, "%.500s.new", path);
        (void)unlink(fresh);
        fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
        if (fd < 0)
                return say(message, fresh, -errno);
        if ((b->length && write(fd, b->text, b->length) != (ssize_t)b->length) || fchmod(fd, mode) < 0 || fsync(fd) < 0 || rename(fresh, path) < 0)
                r = say(message, fresh, errno ? -errno : -EIO);
        close(fd);
        if (r < 0)
                (void)unlink(fresh);
        return r;
}

/* Two that change it at the same time do so one after the other: the folder is locked. */
static int lock(const char *path, char message[CONFIG_MESSAGE])
{
        const char *slash = strrchr(path, '/');
        char folder[500];
        int fd;

        snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
        fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || flock(fd, LOCK_EX) < 0) {
                int error = -errno;

                fd_close_at(&fd);
                return say(message, folder, error);
        }
        return fd;
}

int catalogue_file_add(const char *path, const char *name, const struct catalogue_setting *settings, size_t count, char message[CONFIG_MESSAGE])
{
        struct strbuf before __attribute__((cleanup(strbuf_done_at))) = {0}, after __attribute__((cleanup(strbuf_done_at))) = {0};
        scoped_fd int held = lock(path, message);
        mode_t mode = 0600;
        int r = held < 0 ? held : read_text(path, &before, &mode, message);

        r = r < 0 ? r : catalogue_add(before.text ? before.text : "", before.length, path, name, settings, count, &after, message);
        return r < 0 ? r : write_text(path, &after, mode, message);
}

int catalogue_file_remove(const char *path, const char *name, char message[CONFIG_MESSAGE])
{
        struct strbuf before __attribute__((cleanup(strbuf_done_at))) = {0}, after __attribute__((cleanup(strbuf_done_at))) = {0};
        scoped_catalogue struct catalogue c = {0};
        scoped_fd int held = lock(path, message);
        mode_t mode = 0600;
        int r = held < 0 ? held : read_text(path, &before, &mode, message);

        r = r < 0 ? r : catalogue_parse(before.text ? before.text : "", before.length, path, &c, message);
        r = r < 0 ? r : catalogue_remove(before.text ? before.text : "", before.length, name, &after);
        if (r == -ENOENT)
                snprintf(message, CONFIG_MESSAGE, "%.300s: there is no [model %s]", path, name);
        return r < 0 ? r : write_text(path, &after, mode, message);
}

int catalogue_file_first(const char *path, char message[CONFIG_MESSAGE])
{
        static const char heading[] = "# The models that this machine serves: docs/engines.md tells what may stand here, `berth models add' adds one.\n"
                                      "# The worker notices changes by itself.\n";
        struct strbuf text __attribute__((cleanup(strbuf_done_at))) = {0};
        char model[400], server[400];
        struct stat st;

        if (lstat(path, &st) == 0)
                return 0;
        strbuf_add(&text, "%s", heading);
        if (installed_find("models/berth-tiny.gguf", model, sizeof model) == 0 && installed_find("engines/llama/server.mjs", server, sizeof server) == 0 &&
            installed_find("engines/llama/node_modules/node-llama-cpp", server, sizeof server) == 0)
                strbuf_add(&text, "\n# Small enough for any machine; what it writes is modest.\n[model berth-tiny]\nkind = llama\nfile = %s\ncontext = 2048\nalways = yes\n", model);
        return text.failed ? say(message, path, -ENOMEM) : write_text(path, &text, 0600, message);
}
