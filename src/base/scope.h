/* scope.h: ownership that ends with the scope.
 *
 * scoped(fn) runs fn_at(&variable) when the variable leaves its scope; take(v) moves ownership out of it.
 * Every destructor X that is used so has an X_at companion made by SCOPED_FN; both accept NULL (or -1 for fds)
 * and keep errno.
 */
#pragma once

#include <errno.h>
#include <stdlib.h>

#define scoped(fn) __attribute__((cleanup(fn##_at)))

#define take(v)                      \
        ({                           \
                __auto_type t_ = (v); \
                (v) = NULL;          \
                t_;                  \
        })

#define take_fd(v)          \
        ({                  \
                int t_ = (v); \
                (v) = -1;   \
                t_;         \
        })

#define SCOPED_FN(type, fn)                                             \
        static inline __attribute__((unused)) void fn##_at(type *object) \
        {                                                               \
                int saved_ = errno;                                     \
                if (*object)                                            \
                        fn(*object);                                    \
                errno = saved_;                                         \
        }

SCOPED_FN(void *, free)

/* For "T *x scoped_free = …": works for every pointer type. */
static inline void free_any_at(void *object)
{
        int saved_ = errno;
        free(*(void **)object);
        errno = saved_;
}
#define scoped_free __attribute__((cleanup(free_any_at)))

#define must_check __attribute__((warn_unused_result))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
