/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit private is a connection to a server that one client has for itself for a while: what it watches
 * there, or waits for, is the connection's. It is used through a lane as the shared ones are, and when
 * it is given back clean it serves the next client; unused ones close after some time. There are at
 * most `session_connections` of them to a server in one worker. */
#ifndef UPSTREAM_PRIVATE_H
#define UPSTREAM_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/must.h"
#include "upstream/upstream.h"

struct private
{
    struct conn_slot slot;
    struct list link; /* in upstream.privates */
    uint32_t server;
    bool taken;          /* a client has it */
    uint64_t idle_since; /* ms, unless it is taken */
    struct timer cut;    /* to private_cut() ... */
    const char *why;     /* ... it */
};

/** One for that server and profile, for private_give_back(). NULL: up->reason says why. */
must_check struct private *private_take(struct upstream *up, uint32_t server,
                                        struct profile *profile);

/** Ends its use. `clean`: nothing waits on the connection, and the server keeps nothing for it; else it
 * is closed, and what waits on it fails before this returns. */
void private_give_back(struct private *p, bool clean);

/** Closes its connection: what waits on it fails, and is told why, before this returns. It stays taken. */
void private_cut(struct private *p, const char *why);

/** The same, unless private_keep() comes soon: what a server has ready arrives before. `why` lives on. */
void private_cut_later(struct private *p, const char *why);
void private_keep(struct private *p);

/** Frees those that have lain idle for long, or (`all`) every one, which then must have no connection.
 * True if one is left that lies idle. */
bool privates_sweep(struct upstream *up, bool all);

#endif
