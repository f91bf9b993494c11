/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit workers runs the worker threads: each has its own loop, clients, server connections and
 * counters, and shares nothing with the others but the pools' health and the listening sockets. All
 * workers accept; a new client goes to the worker with the fewest. */
#ifndef RUN_WORKERS_H
#define RUN_WORKERS_H

#include <stdint.h>

#include "base/budget.h"
#include "base/must.h"
#include "io/loop.h"
#include "stats/stats.h"
#include "upstream/pool.h"

struct workers;

struct workers_options {
    unsigned count;
    const struct loop_ops *io;
    struct pool *const *pools;
    const int *listeners; /* by pool: the listening fd, the process's */
    uint32_t pool_count;
    uint64_t clients_most; /* clients of all pools together; more are closed at once */
    struct budget *budget; /* of memory; NULL: no limit */
    struct stats *stats;
    void (*ended)(void *arg); /* called on a worker's thread when the last one has ended in order */
    void *arg;
};

/** Starts the threads; returns when every one is serving. NULL: one could not, and the log says
 * why; none runs then. */
must_check struct workers *workers_start(const struct workers_options *options);

/** Begins the orderly end of all; any thread. `ended` follows. */
void workers_stop(struct workers *ws);

/** Waits for the threads, which must have ended, and frees. */
void workers_join(struct workers *ws);

#endif
