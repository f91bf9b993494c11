/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit reply frames the replies of redis servers: any shape of RESP2, or of RESP3, however it is cut,
 * without keeping a byte of it. What is not that protocol to the letter is no reply: its connection
 * can't be trusted to be in step. */
#ifndef PROTO_REDIS_REPLY_H
#define PROTO_REDIS_REPLY_H

#include "proto/proto.h"
#include "proto/redis/header.h"

/** Arrays that may be open within another at a time (an array that is the last element of its own
 * takes its place). Deeper ones are no reply. */
enum { REPLY_DEPTH = 1 << 20 };

/** What a connection speaks: the lowest bit of the `expect` of parse_reply. A push of RESP3 is no reply to
 * anything, and an attribute is a part of the element behind it. */
enum { REPLY_RESP2, REPLY_RESP3 };

/** What a reply must be, unless it is an error: the bits above it. */
enum reply_shape {
    REPLY_ANY,
    REPLY_STATUS,
    REPLY_INTEGER,
    REPLY_STRING, /* or null */
    REPLY_ARRAY,
    REPLY_ELEMENTS, /* an array, set or map, or null */
};

/** `expect` for a reply of that shape, of the version that `expect` names. */
static inline uint8_t reply_of_shape(uint8_t expect, enum reply_shape shape)
{
    return (uint8_t)((expect & REPLY_RESP3) | (unsigned)shape << 1);
}

/** Is a reply that begins with `c` of that shape? */
bool redis_reply_is(enum reply_shape shape, char c);

/** parse_reply and reply_reset of proto_redis. */
enum parse redis_reply_parse(struct reply_parser *p, uint8_t expect, struct span in, size_t *used);
void redis_reply_reset(struct reply_parser *p);

/** Bytes of the bulk string, null included, that `in` begins with; 0 if it is none or not whole. */
size_t redis_reply_bulk(struct span in);

/** The same of a value that a framed reply holds: there null may also be that of RESP3. `last` is the
 * header of the value before. */
size_t redis_reply_value(struct header *last, struct span in);

#endif
