/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit modula is the distribution by remainder: the live members, each repeated as often as its
 * weight says, are slots, and a key goes to the slot of its hash modulo their number. */
#include <stddef.h>
#include <stdlib.h>

#include "route/ring.h"

/* Where the slots of a live member end, instead of the slots themselves: a weight may be two
 * thousand millions. */
struct slots {
    uint64_t end;
    uint32_t member;
};

struct modula_ring {
    struct ring ring;
    uint64_t total;
    uint32_t count;
    struct slots slots[];
};

static const struct modula_ring *modula_of(const struct ring *r)
{
    return (const struct modula_ring *)(const void *)r;
}

static struct ring *modula_build(struct ring_source *s, const bool *live)
{
    uint32_t count = ring_live(s, live);
    struct modula_ring *r = malloc(sizeof(*r) + (size_t)count * sizeof(r->slots[0]));
    if (r == NULL)
        return NULL;
    *r = (struct modula_ring){.ring = {&dist_modula}};
    for (uint32_t i = 0; i < s->count; i++) {
        if (!live[i])
            continue;
        r->total += s->members[i].weight;
        r->slots[r->count++] = (struct slots){r->total, i};
    }
    return &r->ring;
}

/* The member of a slot is the first whose slots end behind it: by halving, without a branch. */
static uint32_t modula_member(const struct modula_ring *r, uint64_t slot)
{
    const struct slots *at = r->slots;
    for (size_t left = r->count; left > 1;) {
        size_t half = left / 2;
        at += half * (size_t)(at[half - 1].end <= slot);
        left -= half;
    }
    return at->member;
}

static uint32_t modula_pick(const struct ring *ring, uint32_t hash, uint32_t random)
{
    const struct modula_ring *r = modula_of(ring);
    (void)random;
    /* 32 bits divide much faster than 64 on many machines, and with more slots than that the
     * remainder is the hash. */
    return modula_member(r, r->total > UINT32_MAX ? hash : hash % (uint32_t)r->total);
}

static uint32_t modula_size(const struct ring *ring)
{
    const struct modula_ring *r = modula_of(ring);
    return r->total > UINT32_MAX ? UINT32_MAX : (uint32_t)r->total;
}

static void modula_point(const struct ring *ring, uint32_t i, uint32_t *value, uint32_t *member)
{
    *value = i;
    *member = modula_member(modula_of(ring), i);
}

const struct dist dist_modula = {modula_build, modula_pick, modula_size, modula_point, false};
