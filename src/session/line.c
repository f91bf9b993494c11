/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit line is the one connection of a hub to one server: it says what is to be subscribed to, knows of
 * each answer what it answers, and comes back when it is lost. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "session/hub.h"
#include "upstream/upstream.h"

/* Waits after a connection was lost, ms: none, then from FIRST doubling to LAST. */
enum { BACKOFF_FIRST = 50, BACKOFF_LAST = 1000 };
/* How long one stays open without need, and the least time between two pings, ms. */
enum { LINGER_MS = 1000, PING_LEAST = 1000 };
/* One that stood for so long is tried again at once when it is lost, ms. */
enum { STOOD_MS = 1000 };

static struct upstream *up_of(const struct line *line)
{
    return line->hub->front->up;
}

static const char *name_of(const struct line *line)
{
    return up_of(line)->pool->servers[line->ear.server->index].conf->name;
}

static struct leg *leg_of(struct query *q)
{
    return container_of(q, struct leg, query);
}

static struct query *first_query(const struct line *line)
{
    return list_empty(&line->queries) ? NULL : LIST_FIRST(&line->queries, struct query, link);
}

/* ---- saying ---- */

static bool say(struct line *line, struct query *q, struct buf *wire, bool good)
{
    good = good && ear_say(&line->ear, buf_span(wire));
    buf_clear(wire);
    if (!good) {
        line->again = true;
        return false;
    }
    q->since = hub_now(line->hub);
    list_append(&line->queries, &q->link);
    return true;
}

static void ping(struct line *line)
{
    struct buf *wire = &line->hub->work;
    (void)say(line, &line->ping, wire, words_of_hub(line->hub)->ping(wire));
}

static bool ask(struct leg *l, bool on)
{
    struct line *line = l->line;
    struct buf *wire = &line->hub->work;
    bool made = words_of_hub(line->hub)->ask(wire, l->topic->kind, on, topic_name(l->topic));
    return say(line, &l->query, wire, made);
}

void line_review(struct leg *l)
{
    if (l->state == LEG_OFF && !l->wanted)
        leg_free(l);
    else if (!l->line->up)
        return;
    else if (l->state == LEG_OFF && ask(l, true))
        l->state = LEG_ASKED;
    else if (l->state == LEG_ON && !l->wanted && ask(l, false))
        l->state = LEG_ENDING;
}

static void review_all(struct line *line)
{
    line->again = false;
    LIST_FOREACH_SAFE (node, &line->legs) {
        line_review(container_of(node, struct leg, link));
    }
}

/* ---- coming up and going down ---- */

static uint64_t jittered(struct line *line, uint64_t ms)
{
    return ms - upstream_random(up_of(line)) % (ms / 2 + 1);
}

static void rest(struct line *line)
{
    uint64_t wait = line->backoff;
    uint64_t next = wait == 0 ? BACKOFF_FIRST : wait * 2;
    line->backoff = (uint32_t)(next < BACKOFF_LAST ? next : BACKOFF_LAST);
    line->retry_at = hub_now(line->hub) + jittered(line, wait);
}

/* Once for all attempts, however long the server is away. */
static void tell_lost(struct line *line, bool was_up)
{
    if (line->told || line->own || list_empty(&line->legs))
        return;
    line->told = true;
    log_warn("pool '%s': subscriptions on server '%s' %s: %s", up_of(line)->pool->conf->name,
             name_of(line), was_up ? "are interrupted" : "can't begin", line->reason);
}

static void tell_back(struct line *line)
{
    if (line->told && !list_empty(&line->legs))
        log_notice("pool '%s': subscriptions on server '%s' are back",
                   up_of(line)->pool->conf->name, name_of(line));
    line->told = false;
}

/* Everything that was on it is not. */
static void lost(struct line *line, struct span reason, bool own)
{
    bool was_up = line->up;
    if (was_up && hub_now(line->hub) - line->up_since >= STOOD_MS)
        line->backoff = 0;
    line->up = false;
    line->again = false;
    snprintf(line->reason, sizeof(line->reason), "%.*s", (int)reason.len, reason.ptr);
    line->own = own;
    rest(line);
    while (first_query(line) != NULL)
        list_unlink(&first_query(line)->link);
    tell_lost(line, was_up);
    LIST_FOREACH_SAFE (node, &line->legs) {
        struct leg *l = container_of(node, struct leg, link);
        l->state = LEG_OFF;
        hub_leg_lost(l, reason, own);
    }
    hub_settle(line->hub);
}

static void on_ended(struct ear *e, struct span reason, bool own)
{
    lost(container_of(e, struct line, ear), reason, own);
}

/* The ping comes first, so that an error which is about the connection, as that there are too many of
 * them, is not taken for one about a topic. */
static void on_ready(struct ear *e)
{
    struct line *line = container_of(e, struct line, ear);
    line->up = true;
    line->since = hub_now(line->hub);
    line->up_since = line->since;
    tell_back(line);
    ping(line);
    review_all(line);
}

/* ---- hearing ---- */

