/* places.c: shares of the host arena; see places.h. */
#include "node/places.h"

#define for_each_program(p) for (struct places_program *p = programs; p < programs + count; p++)
#define for_each_device_of(p, d) for (uint64_t left_ = (p)->devices, d; left_ && (d = (uint64_t)__builtin_ctzll(left_), true); left_ &= left_ - 1)

static uint64_t least(uint64_t a, uint64_t b)
{
        return a < b ? a : b;
}

/* More of it is never out at once than its devices are overcommitted by. */
static uint64_t target(const struct places_program *p, const uint64_t *over)
{
        uint64_t bytes = 0;

        for_each_device_of (p, d)
                bytes += over[d];
        return least(bytes, p->wanted);
}

/* The level up to which all targets can be filled: UINT64_MAX when they can be filled whole. */
static uint64_t level(struct places_program *programs, size_t count, const uint64_t *over, uint64_t budget)
{
        uint64_t found = 0, left = budget, open = count, next;

        for (;;) {
                uint64_t satisfied = 0, taken = 0;

                if (!open)
                        return UINT64_MAX;
                next = left / open;
                for_each_program (p)
                        if (target(p, over) <= next) {
                                taken += target(p, over);
                                satisfied++;
                        }
                if (next == found || count - satisfied == open)
                        return next;
                found = next;
                left = budget - taken;
                open = count - satisfied;
        }
}

/* What all of them can want at once; the last segment of each is never full. */
static uint64_t wanted_by_all(struct places_program *programs, size_t count, uint64_t segment)
{
        uint64_t all = 0;

        for_each_program (p)
                all += p->wanted ? p->wanted + segment : 0;
        return all;
}

bool places_share(struct places_program *programs, size_t count, const uint64_t *over, uint64_t budget, uint64_t segment)
{
        uint64_t left = budget, present = 0, sharers = 1, height, sum[64] = {0}, largest[64] = {0};

        for_each_program (p) {
                p->places = PLACES_UNBOUNDED;
                present |= p->devices;
                sharers += p->wanted > 0;
        }
        if (wanted_by_all(programs, count, segment) <= budget)
                return false;
        height = level(programs, count, over, budget);
        for_each_program (p) {
                uint64_t bytes = least(target(p, over), height / segment * segment);

                for_each_device_of (p, d) {
                        sum[d] += bytes;
                        largest[d] = bytes > largest[d] ? bytes : largest[d];
                }
                left -= least(left, bytes);
        }
        for (unsigned int d = 0; d < 64; d++)
                if (present >> d & 1 && sum[d] - largest[d] < over[d])
                        return false;
        /* What is left is for later ones as well: one share of it is kept. */
        left = left / sharers / segment * segment;
        for_each_program (p) {
                uint64_t bytes = least(target(p, over), height / segment * segment);

                p->places = bytes + least(left, p->wanted + segment - bytes);
        }
        return true;
}

uint64_t places_needed(struct places_program *programs, size_t count, const uint64_t *over, uint64_t segment)
{
        uint64_t low = 0, high = (wanted_by_all(programs, count, segment) + segment - 1) / segment;

        while (low < high) {
                uint64_t middle = low + (high - low) / 2;

                if (places_share(programs, count, over, middle * segment, segment))
                        high = middle;
                else
                        low = middle + 1;
        }
        return low * segment;
}
