/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/ring_view.h"

#include <string.h>

const char *ring_hash_name(int hash)
{
    static const char *const names[] = {
#define HASH(name, symbol, text) name,
#include "hashes.def"
#undef HASH
    };
    return names[hash];
}

const char *ring_dist_name(int dist)
{
    static const char *const names[] = {
#define DIST(name, symbol, text) name,
#include "dists.def"
#undef DIST
    };
    return names[dist];
}

bool ring_pool_missing(const struct conf *other, const char *name)
{
    for (uint32_t i = 0; i < other->pool_count; i++)
        if (strcmp(other->pools[i].name, name) == 0)
            return false;
    return true;
}
