/* SPDX-License-Identifier: BSD-3-Clause */
#include "session/subscribe.h"

#include <stdio.h>
#include <stdlib.h>

#include "session/hub.h"
#include "session/session.h"

static const struct proto_pubsub *words_of(const struct client *c)
{
    return c->front->proto->pubsub;
}

static uint8_t resp_of(const struct client *c)
{
    return c->session.login->resp;
}

/* What a client is told that it is subscribed to, which is counted apart for sharded channels. */
static uint64_t told_count(const struct subscriber *who, enum topic_kind kind)
{
    if (who == NULL)
        return 0;
    return kind == TOPIC_SHARD ? who->told[TOPIC_SHARD]
                               : (uint64_t)who->told[TOPIC_CHANNEL] + who->told[TOPIC_PATTERN];
}

/* Notes whether the client is a subscriber now. */
static void note(struct subscriber *who)
{
    struct client *c = who->client;
    struct pool_stats *stats = c->front->up->stats;
    bool hears = false;
    for (int kind = 0; kind < TOPIC_KINDS; kind++)
        hears = hears || who->told[kind] > 0;
    if (hears && !c->session.hears)
        stat_add(&stats->subscribers, 1);
    else if (!hears && c->session.hears)
        stat_sub(&stats->subscribers, 1);
    c->session.hears = hears;
}

/* ---- what a client holds ---- */

static struct subscriber *subscriber_new(struct client *c)
{
    struct upstream *up = c->front->up;
    struct hub *h = hub_for(c->front, c->session.login);
    struct subscriber *who = h == NULL ? NULL : calloc(1, sizeof(*who));
    if (h != NULL && who == NULL)
        snprintf(up->reason, sizeof(up->reason), "Cannot allocate memory");
    if (who == NULL)
        return NULL;
    who->client = c;
    who->hub = h;
    for (int kind = 0; kind < TOPIC_KINDS; kind++)
        list_init(&who->subs[kind]);
    h->subscribers++;
    return who;
}

bool subscriber_is_idle(const struct subscriber *who)
{
    return who->count == 0 && who->asking == NULL;
}

const char *subscriber_binds(const struct subscriber *who, const struct proto_login *login)
{
    return hub_is_for(who->hub, login) ? NULL : "the user can't change while it is subscribed";
}

void subscriber_counts(const struct subscriber *who, uint32_t counts[TOPIC_KINDS])
{
    for (int kind = 0; kind < TOPIC_KINDS; kind++)
        counts[kind] = who->told[kind];
}

size_t subscriber_memory(const struct subscriber *who)
{
    return (size_t)who->count * sizeof(struct sub);
}

/* From the last one back: all of them, or those that the client was not told of. */
static void drop_from_end(struct subscriber *who, bool told)
{
    for (int kind = 0; kind < TOPIC_KINDS; kind++) {
        while (!list_empty(&who->subs[kind])) {
            struct sub *s = container_of(who->subs[kind].prev, struct sub, in_who);
            if (s->told && !told)
                break;
            hub_drop(s);
        }
    }
    note(who);
}

static size_t asking_bytes(const struct asking *a)
{
    return sizeof(*a) + a->count * sizeof(struct sub *);
}

/* Takes it out; its request is left to be answered. */
static struct request *asking_end(struct asking *a)
{
    struct request *r = a->request;
    list_unlink(&a->link);
    a->who->asking = NULL;
    meter_sub(hub_meter(a->who->hub), asking_bytes(a));
    free(a);
    return r;
}

void subscriber_stop(struct subscriber *who, const char *why)
{
    struct hub *h = who->hub;
    struct asking *a = who->asking;
    drop_from_end(who, true);
    if (a == NULL)
        return;
    char reason[REASON_TEXT];
    snprintf(reason, sizeof(reason), "Connection refused (%s)", why);
    asking_fail(a, span_str(reason), false);
    hub_settle(h);
}

void subscriber_free(struct subscriber *who)
{
    struct hub *h = who->hub;
    drop_from_end(who, true);
    if (who->asking != NULL)
        request_done(asking_end(who->asking));
    h->subscribers--;
    h->unused = hub_now(h);
    free(who);
}

/* ---- subscribing ---- */

static struct asking *asking_new(struct subscriber *who, struct request *r, uint32_t count)
{
    struct hub *h = who->hub;
    struct asking *a = calloc(1, sizeof(*a) + count * sizeof(struct sub *));
    if (a == NULL)
        return NULL;
    a->who = who;
    a->request = r;
    a->since = hub_now(h);
    a->count = count;
    list_init(&a->link);
    list_append(&h->askings, &a->link);
    who->asking = a;
    meter_add(hub_meter(h), asking_bytes(a));
    return a;
}

