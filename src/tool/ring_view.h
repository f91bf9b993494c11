/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit ring_view is the two ways to show answers of `cashew ring`: as text for people, or as JSON. */
#ifndef TOOL_RING_VIEW_H
#define TOOL_RING_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/must.h"
#include "base/span.h"
#include "conf/conf.h"
#include "tool/moves.h"
#include "tool/screen.h"
#include "tool/spread.h"

/** Where a key goes. */
struct placed {
    struct span key;
    struct span hashed; /* the part of it that was hashed */
    uint32_t hash;
    uint32_t server; /* index, or UINT32_MAX: any */
};

/** A pool that both configurations have. */
struct ring_change {
    struct spread *old;
    struct spread *new;
    struct moves moves;
};

struct ring_diff {
    const struct conf *old;
    const struct conf *new;
    struct ring_change *changes;
    size_t count;
    bool all; /* of all pools: those that only one of the two has are told, too */
};

/** A list of keys while it is shown. */
struct ring_keys {
    const struct screen *screen;
    const struct spread *pool;
    unsigned width; /* the view's own: of the names */
    bool any;       /* at least one was shown */
};

/** Functions that return a bool: false if memory is out. */
struct ring_view {
    bool (*shares)(const struct screen *s, struct spread *const *pools, size_t count);
    /* Keys are shown one by one, however many come: first begins, then key for each, then end. */
    bool (*keys_begin)(struct ring_keys *k);
    bool (*key)(struct ring_keys *k, const struct placed *placed);
    void (*keys_end)(struct ring_keys *k);
    bool (*diff)(const struct screen *s, const struct ring_diff *diff);
};

extern const struct ring_view ring_text;
extern const struct ring_view ring_json;

/** The name of a hash or distribution, by its number in a configuration. */
const char *ring_hash_name(int hash);
const char *ring_dist_name(int dist);

/** Does the other configuration lack a pool of that name? */
bool ring_pool_missing(const struct conf *other, const char *name);

#endif
