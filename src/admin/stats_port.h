/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit stats_port serves the numbers on a TCP port from a thread of its own: twemproxy's bare JSON
 * to a peer that says nothing, proper HTTP to one that asks for it. */
#ifndef ADMIN_STATS_PORT_H
#define ADMIN_STATS_PORT_H

#include <stdint.h>

#include "base/must.h"
#include "stats/stats.h"

struct stats_port;

/** Binds; so that an address in use is an error at start. NULL, and the reason in `*why` (a literal
 * or strerror). */
must_check struct stats_port *stats_port_open(const char *address, uint16_t port,
                                              const struct stats *stats, const char **why);

/** Starts its thread (after daemonising). 0 or a negative errno. */
must_check int stats_port_start(struct stats_port *p);

/** Ends the thread and closes the port. */
void stats_port_close(struct stats_port *p);

#endif
