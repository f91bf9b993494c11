/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit scan steps over the words and numbers of a line, eight bytes at a time where it can. It knows
 * the usual form only: who meets another reads the line again with unit line. */
#ifndef PROTO_MEMCACHE_SCAN_H
#define PROTO_MEMCACHE_SCAN_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { SCAN_STEP = 8, SCAN_DIGITS = 9 };

/** The eight bytes at `p`, the first one lowest. */
static inline uint64_t scan_load(const char *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof(x));
    return le64toh(x);
}

/** Sets the highest bit of the first byte that is a space or below, and no bit under it. What it
 * says of later bytes may be wrong: a borrow runs up, never down. */
static inline uint64_t scan_low(uint64_t x)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    return (x - ones * (' ' + 1)) & ~x & (ones << 7);
}

/** Number of the byte that scan_low() found; `low` is not 0. */
static inline unsigned scan_first(uint64_t low)
{
    return (unsigned)__builtin_ctzll(low) / 8;
}

/** Where the first byte is that is a space or below; `end` if there is none. */
static inline const char *scan_word(const char *p, const char *end)
{
    while (end - p >= SCAN_STEP) {
        uint64_t low = scan_low(scan_load(p));
        if (low != 0)
            return p + scan_first(low);
        p += SCAN_STEP;
    }
    while (p < end && (unsigned char)*p > ' ')
        p++;
    return p;
}

/** Reads a number of at most SCAN_DIGITS digits. Where it ends, and there is a byte; NULL if none
 * is there or it is longer. */
static inline const char *scan_number(const char *p, const char *end, uint32_t *out)
{
    const char *start = p;
    const char *stop = end - p > SCAN_DIGITS ? p + SCAN_DIGITS : end;
    uint32_t n = 0;
    while (p < stop && *p >= '0' && *p <= '9')
        n = n * 10 + (uint32_t)(*p++ - '0');
    *out = n;
    return p == start || p == end ? NULL : p;
}

#endif
