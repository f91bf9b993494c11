/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit target is what every fuzz target shares: the function that libFuzzer calls (and replay.c, on machines without
 * it), and the bytes of an input, taken from its front. A target aborts, by must(), when a promise is broken. */
#ifndef TESTS_FUZZ_TARGET_H
#define TESTS_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

#include "base/must.h"
#include "base/span.h"

/** Plays one input. Always 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** What is left of an input. */
struct input {
    const uint8_t *at;
    size_t left;
};

/** The next byte; 0 behind the end. */
static inline uint8_t input_byte(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

/** The next `n` bytes, or what there is. */
static inline struct span input_bytes(struct input *in, size_t n)
{
    if (n > in->left)
        n = in->left;
    struct span s = span_of((const char *)in->at, n);
    in->at += n;
    in->left -= n;
    return s;
}

/** A stream of choices that a seed decides; the state is never 0. */
struct chance {
    uint64_t state;
};

static inline struct chance chance_of(uint8_t seed)
{
    return (struct chance){(seed + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15)};
}

/** A number under `below`, which is over 0. Marsaglia's xorshift*. */
static inline size_t chance_under(struct chance *c, size_t below)
{
    c->state ^= c->state >> 12;
    c->state ^= c->state << 25;
    c->state ^= c->state >> 27;
    return (size_t)((c->state * UINT64_C(2685821657736338717)) >> 33) % below;
}

#endif
