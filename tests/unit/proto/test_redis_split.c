/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "proto/proto.h"
#include "proto/redis/command.h"
#include "proto/redis/reply.h"
#include "proto/redis/split.h"

static const struct proto_settings plain = {.db = 0};

/* A request that was read, and what it stands in. */
struct asked {
    struct args args;
    struct buf scratch;
    struct request_view view;
};

static void ask(struct asked *a, struct span line)
{
    *a = (struct asked){.scratch = {0}};
    struct request_parser p = {.args = &a->args};
    struct proto_session session = {.settings = &plain};
    assert_int_equal(proto_redis.parse_request(&p, &session, line, &a->scratch, &a->view),
                     PARSE_DONE);
    assert_int_equal(a->view.kind, REQUEST_SPLIT);
}

static void asked_free(struct asked *a)
{
    args_free(&a->args);
    buf_free(&a->scratch);
}

static void expect_part(struct span line, const uint32_t *order, uint32_t count, struct span part)
{
    struct asked a;
    struct buf out = {0};
    ask(&a, line);
    assert_true(buf_append(&out, SPAN("before")));
    assert_true(proto_redis.compose_part(&a.view, order, count, &out));
    buf_consume(&out, 6);
    assert_true(span_eq(buf_span(&out), part));
    assert_int_equal(proto_redis.part_expect(&a.view) & REPLY_RESP3, REPLY_RESP2);
    buf_free(&out);
    asked_free(&a);
}

static void test_parts(void **state)
{
    (void)state;
    expect_part(SPAN("MGET a bb ccc d\n"), (uint32_t[]){0, 1, 3}, 3,
                SPAN("*4\r\n$4\r\nMGET\r\n$1\r\na\r\n$2\r\nbb\r\n$1\r\nd\r\n"));
    expect_part(SPAN("*3\r\n$3\r\nDEL\r\n$0\r\n\r\n$10\r\n0123456789\r\n"), (uint32_t[]){1}, 1,
                SPAN("*2\r\n$3\r\nDEL\r\n$10\r\n0123456789\r\n"));
    expect_part(SPAN("*3\r\n$3\r\nDEL\r\n$0\r\n\r\n$10\r\n0123456789\r\n"), (uint32_t[]){0}, 1,
                SPAN("*2\r\n$3\r\nDEL\r\n$0\r\n\r\n"));
    expect_part(SPAN("mset a 1 b 22 c 333\n"), (uint32_t[]){0, 2}, 2,
                SPAN("*5\r\n$4\r\nmset\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nc\r\n$3\r\n333\r\n"));
    expect_part(SPAN("mset a 1 b 22 c 333\n"), (uint32_t[]){1, 2}, 2,
                SPAN("*5\r\n$4\r\nmset\r\n$1\r\nb\r\n$2\r\n22\r\n$1\r\nc\r\n$3\r\n333\r\n"));
    expect_part(SPAN("xread count 2 streams a bb c 0 $ 5-5\n"), (uint32_t[]){0, 2}, 2,
                SPAN("*8\r\n$5\r\nxread\r\n$5\r\ncount\r\n$1\r\n2\r\n$7\r\nstreams\r\n$1\r\na\r\n"
                     "$1\r\nc\r\n$1\r\n0\r\n$3\r\n5-5\r\n"));
    expect_part(SPAN("json.mget a bb c $.x\n"), (uint32_t[]){0, 2}, 2,
                SPAN("*4\r\n$9\r\njson.mget\r\n$1\r\na\r\n$1\r\nc\r\n$3\r\n$.x\r\n"));
    expect_part(SPAN("json.mset a . 1 bb . 2\n"), (uint32_t[]){1}, 1,
                SPAN("*4\r\n$9\r\njson.mset\r\n$2\r\nbb\r\n$1\r\n.\r\n$1\r\n2\r\n"));
    /* A request whose line ends were not CR LF. */
    expect_part(SPAN("*3\rx$6\r\nUNLINK\r\n$1\rxaxx$1\r\nb\r\n"), (uint32_t[]){0}, 1,
                SPAN("*2\r\n$6\r\nUNLINK\r\n$1\r\na\r\n"));
}

