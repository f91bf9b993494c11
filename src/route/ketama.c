/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit ketama is the consistent distribution: every member has many points on a ring of 2^32, and a
 * key goes to the first point at or behind its hash. Points, their number and their rounding are
 * those of twemproxy, so that keys stay where they are. The source keeps all points ever computed
 * in ring order; a ring is those of them that are on it now, in one pass. */
#include <md5.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "route/bytes.h"
#include "route/ring.h"

enum {
    POINTS = 160,        /* of a member of average weight */
    POINTS_A_DIGEST = 4, /* a digest of 16 bytes gives as many points of four */
    LABEL_MAX = 272,     /* bytes of "name-number" that are hashed */
    LOOKED_AT = 4,       /* points that a pick compares at once */
};

struct ketama_ring {
    struct ring ring;
    uint32_t count;
    uint32_t shift; /* a hash's bucket is its bits above these */
    uint32_t
        *starts; /* of each bucket, and behind the last: the first point in it or in a later one */
    uint32_t *values; /* of each point, sorted */
    uint32_t
        *members; /* of each point, and behind the last the first again, where the ring closes */
    uint32_t memory[];
};

static const struct ketama_ring *ketama_of(const struct ring *r)
{
    return (const struct ketama_ring *)(const void *)r;
}

/* How many digests of a member are on the ring. twemproxy computes this in 32-bit floats, and for
 * some numbers of servers (25, 47, 50 ...) the rounding takes four points from each: every step
 * must round to a float, on machines that would compute with more bits or fuse two steps also. */
static uint32_t digests_due(uint32_t weight, uint64_t total, uint32_t live)
{
    volatile float v = (float)weight / (float)total;
    v = v * (float)POINTS;
    v = v / (float)POINTS_A_DIGEST;
    v = v * (float)live;
    volatile double raised = (double)v + 1e-10;
    v = (float)raised;
    return (uint32_t)v;
}

/* Fills due[i] with the number of digests of each member on the ring, 0 for one that is not live;
 * returns their sum. */
static uint64_t ketama_shares(const struct ring_source *s, const bool *live, uint32_t *due)
{
    uint32_t members = ring_live(s, live);
    uint64_t total = 0, sum = 0;
    for (uint32_t i = 0; i < s->count; i++)
        total += live[i] ? s->members[i].weight : 0;
    for (uint32_t i = 0; i < s->count; i++) {
        due[i] = live[i] ? digests_due(s->members[i].weight, total, members) : 0;
        sum += due[i];
    }
    return sum;
}

/* The four points of digest `number` of a member. */
static void ketama_digest(const struct ring_source *s, uint32_t member, uint32_t number,
                          struct ketama_point *points)
{
    struct span name = s->members[member].name;
    char label[LABEL_MAX + sizeof("-4294967295")];
    size_t len = name.len < LABEL_MAX ? name.len : LABEL_MAX;
    memcpy(label, name.ptr, len);
    len += (size_t)snprintf(label + len, sizeof(label) - len, "-%u", number);
    MD5_CTX md5;
    uint8_t digest[MD5_DIGEST_LENGTH];
    MD5Init(&md5);
    MD5Update(&md5, (const uint8_t *)label, len < LABEL_MAX ? len : LABEL_MAX);
    MD5Final(digest, &md5);
    for (size_t i = 0; i < POINTS_A_DIGEST; i++)
        points[i] = (struct ketama_point){le32((const char *)digest + 4 * i), member, number};
}

/* Ring order. Points of the same value stand in the order of members and digests, so that the first
 * of them wins. */
static int ketama_compare(const void *left, const void *right)
{
    const struct ketama_point *a = left, *b = right;
    if (a->value != b->value)
        return a->value < b->value ? -1 : 1;
    if (a->member != b->member)
        return a->member < b->member ? -1 : 1;
    return (a->digest > b->digest) - (a->digest < b->digest);
}

/* Merges `fresh` into the source's points, which have room for it: from the back, so that nothing
 * is overwritten. */
static void ketama_merge(struct ring_source *s, const struct ketama_point *fresh, size_t count)
{
    size_t old = s->points_count, to = old + count;
    s->points_count = to;
    while (count > 0) {
        bool from_old = old > 0 && ketama_compare(&s->points[old - 1], &fresh[count - 1]) > 0;
        s->points[--to] = from_old ? s->points[--old] : fresh[--count];
    }
}

/* Computes the points that are due and not known yet. False if memory is out: what was known still
 * is. */
