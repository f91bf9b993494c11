/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit rig puts a whole proxy into memory: pools made of a config's text, a loop that is a
 * simulation, servers that are scripted, and clients that a test plays byte by byte. */
#ifndef TESTS_PROXY_RIG_H
#define TESTS_PROXY_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/span.h"
#include "conf/conf.h"
#include "io/sim.h"
#include "proxy/client.h"
#include "proxy/proxy.h"
#include "stats/stats.h"
#include "upstream/pool.h"

/* The default of client_output_soft. */
enum { CLIENT_OUTPUT_SOFT = 1048576 };

enum { RIG_POOLS = 3, RIG_SERVERS = 8 };

struct rig;

/* A scripted server. It answers what a server of its protocol would, in order:
 *   GET k      the value "<k>", unless the key asks for another shape: "null" $-1, "nullarr" *-1,
 *              "nested" arrays in arrays, "int", "status", "err", "big:N" N bytes
 *   SUBSCRIBE  and its like: as redis does, with a count of 1
 *   MGET       each key as GET does; DEL and its like: how many keys; anything else: +OK
 *   get, gets  <k> for each key but "miss", as do gat and gats; set and its like: STORED; incr: 1;
 *              delete: DELETED; flush_all: OK
 * Every request must have exactly one reading, or the test fails. */
struct fake {
    struct rig *rig;
    struct sim_listener *listener;
    uint32_t index; /* in its pool */
    bool redis;
    bool hold;        /* replies wait for fake_send() */
    const char *auth; /* the answer to AUTH, and to SELECT: NULL is +OK */
    const char *select;
    const char *ping; /* and to PING, or version: NULL is that it is alive */
    bool deaf;        /* PING gets no answer */
    unsigned pings;
    unsigned requests;    /* read, those of handshakes not counted */
    struct buf log;       /* their bytes */
    struct buf handshake; /* and those of handshakes */
    struct list conns;    /* struct fake_conn, oldest first */
};

/* One connection to it. */
struct fake_conn {
    struct list link;
    struct fake *fake;
    struct sim_peer *peer;
    struct buf pending; /* replies that wait */
};

struct rig {
    struct loop *loop;
    struct conf *conf;
    struct stats *stats;
    struct pool *pools[RIG_POOLS];
    struct proxy *proxy;
    struct fake fakes[RIG_POOLS][RIG_SERVERS];
    bool stopped;
    bool asked_to_stop;
};

/* Pools of the config `text`, a fake server at each of their literal addresses. */
void rig_open(struct rig *r, const char *text);

/* Lets all clients go, ends in order, and frees everything: the loop's checks find what leaked. */
void rig_close(struct rig *r);

/* Begins the orderly end; `stopped` tells when it is over. */
void rig_stop(struct rig *r);

/* A client of pool number `pool`, settled. */
struct sim_peer *rig_client(struct rig *r, uint32_t pool);

/* Sends, and lets everything happen that can happen now. */
void rig_send(struct rig *r, struct sim_peer *client, struct span bytes);
#define SEND(rig, client, text) rig_send(rig, client, span_str(text))

/* Sends `bytes` in two pieces, cut at `at`. */
void rig_send_cut(struct rig *r, struct sim_peer *client, struct span bytes, size_t at);

/* What the client got, all of it, must be this. */
void rig_expect(struct rig *r, struct sim_peer *client, struct span want);
#define EXPECT(rig, client, text) rig_expect(rig, client, span_str(text))

/* ... must begin with this; all of it is dropped. */
void rig_expect_begin(struct rig *r, struct sim_peer *client, const char *want);

/* What the server read since the last call must be this. */
void fake_expect(struct fake *f, const char *want);

/* The `n`th key, from 0, that the ring of pool 0 puts on this server; static memory of the rig's
 * choice. */
const char *rig_key(struct rig *r, uint32_t server, unsigned n);

/* The newest connection to it that is not gone; NULL: there is none. */
struct fake_conn *fake_conn_now(struct fake *f);

/* Sends the first `n` bytes of the replies that wait on that connection, and settles. */
void fake_send(struct fake *f, size_t n);

/* Sends all that waits on every connection, and settles. */
void fake_send_all(struct fake *f);

/* Bytes that wait on the newest connection. */
size_t fake_pending(struct fake *f);

/* Sends bytes of the test's choice on the newest connection, and settles. */
void fake_say(struct fake *f, const char *bytes);

/* One number of pool 0, or of its server `f`. */
#define POOL_STAT(rig, name) ((unsigned)atomic_load(&stats_pool((rig)->stats, 0, 0)->name))
#define SERVER_STAT(rig, f, name)                                                                  \
    ((unsigned)atomic_load(&stats_server((rig)->stats, 0, 0, (f)->index)->name))

/* A redis request as an array of words, that `line` parts by spaces; appended to `out`. */
void resp(struct buf *out, const char *line);

/* Sends such a request. */
void rig_ask(struct rig *r, struct sim_peer *client, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Appends what a server answers to GET `key`. */
void put_get(struct buf *out, const char *key);

/* All that the client got must be that. */
void rig_expect_get(struct rig *r, struct sim_peer *client, const char *key);

#endif
