/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "proto/proto.h"
#include "proto/redis/reply.h"

/* Feeds `in`, cut at `cut`, at most `step` bytes at a time, each from memory of its exact size.
 * Every reply that it holds must be whole, and what is left must want more. Returns the number of
 * replies, or -1 when one is bad. */
static int feed(uint8_t resp, struct span in, size_t cut, size_t step, size_t *errors)
{
    struct reply_parser p = {0};
    int replies = 0;
    *errors = 0;
    for (size_t at = 0; at < in.len;) {
        size_t to = at < cut ? cut : in.len;
        size_t n = to - at < step ? to - at : step;
        char *exact = malloc(n);
        assert_non_null(exact);
        memcpy(exact, in.ptr + at, n);
        size_t used = 0;
        enum parse got = proto_redis.parse_reply(&p, resp, span_of(exact, n), &used);
        free(exact);
        if (got == PARSE_BAD) {
            proto_redis.reply_reset(&p);
            return -1;
        }
        assert_true(got == PARSE_DONE ? used <= n && used > 0 : used == n);
        at += used;
        if (got == PARSE_DONE) {
            replies++;
            *errors += p.error;
            p = (struct reply_parser){0};
        }
    }
    proto_redis.reply_reset(&p);
    return replies;
}

static void expect_replies(uint8_t resp, struct span in, int replies, size_t errors)
{
    size_t got = 0;
    for (size_t cut = 0; cut <= in.len; cut++) {
        assert_int_equal(feed(resp, in, cut, in.len, &got), replies);
        if (replies >= 0)
            assert_int_equal(got, errors);
    }
    for (size_t step = 1; step < 4; step++)
        assert_int_equal(feed(resp, in, 0, step, &got), replies);
}

#define REPLIES(in, replies, errors) expect_replies(REPLY_RESP2, SPAN(in), replies, errors)
#define BAD(in) expect_replies(REPLY_RESP2, SPAN(in), -1, 0)
#define REPLIES3(in, replies, errors) expect_replies(REPLY_RESP3, SPAN(in), replies, errors)
#define BAD3(in) expect_replies(REPLY_RESP3, SPAN(in), -1, 0)

static void test_every_shape(void **state)
{
    (void)state;
    REPLIES("+OK\r\n", 1, 0);
    REPLIES("+\r\n", 1, 0);
    REPLIES("+PONG\r\n-ERR x\r\n:1\r\n", 3, 1);
    REPLIES(":-12\r\n:+3\r\n:0\r\n:007\r\n:9223372036854775807\r\n", 5, 0);
    REPLIES("$0\r\n\r\n", 1, 0);
    REPLIES("$-1\r\n$3\r\na\r\n\r\n", 2, 0);
    REPLIES("$12\r\n0123456789\r\n\r\n$1\r\n+\r\n", 2, 0);
    REPLIES("*0\r\n*-1\r\n", 2, 0);
    REPLIES("*2\r\n$1\r\na\r\n$-1\r\n", 1, 0);
    REPLIES("*3\r\n:1\r\n-ERR x\r\n+OK\r\n", 1, 0);
    REPLIES("*2\r\n*-1\r\n*0\r\n", 1, 0);
    REPLIES("*2\r\n*2\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n:2\r\n*1\r\n$3\r\nabc\r\n+OK\r\n", 2, 0);
    /* What predixy stumbled over: GEOPOS of a member that is not there. */
    REPLIES("*1\r\n*-1\r\n+OK\r\n", 2, 0);
    REPLIES("$3\r\nab", 0, 0);
    REPLIES("*2\r\n:1\r\n", 0, 0);
}

static void test_what_is_no_reply(void **state)
{
    (void)state;
    BAD("x");
    BAD("\r\n");
    BAD("_\r\n");
    BAD("%1\r\n+a\r\n+b\r\n");
    BAD(">1\r\n+a\r\n");
    BAD("#t\r\n");
    BAD(",1.5\r\n");
    BAD("(123\r\n");
    BAD("~1\r\n+a\r\n");
    BAD("=3\r\ntxt\r\n");
    BAD("*1\r\n_\r\n");
    BAD("+a\rb\r\n");
    BAD("+a\nb\r\n");
    BAD("-a\n\r\n");
    BAD("$3\r\nabcx\r\n");
    BAD("$3\r\nabc\rx");
    BAD("$\r\n");
    BAD("$-\r\n");
    BAD("$-2\r\n");
    BAD("$-0\r\n");
    BAD("$-01\r\n");
    BAD("$+1\r\na\r\n");
    BAD("$03\r\nabc\r\n");
    BAD("$ 3\r\nabc\r\n");
    BAD("$3\nabc\r\n");
    BAD("$3\r\rabc\r\n");
    BAD("$281474976710657\r\n");
    BAD("$99999999999999999999\r\n");
    BAD("*-2\r\n");
    BAD("*4294967296\r\n");
    BAD("*x\r\n");
    BAD(":\r\n");
    BAD(":1x\r\n");
    BAD(":1-\r\n");
    BAD(":--1\r\n");
    BAD(":12345678901234567890\r\n");
}