static bool ketama_grow(struct ring_source *s, const uint32_t *due)
{
    size_t missing = 0;
    for (uint32_t i = 0; i < s->count; i++)
        missing += due[i] > s->digests[i] ? (size_t)(due[i] - s->digests[i]) * POINTS_A_DIGEST : 0;
    if (missing == 0)
        return true;
    struct ketama_point *fresh = calloc(missing, sizeof(*fresh));
    struct ketama_point *grown =
        reallocarray(s->points, s->points_count + missing, sizeof(*s->points));
    if (grown != NULL)
        s->points = grown;
    if (fresh == NULL || grown == NULL) {
        free(fresh);
        return false;
    }
    size_t at = 0;
    for (uint32_t i = 0; i < s->count; i++)
        for (; s->digests[i] < due[i]; s->digests[i]++, at += POINTS_A_DIGEST)
            ketama_digest(s, i, s->digests[i], fresh + at);
    qsort(fresh, missing, sizeof(*fresh), ketama_compare);
    ketama_merge(s, fresh, missing);
    free(fresh);
    return true;
}

/* The number of bits that a hash is shifted by so that a bucket holds one or two points on average.
 */
static uint32_t bucket_shift(uint32_t count)
{
    uint32_t shift = 31;
    while (shift > 1 && count >> (32 - shift) > 1)
        shift--;
    return shift;
}

/* An empty ring with room for `count` points. */
static struct ketama_ring *ketama_new(uint32_t count)
{
    uint32_t shift = bucket_shift(count);
    size_t buckets = ((size_t)1 << (32 - shift)) + 1;
    size_t words = buckets + count + LOOKED_AT + count + 1;
    struct ketama_ring *r = malloc(sizeof(*r) + words * sizeof(r->memory[0]));
    if (r == NULL)
        return NULL;
    *r = (struct ketama_ring){
        .ring = {&dist_ketama},
        .count = count,
        .shift = shift,
        .starts = r->memory,
        .values = r->memory + buckets,
        .members = r->memory + buckets + count + LOOKED_AT,
    };
    return r;
}

/* Takes from the source's points those that are on the ring. */
static void ketama_fill(struct ketama_ring *r, const struct ring_source *s, const uint32_t *due)
{
    uint32_t n = 0, bucket = 0, buckets = 1U << (32 - r->shift);
    for (size_t i = 0; i < s->points_count; i++) {
        const struct ketama_point *p = &s->points[i];
        if (p->digest >= due[p->member])
            continue;
        while (bucket <= p->value >> r->shift)
            r->starts[bucket++] = n;
        r->values[n] = p->value;
        r->members[n++] = p->member;
    }
    must(n == r->count);
    while (bucket <= buckets)
        r->starts[bucket++] = n;
    r->members[n] = r->members[0];
    for (uint32_t i = 0; i < LOOKED_AT; i++)
        r->values[n + i] = UINT32_MAX;
}

static struct ring *ketama_build(struct ring_source *s, const bool *live)
{
    uint32_t *due = calloc(s->count, sizeof(*due));
    if (due == NULL)
        return NULL;
    struct ketama_ring *r = NULL;
    uint64_t digests = ketama_shares(s, live, due);
    if (digests <= UINT32_MAX / POINTS_A_DIGEST / 2 && ketama_grow(s, due))
        r = ketama_new((uint32_t)digests * POINTS_A_DIGEST);
    if (r != NULL)
        ketama_fill(r, s, due);
    free(due);
    return r == NULL ? NULL : &r->ring;
}

/* The first point of a bucket at or behind a hash, by halving. */
static uint32_t ketama_search(const struct ketama_ring *r, uint32_t low, uint32_t high,
                              uint32_t hash)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (r->values[middle] < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Nearly always the point is one of the first few of the bucket, and counting those before the hash
 * costs no branch to guess. Only servers that share their points can fill a bucket. */
static uint32_t ketama_pick(const struct ring *ring, uint32_t hash, uint32_t random)
{
    const struct ketama_ring *r = ketama_of(ring);
    (void)random;
    const uint32_t *bucket = r->starts + (hash >> r->shift);
    const uint32_t *value = r->values + bucket[0];
    uint32_t before = (uint32_t)(value[0] < hash) + (uint32_t)(value[1] < hash) +
                      (uint32_t)(value[2] < hash) + (uint32_t)(value[3] < hash);
    if (before < LOOKED_AT)
        return r->members[bucket[0] + before];
    return r->members[ketama_search(r, bucket[0] + LOOKED_AT, bucket[1], hash)];
}

static uint32_t ketama_size(const struct ring *ring)
{
    return ketama_of(ring)->count;
}

static void ketama_point(const struct ring *ring, uint32_t i, uint32_t *value, uint32_t *member)
{
    const struct ketama_ring *r = ketama_of(ring);
    *value = r->values[i];
    *member = r->members[i];
}

const struct dist dist_ketama = {ketama_build, ketama_pick, ketama_size, ketama_point, false};
