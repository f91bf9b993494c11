/* SPDX-License-Identifier: BSD-3-Clause */
#include "session/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "proxy/login.h"
#include "session/hub.h"
#include "session/subscribe.h"
#include "session/wait.h"
#include "upstream/private.h"

/* No request is on the private connection that changes what becomes of it. */
enum { VERB_NONE = UINT8_MAX };

/* Why somebody is not kept waiting who closed the sending side. */
#define CLIENT_LEFT "its client sends no more"

struct session {
    /* The transaction, while session.queues of the client. */
    struct buf queue; /* the request that begins it, then those in it */
    size_t kept;      /* bytes of its memory that are counted */
    uint32_t queued;  /* requests in it */
    uint32_t server;  /* that has all its keys; SERVER_NONE: it names none yet */
    bool spoiled;     /* one of its requests was wrong: it can't be carried out */

    /* The private connection. */
    struct private *own; /* NULL: none */
    uint32_t opened;     /* own->slot.opened when the first keys were watched */
    bool watching;       /* keys: the server said so */
    bool lost;           /* the connection was, and with it what was watched */
    uint8_t verb;        /* of the request on it that waits for its reply; VERB_NONE */
    bool counted;        /* among the clients that are blocked */

    struct wait *wait;        /* the request that is waiting for every server; NULL: none */
    struct subscriber *hears; /* its subscriptions; NULL: none */
};

static const struct proto_transaction *words_of(const struct client *c)
{
    return c->front->proto->transaction;
}

static struct session *session_of(struct client *c)
{
    if (c->held != NULL)
        return c->held;
    c->held = calloc(1, sizeof(*c->held));
    if (c->held != NULL) {
        c->held->server = SERVER_NONE;
        c->held->verb = VERB_NONE;
    }
    return c->held;
}

/* Counts the client as blocked while it waits for data or for all servers. */
static void count(struct client *c)
{
    struct session *s = c->held;
    struct pool_stats *stats = c->front->up->stats;
    bool blocked = s->verb == SESSION_BLOCK || s->wait != NULL;
    if (blocked && !s->counted)
        stat_add(&stats->blocked_clients, 1);
    else if (!blocked && s->counted)
        stat_sub(&stats->blocked_clients, 1);
    s->counted = blocked;
}

/* Adds to the transaction. Its memory is counted. */
static bool keep(struct client *c, struct span bytes)
{
    struct buf *queue = &c->held->queue;
    if (!buf_append(queue, bytes))
        return false;
    meter_move(&c->front->px->loop->pool.meter, c->held->kept, queue->cap);
    c->held->kept = queue->cap;
    return true;
}

static void drop_queue(struct client *c)
{
    buf_free(&c->held->queue);
    meter_sub(&c->front->px->loop->pool.meter, c->held->kept);
    c->held->kept = 0;
}

/* Frees a session that holds nothing any more. It may be gone: an answer for which there is no memory ends
 * the client. */
static void forget(struct client *c)
{
    if (c->held == NULL || c->session.queues || c->held->own != NULL || c->held->wait != NULL)
        return;
    if (c->held->hears != NULL && !subscriber_is_idle(c->held->hears))
        return;
    if (c->held->hears != NULL)
        subscriber_free(c->held->hears);
    drop_queue(c);
    free(c->held);
    c->held = NULL;
}

/* ---- the private connection ---- */

static void release(struct client *c, bool clean)
{
    struct session *s = c->held;
    struct private *own = s->own;
    s->own = NULL;
    s->watching = false;
    s->lost = false;
    s->verb = VERB_NONE;
    count(c);
    c->lane.own = NULL;
    private_give_back(own, clean);
    forget(c);
}

/* Closes it, but keeps in mind that keys were watched: the next transaction can't be carried out. */
static void lose(struct session *s)
{
    s->lost = true;
    private_cut(s->own, "nobody waits any more");
}

/* A server watches the keys that it was asked to. */
static void watched(struct session *s)
{
    if (!s->watching)
        s->opened = s->own->slot.opened;
    s->watching = true;
    s->lost = s->lost || s->own->slot.opened != s->opened;
}

