/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit hash holds the twelve key hashes of twemproxy, bit for bit as on x86: where its code
 * sign-extends a `char`, so do these on every machine. */
#ifndef ROUTE_HASH_H
#define ROUTE_HASH_H

#include <stdint.h>

#include "base/span.h"

enum hash_kind {
#define HASH(name, symbol, text) HASH_##symbol,
#include "hashes.def"
#undef HASH
    HASH_KINDS
};

/** Hash of a key's bytes; 0 for an empty key. */
typedef uint32_t hash_fn(struct span key);

/** The function of a kind. */
hash_fn *hash_function(enum hash_kind kind);

/** The part of `key` that is hashed: between the first `tag[0]` and the first `tag[1]` behind it,
 * if at least one byte lies there; else all of it. `tag` has exactly two bytes, or none. */
struct span hash_tagged(struct span key, struct span tag);

#endif
