/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit transaction is what redis says of transactions, and which requests they may hold; and how long a
 * request that blocks, or that waits for replicas, may take. */
#ifndef PROTO_REDIS_TRANSACTION_H
#define PROTO_REDIS_TRANSACTION_H

#include "base/buf.h"
#include "base/must.h"
#include "proto/proto.h"
#include "proto/redis/command.h"

extern const struct proto_transaction redis_transaction;
extern const struct proto_wait redis_wait;

/** The verb of MULTI, EXEC, DISCARD, WATCH or UNWATCH, their arity being right. */
void transaction_verb(const struct command *c, struct request_view *v);

/** EXEC with words that it does not take: an error, which ends the transaction. */
void transaction_bad_exec(struct request_view *v);

/** A request between MULTI and EXEC: one that a server can queue is to be forwarded, any other is
 * answered with an error. False if memory is out. */
must_check bool transaction_queue(const struct command *c, struct proto_session *ses,
                                  struct request_view *v, struct buf *scratch);

/** Makes it a SESSION_WAIT for as long as its last word says. */
void wait_view(const struct command *c, struct request_view *v);

/** Makes it a SESSION_BLOCK for as long as its words say. */
void block_view(const struct command *c, struct request_view *v);

#endif
