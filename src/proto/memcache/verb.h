/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit verb is the table of the commands of memcached's text protocol: memcache_commands.def. */
#ifndef PROTO_MEMCACHE_VERB_H
#define PROTO_MEMCACHE_VERB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

/** How the line of a command is read. */
enum shape {
    SHAPE_KEYS,
    SHAPE_EXPTIME_KEYS,
    SHAPE_STORE,
    SHAPE_DELTA,
    SHAPE_EXPTIME,
    SHAPE_KEY,
    SHAPE_BARE,
    SHAPE_FLUSH,
    SHAPE_LEVEL,
    SHAPE_QUIT,
    SHAPE_STATS,
    SHAPE_REFUSED,
    SHAPE_META,
    SHAPE_META_SET,
    SHAPE_META_DEBUG,
    SHAPE_META_NOOP,
};

struct verb {
    char name[16]; /* filled up with NULs */
    uint8_t len;   /* of the name */
    uint8_t shape;
    uint8_t expect; /* enum reply_expect */
    uint8_t least;  /* words behind the name */
    uint8_t most;   /* 0: any number */
    bool write;
};

static inline struct span verb_name(const struct verb *c)
{
    return (struct span){c->name, c->len};
}

/** The command of that name. NULL: there is none. */
const struct verb *verb_find(struct span name);

/** The command whose name, of at most eight bytes, scan_load() reads as `name`. NULL: there is none. */
const struct verb *verb_find_short(uint64_t name);

#endif
