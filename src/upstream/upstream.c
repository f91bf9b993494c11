/* SPDX-License-Identifier: BSD-3-Clause */
#include "upstream/upstream.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "upstream/conn_late.h"
#include "upstream/server_conn.h"

/* How often heads of FIFOs are looked at, ms: the precision of timeouts. */
enum { TICK_MS = 10 };

static uint32_t conns_per_server(const struct upstream *up)
{
    return (uint32_t)up->pool->conf->server_connections;
}

/* Lets those go who have waited for too long; they stand in front. */
static void expire_line(struct conn_slot *slot, uint64_t now, int64_t timeout)
{
    while (!list_empty(&slot->line)) {
        struct waiter *w = LIST_FIRST(&slot->line, struct waiter, link);
        if (now - w->since < (uint64_t)timeout)
            return;
        list_unlink(&w->link);
        w->go(w, true);
    }
    list_unlink(&slot->lined);
}

static void on_tick(struct timer *t)
{
    struct upstream *up = container_of(t, struct upstream, tick);
    int64_t timeout = up->pool->conf->timeout;
    LIST_FOREACH_SAFE (node, &up->waiting) {
        conn_expire(server_conn_of_waiting(node), (uint64_t)timeout);
    }
    LIST_FOREACH_SAFE (node, &up->lines) {
        expire_line(container_of(node, struct conn_slot, lined), loop_now(up->loop), timeout);
    }
    /* A line may be longer than the FIFO that it waits for: bytes of a request that was answered
     * early can keep a connection busy. */
    if (!list_empty(&up->waiting) || !list_empty(&up->lines))
        timer_start(up->loop, t, TICK_MS);
}

static void watch(struct upstream *up)
{
    if (up->pool->conf->timeout > 0 && !timer_running(&up->tick))
        timer_start(up->loop, &up->tick, TICK_MS);
}

static bool slots_init(struct upstream *up, struct stats *stats, unsigned worker)
{
    uint32_t count = up->pool->server_count;
    up->slots = calloc(count, sizeof(*up->slots));
    if (up->slots == NULL)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        struct server_slot *slot = &up->slots[i];
        slot->up = up;
        slot->index = i;
        slot->stats = stats_server(stats, worker, up->pool->index, i);
    }
    return true;
}

struct upstream *upstream_new(struct pool *pool, struct loop *loop, struct stats *stats,
                              unsigned worker)
{
    struct upstream *up = calloc(1, sizeof(*up));
    if (up == NULL)
        return NULL;
    up->pool = pool;
    up->loop = loop;
    up->stats = stats_pool(stats, worker, pool->index);
    up->worker_stats = stats_worker(stats, worker);
    up->random = (uint64_t)time(NULL) * 2654435761u + ((uint64_t)worker << 32) + pool->index + 1;
    list_init(&up->all);
    list_init(&up->waiting);
    list_init(&up->lines);
    timer_init(&up->tick, on_tick);
    if (!profile_begin(up) || !pool->topology->start(up) || !slots_init(up, stats, worker)) {
        upstream_free(up);
        return NULL;
    }
    return up;
}

void upstream_free(struct upstream *up)
{
    must(upstream_idle(up));
    timer_stop(up->loop, &up->tick);
    up->pool->topology->stop(up);
    timer_stop(up->loop, &up->sweep);
    profiles_free(up);
    free(up->slots);
    free(up);
}

static struct conn_slot *slot_for(const struct upstream *up, uint32_t server,
                                  const struct lane *lane)
{
    uint32_t each = conns_per_server(up);
    return &lane->profile->slots[(size_t)server * each + lane->keep % each];
}

void upstream_preconnect(struct upstream *up)
{
    for (uint32_t i = 0; i < up->pool->server_count; i++) {
        for (uint32_t k = 0; k < conns_per_server(up); k++) {
            struct conn_slot *slot = slot_for(up, i, &(struct lane){up->plain, k});
            if (slot->conn == NULL && server_conn_open(&up->slots[i], slot) == NULL)
                continue; /* it was logged; the first request will try again */
        }
    }
}

