/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit upstream is a pool as one worker sees it: its connections to the servers, the ring it routes
 * by, its counters. It belongs to the worker's thread.
 *
 *   upstream_route(key) -> server -> upstream_send(part) -> the FIFO of a server connection ->
 * part's events
 */
#ifndef UPSTREAM_UPSTREAM_H
#define UPSTREAM_UPSTREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/must.h"
#include "base/span.h"
#include "io/loop.h"
#include "stats/stats.h"
#include "upstream/part.h"
#include "upstream/pool.h"
#include "upstream/profile.h"
#include "upstream/topology.h"

struct ear;
struct server_conn;
struct probe;

/* Reasons are texts for clients, cut to this. */
enum { REASON_TEXT = 256 };

/** Somebody whose request has to wait because the connection it needs has enough to do. Embedded in
 * its owner, who calls waiter_init() before first use, and waiter_leave() when its request was started
 * or is no more. */
struct waiter {
    struct list
        link; /* in the line of a connection slot while it waits; then, until it is back, among
                         those who were let go: nobody new passes them */
    uint64_t since; /* ms: when it began to wait; set by the owner. 0: it has not waited */
    uint32_t bytes; /* of its request; set by the owner */
    bool waits;     /* it is in a line */
    /** Its turn has come, or (`late`) it has waited for longer than the pool's timeout. It is out of the
     * line then. */
    void (*go)(struct waiter *w, bool late);
};

/** One of the `server_connections` of a server: at most one connection lives in it, one attempt at
 * a time. */
struct conn_slot {
    struct server_conn *conn; /* takes new parts; NULL: none */
    struct list line;         /* waiters, the longest waiting first */
    struct list lined;        /* in upstream.lines while the line is not empty */
    struct list called;       /* waiters that were let go */
    uint64_t called_at;       /* ms: the last of them */
    struct profile *profile;
    bool lacking; /* the last attempt failed since we lacked descriptors or memory */
    bool own;     /* one client has it for itself: nothing moves to another connection */
    bool apart;   /* not for clients: what fails is for its owner to judge, not one more failure */
    struct ear *ear;          /* hears all that comes on the connection; NULL: parts wait for it */
    uint32_t opened;          /* connections that were opened in it, ever */
    uint32_t number;          /* of the last of them among all to its server */
    uint64_t retry_at;        /* ms: until then requests fail at once with `reason` */
    uint32_t backoff;         /* ms: the last wait */
    char reason[REASON_TEXT]; /* of the last failed attempt; "" if it did not fail */
};

/** A server as one worker sees it. */
struct server_slot {
    struct upstream *up;
    uint32_t index; /* in the pool */
    struct server_stats *stats;
    bool out;          /* ejected, and its keys are nowhere else: requests fail at once */
    uint32_t privates; /* of upstream.privates, to this one */
    uint32_t opened;   /* connections that were opened to it, ever */
};

struct upstream {
    struct pool *pool;
    struct loop *loop;
    struct ring_version *ring; /* what the static topology routes by */
    struct pool_stats *stats;
    struct worker_stats *worker_stats;
    uint32_t each; /* connections to a server, of each profile */
    struct server_slot *slots;
    struct probe *probes;  /* one for each server */
    struct profile *plain; /* the pool's own */
    struct list profiles;  /* all, that one included */
    uint32_t profile_count;
    struct list privates; /* connections that clients have for themselves, or had */
    struct timer sweep;   /* runs only while one is unused, or a private connection */
    struct list all;      /* every server connection */
    struct list waiting;  /* those with parts in their FIFO: the tick looks at them */
    struct list lines;    /* slots in whose line somebody waits */
    struct timer tick;    /* runs only while something waits */
    uint64_t random;      /* state of the generator of the random distribution and of jitter */
    bool stopping;        /* nothing is opened any more */
    char reason[REASON_TEXT];
};

/** The worker's view of `pool`. NULL if memory is out. */
must_check struct upstream *upstream_new(struct pool *pool, struct loop *loop, struct stats *stats,
                                         unsigned worker);

/** Opens every connection now instead of with its first request. Failures are only logged. */
void upstream_preconnect(struct upstream *up);

/** Before the keys of one request are routed: they then see one state of the pool. */
void upstream_begin(struct upstream *up);

/** The server for a key, by the pool's topology; SERVER_NONE if none can serve it now. */
uint32_t upstream_route(struct upstream *up, struct span key, enum intent intent);

/** Must keys that a request names together be on one server? Not if servers are chosen at random.
 */
bool upstream_sharded(const struct upstream *up);

/** Has the connection that upstream_send() would use so much to do that the request of `w` should wait,
 * or does somebody wait for it who has waited for longer? A request is never refused for it: who does
 * not ask does not wait. */
bool upstream_busy(const struct upstream *up, uint32_t server, const struct lane *lane,
                   const struct waiter *w);

/** The number of that connection among all to the server, ever, from 1 on; 0 if there is none now. */
uint32_t upstream_conn_number(const struct upstream *up, uint32_t server, const struct lane *lane);

/** Puts `w` into that connection's line, behind those who have waited for longer. */
void upstream_wait(struct upstream *up, uint32_t server, const struct lane *lane, struct waiter *w);

/** Sets up->reason for one who has waited for too long in the line of this server. */
void upstream_late(struct upstream *up, uint32_t server);

void waiter_init(struct waiter *w, void (*go)(struct waiter *w, bool late));
void waiter_leave(struct waiter *w);

/** Lets those in front of the slot's line go on for whom there is room: so many requests, of so many
 * bytes; at least the first. */
void upstream_let_in(struct conn_slot *slot, uint64_t requests, uint64_t bytes);

/** Lets everybody in the slot's line go on. */
void upstream_release(struct conn_slot *slot);

/** ... in those of all connections of clients to this server. */
void upstream_release_all(struct upstream *up, uint32_t server);

/** Queues the request `wire` for `server` and its part at the end of the connection's FIFO. `lane`
 * says which of the connections to it. `part->on` and `part->expect` are set by the caller. False: it was not queued, and `up->reason` says why. No
 * callback comes from inside the call. */
must_check bool upstream_send(struct upstream *up, uint32_t server, const struct lane *lane,
                              struct part *part, struct span wire);

/** As upstream_send(), of a buffer that is linked, not copied, and is empty afterwards. */
must_check bool upstream_send_buf(struct upstream *up, uint32_t server, const struct lane *lane,
                                  struct part *part, struct buf *wire);

/** As upstream_send(), on the connection of this slot, which may be one of the proxy's own. */
must_check bool upstream_send_on(struct server_slot *server, struct conn_slot *slot,
                                 struct part *part, struct span wire);

/** Opens the connection of the slot, which has none, if that may be tried now. False: `up->reason` says why. */
must_check bool upstream_open(struct server_slot *server, struct conn_slot *slot);

/** This worker's report of a failure ejected the server: counts it, and sees to its return. */
void upstream_ejected(struct upstream *up, uint32_t server);

/** Sets up->reason when upstream_route() found no server. */
void upstream_no_server(struct upstream *up);

/** Closes every connection; parts still waiting fail. The loop must turn until upstream_idle(). */
void upstream_stop(struct upstream *up);
bool upstream_idle(const struct upstream *up);

/** Frees it; it must be idle. */
void upstream_free(struct upstream *up);

/** A pseudo-random number; for the random distribution and jitter, never for secrets. */
uint32_t upstream_random(struct upstream *up);

#endif
