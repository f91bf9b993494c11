/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit conn_fifo is the FIFO of the parts that wait on a server connection, and the numbers that
 * follow from it: gauges, and whether the connection is busy. */
#ifndef UPSTREAM_CONN_FIFO_H
#define UPSTREAM_CONN_FIFO_H

#include "base/list.h"
#include "base/span.h"
#include "upstream/conn.h"

/** Puts a part whose `start` and `bytes` are set to the end. */
void conn_fifo_append(struct server_conn *sc, struct part *p);
void conn_fifo_remove(struct server_conn *sc, struct part *p);

/** Empties the FIFO: every part fails. */
void conn_fifo_fail(struct server_conn *sc, struct span reason);

/** Empties the FIFO: `reply`, an error of the server's, answers every part. */
void conn_fifo_answer(struct server_conn *sc, struct span reply);

/** Fails parts that are in a list of the caller's. */
void conn_fail_parts(struct list *parts, struct span reason);

/** Brings the four queue gauges of the server up to date. */
void conn_show_queues(struct server_conn *sc);

/** What server_conn.account runs when a turn that touched the connection ends. */
void conn_account(struct turn_end *t);

#endif
