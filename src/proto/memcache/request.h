/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit request reads the requests of memcached's text protocol. What memcached 1.6.18 reads as one
 * request is forwarded in the form that every memcached reads alike; what it refuses is answered
 * here with its own line, and as many bytes are taken from the client as it would take. */
#ifndef PROTO_MEMCACHE_REQUEST_H
#define PROTO_MEMCACHE_REQUEST_H

#include "proto/proto.h"

/** As struct proto says. */
enum parse memcache_parse_request(struct request_parser *p, struct proto_session *ses,
                                  struct span in, struct buf *scratch, struct request_view *out);
bool memcache_compose_part(const struct request_view *v, const uint32_t *order, uint32_t count,
                           struct buf *out);

#endif
