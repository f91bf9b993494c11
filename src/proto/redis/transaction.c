/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/transaction.h"

#include <stdlib.h>
#include <string.h>

#include "proto/redis/answer.h"
#include "proto/redis/keys.h"
#include "proto/redis/login.h"
#include "proto/redis/number.h"
#include "proto/redis/words.h"

static struct span changed(const struct proto_session *ses)
{
    return session_resp(ses) == 3 ? SPAN("_\r\n") : SPAN("*-1\r\n");
}

#define TEXT(literal)                                                                              \
    {                                                                                              \
        "" literal, sizeof(literal) - 1                                                            \
    }

const struct proto_transaction redis_transaction = {
    .begin = TEXT("*1\r\n$5\r\nMULTI\r\n"),
    .end = TEXT("*1\r\n$4\r\nEXEC\r\n"),
    .unwatch = TEXT("*1\r\n$7\r\nUNWATCH\r\n"),
    .begun = TEXT("+OK\r\n"),
    .queued = TEXT("+QUEUED\r\n"),
    .dropped = TEXT("+OK\r\n"),
    .unwatched = TEXT("+OK\r\n"),
    .nested = TEXT("-ERR MULTI calls can not be nested\r\n"),
    .watch_inside = TEXT("-ERR WATCH inside MULTI is not allowed\r\n"),
    .no_exec = TEXT("-ERR EXEC without MULTI\r\n"),
    .no_discard = TEXT("-ERR DISCARD without MULTI\r\n"),
    .aborted = TEXT("-EXECABORT Transaction discarded because of previous errors.\r\n"),
    .changed = changed,
};

/* An older server lets a connection stand for all that was done when it does any request; a newer one only
 * when it does one that it passes on to its replicas, as it does with what is published. Nobody subscribes to
 * this channel, and patterns don't match those of shards. Where there are none, the server is an older one. */
static bool led(struct span reply)
{
    static const struct span unknown = SPAN("-ERR unknown command");
    return reply.len > 0 &&
           (reply.ptr[0] == ':' ||
            (reply.len >= unknown.len && memcmp(reply.ptr, unknown.ptr, unknown.len) == 0));
}

const struct proto_wait redis_wait = {
    .lead = TEXT("*1\r\n$4\r\nPING\r\n*3\r\n$8\r\nSPUBLISH\r\n$11\r\ncashew:wait\r\n$0\r\n\r\n"),
    .skip = 1,
    .led = led,
};

void transaction_verb(const struct command *c, struct request_view *v)
{
    v->kind = REQUEST_SESSION;
    switch (c->class) {
    case CLASS_MULTI:
        v->verb = SESSION_MULTI;
        break;
    case CLASS_EXEC:
        v->verb = SESSION_EXEC;
        break;
    case CLASS_DISCARD:
        v->verb = SESSION_DISCARD;
        break;
    case CLASS_WATCH:
        v->verb = SESSION_WATCH;
        (void)keys_find(c, v);
        break;
    default:
        v->verb = SESSION_UNWATCH;
        break;
    }
}

void transaction_bad_exec(struct request_view *v)
{
    v->kind = REQUEST_SESSION;
    v->verb = SESSION_ABORT;
    v->reply = SPAN("-EXECABORT Transaction discarded because of: wrong number of arguments for "
                    "'exec' command\r\n");
}

/* With one server a command for all servers is an ordinary one; but not all may give it. */
static bool is_ordinary(const struct command *c, const struct proto_session *ses)
{
    enum command_way way = command_way(c->class);
    bool open = way == WAY_CURSOR || way == WAY_SINGLE || way == WAY_ASIDE ||
                (way == WAY_BROADCAST && c->class != CLASS_FLUSH && c->class != CLASS_ADMIN);
    return c->class == CLASS_PING || c->class == CLASS_ECHO || c->class == CLASS_UNWATCH ||
           (open && ses->settings->single_server);
}

bool transaction_queue(const struct command *c, struct proto_session *ses, struct request_view *v,
                       struct buf *scratch)
{
    if (is_ordinary(c, ses))
        return true;
    switch (command_way(c->class)) {
    case WAY_TRANSACTION:
        transaction_verb(c, v);
        return true;
    case WAY_FORWARD:
    case WAY_SPLIT:
    case WAY_BLOCK:
    case WAY_WAIT:
        (void)keys_find(c, v); /* inside, nothing blocks */
        return true;
    default: /* QUIT and RESET end it */
        return c->class == CLASS_QUIT || c->class == CLASS_RESET ? answer_local(c, ses, v, scratch)
                                                                 : answer_not_inside(c, v, scratch);
    }
}

/* Seconds, with a fraction, as milliseconds. What is no time at all the server answers at once. */
static uint64_t seconds_ms(struct span s)
{
    enum { LONGEST = 40 };
    char text[LONGEST + 1];
    size_t len = s.len < LONGEST ? s.len : LONGEST;
    memcpy(text, s.ptr, len);
    text[len] = '\0';
    double seconds = strtod(text, NULL);
    if (seconds == 0)
        return BLOCK_FOREVER;
    if (!(seconds > 0))
        return 0;
    return seconds < 1e12 ? (uint64_t)(seconds * 1000) : BLOCK_FOREVER;
}

/* What stands behind BLOCK in XREAD and XREADGROUP, ms. */
static uint64_t option_ms(const struct request_view *v)
{
    for (uint32_t i = 1; i + 1 < v->args->count; i++) {
        int64_t ms = 0;
        if (span_ieq(word(v, i), SPAN("streams")))
            break;
        if (!span_ieq(word(v, i), SPAN("block")))
            continue;
        if (!number_read(word(v, i + 1), &ms) || ms < 0)
            return 0;
        return ms == 0 ? BLOCK_FOREVER : (uint64_t)ms;
    }
    return BLOCK_FOREVER;
}

void block_view(const struct command *c, struct request_view *v)
{
    v->kind = REQUEST_SESSION;
    v->verb = SESSION_BLOCK;
    if (c->class == CLASS_BLOCK_FIRST)
        v->block_ms = seconds_ms(word(v, 1));
    else if (c->class == CLASS_BLOCK_LAST)
        v->block_ms = seconds_ms(word(v, v->args->count - 1));
    else
        v->block_ms = option_ms(v);
}

void wait_view(const struct command *c, struct request_view *v)
{
    int64_t ms = 0;
    bool good = number_read(word(v, v->args->count - 1), &ms) && ms >= 0;
    v->kind = REQUEST_SESSION;
    v->verb = SESSION_WAIT;
    v->join = c->class;
    v->block_ms = good && ms == 0 ? BLOCK_FOREVER : (uint64_t)(good ? ms : 0);
}
