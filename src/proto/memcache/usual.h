/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit usual reads requests in the form that nearly all of them have, in one pass: single spaces,
 * plain numbers, CRLF, no option. Unit request reads all forms and gives the same for these. */
#ifndef PROTO_MEMCACHE_USUAL_H
#define PROTO_MEMCACHE_USUAL_H

#include "proto/proto.h"

/** Reads the request at the front of `in`, of which nothing was read before but perhaps the usual
 * line of a store. PARSE_DONE; PARSE_MORE: the line is whole, its data is not; PARSE_BAD: it has
 * another form, or is not whole, and nothing has happened. */
enum parse usual_request(struct request_parser *p, const struct proto_session *ses, struct span in,
                         struct request_view *out);

#endif
