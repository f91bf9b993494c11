/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit world is a whole proxy in memory with one pool: a loop that is a simulation, servers that answer by key (see
 * answers.h), and clients that ask for keys of their own and know every answer. It aborts, by must(), when
 *
 * - a client gets a byte that is no part of the answer to its own request, or answers out of order, or too many;
 * - a server gets what is not exactly one request after the other, or a client's requests out of order or twice;
 * - the world has been calm for a while and a client that is still connected lacks an answer;
 * - something is left when all has been closed. */
#ifndef TESTS_FUZZ_WORLD_H
#define TESTS_FUZZ_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "answers.h"
#include "io/sim.h"
#include "proxy/proxy.h"
#include "stats/stats.h"
#include "target.h"

enum { WORLD_SERVERS = 3, WORLD_ASKERS = 4, WORLD_TOKENS = 65536 };

struct world;

/** The pool. */
struct world_setup {
    bool redis;
    bool eject;
    bool preconnect;
    bool auth; /* redis: the password is "secret" */
    bool allow_flush;
    uint32_t db;
    uint32_t servers;
    uint32_t server_connections;
    uint32_t timeout; /* ms; 0: none */
    uint32_t max_in_flight;
    uint32_t output_soft;
    uint32_t output_limit;
    uint32_t max_request_size;
};

/** Why an asker's answer may be another than it knows. */
enum want_kind {
    WANT_ANSWER, /* this, or an error */
    WANT_ERROR,  /* an error, whichever */
};

struct want {
    uint32_t len; /* of the answer; they stand in asker.answers */
    enum want_kind kind;
    uint64_t token; /* of the last key that was made for it */
};

/** A client that plays by the rules. Its requests name keys that nobody else asks for. */
struct asker {
    struct world *world;
    struct sim_peer *peer;
    char letter;
    struct buf wire;    /* composed and not yet sent */
    struct buf answers; /* that it waits for */
    struct want *wants;
    size_t want_count;
    size_t want_cap;
    size_t answered;
    uint64_t errors;
    bool parted; /* got a last error line; the connection must end */
};

struct far_server {
    struct world *world;
    struct sim_listener *listener;
    struct list conns;
    bool hold;                   /* answers wait for server_release() */
    uint32_t mute;               /* so many requests more are never answered */
    uint64_t last[WORLD_ASKERS]; /* the highest key that each asker has asked for */
};

/** A connection to it. */
struct far_conn {
    struct list link;
    struct far_server *server;
    struct sim_peer *peer;
    struct buf pending; /* answers that wait */
    uint64_t last[WORLD_ASKERS];
    bool spoiled;      /* something came on it that nobody asked for */
    bool multi;        /* a transaction is open */
    struct buf queued; /* the answers to its commands */
    size_t queued_count;
};

struct world {
    struct world_setup setup;
    struct loop *loop;
    const struct conf *conf;
    struct stats *stats;
    struct pool *pool;
    struct proxy *proxy;
    struct far_server servers[WORLD_SERVERS];
    struct asker askers[WORLD_ASKERS];
    uint64_t token;
    uint8_t asked[WORLD_TOKENS / 8]; /* one bit for each key that a server was asked for */
    uint64_t live;                   /* allocations before it began */
    /* A server has said what may pass for answers: they can't be told apart any more, only counted. */
    bool poisoned;
    bool stopped;
};

/** Tells on stderr what happens, if FUZZ_STORY is set in the environment. */
void story(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/** The proxy is up; nobody is connected. False if memory is out. */
must_check bool world_open(struct world *w, const struct world_setup *setup);

/** All clients go, the proxy ends in order, and nothing may be left. */
void world_close(struct world *w);

/** All trouble ends: memory, limits, servers that are slow or refuse; after a while every asker must have its answers. */
void world_calm(struct world *w);

/** Every asker comes anew, asks for one key, and must get it. Calm must have lasted long enough for servers to be tried
 * again. */
void world_works(struct world *w);

/** A client, whose bytes are somebody else's care; NULL if memory is out. */
must_check struct sim_peer *world_client(struct world *w);

/** The asker comes, or goes as it may and comes again. */
void asker_arrive(struct asker *k);

/** Bytes from the last on choose one of the kinds of sessions. */
enum { ASK_KINDS = 26, ASK_SESSIONS = 8, ASK_SESSIONS_FROM = 192 };

/** Composes one more request, or several that belong together. `kind` is any byte, and chooses which. */
void asker_ask(struct asker *k, unsigned kind);

/** Sends at most `n` bytes of what is composed. */
void asker_send(struct asker *k, size_t n);

/** Looks at what came. */
void asker_check(struct asker *k);

/** Sends at most `n` bytes of the answers that wait on each connection. */
void server_release(struct far_server *s, size_t n);

/** Sends bytes that nobody asked for on each connection where no answer is half sent: no answer begins so. */
void server_spoil(struct far_server *s);

/** Sends any bytes on the newest connection. */
void server_say(struct far_server *s, struct span bytes);

/** The newest connection that stands, or NULL. */
struct far_conn *server_conn_now(struct far_server *s);

#endif