/* The one request that may wait there has ended. What the server kept for the client is gone with the
 * reply to EXEC and UNWATCH; what it watches on stays when another request fails. */
static void settle(struct client *c, bool replied, bool error)
{
    struct session *s = c->held;
    uint8_t verb = s->verb;
    bool keeps = s->watching && (verb == SESSION_WATCH || verb == SESSION_BLOCK);
    s->verb = VERB_NONE;
    count(c);
    private_keep(s->own);
    if (!replied && keeps)
        lose(s);
    else if (!replied)
        release(c, false);
    else if (verb == SESSION_BLOCK && !s->watching)
        release(c, true);
    else if (verb == SESSION_EXEC || verb == SESSION_UNWATCH)
        release(c, !error);
    else if (verb == SESSION_WATCH && !error)
        watched(s);
    else if (verb == SESSION_WATCH && !keeps)
        release(c, false);
}

static struct client *waiting_client(const struct part *p)
{
    struct client *c = container_of(p, struct request, part)->client;
    return c != NULL && c->held != NULL && c->held->own != NULL ? c : NULL;
}

static void on_reply(struct part *p, struct span piece, bool last, bool error)
{
    struct client *c = waiting_client(p);
    if (last && c != NULL)
        settle(c, true, error);
    request_events.reply(p, piece, last, error);
}

static void on_failed(struct part *p, struct span reason)
{
    struct client *c = waiting_client(p);
    if (c != NULL)
        settle(c, false, false);
    request_events.failed(p, reason);
}

static const struct part_events events = {.reply = on_reply,
                                          .failed = on_failed,
                                          .drains = request_part_drains,
                                          .stays = request_part_stays};

/* Gives the client a private connection to that server, unless it has it. False: it was answered. */
static bool take(struct client *c, const struct request_view *v, uint32_t server)
{
    struct session *s = c->held;
    struct upstream *up = c->front->up;
    if (s->own != NULL && s->own->server == server)
        return true;
    if (s->own != NULL) {
        request_answer_cross(c, v);
        return false;
    }
    s->own = private_take(up, server, c->lane.profile);
    if (s->own == NULL) {
        request_refuse(c, v, span_str(up->reason));
        forget(c);
        return false;
    }
    c->lane.own = s->own;
    return true;
}

/* Sends `wire` on it. */
static void send_own(struct client *c, const struct request_view *v, struct span wire,
                     uint32_t skip, uint64_t grace)
{
    struct session *s = c->held;
    struct upstream *up = c->front->up;
    must(s != NULL && s->own != NULL);
    struct request *r = request_new(c, v->quiet);
    if (r == NULL) {
        request_no_memory(c);
        return;
    }
    r->part.on = &events;
    r->part.expect = v->expect;
    r->part.skip = skip;
    r->part.brackets = v->verb == SESSION_EXEC ? PART_OPENS : PART_PLAIN;
    r->part.grace = grace;
    s->verb = v->verb;
    count(c);
    if (upstream_send(up, s->own->server, &c->lane, &r->part, wire))
        return;
    settle(c, false, false);
    request_fail(r, span_str(up->reason));
}

/* Must the request wait until those before it are answered? */
static bool waits(struct client *c)
{
    c->alone = true;
    return c->open > 0;
}

/* ---- watching ---- */

static enum request_fate watch(struct client *c, const struct request_view *v)
{
    uint32_t server;
    if (c->session.queues) {
        request_answer(c, words_of(c)->watch_inside);
        return REQUEST_STARTED;
    }
    if (waits(c))
        return REQUEST_WAITS;
    if (!request_route(c, v, &server))
        return REQUEST_STARTED;
    if (session_of(c) == NULL) {
        request_no_memory(c);
        return REQUEST_STARTED;
    }
    if (take(c, v, server))
        send_own(c, v, v->wire, 0, 0);
    return REQUEST_STARTED;
}

static bool watch_is_lost(const struct session *s)
{
    return s->lost || s->own->slot.conn == NULL || s->own->slot.opened != s->opened;
}

