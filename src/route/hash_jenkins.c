/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit hash_jenkins holds Bob Jenkins' lookup3, hashlittle() with the initial value 13
 * (https://burtleburtle.net/bob/c/lookup3.c, public domain). */
#include <string.h>

#include "route/bytes.h"
#include "route/hashes.h"

enum { BLOCK = 12, INITIAL = 13 };

static uint32_t rotate(uint32_t x, unsigned by)
{
    return (x << by) | (x >> (32 - by));
}

static void mix_step(uint32_t *x, const uint32_t *y, uint32_t *z, unsigned by)
{
    *x -= *z;
    *x ^= rotate(*z, by);
    *z += *y;
}

static void mix(uint32_t *a, uint32_t *b, uint32_t *c)
{
    mix_step(a, b, c, 4);
    mix_step(b, c, a, 6);
    mix_step(c, a, b, 8);
    mix_step(a, b, c, 16);
    mix_step(b, c, a, 19);
    mix_step(c, a, b, 4);
}

static uint32_t last_step(uint32_t x, uint32_t y, unsigned by)
{
    return (x ^ y) - rotate(y, by);
}

static uint32_t last(uint32_t a, uint32_t b, uint32_t c)
{
    c = last_step(c, b, 14);
    a = last_step(a, c, 11);
    b = last_step(b, a, 25);
    c = last_step(c, b, 16);
    a = last_step(a, c, 4);
    b = last_step(b, a, 14);
    return last_step(c, b, 24);
}

uint32_t hash_jenkins(struct span key)
{
    uint32_t a = 0xdeadbeefU + (uint32_t)key.len + INITIAL, b = a, c = a;
    const char *p = key.ptr;
    size_t left = key.len;
    for (; left > BLOCK; left -= BLOCK, p += BLOCK) {
        a += le32(p);
        b += le32(p + 4);
        c += le32(p + 8);
        mix(&a, &b, &c);
    }
    /* The last block, whole or not, counts as if it were filled up with zeros. */
    char rest[BLOCK] = {0};
    memcpy(rest, p, left);
    return last(a + le32(rest), b + le32(rest + 4), c + le32(rest + 8));
}
