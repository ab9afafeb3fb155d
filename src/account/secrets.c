/* secrets.c: the file of a pool's secrets, beside its store: one secret for HMACs, the signing key and the one before. It appears whole or not at all, readable by its
 * owner only, and is never overwritten by a start. The only source of this room that does I/O.
 */
#include "account/account.h"

#include "base/fd.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define HEAD "berth-secrets 1\n"
#define TEXT_MAX 512

static int say(char message[ACCOUNT_MESSAGE], int error, const char *path, const char *what)
{
        snprintf(message, ACCOUNT_MESSAGE, "%.120s: %s", path, what);
        return error;
}

void account_secrets_wipe(struct account_secrets *secrets)
{
        sodium_memzero(secrets, sizeof(*secrets));
}

/* "NAME " and 64 digits and the line's end at *text, which moves on. */
static bool line(const char **text, const char *name, uint8_t bytes[32])
{
        size_t n = strlen(name), count = 0;

        if (strncmp(*text, name, n) || strnlen(*text, n + 66) < n + 66 || (*text)[n] != ' ' || (*text)[n + 65] != '\n')
                return false;
        if (sodium_hex2bin(bytes, 32, *text + n + 1, 64, NULL, &count, NULL) || count != 32)
                return false;
        *text += n + 66;
        return true;
}

static bool parse(const char *text, struct account_secrets *s)
{
        if (strncmp(text, HEAD, sizeof(HEAD) - 1))
                return false;
        text += sizeof(HEAD) - 1;
        if (!line(&text, "secret", s->secret) || !line(&text, "sign", s->sign_seed))
                return false;
        s->has_before = line(&text, "sign-before", s->sign_seed_before);
        return !*text;
}

static int load(const char *path, struct account_secrets *secrets, char message[ACCOUNT_MESSAGE])
{
        scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        char text[TEXT_MAX + 1];
        struct stat st;
        ssize_t n;
        bool good;

        if (fd < 0) {
                int r = -errno; /* say() may touch errno */

                return r == -ENOENT ? r : say(message, r, path, r == -ELOOP ? "is a link; the pool's secrets must be a plain file" : "can't be opened by this user");
        }
        if (fstat(fd, &st) < 0)
                return say(message, -errno, path, "can't be looked at");
        if (!S_ISREG(st.st_mode))
                return say(message, -EPERM, path, "is no plain file");
        if (st.st_uid != geteuid() || st.st_mode & 077)
                return say(message, -EPERM, path,
                           "can be read by others: make it this user's own, chmod 600, and if anybody may have read it, delete it (ends all keys and sessions)");
        n = read(fd, text, sizeof(text));
        if (n < 0)
                return say(message, -errno, path, "can't be read");
        text[n < (ssize_t)sizeof(text) ? n : 0] = '\0';
        good = memchr(text, '\0', sizeof(text)) == text + n && parse(text, secrets);
        sodium_memzero(text, sizeof(text));
        if (good)
                return 0;
        account_secrets_wipe(secrets);
        return say(message, -EBADMSG, path, "is damaged: restore it from a backup, or delete it (ends all keys and sessions; passwords stay)");
}

static void add(char text[TEXT_MAX + 1], const char *name, const uint8_t bytes[32])
{
        char hex[65];
        size_t n = strlen(text);

        snprintf(text + n, TEXT_MAX + 1 - n, "%s %s\n", name, sodium_bin2hex(hex, sizeof(hex), bytes, 32));
        sodium_memzero(hex, sizeof(hex));
}

/* Whole and durable, or not there. replace: over what is there; else -EEXIST. */
static int save(const char *path, const struct account_secrets *s, bool replace)
{
        char temporary[4096], folder[4096], text[TEXT_MAX + 1] = HEAD, *slash;
        scoped_fd int fd = -1, folder_fd = -1;
        int r = 0;

        if ((size_t)snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= sizeof(temporary))
                return -ENAMETOOLONG;
        snprintf(folder, sizeof(folder), "%s", path);
        slash = strrchr(folder, '/');
        if (slash)
                slash[slash == folder] = '\0';
        fd = mkostemp(temporary, O_CLOEXEC); /* 0600 */
        if (fd < 0)
                return -errno;
        add(text, "secret", s->secret);
        add(text, "sign", s->sign_seed);
        if (s->has_before)
                add(text, "sign-before", s->sign_seed_before);
        if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
                r = errno ? -errno : -ENOSPC;
        else if (fsync(fd) < 0 || (replace ? rename(temporary, path) : link(temporary, path)) < 0)
                r = -errno;
        sodium_memzero(text, sizeof(text));
        if (!replace || r)
                unlink(temporary);
        folder_fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (!r && (folder_fd < 0 || fsync(folder_fd) < 0))
                r = -errno;
        return r;
}

int account_secrets_read(const char *path, struct account_secrets *ret_secrets, char message[ACCOUNT_MESSAGE])
{
        struct account_secrets s = {0};
        int r = sodium_init() < 0 ? -EIO : load(path, &s, message);

        if (r == -ENOENT) {
                randombytes_buf(s.secret, sizeof(s.secret));
                randombytes_buf(s.sign_seed, sizeof(s.sign_seed));
                r = save(path, &s, false);
                if (r == -EEXIST) { /* another process was faster */
                        account_secrets_wipe(&s);
                        r = load(path, &s, message);
                } else if (r < 0) {
                        say(message, r, path, "can't be made: is the folder there, writable, and the disk not full?");
                }
        }
        if (!r)
                *ret_secrets = s;
        account_secrets_wipe(&s);
        return r;
}

int account_secrets_rotate(const char *path, struct account_secrets *ret_secrets, char message[ACCOUNT_MESSAGE])
{
        struct account_secrets s = {0};
        int r = sodium_init() < 0 ? -EIO : load(path, &s, message);

        if (r == -ENOENT)
                say(message, r, path, "does not exist: start the pool once");
        if (r < 0)
                return r;
        memcpy(s.sign_seed_before, s.sign_seed, sizeof(s.sign_seed));
        randombytes_buf(s.sign_seed, sizeof(s.sign_seed));
        s.has_before = true;
        r = save(path, &s, true);
        if (r < 0)
                say(message, r, path, "can't be replaced: is the folder writable, and the disk not full?");
        else
                *ret_secrets = s;
        account_secrets_wipe(&s);
        return r;
}
