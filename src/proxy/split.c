/* SPDX-License-Identifier: BSD-3-Clause */
#include "proxy/split.h"

#include <stdlib.h>
#include <string.h>

struct piece {
    struct part part;
    struct split *split;
    uint32_t server;         /* its number in the pool */
    const struct span *keys; /* in split.names; NULL: they are not wanted */
    struct buf reply;        /* the server's reply, or an error line of ours */
    bool failed;
    bool error;
};

struct split {
    struct request *request;
    uint32_t count; /* pieces */
    uint32_t left;  /* pieces that are not in yet */
    uint32_t key_count;
    uint8_t join;
    size_t parked;     /* bytes of the pieces' replies that are counted as the client's */
    uint16_t *part_of; /* by key: the piece it went to; behind the pieces */
    struct span *
        names; /* the keys, piece after piece, and behind them their bytes; NULL: they are not wanted */
    struct piece pieces[];
};

static struct meter *meter_of(const struct piece *p)
{
    return &p->split->request->px->loop->pool.meter;
}

/* The memory of a piece's reply is counted. */
static bool keep_reply(struct piece *p, struct span bytes)
{
    size_t before = p->reply.cap;
    if (!buf_append(&p->reply, bytes))
        return false;
    meter_move(meter_of(p), before, p->reply.cap);
    return true;
}

static void drop_reply(struct piece *p)
{
    meter_sub(meter_of(p), p->reply.cap);
    buf_free(&p->reply);
}

void split_free(struct split *s)
{
    must(s->left == 0);
    for (uint32_t i = 0; i < s->count; i++)
        drop_reply(&s->pieces[i]);
    free(s->names);
    free(s);
}

/* Work space: `shards` holds the server of each key, then (see order_keys) the keys in the order of
 * their parts. */
static bool space_for(struct proxy *px, uint32_t keys)
{
    if (keys <= px->shards_cap / 2)
        return true;
    if (keys > UINT32_MAX / 4)
        return false;
    uint32_t cap = px->shards_cap == 0 ? 1024 : px->shards_cap;
    while (cap / 2 < keys)
        cap *= 2;
    uint32_t *shards = realloc(px->shards, (size_t)cap * sizeof(*shards));
    if (shards == NULL)
        return false;
    px->shards = shards;
    px->shards_cap = cap;
    return true;
}

uint32_t split_route(struct client *c, const struct request_view *v, bool *memory)
{
    struct proxy *px = c->front->px;
    struct upstream *up = c->front->up;
    uint32_t keys = request_key_count(v);
    *memory = space_for(px, keys);
    if (!*memory)
        return 0;
    for (uint32_t i = 0; i < up->pool->server_count; i++)
        px->part_index[i] = UINT32_MAX;
    uint32_t parts = 0;
    upstream_begin(up);
    for (uint32_t i = 0; i < keys; i++) {
        uint32_t server = upstream_route(up, request_key(v, i), request_intent(v));
        if (server == SERVER_NONE)
            return 0;
        px->shards[i] = server;
        if (px->part_index[server] == UINT32_MAX)
            px->part_index[server] = parts++;
    }
    return parts;
}

/* Counts bytes of replies that wait for the join: `more` and `less`. */
static void count_parked(struct split *s, size_t more, size_t less)
{
    s->parked += more - less;
    if (s->request->client != NULL)
        s->request->client->parked += more - less;
}

uint32_t split_busiest(const struct client *c)
{
    const struct proxy *px = c->front->px;
    const struct upstream *up = c->front->up;
    for (uint32_t i = 0; i < up->pool->server_count; i++)
        if (px->part_index[i] != UINT32_MAX && upstream_busy(up, i, &c->lane, &c->waiter))
            return i;
    return px->shards[0];
}