/* Ends watching; the server's reply is the answer. */
static enum request_fate unwatch(struct client *c, const struct request_view *v)
{
    if (waits(c))
        return REQUEST_WAITS;
    if (c->held == NULL || c->held->own == NULL) {
        request_answer(c, words_of(c)->unwatched);
        return REQUEST_STARTED;
    }
    struct request_view w = *v;
    w.verb = SESSION_UNWATCH;
    send_own(c, &w, words_of(c)->unwatch, 0, 0);
    return REQUEST_STARTED;
}

/* ---- transactions ---- */

static void transaction_end(struct client *c)
{
    struct session *s = c->held;
    c->session.queues = false;
    drop_queue(c);
    s->queued = 0;
    s->server = SERVER_NONE;
    s->spoiled = false;
    forget(c);
}

static enum request_fate multi(struct client *c)
{
    struct session *s = session_of(c);
    if (c->session.queues) {
        request_answer(c, words_of(c)->nested);
    } else if (s == NULL || !keep(c, words_of(c)->begin)) {
        request_no_memory(c);
    } else {
        c->session.queues = true;
        request_answer(c, words_of(c)->begun);
    }
    return REQUEST_STARTED;
}

static enum request_fate discard(struct client *c, const struct request_view *v)
{
    if (!c->session.queues) {
        request_answer(c, words_of(c)->no_discard);
        return REQUEST_STARTED;
    }
    bool watching = c->held->own != NULL;
    if (watching && waits(c))
        return REQUEST_WAITS;
    transaction_end(c);
    if (watching)
        return unwatch(c, v);
    request_answer(c, words_of(c)->dropped);
    return REQUEST_STARTED;
}

/* Ends the transaction without a server, and what was watched. */
static void answer_end(struct client *c, struct span answer)
{
    transaction_end(c);
    if (c->held != NULL && c->held->own != NULL)
        release(c, false);
    request_answer(c, answer);
}

/* On the connection that all share. */
static enum request_fate send_shared(struct client *c, const struct request_view *v)
{
    struct session *s = c->held;
    struct upstream *up = c->front->up;
    enum request_fate fate = REQUEST_STARTED;
    if (request_held_back(c, v, s->server, &fate)) {
        /* An answer for which there was no memory has ended the client. */
        if (fate == REQUEST_STARTED && c->held != NULL)
            transaction_end(c);
        return fate;
    }
    struct request *r = request_new(c, v->quiet);
    if (r == NULL) {
        request_no_memory(c);
        return REQUEST_STARTED;
    }
    r->part.on = &request_events;
    r->part.expect = v->expect;
    r->part.skip = s->queued + 1;
    r->part.brackets = PART_OPENS;
    bool sent = buf_append(&s->queue, words_of(c)->end);
    if (!sent)
        snprintf(up->reason, sizeof(up->reason), "Cannot allocate memory (server '%s')",
                 up->pool->servers[s->server].conf->name);
    sent = sent && upstream_send_buf(up, s->server, &c->lane, &r->part, &s->queue);
    transaction_end(c);
    if (!sent)
        request_fail(r, span_str(up->reason));
    return REQUEST_STARTED;
}

/* On the connection on which the keys are watched, if it still is the one. */
static void send_watched(struct client *c, const struct request_view *v)
{
    struct session *s = c->held;
    struct buf queue = s->queue;
    uint32_t skip = s->queued + 1;
    bool cross = s->server != SERVER_NONE && s->server != s->own->server;
    s->queue = (struct buf){0};
    if (cross || watch_is_lost(s)) {
        buf_free(&queue);
        answer_end(c, cross ? words_of(c)->aborted : words_of(c)->changed(&c->session));
        return;
    }
    transaction_end(c);
    if (buf_append(&queue, words_of(c)->end))
        send_own(c, v, buf_span(&queue), skip, 0);
    else
        request_no_memory(c);
    buf_free(&queue);
}

