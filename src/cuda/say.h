/* say.h: the interposer's only voice: one short line on standard error, when a person must know. Fixed buffer, one write, no stdio
 * streams, no allocation; silent with BERTH_QUIET=1. Keeps errno. At most 50 lines a process.
 */
#pragma once

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
