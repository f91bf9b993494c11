/* SPDX-License-Identifier: BSD-3-Clause */
#include "upstream/about.h"

#include <string.h>

#include "upstream/server_conn.h"

/* How long an answer is good, how long one that did not come is not waited for again, and how long one may take
 * if the pool has no timeout, ms. */
enum { FRESH_MS = 60000, AGAIN_MS = 5000, ANSWER_MS = 1000 };
/* What is kept of an answer, bytes. */
enum { ANSWER_KEEP = 4096 };

static void end(struct about *b)
{
    timer_stop(b->up->loop, &b->limit);
    b->left = 0;
    b->over(b);
}

/* Asks b->server, or the first of those behind it that can be asked. */
static bool send_next(struct about *b)
{
    const struct proto *proto = b->up->pool->proto;
    struct buf wire = {0};
    uint8_t expect = 0;
    bool sent = false;
    bool made = proto->about(&wire, &expect);
    for (; made && !sent && b->left > 0; b->left--) {
        sent = call_send(&b->call, &b->up->slots[b->server], &b->slot, expect, buf_span(&wire));
        b->server = (b->server + 1) % b->up->pool->server_count;
    }
    buf_free(&wire);
    return sent;
}

static void on_done(struct call *c, bool replied, struct span text)
{
    struct about *b = container_of(c, struct about, call);
    bool told = replied && b->up->pool->proto->about_read(text, &b->known);
    if (b->slot.conn != NULL)
        server_conn_stop(b->slot.conn, "it was only asked what it is");
    if (b->up->stopping)
        return;
    if (told || !send_next(b))
        end(b);
}

static void on_limit(struct timer *t)
{
    struct about *b = container_of(t, struct about, limit);
    b->left = 0;
    if (b->slot.conn != NULL)
        server_conn_stop(b->slot.conn, "it did not say in time what it is");
}

void about_init(struct about *b, struct upstream *up, void (*over)(struct about *b))
{
    *b = (struct about){.up = up, .over = over};
    b->slot.apart = true;
    b->slot.profile = up->plain;
    list_init(&b->slot.line);
    list_init(&b->slot.lined);
    list_init(&b->slot.called);
    b->call.done = on_done;
    b->call.keep = ANSWER_KEEP;
    timer_init(&b->limit, on_limit);
}

bool about_ask(struct about *b, uint32_t server)
{
    bool known = b->known.version[0] != '\0';
    uint64_t now = loop_now(b->up->loop);
    if (b->call.under_way)
        return !known;
    if (b->asked_at != 0 && now - b->asked_at < (known ? FRESH_MS : AGAIN_MS))
        return false;
    b->asked_at = now == 0 ? 1 : now;
    b->server = server;
    b->left = b->up->pool->server_count;
    if (!send_next(b))
        return false;
    int64_t timeout = b->up->pool->conf->timeout;
    timer_start(b->up->loop, &b->limit, timeout > 0 ? (uint64_t)timeout : ANSWER_MS);
    return !known;
}

void about_stop(struct about *b)
{
    timer_stop(b->up->loop, &b->limit);
}

void about_free(struct about *b)
{
    call_free(&b->call);
}