/* Finds or makes the subs that it names. False if memory is out. */
static bool name_all(struct asking *a, const struct request_view *v)
{
    for (uint32_t i = 0; i < a->count; i++) {
        a->subs[i] = hub_add(a->who->hub, a->who, (enum topic_kind)v->topic, request_key(v, i));
        if (a->subs[i] == NULL)
            return false;
    }
    return true;
}

static void start(struct asking *a, const struct request_view *v)
{
    if (!name_all(a, v)) {
        asking_fail(a, SPAN("Cannot allocate memory"), false);
        return;
    }
    a->left++; /* until all were asked for */
    for (uint32_t i = 0; i < a->count; i++)
        if (!a->subs[i]->told)
            hub_need(a->subs[i]);
    asking_came(a);
}

void subscribe(struct client *c, struct subscriber **who, const struct request_view *v)
{
    struct request *r = request_new(c, false);
    if (r == NULL) {
        request_no_memory(c);
        return;
    }
    if (*who == NULL)
        *who = subscriber_new(c);
    if (*who == NULL) {
        request_fail(r, span_str(c->front->up->reason));
        return;
    }
    struct hub *h = (*who)->hub;
    struct asking *a = asking_new(*who, r, request_key_count(v));
    if (a == NULL) {
        request_fail(r, SPAN("Cannot allocate memory"));
        return;
    }
    start(a, v);
    hub_settle(h);
}

/* From here on the client hears what it asked for. False if memory is out. */
static bool grant(struct asking *a, struct buf *reply)
{
    struct subscriber *who = a->who;
    const struct client *c = who->client;
    bool good = true;
    for (uint32_t i = 0; i < a->count; i++) {
        struct sub *s = a->subs[i];
        const struct topic *t = s->topic;
        if (!s->told)
            hub_tell(s);
        good = good && words_of(c)->tell(reply, resp_of(c), t->kind, true, topic_name(t),
                                         told_count(who, t->kind));
    }
    note(who);
    return good;
}

/* Its client is closed if there is no memory for the answer. */
static void answer(struct client *c, struct request *r, struct span reply)
{
    if (reply.len == 0 || !request_park(r, reply))
        request_no_memory(c);
    request_done(r);
}

void asking_answer(struct asking *a)
{
    struct client *c = a->who->client;
    struct buf reply = {0};
    bool failed = a->failed;
    bool line = a->line;
    if (failed)
        drop_from_end(a->who, false);
    bool good = failed ? buf_append(&reply, span_str(a->reason)) : grant(a, &reply);
    struct request *r = asking_end(a);
    /* Errors are not heard by who wants no replies; what is subscribed to is. */
    if (good && failed && (!line || r->quiet))
        request_fail(r, buf_span(&reply));
    else
        answer(c, r, good ? buf_span(&reply) : SPAN(""));
    buf_free(&reply);
    session_forget(c);
}

/* ---- unsubscribing ---- */

static bool end_all(struct client *c, struct subscriber *who, enum topic_kind kind,
                    struct buf *reply)
{
    bool good = true;
    if (who == NULL || list_empty(&who->subs[kind]))
        return words_of(c)->tell_none(reply, resp_of(c), kind, told_count(who, kind));
    while (!list_empty(&who->subs[kind])) {
        struct sub *s = LIST_FIRST(&who->subs[kind], struct sub, in_who);
        good = good && words_of(c)->tell(reply, resp_of(c), kind, false, topic_name(s->topic),
                                         told_count(who, kind) - 1);
        hub_drop(s);
    }
    return good;
}

static bool end_named(struct client *c, struct subscriber *who, const struct request_view *v,
                      struct buf *reply)
{
    enum topic_kind kind = (enum topic_kind)v->topic;
    bool good = true;
    for (uint32_t i = 0; i < request_key_count(v); i++) {
        struct span name = request_key(v, i);
        struct sub *s = who == NULL ? NULL : hub_find(who->hub, who, kind, name);
        if (s != NULL)
            hub_drop(s);
        good =
            good && words_of(c)->tell(reply, resp_of(c), kind, false, name, told_count(who, kind));
    }
    return good;
}

void unsubscribe(struct client *c, struct subscriber *who, const struct request_view *v)
{
    struct buf reply = {0};
    bool good = request_key_count(v) > 0 ? end_named(c, who, v, &reply)
                                         : end_all(c, who, (enum topic_kind)v->topic, &reply);
    if (who != NULL)
        note(who);
    if (good)
        client_push(c, buf_span(&reply));
    else
        request_no_memory(c);
    buf_free(&reply);
}
