/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit server_conn is one connection to a server and the FIFO of the parts that wait on it: the
 * replies come in the order of the requests, so that the head of the FIFO owns the next byte that
 * arrives.
 *
 *   LOOKUP -> CONNECTING -> HANDSHAKE -> READY -> DRAINING -> CLOSING
 *
 * LOOKUP      the name is being looked up (skipped for literal addresses)
 * CONNECTING  addresses are tried one after the other
 * HANDSHAKE   AUTH and SELECT are under way; no request was sent yet (skipped when there is nothing
 *             to say)
 * READY       requests flow
 * DRAINING    a reply was late: takes no new parts, lets those that the server may have read come
 *             in, for one more timeout
 * CLOSING     the stream is being closed; the memory goes with its `closed`
 *
 * Until READY the bytes of requests are held here, so that nothing reaches a server that refused
 * the handshake. Any state may go to CLOSING; every part left fails then, once, with one reason. */
#ifndef UPSTREAM_SERVER_CONN_H
#define UPSTREAM_SERVER_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/chain.h"
#include "io/stream.h"
#include "upstream/upstream.h"

enum server_conn_state {
    SERVER_CONN_LOOKUP,
    SERVER_CONN_CONNECTING,
    SERVER_CONN_HANDSHAKE,
    SERVER_CONN_READY,
    SERVER_CONN_DRAINING,
    SERVER_CONN_CLOSING,
};

/** Opens a connection for the slot and puts it there. NULL if it failed at once: slot->reason says
 * why. */
must_check struct server_conn *server_conn_open(struct server_slot *server, struct conn_slot *slot);

/** Queues one part. False if memory is out: nothing was queued. */
must_check bool server_conn_push(struct server_conn *sc, struct part *part, struct span wire);
must_check bool server_conn_push_buf(struct server_conn *sc, struct part *part, struct buf *wire);

/** Has it so much to do that one more request should wait? And has it so little that waiters may go
 * on? */
bool server_conn_busy(const struct server_conn *sc);

/** Lets those who wait in its line go on for whom there is room, if it has little to do. */
void server_conn_let_in(struct server_conn *sc);

/** The connection that is linked into upstream.waiting at `node`. */
struct server_conn *server_conn_of_waiting(struct list *node);
struct server_conn *server_conn_of_all(struct list *node);

/** Closes it, by our own wish: every part left fails, with this reason. */
void server_conn_stop(struct server_conn *sc, const char *reason);

/** ... because the process ends. */
void server_conn_shut_down(struct server_conn *sc);

/** Closes the connections of a profile on which nobody waits any more. */
void server_conns_retire(struct profile *p);

#endif
