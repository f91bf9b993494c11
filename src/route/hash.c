/* SPDX-License-Identifier: BSD-3-Clause */
#include "route/hash.h"

#include <string.h>

#include "base/must.h"
#include "route/hashes.h"

/* An empty key has the hash 0 whatever the function, which several of them would not give by
 * themselves. */
#define HASH(name, symbol, text)                                                                   \
    static uint32_t any_##symbol(struct span key)                                                  \
    {                                                                                              \
        return key.len == 0 ? 0 : hash_##symbol(key);                                              \
    }
#include "hashes.def"
#undef HASH

hash_fn *hash_function(enum hash_kind kind)
{
    static hash_fn *const functions[HASH_KINDS] = {
#define HASH(name, symbol, text) [HASH_##symbol] = any_##symbol,
#include "hashes.def"
#undef HASH
    };
    must((unsigned)kind < HASH_KINDS);
    return functions[kind];
}

struct span hash_tagged(struct span key, struct span tag)
{
    if (tag.len != 2 || key.len == 0)
        return key;
    const char *open = memchr(key.ptr, tag.ptr[0], key.len);
    if (open == NULL)
        return key;
    const char *inner = open + 1;
    size_t left = key.len - (size_t)(inner - key.ptr);
    const char *close = memchr(inner, tag.ptr[1], left);
    if (close == NULL || close == inner)
        return key;
    return span_of(inner, (size_t)(close - inner));
}
