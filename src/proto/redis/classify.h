/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit classify says what becomes of a request that was framed: where its keys are, or what the
 * proxy answers. */
#ifndef PROTO_REDIS_CLASSIFY_H
#define PROTO_REDIS_CLASSIFY_H

#include "base/buf.h"
#include "base/must.h"
#include "proto/proto.h"

/** Is `ses` of a pool with a password that its client has not given yet? */
static inline bool session_is_guest(const struct proto_session *ses)
{
    return ses->settings->password.len > 0 && !ses->authed;
}

/** Fills the rest of `v`, whose base, wire, args (at least one) and len are set, the rest zero.
 * False if memory is out. */
must_check bool classify(struct proto_session *ses, struct request_view *v, struct buf *scratch);

#endif