static bool is_about(const struct leg *l, const struct news *n)
{
    return l->topic->kind == n->topic && span_eq(topic_name(l->topic), n->name);
}

/* The answer to the oldest query. */
static bool take_answer(struct line *line, const struct news *n)
{
    struct query *q = first_query(line);
    if (q == NULL)
        return false;
    if (q == &line->ping) {
        /* An error is a sign of life, too; what it says may be why the connection ends next. */
        if (n->kind != NEWS_PONG && n->kind != NEWS_ERROR)
            return false;
        list_unlink(&q->link);
        return true;
    }
    struct leg *l = leg_of(q);
    bool on = l->state == LEG_ASKED;
    if (n->kind != NEWS_ERROR && (n->kind != (on ? NEWS_ON : NEWS_OFF) || !is_about(l, n)))
        return false;
    list_unlink(&q->link);
    if (n->kind != NEWS_ERROR) {
        l->state = on ? LEG_ON : LEG_OFF;
        if (on)
            hub_leg_on(l);
        line_review(l);
    } else if (on) {
        l->state = LEG_OFF;
        hub_leg_refused(l, n->name);
    } else {
        /* It is still told of it; nobody hears that. */
        l->state = LEG_ON;
    }
    return true;
}

static size_t on_heard(struct ear *e, struct span in)
{
    struct line *line = container_of(e, struct line, ear);
    struct hub *h = line->hub;
    size_t used = 0;
    line->since = hub_now(h);
    while (used < in.len && ear_is_open(e)) {
        struct news n;
        struct span rest_of = span_from(in, used);
        enum parse got = words_of_hub(h)->hear(rest_of, &n);
        if (got == PARSE_MORE)
            break;
        if (got == PARSE_BAD)
            return EAR_BAD;
        bool good = n.kind == NEWS_MESSAGE ? hub_message(line, &n, span_of(rest_of.ptr, n.len))
                                           : take_answer(line, &n);
        if (!good)
            return EAR_BAD;
        used += n.len;
        hub_settle(h);
    }
    return used;
}

static const struct ear_events events = {.ready = on_ready, .heard = on_heard, .ended = on_ended};

void line_init(struct line *line, struct hub *h, struct server_slot *server)
{
    *line = (struct line){.hub = h};
    ear_init(&line->ear, server, h->profile, &events);
    list_init(&line->legs);
    list_init(&line->queries);
    list_init(&line->ping.link);
}

bool line_open(struct line *line)
{
    struct upstream *up = up_of(line);
    uint64_t now = hub_now(line->hub);
    if (ear_is_open(&line->ear))
        return true;
    if (now < line->retry_at)
        return false;
    line->since = now;
    if (ear_open(&line->ear))
        return true;
    snprintf(line->reason, sizeof(line->reason), "%s", up->reason);
    line->own = false;
    /* Where it was only too early for an attempt, no second wait is added to the one that runs. */
    if (line->ear.slot.retry_at > now)
        line->retry_at = line->ear.slot.retry_at;
    else
        rest(line);
    return false;
}

/* ---- time ---- */

static bool is_over(const struct line *line, uint64_t since)
{
    uint64_t timeout = (uint64_t)up_of(line)->pool->conf->timeout;
    return timeout > 0 && hub_now(line->hub) - since >= timeout;
}

/* Does it not answer, or not come up? */
static bool is_late(const struct line *line)
{
    const struct query *q = first_query(line);
    /* Who brings much at once has not come to the answer yet. */
    uint64_t since = q == NULL || q->since < line->since ? line->since : q->since;
    return line->up ? q != NULL && is_over(line, since) : is_over(line, line->since);
}

static void give_up(struct line *line)
{
    char reason[REASON_TEXT];
    snprintf(reason, sizeof(reason), "Connection timed out (server '%s', %lld ms)", name_of(line),
             (long long)up_of(line)->pool->conf->timeout);
    ear_late(&line->ear, reason);
    lost(line, span_str(reason), false);
}

/* Nothing was heard for so long that it is time to ask whether the server is there. */
static bool is_silent(const struct line *line)
{
    uint64_t timeout = (uint64_t)up_of(line)->pool->conf->timeout;
    uint64_t after = timeout < PING_LEAST ? PING_LEAST : timeout;
    return timeout > 0 && list_empty(&line->queries) && hub_now(line->hub) - line->since >= after;
}

static bool is_unused(const struct line *line)
{
    return list_empty(&line->legs) && hub_now(line->hub) - line->unused >= LINGER_MS;
}

void line_tick(struct line *line)
{
    if (!ear_is_open(&line->ear)) {
        /* A failure is noted; the next try comes in time. */
        if (!list_empty(&line->legs))
            (void)!line_open(line);
    } else if (is_unused(line)) {
        line_close(line);
    } else if (is_late(line)) {
        give_up(line);
    } else if (line->up) {
        if (line->again)
            review_all(line);
        if (is_silent(line))
            ping(line);
    }
}

void line_close(struct line *line)
{
    while (first_query(line) != NULL)
        list_unlink(&first_query(line)->link);
    line->up = false;
    line->again = false;
    ear_close(&line->ear);
}
