/* SPDX-License-Identifier: BSD-3-Clause */
#include "upstream/conn_late.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "upstream/conn.h"
#include "upstream/conn_fifo.h"

/* Parts that were answered with an error because their time was over, and whose replies must still
 * be swallowed. */
static void swallow_reply(struct part *p, struct span piece, bool last, bool error)
{
    (void)piece;
    (void)error;
    if (last)
        free(p);
}

static void swallow_failed(struct part *p, struct span reason)
{
    (void)reason;
    free(p);
}

/* Who was told that it failed waits for nothing. */
static const struct part_events swallow = {.reply = swallow_reply, .failed = swallow_failed};

/* Puts a part that swallows in the place of `p`, which is then its owner's to be told. False if
 * memory is out. */
static bool replace_with_swallower(struct server_conn *sc, struct part *p)
{
    struct part *stand_in = malloc(sizeof(*stand_in));
    if (stand_in == NULL)
        return false;
    *stand_in = *p;
    stand_in->on = &swallow;
    list_init(&stand_in->link);
    list_append(&p->link, &stand_in->link); /* directly before p */
    list_unlink(&p->link);
    sc->due = stand_in->link.next;
    sc->unsent = NULL;
    return true;
}

/* A part with a `grace` is born later. */
static bool is_over(const struct part *p, uint64_t now, uint64_t timeout)
{
    return now >= p->born && now - p->born >= timeout;
}

static bool late(const struct server_conn *sc, const struct part *p, uint64_t timeout)
{
    return is_over(p, loop_now(up_of(sc)->loop), timeout);
}

static void late_reason(const struct server_conn *sc, uint64_t timeout, char reason[REASON_TEXT])
{
    snprintf(reason, REASON_TEXT, "%s (server '%s', %llu ms)", conn_error_text(ETIMEDOUT),
             server_name(sc), (unsigned long long)timeout);
}

/* Answers the parts that are late and may have been read by the server, and leaves swallowers for
 * their replies. False: memory is out. */
static bool expire_sent(struct server_conn *sc, uint64_t timeout, struct span reason)
{
    while (sc->due != &sc->parts) {
        struct part *p = part_of(sc->due);
        if (p->start >= user_sent(sc) || !late(sc, p, timeout))
            return true;
        if (!replace_with_swallower(sc, p))
            return false;
        p->on->failed(p, reason);
    }
    return true;
}

/* Takes the parts of which the kernel has no byte, and their bytes, off this connection. False:
 * memory is out. */
static bool take_unsent(struct server_conn *sc, struct list *parts, struct chain *bytes)
{
    struct list *node = sc->parts.prev;
    uint64_t sent = user_sent(sc);
    uint64_t unsent = 0;
    while (node != &sc->parts && part_of(node)->start >= sent) {
        unsent += part_of(node)->bytes;
        node = node->prev;
    }
    bool ready = sc->state == SERVER_CONN_READY;
    struct chain *from = ready ? &sc->stream.out : &sc->held;
    if (!chain_cut(from, chunks_of(sc), from->len - unsent, bytes))
        return false;
    sc->queued -= unsent;
    sc->unsent = NULL;
    while (node->next != &sc->parts) {
        struct part *p = part_of(node->next);
        conn_fifo_remove(sc, p);
        list_append(parts, &p->link);
    }
    return true;
}

static void drain_part(struct part *p)
{
    if (p->drains)
        return;
    p->drains = true;
    if (p->on->drains != NULL)
        p->on->drains(p);
}

/* What the server may have read drains. Behind it stay those of the unsent `parts` whose client
 * waits for one of those, since on another connection they could overtake it; the rest, and its
 * bytes, are left to be moved. False: memory is out, and what is left has no bytes any more. */
static bool keep_order(struct server_conn *sc, struct list *parts, struct chain *bytes)
{
    struct chain moved = {0};
    struct chain stay = {0};
    bool good = true;
    LIST_FOREACH (node, &sc->parts) {
        drain_part(part_of(node));
    }
    LIST_FOREACH_SAFE (node, parts) {
        struct part *p = part_of(node);
        bool stays = p->on->stays != NULL && p->on->stays(p);
        good = good && chain_move(bytes, chunks_of(sc), p->bytes, stays ? &stay : &moved);
        if (!stays || !good)
            continue;
        list_unlink(&p->link);
        p->start = sc->queued;
        sc->queued += p->bytes;
        conn_fifo_append(sc, p);
        drain_part(p);
    }
    chain_clear(bytes, chunks_of(sc));
    if (good)
        *bytes = moved;
    else
        chain_clear(&moved, chunks_of(sc));
    stream_write_chain(&sc->stream, &stay);
    return good;
}

/* Gives parts and their bytes, none of which any server has seen, to a fresh connection; the late
 * ones among them (they stand in front) fail. */
