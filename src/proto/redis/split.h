/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit split makes the parts of a request whose keys are on several servers, and one reply of
 * theirs. */
#ifndef PROTO_REDIS_SPLIT_H
#define PROTO_REDIS_SPLIT_H

#include "proto/proto.h"

/** compose_part of proto_redis. */
bool redis_compose_part(const struct request_view *v, const uint32_t *order, uint32_t count,
                        struct buf *out);

/** join of proto_redis. Nothing is appended when it fails. */
bool redis_join(uint8_t join, const struct part_reply *parts, uint32_t part_count,
                const uint16_t *part_of, uint32_t key_count, struct chunk_pool *pool,
                struct chain *out, uint32_t *bad);

#endif