/* xorshift64*, Vigna 2014. */
uint32_t upstream_random(struct upstream *up)
{
    up->random ^= up->random >> 12;
    up->random ^= up->random << 25;
    up->random ^= up->random >> 27;
    return (uint32_t)((up->random * 2685821657736338717u) >> 32);
}

bool upstream_sharded(const struct upstream *up)
{
    return up->pool->topology->sharded(up);
}

uint32_t upstream_route(struct upstream *up, struct span key, enum intent intent)
{
    return up->pool->topology->route(up, key, intent);
}

void upstream_no_server(struct upstream *up)
{
    snprintf(up->reason, sizeof(up->reason),
             "Connection refused (all servers of pool '%s' are ejected)", up->pool->conf->name);
}

/* The connection for a part, opened if there is none; NULL sets up->reason. */
static struct server_conn *conn_for(struct upstream *up, uint32_t server, const struct lane *lane)
{
    struct conn_slot *slot = slot_for(up, server, lane);
    if (slot->conn != NULL)
        return slot->conn;
    struct server_conn *sc = NULL;
    if (up->stopping)
        snprintf(slot->reason, sizeof(slot->reason), "Connection refused (shutting down)");
    else if (loop_now(up->loop) >= slot->retry_at)
        sc = server_conn_open(&up->slots[server], slot);
    if (sc == NULL)
        snprintf(up->reason, sizeof(up->reason), "%s", slot->reason);
    return sc;
}

bool upstream_busy(const struct upstream *up, uint32_t server, const struct lane *lane)
{
    const struct conn_slot *slot = slot_for(up, server, lane);
    return slot->conn != NULL && (server_conn_busy(slot->conn) || !list_empty(&slot->line));
}

void upstream_wait(struct upstream *up, uint32_t server, const struct lane *lane, struct waiter *w)
{
    struct conn_slot *slot = slot_for(up, server, lane);
    /* Who comes back goes before those who came in the meantime: they are few. */
    struct list *after = slot->line.prev;
    while (after != &slot->line && container_of(after, struct waiter, link)->since > w->since)
        after = after->prev;
    list_append(after->next, &w->link);
    if (!list_linked(&slot->lined))
        list_append(&up->lines, &slot->lined);
    watch(up);
}

void upstream_late(struct upstream *up, uint32_t server)
{
    snprintf(up->reason, sizeof(up->reason), "Connection timed out (server '%s' is busy, %lld ms)",
             up->pool->servers[server].conf->name, (long long)up->pool->conf->timeout);
}

void upstream_release(struct conn_slot *slot)
{
    struct list line;
    list_move(&line, &slot->line);
    list_unlink(&slot->lined);
    while (!list_empty(&line)) {
        struct waiter *w = LIST_FIRST(&line, struct waiter, link);
        list_unlink(&w->link);
        w->go(w, false);
    }
}

static bool no_memory(struct upstream *up)
{
    snprintf(up->reason, sizeof(up->reason), "Cannot allocate memory");
    return false;
}

bool upstream_send(struct upstream *up, uint32_t server, const struct lane *lane, struct part *part,
                   struct span wire)
{
    struct server_conn *sc = conn_for(up, server, lane);
    if (sc == NULL)
        return false;
    if (!server_conn_push(sc, part, wire))
        return no_memory(up);
    watch(up);
    return true;
}

bool upstream_send_buf(struct upstream *up, uint32_t server, const struct lane *lane,
                       struct part *part, struct buf *wire)
{
    struct server_conn *sc = conn_for(up, server, lane);
    if (sc == NULL)
        return false;
    if (!server_conn_push_buf(sc, part, wire))
        return no_memory(up);
    watch(up);
    return true;
}

void upstream_stop(struct upstream *up)
{
    up->stopping = true;
    timer_stop(up->loop, &up->tick);
    timer_stop(up->loop, &up->sweep);
    LIST_FOREACH_SAFE (node, &up->all) {
        server_conn_stop(server_conn_of_all(node));
    }
}

bool upstream_idle(const struct upstream *up)
{
    return list_empty(&up->all);
}
