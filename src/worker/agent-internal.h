/* agent-internal.h: what agent.c (servers) and agent-task.c (tasks, results) share. */
#pragma once

#include "worker/agent.h"

#include "base/log.h"

void agent_say(struct agent *a, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Sends and forgets the object. 0, -EAGAIN, -ENOMEM. */
int agent_send(struct agent *a, uint64_t now, uint32_t server, json_t *o);
/* {"m": kind, "task": …, "nonce": …} */
json_t *agent_about(const char *kind, const char *task, uint64_t nonce);
uint32_t agent_free_slots(const struct agent *a);
/* Tells servers of slots that are free and not offered to them yet. */
void agent_offer(struct agent *a, uint64_t now);

/* agent-node.c: sends what is due. When to look again. */
uint64_t agent_node_tick(struct agent *a, uint64_t now, uint32_t server);

/* agent-task.c */
void agent_take(struct agent *a, uint64_t now, uint32_t server, const struct message *lease);
/* Nobody hears of it any more: cancelled, lost, or handed on by the bye. */
void agent_stop(struct agent *a, uint64_t now, struct agent_task *t, const char *why);
struct agent_task *agent_find(struct agent *a, uint32_t server, const char *task, uint64_t nonce);
/* Sends what waits for this server: kept results, logs, progress. */
void agent_flush(struct agent *a, uint64_t now, uint32_t server);
void agent_forget(struct agent *a, uint32_t server, const char *task, uint64_t nonce);
void agent_task_done(struct agent_task *t);
/* Progress that waited long enough, tasks that do not stop. When to look again. */
uint64_t agent_task_tick(struct agent *a, uint64_t now);
