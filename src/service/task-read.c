/* task-read.c: tasks for people. One in memory is shown from there, in its durable state; one that ended, and lists, come from the store by the reader's
 * thread, with what memory knows better (progress) put over it. */
#include "base/error.h"
#include "service/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIST_BYTES (8u << 20)

enum want { WANT_VIEW, WANT_WAIT, WANT_LOG, WANT_PLACE };

struct read_job {
        struct job job;
        enum want want;
        struct account_caller caller;
        struct id id, account;
        struct service_wait *wait;
        service_done_fn done;
        service_file_fn file;
        service_place_fn place;
        void *context;
        struct strbuf text;
        uint32_t attempt;
        bool found;
};

static int read_row(void *context, const struct store_row *row)
{
        struct read_job *read = context;
        json_t *status;

        read->found = true;
        read->account = row->account;
        if (read->want == WANT_PLACE)
                return 0;
        if (read->want != WANT_LOG)
                return task_row_view(&read->text, row, true);
        status = row->status ? json_loadb(row->status, row->status_bytes, 0, NULL) : NULL;
        read->attempt = (uint32_t)json_integer_value(json_object_get(status, "attempt"));
        json_decref(status);
        return 0;
}

static void read_run(struct job *job, struct store *store)
{
        struct read_job *read = (struct read_job *)job;

        job->error = store ? store_get(store, STORE_TASK, &read->id, read_row, read) : -E_UNAVAILABLE;
}

static void open_log(struct service *s, const struct id *account, const struct id *task, uint32_t attempt, service_file_fn done, void *context)
{
        char path[512];
        struct stat st;
        int fd;

        log_path(s, account, task, attempt ? attempt : 1, path, sizeof(path));
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0) /* no output yet */
                fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0) {
                if (fd >= 0)
                        close(fd);
                done(context, -E_UNAVAILABLE, -1, 0);
                return;
        }
        done(context, 0, fd, S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0);
}

static void read_finish(struct service *s, struct job *job)
{
        struct read_job *read = (struct read_job *)job;
        int error = job->error;
        char address[256] = "";

        if (read->want == WANT_PLACE) {
                if (!error)
                        error = service_owner(s, &read->account, address);
                read->place(read->context, error == -ENOENT ? 0 : error == -EAGAIN ? error : error ? -E_UNAVAILABLE : 0, address);
                free(read);
                return;
        }
        if (!error && (!read->found || !task_readable(&read->caller, &read->account)))
                error = -ENOENT;
        if (read->want == WANT_LOG) {
                if (error)
                        read->file(read->context, error == -ENOENT ? -ENOENT : -E_UNAVAILABLE, -1, 0);
                else
                        open_log(s, &read->account, &read->id, read->attempt, read->file, read->context);
        } else if (!read->wait || !read->wait->cancelled) {
                if (error)
                        answer_error(s, read->done, read->context, error);
                else
                        read->done(read->context, &(struct service_answer){.status = 200, .text = read->text.text, .bytes = read->text.length});
        }
        free(read->wait);
        strbuf_done(&read->text);
        free(read);
}

static int read_put(struct service *s, struct read_job what)
{
        struct read_job *read = malloc(sizeof(*read));
        int r;

        if (!read)
                return -ENOMEM;
        *read = what;
        read->job = (struct job){.run = read_run, .finish = read_finish};
        r = jobs_put(s->reader, &read->job);
        if (r < 0)
                free(read);
        return r;
}

/* In memory and durable. */
static struct task *shown(struct service *s, const struct id *id)
{
        struct task *task = task_find(s, id);

        return task && task->shown.state ? task : NULL;
}

void service_task(struct service *s, const struct account_caller *caller, const struct id *id, service_done_fn done, void *context)
{
        struct task *task;
        struct strbuf b = {0};
        int r;

        service_time(s);
        task = shown(s, id);
        if (!task) {
                r = read_put(s, (struct read_job){.want = WANT_VIEW, .caller = *caller, .id = *id, .done = done, .context = context});
                if (r < 0)
                        answer_error(s, done, context, r);
                return;
        }
        if (!task_readable(caller, &task->account)) {
                answer_error(s, done, context, -ENOENT);
                return;
        }
        task_view(&b, task, &task->shown, true);
        if (b.failed)
                answer_error(s, done, context, -ENOMEM);
        else
                answer_text(s, done, context, 200, b.text, b.length, 0);
}

