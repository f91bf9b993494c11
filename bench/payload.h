/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit payload derives the value of every key from the key, so that a reply that belongs to another
 * request is known by its bytes alone: it begins with the key and goes on with random bytes from a
 * place that depends on the key. */
#ifndef BENCH_PAYLOAD_H
#define BENCH_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

/* All keys are equally long: "key:" and eight digits. */
enum { PAYLOAD_KEY = 12, PAYLOAD_KEYS_MAX = 100000000 };

struct payload {
    uint32_t keys; /* there are keys 0 to keys - 1 */
    size_t size;   /* of a value */
    char *random;
};

/** Keys in number (1 to PAYLOAD_KEYS_MAX) with values of `size` bytes. Aborts if memory is out. */
void payload_init(struct payload *p, uint32_t keys, size_t size);
void payload_free(struct payload *p);

/** Appends the name of a key. */
void payload_key(struct buf *out, uint32_t key);

/** The number of the key of this name; false if it has not the form of one. */
bool payload_number(struct span name, uint32_t *key);

/** Appends the value of a key. */
void payload_value(const struct payload *p, struct buf *out, uint32_t key);

/** Is `part` what stands in the value of this key from byte `from` on? */
bool payload_matches(const struct payload *p, uint32_t key, size_t from, struct span part);

/** The next number of a sequence of random ones, which `state` (not 0) remembers. */
uint64_t payload_random(uint64_t *state);

#endif
