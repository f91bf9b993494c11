/* SPDX-License-Identifier: BSD-3-Clause */
/* What the unit tests of the redis requests share: bytes go through parse_request as they would
 * from a client, cut in any way, and what came out is told as text. */
#ifndef TESTS_PROTO_REDIS_ASK_H
#define TESTS_PROTO_REDIS_ASK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/proto.h"

/* What is told in the end, and the client it is told of. */
struct ask {
    struct proto_settings settings;
    struct proto_session session;
    struct request_parser parser;
    struct args args;
    struct buf scratch;
    struct buf told;
    size_t taken; /* bytes of the messages that were read */
    bool ended;
};

static inline void ask_begin(struct ask *a, const struct proto_settings *settings)
{
    *a = (struct ask){.settings = *settings};
    a->session.settings = &a->settings;
    a->parser.args = &a->args;
}

static inline void ask_end(struct ask *a)
{
    proto_redis.session_end(&a->session);
    args_free(&a->args);
    buf_free(&a->scratch);
    buf_free(&a->told);
}

static inline void tell(struct ask *a, struct span s)
{
    assert_true(buf_append(&a->told, s));
}

static inline void tell_verb(struct ask *a, const struct request_view *v)
{
    static const char *const verbs[] = {
        [SESSION_MULTI] = "multi", [SESSION_EXEC] = "exec",       [SESSION_DISCARD] = "discard",
        [SESSION_WATCH] = "watch", [SESSION_UNWATCH] = "unwatch", [SESSION_BLOCK] = "block",
        [SESSION_ABORT] = "abort", [SESSION_WAIT] = "wait",       [SESSION_ASIDE] = "aside"};
    char ms[32] = "";
    bool waits = v->verb == SESSION_BLOCK || v->verb == SESSION_WAIT;
    if (waits && v->block_ms == BLOCK_FOREVER)
        snprintf(ms, sizeof(ms), " for ever");
    else if (waits)
        snprintf(ms, sizeof(ms), " %llu ms", (unsigned long long)v->block_ms);
    tell(a, SPAN(" "));
    tell(a, span_str(verbs[v->verb]));
    tell(a, span_str(ms));
}

static inline void tell_login(struct ask *a, const struct request_view *v)
{
    char numbers[64];
    snprintf(numbers, sizeof(numbers), " resp%u db%u user <", (unsigned)v->login.resp,
             (unsigned)v->login.db);
    tell(a, span_str(numbers));
    tell(a, v->login.user);
    tell(a, SPAN("> password <"));
    tell(a, v->login.password);
    tell(a, SPAN("> "));
    tell(a, v->wire.len > 0 ? v->wire : v->reply);
}

static inline void tell_view(struct ask *a, const struct request_view *v)
{
    static const char *const kinds[] = {
        [REQUEST_NONE] = "none",           [REQUEST_LOCAL] = "local",
        [REQUEST_TELL] = "tell",           [REQUEST_FORWARD] = "forward",
        [REQUEST_SPLIT] = "split",         [REQUEST_LOGIN] = "login",
        [REQUEST_BROADCAST] = "broadcast", [REQUEST_SERVER] = "server",
        [REQUEST_SESSION] = "session",     [REQUEST_SCRIPT] = "script"};
    tell(a, span_str(kinds[v->kind]));
    tell(a, v->write ? SPAN(" write") : SPAN(""));
    tell(a, v->close ? SPAN(" close") : SPAN(""));
    if (v->kind == REQUEST_LOCAL) {
        tell(a, SPAN(" "));
        tell(a, v->reply);
    }
    if (v->kind == REQUEST_LOGIN)
        tell_login(a, v);
    if (v->kind == REQUEST_SESSION)
        tell_verb(a, v);
    if (v->kind == REQUEST_FORWARD || v->kind == REQUEST_SPLIT || v->kind == REQUEST_SESSION ||
        v->kind == REQUEST_SCRIPT) {
        for (uint32_t i = 0; i < request_key_count(v); i++) {
            tell(a, SPAN(" <"));
            tell(a, request_key(v, i));
            tell(a, SPAN(">"));
        }
        tell(a, SPAN(" "));
        tell(a, v->wire);
    }
    tell(a, SPAN("\n"));
}

/* `in` begins with what was not taken yet. It is copied to memory of its exact size, so that a byte
 * read behind it is found. */
static inline void ask_parse(struct ask *a, struct span in)
{
    while (!a->ended) {
        struct span rest = span_from(in, a->taken);
        char *exact = malloc(rest.len + 1);
        assert_non_null(exact);
        memcpy(exact + 1, rest.ptr, rest.len);
        struct request_view v;
        enum parse got = proto_redis.parse_request(&a->parser, &a->session,
                                                   span_of(exact + 1, rest.len), &a->scratch, &v);
        if (got == PARSE_BAD) {
            tell(a, SPAN("bad "));
            tell(a, v.reply);
            a->ended = true;
        } else if (got == PARSE_DONE) {
            tell_view(a, &v);
            if (v.kind == REQUEST_LOGIN && v.wire.len == 0) { /* it is known to be good */
                assert_true(proto_redis.login_begin(&a->session, &v));
                proto_redis.login_end(&a->session, true);
            }
            assert_true(v.len > 0 && v.len <= rest.len);
            a->taken += v.len;
            args_clear(&a->args);
            a->parser = (struct request_parser){.args = &a->args};
            a->ended = v.close;
        }
        free(exact);
        if (got == PARSE_MORE)
            return;
    }
}

/* Feeds `in` whole and compares what is told. Then once for every cut in two, and byte by byte: the
 * same must be told. */
static inline void ask_expect(const struct proto_settings *settings, struct span in,
                              struct span expected)
{
    struct ask a;
    for (size_t cut = 0; cut <= in.len; cut++) {
        ask_begin(&a, settings);
        if (cut > 0)
            ask_parse(&a, span_of(in.ptr, cut));
        ask_parse(&a, in);
        struct span told = buf_span(&a.told);
        if (!span_eq(told, expected))
            print_message("asked: %.*s\ncut at %zu\ntold: %.*s\nexpected: %.*s\n", (int)in.len,
                          in.ptr, cut, (int)told.len, told.ptr, (int)expected.len, expected.ptr);
        assert_true(span_eq(told, expected));
        ask_end(&a);
    }
    ask_begin(&a, settings);
    for (size_t n = 1; n <= in.len; n++)
        ask_parse(&a, span_of(in.ptr, n));
    assert_true(span_eq(buf_span(&a.told), expected));
    ask_end(&a);
}

/* The same with string literals. */
#define ASK(settings, in, expected) ask_expect(settings, SPAN(in), SPAN(expected))

#endif
