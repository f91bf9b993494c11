/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit request frames the requests of redis clients: arrays of bulk strings, and lines. What
 * redis 7.0 accepts is accepted, what it refuses is refused in its words; see proto.h for the
 * contract of parse_request. */
#ifndef PROTO_REDIS_REQUEST_H
#define PROTO_REDIS_REQUEST_H

#include "proto/proto.h"

/** parse_request of proto_redis. */
enum parse redis_request_parse(struct request_parser *p, struct proto_session *ses, struct span in,
                               struct buf *scratch, struct request_view *out);

#endif
