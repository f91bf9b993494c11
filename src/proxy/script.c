/* SPDX-License-Identifier: BSD-3-Clause */
#include "proxy/script.h"

#include "upstream/scripts.h"

static void on_reply(struct part *p, struct span piece, bool last, bool error)
{
    struct client *c = container_of(p, struct request, part)->client;
    if (last && error && c != NULL && c->front->proto->scripts->missing(piece))
        script_view_doubt(&c->front->scripts);
    request_events.reply(p, piece, last, error);
}

static void on_failed(struct part *p, struct span reason)
{
    request_events.failed(p, reason);
}

static const struct part_events events = {.reply = on_reply,
                                          .failed = on_failed,
                                          .drains = request_part_drains,
                                          .stays = request_part_stays};

/* The request, behind the one that loads the script. */
static bool compose(struct client *c, const struct request_view *v, const struct script *s)
{
    struct buf *wire = &c->front->px->compose;
    buf_clear(wire);
    return c->front->proto->scripts->load(span_of(s->body, s->len), wire) &&
           buf_append(wire, v->wire);
}

static void run(struct client *c, const struct request_view *v, uint32_t server,
                struct seen_script *s)
{
    struct upstream *up = c->front->up;
    struct request *r = request_new(c, v->quiet);
    bool there = script_is_on(s, server, upstream_conn_number(up, server, &c->lane));
    if (r == NULL) {
        request_no_memory(c);
        return;
    }
    if (!there && !compose(c, v, s->script)) {
        request_fail(r, SPAN("Cannot allocate memory"));
        return;
    }
    r->part.on = &events;
    r->part.expect = v->expect;
    r->part.skip = !there;
    if (upstream_send(up, server, &c->lane, &r->part,
                      there ? v->wire : buf_span(&c->front->px->compose)))
        script_put_on(s, server, upstream_conn_number(up, server, &c->lane));
    else
        request_fail(r, span_str(up->reason));
}

/* Remembers what is loaded, whether servers take it or not: whoever calls it by its name means just this. */
static void keep(struct client *c, struct span body)
{
    char name[SCRIPT_NAME];
    if (body.len > SCRIPTS_BYTES)
        return;
    c->front->proto->scripts->name(body, name);
    scripts_add(&c->front->up->pool->scripts, name, body);
}

bool script_start(struct client *c, const struct request_view *v, enum request_fate *fate)
{
    uint32_t server;
    *fate = REQUEST_STARTED;
    if (v->verb == SCRIPT_LOAD) {
        keep(c, v->script);
        return false;
    }
    if (v->verb == SCRIPT_FLUSH) {
        scripts_clear(&c->front->up->pool->scripts);
        return false;
    }
    struct seen_script *s = script_find(&c->front->scripts, v->script);
    if (s == NULL)
        return false;
    if (request_route(c, v, &server) && !request_held_back(c, v, server, fate))
        run(c, v, server, s);
    return true;
}
