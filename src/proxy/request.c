/* SPDX-License-Identifier: BSD-3-Clause */
#include "proxy/request.h"

#include <string.h>

#include "base/copy.h"
#include "base/log.h"
#include "proxy/login.h"
#include "proxy/script.h"
#include "proxy/session_ops.h"
#include "proxy/split.h"
#include "proxy/tell.h"

/* The key whose server gets the requests that name no key: always the same one. */
#define KEYLESS SPAN("placeholder")

/* Field by field, since to zero `few` too would cost more than all the rest. */
static every_request void request_init(struct request *r, struct client *c, bool quiet)
{
    r->next = NULL;
    r->client = c;
    r->px = c->front->px;
    r->split = NULL;
    r->part = (struct part){0};
    list_init(&r->part.link);
    r->parked = (struct chain){0};
    r->quiet = quiet;
    r->done = false;
    r->streamed = false;
    r->hush = 0;
    r->head_len = 0;
    r->few_len = 0;
}

static every_request struct request *new_request(struct client *c, bool quiet)
{
    struct proxy *px = c->front->px;
    struct request *r = slab_borrow(&px->request_slab);
    if (r == NULL)
        return NULL;
    request_init(r, c, quiet || c->session.mute != MUTE_NONE);
    if (c->last == NULL)
        c->first = r;
    else
        c->last->next = r;
    c->last = r;
    c->open++;
    return r;
}

struct request *request_new(struct client *c, bool quiet)
{
    return new_request(c, quiet);
}

/* Drops what is parked. */
static every_request void clear_parked(struct request *r)
{
    if (r->few_len > 0)
        r->parked = (struct chain){0};
    else if (unlikely(r->parked.first != NULL))
        chain_clear(&r->parked, &r->px->loop->pool);
    r->few_len = 0;
}

slow_path void request_drop(struct request *r)
{
    clear_parked(r);
    if (r->split != NULL)
        split_free(r->split);
}

void request_orphan(struct request *r)
{
    r->client = NULL;
    r->next = NULL;
    clear_parked(r);
    if (r->done)
        request_free(r);
}

/* Moves the few bytes in the request to the chain, where more can follow them. */
slow_path static bool spill(struct request *r)
{
    struct chain chain = {0};
    if (r->few_len == 0)
        return true;
    if (!chain_append(&chain, &r->px->loop->pool, span_of(r->few, r->few_len)))
        return false;
    r->few_len = 0;
    r->parked = chain;
    return true;
}

bool request_park(struct request *r, struct span bytes)
{
    bool in_few = r->few_len > 0 || r->parked.first == NULL;
    if (in_few && bytes.len <= sizeof(r->few) - r->few_len) {
        copy_bytes(r->few + r->few_len, bytes.ptr, bytes.len);
        r->few_len = (uint8_t)(r->few_len + bytes.len);
    } else if (!spill(r) || !chain_append(&r->parked, &r->px->loop->pool, bytes)) {
        return false;
    }
    r->client->parked += bytes.len;
    return true;
}

/* Behind a reply that is whole there is room for more; else they take a place in the FIFO themselves. */
bool request_park_behind(struct request *r, struct span bytes)
{
    struct client *c = r->client;
    struct request *behind = r->next;
    if (behind == NULL || !behind->done) {
        behind = slab_borrow(&c->front->px->request_slab);
        if (behind == NULL)
            return false;
        request_init(behind, c, false);
        behind->done = true;
        behind->next = r->next;
        r->next = behind;
        if (c->last == r)
            c->last = behind;
        c->open++;
    }
    return request_park(behind, bytes);
}

bool request_send_parked(struct request *r)
{
    struct client *c = r->client;
    size_t waits = request_parked(r);
    if (waits == 0)
        return true;
    if (r->few_len > 0 && !stream_write(&c->stream, span_of(r->few, r->few_len)))
        return false;
    if (r->few_len == 0)
        stream_write_chain(&c->stream, &r->parked);
    c->parked -= waits;
    clear_parked(r);
    r->streamed = true;
    return true;
}

static void drop_parked(struct request *r)
{
    r->client->parked -= request_parked(r);
    clear_parked(r);
}

