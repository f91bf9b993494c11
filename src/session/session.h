/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit session carries out the requests of a client that hang together: a transaction, the keys that it
 * watches, and waiting until there is data.
 *
 * A transaction is kept here until its end, and goes to its one server as a whole on the connection that
 * all share: nothing can come in between, so it needs none of its own. What a client watches the server
 * remembers for a connection, and a request that blocks holds up all behind it, so both take a private
 * connection (upstream/private.h). While a client has one, all its requests to that server go there, so
 * that none overtakes another.
 *
 * What a client is subscribed to is the matter of unit subscribe.
 *
 * If a private connection is lost, what was watched may have changed unseen: the transaction is not
 * carried out then, and the client is told the same as if it had changed. */
#ifndef SESSION_SESSION_H
#define SESSION_SESSION_H

#include "proxy/session_ops.h"

/** For proxy_new(). */
extern const struct session_ops session_ops;

/** For unit subscribe: frees what is held for the client if it holds nothing any more. */
void session_forget(struct client *c);

#endif
