/* functions.h: the functions of berth-task, one a task type. Inputs and options are described in docs/workers.md. */
#pragma once

#include "worker/task/task.h"

int probe_run(struct task *t);
int preprocess_run(struct task *t);
int augment_run(struct task *t);
int validate_run(struct task *t);
int synchronise_run(struct task *t);
int mirror_run(struct task *t);
int migrate_run(struct task *t);
int optimise_run(struct task *t);
int monitor_run(struct task *t);
