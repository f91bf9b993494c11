/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit ear is a connection to a server on which bytes come that are no replies in turn: it begins with
 * the login of its profile as every other does, and then all that the server says goes to its owner.
 *
 * Lifetime: embedded in its owner, who gives it to ear_init() once and may open it again and again. It
 * must be closed before its memory goes. */
#ifndef UPSTREAM_EAR_H
#define UPSTREAM_EAR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/must.h"
#include "base/span.h"
#include "io/stream.h"
#include "upstream/upstream.h"

struct ear;

/** What ear_events.heard returns when the server said what it must not: the connection is closed, and
 * `ended` follows. */
#define EAR_BAD SIZE_MAX

/** All of them come from the loop, never from inside a call of the owner. */
struct ear_events {
    /** The login is done: ear_say() may be called. */
    void (*ready)(struct ear *e);
    /** All bytes that are here and were not used yet. Returns how many from their front are used now;
     * the others come again, with more behind them. */
    size_t (*heard)(struct ear *e, struct span in);
    /** The connection is lost, or did not come up. `reason` is a text for clients; or, if `line`, the
     * server's own error line, by which it refused a login that a client brought. Both are lent for
     * the time of the call. */
    void (*ended)(struct ear *e, struct span reason, bool line);
};

struct ear {
    const struct ear_events *on;
    struct server_slot *server;
    struct conn_slot slot;
};

/** An ear that is closed. */
void ear_init(struct ear *e, struct server_slot *server, struct profile *profile,
              const struct ear_events *on);

/** Is there a connection, be it one that is not up yet? */
static inline bool ear_is_open(const struct ear *e)
{
    return e->slot.conn != NULL;
}

/** Opens it, if that may be tried now. False: it was not, and the upstream's `reason` says why. */
must_check bool ear_open(struct ear *e);

/** Says that, on a connection that is ready. False if memory is out. */
must_check bool ear_say(struct ear *e, struct span wire);

/** Closes it, if it is open; `ended` does not follow. */
void ear_close(struct ear *e);

/** The same because the server does not answer, which is a failure of the server. */
void ear_late(struct ear *e, const char *reason);

/** For unit server_conn: what a connection with an ear does with its bytes. */
size_t ear_data(struct stream *s, struct span in);

#endif
