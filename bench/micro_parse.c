/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit micro_parse runs the parsers over messages as the load generator sends and expects them. */
#include <stdio.h>
#include <stdlib.h>

#include "answer.h"
#include "base/must.h"
#include "micro.h"
#include "payload.h"
#include "proto/proto.h"

enum { KEYS = 10000, SIZE = 64 };

/* What a piece parses. */
struct message {
    const struct proto *proto;
    const struct dialect *dialect;
    struct ask ask;
    bool reply; /* the reply to it instead of the request */
};

struct state {
    const struct message *message;
    struct payload payload;
    struct buf request;
    struct buf reply;
    uint8_t expect;
    struct proto_settings settings;
    struct args args;
    struct buf scratch;
    enum parse (*parse_request)(struct request_parser *, struct proto_session *, struct span,
                                struct buf *, struct request_view *);
    enum parse (*parse_reply)(struct reply_parser *, uint8_t, struct span, size_t *);
};

static __attribute__((noinline)) enum parse null_request(struct request_parser *p,
                                                         struct proto_session *ses, struct span in,
                                                         struct buf *scratch,
                                                         struct request_view *out)
{
    (void)p;
    (void)ses;
    (void)scratch;
    out->len = (uint32_t)in.len;
    return PARSE_DONE;
}

static __attribute__((noinline)) enum parse null_reply(struct reply_parser *p, uint8_t expect,
                                                       struct span in, size_t *used)
{
    (void)p;
    (void)expect;
    *used = in.len;
    return PARSE_DONE;
}

static uint64_t run_requests(struct state *s, uint64_t n)
{
    uint64_t sum = 0;
    struct proto_session session = {.settings = &s->settings};
    for (uint64_t i = 0; i < n; i++) {
        struct request_parser parser = {.args = &s->args};
        struct request_view view;
        must(s->parse_request(&parser, &session, buf_span(&s->request), &s->scratch, &view) ==
             PARSE_DONE);
        sum += view.len;
        args_clear(&s->args);
    }
    return sum;
}

static uint64_t run_replies(struct state *s, uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        struct reply_parser parser = {0};
        size_t used = 0;
        must(s->parse_reply(&parser, s->expect, buf_span(&s->reply), &used) == PARSE_DONE);
        sum += used;
    }
    return sum;
}

static uint64_t run(void *state, uint64_t n)
{
    struct state *s = state;
    return s->message->reply ? run_replies(s, n) : run_requests(s, n);
}

static void redis_reply(struct state *s)
{
    const struct ask *a = &s->message->ask;
    char text[32];
    if (a->set) {
        must(buf_append(&s->reply, SPAN("+OK\r\n")));
        return;
    }
    int n = snprintf(text, sizeof(text), "*%u\r\n", a->count);
    must(a->count == 1 || buf_append(&s->reply, span_of(text, (size_t)n)));
    for (uint32_t i = 0; i < a->count; i++) {
        must(buf_append(&s->reply, SPAN("$64\r\n")));
        payload_value(&s->payload, &s->reply, ask_key(&s->payload, a, i));
        must(buf_append(&s->reply, SPAN("\r\n")));
    }
}

static void memcache_reply(struct state *s)
{
    const struct ask *a = &s->message->ask;
    if (a->set) {
        must(buf_append(&s->reply, SPAN("STORED\r\n")));
        return;
    }
    for (uint32_t i = 0; i < a->count; i++) {
        must(buf_append(&s->reply, SPAN("VALUE ")));
        payload_key(&s->reply, ask_key(&s->payload, a, i));
        must(buf_append(&s->reply, SPAN(" 0 64\r\n")));
        payload_value(&s->payload, &s->reply, ask_key(&s->payload, a, i));
        must(buf_append(&s->reply, SPAN("\r\n")));
    }
    must(buf_append(&s->reply, SPAN("END\r\n")));
}

/* What the protocol expects as reply is known from the request. */
static uint8_t expected(struct state *s)
{
    struct request_parser parser = {.args = &s->args};
    struct proto_session session = {.settings = &s->settings};
    struct request_view view = {0};
    must(s->message->proto->parse_request(&parser, &session, buf_span(&s->request), &s->scratch,
                                          &view) == PARSE_DONE);
    args_clear(&s->args);
    return view.expect;
}

static void *begin(const struct micro *m, bool null)
{
    struct state *s = calloc(1, sizeof(*s));
    must(s != NULL);
    s->message = m->arg;
    payload_init(&s->payload, KEYS, SIZE);
    s->message->dialect->compose(&s->payload, &s->message->ask, &s->request);
    if (s->message->dialect == &dialect_redis)
        redis_reply(s);
    else
        memcache_reply(s);
    s->expect = expected(s);
    s->parse_request = null ? null_request : s->message->proto->parse_request;
    s->parse_reply = null ? null_reply : s->message->proto->parse_reply;
    return s;
}

static void end(void *state)
{
    struct state *s = state;
    payload_free(&s->payload);
    buf_free(&s->request);
    buf_free(&s->reply);
    buf_free(&s->scratch);
    args_free(&s->args);
    free(s);
}

/* One row a piece: name, protocol, keys of a get (0: a set), its reply instead of the request. */
#define PIECES(X)                                                                                  \
    X("redis request GET", redis, 1, false)                                                        \
    X("redis request SET 64 B", redis, 0, false)                                                   \
    X("redis request MGET 100", redis, 100, false)                                                 \
    X("redis reply +OK", redis, 0, true)                                                           \
    X("redis reply 64 B", redis, 1, true)                                                          \
    X("redis reply array of 100", redis, 100, true)                                                \
    X("memcache request get", memcache, 1, false)                                                  \
    X("memcache request set 64 B", memcache, 0, false)                                             \
    X("memcache request get 100", memcache, 100, false)                                            \
    X("memcache reply STORED", memcache, 0, true)                                                  \
    X("memcache reply 64 B", memcache, 1, true)                                                    \
    X("memcache reply 100 values", memcache, 100, true)

#define MESSAGE(text, protocol, keys, is_reply)                                                    \
    {.proto = &proto_##protocol,                                                                   \
     .dialect = &dialect_##protocol,                                                               \
     .ask = {.first = 4711, .count = (keys) == 0 ? 1 : (keys), .set = (keys) == 0},                \
     .reply = (is_reply)},
static const struct message messages[] = {PIECES(MESSAGE)};
#undef MESSAGE

#define INDEX(text, protocol, keys, is_reply) AT_##protocol##_##keys##_##is_reply,
enum { PIECES(INDEX) };
#undef INDEX

#define PIECE(text, protocol, keys, is_reply)                                                      \
    {.name = (text),                                                                               \
     .arg = &messages[AT_##protocol##_##keys##_##is_reply],                                        \
     .begin = begin,                                                                               \
     .run = run,                                                                                   \
     .end = end},
static const struct micro pieces[] = {PIECES(PIECE)};
#undef PIECE

struct micro_list micro_parse(void)
{
    return (struct micro_list){pieces, ARRAY_LEN(pieces)};
}