/* What is to be joined must be of a kind that can be: any other reply belongs to another request. An error can come in its
 * place, and RESP3 may say more of it. */
static void test_expected_shapes(void **state)
{
    (void)state;
    static const char *const all = "+:$*%~_-!|";
    static const struct {
        enum reply_shape shape;
        const char *good;
    } rows[] = {{REPLY_STATUS, "+-!|"}, {REPLY_INTEGER, ":-!|"},     {REPLY_STRING, "$_-!|"},
                {REPLY_ARRAY, "*-!|"},  {REPLY_ELEMENTS, "*~%_-!|"}, {REPLY_ANY, "+:$*%~_-!|"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (const char *c = all; *c != '\0'; c++) {
            struct reply_parser p = {0};
            size_t used = 0;
            uint8_t expect = reply_of_shape(REPLY_RESP3, rows[i].shape);
            enum parse want = strchr(rows[i].good, *c) != NULL ? PARSE_MORE : PARSE_BAD;
            assert_int_equal(proto_redis.parse_reply(&p, expect, span_of(c, 1), &used), want);
            proto_redis.reply_reset(&p);
        }
    }
    expect_replies(reply_of_shape(REPLY_RESP2, REPLY_ARRAY),
                   SPAN("*2\r\n:1\r\n$1\r\na\r\n*0\r\n-ERR x\r\n"), 3, 1);
    expect_replies(reply_of_shape(REPLY_RESP2, REPLY_ARRAY), SPAN("$3\r\nabc\r\n"), -1, 0);
    expect_replies(reply_of_shape(REPLY_RESP2, REPLY_INTEGER), SPAN("+OK\r\n"), -1, 0);
    expect_replies(reply_of_shape(REPLY_RESP2, REPLY_STATUS), SPAN(":12\r\n"), -1, 0);
    expect_replies(reply_of_shape(REPLY_RESP2, REPLY_ELEMENTS), SPAN("_\r\n"), -1, 0);
}

static void test_every_shape_of_resp3(void **state)
{
    (void)state;
    REPLIES3("+OK\r\n$-1\r\n*-1\r\n:1\r\n", 4, 0);
    REPLIES3("_\r\n#t\r\n#f\r\n,1.5\r\n,-inf\r\n(12345678901234567890\r\n", 6, 0);
    REPLIES3("!5\r\nERR x\r\n-ERR y\r\n", 2, 2);
    REPLIES3("=7\r\ntxt:abc\r\n$0\r\n\r\n", 2, 0);
    REPLIES3("%0\r\n~0\r\n", 2, 0);
    REPLIES3("%2\r\n+a\r\n:1\r\n+b\r\n%1\r\n+c\r\n_\r\n", 1, 0);
    REPLIES3("~2\r\n$1\r\na\r\n*1\r\n!3\r\nERR\r\n", 1, 0);
    /* Attributes count for nothing: of the reply, of its elements, and without pairs. */
    REPLIES3("|1\r\n+ttl\r\n:1\r\n$1\r\na\r\n+OK\r\n", 2, 0);
    REPLIES3("*2\r\n|2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n:3\r\n:4\r\n+OK\r\n", 2, 0);
    REPLIES3("*1\r\n|0\r\n:3\r\n|0\r\n+OK\r\n", 2, 0);
    REPLIES3("%1\r\n+a\r\n", 0, 0);
    REPLIES3("|1\r\n+a\r\n+b\r\n", 0, 0);
}

static void test_what_is_no_resp3(void **state)
{
    (void)state;
    BAD3(">1\r\n+a\r\n");
    BAD3("*1\r\n>1\r\n+a\r\n");
    BAD3("x");
    BAD3("_x");
    BAD3("_\n");
    BAD3("#t\n");
    BAD3("=-1\r\n");
    BAD3("!-1\r\n");
    BAD3("%-1\r\n");
    BAD3("~-1\r\n");
    BAD3("|-1\r\n");
    BAD3("$?\r\n");
    BAD3("*?\r\n");
    BAD3("%2147483648\r\n");
    BAD3("|2147483648\r\n");
    BAD3("*4294967295\r\n|1\r\n");
    BAD3("~4294967296\r\n");
    BAD3("=4\r\ntxt:x\r\n");
}

/* Arrays of two, the first of which is an array of two, ...: the deepest that is allowed, and one
 * more. */
static void expect_depth(uint32_t levels, struct span level, struct span end, enum parse expected)
{
    struct reply_parser p = {0};
    size_t used = 0;
    enum parse got = PARSE_MORE;
    for (uint32_t i = 0; i < levels && got == PARSE_MORE; i++)
        got = proto_redis.parse_reply(&p, 0, level, &used);
    for (uint32_t i = 0; i <= levels && got == PARSE_MORE; i++)
        got = proto_redis.parse_reply(&p, 0, end, &used);
    assert_int_equal(got, expected);
    proto_redis.reply_reset(&p);
    assert_null(p.stack);
}

static void test_depth(void **state)
{
    (void)state;
    static const uint32_t some[] = {1, 3, 4, 5, 6, 67, 68, 69, 70, 131, 132, 133, 1000, 70000};
    for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++)
        expect_depth(some[i], SPAN("*2\r\n"), SPAN(":1\r\n"), PARSE_DONE);
    expect_depth(REPLY_DEPTH, SPAN("*2\r\n"), SPAN(":1\r\n"), PARSE_DONE);
    expect_depth(REPLY_DEPTH + 1, SPAN("*2\r\n"), SPAN(":1\r\n"), PARSE_BAD);
    /* A last element needs no memory however deep it is. */
    expect_depth(3000000, SPAN("*1\r\n"), SPAN(":1\r\n"), PARSE_DONE);
}

