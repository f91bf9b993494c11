/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit conn_reply finds out to whom the bytes belong that a server sends: to the handshake, then to
 * the part at the head of the FIFO. What belongs to nobody ends the connection. */
#ifndef UPSTREAM_CONN_REPLY_H
#define UPSTREAM_CONN_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/must.h"
#include "base/span.h"
#include "upstream/conn.h"

/** Queues the handshake; sc->handshake_left replies will come to it. False if memory is out. */
must_check bool conn_say_handshake(struct server_conn *sc);

/** stream_events.data of a server connection. */
size_t conn_data(struct stream *s, struct span in);

#endif
