/* engines-start.c: one engine's command line, environment, port and key, and the fork of its keeper; see engines.h. */
#include "worker/engines-internal.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/installed.h"
#include "base/text.h"
#include "worker/describe.h"
#include "worker/keeper.h"

#define LOG_ROOM "engines"
#include "base/log.h"

#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS (CATALOGUE_WORDS + 32)

extern char **environ;

void engines_file(const struct engines *e, const struct catalogue_entry *entry, char path[PATH_MAX])
{
        path[0] = 0;
        if (entry->file[0])
                snprintf(path, PATH_MAX, "%.2000s%s%.2048s", entry->file[0] == '/' ? "" : e->folder, entry->file[0] == '/' ? "" : "/", entry->file);
}

void engines_revise(const struct engines *e, struct engines_slot *s)
{
        char path[PATH_MAX], before[CONFIG_TEXT];
        struct stat st = {0};

        engines_file(e, &s->entry, path);
        if (path[0] && stat(path, &st) < 0)
                st = (struct stat){0};
        memcpy(before, s->revision, sizeof before);
        catalogue_revision(&s->entry, (uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec, s->revision);
        if (strcmp(before, s->revision) != 0)
                s->engine.version++;
}

/* A port that is free now. It may be taken when the engine comes for it: then the engine ends, and the next try has another. */
static int free_port(const char *address, uint32_t *ret)
{
        const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
        struct sockaddr_storage at = {0};
        socklen_t bytes = sizeof at;
        scoped_fd int fd = -1;
        struct addrinfo *list;
        char port[16];
        int r = 0;

        if (getaddrinfo(address, "0", &hints, &list) != 0)
                return -EINVAL;
        fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, list->ai_addr, list->ai_addrlen) < 0 || getsockname(fd, (struct sockaddr *)&at, &bytes) < 0)
                r = -errno;
        freeaddrinfo(list);
        if (r < 0)
                return r;
        if (getnameinfo((struct sockaddr *)&at, bytes, NULL, 0, port, sizeof port, NI_NUMERICSERV) != 0)
                return -EINVAL;
        *ret = (uint32_t)strtoul(port, NULL, 10);
        return 0;
}

/* ---- its environment ------------------------------------------------------------------------------------------------------ */

/* What an engine may have of the worker's: where things are, which devices; not who the worker is towards its pool. */
static bool passes(const char *variable)
{
        static const char *const names[] = {"PATH=", "HOME=", "USER=", "LOGNAME=", "SHELL=", "LANG=", "TZ=", "TMPDIR=", "LD_LIBRARY_PATH=", "BERTH_SOFTWARE_DIR=", "PYTHONPATH=", "VIRTUAL_ENV="};
        static const char *const beginnings[] = {"LC_", "XDG_", "CUDA_", "NVIDIA_", "NCCL_", "HF_", "HUGGING", "TRANSFORMERS_", "VLLM_", "SGLANG_", "LLAMA_", "GGML_", "OMP_", "PYTORCH_", "TORCH_",
                                                 "http_proxy=", "https_proxy=", "no_proxy=", "HTTP_PROXY=", "HTTPS_PROXY=", "NO_PROXY=", "ASAN_", "UBSAN_", "LSAN_", "TSAN_"};

        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                if (!strncmp(variable, names[i], strlen(names[i])))
                        return true;
        for (size_t i = 0; i < ARRAY_SIZE(beginnings); i++)
                if (!strncmp(variable, beginnings[i], strlen(beginnings[i])))
                        return true;
        return false;
}

static void add(struct strbuf *b, const char *name, const char *value)
{
        strbuf_add(b, "%s=%s", name, value);
        strbuf_put(b, "", 1);
}

