/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit wait carries out a SESSION_WAIT: every server of the pool is asked whether what was done so far has
 * reached its replicas, and may take its time for the answer. It carries out a SESSION_ASIDE, too: every server is
 * asked on a connection on which nothing is before the request, such as the script that it is to end.
 *
 * A server answers for what it did on the connection on which it is asked. What the client did went by
 * connections that all share, so each server is asked on a private one, once it was brought to stand for all that
 * the server has done: first the protocol's `lead` goes there, and with its reply the request itself. Others' later
 * writes may be among what is waited for; the client's own always are, for they were answered before. */
#ifndef SESSION_WAIT_H
#define SESSION_WAIT_H

#include "base/must.h"
#include "proto/proto.h"
#include "proxy/client.h"

struct wait;

/** Starts it: all requests of the client before it are answered. `over` is called before the reply is passed on,
 * unless the client is gone; what begins here is good for wait_cut() until then. NULL: it was answered at once. */
must_check struct wait *wait_begin(struct client *c, const struct request_view *v,
                                   void (*over)(struct client *c));

/** Waits no longer: servers that have not answered fail, with `why`, before this returns. */
void wait_cut(struct wait *w, const char *why);

/** The same, but servers that answer soon still count. `why` lives on. */
void wait_cut_later(struct wait *w, const char *why);

#endif
