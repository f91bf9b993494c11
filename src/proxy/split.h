/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit split carries out a request whose keys lie on several servers: one part for each server, the
 * replies joined in order when the last one is in. */
#ifndef PROXY_SPLIT_H
#define PROXY_SPLIT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/proto.h"
#include "proxy/request.h"

/** Routes every key of the view into px->shards. Returns how many different servers they need; 0: a
 * key has none. False in `*memory` if memory is out. */
uint32_t split_route(struct client *c, const struct request_view *v, bool *memory);

/** Sends a part to each server that split_route() found. The request is answered whatever happens.
 */
void split_start(struct request *r, const struct request_view *v, uint32_t parts);

/** Frees the parts of a request; none is under way. */
void split_free(struct split *s);

#endif
