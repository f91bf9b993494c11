/* SPDX-License-Identifier: BSD-3-Clause */
#include "redis_ask.h"

static const struct proto_settings plain = {.db = 0};
static const struct proto_settings single = {.single_server = true};
static const struct proto_settings locked = {.password = {"secret", 6}};

static void test_arrays(void **state)
{
    (void)state;
    ASK(&plain, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "forward <a> *2\r\n$3\r\nGET\r\n$1\r\na\r\n\n");
    ASK(&plain, "*3\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\n0123456789\r\n\r\n",
        "forward write <> *3\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\n0123456789\r\n\r\n\n");
    ASK(&plain, "*2\r\n$3\r\ngEt\r\n$2\r\n\0\xff\r\n*1\r\n$4\r\nPING\r\n",
        "forward <\0\xff> *2\r\n$3\r\ngEt\r\n$2\r\n\0\xff\r\n\nlocal +PONG\r\n\n");
    ASK(&plain, "*0\r\n*-1\r\n*-7\r\n*1\r\n$4\r\nPING\r\n", "none\nnone\nnone\nlocal +PONG\r\n\n");
    ASK(&plain, "*2\r\n$3\r\nGET\r\n$1\r\na\r", "");
}

static void test_lenient_is_made_canonical(void **state)
{
    (void)state;
    ASK(&plain, "*2\rx$3\ryGETzz$1\r\naxx*1\r\n$4\r\nPING\r\n",
        "forward <a> *2\r\n$3\r\nGET\r\n$1\r\na\r\n\nlocal +PONG\r\n\n");
    ASK(&plain, "*0\rx*1\rx$4\rxPINGxx", "none\nlocal +PONG\r\n\n");
    ASK(&plain, "*2\r\r$4\r\rECHO\r\r$2\r\rhi\r\r", "local $2\r\nhi\r\n\n");
    /* An answer that stands in scratch behind the canonical form. */
    ASK(&plain, "*2\rx$3\r\nFOO\r\n$1\r\na\r\n",
        "local -ERR unknown command 'FOO', with args beginning with: 'a' \r\n\n");
}

static void test_bad_counts(void **state)
{
    (void)state;
#define BAD_COUNT(line)                                                                            \
    ASK(&plain, "*1\r\n$4\r\nPING\r\n" line "\r\n*1\r\n$4\r\nPING\r\n",                            \
        "local +PONG\r\n\nbad -ERR Protocol error: invalid multibulk length\r\n")
    BAD_COUNT("*");
    BAD_COUNT("*02");
    BAD_COUNT("*+1");
    BAD_COUNT("*-0");
    BAD_COUNT("* 1");
    BAD_COUNT("*1 ");
    BAD_COUNT("*x");
    BAD_COUNT("*1x");
    BAD_COUNT("*12x");
    BAD_COUNT("*--1");
    BAD_COUNT("*2147483648");
    BAD_COUNT("*9223372036854775808");
    BAD_COUNT("*-9223372036854775809");
    BAD_COUNT("*99999999999999999999999999999999");
    ASK(&plain, "*-9223372036854775808\r\n*-9223372036854775807\r\n", "none\nnone\n");
    ASK(&plain, "*2147483647\r\n", "");
}

static void test_bad_lengths(void **state)
{
    (void)state;
#define BAD_LENGTH(line)                                                                           \
    ASK(&plain, "*1\r\n" line "\r\nPING\r\n", "bad -ERR Protocol error: invalid bulk length\r\n")
    BAD_LENGTH("$");
    BAD_LENGTH("$04");
    BAD_LENGTH("$00");
    BAD_LENGTH("$+4");
    BAD_LENGTH("$-0");
    BAD_LENGTH("$-1");
    BAD_LENGTH("$ 4");
    BAD_LENGTH("$4 ");
    BAD_LENGTH("$4x");
    BAD_LENGTH("$0x4");
    BAD_LENGTH("$536870913");
    BAD_LENGTH("$4294967300");
    BAD_LENGTH("$18446744073709551620");
    ASK(&plain, "*2\r\n$3\r\nGET\r\n:1\r\n", "bad -ERR Protocol error: expected '$', got ':'\r\n");
    ASK(&plain, "*1\r\n\r\n", "bad -ERR Protocol error: expected '$', got ' '\r\n");
    ASK(&plain, "*1\r\n\n\r\n", "bad -ERR Protocol error: expected '$', got ' '\r\n");
    ASK(&plain, "*1\r\nPING\r\n", "bad -ERR Protocol error: expected '$', got 'P'\r\n");
    ASK(&plain, "*1\r\n*1\r\n", "bad -ERR Protocol error: expected '$', got '*'\r\n");
    /* As redis waits: a NUL hides the line end. */
    ASK(&plain, "*\0001\r\n$4\r\nPING\r\n", "");
    ASK(&plain, "*1\r\n$\0004\r\nPING\r\n", "");
    ASK(&plain, "*1\n$4\nPING\n", "");
}

