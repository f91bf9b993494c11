/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit pool is the identity of pools and servers, shared by all workers of the process: names,
 * addresses, health, and the ring that is in force. Everything that changes here stands behind the
 * pool's mutex, which is touched only on a failure, on the first success after one, and by a probe;
 * workers learn of a new ring by its version.
 *
 * Health is one decision for all workers. A server is ejected when it has failed often enough in a
 * row, of the requests of all workers together; the worker that saw the last of these failures asks
 * it from then on (unit probe), and takes it back. */
#ifndef UPSTREAM_POOL_H
#define UPSTREAM_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/must.h"
#include "base/span.h"
#include "conf/conf.h"
#include "io/addr.h"
#include "proto/proto.h"
#include "route/dist.h"
#include "route/hash.h"
#include "upstream/scripts.h"

struct server {
    const struct conf_server *conf;
    struct addr addr; /* where it is, if `literal` */
    bool literal;     /* no name look-up is needed */
    _Atomic uint32_t
        failures; /* consecutive; read without the mutex by whoever has a success to report */
    uint32_t
        check_failures; /* checks without traffic that failed in a row; behind the mutex. Apart,
                                since a server that is loading its data answers requests, with errors */
};

/** A ring in force at some time, immutable, kept alive by its references. */
struct ring_version {
    _Atomic uint32_t refs;
    uint64_t number;
    uint32_t live;     /* servers that are not ejected */
    struct ring *ring; /* NULL: no server is left on it */
    bool ejected[];    /* by server */
};

struct topology;

struct pool {
    const struct conf_pool *conf;
    const struct proto *proto;
    const struct topology *topology;
    struct proto_settings settings;
    hash_fn *hash;
    struct span tag;
    uint32_t index; /* among the pools */
    uint32_t server_count;
    struct server *servers;
    struct ring_source *source; /* what rings are built of; behind the mutex */
    bool *live;                 /* by server: is it not ejected? Behind the mutex */
    bool *ringed; /* what rings are built of: `live`, or, if keys never move, all true */
    pthread_mutex_t mutex;
    struct ring_version *ring;    /* in force; behind the mutex */
    _Atomic uint64_t ring_number; /* of `ring` */
    struct scripts scripts;
};

/** The pool of a configuration, all servers live. NULL if memory is out. `conf` must outlive it. */
must_check struct pool *pool_new(const struct conf_pool *conf, uint32_t index);
void pool_free(struct pool *p);

/** The hash of a key, of which only what the pool's hash tag leaves is hashed: it chooses the server
 * on the ring. */
static inline uint32_t pool_hash(const struct pool *p, struct span key)
{
    return p->hash(hash_tagged(key, p->tag));
}

/** A reference to the ring in force, for ring_release(). */
must_check struct ring_version *pool_ring(struct pool *p);
void ring_release(struct ring_version *v);

/** A request, or a connection, failed because of the server. True if that ejected it: a new ring is
 * then in force, and the caller is the one who must see to it that it comes back. */
must_check bool pool_server_failed(struct pool *p, uint32_t server);

/** The server answered: forgets its failures. Cheap when there are none. */
void pool_server_succeeded(struct pool *p, uint32_t server);

/** A check without traffic failed, for this reason, or was passed. True as above. */
must_check bool pool_check_failed(struct pool *p, uint32_t server, struct span reason);
void pool_check_passed(struct pool *p, uint32_t server);

/** Do keys of an ejected server go to the others? */
bool pool_moves_keys(const struct pool *p);

/** Is it ejected? */
bool pool_server_ejected(struct pool *p, uint32_t server);

/** Takes an ejected server back. False if memory is out for the new ring: it stays ejected. */
must_check bool pool_server_back(struct pool *p, uint32_t server);

#endif
