/* chat-history.c: see chat-history.h. */
#include "cli/chat-history.h"

#include "base/fd.h"
#include "base/folder.h"
#include "base/strbuf.h"
#include "cli/chat-draft.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES (64u << 20) /* what is read of a file: nobody typed more than that */

int chat_history_path(char *path, size_t size)
{
        const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
        int n;

        if (state && state[0] == '/')
                n = snprintf(path, size, "%s/berth/chat-history", state);
        else if (home && home[0] == '/')
                n = snprintf(path, size, "%s/.local/state/berth/chat-history", home);
        else
                return -ENOENT;
        return (size_t)n < size ? 0 : -ENAMETOOLONG;
}

/* The whole file, or its end when it is larger than anything that we wrote. */
static int read_all(const char *path, struct strbuf *b)
{
        scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        struct stat st;
        ssize_t n;

        if (fd < 0)
                return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        if (st.st_size > FILE_BYTES && lseek(fd, st.st_size - FILE_BYTES, SEEK_SET) < 0)
                return -errno;
        do {
                if (!strbuf_reserve(b, 65536))
                        return -ENOMEM;
                n = read(fd, b->text + b->length, 65536);
                if (n > 0)
                        b->text[b->length += (size_t)n] = '\0';
        } while ((n > 0 && b->length <= FILE_BYTES) || (n < 0 && errno == EINTR));
        return n < 0 ? -errno : 0;
}

/* Where the last `wanted` lines of text begin. */
static const char *last_lines(const struct strbuf *b, size_t wanted, size_t *ret_lines)
{
        size_t lines = 0;
        const char *begin = b->text, *at = b->text;

        for (size_t i = 0; i < b->length; i++)
                lines += b->text[i] == '\n';
        *ret_lines = lines;
        for (; lines > wanted; lines--) {
                at = memchr(at, '\n', b->length - (size_t)(at - b->text));
                begin = ++at;
        }
        return begin;
}

/* Replaces the file as a whole: a reader finds the old one or the new one. */
static void shorten(const char *path, const char *begin, size_t length)
{
        char fresh[4096];
        int fd;

        if ((size_t)snprintf(fresh, sizeof fresh, "%s.XXXXXX", path) >= sizeof fresh)
                return;
        fd = mkostemp(fresh, O_CLOEXEC);
        if (fd < 0)
                return;
        if (write(fd, begin, length) != (ssize_t)length || rename(fresh, path) < 0)
                unlink(fresh);
        close(fd);
}

int chat_history_load(const char *path, void (*fn)(void *context, const char *text), void *context)
{
        scoped(strbuf_done) struct strbuf b = {0};
        const char *line, *end, *last;
        int r = read_all(path, &b);
        size_t lines;

        if (r < 0 || !b.length)
                return r;
        line = last_lines(&b, CHAT_HISTORY_LINES, &lines);
        if (lines > (size_t)2 * CHAT_HISTORY_LINES)
                shorten(path, line, b.length - (size_t)(line - b.text));
        last = b.text + b.length;
        for (; (end = memchr(line, '\n', (size_t)(last - line))); line = end + 1) {
                json_t *text = (size_t)(end - line) <= (size_t)6 * CHAT_MESSAGE_BYTES ? json_loadb(line, (size_t)(end - line), JSON_DECODE_ANY, NULL) : NULL;

                if (json_string_length(text))
                        fn(context, json_string_value(text));
                json_decref(text);
        }
        return 0;
}

int chat_history_add(const char *path, const char *text)
{
        json_t *value = json_string(text);
        char *line scoped_free = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
        char folder[4096], *slash;
        scoped(strbuf_done) struct strbuf b = {0};
        scoped_fd int fd = -1;
        int r;

        json_decref(value);
        if (!line)
                return -EILSEQ;
        if ((size_t)snprintf(folder, sizeof folder, "%s", path) >= sizeof folder || !(slash = strrchr(folder, '/')))
                return -ENAMETOOLONG;
        *slash = '\0';
        r = folder_make(folder, 0700, 0700);
        if (r < 0)
                return r;
        strbuf_add(&b, "%s\n", line);
        if (b.failed)
                return -ENOMEM;
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
        if (fd < 0 || write(fd, b.text, b.length) < 0)
                return -errno;
        return 0;
}
