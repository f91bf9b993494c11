/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit hash_hsieh holds Paul Hsieh's SuperFastHash (http://www.azillionmonkeys.com/qed/hash.html),
 * started with 0 instead of the length. */
#include "route/bytes.h"
#include "route/hashes.h"

/* The one to three bytes behind the last whole word. The last of three bytes is sign-extended, a
 * single one is not. */
static uint32_t hsieh_tail(uint32_t h, const char *p, size_t left)
{
    switch (left) {
    case 3:
        h += le16(p);
        h ^= h << 16;
        h ^= byte_signed(p + 2) << 18;
        h += h >> 11;
        break;
    case 2:
        h += le16(p);
        h ^= h << 11;
        h += h >> 17;
        break;
    case 1:
        h += byte_unsigned(p);
        h ^= h << 10;
        h += h >> 1;
        break;
    default:
        break;
    }
    return h;
}

uint32_t hash_hsieh(struct span key)
{
    uint32_t h = 0;
    size_t whole = key.len - key.len % 4;
    for (const char *p = key.ptr, *end = p + whole; p < end; p += 4) {
        h += le16(p);
        h = (h << 16) ^ (le16(p + 2) << 11) ^ h;
        h += h >> 11;
    }
    h = hsieh_tail(h, key.ptr + whole, key.len % 4);
    h ^= h << 3;
    h += h >> 5;
    h ^= h << 4;
    h += h >> 17;
    h ^= h << 25;
    h += h >> 6;
    return h;
}
