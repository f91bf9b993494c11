/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit topology_static routes by the ring that is in force over the servers of the configuration. */
#include "upstream/topology.h"

#include "base/hint.h"
#include "upstream/upstream.h"

/* Marks the servers whose keys get an error. Who waits in the line of one goes on, to that error. */
static void mark_out(struct upstream *up)
{
    const struct pool *p = up->pool;
    if (pool_moves_keys(p))
        return;
    for (uint32_t i = 0; i < p->server_count; i++) {
        up->slots[i].out = up->ring->ejected[i];
        if (up->slots[i].out)
            upstream_release_all(up, i);
    }
}

static bool static_start(struct upstream *up)
{
    up->ring = pool_ring(up->pool);
    mark_out(up);
    return true;
}

static void static_stop(struct upstream *up)
{
    ring_release(up->ring);
    up->ring = NULL;
}

static void static_begin(struct upstream *up)
{
    uint64_t number = atomic_load_explicit(&up->pool->ring_number, memory_order_relaxed);
    if (number == up->ring->number)
        return;
    ring_release(up->ring);
    up->ring = pool_ring(up->pool);
    mark_out(up);
}

/* With one server every key is on it; with random distribution a key is anywhere. */
static bool static_sharded(const struct upstream *up)
{
    return up->pool->server_count > 1 && up->pool->conf->distribution != DIST_random;
}

static uint32_t static_route(struct upstream *up, struct span key, enum intent intent)
{
    const struct ring *ring = up->ring->ring;
    (void)intent; /* one server holds a key, for reads and writes */
    if (unlikely(ring == NULL))
        return SERVER_NONE;
    if (likely(static_sharded(up)))
        return ring_pick(ring, pool_hash(up->pool, key), 0);
    return up->pool->server_count == 1 ? 0 : ring_pick(ring, 0, upstream_random(up));
}

const struct topology topology_static = {
    .name = "static",
    .start = static_start,
    .begin = static_begin,
    .route = static_route,
    .sharded = static_sharded,
    .stop = static_stop,
};
