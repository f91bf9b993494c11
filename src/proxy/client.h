/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit client is one client connection: it reads requests, keeps the FIFO in which their replies
 * leave, and limits how much one client may have open.
 *
 *   OPEN -> ENDING -> FINISHING -> CLOSING
 *
 * OPEN       requests are read
 * ENDING     no more requests are read (QUIT, broken framing, the client's FIN, our stop); the
 *            replies in the FIFO still go out
 * FINISHING  the last reply was queued: the stream sends it and waits for the client's FIN
 * CLOSING    the stream closes
 *
 * From FINISHING on, requests that were still open belong to nobody: their replies are swallowed.
 * The memory goes with the stream's `closed`. */
#ifndef PROXY_CLIENT_H
#define PROXY_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/slab.h"
#include "io/stream.h"
#include "proto/proto.h"
#include "proxy/memory.h"
#include "upstream/about.h"
#include "upstream/scripts.h"
#include "upstream/upstream.h"

struct hub;
struct request;

/** A pool as clients see it. */
struct front {
    struct proxy *px;
    struct upstream *up;
    struct about about;
    struct script_view scripts;
    const struct proto *proto;
    stat closed;      /* clients that have gone */
    struct hub *hubs; /* of the floor above: what clients are subscribed to; NULL: nothing */
};

struct session;
struct session_ops;

/** What the clients of one worker share. */
struct proxy {
    struct loop *loop;
    struct front *fronts;
    uint32_t front_count;
    struct worker_stats *stats;
    const struct session_ops *sessions;
    const struct stats *all_stats; /* of all workers */
    unsigned worker;               /* number of this one */
    struct list clients;
    uint32_t next_id;
    struct slab client_slab;
    struct slab request_slab;
    struct keeper keeper; /* of the slabs */
    struct memory memory; /* how it stands with memory_limit */
    struct args args;     /* of the request that is being read, unless it came in pieces */
    struct buf scratch;   /* canonical forms and local replies: the protocol's */
    struct buf compose;   /* the request of one shard; error lines */
    uint32_t *shards;     /* work space of a split: see split.c */
    uint32_t shards_cap;
    uint32_t *part_index; /* by server: its part in the split request that is being made */
    struct timer idle;    /* looks for clients of which nothing is heard */
    uint32_t idle_ms;     /* how often; 0: no pool wants it */
    struct timer check;   /* is the orderly end complete? */
    void (*stopped)(void *arg);
    void *stopped_arg;
    uint64_t stopped_at; /* ms */
};

enum client_state {
    CLIENT_OPEN,
    CLIENT_ENDING,
    CLIENT_FINISHING,
    CLIENT_CLOSING,
};

struct client {
    struct stream stream;
    struct front *front;
    struct list link; /* in proxy.clients */
    struct proto_session session;
    struct request_parser parser;
    struct args *args;     /* of a request that came only in part; NULL: none */
    struct request *first; /* FIFO of requests, in the order they were read */
    struct request *last;
    size_t parked; /* bytes of replies that wait for their turn */
    uint32_t open; /* requests in the FIFO */
    uint32_t id;
    uint32_t heard; /* when bytes came last, or it was busy: ms of the loop's clock, modulo 2^32 */
    uint32_t sent;  /* bytes that had been sent then, modulo 2^32 */
    uint32_t came;  /* s of the loop's clock */
    uint32_t draining;      /* parts that may still be answered on connections that were given up */
    struct session *held;   /* what its session holds; NULL: nothing */
    struct lane lane;       /* the connections that its requests go by */
    struct profile *wanted; /* the login that it asked for, while that is under way; NULL: none */
    bool alone;             /* no request is read while another is open, or while it `asks` */
    bool asks;              /* the request at the front of the input waits for front.about */
    uint8_t instead;        /* of the login that it asked for: request_view.join */
    bool half;              /* a request came only in part */
    bool late;              /* the request that waits in a line has waited for too long */
    bool ends;              /* ... and is its last, since the process ends */
    uint8_t state;          /* enum client_state */
    struct waiter
        waiter; /* in a server's line: the request at the front of the input waits there */
};

enum {
    CLIENT_OPEN_MAX = 1024, /* open requests of one client */
};

/** A client over an accepted fd. 0 or a negative errno (the fd is still the caller's). */
must_check int client_open(struct front *front, int fd);

/** The head of the FIFO may have become whole: sends all replies whose turn it is. */
void client_advance(struct client *c);

/** A reply begins: closes the client if too many before it wait to be read. False: it did. */
bool client_may_queue(struct client *c);

/** Sends the client a message that is no reply: between two replies, never inside one. Closes it if it
 * does not read what comes; no bytes: there was no memory for it. */
void client_push(struct client *c, struct span message);

/** Puts the client into the line of a connection that is busy: its request stays at the front of the
 * input until it is its turn. */
void client_wait(struct client *c, uint32_t server, uint32_t bytes);

/** A part of it may still be answered on a connection that was given up: no request is read until
 * client_drained(), so that none goes to a fresh connection and overtakes. It costs little, since
 * replies leave in order. */
void client_drains(struct client *c);
void client_drained(struct client *c);

/** Reads no more requests; closes behind the last reply. */
void client_end(struct client *c);

/** The process ends: as client_end(), behind the request that waits in a server's line, if one does. */
void client_stop(struct client *c);

/** Ends the wait for the client's FIN if nothing is left to be sent, for when the process ends. */
void client_cut(struct client *c);

/** Bytes that are held for it and come free when it is closed. */
size_t client_memory(const struct client *c);

/** Pauses it if memory does not let it be read. Harmless anywhere. */
void client_obey_memory(struct client *c);

/** Who waits for what the servers are reads on. */
void client_about_over(struct about *b);

/** Reads on, if nothing stands against it. */
void client_read_on(struct client *c);

/** Closes it since memory is short; with an error if what is held is mostly a request that came in part. Not
 * from inside its own callbacks. */
void client_out_of_memory(struct client *c);

/** Closes it if nothing was heard of it for its pool's client_idle_timeout. */
void client_check_idle(struct client *c);

/** Closes at once, dropping what was not sent. `why` goes to the log. */
void client_fail(struct client *c, const char *why);

/** Closes behind what is already queued, for when a reply breaks off: the replies before it are whole
 * and may still lie there. `why` goes to the log. */
void client_break(struct client *c, const char *why);

#endif
