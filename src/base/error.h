/* error.h: one space of error numbers.
 *
 * Functions return 0 or a negative number: an errno, or one of our own from 4096 up, so both travel in the same int,
 * also across processes. error_text() names either. Library code returns, program code logs, once.
 */
#pragma once

/* name, number, text. Numbers are never reused: they cross processes. */
#define BERTH_ERRORS(X)                                                            \
        X(E_VERSION, 4096, "no protocol version in common")                         \
        X(E_MESSAGE, 4097, "malformed message")                                     \
        X(E_LIMIT, 4098, "over the program's own memory limit")                     \
        X(E_DEVICE_SIZE, 4099, "larger than the device can ever hold")              \
        X(E_ARENA, 4100, "host arena too small to move enough memory out")          \
        X(E_STUCK, 4101, "a program did not give way in time")                      \
        X(E_QUOTA, 4102, "too many clients or messages from this user")             \
        X(E_CONFIG, 4103, "configuration not accepted")                             \
        X(E_UNAVAILABLE, 4104, "unavailable")                                       \
        X(E_UNKNOWN_DEVICE, 4105, "unknown device")                                 \
        X(E_RUNNING, 4106, "another daemon already serves this socket")             \
        X(E_DEADLOCK, 4107, "programs that all wait for each other's memory, and none can be moved out")

#define BERTH_ERROR_ENUM(name, number, text) name = number,
enum berth_error { BERTH_ERRORS(BERTH_ERROR_ENUM) BERTH_ERROR_MAX };
#undef BERTH_ERROR_ENUM

/* A sentence for an errno or one of ours, sign ignored. Static storage, never NULL, safe from any thread. */
const char *error_text(int error);

/* "E_LIMIT" or "ENOMEM" style name, or "E?" when unknown. Static storage. */
const char *error_name(int error);
