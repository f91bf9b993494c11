/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit ring is what the distributions share behind dist.h: how one plugs in, and the members they
 * build of. */
#ifndef ROUTE_RING_H
#define ROUTE_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/must.h"
#include "route/dist.h"

/* A distribution. Its ring embeds `struct ring` as the first member, is one block of malloc and
 * never changes. */
struct dist {
    struct ring *(*build)(struct ring_source *s, const bool *live);
    uint32_t (*pick)(const struct ring *r, uint32_t hash, uint32_t random);
    uint32_t (*size)(const struct ring *r);
    void (*point)(const struct ring *r, uint32_t i, uint32_t *value, uint32_t *member);
    bool random; /* picks by the random number and not by the hash */
};

extern const struct dist dist_ketama;
extern const struct dist dist_modula;
extern const struct dist dist_random;

struct ring {
    const struct dist *dist;
};

/* A point of a member that is known, on the ring or not: `digest` is the number of the MD5 digest
 * that it comes from. */
struct ketama_point {
    uint32_t value;
    uint32_t member;
    uint32_t digest;
};

struct ring_source {
    const struct dist *dist;
    struct dist_member *members; /* names point into `names` */
    char *names;
    uint32_t count;
    /* For ketama: every point computed so far, in ring order, and how many digests of each member
     * that covers. */
    struct ketama_point *points;
    size_t points_count;
    uint32_t *digests;
};

/** How many of the source's members live; at least one does. */
uint32_t ring_live(const struct ring_source *s, const bool *live);

#endif