void request_done(struct request *r)
{
    struct client *c = r->client;
    r->done = true;
    if (c == NULL)
        request_free(r);
    else if (c->first == r)
        client_advance(c);
}

void request_fail(struct request *r, struct span reason)
{
    struct client *c = r->client;
    if (c == NULL || r->quiet) {
        request_done(r);
        return;
    }
    stat_add(&c->front->up->stats->forward_error, 1);
    if (r->streamed) {
        /* Part of the reply has left: only the end of the connection can tell that the rest is
         * missing. */
        r->done = true;
        client_break(c, reason.ptr);
        return;
    }
    drop_parked(r);
    struct buf *line = &r->px->compose;
    buf_clear(line);
    if (!c->front->proto->error(line, reason) || !request_park(r, buf_span(line))) {
        r->done = true;
        client_fail(c, "no memory for an error line");
        return;
    }
    request_done(r);
}

void request_drains(struct request *r)
{
    if (r->client != NULL)
        client_drains(r->client);
}

/* Of a client that is gone nobody knows any more what came first. */
bool request_stays(const struct request *r)
{
    return r->client == NULL || r->client->draining > 0;
}

void request_part_ended(struct request *r, const struct part *p)
{
    if (p->drains && r->client != NULL)
        client_drained(r->client);
}

/* Passes bytes of the reply on, or parks them. */
static every_request void deliver(struct request *r, struct span piece)
{
    struct client *c = r->client;
    bool good;
    if (c == NULL || r->quiet)
        return; /* nobody waits for it */
    if (!r->streamed && request_parked(r) == 0 && !client_may_queue(c))
        return; /* it is closed */
    if (c->first == r) {
        good = stream_write(&c->stream, piece);
        r->streamed = true;
    } else {
        good = request_park(r, piece);
    }
    if (unlikely(!good))
        client_fail(c, "no memory for a reply");
}

/* Holds the first bytes of the reply back until they tell whether the client wants to hear it.
 * Returns what of the piece is not held back. */
static __attribute__((noinline)) struct span decide(struct request *r, struct span piece, bool last)
{
    while (r->head_len < UNHEARD_HEAD && piece.len > 0) {
        r->head[r->head_len++] = piece.ptr[0];
        piece = span_from(piece, 1);
    }
    if (r->head_len < UNHEARD_HEAD && !last)
        return piece;
    struct span head = {r->head, r->head_len};
    if (r->client != NULL)
        r->quiet = r->client->front->proto->unheard(r->hush, head);
    r->hush = 0;
    deliver(r, head);
    return piece;
}

static void on_reply(struct part *p, struct span piece, bool last, bool error)
{
    struct request *r = container_of(p, struct request, part);
    (void)error;
    if (unlikely(r->hush != 0))
        piece = decide(r, piece, last);
    if (piece.len > 0)
        deliver(r, piece);
    if (!last)
        return;
    request_part_ended(r, p);
    request_done(r);
}

static void on_failed(struct part *p, struct span reason)
{
    struct request *r = container_of(p, struct request, part);
    request_part_ended(r, p);
    request_fail(r, reason);
}

void request_part_drains(struct part *p)
{
    request_drains(container_of(p, struct request, part));
}

bool request_part_stays(const struct part *p)
{
    return request_stays(container_of(p, struct request, part));
}

const struct part_events request_events = {.reply = on_reply,
                                           .failed = on_failed,
                                           .drains = request_part_drains,
                                           .stays = request_part_stays};

void request_no_memory(struct client *c)
{
    client_fail(c, "no memory for a request");
}

void request_answer(struct client *c, struct span reply)
{
    if (reply.len == 0 || c->session.mute != MUTE_NONE)
        return;
    if (c->first == NULL) {
        if (!stream_write(&c->stream, reply))
            request_no_memory(c);
        return;
    }
    struct request *r = request_new(c, false);
    if (r == NULL) {
        request_no_memory(c);
        return;
    }
    r->done = true;
    if (!request_park(r, reply))
        request_no_memory(c);
}

