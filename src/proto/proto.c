/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/proto.h"

uint32_t request_key_count(const struct request_view *v)
{
    uint32_t count = 0;
    for (uint32_t r = 0; r < v->ranges; r++)
        count += v->keys[r].count;
    return count;
}

struct span request_key(const struct request_view *v, uint32_t i)
{
    uint32_t r = 0;
    while (i >= v->keys[r].count) {
        i -= v->keys[r].count;
        r++;
        must(r < v->ranges);
    }
    return args_span(v->args, v->base, v->keys[r].first + i * v->keys[r].step);
}
