/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/proto.h"

struct span request_key_behind(const struct request_view *v, uint32_t i)
{
    uint32_t r = 0;
    while (i >= v->keys[r].count) {
        i -= v->keys[r].count;
        r++;
        must(r < v->ranges);
    }
    return args_span(v->args, v->base, v->keys[r].first + i * v->keys[r].step);
}