/* Up and down through the level where the stack begins. */
static void test_depth_again_and_again(void **state)
{
    (void)state;
    struct reply_parser p = {0};
    size_t used = 0;
    struct span row =
        SPAN("*2\r\n*2\r\n*2\r\n*2\r\n*2\r\n*2\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n");
    assert_int_equal(proto_redis.parse_reply(&p, 0, SPAN("*1000\r\n"), &used), PARSE_MORE);
    for (int i = 0; i < 999; i++)
        assert_int_equal(proto_redis.parse_reply(&p, 0, row, &used), PARSE_MORE);
    assert_int_equal(proto_redis.parse_reply(&p, 0, row, &used), PARSE_DONE);
    assert_null(p.stack);
}

/* A body of 512 MB, and a status line of 100 MB, are looked at once and not kept. */
static void test_huge(void **state)
{
    (void)state;
    enum { PIECE = 1 << 20, PIECES = 512 };
    char *piece = malloc(PIECE);
    assert_non_null(piece);
    memset(piece, 'x', PIECE);
    struct reply_parser p = {0};
    size_t used = 0;
    assert_int_equal(proto_redis.parse_reply(&p, 0, SPAN("*2\r\n$536870912\r\n"), &used),
                     PARSE_MORE);
    for (int i = 0; i < PIECES; i++) {
        assert_int_equal(proto_redis.parse_reply(&p, 0, span_of(piece, PIECE), &used), PARSE_MORE);
        assert_int_equal(used, PIECE);
    }
    assert_int_equal(proto_redis.parse_reply(&p, 0, SPAN("\r\n-"), &used), PARSE_MORE);
    for (int i = 0; i < 100; i++)
        assert_int_equal(proto_redis.parse_reply(&p, 0, span_of(piece, PIECE), &used), PARSE_MORE);
    assert_int_equal(proto_redis.parse_reply(&p, 0, SPAN("\r\n+OK\r\n"), &used), PARSE_DONE);
    assert_int_equal(used, 2);
    assert_false(p.error);
    free(piece);
}

static void test_used_ends_with_the_reply(void **state)
{
    (void)state;
    struct reply_parser p = {0};
    size_t used = 0;
    assert_int_equal(proto_redis.parse_reply(&p, 0, SPAN("-ERR a\r\n+OK\r\n"), &used), PARSE_DONE);
    assert_int_equal(used, 8);
    assert_true(p.error);
    proto_redis.reply_reset(&p);
    assert_int_equal(proto_redis.parse_reply(&p, 0, SPAN("*1\r\n-x\r\n$"), &used), PARSE_DONE);
    assert_int_equal(used, 8);
    assert_false(p.error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_shape),
        cmocka_unit_test(test_expected_shapes),
        cmocka_unit_test(test_what_is_no_reply),
        cmocka_unit_test(test_every_shape_of_resp3),
        cmocka_unit_test(test_what_is_no_resp3),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_depth_again_and_again),
        cmocka_unit_test(test_huge),
        cmocka_unit_test(test_used_ends_with_the_reply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
