/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit copy copies few bytes without a call: most requests and replies are so short that the library's
 * function spends more on finding out how to do it than on doing it. */
#ifndef BASE_COPY_H
#define BASE_COPY_H

#include <stddef.h>
#include <string.h>

/* At least `piece` bytes and at most twice as many: two pieces, which may overlap. */
#define COPY_PIECES(to, from, len, piece)                                                          \
    do {                                                                                           \
        memcpy((to), (from), (piece));                                                             \
        memcpy((to) + (len) - (piece), (from) + (len) - (piece), (piece));                         \
    } while (0)

/** memcpy(), for mostly few bytes. */
static inline void copy_bytes(char *to, const char *from, size_t len)
{
    /* Or the compiler, where it sees the source, would warn of lengths that never come. */
    __asm__("" : "+r"(from));
    if (len > 128)
        memcpy(to, from, len);
    else if (len > 64)
        COPY_PIECES(to, from, len, 64);
    else if (len > 32)
        COPY_PIECES(to, from, len, 32);
    else if (len > 16)
        COPY_PIECES(to, from, len, 16);
    else if (len >= 8)
        COPY_PIECES(to, from, len, 8);
    else if (len >= 4)
        COPY_PIECES(to, from, len, 4);
    else
        for (size_t i = 0; i < len; i++)
            to[i] = from[i];
}

#endif
