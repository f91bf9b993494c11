/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/classify.h"

#include "base/hint.h"
#include "proto/redis/answer.h"
#include "proto/redis/command.h"
#include "proto/redis/keys.h"
#include "proto/redis/login.h"
#include "proto/redis/reply.h"
#include "proto/redis/script.h"
#include "proto/redis/split.h"
#include "proto/redis/subscribe.h"
#include "proto/redis/transaction.h"
#include "proto/redis/words.h"

/* Words that only a web browser sends: redis takes them for an attack from a web page and closes
 * without a word, since what follows may be anything. */
static bool is_http(const struct request_view *v)
{
    return span_ieq(word(v, 0), SPAN("post")) || span_ieq(word(v, 0), SPAN("host:"));
}

static bool answer_nameless(struct request_view *v, struct buf *scratch)
{
    if (!is_http(v))
        return answer_unknown(v, scratch);
    v->close = true;
    answer_static(v, SPAN("-ERR Protocol error: this is redis, not HTTP\r\n"));
    return true;
}

static bool arity_is_right(const struct command *c, const struct request_view *v)
{
    int64_t count = v->args->count;
    if (c->arity >= 0 ? count != c->arity : count < -c->arity)
        return false;
    /* Keys with values behind each must come whole. */
    const struct key_place *k = &c->places[0];
    return k->kind != PLACE_RANGE || k->step == 1 || (count - k->first) % k->step == 0;
}

/* One key, or one server: nothing to split, and the server's own reply serves. */
static void split_or_forward(const struct proto_session *ses, struct request_view *v)
{
    if (!ses->settings->single_server && request_key_count(v) > 1)
        v->kind = REQUEST_SPLIT;
}

/* Would the servers' replies have to be combined in a way that is not theirs? */
static bool groups(const struct command *c, const struct request_view *v)
{
    for (uint32_t i = 1; c->class == CLASS_SERIES && i < v->args->count; i++)
        if (span_ieq(word(v, i), SPAN("groupby")))
            return true;
    return false;
}

static uint8_t policy_of(const struct command *c)
{
    switch (c->class) {
    case CLASS_FLUSH:
        return CLASS_ALL_OK;
    case CLASS_SERIES:
        return CLASS_CONCAT;
    default:
        return c->class;
    }
}

/* A request for every server. Its policy is its class, unless the pool has to allow it first. */
static bool broadcast(const struct command *c, const struct proto_session *ses,
                      struct request_view *v, struct buf *scratch)
{
    if (c->class == CLASS_ADMIN)
        return answer_closed(c, SPAN("`commands`"), v, scratch);
    if (c->class == CLASS_FLUSH && !ses->settings->allow_flush)
        return answer_closed(c, SPAN("`allow_flush`"), v, scratch);
    if (!ses->settings->single_server && groups(c, v))
        return answer_single(c, v, scratch);
    v->kind = REQUEST_BROADCAST;
    v->join = policy_of(c);
    if (c->class == CLASS_SCRIPT_LOAD || c->class == CLASS_SCRIPT_FLUSH)
        script_view(c, v);
    return true;
}

static bool scan(const struct proto_session *ses, struct request_view *v)
{
    v->kind = REQUEST_SERVER;
    v->join = CLASS_SCAN;
    if (ses->settings->single_server)
        v->kind = REQUEST_FORWARD;
    else if (!split_cursor(word(v, 1), ses->settings->servers, &v->server, &v->cursor))
        answer_static(v, SPAN("-ERR invalid cursor\r\n"));
    return true;
}

/* Is one of the settings that are asked for the pool's own? */
static bool asks_for_ours(const struct request_view *v)
{
    static const struct span ours = SPAN("cashew.");
    for (uint32_t i = 2; i < v->args->count; i++) {
        struct span name = word(v, i);
        if (name.len > ours.len && span_ieq(span_of(name.ptr, ours.len), ours))
            return true;
    }
    return false;
}