/* The entry's own, with the port put in. */
static void add_own(struct strbuf *b, const char *list, const char *port)
{
        while (*list) {
                size_t n = strcspn(list, "\n");
                const char *place;

                for (const char *at = list; at < list + n; at = place) {
                        place = strstr(at, "{port}");
                        place = place && place < list + n ? place : list + n;
                        strbuf_put(b, at, (size_t)(place - at));
                        if (place < list + n) {
                                strbuf_put(b, port, strlen(port));
                                place += 6;
                        }
                }
                strbuf_put(b, "", 1);
                list += n + (list[n] == '\n');
        }
}

/* Strings one after the other, and a list of them in *ret, which points into them. */
static int environment(const struct engines *e, const struct engines_slot *s, const char *socket, struct strbuf *b, char ***ret)
{
        static const char *const keys[] = {"BERTH_ENGINE_KEY", "VLLM_API_KEY", "LLAMA_API_KEY"};
        char number[16], **list;
        size_t count = 0, at = 0;

        for (char **v = environ; *v; v++)
                if (passes(*v))
                        strbuf_put(b, *v, strlen(*v) + 1);
        snprintf(number, sizeof number, "%u", s->port);
        add(b, "BERTH_ENGINE_PORT", number);
        add(b, "BERTH_ENGINE_HOST", e->options.address);
        add(b, "BERTH_ENGINE_MODEL", s->entry.name);
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
                add(b, keys[i], s->key);
        if (socket)
                add(b, "BERTH_SOCKET", socket);
        add_own(b, s->entry.environment, number);
        if (b->failed)
                return -ENOMEM;
        for (size_t i = 0; i < b->length; i++)
                count += !b->text[i];
        list = malloc((count + 1) * sizeof *list);
        if (!list)
                return -ENOMEM;
        for (size_t i = 0; i < count; i++) {
                list[i] = b->text + at;
                at += strlen(list[i]) + 1;
        }
        list[count] = NULL;
        *ret = list;
        return 0;
}

/* ---- its command line ------------------------------------------------------------------------------------------------------ */

struct command {
        const char *words[WORDS + 1];
        size_t count;
        char **split; /* words of the entry's command */
        char port[16], context[24], parallel[24], need[32], server[PATH_MAX], file[PATH_MAX];
};

static void word(struct command *c, const char *text)
{
        if (c->count < WORDS)
                c->words[c->count++] = text;
}

static int compose(const struct engines *e, const struct engines_slot *s, bool gated, struct command *c, char why[ENGINE_TEXT])
{
        const struct catalogue_entry *entry = &s->entry;
        char message[CONFIG_MESSAGE];

        snprintf(c->port, sizeof c->port, "%u", s->port);
        engines_file(e, entry, c->file);
        if (c->file[0] && access(c->file, R_OK) < 0)
                return snprintf(why, ENGINE_TEXT, "its file %.180s: %s", c->file, strerror(errno)), -ENOENT;
        if (gated) {
                snprintf(c->need, sizeof c->need, "%llu", (unsigned long long)entry->memory);
                word(c, e->options.berth);
                word(c, "run");
                word(c, "--quiet");
                word(c, "--job");
                word(c, s->job);
                word(c, "--need");
                word(c, c->need);
                if (strcmp(entry->device, "all") != 0) {
                        word(c, "--device");
                        word(c, entry->device);
                }
                word(c, "--");
        }
        if (entry->kind == CATALOGUE_COMMAND) {
                const struct catalogue_values values = {.port = c->port, .host = e->options.address, .file = c->file, .folder = e->folder};

                c->split = catalogue_argv(entry, &values, message);
                if (!c->split)
                        return snprintf(why, ENGINE_TEXT, "%.200s", message), -EINVAL;
                for (char **w = c->split; *w; w++)
                        word(c, *w);
        } else {
                if (installed_find("engines/llama/server.mjs", c->server, sizeof c->server) < 0)
                        return snprintf(why, ENGINE_TEXT, "the llama engine is not installed (no engines/llama/server.mjs)"), -ENOENT;
                snprintf(c->context, sizeof c->context, "%llu", (unsigned long long)entry->context);
                snprintf(c->parallel, sizeof c->parallel, "%llu", (unsigned long long)entry->parallel);
                {
                        const char *const words[] = {"node", c->server, "--model", c->file, "--host", e->options.address, "--port", c->port, "--context", c->context, "--parallel", c->parallel,
                                                     "--name", entry->name};

                        for (size_t i = 0; i < ARRAY_SIZE(words); i++)
                                word(c, words[i]);
                }
        }
        c->words[c->count] = NULL;
        return 0;
}