struct service_wait *service_task_wait(struct service *s, const struct account_caller *caller, const struct id *id, uint64_t wait_ms, service_done_fn done,
                                       void *context)
{
        struct service_wait *wait = calloc(1, sizeof(*wait));
        struct task *task;
        int r;

        if (!wait)
                return NULL;
        service_time(s);
        *wait = (struct service_wait){.service = s, .id = *id, .caller = *caller, .due_ms = s->now_ms + wait_ms, .done = done, .context = context};
        task = shown(s, id);
        if (task && task_readable(caller, &task->account) && !task_state_ended(task->shown.state)) {
                wait->task = task;
                wait->next = task->waits;
                if (task->waits)
                        task->waits->before = wait;
                task->waits = wait;
                wait->due_next = s->waits;
                if (s->waits)
                        s->waits->due_before = wait;
                s->waits = wait;
                if (wait->due_ms < s->waits_due_ms)
                        s->waits_due_ms = wait->due_ms;
                s->counters.waits++;
                service_want_turn(s);
                return wait;
        }
        r = read_put(s, (struct read_job){.want = WANT_WAIT, .caller = *caller, .id = *id, .wait = wait, .done = done, .context = context});
        if (r < 0) {
                free(wait);
                return NULL;
        }
        return wait;
}

void service_wait_cancel(struct service_wait *wait)
{
        struct service *s = wait->service;
        struct task *task = wait->task;

        if (!task) {
                wait->cancelled = true;
                return;
        }
        if (wait->before)
                wait->before->next = wait->next;
        else
                task->waits = wait->next;
        if (wait->next)
                wait->next->before = wait->before;
        if (wait->due_before)
                wait->due_before->due_next = wait->due_next;
        else
                s->waits = wait->due_next;
        if (wait->due_next)
                wait->due_next->due_before = wait->due_before;
        s->counters.waits--;
        free(wait);
}

void service_task_log(struct service *s, const struct account_caller *caller, const struct id *id, service_file_fn done, void *context)
{
        int r;

        service_time(s);
        /* Through the reader in any case: `done` is never called from in here. */
        r = read_put(s, (struct read_job){.want = WANT_LOG, .caller = *caller, .id = *id, .file = done, .context = context});
        if (r < 0)
                answer_file_error(s, done, context, -E_UNAVAILABLE);
}

struct place_error {
        service_place_fn done;
        void *context;
};

static void tell_no_place(struct service *s, void *context, int error)
{
        struct place_error *p = context;

        p->done(p->context, -E_UNAVAILABLE, "");
        free(p);
}

bool service_task_place(struct service *s, const struct id *id, service_place_fn done, void *context)
{
        struct place_error *p;
        struct task *task;
        struct operation *op;

        service_time(s);
        task = task_find(s, id);
        if (!s->shared || (task && s->queues[task->queue].state == QUEUE_OURS) || !service_is_partial(s))
                return false;
        if (read_put(s, (struct read_job){.want = WANT_PLACE, .id = *id, .place = done, .context = context}) == 0)
                return true;
        p = malloc(sizeof(*p));
        if (!p)
                abort();
        *p = (struct place_error){done, context};
        op = operation_now(s, OPERATION_CALL);
        op->call = tell_no_place;
        op->context = p;
        return true;
}

/* Lists. */

struct list_item {
        struct id id;
        size_t offset, bytes;
};

struct list_job {
        struct job job;
        struct account_caller caller;
        struct id after, account;
        bool all, has_more;
        uint32_t state;
        char type[CORE_TEXT];
        size_t limit, count;
        struct list_item *items;
        struct strbuf text;
        service_done_fn done;
        void *context;
};

