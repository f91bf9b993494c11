/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit dist chooses a server for the hash of a key: an immutable ring over the live servers of a pool, built by one of
 * the distributions. */
#ifndef ROUTE_DIST_H
#define ROUTE_DIST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/must.h"
#include "base/span.h"

enum dist_kind {
#define DIST(name, symbol, text) DIST_##symbol,
#include "dists.def"
#undef DIST
    DIST_KINDS
};

/** A server as a distribution sees it. Members stand in the pool's sorted order. */
struct dist_member {
    struct span name; /* what ketama hashes: the server's name, as in the stats */
    uint32_t weight;  /* >= 1 */
    bool live;        /* ejected servers are not on the ring */
};

struct ring; /* immutable once built; may be read by any thread */

/** Builds a ring; at least one member is live. NULL if memory is out. */
must_check struct ring *ring_build(enum dist_kind kind, const struct dist_member *members,
                                   uint32_t count);

/** The index (into the members it was built of) of the server for a hash. `random` is used by the random distribution
 * only: a number the caller drew. */
uint32_t ring_pick(const struct ring *r, uint32_t hash, uint32_t random);

/** Does ring_pick() want a random number (and no hash)? */
bool ring_random(const struct ring *r);

/** Points (ketama) or slots (modula) on it: for tests and `ring` questions. */
uint32_t ring_size(const struct ring *r);

/** Point `i` in ring order: its value (ketama) and the member. */
void ring_point(const struct ring *r, uint32_t i, uint32_t *value, uint32_t *member);

void ring_free(struct ring *r);

#endif
