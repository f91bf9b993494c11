/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit replies plays a server's bytes to parse_reply of one protocol, cut in several ways, and joins what came:
 *
 * - however the bytes are cut, the same replies are framed, or refused;
 * - no more is consumed than was given, and no byte outside of it is looked at;
 * - a reply that is whole is so to a reader of its own, too, with the same length;
 * - whatever the parts of a split were answered, joined they are exactly one reply, or an error. */
#ifndef TESTS_FUZZ_REPLIES_H
#define TESTS_FUZZ_REPLIES_H

#include "proto/proto.h"
#include "reader.h"
#include "target.h"

struct reply_wire {
    const struct proto *proto;
    enum reading (*reply)(uint8_t expect, struct span in, size_t *len);
    const uint8_t *expects; /* all there are */
    size_t expect_count;
    const uint8_t *joins; /* each with what its parts, and the whole, are expected to be */
    const uint8_t *join_expects;
    size_t join_count;
};

/** The first byte of `in` chooses the expectation, the second the cuts; the rest is what the server sends. */
void replies_play(const struct reply_wire *w, struct input in);

#endif
