/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit pool is the identity of pools and servers, shared by all workers of the process: names,
 * addresses, health, and the ring that is in force. Everything that changes here stands behind the
 * pool's mutex, which is touched only on a failure, on the first success after one, and when an
 * ejected server is to come back; workers learn of a new ring by its version. */
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

struct server {
    const struct conf_server *conf;
    struct addr addr;  /* where it is, if `literal` */
    bool literal;      /* no name look-up is needed */
    uint64_t retry_at; /* ms: when it returns to the ring, if ejected; behind the pool's mutex */
    _Atomic uint32_t
        failures; /* consecutive; read without the mutex by whoever has a success to report */
};

/** A ring in force at some time, immutable, kept alive by its references. */
struct ring_version {
    _Atomic uint32_t refs;
    uint64_t number;
    uint64_t retry_at; /* ms: when the next ejected server is due; UINT64_MAX: none is ejected */
    uint32_t live;     /* servers on it; 0: all are ejected, and `ring` is NULL */
    struct ring *ring;
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
    bool *live;                 /* by server: is it on the ring? Behind the mutex */
    pthread_mutex_t mutex;
    struct ring_version *ring;    /* in force; behind the mutex */
    bool stale;                   /* memory was out for a newer one; behind the mutex */
    _Atomic uint64_t ring_number; /* of `ring` */
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

/** A reference to the ring in force at `now`, for ring_release(): if an ejected server is due, it
 * is taken back first. NULL if memory is out: keep the old one. */
must_check struct ring_version *pool_ring(struct pool *p, uint64_t now);
void ring_release(struct ring_version *v);

/** A connection to the server failed at `now`. True if that ejected it: a new ring is then in
 * force. */
bool pool_server_failed(struct pool *p, uint32_t server, uint64_t now);

/** The server answered: forgets its failures. Cheap when there are none. */
void pool_server_succeeded(struct pool *p, uint32_t server);

#endif
