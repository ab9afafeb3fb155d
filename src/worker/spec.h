/* spec.h: what a task's payload asks for, checked: program or function, its environment, files in and out, limits, device. Pure.
 *
 * Members that all types have: files [{name, sha256 | text}], outputs [patterns], limits {wall, cpu, memory, disk, processes}, network.
 * `command` has argv, env, stdin, device. All other types are functions of berth-task, which look at the values of their own members; a member that a type does not have
 * is refused for all.
 * What is wrong is one sentence with the member's name; nothing is guessed. Asking for more than the worker allows is -E_LIMIT: another worker may allow it.
 */
#pragma once

#include "base/scope.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define SPEC_MESSAGE 256

/* A type that this worker can run, and the members of its payload. "limits.wall" is a member of the object limits, or of each object of the list. The pool hears of
 * them in `hello`, and refuses others before they wait for a worker. */
struct spec_type {
        const char *name;
        const char *const *members; /* ended by NULL */
};
extern const struct spec_type spec_types[]; /* ended by a NULL name */

#define SPEC_ARGV 4096
#define SPEC_FILES 1000
#define SPEC_ENV 256
#define SPEC_OUTPUTS 64
#define SPEC_NAME 256

struct spec_limits {
        uint64_t wall_ms, cpu_ms, memory_bytes, disk_bytes, processes;
};

struct spec_device {
        bool wanted;
        char memory[32], soft_memory[32], need[32]; /* as `berth run` takes them; "" : not told */
};

struct spec {
        const char *function;  /* NULL: a command */
        json_t *argv, *env;    /* borrowed: list of strings; object of strings or NULL */
        json_t *files;         /* borrowed or NULL: checked */
        json_t *outputs;       /* borrowed or NULL: checked */
        const char *input;     /* text for standard input, or NULL */
        const char *input_file; /* one of files, for standard input, or NULL */
        struct spec_limits limits;
        struct spec_device device;
        bool network;
};

/* most: what the worker allows, and the limits of tasks that ask for none. 0, -EINVAL, -E_LIMIT. */
must_check int spec_parse(const char *type, json_t *payload, const json_t *needs, const struct spec_limits *most, bool network_allowed, struct spec *ret,
                          char why[SPEC_MESSAGE]);
/* A relative path without "..", "." or empty parts, no control characters, shorter than SPEC_NAME. */
bool spec_is_path(const char *s);
/* 64 lower-case hex digits. */
bool spec_is_sha256(const char *s);
/* A size: a number, or text as text_parse_bytes takes it. -EINVAL, -ERANGE; 0 and *ret unchanged when v is NULL. */
must_check int spec_bytes(const json_t *v, uint64_t *ret);
