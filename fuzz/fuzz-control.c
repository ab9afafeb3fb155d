/* fuzz-control.c: any bytes as an answer of the resource manager's lists of processes. After the filter there are no more entries than before, all of them own, in
 * their order; of memory figures nothing but those of known processes has changed; what is not of the known form is as it was. The first byte chooses call and status,
 * the second the size, and whether what Berth knows is there. */
#include "nvml/control.h"

#include "fuzz.h"

#include <string.h>

static bool own(pid_t pid)
{
        return pid % 3 == 0;
}

static bool known(const struct ask_view *view, uint32_t pid)
{
        for (unsigned int i = 0; view && i < view->clients_n; i++)
                if ((uint32_t)view->clients[i].pid == pid)
                        return true;
        return false;
}

static void check_pids(const struct control_pids *a, const struct control_pids *b, const struct ask_view *view)
{
        uint32_t kept = 0;

        promise(b->id == a->id && b->id_type == a->id_type, "the question has changed");
        for (uint32_t i = 0; i < a->count; i++)
                if (known(view, a->pids[i]) || own((pid_t)a->pids[i]))
                        promise(kept < b->count && b->pids[kept++] == a->pids[i], "entry %u is lost", i);
        promise(kept == b->count, "%u entries instead of %u", b->count, kept);
        for (uint32_t i = kept; i < CONTROL_PIDS; i++)
                promise(!b->pids[i], "entry %u is left behind", i);
}

static void check_infos(const struct control_infos *a, struct control_infos *b, const struct ask_view *view)
{
        for (uint32_t i = 0; i < a->count; i++) {
                if (!known(view, a->infos[i].pid))
                        continue;
                b->infos[i].own = a->infos[i].own;
                b->infos[i].shared_owned = a->infos[i].shared_owned;
                b->infos[i].shared_duped = a->infos[i].shared_duped;
        }
        promise(!memcmp(a, b, sizeof *a), "more than memory figures has changed");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const uint32_t commands[] = {CONTROL_GET_PIDS, CONTROL_GET_PID_INFO, CONTROL_GET_GID_INFO, 0};
        struct ask_view some = {.clients_n = 2, .clients = {{2948, 1 << 20}, {0x04040404, 2 << 20}}}, *view;
        struct fuzz_input in = {data, size};
        struct control_call call = {0};
        unsigned int entries;
        uint8_t chosen = fuzz_byte(&in), length = fuzz_byte(&in);
        void *before, *after;
        size_t bytes;

        call.command = commands[chosen & 3];
        call.status = chosen >> 7;
        bytes = call.command == CONTROL_GET_PIDS ? sizeof(struct control_pids) : sizeof(struct control_infos);
        if (length & 1)
                bytes = in.left;
        view = length & 2 ? &some : NULL;
        call.params_size = (uint32_t)bytes;
        /* Blocks of exactly the size, so that a byte too far is seen. */
        before = calloc(1, bytes ? bytes : 1);
        after = malloc(bytes ? bytes : 1);
        promise(before && after, "memory");
        memcpy(before, in.data, in.left < bytes ? in.left : bytes);
        memcpy(after, before, bytes);
        entries = control_entries(&call, before);
        control_filter(&call, after, view, own);
        if (!entries)
                promise(!memcmp(before, after, bytes), "what is not known has changed");
        else if (call.command == CONTROL_GET_PIDS)
                check_pids(before, after, view);
        else
                check_infos(before, after, view);
        free(before);
        free(after);
        return 0;
}
