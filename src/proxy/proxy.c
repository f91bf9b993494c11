/* SPDX-License-Identifier: BSD-3-Clause */
#include "proxy/proxy.h"

#include <stdlib.h>

#include "proxy/client.h"
#include "proxy/request.h"
#include "proxy/session_ops.h"

/* How often it is looked whether the orderly end is complete, and how long clients that have all
 * their replies may take to see our FIN and send theirs, ms. */
enum { CHECK_MS = 5, STOP_LINGER_MS = 250 };
/* The shortest time between two looks for idle clients, ms. */
enum { IDLE_MS = 100 };

static bool upstreams_stopped(struct proxy *px)
{
    bool idle = true;
    for (uint32_t i = 0; i < px->front_count; i++) {
        struct upstream *up = px->fronts[i].up;
        if (!up->stopping) {
            about_stop(&px->fronts[i].about);
            upstream_stop(up);
        }
        idle = idle && upstream_idle(up);
    }
    return idle;
}

/* The orderly end is complete when the last client is gone, and then the last server connection. */
static void on_check(struct timer *t)
{
    struct proxy *px = container_of(t, struct proxy, check);
    if (loop_now(px->loop) - px->stopped_at >= STOP_LINGER_MS) {
        LIST_FOREACH_SAFE (node, &px->clients) {
            client_cut(container_of(node, struct client, link));
        }
    }
    if (list_empty(&px->clients) && upstreams_stopped(px))
        px->stopped(px->stopped_arg);
    else
        timer_start(px->loop, t, CHECK_MS);
}

/* Clients are looked at now and then, rather than to note with every request when its client is due. */
static void on_idle(struct timer *t)
{
    struct proxy *px = container_of(t, struct proxy, idle);
    LIST_FOREACH_SAFE (node, &px->clients) {
        client_check_idle(container_of(node, struct client, link));
    }
    if (!list_empty(&px->clients))
        timer_start(px->loop, t, px->idle_ms);
}

/* Eight times in the shortest time that a pool gives its clients, but not all the time. */
static void idle_init(struct proxy *px, struct pool *const *pools)
{
    timer_init(&px->idle, on_idle);
    for (uint32_t i = 0; i < px->front_count; i++) {
        uint32_t timeout = (uint32_t)pools[i]->conf->client_idle_timeout;
        uint32_t ms = timeout / 8 < IDLE_MS ? IDLE_MS : timeout / 8;
        if (timeout > 0 && (px->idle_ms == 0 || ms < px->idle_ms))
            px->idle_ms = ms;
    }
}

static bool slabs_can_shed(struct keeper *k)
{
    struct proxy *px = container_of(k, struct proxy, keeper);
    return slab_can_shed(&px->request_slab) || slab_can_shed(&px->client_slab);
}

static void slabs_shed(struct keeper *k)
{
    struct proxy *px = container_of(k, struct proxy, keeper);
    if (slab_can_shed(&px->request_slab))
        slab_shed(&px->request_slab);
    if (slab_can_shed(&px->client_slab))
        slab_shed(&px->client_slab);
}

static void slabs_init(struct proxy *px)
{
    struct meter *meter = &px->loop->pool.meter;
    slab_init(&px->client_slab, sizeof(struct client));
    slab_init(&px->request_slab, sizeof(struct request));
    slab_meter(&px->client_slab, meter);
    slab_meter(&px->request_slab, meter);
    px->keeper = (struct keeper){.can_shed = slabs_can_shed, .shed = slabs_shed};
    list_init(&px->keeper.link);
    loop_add_keeper(px->loop, &px->keeper);
}

static bool fronts_init(struct proxy *px, struct pool *const *pools, struct stats *stats,
                        unsigned worker)
{
    uint32_t servers = 1; /* an allocation of nothing may look like a failure */
    for (uint32_t i = 0; i < px->front_count; i++) {
        struct upstream *up = upstream_new(pools[i], px->loop, stats, worker);
        if (up == NULL)
            return false;
        struct front *front = &px->fronts[i];
        front->px = px;
        front->up = up;
        about_init(&front->about, up, client_about_over);
        script_view_init(&front->scripts, &pools[i]->scripts, pools[i]->server_count,
                         &px->loop->pool.meter);
        front->proto = pools[i]->proto;
        if (pools[i]->server_count > servers)
            servers = pools[i]->server_count;
    }
    px->part_index = calloc(servers, sizeof(*px->part_index));
    return px->part_index != NULL;
}

struct proxy *proxy_new(struct loop *loop, struct pool *const *pools, uint32_t pool_count,
                        struct stats *stats, unsigned worker, const struct session_ops *sessions)
{
    struct proxy *px = calloc(1, sizeof(*px));
    if (px == NULL)
        return NULL;
    px->loop = loop;
    px->stats = stats_worker(stats, worker);
    px->all_stats = stats;
    px->worker = worker;
    px->sessions = sessions;
    list_init(&px->clients);
    timer_init(&px->check, on_check);
    slabs_init(px);
    memory_init(&px->memory);
    px->front_count = pool_count;
    idle_init(px, pools);
    px->fronts = calloc(pool_count, sizeof(*px->fronts));
    if (px->fronts == NULL || !fronts_init(px, pools, stats, worker)) {
        proxy_free(px);
        return NULL;
    }
    return px;
}

void proxy_free(struct proxy *px)
{
    must(list_empty(&px->clients));
    for (uint32_t i = 0; px->fronts != NULL && i < px->front_count; i++) {
        if (px->fronts[i].up == NULL)
            continue;
        if (px->fronts[i].hubs != NULL)
            px->sessions->end(&px->fronts[i]);
        upstream_free(px->fronts[i].up);
        about_free(&px->fronts[i].about);
        script_view_free(&px->fronts[i].scripts);
    }
    list_unlink(&px->keeper.link);
    memory_end(px);
    timer_stop(px->loop, &px->idle);
    slab_free(&px->client_slab);
    slab_free(&px->request_slab);
    args_free(&px->args);
    buf_free(&px->scratch);
    buf_free(&px->compose);
    free(px->shards);
    free(px->part_index);
    free(px->fronts);
    free(px);
}

void proxy_limit_memory(struct proxy *px, struct budget *budget)
{
    memory_begin(px, budget);
}

void proxy_preconnect(struct proxy *px)
{
    for (uint32_t i = 0; i < px->front_count; i++)
        if (px->fronts[i].up->pool->conf->preconnect)
            upstream_preconnect(px->fronts[i].up);
}

int proxy_adopt(struct proxy *px, uint32_t pool, int fd)
{
    must(pool < px->front_count);
    int err = client_open(&px->fronts[pool], fd);
    if (err != 0)
        stat_add(&px->fronts[pool].closed, 1);
    return err;
}

uint64_t proxy_closed_count(const struct proxy *px, uint32_t pool)
{
    return atomic_load_explicit(&px->fronts[pool].closed, memory_order_relaxed);
}

void proxy_count_refused(struct proxy *px, uint32_t pool)
{
    stat_add(&px->fronts[pool].up->stats->client_refused, 1);
}

void proxy_stop(struct proxy *px, void (*done)(void *arg), void *arg)
{
    px->stopped = done;
    px->stopped_arg = arg;
    px->stopped_at = loop_now(px->loop);
    LIST_FOREACH_SAFE (node, &px->clients) {
        struct client *c = container_of(node, struct client, link);
        client_stop(c);
        if (c->held != NULL)
            px->sessions->hurry(c);
    }
    timer_start(px->loop, &px->check, CHECK_MS);
}