static enum request_fate abort_all(struct client *c, const struct request_view *v)
{
    if (c->held == NULL) {
        request_answer(c, v->reply);
        return REQUEST_STARTED;
    }
    if (c->held->own != NULL && waits(c))
        return REQUEST_WAITS;
    answer_end(c, v->reply);
    return REQUEST_STARTED;
}

static enum request_fate exec(struct client *c, const struct request_view *v)
{
    struct session *s = c->held;
    if (!c->session.queues) {
        request_answer(c, words_of(c)->no_exec);
        return REQUEST_STARTED;
    }
    if (s->own != NULL && waits(c))
        return REQUEST_WAITS;
    if (s->spoiled) {
        answer_end(c, words_of(c)->aborted);
        return REQUEST_STARTED;
    }
    if (s->own != NULL) {
        send_watched(c, v);
        return REQUEST_STARTED;
    }
    if (s->server == SERVER_NONE)
        s->server = request_keyless(c->front->up);
    if (s->server != SERVER_NONE)
        return send_shared(c, v);
    transaction_end(c);
    upstream_no_server(c->front->up);
    request_refuse(c, v, span_str(c->front->up->reason));
    return REQUEST_STARTED;
}

/* The server for a request of the transaction is the one that has the keys of those before it. False:
 * the client was told why not. */
static bool same_server(struct client *c, const struct request_view *v)
{
    struct session *s = c->held;
    uint32_t server;
    if (request_key_count(v) == 0)
        return true;
    if (!request_route(c, v, &server))
        return false;
    uint32_t bound = s->own != NULL ? s->own->server : s->server;
    if (bound != SERVER_NONE && bound != server) {
        request_answer_cross(c, v);
        return false;
    }
    s->server = server;
    return true;
}

static void enqueue(struct client *c, const struct request_view *v)
{
    struct session *s = c->held;
    uint64_t most = (uint64_t)c->front->up->pool->conf->max_request_size;
    if (buf_len(&s->queue) + v->wire.len > most) {
        char reason[REASON_TEXT];
        snprintf(reason, sizeof(reason),
                 "transaction is too large (max_request_size is %llu bytes)",
                 (unsigned long long)most);
        s->spoiled = true;
        request_refuse(c, v, span_str(reason));
    } else if (!same_server(c, v)) {
        /* An answer for which there was no memory has ended the client. */
        if (c->held != NULL)
            c->held->spoiled = true;
    } else if (!keep(c, v->wire)) {
        request_no_memory(c);
    } else {
        s->queued++;
        request_answer(c, words_of(c)->queued);
    }
}

/* A request of a transaction. The protocol leaves those that can be a part of one to be forwarded, and
 * answers the others with an error, but for the one that begins all anew. */
static enum request_fate queue(struct client *c, const struct request_view *v)
{
    if (v->kind == REQUEST_LOGIN)
        return login_start(c, v);
    if (v->kind == REQUEST_FORWARD) {
        enqueue(c, v);
    } else if (v->kind == REQUEST_LOCAL) {
        c->held->spoiled = true;
        request_answer(c, v->reply);
    }
    return REQUEST_STARTED;
}

/* ---- waiting for data ---- */

static void left(struct client *c)
{
    struct private *own = c->held->own;
    if (own != NULL && c->held->verb == SESSION_BLOCK)
        private_cut_later(own, CLIENT_LEFT);
    else if (c->held->wait != NULL)
        wait_cut_later(c->held->wait, CLIENT_LEFT);
    if (c->held != NULL && c->held->hears != NULL)
        subscriber_stop(c->held->hears, CLIENT_LEFT);
}

static enum request_fate block(struct client *c, const struct request_view *v)
{
    uint32_t server;
    if (waits(c))
        return REQUEST_WAITS;
    if (!request_route(c, v, &server))
        return REQUEST_STARTED;
    if (session_of(c) == NULL)
        request_no_memory(c);
    else if (take(c, v, server))
        send_own(c, v, v->wire, 0, v->block_ms < PART_PATIENT ? v->block_ms : PART_PATIENT);
    if (c->held != NULL && stream_left(&c->stream))
        left(c);
    return REQUEST_STARTED;
}