/* The less common ways. */
static bool serve_otherwise(const struct command *c, struct proto_session *ses,
                            struct request_view *v, struct buf *scratch)
{
    switch (command_way(c->class)) {
    case WAY_BROADCAST:
        return broadcast(c, ses, v, scratch);
    case WAY_SINGLE:
        return ses->settings->single_server || answer_single(c, v, scratch);
    case WAY_CURSOR:
        return scan(ses, v);
    case WAY_TELL:
        if (c->class == CLASS_CONFIG_ASK && !asks_for_ours(v))
            return true;
        v->kind = REQUEST_TELL;
        v->join = c->class == CLASS_CONFIG_ASK ? CLASS_CONFIG_GET : c->class;
        v->about = c->class == CLASS_INFO;
        return true;
    case WAY_TRANSACTION:
        transaction_verb(c, v);
        return true;
    case WAY_BLOCK:
        (void)keys_find(c, v);
        block_view(c, v);
        return true;
    case WAY_WAIT:
        wait_view(c, v);
        return true;
    case WAY_ASIDE:
        v->kind = REQUEST_SESSION;
        v->verb = SESSION_ASIDE;
        v->join = c->class;
        return true;
    case WAY_PUBSUB:
        subscribe_view(c, v);
        return true;
    case WAY_REFUSE:
        return c->class == CLASS_DENIED ? answer_denied(c, v, scratch)
                                        : answer_refused(c, v, scratch);
    default:
        return answer_local(c, ses, v, scratch);
    }
}

/* Of a client that is in a transaction, or has subscriptions: may it ask that now? Else it is answered; or
 * what else is done with it has been said. */
static bool serve_as_ever(const struct command *c, struct proto_session *ses,
                          struct request_view *v, struct buf *scratch, bool *memory)
{
    *memory = true;
    if (ses->hears && !subscribe_allows(c, ses, v, scratch, memory))
        return false;
    if (ses->queues)
        *memory = transaction_queue(c, ses, v, scratch);
    return !ses->queues;
}

/* What holds for every request that goes to servers, until more is known of it. */
static inline void forward(const struct command *c, const struct proto_session *ses,
                           struct request_view *v)
{
    v->kind = REQUEST_FORWARD;
    v->expect = session_resp(ses) == 3 ? REPLY_RESP3 : REPLY_RESP2;
    v->write = c->write;
}

static bool serve(const struct command *c, struct proto_session *ses, struct request_view *v,
                  struct buf *scratch)
{
    bool memory;
    forward(c, ses, v);
    if (ses->special != 0 && !serve_as_ever(c, ses, v, scratch, &memory))
        return memory;
    switch (c->class) {
    case CLASS_FORWARD:
        (void)keys_find(c, v);
        return true;
    case CLASS_CALL:
        (void)keys_find(c, v);
        script_view(c, v);
        return true;
    case CLASS_ANY:
    case CLASS_CONTAINER:
        return true;
    case CLASS_MGET:
    case CLASS_MSET:
    case CLASS_SUM:
    case CLASS_STREAMS:
        v->join = c->class;
        v->named = c->class == CLASS_STREAMS;
        if (keys_find(c, v))
            split_or_forward(ses, v);
        else
            block_view(c, v);
        return true;
    default:
        return serve_otherwise(c, ses, v, scratch);
    }
}

/* What a client may ask before it has given the password. */
static bool for_guests(const struct command *c)
{
    return c->class == CLASS_AUTH || c->class == CLASS_QUIT || c->class == CLASS_HELLO ||
           c->class == CLASS_RESET;
}

/* Redis checks in this order: is it known, are its arguments enough, may this client. */
static bool classify_any(const struct command *c, struct proto_session *ses, struct request_view *v,
                         struct buf *scratch)
{
    const struct command_table *t = ses->settings->commands;
    if (c->class == CLASS_CONTAINER && v->args->count > 1) {
        const struct command *sub = command_find_sub(t, c, word(v, 1));
        if (sub == NULL)
            return answer_unknown_sub(c, v, scratch);
        c = sub;
    }
    if (c->class == CLASS_LATER)
        return answer_unknown(v, scratch);
    bool fits = arity_is_right(c, v) || c->class == CLASS_REFUSED || c->class == CLASS_DENIED;
    if (!fits && c->class != CLASS_EXEC)
        return answer_arity(c, v, scratch);
    if (session_is_guest(ses) && !for_guests(c)) {
        answer_static(v, SPAN("-NOAUTH Authentication required.\r\n"));
        return true;
    }
    if (!fits)
        transaction_bad_exec(v);
    return !fits || serve(c, ses, v, scratch);
}

bool classify(struct proto_session *ses, struct request_view *v, struct buf *scratch)
{
    const struct command *c = command_find(ses->settings->commands, word(v, 0));
    if (unlikely(c == NULL))
        return answer_nameless(v, scratch);
    /* What nearly all requests are, without the questions that do not concern it. */
    if (likely(c->class == CLASS_FORWARD && ses->special == 0 && arity_is_right(c, v) &&
               !session_is_guest(ses))) {
        forward(c, ses, v);
        (void)keys_find(c, v);
        return true;
    }
    return classify_any(c, ses, v, scratch);
}
