/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit words is the words of a request. */
#ifndef PROTO_REDIS_WORDS_H
#define PROTO_REDIS_WORDS_H

#include <stdint.h>

#include "base/span.h"
#include "proto/args.h"
#include "proto/proto.h"

/** Word `i` of the request, less than v->args->count; its name is word 0. */
static inline struct span word(const struct request_view *v, uint32_t i)
{
    return args_span(v->args, v->base, i);
}

#endif
