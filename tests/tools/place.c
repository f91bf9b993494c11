/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit place lets the placement test call the hashes and distributions in its own process, without
 * a proxy. The test compiles it, together with src/route, into a shared object. */
#include <stdint.h>
#include <stdlib.h>

#include "route/dist.h"
#include "route/hash.h"

#define EXPORTED __attribute__((visibility("default")))

EXPORTED int place(const char *hash, const char *dist, const char *tag, uint32_t count,
                   const char *const *names, const uint32_t *weights, const uint8_t *live,
                   uint32_t keys, const char *key_bytes, const uint32_t *key_lens,
                   uint32_t *picked);

static int hash_named(const char *name)
{
    static const char *const names[] = {
#define HASH(name, symbol, text) name,
#include "hashes.def"
#undef HASH
    };
    for (int i = 0; i < HASH_KINDS; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

static int dist_named(const char *name)
{
    static const char *const names[] = {
#define DIST(name, symbol, text) name,
#include "dists.def"
#undef DIST
    };
    for (int i = 0; i < DIST_KINDS; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

static struct ring *ring_of(enum dist_kind kind, uint32_t count, const char *const *names,
                            const uint32_t *weights, const uint8_t *live)
{
    struct dist_member *members = calloc(count, sizeof(*members));
    if (members == NULL)
        return NULL;
    for (uint32_t i = 0; i < count; i++)
        members[i] = (struct dist_member){span_str(names[i]), weights[i], live[i] != 0};
    struct ring *r = ring_build(kind, members, count);
    free(members);
    return r;
}

/** Fills `picked` with the index of the server of each key; the keys lie one behind the other. 0,
 * or -1 when a name is unknown or memory is out. */
int place(const char *hash, const char *dist, const char *tag, uint32_t count,
          const char *const *names, const uint32_t *weights, const uint8_t *live, uint32_t keys,
          const char *key_bytes, const uint32_t *key_lens, uint32_t *picked)
{
    int hash_kind = hash_named(hash), dist_kind = dist_named(dist);
    if (hash_kind < 0 || dist_kind < 0)
        return -1;
    struct ring *r = ring_of((enum dist_kind)dist_kind, count, names, weights, live);
    if (r == NULL)
        return -1;
    hash_fn *hash_key = hash_function((enum hash_kind)hash_kind);
    for (uint32_t i = 0; i < keys; key_bytes += key_lens[i++]) {
        struct span key = hash_tagged(span_of(key_bytes, key_lens[i]), span_str(tag));
        picked[i] = ring_pick(r, hash_key(key), 0);
    }
    ring_free(r);
    return 0;
}
