/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit word looks at eight bytes at once, on every machine alike. */
#ifndef BASE_WORD_H
#define BASE_WORD_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

/** The eight bytes at `p`, at any alignment; the first is the lowest byte of the result. */
static inline uint64_t word_load(const char *p)
{
    uint64_t w = 0;
    memcpy(&w, p, sizeof(w));
    return le64toh(w);
}

#endif
