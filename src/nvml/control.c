/* control.c: the answers of the resource manager's lists of processes; see control.h. */
#include "nvml/control.h"

#include <stddef.h>
#include <string.h>

/* The caller's memory is copied before it is judged: it may be unaligned, and another thread may write to it. */
static uint32_t count_of(const void *params, size_t at)
{
        uint32_t count;

        memcpy(&count, (const char *)params + at, sizeof count);
        return count;
}

static unsigned int at_most(uint32_t count, unsigned int most)
{
        return count <= most ? count : 0;
}

unsigned int control_entries(const struct control_call *call, const void *params)
{
        if (call->status || !params)
                return 0;
        if (call->command == CONTROL_GET_PIDS && call->params_size == sizeof(struct control_pids))
                return at_most(count_of(params, offsetof(struct control_pids, count)), CONTROL_PIDS);
        if (call->command == CONTROL_GET_PID_INFO && call->params_size == sizeof(struct control_infos))
                return at_most(count_of(params, offsetof(struct control_infos, count)), CONTROL_INFOS);
        return 0;
}

static void keep_own(struct control_pids *pids, unsigned int n, const struct ask_view *view, bool (*own)(pid_t pid))
{
        unsigned int kept = 0;

        for (unsigned int i = 0; i < n; i++)
                if (ask_client_of(view, pids->pids[i]) || own((pid_t)pids->pids[i]))
                        pids->pids[kept++] = pids->pids[i];
        memset(pids->pids + kept, 0, sizeof pids->pids - kept * sizeof pids->pids[0]);
        pids->count = kept;
}

/* However the parts are added up, the sum is Berth's figure. What of it is protected stays the driver's word. */
static void put_used(struct control_infos *infos, unsigned int n, const struct ask_view *view)
{
        for (unsigned int i = 0; i < n; i++) {
                struct control_info *info = &infos->infos[i];
                const struct ask_client *client = ask_client_of(view, info->pid);

                if (!client || info->index || info->result || info->compute_instance != CONTROL_NO_INSTANCE || info->gpu_instance != CONTROL_NO_INSTANCE)
                        continue;
                info->own = client->bytes;
                info->shared_owned = info->shared_duped = 0;
        }
}

void control_filter(const struct control_call *call, void *params, const struct ask_view *view, bool (*own)(pid_t pid))
{
        union {
                struct control_pids pids;
                struct control_infos infos;
        } copy;
        unsigned int n = control_entries(call, params);

        if (!n)
                return;
        memcpy(&copy, params, call->params_size);
        if (call->command == CONTROL_GET_PIDS)
                keep_own(&copy.pids, n, view, own);
        else
                put_used(&copy.infos, n, view);
        memcpy(params, &copy, call->params_size);
}
