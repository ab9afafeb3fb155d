/* hand.c: units from and to other programs; see hand.h. */
#include "cuda/hand.h"

#include "base/fd.h"
#include "cuda/tell.h"

#include <stdint.h>
#include <string.h>

int hand_export(const struct unit *unit)
{
        int fd = -1;

        if (real.cuMemExportToShareableHandle(&fd, unit->handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0) != CUDA_SUCCESS)
                return -1;
        return fd;
}

static void remove_gift(struct device *d, unsigned int i)
{
        fd_close_at(&d->gifts[i].fd);
        if (d->gifts[i].number)
                tell_unit_back(d->gifts[i].number);
        d->gifts_bytes -= d->gifts[i].bytes;
        d->gifts_n--;
        memmove(&d->gifts[i], &d->gifts[i + 1], (d->gifts_n - i) * sizeof d->gifts[0]);
}

void hand_take(struct device *d, int fd, uint64_t bytes, uint64_t number)
{
        if (d->gifts_n == MAX_GIFTS)
                remove_gift(d, 0);
        d->gifts[d->gifts_n++] = (struct gift){fd, bytes, number};
        d->gifts_bytes += bytes;
        hand_limit(d, device_spare(d));
}

bool hand_use(struct device *d, struct unit *unit)
{
        for (unsigned int i = 0; i < d->gifts_n; i++) {
                CUresult r;

                if (d->gifts[i].bytes != unit->bytes)
                        continue;
                r = real.cuMemImportFromShareableHandle(&unit->handle, (void *)(intptr_t)d->gifts[i].fd, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
                if (r == CUDA_SUCCESS) {
                        unit->lent = d->gifts[i].number;
                        d->gifts[i].number = 0;
                }
                remove_gift(d, i);
                return r == CUDA_SUCCESS;
        }
        return false;
}

void hand_release(struct unit *unit)
{
        if (unit->lent)
                tell_unit_back(unit->lent);
        unit->lent = 0;
}

void hand_forget(void)
{
        for (size_t i = 0; i < berth.blocks_n; i++)
                for (uint32_t k = 0; k < berth.blocks[i]->units_n; k++)
                        berth.blocks[i]->units[k].lent = 0;
        for (unsigned int i = 0; i < berth.devices_n; i++) {
                for (unsigned int k = 0; k < berth.devices[i].gifts_n; k++)
                        berth.devices[i].gifts[k].number = 0;
                for (struct block *block = berth.devices[i].cache; block; block = block->next_kept)
                        for (uint32_t k = 0; k < block->units_n; k++)
                                block->units[k].lent = 0;
        }
}

uint64_t hand_next(const struct device *d)
{
        return d->gifts_n ? d->gifts[0].bytes : 0;
}

void hand_limit(struct device *d, uint64_t bytes)
{
        while (d->gifts_n && d->gifts_bytes > bytes)
                remove_gift(d, 0);
}
