/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/memcache/verb.h"

#include <string.h>

#include "base/must.h"
#include "proto/memcache/reply.h"
#include "proto/memcache/scan.h"

static const struct verb verbs[] = {
#define COMMAND(name, shape, expect, least, most, write, text)                                     \
    {name, sizeof(name) - 1, SHAPE_##shape, EXPECT_##expect, least, most, write},
#include "memcache_commands.def"
#undef COMMAND
};

const struct verb *verb_find(struct span name)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (span_eq(verb_name(&verbs[i]), name))
            return &verbs[i];
    return NULL;
}

const struct verb *verb_find_short(uint64_t name)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (scan_load(verbs[i].name) == name && verbs[i].len <= SCAN_STEP)
            return &verbs[i];
    return NULL;
}
