/* SPDX-License-Identifier: BSD-3-Clause */
#include "upstream/conn_fifo.h"

/* Bytes not yet taken by the kernel: above HIGH_WATER clients wait, at LOW_WATER they go on. */
enum { HIGH_WATER = 4 * 1024 * 1024, LOW_WATER = 1024 * 1024 };

/* ---- gauges ---- */

static void gauge_move(stat *s, uint64_t *shown, uint64_t now)
{
    stat_add(s, now - *shown);
    *shown = now;
}

/* Brings the four queue gauges of the server up to date; runs once in a turn that touched the
 * connection. The flush of the turn comes later: what is queued counts as sent unless the kernel
 * has refused to take more. */
void conn_show_queues(struct server_conn *sc)
{
    uint64_t in = 0;
    uint64_t in_bytes = 0;
    bool flows = sc->state >= SERVER_CONN_READY && !stream_blocked(&sc->stream);
    uint64_t sent = flows ? sc->queued : user_sent(sc);
    for (struct list *node = sc->parts.prev; node != &sc->parts; node = node->prev) {
        if (part_of(node)->start < sent)
            break;
        in++;
        in_bytes += part_of(node)->bytes;
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
    return unsent(sc) > HIGH_WATER || sc->part_count >= (uint64_t)pool_of(sc)->conf->max_in_flight;
}

/* Far enough below what makes it busy that waiters do not come and go for each reply. */
static bool relaxed(const struct server_conn *sc)
{
    return unsent(sc) <= LOW_WATER &&
           sc->part_count <= (uint64_t)pool_of(sc)->conf->max_in_flight / 2;
}

void conn_account(struct turn_end *t)
{
    struct server_conn *sc = container_of(t, struct server_conn, account);
    conn_show_queues(sc);
    if (sc->slot != NULL && !list_empty(&sc->slot->line) && relaxed(sc))
        upstream_release(sc->slot);
}

/* ---- the FIFO ---- */

void conn_fifo_append(struct server_conn *sc, struct part *p)
{
    list_append(&sc->parts, &p->link);
    if (sc->due == &sc->parts)
        sc->due = &p->link;
    sc->part_count++;
    sc->part_bytes += p->bytes;
    if (p->grace != PART_PATIENT && !list_linked(&sc->waiting))
        list_append(&up_of(sc)->waiting, &sc->waiting);
}

void conn_fifo_remove(struct server_conn *sc, struct part *p)
{
    if (sc->due == &p->link)
        sc->due = p->link.next;
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

static void accept_part(struct server_conn *sc, struct part *p, size_t len)
{
    p->start = sc->queued;
    p->born = loop_now(up_of(sc)->loop) + p->grace;
    p->bytes = (uint32_t)len;
    sc->queued += len;
    conn_fifo_append(sc, p);
    stat_add(&sc->server->stats->requests, 1);
    stat_add(&sc->server->stats->request_bytes, len);
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
