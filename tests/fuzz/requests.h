/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit requests plays a client's bytes to parse_request of one protocol, cut in several ways, and holds what comes out
 * against its promises:
 *
 * - however the bytes are cut, the same is read;
 * - no more is consumed than was given, and no byte outside of it is looked at;
 * - what is forwarded is exactly one request to a reader of its own, and so is each part of a split;
 * - an answer of the proxy's own is exactly one reply;
 * - the replies of the parts, joined, are exactly one reply; if the server answers by key, the one to the whole. */
#ifndef TESTS_FUZZ_REQUESTS_H
#define TESTS_FUZZ_REQUESTS_H

#include "answers.h"
#include "proto/proto.h"
#include "reader.h"
#include "target.h"

/** A protocol and its reader. */
struct wire {
    const struct proto *proto;
    enum reading (*request)(struct span in, struct reading_request *out);
    enum reading (*reply)(struct span in, size_t *len);
    void (*answer)(const struct reading_request *r, struct buf *out);
    /** Is the joined reply exactly what one server would say, for these words? */
    bool (*joins_exactly)(const struct reading_request *r);
};

/** The first byte of `in` chooses the settings, the second the cuts; the rest is what a client sends. */
void requests_play(const struct wire *w, struct input in);

#endif