/* Joins and compares. `expected` empty: it must fail, and name part `bad_part`. */
static void expect_join(uint8_t join, const struct part_reply *parts, uint32_t part_count,
                        const uint16_t *part_of, uint32_t key_count, struct span expected,
                        uint32_t bad_part)
{
    struct chunk_pool pool = {0};
    struct chain out = {0};
    uint32_t bad = 77;
    assert_true(chain_append(&out, &pool, SPAN("+before\r\n")));
    bool ok = proto_redis.join(join, parts, part_count, part_of, key_count, &pool, &out, &bad);
    assert_int_equal(ok, expected.len > 0);
    assert_int_equal(bad, bad_part);
    assert_int_equal(out.len, 9 + expected.len);
    char *flat = malloc(out.len);
    assert_non_null(flat);
    struct iovec iov[64];
    size_t at = 0;
    int pieces = chain_iovec(&out, iov, 64);
    for (int i = 0; i < pieces; i++) {
        memcpy(flat + at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    assert_int_equal(at, out.len);
    assert_true(span_eq(span_of(flat + 9, at - 9), expected));
    free(flat);
    chain_clear(&out, &pool);
    chunk_pool_free(&pool);
}

#define REPLY(text)                                                                                \
    {                                                                                              \
        .bytes = { text, sizeof(text) - 1 }                                                        \
    }
#define JOIN(join, parts, part_of, expected, bad)                                                  \
    expect_join(join, parts, sizeof(parts) / sizeof(parts[0]), part_of,                            \
                sizeof(part_of) / sizeof(part_of[0]), expected, bad)

static const uint32_t none = UINT32_MAX;

static void test_join_values(void **state)
{
    (void)state;
    const uint16_t part_of[] = {0, 1, 1, 0};
    const struct part_reply good[] = {REPLY("*2\r\n$1\r\na\r\n$-1\r\n"),
                                      REPLY("*2\r\n$4\r\nb\r\nb\r\n$0\r\n\r\n")};
    JOIN(CLASS_MGET, good, part_of, SPAN("*4\r\n$1\r\na\r\n$4\r\nb\r\nb\r\n$0\r\n\r\n$-1\r\n"),
         none);
    const struct part_reply bad[][2] = {
        {REPLY("*2\r\n$1\r\na\r\n$-1\r\n"), REPLY("*1\r\n$1\r\nb\r\n")},
        {REPLY("*2\r\n$1\r\na\r\n$-1\r\n"), REPLY("*3\r\n$-1\r\n$-1\r\n$-1\r\n")},
        {REPLY("*2\r\n$1\r\na\r\n$-1\r\n"), REPLY("*-1\r\n")},
        {REPLY("*2\r\n$1\r\na\r\n$-1\r\n"), REPLY("*0\r\n")},
        {REPLY("*2\r\n$1\r\na\r\n$-1\r\n"), REPLY(":2\r\n")},
        {REPLY("*2\r\n$1\r\na\r\n$-1\r\n"), REPLY("*2\r\n:1\r\n:2\r\n")},
        {REPLY("*2\r\n$1\r\na\r\n$-1\r\n"), REPLY("*2\r\n*1\r\n$1\r\na\r\n$1\r\na\r\n")},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        JOIN(CLASS_MGET, bad[i], part_of, SPAN(""), 1);
}

static void test_join_counts(void **state)
{
    (void)state;
    const uint16_t part_of[] = {0, 1, 2, 0};
    const struct part_reply good[] = {REPLY(":2\r\n"), REPLY(":0\r\n"), REPLY(":1\r\n")};
    JOIN(CLASS_SUM, good, part_of, SPAN(":3\r\n"), none);
    const struct part_reply bad[][3] = {
        {REPLY(":2\r\n"), REPLY("+OK\r\n"), REPLY(":1\r\n")},
        {REPLY(":2\r\n"), REPLY(":-1\r\n"), REPLY(":1\r\n")},
        {REPLY(":2\r\n"), REPLY(":5\r\n"), REPLY(":1\r\n")},
        {REPLY(":2\r\n"), REPLY("$1\r\n1\r\n"), REPLY(":1\r\n")},
        {REPLY(":2\r\n"), REPLY("*1\r\n:1\r\n"), REPLY(":1\r\n")},
        {REPLY(":2\r\n"), REPLY(":18446744073709551617\r\n"), REPLY(":1\r\n")},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        JOIN(CLASS_SUM, bad[i], part_of, SPAN(""), 1);
}

static void test_join_ok(void **state)
{
    (void)state;
    const uint16_t part_of[] = {0, 1};
    const struct part_reply good[] = {REPLY("+OK\r\n"), REPLY("+OK\r\n")};
    JOIN(CLASS_MSET, good, part_of, SPAN("+OK\r\n"), none);
    const struct part_reply bad[] = {REPLY("+OK\r\n"), REPLY(":1\r\n")};
    JOIN(CLASS_MSET, bad, part_of, SPAN(""), 1);
}

/* A shard that failed, or whose server answered with an error, makes an error of the whole: the
 * first of them. */
static void test_join_errors(void **state)
{
    (void)state;
    const uint16_t part_of[] = {0, 1, 2};
    const struct part_reply dead = {.bytes = SPAN("-ERR Host is down\r\n"), .failed = true};
    const struct part_reply oom = {.bytes = SPAN("-OOM no memory\r\n"), .error = true};
    static const uint8_t joins[] = {CLASS_MGET, CLASS_MSET, CLASS_SUM};
    static const struct part_reply well[] = {REPLY("*1\r\n$-1\r\n"), REPLY("+OK\r\n"),
                                             REPLY(":1\r\n")};
    for (size_t i = 0; i < sizeof(joins); i++) {
        const struct part_reply first_oom[] = {well[i], oom, dead};
        const struct part_reply first_dead[] = {well[i], dead, oom};
        const struct part_reply all_dead[] = {dead, dead, dead};
        JOIN(joins[i], first_oom, part_of, oom.bytes, none);
        JOIN(joins[i], first_dead, part_of, dead.bytes, none);
        JOIN(joins[i], all_dead, part_of, dead.bytes, none);
        /* A server that is out of step is named all the same. */
        const struct part_reply odd[] = {dead, REPLY("$1\r\na\r\n"), well[i]};
        JOIN(joins[i], odd, part_of, SPAN(""), 1);
        /* There was no memory for the error line: a reply of no bytes would be none. */
        const struct part_reply mute[] = {well[i], {.bytes = SPAN(""), .failed = true}, well[i]};
        JOIN(joins[i], mute, part_of, SPAN(""), none);
    }
}

struct policy_case {
    uint8_t join;
    const char *replies[3]; /* "" or NULL: no more */
    const char *joined;     /* NULL: they don't fit together */
};

static const struct policy_case policy_cases[] = {
    {CLASS_TOTAL, {":1\r\n", ":0\r\n", ":9223372036854775000\r\n"}, ":9223372036854775001\r\n"},
    {CLASS_TOTAL, {":1\r\n", ":-1\r\n"}, NULL},
    {CLASS_TOTAL, {":1\r\n", "+1\r\n"}, NULL},
    {CLASS_LEAST, {":7\r\n", ":3\r\n", ":5\r\n"}, ":3\r\n"},
    {CLASS_WAIT, {":1\r\n", ":0\r\n", ":5\r\n"}, ":0\r\n"},
    {CLASS_WAITAOF, {"*2\r\n:1\r\n:0\r\n", "*2\r\n:0\r\n:7\r\n"}, "*2\r\n:0\r\n:0\r\n"},
    {CLASS_WAITAOF, {"*2\r\n:1\r\n:3\r\n", "*2\r\n:1\r\n:2\r\n"}, "*2\r\n:1\r\n:2\r\n"},
    {CLASS_WAITAOF, {"*2\r\n:1\r\n:3\r\n", "*1\r\n:1\r\n"}, NULL},
    {CLASS_WAITAOF, {"*2\r\n:1\r\n:3\r\n", "*3\r\n:1\r\n:1\r\n:1\r\n"}, NULL},
    {CLASS_WAITAOF, {"*2\r\n:1\r\n:3\r\n", "*2\r\n:1\r\n+1\r\n"}, NULL},
    {CLASS_CONCAT,
     {"*1\r\n$1\r\na\r\n", "*0\r\n", "*2\r\n*0\r\n:1\r\n"},
     "*3\r\n$1\r\na\r\n*0\r\n:1\r\n"},
    {CLASS_CONCAT, {"~1\r\n:1\r\n", "~1\r\n:2\r\n"}, "~2\r\n:1\r\n:2\r\n"},
    {CLASS_CONCAT, {"~1\r\n:1\r\n", "*1\r\n:2\r\n"}, NULL},
    {CLASS_CONCAT, {"*1\r\n:1\r\n", ":2\r\n"}, NULL},
    {CLASS_STREAMS, {"*-1\r\n", "*1\r\n:1\r\n", "*-1\r\n"}, "*1\r\n:1\r\n"},
    {CLASS_STREAMS, {"*-1\r\n", "*-1\r\n"}, "*-1\r\n"},
    {CLASS_STREAMS, {"_\r\n", "%1\r\n:1\r\n:2\r\n"}, "%1\r\n:1\r\n:2\r\n"},
    {CLASS_AND, {"*2\r\n:1\r\n:1\r\n", "*2\r\n:0\r\n:1\r\n"}, "*2\r\n:0\r\n:1\r\n"},
    {CLASS_AND, {"*2\r\n:1\r\n:1\r\n", "*1\r\n:1\r\n"}, NULL},
    {CLASS_AND, {"*1\r\n:1\r\n", "*1\r\n+1\r\n"}, NULL},
    {CLASS_PAIRS,
     {"*2\r\n$1\r\na\r\n:2\r\n", "*2\r\n$1\r\na\r\n:3\r\n"},
     "*2\r\n$1\r\na\r\n:5\r\n"},
    {CLASS_PAIRS, {"*2\r\n$1\r\na\r\n:2\r\n", "*2\r\n$1\r\nb\r\n:3\r\n"}, NULL},
    {CLASS_PAIRS, {"*2\r\n$1\r\na\r\n:2\r\n", "*2\r\n$1\r\na\r\n$1\r\n2\r\n"}, NULL},
    {CLASS_ALL_OK, {"+OK\r\n", "+OK\r\n"}, "+OK\r\n"},
    {CLASS_ALL_OK, {"+OK\r\n", "-BUSY x\r\n"}, "-BUSY x\r\n"},
    {CLASS_ONE_OK, {"-NOTBUSY x\r\n", "+OK\r\n", "-ERR y\r\n"}, "+OK\r\n"},
    {CLASS_ONE_OK, {"-NOTBUSY x\r\n", "-UNKILLABLE y\r\n"}, "-UNKILLABLE y\r\n"},
    {CLASS_ONE_OK, {"-NOTBUSY x\r\n", "-NOTBUSY x\r\n"}, "-NOTBUSY x\r\n"},
    {CLASS_PICK, {"$-1\r\n", "$1\r\na\r\n", "$-1\r\n"}, "$1\r\na\r\n"},
    {CLASS_PICK, {"$-1\r\n", "$-1\r\n"}, "$-1\r\n"},
    {CLASS_PICK, {"$-1\r\n", "*0\r\n"}, NULL},
    {CLASS_PICK, {"$-1\r\n", "-ERR x\r\n"}, "-ERR x\r\n"},
};

/* Streams come in the order of the request, whichever server has them. */
static void test_join_streams(void **state)
{
    (void)state;
    const uint16_t part_of[] = {1, 0, 1, 0};
    const struct span of_first[] = {SPAN("b"), SPAN("")};
    const struct span of_second[] = {SPAN("a"), SPAN("a")};
    static const char *const cases[][3] = {
        {"*2\r\n*2\r\n$1\r\nb\r\n*0\r\n*2\r\n$0\r\n\r\n*1\r\n:4\r\n",
         "*2\r\n*2\r\n$1\r\na\r\n*1\r\n:1\r\n*2\r\n$1\r\na\r\n:3\r\n",
         "*4\r\n*2\r\n$1\r\na\r\n*1\r\n:1\r\n*2\r\n$1\r\nb\r\n*0\r\n*2\r\n$1\r\na\r\n:3\r\n"
         "*2\r\n$0\r\n\r\n*1\r\n:4\r\n"},
        {"%1\r\n$0\r\n\r\n*0\r\n", "%1\r\n$1\r\na\r\n*0\r\n",
         "%2\r\n$1\r\na\r\n*0\r\n$0\r\n\r\n*0\r\n"},
        {"_\r\n", "%1\r\n$1\r\na\r\n*0\r\n", "%1\r\n$1\r\na\r\n*0\r\n"},
        {"*-1\r\n", "*-1\r\n", "*-1\r\n"},
        {"*-1\r\n", "*1\r\n*2\r\n$1\r\nx\r\n*0\r\n", NULL},
        {"*-1\r\n", "*1\r\n*2\r\n$1\r\na\r\n", NULL},
        {"*-1\r\n", "*1\r\n*2\r\n$9\r\na\r\n*0\r\n", NULL},
        {"*-1\r\n", "*3\r\n*2\r\n$1\r\na\r\n*0\r\n*2\r\n$1\r\na\r\n*0\r\n*2\r\n$1\r\na\r\n*0\r\n",
         NULL},
        {"*0\r\n", "%0\r\n", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct part_reply parts[] = {{.bytes = span_str(cases[i][0]), .keys = of_first},
                                           {.bytes = span_str(cases[i][1]), .keys = of_second}};
        expect_join(CLASS_STREAMS, parts, 2, part_of, 4,
                    cases[i][2] == NULL ? SPAN("") : span_str(cases[i][2]),
                    cases[i][2] == NULL ? 1 : none);
    }
}

static void test_policies(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(policy_cases); i++) {
        const struct policy_case *p = &policy_cases[i];
        struct part_reply parts[3];
        uint32_t count = 0;
        for (; count < 3 && p->replies[count] != NULL; count++)
            parts[count] = (struct part_reply){.bytes = span_str(p->replies[count]),
                                               .error = p->replies[count][0] == '-'};
        expect_join(p->join, parts, count, NULL, 0,
                    p->joined == NULL ? SPAN("") : span_str(p->joined),
                    p->joined == NULL ? 1 : none);
    }
}

/* What a client sees of the cursor `mine` of server `server` of `servers`; "": no cursor. */
static void expect_cursor(const char *mine, uint32_t server, uint32_t servers, const char *shown)
{
    char reply[96];
    char want[96];
    snprintf(reply, sizeof(reply), "*2\r\n$%zu\r\n%s\r\n*1\r\n$1\r\na\r\n", strlen(mine), mine);
    snprintf(want, sizeof(want), "*2\r\n$%zu\r\n%s\r\n*1\r\n$1\r\na\r\n", strlen(shown), shown);
    const struct part_reply part = {.bytes = span_str(reply), .server = server, .servers = servers};
    bool good = shown[0] != '\0';
    expect_join(CLASS_SCAN, &part, 1, NULL, 0, good ? span_str(want) : SPAN(""), good ? none : 0);
    uint32_t next = 99;
    uint64_t cursor = 99;
    if (!good || strcmp(shown, "0") == 0)
        return;
    assert_true(split_cursor(span_str(shown), servers, &next, &cursor));
    bool over = strcmp(mine, "0") == 0;
    assert_int_equal(next, over ? server + 1 : server);
    assert_int_equal(cursor, over ? 0 : strtoull(mine, NULL, 10));
}

static void test_cursors(void **state)
{
    (void)state;
    expect_cursor("0", 0, 3, "1");
    expect_cursor("0", 1, 3, "2");
    expect_cursor("0", 2, 3, "0");
    expect_cursor("17", 0, 3, "51");
    expect_cursor("17", 2, 3, "53");
    expect_cursor("6148914691236517204", 2, 3, "18446744073709551614");
    /* It does not fit: an error, and no element is lost in silence. */
    expect_cursor("18446744073709551615", 1, 3, "");
    expect_cursor("x", 1, 3, "");
    expect_cursor("", 1, 3, "");
    const struct part_reply null = REPLY("*2\r\n$-1\r\n*0\r\n");
    expect_join(CLASS_SCAN, &null, 1, NULL, 0, SPAN(""), 0);
    const struct part_reply alone = REPLY("*1\r\n$1\r\n0\r\n");
    expect_join(CLASS_SCAN, &alone, 1, NULL, 0, SPAN(""), 0);
    uint32_t server;
    uint64_t cursor;
    assert_false(split_cursor(SPAN("18446744073709551616"), 3, &server, &cursor));
    assert_false(split_cursor(SPAN("-1"), 3, &server, &cursor));
    assert_false(split_cursor(SPAN(""), 3, &server, &cursor));
}

/* 1,000 keys over 100 servers: what each part replies comes from what it was asked. */
static void test_many_parts(void **state)
{
    (void)state;
    enum { KEYS = 1000, PARTS = 100 };
    static uint16_t part_of[KEYS];
    static struct buf replies[PARTS];
    static struct part_reply parts[PARTS];
    static uint32_t counts[PARTS];
    struct buf expected = {0};
    char text[64];
    uint32_t seed = 1;
    for (uint32_t i = 0; i < KEYS; i++) {
        seed = seed * 1103515245u + 12345u;
        part_of[i] = (uint16_t)((seed >> 16) % PARTS);
        counts[part_of[i]]++;
    }
    assert_true(buf_append(&expected, SPAN("*1000\r\n")));
    for (uint32_t i = 0; i < PARTS; i++) {
        int len = snprintf(text, sizeof(text), "*%u\r\n", counts[i]);
        assert_true(buf_append(&replies[i], span_of(text, (size_t)len)));
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        int len = snprintf(text, sizeof(text), "$9\r\nvalue%04u\r\n", i);
        assert_true(buf_append(&replies[part_of[i]], span_of(text, (size_t)len)));
        assert_true(buf_append(&expected, span_of(text, (size_t)len)));
    }
    for (uint32_t i = 0; i < PARTS; i++)
        parts[i].bytes = buf_span(&replies[i]);
    expect_join(CLASS_MGET, parts, PARTS, part_of, KEYS, buf_span(&expected), none);
    for (uint32_t i = 0; i < PARTS; i++)
        buf_free(&replies[i]);
    buf_free(&expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),        cmocka_unit_test(test_join_values),
        cmocka_unit_test(test_join_counts),  cmocka_unit_test(test_join_ok),
        cmocka_unit_test(test_join_errors),  cmocka_unit_test(test_many_parts),
        cmocka_unit_test(test_join_streams), cmocka_unit_test(test_policies),
        cmocka_unit_test(test_cursors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
