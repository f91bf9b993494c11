/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit split makes the parts of a request that several servers are asked, or that are asked one after
 * the other.
 *
 * SCAN goes through the servers in their order. The cursor that a client sees is the server's own times
 * the number of servers, plus the number of the server: 0 begins, as with a server, and 0 is the end. So
 * it stays small where the server's is, for clients that can't count to 2^64. */
#ifndef PROTO_REDIS_SPLIT_H
#define PROTO_REDIS_SPLIT_H

#include "proto/proto.h"

/** compose_part of proto_redis. */
bool redis_compose_part(const struct request_view *v, const uint32_t *order, uint32_t count,
                        struct buf *out);

/** What a client's cursor says: whose turn it is, and the cursor of that server. False if it is no
 * cursor. */
must_check bool split_cursor(struct span text, uint32_t servers, uint32_t *server,
                             uint64_t *cursor);

#endif
