/* verbs.c: the one table of verbs, in the order of `berth --help`, and looking one up. */
#include "cli/cli.h"

#include <string.h>

extern const struct verb verb_run, verb_status, verb_top, verb_doctor, verb_config, verb_reload, verb_dump, verb_peak, verb_trim, verb_prefetch, verb_device,
        verb_completion, verb_help, verb_up, verb_submit, verb_tasks, verb_watch, verb_result, verb_cancel, verb_prioritise, verb_why, verb_workers,
        verb_drain, verb_models, verb_account, verb_key, verb_login, verb_backup, verb_pool, verb_worker, verb_files, verb_latency,
        verb_sample, verb_metrics, verb_record, verb_replay, verb_chat, verb_generate;

/* Grouped by what they are for: a group ends where the next one's first verb stands. */
const struct verb *const verbs[] = {
        &verb_up,
        &verb_run,
        &verb_doctor,

        &verb_status,
        &verb_top,
        &verb_trim,
        &verb_prefetch,
        &verb_peak,
        &verb_device,

        &verb_submit,
        &verb_tasks,
        &verb_watch,
        &verb_result,
        &verb_why,
        &verb_prioritise,
        &verb_cancel,

        &verb_models,
        &verb_chat,
        &verb_generate,

        &verb_workers,
        &verb_drain,
        &verb_account,
        &verb_key,
        &verb_login,
        &verb_backup,
        &verb_pool,
        &verb_worker,

        &verb_files,
        &verb_latency,
        &verb_sample,
        &verb_metrics,
        &verb_record,
        &verb_replay,

        &verb_config,
        &verb_reload,
        &verb_dump,
        &verb_completion,
        &verb_help,
        NULL,
};

static const struct {
        const struct verb *first;
        const char *title;
} groups[] = {
        {&verb_up, "To begin with"},
        {&verb_status, "Devices and programs of this machine"},
        {&verb_submit, "Tasks for the pool"},
        {&verb_models, "Models"},
        {&verb_workers, "Running a pool"},
        {&verb_files, "Figures of this machine"},
        {&verb_config, "The daemon, and this command"},
};

const char *verb_group_title(const struct verb *verb)
{
        for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
                if (groups[i].first == verb)
                        return groups[i].title;
        return NULL;
}

const struct verb *verb_find(const char *name)
{
        for (const struct verb *const *v = verbs; *v; v++)
                if (!strcmp((*v)->name, name))
                        return *v;
        return NULL;
}

#define LONGEST 24

/* Edits (insert, delete, replace, swap of neighbours) between two short words. */
static unsigned int distance(const char *a, const char *b)
{
        unsigned int d[LONGEST + 1][LONGEST + 1];
        size_t n = strlen(a), m = strlen(b);

        if (n > LONGEST || m > LONGEST)
                return LONGEST;
        for (size_t i = 0; i <= n; i++)
                d[i][0] = (unsigned int)i;
        for (size_t j = 0; j <= m; j++)
                d[0][j] = (unsigned int)j;
        for (size_t i = 1; i <= n; i++) {
                for (size_t j = 1; j <= m; j++) {
                        unsigned int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

                        if (d[i - 1][j] + 1 < best)
                                best = d[i - 1][j] + 1;
                        if (d[i][j - 1] + 1 < best)
                                best = d[i][j - 1] + 1;
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                            d[i - 2][j - 2] + 1 < best)
                                best = d[i - 2][j - 2] + 1;
                        d[i][j] = best;
                }
        }
        return d[n][m];
}

const struct verb *verb_nearest(const char *name)
{
        const struct verb *nearest = NULL;
        unsigned int least = LONGEST;
        size_t length = strlen(name);

        for (const struct verb *const *v = verbs; *v; v++) {
                unsigned int d = distance(name, (*v)->name);

                /* A beginning counts as near: "stat" means status. */
                if (length >= 2 && !strncmp(name, (*v)->name, length))
                        d = 0;
                if (d < least) {
                        least = d;
                        nearest = *v;
                }
        }
        return least <= 2 && least < length ? nearest : NULL;
}