static void finish(struct split *s)
{
    struct request *r = s->request;
    struct client *c = r->client;
    count_parked(s, 0, s->parked);
    if (c == NULL || r->quiet) {
        request_done(r);
        return;
    }
    struct part_reply *replies = calloc(s->count, sizeof(*replies));
    if (replies == NULL) {
        request_fail(r, SPAN("Cannot allocate memory"));
        return;
    }
    for (uint32_t i = 0; i < s->count; i++)
        replies[i] = (struct part_reply){.bytes = buf_span(&s->pieces[i].reply),
                                         .failed = s->pieces[i].failed,
                                         .error = s->pieces[i].error,
                                         .server = s->pieces[i].server,
                                         .keys = s->pieces[i].keys,
                                         .servers = c->front->up->pool->server_count};
    uint32_t bad = UINT32_MAX;
    bool good = c->front->proto->join(s->join, replies, s->count, s->part_of, s->key_count,
                                      &r->px->loop->pool, &r->parked, &bad);
    free(replies);
    c->parked += r->parked.len;
    if (good)
        request_done(r);
    else if (bad == UINT32_MAX)
        request_fail(r, SPAN("Cannot allocate memory"));
    else
        request_fail(r, SPAN("Invalid argument (replies of several servers do not fit together)"));
}

static void piece_in(struct piece *p)
{
    must(p->split->left > 0);
    if (--p->split->left == 0)
        finish(p->split);
}

/* Puts our error line in the place of the piece's reply. */
static void piece_error(struct piece *p, struct span reason)
{
    const struct client *c = p->split->request->client;
    if (p->failed)
        return;
    p->failed = true;
    count_parked(p->split, 0, buf_len(&p->reply));
    buf_clear(&p->reply);
    if (c == NULL)
        return;
    stat_add(&c->front->up->stats->forward_error, 1);
    size_t before = p->reply.cap;
    if (!c->front->proto->error(&p->reply, reason))
        buf_clear(&p->reply);
    meter_move(meter_of(p), before, p->reply.cap);
}

/* May the reply begin? If not the client is closed, and with it the connection that it may have for itself: the
 * piece that this is asked for can have failed by then, and be the last. */
static bool may_begin(struct split *s)
{
    s->left++; /* it is not over while this looks at it */
    bool may = client_may_queue(s->request->client);
    s->left--;
    return may;
}

static void on_reply(struct part *part, struct span bytes, bool last, bool error)
{
    struct piece *p = container_of(part, struct piece, part);
    const struct client *c = p->split->request->client;
    bool begins = p->split->parked == 0; /* of the whole reply, which may be of any size */
    bool wanted = c != NULL && !p->failed && (!begins || may_begin(p->split));
    if (p->split->left == 0) {
        finish(p->split);
        return;
    }
    if (wanted && keep_reply(p, bytes))
        count_parked(p->split, bytes.len, 0);
    else if (wanted)
        piece_error(p, SPAN("Cannot allocate memory"));
    else if (!p->failed)
        drop_reply(p);
    if (!last)
        return;
    p->error = error;
    request_part_ended(p->split->request, part);
    piece_in(p);
}

static void on_failed(struct part *part, struct span reason)
{
    struct piece *p = container_of(part, struct piece, part);
    piece_error(p, reason);
    request_part_ended(p->split->request, part);
    piece_in(p);
}

static void on_drains(struct part *part)
{
    request_drains(container_of(part, struct piece, part)->split->request);
}

static bool on_stays(const struct part *part)
{
    return request_stays(container_of(part, struct piece, part)->split->request);
}

static const struct part_events events = {
    .reply = on_reply, .failed = on_failed, .drains = on_drains, .stays = on_stays};

static struct split *split_new(struct request *r, const struct request_view *v, uint32_t keys,
                               uint32_t parts)
{
    struct split *s = calloc(1, sizeof(*s) + (size_t)parts * sizeof(s->pieces[0]) +
                                    (size_t)keys * sizeof(s->part_of[0]));
    if (s == NULL)
        return NULL;
    s->request = r;
    s->count = parts;
    s->left = parts;
    s->key_count = keys;
    s->join = v->join;
    s->part_of = (uint16_t *)(void *)&s->pieces[parts];
    uint8_t expect = r->client->front->proto->part_expect(v);
    for (uint32_t i = 0; i < parts; i++) {
        s->pieces[i].split = s;
        s->pieces[i].part.on = &events;
        s->pieces[i].part.expect = expect;
        list_init(&s->pieces[i].part.link);
    }
    return s;
}

/* Sorts the numbers of the keys by their part, keeping their order inside a part (a counting sort):
 * ends[i] becomes the end of part i in the result, servers[i] its server. */
