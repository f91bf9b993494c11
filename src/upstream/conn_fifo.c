/* SPDX-License-Identifier: BSD-3-Clause */
#include "upstream/conn_fifo.h"

#include "base/hint.h"

/* Bytes not yet taken by the kernel: above HIGH_WATER clients wait, at LOW_WATER they go on. */
enum { HIGH_WATER = 4 * 1024 * 1024, LOW_WATER = 1024 * 1024 };

/* ---- gauges ---- */

static void gauge_move(stat *s, uint64_t *shown, uint64_t now)
{
    stat_add(s, now - *shown);
    *shown = now;
}

/* Moves the mark behind the parts that the kernel has taken bytes of. It stands on the first unsent
 * part from one turn to the next, so that a connection that is blocked costs what moves, not what
 * waits. */
static void mark_unsent(struct server_conn *sc)
{
    uint64_t sent = user_sent(sc);
    if (sc->unsent == NULL) {
        sc->unsent = &sc->parts;
        sc->unsent_at = sc->appended;
        while (sc->unsent->prev != &sc->parts && part_of(sc->unsent->prev)->start >= sent) {
            sc->unsent = sc->unsent->prev;
            sc->unsent_at--;
        }
    }
    while (sc->unsent != &sc->parts && part_of(sc->unsent)->start < sent) {
        sc->unsent = sc->unsent->next;
        sc->unsent_at++;
    }
}

static void count_move(stat *s, uint64_t *fresh)
{
    stat_add(s, *fresh);
    *fresh = 0;
}

/* Once in a turn, since to do it for each request would cost more. */
static void count(struct server_conn *sc)
{
    struct server_stats *stats = sc->server->stats;
    count_move(&stats->requests, &sc->fresh.requests);
    count_move(&stats->request_bytes, &sc->fresh.request_bytes);
    count_move(&stats->responses, &sc->fresh.responses);
    count_move(&stats->response_bytes, &sc->fresh.response_bytes);
}

/* Runs once in a turn that touched the connection. The flush of the turn comes later: what is queued
 * counts as sent unless the kernel has refused to take more. */
void conn_show_queues(struct server_conn *sc)
{
    uint64_t in = 0;
    uint64_t in_bytes = 0;
    count(sc);
    if (sc->state < SERVER_CONN_READY) {
        in = sc->part_count;
        in_bytes = sc->part_bytes;
    } else if (stream_blocked(&sc->stream)) {
        mark_unsent(sc);
        in = sc->appended - sc->unsent_at;
        in_bytes = sc->unsent == &sc->parts ? 0 : sc->queued - part_of(sc->unsent)->start;
    } else {
        sc->unsent = NULL;
    }
    gauge_move(&sc->server->stats->in_queue, &sc->shown.in, in);
    gauge_move(&sc->server->stats->in_queue_bytes, &sc->shown.in_bytes, in_bytes);
    gauge_move(&sc->server->stats->out_queue, &sc->shown.out, sc->part_count - in);
    gauge_move(&sc->server->stats->out_queue_bytes, &sc->shown.out_bytes,
               sc->part_bytes - in_bytes);
}

static size_t unsent(const struct server_conn *sc)
{
    return stream_pending(&sc->stream) + sc->held.len;
}

bool server_conn_busy(const struct server_conn *sc)
{
    return unsent(sc) > HIGH_WATER || sc->part_count >= sc->most;
}

/* Far enough below what makes it busy that waiters do not come and go for each reply. */
static bool relaxed(const struct server_conn *sc)
{
    return unsent(sc) <= LOW_WATER && sc->part_count <= sc->most / 2;
}

/* Not more than there is room for: who comes in vain has its request read once more. */
void server_conn_let_in(struct server_conn *sc)
{
    if (!list_empty(&sc->slot->line) && relaxed(sc))
        upstream_let_in(sc->slot, sc->most - sc->part_count, HIGH_WATER - unsent(sc));
}

void conn_account(struct turn_end *t)
{
    struct server_conn *sc = container_of(t, struct server_conn, account);
    conn_show_queues(sc);
    if (sc->slot != NULL)
        server_conn_let_in(sc);
}

/* ---- the FIFO ---- */

static every_request void append(struct server_conn *sc, struct part *p)
{
    list_append(&sc->parts, &p->link);
    if (sc->due == &sc->parts)
        sc->due = &p->link;
    if (sc->unsent == &sc->parts)
        sc->unsent = &p->link;
    sc->appended++;
    sc->part_count++;
    sc->part_bytes += p->bytes;
    if (p->grace != PART_PATIENT && !list_linked(&sc->waiting))
        list_append(&up_of(sc)->waiting, &sc->waiting);
}

void conn_fifo_append(struct server_conn *sc, struct part *p)
{
    append(sc, p);
}

void conn_fifo_remove(struct server_conn *sc, struct part *p)
{
    if (sc->due == &p->link)
        sc->due = p->link.next;
    if (sc->unsent == &p->link) {
        sc->unsent = p->link.next;
        sc->unsent_at++;
    }
    list_unlink(&p->link);
    sc->part_count--;
    sc->part_bytes -= p->bytes;
    if (sc->part_count == 0)
        list_unlink(&sc->waiting);
}

void conn_fail_parts(struct list *parts, struct span reason)
{
    while (!list_empty(parts)) {
        struct part *p = part_of(parts->next);
        list_unlink(&p->link);
        p->on->failed(p, reason);
    }
}

void conn_fifo_fail(struct server_conn *sc, struct span reason)
{
    struct list failed;
    list_move(&failed, &sc->parts);
    list_unlink(&sc->waiting);
    sc->due = &sc->parts;
    sc->unsent = NULL;
    sc->part_count = 0;
    sc->part_bytes = 0;
    conn_fail_parts(&failed, reason);
}

void conn_fifo_answer(struct server_conn *sc, struct span reply)
{
    while (!list_empty(&sc->parts)) {
        struct part *p = part_of(sc->parts.next);
        conn_fifo_remove(sc, p);
        p->on->reply(p, reply, true, true);
    }
}

static every_request void accept_part(struct server_conn *sc, struct part *p, size_t len)
{
    p->start = sc->queued;
    p->born = loop_now(up_of(sc)->loop) + p->grace;
    p->bytes = (uint32_t)len;
    sc->queued += len;
    append(sc, p);
    sc->fresh.requests++;
    sc->fresh.request_bytes += len;
    loop_at_turn_end(up_of(sc)->loop, &sc->account);
}

bool server_conn_push(struct server_conn *sc, struct part *part, struct span wire)
{
    bool good = sc->state == SERVER_CONN_READY ? stream_write(&sc->stream, wire)
                                               : chain_append(&sc->held, chunks_of(sc), wire);
    if (good)
        accept_part(sc, part, wire.len);
    return good;
}

bool server_conn_push_buf(struct server_conn *sc, struct part *part, struct buf *wire)
{
    size_t len = buf_len(wire);
    bool good = sc->state == SERVER_CONN_READY ? stream_write_buf(&sc->stream, wire)
                                               : chain_adopt(&sc->held, chunks_of(sc), wire);
    if (good)
        accept_part(sc, part, len);
    return good;
}
