/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit hash_bytewise holds the hashes that take a key byte by byte: Jenkins' one-at-a-time and the
 * FNV family. All of them take bytes sign-extended. Sources: Bob Jenkins, "Hash functions" (Dr.
 * Dobb's, 1997); Fowler, Noll, Vo, RFC 9923. */
#include "route/bytes.h"
#include "route/hashes.h"

/* The 64-bit variants are cut to 32 bits, and the low half of a product depends on the low halves
 * of its factors only: so 32-bit arithmetic with the low halves of the 64-bit constants is the
 * same. */
#define FNV_64_START 0x84222325U
#define FNV_64_PRIME 0x000001b3U
#define FNV_32_START 0x811c9dc5U
#define FNV_32_PRIME 0x01000193U

uint32_t hash_one_at_a_time(struct span key)
{
    uint32_t h = 0;
    for (size_t i = 0; i < key.len; i++) {
        h += byte_signed(key.ptr + i);
        h += h << 10;
        h ^= h >> 6;
    }
    h += h << 3;
    h ^= h >> 11;
    h += h << 15;
    return h;
}

static uint32_t fnv1(struct span key, uint32_t h, uint32_t prime)
{
    for (size_t i = 0; i < key.len; i++) {
        h *= prime;
        h ^= byte_signed(key.ptr + i);
    }
    return h;
}

static uint32_t fnv1a_step(uint32_t h, uint32_t prime, const char *byte)
{
    return (h ^ byte_signed(byte)) * prime;
}

/* Each step has to wait for the product of the one before: four of them a round leave the processor
 * room for other work meanwhile. */
static uint32_t fnv1a(struct span key, uint32_t h, uint32_t prime)
{
    const char *p = key.ptr;
    const char *end = p + key.len;
    for (; end - p >= 4; p += 4) {
        h = fnv1a_step(h, prime, p);
        h = fnv1a_step(h, prime, p + 1);
        h = fnv1a_step(h, prime, p + 2);
        h = fnv1a_step(h, prime, p + 3);
    }
    for (; p < end; p++)
        h = fnv1a_step(h, prime, p);
    return h;
}

uint32_t hash_fnv1_64(struct span key)
{
    return fnv1(key, FNV_64_START, FNV_64_PRIME);
}

uint32_t hash_fnv1a_64(struct span key)
{
    return fnv1a(key, FNV_64_START, FNV_64_PRIME);
}

uint32_t hash_fnv1_32(struct span key)
{
    return fnv1(key, FNV_32_START, FNV_32_PRIME);
}

uint32_t hash_fnv1a_32(struct span key)
{
    return fnv1a(key, FNV_32_START, FNV_32_PRIME);
}
