/* doctor-checks.h: what `berth doctor` looks at on the machine. */
#pragma once

#include "base/strbuf.h"
#include "cli/cli.h"

#include <jansson.h>
#include <stdint.h>

enum finding { FINDING_OK, FINDING_WARNING, FINDING_MISSING, FINDING_N };

struct check {
        const char *name; /* static */
        enum finding finding;
        char found[160];  /* what is there; "unavailable" when it could not be told */
        char advice[320]; /* what to do, empty when all is well */
};

#define DOCTOR_CHECKS 40

/* Fills at most DOCTOR_CHECKS; how many. */
size_t doctor_checks(struct check checks[DOCTOR_CHECKS]);

/* Those of doctor-sensors.c: figures of the machine, the watchdog, sensors of devices. At most `most`; how many. */
size_t doctor_sensors(struct check *checks, size_t most);

/* One setting of the kernel that shows its choice as "always [never] advise": the chosen word into choice, or -EINVAL.
 * Pure. */
must_check int doctor_choice(const char *text, char *choice, size_t size);

/* Host memory for what is swapped out against what may have to be. Pure. */
void doctor_judge_arena(struct check *check, uint64_t arena_bytes, uint64_t device_bytes);

void doctor_text(const struct check *checks, size_t count, struct strbuf *b);
json_t *doctor_json(const struct check *checks, size_t count);
