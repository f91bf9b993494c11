/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit subscribe is what redis says of subscriptions: to clients, whose replies and messages are arrays
 * in RESP2 and pushes in RESP3; and to servers, with whom RESP2 is spoken, which all of them know. */
#ifndef PROTO_REDIS_SUBSCRIBE_H
#define PROTO_REDIS_SUBSCRIBE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/must.h"
#include "proto/proto.h"
#include "proto/redis/command.h"

extern const struct proto_pubsub redis_pubsub;

/** The view of a command of the way PUBSUB, its arity being right. */
void subscribe_view(const struct command *c, struct request_view *v);

/** A client with subscriptions asks: is it to be served as any other? False: `v` is its answer, unless
 * `*memory` is false, too. */
must_check bool subscribe_allows(const struct command *c, const struct proto_session *ses,
                                 struct request_view *v, struct buf *scratch, bool *memory);

#endif