static int new_key(char key[ENGINES_KEY])
{
        uint8_t random[16];

        if (getrandom(random, sizeof random, 0) != sizeof random)
                return -EIO;
        for (size_t i = 0; i < sizeof random; i++)
                snprintf(key + 2 * i, 3, "%02x", random[i]);
        return 0;
}

/* FOLDER/engines/NAME.log, with '/' as '%'. */
static void log_path(const struct engines *e, const char *name, char path[PATH_MAX])
{
        char file[CATALOGUE_NAME];

        snprintf(file, sizeof file, "%s", name);
        for (char *p = file; *p; p++)
                if (*p == '/')
                        *p = '%';
        snprintf(path, PATH_MAX, "%.3900s/%s.log", e->logs, file);
}

static int fork_keeper(struct engines *e, struct engines_slot *s, const struct keeper_orders *orders)
{
        int pair[2], error;
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        pid = fork();
        if (!pid)
                keeper_main(orders, pair[1]);
        error = errno;
        close(pair[1]);
        if (pid < 0) {
                close(pair[0]);
                return -error;
        }
        s->pid = pid;
        s->fd = pair[0];
        s->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        s->how[0] = 0;
        s->hopeless = false;
        if (s->pidfd >= 0 && engines_follow(e, s) >= 0)
                return 0;
        error = errno;
        fd_close_at(&s->fd); /* it ends with this */
        fd_close_at(&s->pidfd);
        waitpid(pid, NULL, 0);
        s->pid = 0;
        return -error;
}

int engines_start(struct engines *e, struct engines_slot *s, char why[ENGINE_TEXT])
{
        struct strbuf variables __attribute__((cleanup(strbuf_done_at))) = {0};
        struct command *c scoped_free = calloc(1, sizeof *c);
        char **list scoped_free = NULL, log[PATH_MAX], socket[256] = "";
        bool v6 = strchr(e->options.address, ':'), gated;
        int r;

        if (!c)
                return snprintf(why, ENGINE_TEXT, "out of memory"), -ENOMEM;
        gated = s->entry.memory && e->options.berth[0] && node_link_find(socket, sizeof socket) == 0;
        s->port = (uint32_t)s->entry.port;
        r = s->port ? 0 : free_port(e->options.address, &s->port);
        r = r < 0 ? r : new_key(s->key);
        if (r < 0)
                return snprintf(why, ENGINE_TEXT, "no port at %.100s: %.100s", e->options.address, error_text(r)), r;
        snprintf(s->address, sizeof s->address, "http://%s%s%s:%u", v6 ? "[" : "", e->options.address, v6 ? "]" : "", s->port);
        snprintf(s->job, sizeof s->job, "%.24s.%u.%u", s->entry.name, (unsigned int)getpid(), s->index);
        s->gated = gated;
        engines_revise(e, s);
        r = compose(e, s, gated, c, why);
        if (r >= 0) {
                r = environment(e, s, socket[0] ? socket : NULL, &variables, &list);
                if (r >= 0) {
                        const struct keeper_orders orders = {.argv = (char *const *)c->words, .environment = list, .folder = e->folder, .log = log, .log_bytes = e->options.log_bytes};

                        log_path(e, s->entry.name, log);
                        r = fork_keeper(e, s, &orders);
                }
                if (r < 0)
                        snprintf(why, ENGINE_TEXT, "can't start a process: %s", error_text(r));
        }
        free(c->split);
        if (r >= 0)
                log_info("%s: started%s, port %u; its output is in %s", s->entry.name, gated ? " under `berth run'" : "", s->port, log);
        return r;
}