void request_refuse(struct client *c, const struct request_view *v, struct span reason)
{
    struct request *r = request_new(c, v->quiet);
    if (r == NULL)
        request_no_memory(c);
    else
        request_fail(r, reason);
}

void request_answer_cross(struct client *c, const struct request_view *v)
{
    struct buf *line = &c->front->px->compose;
    buf_clear(line);
    if (!c->front->proto->error_cross(line, v))
        request_no_memory(c);
    else if (!v->quiet)
        request_answer(c, buf_span(line));
}

uint32_t request_keyless(struct upstream *up)
{
    upstream_begin(up);
    return upstream_route(up, KEYLESS, INTENT_READ);
}

/* Is one of the keys behind the first not on the server of the first? */
static bool crosses(struct upstream *up, const struct request_view *v, uint32_t server)
{
    uint32_t count = request_key_count(v);
    bool cross = false;
    if (!upstream_sharded(up))
        return false;
    for (uint32_t i = 1; i < count && !cross; i++)
        cross = upstream_route(up, request_key(v, i), request_intent(v)) != server;
    return cross;
}

/* The server for all keys of the view; SERVER_NONE, or *cross if they need different ones. */
static every_request uint32_t choose(struct upstream *up, const struct request_view *v, bool *cross)
{
    *cross = false;
    if (unlikely(v->ranges == 0))
        return request_keyless(up);
    upstream_begin(up);
    uint32_t server = upstream_route(up, request_key(v, 0), request_intent(v));
    if (unlikely(v->ranges > 1 || v->keys[0].count > 1))
        *cross = crosses(up, v, server);
    return server;
}

/* Sends the whole request to one server. `in` as in request_start(). */
static every_request enum request_fate send_whole(struct client *c, const struct request_view *v,
                                                  uint32_t server, struct span in)
{
    struct upstream *up = c->front->up;
    struct request *r = new_request(c, v->quiet);
    if (r == NULL) {
        request_no_memory(c);
        return REQUEST_STARTED;
    }
    r->part.on = &request_events;
    r->part.expect = v->expect;
    r->hush = v->hush;
    struct buf linked = {0};
    bool taken = v->wire.len >= REQUEST_LINKED && v->wire.ptr == in.ptr && v->wire.len == v->len &&
                 stream_take(&c->stream, in, v->len, &linked);
    bool good = taken ? upstream_send_buf(up, server, &c->lane, &r->part, &linked)
                      : upstream_send(up, server, &c->lane, &r->part, v->wire);
    if (unlikely(taken))
        buf_free(&linked);
    if (unlikely(!good))
        request_fail(r, span_str(up->reason));
    return taken ? REQUEST_TAKEN : REQUEST_STARTED;
}

/* The server is busy. */
slow_path static void hold_back(struct client *c, const struct request_view *v, uint32_t server,
                                enum request_fate *fate)
{
    struct upstream *up = c->front->up;
    *fate = c->late ? REQUEST_STARTED : REQUEST_WAITS;
    if (c->late) {
        upstream_late(up, server);
        request_refuse(c, v, span_str(up->reason));
    } else {
        client_wait(c, server, v->len);
    }
}

static every_request bool held_back(struct client *c, const struct request_view *v, uint32_t server,
                                    enum request_fate *fate)
{
    bool busy = upstream_busy(c->front->up, server, &c->lane, &c->waiter);
    if (unlikely(busy))
        hold_back(c, v, server, fate);
    return busy;
}

bool request_held_back(struct client *c, const struct request_view *v, uint32_t server,
                       enum request_fate *fate)
{
    return held_back(c, v, server, fate);
}

/* The keys are on different servers, or on none that can serve them. */
slow_path static void no_route(struct client *c, const struct request_view *v, bool cross)
{
    struct upstream *up = c->front->up;
    if (cross) {
        request_answer_cross(c, v);
    } else {
        upstream_no_server(up);
        request_refuse(c, v, span_str(up->reason));
    }
}

static every_request bool route(struct client *c, const struct request_view *v, uint32_t *server)
{
    bool cross;
    *server = choose(c->front->up, v, &cross);
    if (likely(*server != SERVER_NONE && !cross))
        return true;
    no_route(c, v, *server != SERVER_NONE);
    return false;
}

