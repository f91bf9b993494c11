/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit number reads and writes decimal numbers as redis does. */
#ifndef PROTO_REDIS_NUMBER_H
#define PROTO_REDIS_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/must.h"
#include "base/span.h"

/** Most bytes that a signed 64-bit number is written with. */
enum { NUMBER_MAX = 20 };

/** Reads all of `s` as redis reads lengths and numbers: an optional minus sign, no plus sign, no
 * leading zero, no blank, no `-0`. False if it is anything else or does not fit. */
must_check bool number_read(struct span s, int64_t *out);

/** Bytes that `n` is written with. */
static inline size_t number_digits(uint64_t n)
{
    size_t digits = 1;
    for (; n >= 10; n /= 10)
        digits++;
    return digits;
}

/** Writes `n` at `out`; returns the bytes, at most NUMBER_MAX. */
size_t number_write(char *out, uint64_t n);

#endif
