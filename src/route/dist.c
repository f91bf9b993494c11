/* SPDX-License-Identifier: BSD-3-Clause */
#include "route/dist.h"

#include <stdlib.h>
#include <string.h>

#include "route/ring.h"

static const struct dist *const dists[DIST_KINDS] = {
#define DIST(name, symbol, text) [DIST_##symbol] = &dist_##symbol,
#include "dists.def"
#undef DIST
};

/* Copies the members and, all into one block, their names. */
static bool source_copy(struct ring_source *s, const struct dist_member *members)
{
    size_t bytes = 1;
    for (uint32_t i = 0; i < s->count; i++) {
        if (members[i].name.len > SIZE_MAX - bytes)
            return false;
        bytes += members[i].name.len;
    }
    s->members = calloc(s->count, sizeof(*s->members));
    s->digests = calloc(s->count, sizeof(*s->digests));
    s->names = malloc(bytes);
    if (s->members == NULL || s->digests == NULL || s->names == NULL)
        return false;
    char *at = s->names;
    for (uint32_t i = 0; i < s->count; i++) {
        must(members[i].weight >= 1);
        s->members[i] = members[i];
        s->members[i].name.ptr = at;
        if (members[i].name.len > 0)
            memcpy(at, members[i].name.ptr, members[i].name.len);
        at += members[i].name.len;
    }
    return true;
}

struct ring_source *ring_source_new(enum dist_kind kind, const struct dist_member *members,
                                    uint32_t count)
{
    must((unsigned)kind < DIST_KINDS);
    must(count >= 1);
    struct ring_source *s = malloc(sizeof(*s));
    if (s == NULL)
        return NULL;
    *s = (struct ring_source){.dist = dists[kind], .count = count};
    if (!source_copy(s, members)) {
        ring_source_free(s);
        return NULL;
    }
    return s;
}

struct ring *ring_source_build(struct ring_source *s, const bool *live)
{
    return s->dist->build(s, live);
}

void ring_source_free(struct ring_source *s)
{
    if (s == NULL)
        return;
    free(s->points);
    free(s->digests);
    free(s->names);
    free(s->members);
    free(s);
}

struct ring *ring_build(enum dist_kind kind, const struct dist_member *members, uint32_t count)
{
    struct ring *r = NULL;
    struct ring_source *s = ring_source_new(kind, members, count);
    bool *live = calloc(count, sizeof(*live));
    if (s != NULL && live != NULL) {
        for (uint32_t i = 0; i < count; i++)
            live[i] = members[i].live;
        r = ring_source_build(s, live);
    }
    free(live);
    ring_source_free(s);
    return r;
}

uint32_t ring_live(const struct ring_source *s, const bool *live)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->count; i++)
        n += live[i];
    must(n >= 1);
    return n;
}

uint32_t ring_pick(const struct ring *r, uint32_t hash, uint32_t random)
{
    return r->dist->pick(r, hash, random);
}

bool ring_random(const struct ring *r)
{
    return r->dist->random;
}

uint32_t ring_size(const struct ring *r)
{
    return r->dist->size(r);
}

void ring_point(const struct ring *r, uint32_t i, uint32_t *value, uint32_t *member)
{
    must(i < ring_size(r));
    r->dist->point(r, i, value, member);
}

void ring_free(struct ring *r)
{
    free(r);
}