static void move_parts(struct server_slot *server, struct conn_slot *slot, struct list *parts,
                       struct chain *bytes, uint64_t timeout, struct span reason)
{
    struct upstream *up = server->up;
    while (!list_empty(parts)) {
        struct part *p = part_of(parts->next);
        if (!is_over(p, loop_now(up->loop), timeout))
            break;
        chain_consume(bytes, &up->loop->pool, p->bytes);
        list_unlink(&p->link);
        p->on->failed(p, reason);
    }
    if (list_empty(parts))
        return;
    struct server_conn *sc = slot->conn;
    /* A fresh connection would not know what a private one was told before. */
    if (sc == NULL && slot->own)
        snprintf(slot->reason, sizeof(slot->reason), "%s", reason.ptr);
    else if (sc == NULL)
        sc = server_conn_open(server, slot);
    if (sc == NULL) {
        chain_clear(bytes, &up->loop->pool);
        conn_fail_parts(parts, span_str(slot->reason));
        return;
    }
    must(sc->state < SERVER_CONN_READY && sc->part_count == 0);
    while (!list_empty(parts)) {
        struct part *p = part_of(parts->next);
        list_unlink(&p->link);
        p->start = sc->queued;
        p->moved = true;
        sc->queued += p->bytes;
        conn_fifo_append(sc, p);
    }
    chain_splice(&sc->held, &up->loop->pool, bytes);
    loop_at_turn_end(up->loop, &sc->account);
}

/* The first late reply of a connection: it takes no new parts from here on. What the server may
 * have read drains for one more timeout; the rest moves on. */
static void give_up(struct server_conn *sc, uint64_t timeout, struct span reason)
{
    struct server_slot *server = sc->server;
    struct conn_slot *slot = sc->slot;
    struct list moved;
    struct chain bytes = {0};
    list_init(&moved);
    stat_add(&server->stats->server_timedout, 1);
    log_warn("pool '%s': server '%s' did not answer within %llu ms; %u requests on the connection",
             pool_of(sc)->conf->name, server_name(sc), (unsigned long long)timeout, sc->part_count);
    conn_count_failure(sc);
    bool good = take_unsent(sc, &moved, &bytes) && expire_sent(sc, timeout, reason);
    if (good && sc->part_count > 0 && !keep_order(sc, &moved, &bytes)) {
        char none[REASON_TEXT];
        snprintf(none, sizeof(none), "%s (server '%s')", conn_error_text(ENOMEM), server_name(sc));
        conn_fail_parts(&moved, span_str(none));
        good = false;
    }
    conn_leave_slot(sc);
    if (!good || sc->part_count == 0) {
        conn_end(sc, END_LATE, reason.ptr);
    } else {
        sc->state = SERVER_CONN_DRAINING;
        sc->drain_until = loop_now(up_of(sc)->loop) + timeout;
        conn_show_queues(sc);
    }
    move_parts(server, slot, &moved, &bytes, timeout, reason);
}

void conn_expire(struct server_conn *sc, uint64_t timeout)
{
    char reason[REASON_TEXT];
    if (sc->apart)
        return; /* its owner has a clock of its own */
    /* After a failed send what was queued is dropped, and the end of the turn ends the connection:
     * there is nothing to move, and that reason is the truer one. */
    if (sc->stream.err != 0)
        return;
    late_reason(sc, timeout, reason);
    if (sc->state == SERVER_CONN_DRAINING) {
        bool over = loop_now(up_of(sc)->loop) >= sc->drain_until;
        if (over || !expire_sent(sc, timeout, span_str(reason)))
            conn_end(sc, END_LATE, reason);
        return;
    }
    if (sc->due != &sc->parts && late(sc, part_of(sc->due), timeout))
        give_up(sc, timeout, span_str(reason));
}

void conn_late_handshake(struct server_conn *sc)
{
    char reason[REASON_TEXT];
    uint64_t timeout = (uint64_t)pool_of(sc)->conf->timeout;
    if (sc->stream.err != 0)
        return; /* as above */
    late_reason(sc, timeout, reason);
    give_up(sc, timeout, span_str(reason));
}

/* The first part of which the kernel has no byte; NULL: there is none. */
static struct part *first_unsent(const struct server_conn *sc)
{
    struct part *found = NULL;
    uint64_t sent = user_sent(sc);
    for (struct list *node = sc->parts.prev; node != &sc->parts; node = node->prev) {
        if (part_of(node)->start < sent)
            break;
        found = part_of(node);
    }
    return found;
}

void conn_end_rescuing(struct server_conn *sc, enum end end, const char *reason)
{
    struct server_slot *server = sc->server;
    struct conn_slot *slot = sc->slot;
    const struct part *first = first_unsent(sc);
    struct list moved;
    struct chain bytes = {0};
    uint64_t timeout = (uint64_t)pool_of(sc)->conf->timeout;
    list_init(&moved);
    /* Once only: a server may accept and close for ever. After a failed send the bytes are gone. */
    bool rescue = first != NULL && !first->moved && sc->stream.err == 0 && !sc->apart;
    if (rescue && !take_unsent(sc, &moved, &bytes))
        rescue = false;
    conn_end(sc, end, reason);
    if (rescue)
        move_parts(server, slot, &moved, &bytes, timeout == 0 ? UINT64_MAX : timeout,
                   span_str(reason));
}
