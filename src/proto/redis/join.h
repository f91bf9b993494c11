/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit join makes one reply of those of several servers: a function for each policy, named by the
 * classes of redis_classes.def. What the servers said was framed before, so that it is whole; that it
 * has the shape which the policy needs is checked here. */
#ifndef PROTO_REDIS_JOIN_H
#define PROTO_REDIS_JOIN_H

#include "proto/proto.h"
#include "proto/redis/reply.h"

/** join of proto_redis. Nothing is appended when it fails. */
bool redis_join(uint8_t join, const struct part_reply *parts, uint32_t part_count,
                const uint16_t *part_of, uint32_t key_count, struct chunk_pool *pool,
                struct chain *out, uint32_t *bad);

/** What every reply must be that is joined so, unless it is an error. */
enum reply_shape redis_join_shape(uint8_t join);

#endif
