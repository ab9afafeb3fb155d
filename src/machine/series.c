/* series.c: the machine's figures as series; see machine.h and wire/series.h. */
#include "machine/machine.h"

#include "wire/series.h"

static void put(struct history_set *set, uint64_t now_ns, const char *name, double value)
{
        (void)history_set_put(set, name, now_ns, value < 0 ? __builtin_nan("") : value);
}

void machine_series(struct history_set *set, uint64_t now_ns, const struct machine_look *look, const struct machine_rates *rates)
{
        static const char *const pressures[MACHINE_PRESSURE_N] = {SERIES_PRESSURE_CPU, SERIES_PRESSURE_MEMORY, SERIES_PRESSURE_IO};
        const struct machine_memory *m = &look->memory;
        bool memory = !look->memory_error, available = memory && m->available <= m->total;
        bool swap = memory && m->swap_total != MACHINE_UNKNOWN && m->swap_free <= m->swap_total;

        put(set, now_ns, SERIES_CPU, rates->busy);
        put(set, now_ns, SERIES_MEMORY, available ? (double)(m->total - m->available) : -1);
        put(set, now_ns, SERIES_SWAP, swap ? (double)(m->swap_total - m->swap_free) : -1);
        for (size_t i = 0; i < MACHINE_PRESSURE_N; i++)
                put(set, now_ns, pressures[i], look->pressure_error[i] ? -1.0 : look->pressure[i].some_permille);
        put(set, now_ns, SERIES_NETWORK_IN, rates->in_bytes);
        put(set, now_ns, SERIES_NETWORK_OUT, rates->out_bytes);
        put(set, now_ns, SERIES_DISK_READ, rates->read_bytes);
        put(set, now_ns, SERIES_DISK_WRITTEN, rates->written_bytes);
}
