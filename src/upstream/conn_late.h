/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit conn_late deals with replies that do not come in time. The clients get their error; what the
 * server may have read drains on the old connection for one more timeout, its replies swallowed; what
 * no server has seen moves to a fresh connection, unless its client would then be overtaken. */
#ifndef UPSTREAM_CONN_LATE_H
#define UPSTREAM_CONN_LATE_H

#include <stdint.h>

struct server_conn;

/** Looks for parts whose time is over: `timeout` ms (> 0) after they were queued. */
void conn_expire(struct server_conn *sc, uint64_t timeout);

/** The server has not answered what it was told at the beginning of the connection: ends it. */
void conn_late_handshake(struct server_conn *sc);

#endif
