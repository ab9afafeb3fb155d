/* functions.c: the list of functions. */
#include "worker/task/functions.h"

const struct task_function task_functions[] = {
        {"probe", probe_run, "takes time, makes progress, fails: as told"},
        {NULL, NULL, NULL},
};