static void test_inline(void **state)
{
    (void)state;
    ASK(&plain, "\r\n\n  \t\r\nPING\n", "none\nnone\nnone\nlocal +PONG\r\n\n");
    ASK(&plain, "get a\r\n", "forward <a> *2\r\n$3\r\nget\r\n$1\r\na\r\n\n");
    ASK(&plain, " SET  k\t\"a b\" \r\n",
        "forward write <k> *3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\na b\r\n\n");
    ASK(&plain, "ECHO \"\\x41\\x0g\\n\\r\\t\\b\\a\\q\\\"\\\\\"\n",
        "local $12\r\nAx0g\n\r\t\b\aq\"\\\r\n\n");
    ASK(&plain, "ECHO '\\x41 \\' \"'\n", "local $8\r\n\\x41 ' \"\r\n\n");
    ASK(&plain, "ECHO \"\"\nECHO ''\n", "local $0\r\n\r\n\nlocal $0\r\n\r\n\n");
    ASK(&plain, "ECHO a\"b c\"\nECHO a\vb\nECHO \va\f\n",
        "local $4\r\nab c\r\n\nlocal $3\r\na\vb\r\n\nlocal $2\r\na\f\r\n\n");
    ASK(&plain, "ECHO \"\\x00\\xFf\"\n", "local $2\r\n\0\xff\r\n\n");
    ASK(&plain, "ECHO a\rb\n", "local -ERR wrong number of arguments for 'echo' command\r\n\n");
#define UNBALANCED(line)                                                                           \
    ASK(&plain, "PING\n" line "\nPING\n",                                                          \
        "local +PONG\r\n\nbad -ERR Protocol error: unbalanced quotes in request\r\n")
    UNBALANCED("GET \"a");
    UNBALANCED("GET 'a");
    UNBALANCED("GET \"a\"b");
    UNBALANCED("GET 'a'b");
    UNBALANCED("GET \"a\\");
    UNBALANCED("GET \"a\\\"");
    UNBALANCED("GET 'a\\'");
    UNBALANCED("\"");
    ASK(&plain, "PING\0\r\nPING\r\n", "");
    ASK(&plain, "\0PING\r\n", "");
}

/* A line of `count` bytes of `fill` behind `begin`, then `end`; by several cuts around the limit.
 */
static void expect_line(struct span begin, char fill, size_t count, struct span end,
                        struct span expected)
{
    size_t len = begin.len + count + end.len;
    char *line = malloc(len);
    assert_non_null(line);
    memcpy(line, begin.ptr, begin.len);
    memset(line + begin.len, fill, count);
    memcpy(line + begin.len + count, end.ptr, end.len);
    for (size_t step = 997; step <= len; step = step * 7 + 3) {
        struct ask a;
        ask_begin(&a, &plain);
        for (size_t n = len - len / step * step; n < len; n += step)
            ask_parse(&a, span_of(line, n));
        ask_parse(&a, span_of(line, len));
        assert_true(span_eq(buf_span(&a.told), expected));
        ask_end(&a);
    }
    free(line);
}

static void test_too_long_lines(void **state)
{
    (void)state;
    const size_t most = 65536;
    expect_line(SPAN("*"), '1', most - 1, SPAN(""), SPAN(""));
    expect_line(SPAN("*"), '1', most - 1, SPAN("\r\n"),
                SPAN("bad -ERR Protocol error: invalid multibulk length\r\n"));
    expect_line(SPAN("*"), '1', most, SPAN("\r\n"),
                SPAN("bad -ERR Protocol error: too big mbulk count string\r\n"));
    expect_line(SPAN("*1\r\n$"), '1', most - 1, SPAN("\r\n"),
                SPAN("bad -ERR Protocol error: invalid bulk length\r\n"));
    expect_line(SPAN("*1\r\n$"), '1', most, SPAN("\r\n"),
                SPAN("bad -ERR Protocol error: too big bulk count string\r\n"));
    expect_line(SPAN("*1\r\n"), '\0', most + 1, SPAN("\r\n"),
                SPAN("bad -ERR Protocol error: too big bulk count string\r\n"));
    expect_line(SPAN(""), ' ', most, SPAN("\n"), SPAN("none\n"));
    expect_line(SPAN(""), ' ', most + 1, SPAN("\n"),
                SPAN("bad -ERR Protocol error: too big inline request\r\n"));
    expect_line(SPAN(""), '\0', most + 1, SPAN("\n"),
                SPAN("bad -ERR Protocol error: too big inline request\r\n"));
}

