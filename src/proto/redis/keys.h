/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit keys finds the keys of a request by the places that its command's row names. */
#ifndef PROTO_REDIS_KEYS_H
#define PROTO_REDIS_KEYS_H

#include "proto/proto.h"
#include "proto/redis/command.h"

/** Sets the ranges of `v` (whose base and args are set) to the keys that a server could read in it.
 * A request whose keys no server can find gets none: every server refuses it with an error of its
 * own. False if it is a blocking one. */
bool keys_find(const struct command *c, struct request_view *v);

#endif
