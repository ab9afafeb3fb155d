/* commit.c: changes of accounts made durable before they are told, and password hashing on threads; see commit.h. */
#include "gateway/commit.h"

#include "base/error.h"

#include <string.h>

#define PASSWORD_WORKS 32

struct told_later {
        struct request *request;
        int status;
        json_t *body;
};

static void committed(void *context, const struct service_answer *answer)
{
        struct told_later *later = context;
        struct request *r = later->request;

        if (r->connection && answer->status < 400) {
                r->pending = false;
                if (later->body)
                        reply_json(r, later->status, json_incref(later->body));
                else
                        reply_empty(r, later->status);
        } else {
                request_done(r, answer);
        }
        json_decref(later->body);
        free(later);
}

void commit_then_reply(struct request *r, const struct account_changes *changes, int status, json_t *body)
{
        struct told_later *later = calloc(1, sizeof *later);

        if (!later) {
                json_decref(body);
                reply_problem(r, "pool.busy", NULL, "Out of memory.");
                return;
        }
        *later = (struct told_later){r, status, body};
        request_begin(r);
        service_commit(r->server->service, changes, committed, later);
}

static void ignore(void *context, const struct service_answer *answer)
{
}

void commit_aside(struct server *server, const struct account_changes *changes)
{
        if (!changes->count)
                return;
        service_commit(server->service, changes, ignore, NULL);
        server_turn_soon(server);
}

void reply_refusal(struct request *r, int error)
{
        const char *why = accounts_problem(r->server->accounts), *code = NULL;

        switch (-error) {
        case EBUSY:
                code = "account.last_admin";
                break;
        case E_QUOTA:
                code = "account.keys";
                break;
        default:
                break;
        }
        if (code)
                reply_problem(r, code, NULL, "%s", why[0] ? why : error_text(error));
        else
                reply_error(r, error, why);
}

struct password_job {
        uv_work_t work;
        struct request *request;
        password_then_fn then;
        struct account_password_work password;
};

static void run(uv_work_t *work)
{
        struct password_job *job = work->data;

        account_password_work(&job->password);
}

static void ran(uv_work_t *work, int status)
{
        struct password_job *job = work->data;
        struct request *r = job->request;

        r->server->password_works--;
        if (status < 0)
                job->password.error = -ENOMEM;
        r->pending = false;
        job->then(r, &job->password);
        explicit_bzero(&job->password, sizeof job->password);
        free(job);
}

void password_start(struct request *r, struct account_password_work *work, password_then_fn then)
{
        struct password_job *job = r->server->password_works < PASSWORD_WORKS ? calloc(1, sizeof *job) : NULL;

        if (job) {
                job->work.data = job;
                job->request = r;
                job->then = then;
                job->password = *work;
        }
        if (!job || uv_queue_work(r->server->loop, &job->work, run, ran) < 0) {
                if (job)
                        explicit_bzero(job, sizeof *job);
                free(job);
                r->server->counters.password_refused++;
                work->error = -ENOMEM;
                then(r, work);
                explicit_bzero(work, sizeof *work);
                return;
        }
        explicit_bzero(work, sizeof *work);
        request_begin(r);
        r->server->password_works++;
}
