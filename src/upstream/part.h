/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit part is one request to one server and the reply that belongs to it. A part stands in the
 * FIFO of one server connection from the moment it is sent until its reply is whole or it failed.
 *
 * Lifetime: embedded in its owner (a request, a piece of a split request). The owner fills it and
 * hands it to upstream_send(); from then it is the upstream's, until `reply` with `last` or
 * `failed` gives it back. Exactly one of the two ends it. */
#ifndef UPSTREAM_PART_H
#define UPSTREAM_PART_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/span.h"

struct part;

struct part_events {
    /** The next bytes of its reply, in order; with `last` they complete it, and `error` says
     * whether the server answered with an error. */
    void (*reply)(struct part *p, struct span piece, bool last, bool error);
    /** No (further) reply will come. `reason` is a text for the client, lent for the time of the
     * call. */
    void (*failed)(struct part *p, struct span reason);
    /** Its connection was given up, yet its reply may still come there: until it ended, no later
     * part of the same client may go to another connection of that server, or it could overtake.
     * `p->drains` is set from here on. Called at most once. NULL: its owner has no later one. */
    void (*drains)(struct part *p);
    /** Asked of one that no server has seen: must it stay behind such a part of its client? NULL:
     * never. */
    bool (*stays)(const struct part *p);
};

/** A `grace` for ever. */
#define PART_PATIENT ((uint64_t)1 << 62)

/** Are its requests a transaction? Then the connection must not go on if it did not begin, or did not end. */
enum part_brackets {
    PART_PLAIN, /* no */
    PART_OPENS, /* yes, and the first reply tells whether it begins: an error is the reply of all */
    PART_OPENED, /* upstream's: it has begun */
};

struct part {
    struct list link; /* in the FIFO of its connection */
    const struct part_events *on;
    uint64_t start;   /* where its bytes begin among those of the connection's requests */
    uint64_t born;    /* when its time began to run: ms of the loop's clock */
    uint64_t grace;   /* ms beyond the pool's timeout that it may take; PART_PATIENT: any time */
    uint32_t skip;    /* replies to drop before the one that it is sent for */
    uint32_t bytes;   /* of its request */
    uint8_t expect;   /* for the protocol's parse_reply() */
    uint8_t brackets; /* enum part_brackets */
    bool drains;      /* upstream's: drains() was called */
    bool moved; /* upstream's: its connection ended before it was sent, and it went to another */
};

#endif
