/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit probe asks one server whether it is alive, in the words of its protocol, each time on a fresh
 * connection with its handshake done, as the next request's might be: before an ejected server
 * returns to the ring, and, if the pool wants that, of every server all the time.
 *
 *   RESTING -> AWAY        this worker ejected it: it is asked server_retry_timeout later, and again
 *                          until it is alive; then it is taken back
 *   RESTING -> CHECKING    health_check_interval: the first worker asks all servers that are not
 *                          ejected. If it thereby ejects one, that is AWAY, and CHECKING again after
 *
 * So a server is asked by one worker, whichever ejected it, and by one more while it is not ejected. */
#ifndef UPSTREAM_PROBE_H
#define UPSTREAM_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "upstream/call.h"
#include "upstream/upstream.h"

struct probe {
    struct server_slot *server;
    struct conn_slot slot; /* of its connection, which clients don't use */
    struct call call;
    struct timer next;  /* of the next time it is asked */
    struct timer limit; /* of the time it may take to answer */
    uint64_t wait;      /* ms: the last wait, without jitter */
    uint32_t failed;    /* times it did not answer since it was ejected */
    bool away;          /* this worker ejected it */
    bool early;         /* ... while a check was under way, whose answer is none to that */
    bool checks;        /* this worker checks it without traffic */
};

void probe_init(struct probe *b, struct server_slot *server, bool checks);

/** This worker ejected the server: from now on it is asked. */
void probe_away(struct probe *b);

/** Asks no more; a connection of its own still has to be closed. */
void probe_stop(struct probe *b);

void probe_free(struct probe *b);

#endif
