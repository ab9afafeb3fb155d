/* functions.c: the list of functions. */
#include "worker/task/functions.h"

const struct task_function task_functions[] = {
        {"probe", probe_run, "takes time, makes progress, fails: as told"},
        {"preprocess", preprocess_run, "renames, selects, casts, drops, dedupes, normalises and splits records"},
        {"augment", augment_run, "variants of texts and pictures"},
        {"validate", validate_run, "records held against a description"},
        {"synchronise", synchronise_run, "a folder made equal to another"},
        {"mirror", mirror_run, "a folder copied to several, verified"},
        {"migrate", migrate_run, "a folder copied, verified, then switched to"},
        {"optimise", optimise_run, "a database checked and made small"},
        {"monitor", monitor_run, "samples of the machine"},
        {NULL, NULL, NULL},
};