static void wait_over(struct client *c)
{
    c->held->wait = NULL;
    count(c);
    forget(c);
}

/* Asks every server. */
static enum request_fate wait_for_all(struct client *c, const struct request_view *v)
{
    if (waits(c))
        return REQUEST_WAITS;
    if (session_of(c) == NULL) {
        request_no_memory(c);
        return REQUEST_STARTED;
    }
    struct wait *w = wait_begin(c, v, wait_over);
    if (w == NULL) {
        forget(c);
        return REQUEST_STARTED;
    }
    c->held->wait = w;
    count(c);
    if (stream_left(&c->stream))
        left(c);
    return REQUEST_STARTED;
}

/* ---- subscriptions ---- */

void session_forget(struct client *c)
{
    forget(c);
}

static enum request_fate hear(struct client *c, const struct request_view *v)
{
    if (waits(c))
        return REQUEST_WAITS;
    if (session_of(c) == NULL)
        request_no_memory(c);
    else
        subscribe(c, &c->held->hears, v);
    forget(c);
    return REQUEST_STARTED;
}

static enum request_fate hear_no_more(struct client *c, const struct request_view *v)
{
    if (waits(c))
        return REQUEST_WAITS;
    unsubscribe(c, c->held == NULL ? NULL : c->held->hears, v);
    forget(c);
    return REQUEST_STARTED;
}

/* ---- the floor below ---- */

static enum request_fate start(struct client *c, const struct request_view *v)
{
    if (v->kind != REQUEST_SESSION)
        return queue(c, v);
    switch ((enum session_verb)v->verb) {
    case SESSION_MULTI:
        return multi(c);
    case SESSION_EXEC:
        return exec(c, v);
    case SESSION_DISCARD:
        return discard(c, v);
    case SESSION_ABORT:
        return abort_all(c, v);
    case SESSION_WATCH:
        return watch(c, v);
    case SESSION_UNWATCH:
        return unwatch(c, v);
    case SESSION_BLOCK:
        return block(c, v);
    case SESSION_WAIT:
    case SESSION_ASIDE:
        return wait_for_all(c, v);
    case SESSION_SUBSCRIBE:
        return hear(c, v);
    case SESSION_UNSUBSCRIBE:
        return hear_no_more(c, v);
    }
    never("a verb of sessions that does not exist");
}

static void leave(struct client *c)
{
    struct wait *w = c->held->wait;
    c->session.queues = false;
    c->held->wait = NULL;
    count(c);
    if (c->held->hears != NULL)
        subscriber_free(c->held->hears);
    c->held->hears = NULL;
    if (c->held->own != NULL)
        release(c, false);
    else
        forget(c);
    if (w != NULL)
        wait_cut(w, "nobody waits any more");
}

static void hurry(struct client *c)
{
    struct private *own = c->held->own;
    if (own != NULL && c->held->verb == SESSION_BLOCK)
        private_cut(own, "shutting down");
    else if (c->held->wait != NULL)
        wait_cut(c->held->wait, "shutting down");
    if (c->held != NULL && c->held->hears != NULL)
        subscriber_stop(c->held->hears, "shutting down");
}

static size_t memory(const struct client *c)
{
    const struct session *s = c->held;
    return s->kept + (s->hears != NULL ? subscriber_memory(s->hears) : 0);
}

static const char *binds(const struct client *c, const struct proto_login *login)
{
    const struct session *s = c->held;
    if (s->own != NULL || c->session.queues)
        return "user, database and protocol version can't change while keys are watched";
    return s->hears != NULL ? subscriber_binds(s->hears, login) : NULL;
}

static void subscribed(const struct client *c, uint32_t counts[TOPIC_KINDS])
{
    if (c->held->hears != NULL)
        subscriber_counts(c->held->hears, counts);
}

const struct session_ops session_ops = {
    .start = start,
    .leave = leave,
    .hurry = hurry,
    .left = left,
    .memory = memory,
    .binds = binds,
    .subscribed = subscribed,
    .end = hubs_end,
};
