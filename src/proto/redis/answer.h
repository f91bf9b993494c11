/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit answer makes what the proxy answers by itself: errors in the words of redis, and the few
 * local commands. Every answer makes the view a REQUEST_LOCAL one. False if memory is out. */
#ifndef PROTO_REDIS_ANSWER_H
#define PROTO_REDIS_ANSWER_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/must.h"
#include "base/span.h"
#include "proto/proto.h"
#include "proto/redis/command.h"

/** Answers with a text that lives as long as the process. */
void answer_static(struct request_view *v, struct span text);

/** `-ERR unknown command ...`, cut and cleaned as redis does. */
must_check bool answer_unknown(struct request_view *v, struct buf *scratch);

/** `-ERR unknown subcommand ...` of the container `c`. */
must_check bool answer_unknown_sub(const struct command *c, struct request_view *v,
                                   struct buf *scratch);

/** `-ERR wrong number of arguments for ...`. */
must_check bool answer_arity(const struct command *c, struct request_view *v, struct buf *scratch);

/** The command is one that the proxy never serves. */
must_check bool answer_refused(const struct command *c, struct request_view *v,
                               struct buf *scratch);

/** It can't be queued in a transaction. */
must_check bool answer_not_inside(const struct command *c, struct request_view *v,
                                  struct buf *scratch);

/** The pool's configuration denies it. */
must_check bool answer_denied(const struct command *c, struct request_view *v, struct buf *scratch);

/** The pool would have to allow it, by `key`. */
must_check bool answer_closed(const struct command *c, struct span key, struct request_view *v,
                              struct buf *scratch);

/** The client is subscribed to something and speaks a version in which replies can't be told from
 * messages. */
must_check bool answer_only_pubsub(const struct command *c, struct request_view *v,
                                   struct buf *scratch);

/** The command needs a pool with one server. */
must_check bool answer_single(const struct command *c, struct request_view *v, struct buf *scratch);

/** The commands whose class is LOCAL, their arity being right. */
must_check bool answer_local(const struct command *c, struct proto_session *ses,
                             struct request_view *v, struct buf *scratch);

#endif