bool request_route(struct client *c, const struct request_view *v, uint32_t *server)
{
    return route(c, v, server);
}

static enum request_fate send_one(struct client *c, const struct request_view *v, uint32_t server,
                                  struct span in)
{
    return send_whole(c, v, server, in);
}

static every_request enum request_fate forward(struct client *c, const struct request_view *v,
                                               struct span in)
{
    enum request_fate fate = REQUEST_STARTED;
    uint32_t server;
    if (route(c, v, &server) && !held_back(c, v, server, &fate))
        fate = send_whole(c, v, server, in);
    return fate;
}

/* Starts a request over several servers, or over one if all its keys are there. */
static enum request_fate start_split(struct client *c, const struct request_view *v, struct span in)
{
    struct proxy *px = c->front->px;
    struct upstream *up = c->front->up;
    bool memory;
    enum request_fate fate = REQUEST_STARTED;
    uint32_t parts = split_route(c, v, &memory);
    if (!memory) {
        request_refuse(c, v, SPAN("Cannot allocate memory"));
    } else if (parts == 0) {
        upstream_no_server(up);
        request_refuse(c, v, span_str(up->reason));
    } else if (request_held_back(c, v, split_busiest(c), &fate)) {
        return fate;
    } else if (parts == 1) {
        fate = send_one(c, v, px->shards[0], in);
    } else {
        struct request *r = request_new(c, v->quiet);
        if (r == NULL)
            request_no_memory(c);
        else
            split_start(r, v, parts);
    }
    return fate;
}

/* Starts a request that is for all servers. */
static enum request_fate start_broadcast(struct client *c, const struct request_view *v,
                                         struct span in)
{
    const struct upstream *up = c->front->up;
    enum request_fate fate = REQUEST_STARTED;
    for (uint32_t i = 0; i < up->pool->server_count; i++)
        if (request_held_back(c, v, i, &fate))
            return fate;
    if (up->pool->server_count == 1)
        return send_one(c, v, 0, in);
    struct request *r = request_new(c, v->quiet);
    if (r == NULL)
        request_no_memory(c);
    else
        split_broadcast(r, v);
    return fate;
}

/* Starts a request for one server that is named. */
static enum request_fate start_server(struct client *c, const struct request_view *v)
{
    enum request_fate fate = REQUEST_STARTED;
    if (request_held_back(c, v, v->server, &fate))
        return fate;
    struct request *r = request_new(c, v->quiet);
    if (r == NULL)
        request_no_memory(c);
    else
        split_to_server(r, v);
    return fate;
}

static enum request_fate start_script(struct client *c, const struct request_view *v,
                                      struct span in)
{
    enum request_fate fate;
    if (script_start(c, v, &fate))
        return fate;
    return v->verb == SCRIPT_RUN ? forward(c, v, in) : start_broadcast(c, v, in);
}

enum request_fate request_start(struct client *c, const struct request_view *v, struct span in)
{
    log_debug("client %u: request of %u bytes, %u arguments, %zu requests before it", c->id, v->len,
              v->args->count, (size_t)c->open);
    if (likely(v->kind == REQUEST_FORWARD && !c->session.queues))
        return forward(c, v, in);
    if (c->session.queues && v->kind != REQUEST_SESSION)
        return c->front->px->sessions->start(c, v);
    switch (v->kind) {
    case REQUEST_NONE:
        return REQUEST_STARTED;
    case REQUEST_LOCAL:
        if (!v->quiet)
            request_answer(c, v->reply);
        return REQUEST_STARTED;
    case REQUEST_SERVER:
        return start_server(c, v);
    case REQUEST_TELL:
        return tell(c, v);
    case REQUEST_FORWARD:
        return forward(c, v, in);
    case REQUEST_SPLIT:
        return start_split(c, v, in);
    case REQUEST_SESSION:
        return c->front->px->sessions->start(c, v);
    case REQUEST_SCRIPT:
        return start_script(c, v, in);
    case REQUEST_LOGIN:
        return login_start(c, v);
    case REQUEST_BROADCAST:
        return start_broadcast(c, v, in);
    }
    never("a kind of request that does not exist");
}
