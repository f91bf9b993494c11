/* SPDX-License-Identifier: BSD-3-Clause */
#include "upstream/call.h"

#include <stdio.h>

static struct call *of_part(struct part *p)
{
    return container_of(p, struct call, part);
}

static void lost(struct call *c)
{
    char reason[REASON_TEXT];
    snprintf(reason, sizeof(reason), "Cannot allocate memory (server '%s')",
             c->server->up->pool->servers[c->server->index].conf->name);
    c->done(c, false, span_str(reason));
}

static void on_reply(struct part *p, struct span piece, bool last, bool error)
{
    struct call *c = of_part(p);
    size_t room = c->keep - buf_len(&c->reply);
    (void)error; /* its owner reads it in the reply */
    piece.len = piece.len < room ? piece.len : room;
    if (!buf_append(&c->reply, piece))
        c->lost = true;
    if (!last)
        return;
    c->under_way = false;
    if (c->lost)
        lost(c);
    else
        c->done(c, true, buf_span(&c->reply));
}

static void on_failed(struct part *p, struct span reason)
{
    struct call *c = of_part(p);
    c->under_way = false;
    c->done(c, false, reason);
}

/* Its owner has one call under way: none that could overtake it. */
static const struct part_events events = {.reply = on_reply, .failed = on_failed};

bool call_send(struct call *c, struct server_slot *server, struct conn_slot *slot, uint8_t expect,
               struct span wire)
{
    must(!c->under_way);
    c->part = (struct part){.on = &events, .expect = expect};
    list_init(&c->part.link);
    c->server = server;
    c->lost = false;
    buf_clear(&c->reply);
    c->under_way = upstream_send_on(server, slot, &c->part, wire);
    return c->under_way;
}

void call_free(struct call *c)
{
    must(!c->under_way);
    buf_free(&c->reply);
}
