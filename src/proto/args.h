/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit args is where the arguments of one request lie in its bytes: a vector that grows with what really came, never
 * with what a header announces. */
#ifndef PROTO_ARGS_H
#define PROTO_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/must.h"
#include "base/span.h"

/** One argument: where it begins in the message, and its length. A message is shorter than REQUEST_MAX (proto.h). */
struct arg {
    uint32_t off;
    uint32_t len;
};

struct args {
    uint32_t count;
    uint32_t cap;
    struct arg *v;
};

/** Slow path of args_push(). */
must_check bool args_grow(struct args *a);

/** Appends; false if memory is out. */
must_check static inline bool args_push(struct args *a, uint32_t off, uint32_t len)
{
    if (a->count == a->cap && !args_grow(a))
        return false;
    a->v[a->count++] = (struct arg){off, len};
    return true;
}

/** The bytes of argument `i` of the message that begins at `base`. */
static inline struct span args_span(const struct args *a, const char *base, uint32_t i)
{
    return (struct span){base + a->v[i].off, a->v[i].len};
}

void args_free(struct args *a);

/** Room for so many arguments is kept. */
enum { ARGS_KEEP = 4096 };

/** Forgets all arguments; memory above a small size is given back. */
static inline void args_clear(struct args *a)
{
    a->count = 0;
    if (a->cap > ARGS_KEEP)
        args_free(a);
}

#endif