static uint32_t *order_keys(struct proxy *px, struct split *s, uint32_t *ends, uint32_t *servers)
{
    uint32_t *order = px->shards + s->key_count;
    for (uint32_t i = 0; i < s->key_count; i++) {
        uint32_t part = px->part_index[px->shards[i]];
        s->part_of[i] = (uint16_t)part;
        servers[part] = px->shards[i];
        ends[part]++;
    }
    uint32_t begin = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t count = ends[i];
        ends[i] = begin;
        begin += count;
    }
    for (uint32_t i = 0; i < s->key_count; i++)
        order[ends[s->part_of[i]]++] = i;
    return order;
}

/* Keeps the keys in that order, for the join. False if memory is out. */
static bool keep_names(struct split *s, const struct request_view *v, const uint32_t *order)
{
    must(s->key_count > 0);
    size_t bytes = s->key_count * sizeof(*s->names);
    for (uint32_t i = 0; i < s->key_count; i++)
        bytes += request_key(v, i).len;
    s->names = malloc(bytes);
    if (s->names == NULL)
        return false;
    char *text = (char *)&s->names[s->key_count];
    for (uint32_t i = 0; i < s->key_count; i++) {
        struct span key = request_key(v, order[i]);
        memcpy(text, key.ptr, key.len);
        s->names[i] = span_of(text, key.len);
        text += key.len;
    }
    return true;
}

/* The piece could not be sent. That does not finish the request: others are still to be sent. */
static void not_sent(struct piece *p, struct span reason)
{
    piece_error(p, reason);
    p->split->left--;
}

static void send_piece(struct client *c, struct piece *p, const struct request_view *v,
                       uint32_t server, const uint32_t *order, uint32_t count)
{
    struct upstream *up = c->front->up;
    struct buf *wire = &c->front->px->compose;
    p->server = server;
    buf_clear(wire);
    bool good = c->front->proto->compose_part(v, order, count, wire);
    if (!good)
        piece_error(p, SPAN("Cannot allocate memory"));
    else if (buf_len(wire) >= REQUEST_LINKED)
        good = upstream_send_buf(up, server, &c->lane, &p->part, wire);
    else
        good = upstream_send(up, server, &c->lane, &p->part, buf_span(wire));
    if (!good)
        not_sent(p, span_str(up->reason));
}

void split_start(struct request *r, const struct request_view *v, uint32_t parts)
{
    struct client *c = r->client;
    struct proxy *px = r->px;
    struct split *s = parts <= UINT16_MAX ? split_new(r, v, request_key_count(v), parts) : NULL;
    uint32_t *ends = calloc((size_t)parts * 2, sizeof(*ends));
    if (s == NULL || ends == NULL) {
        free(s);
        free(ends);
        request_fail(r, SPAN("Cannot allocate memory"));
        return;
    }
    r->split = s;
    uint32_t *servers = ends + parts;
    const uint32_t *order = order_keys(px, s, ends, servers);
    if (v->named && !keep_names(s, v, order)) {
        s->left = 0;
        free(ends);
        request_fail(r, SPAN("Cannot allocate memory"));
        return;
    }
    stat_add(&c->front->up->stats->fragments, parts);
    uint32_t begin = 0;
    for (uint32_t i = 0; i < parts; i++) {
        s->pieces[i].keys = v->named ? s->names + begin : NULL;
        send_piece(c, &s->pieces[i], v, servers[i], order + begin, ends[i] - begin);
        begin = ends[i];
    }
    free(ends);
    if (s->left == 0)
        finish(s);
}

void split_broadcast(struct request *r, const struct request_view *v)
{
    struct client *c = r->client;
    struct upstream *up = c->front->up;
    uint32_t parts = up->pool->server_count;
    struct split *s = split_new(r, v, 0, parts);
    if (s == NULL) {
        request_fail(r, SPAN("Cannot allocate memory"));
        return;
    }
    r->split = s;
    stat_add(&up->stats->fragments, parts);
    for (uint32_t i = 0; i < parts; i++)
        s->pieces[i].server = i;
    for (uint32_t i = 0; i < parts; i++)
        if (!upstream_send(up, i, &c->lane, &s->pieces[i].part, v->wire))
            not_sent(&s->pieces[i], span_str(up->reason));
    if (s->left == 0)
        finish(s);
}

void split_to_server(struct request *r, const struct request_view *v)
{
    struct split *s = split_new(r, v, 0, 1);
    if (s == NULL) {
        request_fail(r, SPAN("Cannot allocate memory"));
        return;
    }
    r->split = s;
    send_piece(r->client, &s->pieces[0], v, v->server, NULL, 0);
    if (s->left == 0)
        finish(s);
}
