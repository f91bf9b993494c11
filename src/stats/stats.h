/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit stats holds the numbers of the process: each worker writes its own block with plain relaxed
 * stores, a reader sums over the blocks. A sum may be a turn old and is never negative. */
#ifndef STATS_STATS_H
#define STATS_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/must.h"

/** One number, written by one thread. */
typedef _Atomic uint64_t stat;

struct pool_stats {
#define STAT(name, kind, text) stat name;
#include "pool_stats.def"
#undef STAT
};

struct server_stats {
#define STAT(name, kind, text) stat name;
#include "server_stats.def"
#undef STAT
};

/** Numbers of a worker that belong to no pool. */
struct worker_stats {
    stat total_connections; /* ever opened: clients and servers; pools' listeners are added when
                               shown */
    stat curr_connections;
};

static inline void stat_add(stat *s, uint64_t n)
{
    atomic_store_explicit(s, atomic_load_explicit(s, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline void stat_sub(stat *s, uint64_t n)
{
    atomic_store_explicit(s, atomic_load_explicit(s, memory_order_relaxed) - n,
                          memory_order_relaxed);
}

static inline void stat_set(stat *s, uint64_t n)
{
    atomic_store_explicit(s, n, memory_order_relaxed);
}

struct stats;

/** What to make room for: names are copied. */
struct stats_pool_names {
    const char *name;
    const char *const *servers;
    uint32_t server_count;
};

/** Room for `workers` blocks over these pools; NULL if memory is out. */
must_check struct stats *stats_new(unsigned workers, const struct stats_pool_names *pools,
                                   uint32_t pool_count);
void stats_free(struct stats *s);

/** A worker's own numbers. */
struct worker_stats *stats_worker(struct stats *s, unsigned worker);
struct pool_stats *stats_pool(struct stats *s, unsigned worker, uint32_t pool);
struct server_stats *stats_server(struct stats *s, unsigned worker, uint32_t pool, uint32_t server);

/** A counter and its sum over the workers. */
struct stats_number {
    const char *name;
    uint64_t value;
};

/** Number `i` of a pool, or of one of its servers; false behind the last one. */
bool stats_pool_number(const struct stats *s, uint32_t pool, uint32_t i, struct stats_number *out);
bool stats_server_number(const struct stats *s, uint32_t pool, uint32_t server, uint32_t i,
                         struct stats_number *out);

/** Threads that count. */
unsigned stats_workers(const struct stats *s);

/** Seconds since the process began to count. */
uint64_t stats_uptime(const struct stats *s);

/** Appends all numbers as one JSON object in twemproxy's layout, with its last newline. False if
 * memory is out. */
must_check bool stats_json(const struct stats *s, struct buf *out);

/** Writes name and text of every counter: for --describe-stats. */
void stats_describe(FILE *out);

#endif
