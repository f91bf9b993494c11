/* SPDX-License-Identifier: BSD-3-Clause */
#include "upstream/upstream.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/hint.h"
#include "upstream/conn_late.h"
#include "upstream/private.h"
#include "upstream/probe.h"
#include "upstream/server_conn.h"

/* How often heads of FIFOs are looked at, ms: the precision of timeouts. */
enum { TICK_MS = 10 };
/* How long who was let out of a line may take to come back without being passed, ms. */
enum { CALLED_MS = 20 };

/* Lets those go who have waited for too long; they stand in front. */
static void expire_line(struct conn_slot *slot, uint64_t now, int64_t timeout)
{
    while (!list_empty(&slot->line)) {
        struct waiter *w = LIST_FIRST(&slot->line, struct waiter, link);
        if (now - w->since < (uint64_t)timeout)
            return;
        list_unlink(&w->link);
        w->waits = false;
        w->go(w, true);
    }
    list_unlink(&slot->lined);
}

/* The first of `todo`, which goes back to the end of `list`, where it belongs. What ends one connection
 * may end others, wherever they stand: so the next one is known only when it is its turn. */
static struct list *next_of(struct list *todo, struct list *list)
{
    struct list *node = todo->next;
    list_unlink(node);
    list_append(list, node);
    return node;
}

static void expire_parts(struct upstream *up, uint64_t timeout)
{
    struct list todo;
    list_move(&todo, &up->waiting);
    while (!list_empty(&todo))
        conn_expire(server_conn_of_waiting(next_of(&todo, &up->waiting)), timeout);
}

static void on_tick(struct timer *t)
{
    struct upstream *up = container_of(t, struct upstream, tick);
    int64_t timeout = up->pool->conf->timeout;
    if (timeout > 0)
        expire_parts(up, (uint64_t)timeout);
    LIST_FOREACH_SAFE (node, &up->lines) {
        struct conn_slot *slot = container_of(node, struct conn_slot, lined);
        if (timeout > 0)
            expire_line(slot, loop_now(up->loop), timeout);
        /* Those who were let go may never come: somebody must see to the others. */
        if (slot->conn != NULL)
            server_conn_let_in(slot->conn);
    }
    /* A line may be longer than the FIFO that it waits for: bytes of a request that was answered
     * early can keep a connection busy. */
    if ((timeout > 0 && !list_empty(&up->waiting)) || !list_empty(&up->lines))
        timer_start(up->loop, t, TICK_MS);
}

