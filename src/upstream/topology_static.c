/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit topology_static routes by the ring that is in force over the servers of the configuration. */
#include "upstream/topology.h"
#include "upstream/upstream.h"

static bool static_start(struct upstream *up)
{
    up->ring = pool_ring(up->pool, loop_now(up->loop));
    return up->ring != NULL;
}

static void static_stop(struct upstream *up)
{
    ring_release(up->ring);
    up->ring = NULL;
}

/* When memory is out the old ring stays in use. */
static void take_ring(struct upstream *up)
{
    struct ring_version *v = pool_ring(up->pool, loop_now(up->loop));
    if (v == NULL)
        return;
    ring_release(up->ring);
    up->ring = v;
}

/* With one server every key is on it; with random distribution a key is anywhere. */
static bool static_sharded(const struct upstream *up)
{
    return up->pool->server_count > 1 && up->pool->conf->distribution != DIST_random;
}

static uint32_t static_route(struct upstream *up, struct span key, enum intent intent)
{
    const struct pool *p = up->pool;
    (void)intent; /* one server holds a key, for reads and writes */
    uint64_t number = atomic_load_explicit(&p->ring_number, memory_order_relaxed);
    if (number != up->ring->number || up->ring->retry_at <= loop_now(up->loop))
        take_ring(up);
    if (up->ring->live == 0)
        return SERVER_NONE;
    if (p->server_count == 1)
        return 0;
    if (!static_sharded(up))
        return ring_pick(up->ring->ring, 0, upstream_random(up));
    return ring_pick(up->ring->ring, pool_hash(p, key), 0);
}

const struct topology topology_static = {
    .name = "static",
    .start = static_start,
    .route = static_route,
    .sharded = static_sharded,
    .stop = static_stop,
};
