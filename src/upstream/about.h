/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit about finds out what the servers of a pool are, which clients ask the proxy for. It asks one server, on a
 * connection of its own and not before somebody wants to know; what it said is kept, and asked for again when it
 * is old, in case the servers were replaced. */
#ifndef UPSTREAM_ABOUT_H
#define UPSTREAM_ABOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/proto.h"
#include "upstream/call.h"
#include "upstream/upstream.h"

struct about {
    struct upstream *up;
    struct conn_slot slot; /* of its connection, which clients don't use */
    struct call call;
    struct timer limit;       /* of the time that all of it may take */
    struct proto_about known; /* what was said last; empty: nothing yet */
    uint64_t asked_at;        /* ms: when that was asked last; 0: never */
    uint32_t server;          /* that is asked */
    uint32_t left;            /* others that can be asked if it does not answer */
    /** It was asked, and whatever there is to know is known. */
    void (*over)(struct about *b);
};

void about_init(struct about *b, struct upstream *up, void (*over)(struct about *b));

/** Asks, beginning with this server, unless what is known is fresh. True: it is well to wait for over(), which does
 * not come from inside this call. */
must_check bool about_ask(struct about *b, uint32_t server);

/** Asks no more; its connection still has to be closed. */
void about_stop(struct about *b);

void about_free(struct about *b);

#endif
