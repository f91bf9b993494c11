/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit bytes reads numbers out of a key as x86 does, on every machine: little-endian, at any
 * alignment, and with the choice of sign extension spelt out, because whether a plain `char` is
 * signed differs between machines. */
#ifndef ROUTE_BYTES_H
#define ROUTE_BYTES_H

#include <stdint.h>

static inline uint32_t byte_unsigned(const char *p)
{
    return (uint8_t)*p;
}

/** A byte from 0x80 up fills the upper 24 bits with ones. */
static inline uint32_t byte_signed(const char *p)
{
    /* Any object may be read as bytes of either sign, and this is one instruction. */
    const int8_t *byte = (const int8_t *)p;
    return (uint32_t)*byte;
}

static inline uint32_t le16(const char *p)
{
    return byte_unsigned(p) | (byte_unsigned(p + 1) << 8);
}

static inline uint32_t le32(const char *p)
{
    return le16(p) | (le16(p + 2) << 16);
}

#endif
