/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit keys finds the keys of a request by the places that its command's row names. */
#ifndef PROTO_REDIS_KEYS_H
#define PROTO_REDIS_KEYS_H

#include "proto/proto.h"
#include "proto/redis/command.h"

/** Slow path of keys_find(). */
bool keys_find_all(const struct command *c, struct request_view *v);

/** Sets the ranges of `v` (whose base and args are set) to the keys that a server could read in it.
 * A request whose keys no server can find gets none: every server refuses it with an error of its
 * own. False if it is a blocking one. */
static inline bool keys_find(const struct command *c, struct request_view *v)
{
    /* Most commands name one key, the first word behind their own name. */
    const struct key_place *k = c->places;
    if (k[0].kind != PLACE_RANGE || k[0].first != 1 || k[0].last != 1 || k[1].kind != PLACE_NONE ||
        v->args->count < 2)
        return keys_find_all(c, v);
    v->keys[0] = (struct key_range){1, 1, 1};
    v->ranges = 1;
    return true;
}

#endif
