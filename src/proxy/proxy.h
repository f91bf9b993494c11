/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit proxy is what a worker does with its clients: it owns them, their requests, and the worker's
 * view of every pool. It belongs to the worker's thread. */
#ifndef PROXY_PROXY_H
#define PROXY_PROXY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/budget.h"
#include "base/must.h"
#include "io/loop.h"
#include "stats/stats.h"
#include "upstream/pool.h"

struct proxy;
struct session_ops;

/** A proxy over these pools, on the worker's loop; `sessions` is the floor above. NULL if memory is out. The pools must outlive
 * it. */
must_check struct proxy *proxy_new(struct loop *loop, struct pool *const *pools,
                                   uint32_t pool_count, struct stats *stats, unsigned worker,
                                   const struct session_ops *sessions);

/** Keeps the worker within the budget, which it shares with others and which must outlive it. */
void proxy_limit_memory(struct proxy *px, struct budget *budget);

/** Opens the server connections of the pools that have `preconnect`. */
void proxy_preconnect(struct proxy *px);

/** Takes a client that was accepted for pool number `pool`. 0, or a negative errno: the fd is still
 * the caller's, and the client counts as gone. */
must_check int proxy_adopt(struct proxy *px, uint32_t pool, int fd);

/** Clients of pool number `pool` that have gone so far; any thread may ask. */
uint64_t proxy_closed_count(const struct proxy *px, uint32_t pool);

/** Counts a client that was closed at once. */
void proxy_count_refused(struct proxy *px, uint32_t pool);

/** Begins the orderly end: reads no more requests, answers those that were read, closes each client
 * behind its last answer, then the server connections. `done` is called from the loop once nothing
 * is open. */
void proxy_stop(struct proxy *px, void (*done)(void *arg), void *arg);

/** Frees it; `done` must have been called. */
void proxy_free(struct proxy *px);

#endif
