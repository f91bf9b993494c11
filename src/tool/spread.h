/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit spread says how a pool spreads the hashes of keys over its servers: not by trying keys, but by counting all
 * hashes there can be. Pool and ring are those of a running proxy (upstream/pool.h) with all servers live. */
#ifndef TOOL_SPREAD_H
#define TOOL_SPREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/must.h"
#include "base/span.h"
#include "conf/conf.h"
#include "upstream/pool.h"

/** Hashes below `end`, from the end of the run before, that go to one server. */
struct run {
    uint64_t end;
    uint32_t server;
};

struct spread {
    const struct conf_pool *conf;
    struct pool *pool;
    struct ring_version *version;
    uint64_t weights; /* of all servers */
    bool random;      /* any of several servers for any key: there are no runs */
    uint64_t values;  /* how many hashes the hash function can give: 0 and up */
    uint64_t period;  /* the runs cover so many hashes, and then begin anew */
    struct run *runs;
    size_t run_count;
    double *shares;   /* of each server: the part of all hashes that goes to it */
    uint64_t *points; /* of each server: its points (ketama), slots (modula), or 1 */
};

/** Of a pool of a configuration, which must outlive it. NULL if memory is out. */
must_check struct spread *spread_new(const struct conf_pool *conf);

/** Frees it; NULL is fine. */
void spread_free(struct spread *s);

/** The hash of a key, of which only what the pool's hash tag leaves is hashed. */
uint32_t spread_hash(const struct spread *s, struct span key);

/** The index of the server of a hash; not where `random`. */
uint32_t spread_server(const struct spread *s, uint32_t hash);

/** The part of the hashes that a server should have by its weight. */
double spread_due(const struct spread *s, uint32_t server);

/** How many of the hashes from `from` to below `to`, which lie in the first `period` hashes, there are if these are
 * repeated until there are `values`. */
uint64_t spread_repeated(uint64_t from, uint64_t to, uint64_t period, uint64_t values);

#endif
