/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit moves says what part of the hashes goes to another server when one pool takes the place of another. Servers are
 * the same if they have the same name. */
#ifndef TOOL_MOVES_H
#define TOOL_MOVES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/must.h"
#include "tool/spread.h"

struct move {
    uint32_t from; /* index of a server of the old pool */
    uint32_t to;   /* of the new one */
    double part;   /* of all hashes */
};

enum moves_method {
    MOVES_EXACT, /* every hash was counted */
    MOVES_EXPECTED, /* other hash functions: products of shares, as if the hashes had nothing to do with each other */
    MOVES_NONE, /* a pool's distribution is random: keys have no place to move from */
};

/* Starts as {0}. */
struct moves {
    enum moves_method method;
    double moved;     /* sum of all parts */
    struct move *all; /* after moves_find(): the largest first */
    size_t count;
    size_t room;
};

/** Finds all moves from `old` to `new`. False if memory is out. Free it in any case. */
must_check bool moves_find(struct moves *m, const struct spread *old, const struct spread *new);

void moves_free(struct moves *m);

/** The server of `conf` that has that name, or UINT32_MAX. */
uint32_t moves_server_named(const struct conf_pool *conf, const char *name);

#endif
