/* sweep.c: what is kept long enough goes: rows whose time is over, every minute and a bounded number at once, and the logs of tasks that went with them. A task
 * that ended is kept for options.keep_ms; one that has not is never touched. */
#include "base/fd.h"
#include "service/internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define SWEPT_AT_ONCE 1000
#define LOGS_AT_ONCE 256
#define LOGS_MS (10 * 60000)
#define LOG_NAME 64 /* "task_", 32 digits, ".", attempt, ".log" */

int64_t sweep_until(const struct service *s, uint32_t state)
{
        return s->options.keep_ms && state >= STORE_TASK_ENDED ? s->unix_ms + (int64_t)s->options.keep_ms : 0;
}

static void rows_call(void *context, struct store *store)
{
        static const enum store_table tables[] = {STORE_ANSWER, STORE_WORKER, STORE_FEED, STORE_SESSION, STORE_USAGE, STORE_TASK};
        const struct service *s = context;
        uint64_t count;

        for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
                if (store_sweep(store, tables[i], s->sweep_unix_ms, SWEPT_AT_ONCE, &count) < 0)
                        return;
}

static void rows_done(struct service *s, void *context, int error)
{
        s->sweeping = false;
}

static void sweep_rows(struct service *s)
{
        struct operation *op;
        uint64_t number;

        pending_flush(s);
        s->sweep_unix_ms = s->unix_ms;
        if (s->sweeping || s->pending_count || writer_call(s->writer, rows_call, s, &number) < 0)
                return;
        s->batch = number + 1;
        s->sweeping = true;
        op = operation_add(s, OPERATION_CALL);
        op->call = rows_done;
}

/* Logs: found by their age in another thread, removed here, where it is known which tasks have not ended. */

struct log_job {
        struct job job;
        int64_t before_s;
        char folder[400];
        struct {
                char account[ID_TEXT], name[LOG_NAME];
        } found[LOGS_AT_ONCE];
        size_t count;
};

static void look_into(struct log_job *j, int logs, const char *account)
{
        int fd = openat(logs, account, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        DIR *folder = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;
        struct stat st;

        if (!folder) {
                fd_close_at(&fd);
                return;
        }
        while (j->count < LOGS_AT_ONCE && (entry = readdir(folder))) {
                if (strlen(entry->d_name) >= LOG_NAME || strncmp(entry->d_name, "task_", 5) ||
                    fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) || st.st_mtime >= j->before_s)
                        continue;
                memcpy(j->found[j->count].account, account, strlen(account) + 1);
                memcpy(j->found[j->count++].name, entry->d_name, strlen(entry->d_name) + 1);
        }
        closedir(folder);
}

static void logs_run(struct job *job, struct store *store)
{
        struct log_job *j = (struct log_job *)job;
        int fd = open(j->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *logs = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;

        if (!logs) {
                fd_close_at(&fd);
                return;
        }
        while (j->count < LOGS_AT_ONCE && (entry = readdir(logs)))
                if (!strncmp(entry->d_name, "account_", 8) && strlen(entry->d_name) < ID_TEXT)
                        look_into(j, fd, entry->d_name);
        closedir(logs);
}

static void logs_finish(struct service *s, struct job *job)
{
        struct log_job *j = (struct log_job *)job;

        for (size_t i = 0; i < j->count; i++) {
                char path[600], task[LOG_NAME];
                struct id id;

                memcpy(task, j->found[i].name, sizeof(task));
                task[strcspn(task, ".")] = '\0';
                if (id_parse("task", task, &id) < 0 || task_find(s, &id))
                        continue;
                snprintf(path, sizeof(path), "%s/%s/%s", j->folder, j->found[i].account, j->found[i].name);
                if (unlink(path) == 0)
                        s->counters.logs_swept++;
        }
        free(j);
}

static void sweep_logs(struct service *s)
{
        struct log_job *j;

        if (!s->options.keep_ms || s->now_ms < s->logs_due_ms)
                return;
        s->logs_due_ms = s->now_ms + LOGS_MS;
        j = calloc(1, sizeof(*j));
        if (!j)
                return;
        j->job = (struct job){.run = logs_run, .finish = logs_finish};
        j->before_s = (s->unix_ms - (int64_t)s->options.keep_ms) / 1000;
        snprintf(j->folder, sizeof(j->folder), "%s/logs", s->folder);
        if (jobs_put(s->files, &j->job) < 0)
                free(j);
}

void sweep(struct service *s)
{
        sweep_rows(s);
        sweep_logs(s);
        objects_sweep(s);
}
