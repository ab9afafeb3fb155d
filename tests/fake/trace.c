/* trace.c: calls that are made to fail, and the log of calls.
 *
 * BERTH_SOFTWARE_FAIL="cuMemCreate:5,cuMemcpyDtoHAsync:3:700" makes the fifth cuMemCreate of the process return out of
 * memory and the third cuMemcpyDtoHAsync (any variant: _v2, _ptsz …) return 700; with ":stays" behind it every later call in that context does, too, as real ones do
 * after such an error. BERTH_SOFTWARE_LOG=file gets one line
 * "pid name result" per call, each written by one write, so lines of several processes never mix. With neither set, a
 * call pays one load.
 */
#include "fake.h"

#include "base/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { RULES = 32, NAME = 64 };

struct rule {
        char name[NAME];
        uint64_t nth;
        int result;
        bool stays; /* the context is broken by it */
        _Atomic uint64_t calls;
};

bool trace_on;
static struct rule rules[RULES];
static unsigned rule_count;
static int log_fd = -1;

/* "cuMemcpyDtoHAsync" out of "cuMemcpyDtoHAsync_v2_ptsz". */
static size_t base_length(const char *name)
{
        const char *cut = strchr(name, '_');

        return cut ? (size_t)(cut - name) : strlen(name);
}

static bool parse_rule(char *s)
{
        struct rule *r = &rules[rule_count];
        char *save = NULL, *name, *nth, *result, *stays;
        uint64_t value = CUDA_ERROR_OUT_OF_MEMORY;

        name = strtok_r(s, ":", &save);
        nth = strtok_r(NULL, ":", &save);
        result = strtok_r(NULL, ":", &save);
        stays = strtok_r(NULL, ":", &save);
        if ((stays && strcmp(stays, "stays") != 0) || !name || !nth || strlen(name) >= NAME || rule_count == RULES)
                return false;
        if (text_parse_u64(nth, 1, UINT64_MAX, &r->nth) < 0 || (result && text_parse_u64(result, 0, 999, &value) < 0))
                return false;
        strcpy(r->name, name);
        r->result = (int)value;
        r->stays = stays != NULL;
        rule_count++;
        return true;
}

__attribute__((constructor)) static void trace_read(void)
{
        const char *fail = secure_getenv("BERTH_SOFTWARE_FAIL"), *log = secure_getenv("BERTH_SOFTWARE_LOG");
        char *save = NULL;

        if (fail && *fail) {
                scoped_free char *copy = strdup(fail);

                for (char *s = copy ? strtok_r(copy, ",", &save) : NULL; s; s = strtok_r(NULL, ",", &save))
                        if (!parse_rule(s))
                                fprintf(stderr,
                                        "berth software device: BERTH_SOFTWARE_FAIL=%s: not name:count[:result[:stays]],…\n",
                                        fail);
                trace_on = rule_count > 0;
        }
        if (log && *log) {
                log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
                if (log_fd < 0)
                        fprintf(stderr, "berth software device: cannot write BERTH_SOFTWARE_LOG=%s\n", log);
                else
                        trace_on = true;
        }
}

static int find_rule(struct entry *e)
{
        int found = -1;

        for (unsigned i = 0; i < rule_count && found < 0; i++) {
                size_t n = base_length(e->name);

                if (strcmp(e->name, rules[i].name) == 0 ||
                    (strlen(rules[i].name) == n && strncmp(e->name, rules[i].name, n) == 0))
                        found = (int)i + 1;
        }
        atomic_store_explicit(&e->rule, found, memory_order_relaxed);
        return found;
}

int trace_enter(struct entry *e)
{
        int index = atomic_load_explicit(&e->rule, memory_order_relaxed);
        struct rule *r;

        if (index == 0)
                index = find_rule(e);
        if (index < 0)
                return -1;
        r = &rules[index - 1];
        if (atomic_fetch_add(&r->calls, 1) + 1 != r->nth)
                return -1;
        if (r->stays && this_thread.current)
                context_fail(this_thread.current, r->result);
        return r->result;
}

void trace_leave(struct entry *e, int result)
{
        int saved = errno, n;
        char line[128];

        if (log_fd < 0)
                return;
        n = snprintf(line, sizeof(line), "%d %s %d\n", (int)getpid(), e->name, result);
        if (n > 0 && write(log_fd, line, (size_t)n) < 0)
                log_fd = -1;
        errno = saved;
}
