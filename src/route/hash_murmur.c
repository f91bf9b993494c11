/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit hash_murmur holds Austin Appleby's MurmurHash2 (https://github.com/aappleby/smhasher), with
 * a seed made of the length and words read as on x86. */
#include "route/bytes.h"
#include "route/hashes.h"

enum { MURMUR_M = 0x5bd1e995, MURMUR_R = 24 };

uint32_t hash_murmur(struct span key)
{
    const uint32_t m = MURMUR_M;
    uint32_t len = (uint32_t)key.len;
    uint32_t h = (0xdeadbeefU * len) ^ len;
    size_t whole = key.len - key.len % 4;
    for (const char *p = key.ptr, *end = p + whole; p < end; p += 4) {
        uint32_t k = le32(p) * m;
        k ^= k >> MURMUR_R;
        h = (h * m) ^ (k * m);
    }
    if (key.len % 4 != 0) {
        for (size_t i = whole; i < key.len; i++)
            h ^= byte_unsigned(key.ptr + i) << (8 * (i - whole));
        h *= m;
    }
    h ^= h >> 13;
    h *= m;
    h ^= h >> 15;
    return h;
}