static void test_http_is_refused(void **state)
{
    (void)state;
    ASK(&plain, "POST / HTTP/1.1\r\nHost: x\r\nset a b\r\n",
        "local close -ERR Protocol error: this is redis, not HTTP\r\n\n");
    ASK(&plain, "GET / HTTP/1.1\r\nhost: x\r\nset a b\r\n",
        "local -ERR wrong number of arguments for 'get' command\r\n\n"
        "local close -ERR Protocol error: this is redis, not HTTP\r\n\n");
}

static void test_guests_are_bounded(void **state)
{
    (void)state;
    ASK(&locked, "*11\r\n", "bad -ERR Protocol error: unauthenticated multibulk length\r\n");
    ASK(&locked, "*1\r\n$16385\r\n", "bad -ERR Protocol error: unauthenticated bulk length\r\n");
    ASK(&locked, "*1\r\n$16384\r\n", "");
    ASK(&locked, "*10\r\n", "");
    ASK(&locked, "AUTH secret\r\n*11\r\n$16385\r\n", "local +OK\r\n\n");
}

/* A key for each byte but a few: the time is that of the bytes, not of their square. */
static void test_many_keys_byte_by_byte(void **state)
{
    (void)state;
    enum { KEYS = 100000 };
    struct buf message = {0};
    assert_true(buf_append(&message, SPAN("*100001\r\n$4\r\nMGET\r\n")));
    for (uint32_t i = 0; i < KEYS; i++) {
        char key[32];
        int len = snprintf(key, sizeof(key), "$8\r\n%08u\r\n", i);
        assert_true(buf_append(&message, span_of(key, (size_t)len)));
    }
    struct args args = {0};
    struct buf scratch = {0};
    struct request_view v = {.kind = REQUEST_NONE};
    struct proto_session session = {.settings = &plain};
    struct request_parser p = {.args = &args};
    struct span whole = buf_span(&message);
    for (size_t n = 1; n < whole.len; n++)
        assert_int_equal(
            proto_redis.parse_request(&p, &session, span_of(whole.ptr, n), &scratch, &v),
            PARSE_MORE);
    assert_int_equal(proto_redis.parse_request(&p, &session, whole, &scratch, &v), PARSE_DONE);
    assert_int_equal(v.kind, REQUEST_SPLIT);
    assert_int_equal(v.len, whole.len);
    assert_int_equal(request_key_count(&v), KEYS);
    assert_true(span_eq(request_key(&v, 0), SPAN("00000000")));
    assert_true(span_eq(request_key(&v, KEYS - 1), SPAN("00099999")));
    args_free(&args);
    buf_free(&scratch);
    buf_free(&message);
}

/* The bytes of a huge body are not needed to frame it. */
static void test_request_bound(void **state)
{
    (void)state;
    struct args args = {0};
    struct buf scratch = {0};
    struct request_view v;
    struct proto_session session = {.settings = &plain};
    struct request_parser p = {.args = &args, .pos = 600u << 20, .left = 1, .state = 2};
    /* Where a second argument of 512 MB would end is over the bound, which is said before it comes.
     */
    char *most = malloc((600u << 20) + 32);
    assert_non_null(most);
    memcpy(most + (600u << 20), "$536870912\r\n", 12);
    assert_int_equal(
        proto_redis.parse_request(&p, &session, span_of(most, (600u << 20) + 12), &scratch, &v),
        PARSE_BAD);
    assert_true(span_eq(
        v.reply, SPAN("-ERR Protocol error: too big request, it must be shorter than 1 GiB\r\n")));
    free(most);
    args_free(&args);
    buf_free(&scratch);
}

static void test_single_server_is_not_split(void **state)
{
    (void)state;
    ASK(&single, "MGET a b\r\n", "forward <a> <b> *3\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n\n");
    ASK(&plain, "MGET a b\r\n", "split <a> <b> *3\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n\n");
    ASK(&plain, "MGET a\r\n", "forward <a> *2\r\n$4\r\nMGET\r\n$1\r\na\r\n\n");
    ASK(&plain, "MSET a 1\r\n", "forward write <a> *3\r\n$4\r\nMSET\r\n$1\r\na\r\n$1\r\n1\r\n\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_lenient_is_made_canonical),
        cmocka_unit_test(test_bad_counts),
        cmocka_unit_test(test_bad_lengths),
        cmocka_unit_test(test_inline),
        cmocka_unit_test(test_too_long_lines),
        cmocka_unit_test(test_http_is_refused),
        cmocka_unit_test(test_guests_are_bounded),
        cmocka_unit_test(test_many_keys_byte_by_byte),
        cmocka_unit_test(test_request_bound),
        cmocka_unit_test(test_single_server_is_not_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
