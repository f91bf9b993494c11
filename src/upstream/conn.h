/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit conn is the inside of a server connection, shared by the units that it is made of and by
 * nobody else: server_conn (its life: open, connect, end), conn_fifo (the parts that wait on it, and
 * their numbers), conn_reply (the handshake, and whose the bytes are that arrive), conn_late (replies
 * that are late: draining, and moving what no server has seen), ear (one without parts). */
#ifndef UPSTREAM_CONN_H
#define UPSTREAM_CONN_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/chain.h"
#include "base/list.h"
#include "io/loop.h"
#include "io/stream.h"
#include "proto/proto.h"
#include "upstream/part.h"
#include "upstream/server_conn.h"
#include "upstream/upstream.h"

/* What is kept of a handshake reply, to judge it and to show it. */
enum { HANDSHAKE_KEEP = 128 };

struct server_conn {
    struct stream stream;
    struct server_slot *server;
    struct profile *profile;
    struct conn_slot *slot; /* NULL once it takes no new parts */
    enum server_conn_state state;
    struct list all;     /* in upstream.all */
    struct list waiting; /* in upstream.waiting while `parts` is not empty */
    struct turn_end account;

    struct list parts; /* FIFO */
    struct list
        *due; /* the first part whose time is not over; the head of `parts` when there is none */
    struct list *unsent; /* while it is blocked: the first part of which the kernel has no byte */
    uint64_t unsent_at;  /* ... and its number */
    uint64_t appended;   /* the number that the next part will have */
    uint32_t part_count;
    uint32_t most;       /* parts from which on it is busy: max_in_flight */
    uint64_t part_bytes; /* request bytes of `parts` */
    uint64_t queued;     /* request bytes ever queued, those in `held` included */
    uint64_t preamble;   /* handshake bytes in front of them on the wire */
    struct chain held;   /* requests that came before READY */
    struct reply_parser parser;
    uint64_t drain_until; /* ms */
    uint64_t ready_at;    /* ms: when requests began to flow */
    struct timer attempt; /* connect_timeout */

    uint32_t handshake_left; /* replies to come */
    uint32_t handshake_at;   /* number of the one that is being read */
    uint8_t handshake_expect;
    uint8_t handshake_len;
    uint32_t first_bytes; /* of the first request, if it was answered by that error */
    char handshake_text[HANDSHAKE_KEEP]; /* later: the error that answered the first request */

    char head[16]; /* how the reply begins that ends a transaction */
    uint8_t head_len;

    struct ear *ear;   /* conn_slot.ear, until its owner lets go of it */
    bool apart;        /* of the proxy's own: conn_slot.apart */
    bool connected;    /* counted as an open connection */
    bool looking;      /* a look-up is under way */
    bool streaming;    /* the stream is open: its `closed` will come */
    bool next_address; /* the stream is closing only to try the next address */
    struct lookup lookup;
    struct addr *addrs; /* what a look-up gave */
    uint32_t addr_count;
    uint32_t addr_at;

    /* What has come and is not yet added to the counters of the server. */
    struct {
        uint64_t requests, request_bytes, responses, response_bytes;
    } fresh;
    /* What was last added to the gauges of the server. */
    struct {
        uint64_t in, in_bytes, out, out_bytes;
    } shown;
};

static inline struct server_conn *of_stream(struct stream *s)
{
    return container_of(s, struct server_conn, stream);
}

static inline struct part *part_of(struct list *node)
{
    return container_of(node, struct part, link);
}

static inline struct upstream *up_of(const struct server_conn *sc)
{
    return sc->server->up;
}

static inline const struct pool *pool_of(const struct server_conn *sc)
{
    return sc->server->up->pool;
}

static inline struct chunk_pool *chunks_of(const struct server_conn *sc)
{
    return &up_of(sc)->loop->pool;
}

static inline const char *server_name(const struct server_conn *sc)
{
    return pool_of(sc)->servers[sc->server->index].conf->name;
}

/* Request bytes that the kernel has taken: the server may have read everything before this offset.
 */
static inline uint64_t user_sent(const struct server_conn *sc)
{
    return sc->stream.sent > sc->preamble ? sc->stream.sent - sc->preamble : 0;
}

static inline const char *conn_error_text(int err)
{
    const char *text = strerrordesc_np(err < 0 ? -err : err);
    return text == NULL ? "unknown" : text;
}

/* ---- its life: server_conn.c ---- */

/* Why a connection ends, for counters and health. */
enum end {
    END_EOF,     /* the server closed it in order */
    END_ERROR,   /* it broke, or said what it must not */
    END_CONNECT, /* it never stood */
    END_SHORT,   /* we lacked descriptors or memory for it */
    END_LATE,    /* a reply was late */
    END_REFUSED, /* the server refused a login that a client brought */
    END_STOP,    /* we want no more of it */
    END_LEFT,    /* nobody waits for it any more: the client is gone for whom it was */
};

/** Ends the connection: counts, answers every part left, and closes. `reason` begins with the words
 * of the system. */
void conn_end(struct server_conn *sc, enum end end, const char *reason);

/** Ends it for an errno. */
void conn_end_error(struct server_conn *sc, enum end end, int err);

/** Ends it because the server refused the login of its profile, which a client brought: `line` is the
 * reply to every request on it. */
void conn_end_refused(struct server_conn *sc, struct span line);

/** Ends it because the server broke the protocol: `what` it did. */
void conn_end_protocol(struct server_conn *sc, const char *what);

/** The handshake is done: requests flow. */
void conn_ready(struct server_conn *sc);

/** It takes no new parts from here on; who waited for it goes on. */
void conn_leave_slot(struct server_conn *sc);

/** A failure of its server, for health. */
void conn_count_failure(struct server_conn *sc);

/* ---- late replies: conn_late.c ---- */

/** The connection has ended, with this reason, and its server has not seen a byte of
 * the last parts on it: these go to a fresh connection, once. */
void conn_end_rescuing(struct server_conn *sc, enum end end, const char *reason);

#endif
