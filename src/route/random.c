/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit random is the distribution that gives any live member, all with the same chance: weights
 * don't count. */
#include <stddef.h>
#include <stdlib.h>

#include "route/ring.h"

struct random_ring {
    struct ring ring;
    uint32_t count;
    uint32_t members[];
};

static const struct random_ring *random_of(const struct ring *r)
{
    return (const struct random_ring *)(const void *)r;
}

static struct ring *random_build(struct ring_source *s, const bool *live)
{
    uint32_t count = ring_live(s, live);
    struct random_ring *r = malloc(sizeof(*r) + (size_t)count * sizeof(r->members[0]));
    if (r == NULL)
        return NULL;
    *r = (struct random_ring){.ring = {&dist_random}, .count = count};
    for (uint32_t i = 0, n = 0; i < s->count; i++)
        if (live[i])
            r->members[n++] = i;
    return &r->ring;
}

static uint32_t random_pick(const struct ring *ring, uint32_t hash, uint32_t random)
{
    const struct random_ring *r = random_of(ring);
    (void)hash;
    return r->members[random % r->count];
}

static uint32_t random_size(const struct ring *ring)
{
    return random_of(ring)->count;
}

static void random_point(const struct ring *ring, uint32_t i, uint32_t *value, uint32_t *member)
{
    *value = i;
    *member = random_of(ring)->members[i];
}

const struct dist dist_random = {random_build, random_pick, random_size, random_point, true};
