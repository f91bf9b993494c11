/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit dist chooses a server for the hash of a key: an immutable ring over the live servers of a
 * pool, built by one of the distributions. */
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

/* What the rings of a pool are made of: its members, and all that was ever computed of them, so
 * that a ring over other live members costs one pass and no MD5. Belongs to who created it, for one
 * thread at a time; its rings don't need it. */
struct ring_source;

/** A source of rings over these members (count >= 1), whose names it copies; `live` doesn't matter
 * here. NULL if memory is out. */
must_check struct ring_source *ring_source_new(enum dist_kind kind,
                                               const struct dist_member *members, uint32_t count);

/** Builds the ring over the members `i` with live[i]; at least one is. NULL if memory is out: build
 * it again later. */
must_check struct ring *ring_source_build(struct ring_source *s, const bool *live);

/** Frees a source; NULL is fine. */
void ring_source_free(struct ring_source *s);

/** Builds one ring by a source of its own; at least one member is live. NULL if memory is out. */
must_check struct ring *ring_build(enum dist_kind kind, const struct dist_member *members,
                                   uint32_t count);

/** The index (into the members it was built of) of the server for a hash. `random` is used by the
 * random distribution only: a number the caller drew. */
uint32_t ring_pick(const struct ring *r, uint32_t hash, uint32_t random);

/** Does ring_pick() want a random number (and no hash)? */
bool ring_random(const struct ring *r);

/** Points (ketama), slots (modula) or live members (random) on it: for tests and `ring` questions.
 * Slots that no hash can reach, behind the 2^32nd, are not counted. */
uint32_t ring_size(const struct ring *r);

/** Point `i` (under ring_size()) in ring order: the member, and its value (ketama; else `i`). */
void ring_point(const struct ring *r, uint32_t i, uint32_t *value, uint32_t *member);

/** Frees a ring; NULL is fine. */
void ring_free(struct ring *r);

#endif