static int list_row(void *context, const struct store_row *row)
{
        struct list_job *list = context;
        struct strbuf *b = &list->text;
        size_t offset = b->length;
        int r;

        if (list->type[0]) {
                struct strbuf wanted = {0};
                bool same;

                /* Two names may have one number. */
                put_literal(&wanted, "\"type\":");
                put_string(&wanted, list->type, strlen(list->type));
                same = row->spec && row->spec_bytes > 17 + wanted.length && !memcmp(row->spec + 17, wanted.text, wanted.length);
                strbuf_done(&wanted);
                if (!same)
                        return 0;
        }
        if (list->count == list->limit || b->length > LIST_BYTES) {
                list->has_more = true;
                return 1;
        }
        r = task_row_view(b, row, false);
        if (r == -EBADMSG) {
                b->length = offset;
                return 0;
        }
        list->items[list->count++] = (struct list_item){row->id, offset, b->length - offset};
        return r;
}

static void list_run(struct job *job, struct store *store)
{
        struct list_job *list = (struct list_job *)job;
        int r;

        if (!store) {
                job->error = -E_UNAVAILABLE;
                return;
        }
        r = store_list(store,
                       &(struct store_query){.table = STORE_TASK, .account = list->all ? NULL : &list->account, .states = list->state ? &list->state : NULL,
                                             .state_count = list->state ? 1 : 0, .kind = list->type[0] ? (int32_t)type_kind(list->type) : -1,
                                             .after = list->after, .newest_first = true},
                       list_row, list);
        job->error = r > 0 ? 0 : r;
}

static void list_finish(struct service *s, struct job *job)
{
        struct list_job *list = (struct list_job *)job;
        struct strbuf b = {0};
        char next[ID_TEXT];

        put_literal(&b, "{\"object\":\"list\",\"data\":[");
        for (size_t i = 0; i < list->count; i++) {
                struct task *task = shown(s, &list->items[i].id);

                if (i)
                        put_literal(&b, ",");
                if (task && (!list->state || task->shown.state == list->state))
                        task_view(&b, task, &task->shown, false);
                else
                        strbuf_put(&b, list->text.text + list->items[i].offset, list->items[i].bytes);
        }
        strbuf_add(&b, "],\"has_more\":%s", list->has_more ? "true" : "false");
        if (list->has_more && list->count)
                strbuf_add(&b, ",\"next\":\"%s\"", id_text("task", &list->items[list->count - 1].id, next));
        put_literal(&b, "}");
        if (job->error < 0 || b.failed)
                answer_error(s, list->done, list->context, job->error < 0 ? job->error : -ENOMEM);
        else
                list->done(list->context, &(struct service_answer){.status = 200, .text = b.text, .bytes = b.length});
        strbuf_done(&b);
        strbuf_done(&list->text);
        free(list->items);
        free(list);
}

void service_tasks(struct service *s, const struct account_caller *caller, const struct service_list *what, service_done_fn done, void *context)
{
        struct list_job *list;
        bool every = account_may(caller, RIGHT_TASK_READ_ALL);
        int r;

        service_time(s);
        list = calloc(1, sizeof(*list));
        if (!list || !(list->items = calloc(1000, sizeof(*list->items)))) {
                free(list);
                answer_error(s, done, context, -ENOMEM);
                return;
        }
        list->job = (struct job){.run = list_run, .finish = list_finish};
        list->caller = *caller;
        list->after = what->after;
        list->limit = what->limit < 1 ? 1 : what->limit > 1000 ? 1000 : what->limit;
        list->account = id_is_none(&what->account) ? caller->account : what->account;
        list->all = every && id_is_none(&what->account);
        list->done = done;
        list->context = context;
        if (what->state && task_state_parse(what->state, &list->state) < 0) {
                answer_problem(s, done, context, 400, "list.state", "held, queued, leased, backoff, done, failed, dead, cancelled or expired is wanted", NULL);
                r = 1;
        } else if (what->type && (!what->type[0] || strlen(what->type) >= sizeof(list->type))) {
                answer_problem(s, done, context, 400, "list.type", "no task has such a type", NULL);
                r = 1;
        } else if (!every && !id_equal(&list->account, &caller->account)) {
                answer_error(s, done, context, -ENOENT);
                r = 1;
        } else {
                if (what->type)
                        strcpy(list->type, what->type);
                r = jobs_put(s->reader, &list->job);
                if (r < 0)
                        answer_error(s, done, context, r);
        }
        if (r) {
                free(list->items);
                free(list);
        }
}