static inline void watch(struct upstream *up)
{
    if (likely(timer_running(&up->tick)))
        return;
    if (up->pool->conf->timeout > 0 || !list_empty(&up->lines))
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

/* One worker looks after servers without traffic, not each. */
static bool probes_init(struct upstream *up, unsigned worker)
{
    bool checks = worker == 0 && up->pool->conf->health_check_interval > 0;
    up->probes = calloc(up->pool->server_count, sizeof(*up->probes));
    for (uint32_t i = 0; up->probes != NULL && i < up->pool->server_count; i++)
        probe_init(&up->probes[i], &up->slots[i], checks);
    return up->probes != NULL;
}

struct upstream *upstream_new(struct pool *pool, struct loop *loop, struct stats *stats,
                              unsigned worker)
{
    struct upstream *up = calloc(1, sizeof(*up));
    if (up == NULL)
        return NULL;
    up->pool = pool;
    up->each = (uint32_t)pool->conf->server_connections;
    up->loop = loop;
    up->stats = stats_pool(stats, worker, pool->index);
    up->worker_stats = stats_worker(stats, worker);
    up->random = (uint64_t)time(NULL) * 2654435761u + ((uint64_t)worker << 32) + pool->index + 1;
    list_init(&up->all);
    list_init(&up->waiting);
    list_init(&up->lines);
    timer_init(&up->tick, on_tick);
    if (!profile_begin(up) || !slots_init(up, stats, worker) || !probes_init(up, worker) ||
        !pool->topology->start(up)) {
        upstream_free(up);
        return NULL;
    }
    return up;
}

static void stop_probes(struct upstream *up)
{
    for (uint32_t i = 0; up->probes != NULL && i < up->pool->server_count; i++)
        probe_stop(&up->probes[i]);
}

void upstream_free(struct upstream *up)
{
    must(upstream_idle(up));
    timer_stop(up->loop, &up->tick);
    stop_probes(up);
    up->pool->topology->stop(up);
    for (uint32_t i = 0; up->probes != NULL && i < up->pool->server_count; i++)
        probe_free(&up->probes[i]);
    free(up->probes);
    timer_stop(up->loop, &up->sweep);
    profiles_free(up);
    free(up->slots);
    free(up);
}

static every_request struct conn_slot *slot_for(const struct upstream *up, uint32_t server,
                                                const struct lane *lane)
{
    if (lane->own != NULL && lane->own->server == server)
        return &lane->own->slot;
    uint32_t each = up->each;
    /* Mostly there is one, and a division is dear. */
    uint32_t keep = each == 1 ? 0 : lane->keep % each;
    return &lane->profile->slots[(size_t)server * each + keep];
}

void upstream_preconnect(struct upstream *up)
{
    for (uint32_t i = 0; i < up->pool->server_count; i++) {
        for (uint32_t k = 0; k < up->each; k++) {
            struct conn_slot *slot =
                slot_for(up, i, &(struct lane){.profile = up->plain, .keep = k});
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

void upstream_begin(struct upstream *up)
{
    up->pool->topology->begin(up);
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

static const char *name_of(const struct upstream *up, uint32_t server)
{
    return up->pool->servers[server].conf->name;
}

/* Opens a connection, if that may be tried now; NULL sets up->reason. */
static struct server_conn *open_conn(struct server_slot *server, struct conn_slot *slot)
{
    struct upstream *up = server->up;
    struct server_conn *sc = NULL;
    const char *why = up->stopping ? "shutting down" : "it is ejected";
    if (up->stopping || (server->out && !slot->apart)) {
        snprintf(up->reason, sizeof(up->reason), "Connection refused (server '%s': %s)",
                 name_of(up, server->index), why);
        return NULL;
    }
    if (loop_now(up->loop) >= slot->retry_at)
        sc = server_conn_open(server, slot);
    if (sc == NULL)
        snprintf(up->reason, sizeof(up->reason), "%s", slot->reason);
    return sc;
}

/* The connection for a part of a client's, opened if there is none; NULL sets up->reason. */
static every_request struct server_conn *conn_for(struct upstream *up, uint32_t server,
                                                  const struct lane *lane)
{
    struct conn_slot *slot = slot_for(up, server, lane);
    if (slot->conn != NULL && !up->slots[server].out)
        return slot->conn;
    return open_conn(&up->slots[server], slot);
}

/* Is there somebody in the line, or on the way from it, whom `w` must not pass? Who was let go and is
 * paused for another reason does not hold up others for longer than this. */
static bool somebody_first(const struct upstream *up, const struct conn_slot *slot,
                           const struct waiter *w)
{
    if (w->since == 0 && !list_empty(&slot->called) &&
        loop_now(up->loop) - slot->called_at <= CALLED_MS)
        return true;
    if (list_empty(&slot->line))
        return false;
    return w->since == 0 || w->since > LIST_FIRST(&slot->line, struct waiter, link)->since;
}

bool upstream_busy(const struct upstream *up, uint32_t server, const struct lane *lane,
                   const struct waiter *w)
{
    const struct conn_slot *slot = slot_for(up, server, lane);
    return slot->conn != NULL && !up->slots[server].out &&
           (server_conn_busy(slot->conn) || somebody_first(up, slot, w));
}

uint32_t upstream_conn_number(const struct upstream *up, uint32_t server, const struct lane *lane)
{
    const struct conn_slot *slot = slot_for(up, server, lane);
    return slot->conn == NULL ? 0 : slot->number;
}

void waiter_init(struct waiter *w, void (*go)(struct waiter *w, bool late))
{
    *w = (struct waiter){.go = go};
    list_init(&w->link);
}

void waiter_leave(struct waiter *w)
{
    list_unlink(&w->link);
    w->waits = false;
    w->since = 0;
}

void upstream_wait(struct upstream *up, uint32_t server, const struct lane *lane, struct waiter *w)
{
    struct conn_slot *slot = slot_for(up, server, lane);
    list_unlink(&w->link);
    /* Who comes back goes before those who came in the meantime: they are few. */
    struct list *after = slot->line.prev;
    while (after != &slot->line && container_of(after, struct waiter, link)->since > w->since)
        after = after->prev;
    list_append(after->next, &w->link);
    w->waits = true;
    if (!list_linked(&slot->lined))
        list_append(&up->lines, &slot->lined);
    watch(up);
}

void upstream_late(struct upstream *up, uint32_t server)
{
    snprintf(up->reason, sizeof(up->reason), "Connection timed out (server '%s' is busy, %lld ms)",
             name_of(up, server), (long long)up->pool->conf->timeout);
}

void upstream_let_in(struct conn_slot *slot, uint64_t requests, uint64_t bytes)
{
    struct list go;
    list_init(&go);
    bool first = true;
    while (!list_empty(&slot->line)) {
        struct waiter *w = LIST_FIRST(&slot->line, struct waiter, link);
        if (!first && (requests == 0 || bytes < w->bytes))
            break;
        first = false;
        requests -= requests > 0;
        bytes -= bytes < w->bytes ? bytes : w->bytes;
        list_unlink(&w->link);
        list_append(&go, &w->link);
    }
    if (list_empty(&slot->line))
        list_unlink(&slot->lined);
    while (!list_empty(&go)) {
        struct waiter *w = LIST_FIRST(&go, struct waiter, link);
        list_unlink(&w->link);
        list_append(&slot->called, &w->link);
        w->waits = false;
        slot->called_at = loop_now(slot->profile->up->loop);
        w->go(w, false);
    }
}

void upstream_release(struct conn_slot *slot)
{
    upstream_let_in(slot, UINT64_MAX, UINT64_MAX);
}

void upstream_release_all(struct upstream *up, uint32_t server)
{
    uint32_t each = up->each;
    LIST_FOREACH (node, &up->profiles) {
        const struct profile *p = container_of(node, struct profile, link);
        for (uint32_t k = 0; k < each; k++)
            upstream_release(&p->slots[(size_t)server * each + k]);
    }
}

/* What server_conn_push() says of a part, for its owner. */
static bool pushed(struct upstream *up, uint32_t server, bool good)
{
    if (good)
        watch(up);
    else
        snprintf(up->reason, sizeof(up->reason), "Cannot allocate memory (server '%s')",
                 name_of(up, server));
    return good;
}

bool upstream_send(struct upstream *up, uint32_t server, const struct lane *lane, struct part *part,
                   struct span wire)
{
    struct server_conn *sc = conn_for(up, server, lane);
    return sc != NULL && pushed(up, server, server_conn_push(sc, part, wire));
}

bool upstream_send_on(struct server_slot *server, struct conn_slot *slot, struct part *part,
                      struct span wire)
{
    struct server_conn *sc = slot->conn != NULL ? slot->conn : open_conn(server, slot);
    return sc != NULL && pushed(server->up, server->index, server_conn_push(sc, part, wire));
}

bool upstream_open(struct server_slot *server, struct conn_slot *slot)
{
    return open_conn(server, slot) != NULL;
}

bool upstream_send_buf(struct upstream *up, uint32_t server, const struct lane *lane,
                       struct part *part, struct buf *wire)
{
    struct server_conn *sc = conn_for(up, server, lane);
    return sc != NULL && pushed(up, server, server_conn_push_buf(sc, part, wire));
}

void upstream_ejected(struct upstream *up, uint32_t server)
{
    stat_add(&up->stats->server_ejects, 1);
    stat_set(&up->slots[server].stats->server_ejected_at, clock_wall_us());
    probe_away(&up->probes[server]);
}

void upstream_stop(struct upstream *up)
{
    up->stopping = true;
    timer_stop(up->loop, &up->tick);
    timer_stop(up->loop, &up->sweep);
    stop_probes(up);
    struct list todo;
    list_move(&todo, &up->all);
    while (!list_empty(&todo))
        server_conn_shut_down(server_conn_of_all(next_of(&todo, &up->all)));
}

bool upstream_idle(const struct upstream *up)
{
    return list_empty(&up->all);
}
