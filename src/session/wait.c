/* SPDX-License-Identifier: BSD-3-Clause */
#include "session/wait.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/request.h"
#include "upstream/private.h"

/* Replies are numbers, or an error line, of which this much is kept. */
enum { WAIT_TEXT = REASON_TEXT + 64 };

/* One server. */
struct asked {
    struct part part;
    struct wait *wait;
    struct private *own; /* NULL once its answer is in */
    uint32_t opened;     /* own->slot.opened when the lead was sent */
    bool led;            /* the lead is over: the request itself is under way */
    bool failed;
    bool error;
    size_t len;
    char text[WAIT_TEXT]; /* what it answered, or an error line of ours */
};

struct wait {
    struct request *request;
    struct upstream *up;
    void (*over)(struct client *c);
    uint64_t grace;
    uint8_t join;
    uint8_t expect;
    uint32_t left; /* servers that have not answered yet */
    uint32_t count;
    struct buf wire;
    struct asked asked[];
};

static void wait_free(struct wait *w)
{
    buf_free(&w->wire);
    free(w);
}

/* Replies that do not fit together are an error of ours, as everywhere. */
static bool join(struct wait *w, uint32_t *bad)
{
    struct request *r = w->request;
    must(w->count > 0);
    struct part_reply *replies = calloc(w->count, sizeof(*replies));
    if (replies == NULL)
        return false;
    for (uint32_t i = 0; i < w->count; i++)
        replies[i] = (struct part_reply){.bytes = span_of(w->asked[i].text, w->asked[i].len),
                                         .failed = w->asked[i].failed,
                                         .error = w->asked[i].error,
                                         .server = i,
                                         .servers = w->count};
    bool good = w->up->pool->proto->join(w->join, replies, w->count, NULL, 0, &r->px->loop->pool,
                                         &r->parked, bad);
    r->client->parked += r->parked.len;
    free(replies);
    return good;
}

static void finish(struct wait *w)
{
    struct request *r = w->request;
    uint32_t bad = UINT32_MAX;
    bool good = true;
    if (r->client != NULL) {
        w->over(r->client);
        good = r->quiet || join(w, &bad);
    }
    wait_free(w);
    if (good)
        request_done(r);
    else if (bad == UINT32_MAX)
        request_fail(r, SPAN("Cannot allocate memory"));
    else
        request_fail(r, SPAN("Invalid argument (replies of several servers do not fit together)"));
}

/* A line that is too long is cut, but stays a line. */
static void put(struct asked *a, struct span bytes)
{
    size_t room = sizeof(a->text) - a->len;
    size_t n = bytes.len < room ? bytes.len : room;
    memcpy(a->text + a->len, bytes.ptr, n);
    a->len += n;
    if (n < bytes.len)
        memcpy(a->text + sizeof(a->text) - 2, "\r\n", 2);
}

/* The server has answered, or (not `clean`) never will. */
static void answered(struct asked *a, bool clean)
{
    struct private *own = a->own;
    a->own = NULL;
    private_give_back(own, clean);
    a->wait->left--;
}

static void lost(struct asked *a, struct span reason)
{
    struct buf line = {0};
    a->failed = true;
    a->len = 0;
    if (a->wait->up->pool->proto->error(&line, reason))
        put(a, buf_span(&line));
    buf_free(&line);
    answered(a, false);
}

static bool send_on(struct asked *a, const struct part *part, struct span wire)
{
    struct upstream *up = a->wait->up;
    const struct lane lane = {.profile = a->own->slot.profile, .own = a->own};
    a->part = *part;
    list_init(&a->part.link);
    return upstream_send(up, a->own->server, &lane, &a->part, wire);
}

/* The lead's reply is here: the request goes the same way. An error is that of the whole. */
static void lead_over(struct asked *a, bool error, const struct part_events *on)
{
    struct wait *w = a->wait;
    const struct conn_slot *slot = &a->own->slot;
    if (!w->up->pool->proto->wait->led(span_of(a->text, a->len))) {
        a->error = error;
        answered(a, true);
        return;
    }
    a->led = true;
    a->len = 0;
    if (slot->conn == NULL || slot->opened != a->opened)
        lost(a, SPAN("Connection timed out (nothing can be waited for on a lost connection)"));
    else if (!send_on(a, &(struct part){.on = on, .expect = w->expect, .grace = w->grace},
                      buf_span(&w->wire)))
        lost(a, span_str(w->up->reason));
}

