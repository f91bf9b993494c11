/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit hint tells compiler and processor what is likely, and what is needed soon. Nothing depends on
 * it but time. */
#ifndef BASE_HINT_H
#define BASE_HINT_H

#include <stddef.h>
#include <stdint.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/** Part of what is done for every request: to call it would cost more than the room that it takes. */
#define every_request inline __attribute__((always_inline))

enum { CACHE_LINE = 64 };

/** The `bytes` at `p`, which may be any pointer, are written or read soon: what the processor does not
 * have near it is fetched meanwhile. */
static inline __attribute__((always_inline)) void hint_soon(const void *p, size_t bytes)
{
    /* No arithmetic on the pointer, which may be NULL. */
    for (size_t at = 0; at < bytes; at += CACHE_LINE)
        __builtin_prefetch((const void *)((uintptr_t)p + at), 1);
}

#endif
