/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit call is a request of the proxy's own to one server: a part that stands in the FIFO of a server
 * connection as those of clients do, and whose reply is kept, to a bound, for whoever asked.
 *
 * Lifetime: embedded in its owner, who zeroes it, sets `done` and `keep`, and may send it again once
 * `done` was called; call_free() when it is not wanted any more, never while it is under way. */
#ifndef UPSTREAM_CALL_H
#define UPSTREAM_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/must.h"
#include "base/span.h"
#include "upstream/part.h"
#include "upstream/upstream.h"

struct call {
    struct part part;
    /** The reply is here: its first `keep` bytes; or, if not `replied`, the reason why none came. The
     * text is lent for the time of the call. */
    void (*done)(struct call *c, bool replied, struct span text);
    size_t keep;                /* bytes of a reply that are wanted */
    struct server_slot *server; /* whom it was sent to */
    struct buf reply;
    bool under_way;
    bool lost; /* memory was out for the reply */
};

/** Sends `wire` on the slot's connection, which is opened if there is none; `expect` is for the
 * protocol's parse_reply(). False: it was not sent, up->reason says why, and `done` is not called. No
 * callback comes from inside the call. */
must_check bool call_send(struct call *c, struct server_slot *server, struct conn_slot *slot,
                          uint8_t expect, struct span wire);

void call_free(struct call *c);

#endif
