/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/utf8.h"

/* By its first byte: how long a character is, what of that byte counts, and the least that needs such a length. */
static size_t shape_of(unsigned char first, uint32_t *bits, uint32_t *least)
{
    static const uint32_t leasts[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = first < 0x80 ? 1 : first < 0xc0 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    *bits = len == 1 ? first : first & (0x7fU >> len);
    *least = leasts[len];
    return first > 0xf4 ? 0 : len;
}

size_t utf8_read(struct span s, uint32_t *out)
{
    uint32_t least, bits;
    size_t len = shape_of((unsigned char)s.ptr[0], &bits, &least);
    if (len == 0 || len > s.len)
        return 0;
    for (size_t i = 1; i < len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if ((c & 0xc0) != 0x80)
            return 0;
        bits = bits << 6 | (c & 0x3f);
    }
    if (bits < least || bits > 0x10ffff || (bits >= 0xd800 && bits <= 0xdfff))
        return 0;
    *out = bits;
    return len;
}

bool utf8_is(struct span s)
{
    uint32_t ignored;
    while (s.len > 0) {
        size_t len = utf8_read(s, &ignored);
        if (len == 0)
            return false;
        s = span_from(s, len);
    }
    return true;
}