static void on_reply(struct part *p, struct span piece, bool last, bool error)
{
    struct asked *a = container_of(p, struct asked, part);
    struct wait *w = a->wait;
    put(a, piece);
    if (!last)
        return;
    request_part_ended(w->request, p);
    if (!a->led) {
        lead_over(a, error, p->on);
    } else {
        a->error = error;
        answered(a, true);
    }
    if (w->left == 0)
        finish(w);
}

static void on_failed(struct part *p, struct span reason)
{
    struct asked *a = container_of(p, struct asked, part);
    struct wait *w = a->wait;
    request_part_ended(w->request, p);
    lost(a, reason);
    if (w->left == 0)
        finish(w);
}

static void on_drains(struct part *p)
{
    request_drains(container_of(p, struct asked, part)->wait->request);
}

static bool on_stays(const struct part *p)
{
    return request_stays(container_of(p, struct asked, part)->wait->request);
}

static const struct part_events events = {
    .reply = on_reply, .failed = on_failed, .drains = on_drains, .stays = on_stays};

static void give_all_back(struct wait *w)
{
    for (uint32_t i = 0; i < w->count; i++)
        if (w->asked[i].own != NULL)
            private_give_back(w->asked[i].own, true);
}

/* All that it needs, but the request in the client's FIFO. NULL: up->reason says why. */
static struct wait *wait_new(struct client *c, const struct request_view *v)
{
    struct upstream *up = c->front->up;
    uint32_t count = up->pool->server_count;
    struct wait *w = calloc(1, sizeof(*w) + (size_t)count * sizeof(w->asked[0]));
    if (w == NULL || !buf_append(&w->wire, v->wire)) {
        snprintf(up->reason, sizeof(up->reason), "Cannot allocate memory");
        free(w);
        return NULL;
    }
    w->up = up;
    w->count = count;
    w->join = v->join;
    w->expect = v->expect;
    w->grace = v->block_ms < PART_PATIENT ? v->block_ms : PART_PATIENT;
    for (uint32_t i = 0; i < count; i++) {
        w->asked[i].wait = w;
        w->asked[i].own = private_take(up, i, c->lane.profile);
        if (w->asked[i].own == NULL) {
            give_all_back(w);
            wait_free(w);
            return NULL;
        }
    }
    return w;
}

/* Sends the lead, or at once the request itself. */
static bool ask(struct asked *a, const struct request_view *v, const struct proto_wait *words)
{
    struct part part = {.on = &events, .expect = v->expect, .skip = words->skip};
    if (v->verb == SESSION_WAIT)
        return send_on(a, &part, words->lead);
    part.skip = 0;
    a->led = true;
    return send_on(a, &part, v->wire);
}

struct wait *wait_begin(struct client *c, const struct request_view *v,
                        void (*over)(struct client *c))
{
    struct upstream *up = c->front->up;
    const struct proto_wait *words = c->front->proto->wait;
    struct wait *w = wait_new(c, v);
    if (w == NULL) {
        request_refuse(c, v, span_str(up->reason));
        return NULL;
    }
    w->request = request_new(c, v->quiet);
    if (w->request == NULL) {
        give_all_back(w);
        wait_free(w);
        request_no_memory(c);
        return NULL;
    }
    w->over = over;
    w->left = w->count;
    for (uint32_t i = 0; i < w->count; i++) {
        struct asked *a = &w->asked[i];
        if (!ask(a, v, words))
            lost(a, span_str(up->reason));
        else
            a->opened = a->own->slot.opened;
    }
    if (w->left > 0)
        return w;
    finish(w);
    return NULL;
}

void wait_cut(struct wait *w, const char *why)
{
    /* It is not over while this one looks at it. */
    w->left++;
    for (uint32_t i = 0; i < w->count; i++)
        if (w->asked[i].own != NULL)
            private_cut(w->asked[i].own, why);
    if (--w->left == 0)
        finish(w);
}

void wait_cut_later(struct wait *w, const char *why)
{
    for (uint32_t i = 0; i < w->count; i++)
        if (w->asked[i].own != NULL)
            private_cut_later(w->asked[i].own, why);
}
