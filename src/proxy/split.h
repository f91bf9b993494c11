/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit split carries out a request that several servers must be asked: one whose keys lie on several,
 * or one that is for all of them. There is one part for each server, and the replies are joined when
 * the last one is in. */
#ifndef PROXY_SPLIT_H
#define PROXY_SPLIT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/proto.h"
#include "proxy/request.h"

/** Routes every key of the view into px->shards. Returns how many different servers they need; 0: a
 * key has none. False in `*memory` if memory is out. */
uint32_t split_route(struct client *c, const struct request_view *v, bool *memory);

/** Of the servers that split_route() found, one that is busy if there is one, else any. */
uint32_t split_busiest(const struct client *c);

/** Sends a part to each server that split_route() found. The request is answered whatever happens.
 */
void split_start(struct request *r, const struct request_view *v, uint32_t parts);

/** Sends the view's `wire` to every server of the pool. Those that are ejected are asked, too: what
 * concerns all must reach all that live, and who does not answer makes an error that names it. The
 * request is answered whatever happens. */
void split_broadcast(struct request *r, const struct request_view *v);

/** Sends what compose_part() makes of a REQUEST_SERVER to its server. The request is answered whatever
 * happens. */
void split_to_server(struct request *r, const struct request_view *v);

/** Frees the parts of a request; none is under way. */
void split_free(struct split *s);

#endif
