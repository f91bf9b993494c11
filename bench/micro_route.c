/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit micro_route runs the hashes over keys, and the rings over hashes. */
#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "micro.h"
#include "payload.h"
#include "route/dist.h"
#include "route/hash.h"

/* Keys and hashes that are taken in turn, so that no branch is learnt by heart. */
enum { DIFFERENT = 1024, MEMBERS_MAX = 32 };

struct hash_state {
    hash_fn *hash;
    struct span keys[DIFFERENT];
    struct buf bytes;
};

static __attribute__((noinline)) uint32_t null_hash(struct span key)
{
    return (uint32_t)key.len;
}

static void *hash_begin(const struct micro *m, bool null)
{
    const enum hash_kind *kind = m->arg;
    struct hash_state *s = calloc(1, sizeof(*s));
    must(s != NULL);
    s->hash = null ? null_hash : hash_function(*kind);
    for (uint32_t i = 0; i < DIFFERENT; i++)
        payload_key(&s->bytes, i);
    for (uint32_t i = 0; i < DIFFERENT; i++)
        s->keys[i] = span_of(s->bytes.data + (size_t)i * PAYLOAD_KEY, PAYLOAD_KEY);
    return s;
}

static uint64_t hash_run(void *state, uint64_t n)
{
    struct hash_state *s = state;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum += s->hash(s->keys[i % DIFFERENT]);
    return sum;
}

static void hash_end(void *state)
{
    struct hash_state *s = state;
    buf_free(&s->bytes);
    free(s);
}

typedef uint32_t pick_fn(const struct ring *r, uint32_t hash, uint32_t random);

struct route {
    enum dist_kind kind;
    uint32_t members;
};

struct route_state {
    pick_fn *pick;
    struct ring *ring;
    uint32_t hashes[DIFFERENT];
};

static __attribute__((noinline)) uint32_t null_pick(const struct ring *r, uint32_t hash,
                                                    uint32_t random)
{
    (void)r;
    (void)random;
    return hash;
}

static void *route_begin(const struct micro *m, bool null)
{
    const struct route *route = m->arg;
    struct dist_member members[MEMBERS_MAX] = {0};
    char names[MEMBERS_MAX][32];
    for (uint32_t i = 0; i < route->members; i++) {
        int n = snprintf(names[i], sizeof(names[i]), "10.0.0.%u:11211", i);
        members[i] = (struct dist_member){span_of(names[i], (size_t)n), 1, true};
    }
    struct route_state *s = calloc(1, sizeof(*s));
    must(s != NULL);
    s->pick = null ? null_pick : ring_pick;
    s->ring = ring_build(route->kind, members, route->members);
    must(s->ring != NULL);
    uint64_t random = 1;
    for (uint32_t i = 0; i < DIFFERENT; i++)
        s->hashes[i] = (uint32_t)(payload_random(&random) >> 32);
    return s;
}

static uint64_t route_run(void *state, uint64_t n)
{
    struct route_state *s = state;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum += s->pick(s->ring, s->hashes[i % DIFFERENT], 0);
    return sum;
}

static void route_end(void *state)
{
    struct route_state *s = state;
    ring_free(s->ring);
    free(s);
}

static const enum hash_kind kinds[] = {
#define HASH(name, symbol, text) HASH_##symbol,
#include "hashes.def"
#undef HASH
};
static const struct route routes[] = {{DIST_ketama, 2}, {DIST_ketama, 20}, {DIST_modula, 20}};

#define ROUTE(text, i)                                                                             \
    {                                                                                              \
        .name = (text), .arg = &routes[i], .begin = route_begin, .run = route_run,                 \
        .end = route_end                                                                           \
    }

static const struct micro pieces[] = {
#define HASH(config_name, symbol, text)                                                            \
    {.name = "hash " config_name " 12 B",                                                          \
     .arg = &kinds[HASH_##symbol],                                                                 \
     .begin = hash_begin,                                                                          \
     .run = hash_run,                                                                              \
     .end = hash_end},
#include "hashes.def"
#undef HASH
    ROUTE("route ketama, 2 servers", 0),
    ROUTE("route ketama, 20 servers", 1),
    ROUTE("route modula, 20 servers", 2),
};

struct micro_list micro_route(void)
{
    return (struct micro_list){pieces, ARRAY_LEN(pieces)};
}
