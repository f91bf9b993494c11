/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/memcache/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define K50 "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
#define K250 K50 K50 K50 K50 K50

/* Parses from an exact copy, so that a byte too far is seen by a sanitizer. */
static enum parse feed(struct reply_parser *p, uint8_t expect, struct span in, size_t *used)
{
    char *copy = malloc(in.len > 0 ? in.len : 1);
    assert_non_null(copy);
    memcpy(copy, in.ptr, in.len);
    enum parse said = memcache_parse_reply(p, expect, span_of(copy, in.len), used);
    free(copy);
    return said;
}

struct wanted {
    struct span in; /* the reply */
    uint8_t expect;
    bool error;
};

/* The last piece of a reply, with the next one behind it. */
static void finish(struct reply_parser *p, const struct wanted *w, size_t from)
{
    static const char behind[] = "END\r\n";
    char *text = malloc(w->in.len + sizeof(behind));
    assert_non_null(text);
    memcpy(text, w->in.ptr, w->in.len);
    memcpy(text + w->in.len, behind, sizeof(behind));
    size_t used;
    enum parse said =
        feed(p, w->expect, span_of(text + from, w->in.len - from + sizeof(behind)), &used);
    free(text);
    if (said != PARSE_DONE || used != w->in.len - from || p->error != w->error)
        fail_msg("%.*s: from %zu: said %d, used %zu, error %d", (int)w->in.len, w->in.ptr, from,
                 said, used, p->error);
}

/* The same must come of a reply that is whole, cut in two at each place, and byte by byte. */
static void check(const struct wanted *w)
{
    size_t used;
    for (size_t first = 0; first < w->in.len; first++) {
        struct reply_parser p = {0};
        enum parse said = feed(&p, w->expect, span_of(w->in.ptr, first), &used);
        if (said != PARSE_MORE || used != first)
            fail_msg("%.*s: cut at %zu: said %d", (int)w->in.len, w->in.ptr, first, said);
        finish(&p, w, first);
    }
    struct reply_parser p = {0};
    for (size_t i = 0; i + 1 < w->in.len; i++) {
        assert_int_equal(feed(&p, w->expect, span_of(w->in.ptr + i, 1), &used), PARSE_MORE);
        assert_int_equal(used, 1);
    }
    finish(&p, w, w->in.len - 1);
}

static void test_lines(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        {SPAN("STORED\r\n"), EXPECT_STORED, false},
        {SPAN("NOT_STORED\r\n"), EXPECT_STORED, false},
        {SPAN("STORED\r\n"), EXPECT_CAS, false},
        {SPAN("NOT_STORED\r\n"), EXPECT_CAS, false},
        {SPAN("EXISTS\r\n"), EXPECT_CAS, false},
        {SPAN("NOT_FOUND\r\n"), EXPECT_CAS, false},
        {SPAN("DELETED\r\n"), EXPECT_DELETED, false},
        {SPAN("NOT_FOUND\r\n"), EXPECT_DELETED, false},
        {SPAN("TOUCHED\r\n"), EXPECT_TOUCHED, false},
        {SPAN("NOT_FOUND\r\n"), EXPECT_TOUCHED, false},
        {SPAN("0\r\n"), EXPECT_NUMBER, false},
        {SPAN("18446744073709551615\r\n"), EXPECT_NUMBER, false},
        {SPAN("9 \r\n"), EXPECT_NUMBER, false},
        {SPAN("NOT_FOUND\r\n"), EXPECT_NUMBER, false},
        {SPAN("VERSION 1.6.18\r\n"), EXPECT_VERSION, false},
        {SPAN("HD\r\n"), EXPECT_META_GET, false},
        {SPAN("EN\r\n"), EXPECT_META_GET, false},
        {SPAN("EN kZm9v b O1\r\n"), EXPECT_META_GET, false},
        {SPAN("VA 2\r\nhi\r\n"), EXPECT_META_GET, false},
        {SPAN("VA 0 s0 ka O1\r\n\r\n"), EXPECT_META_GET, false},
        {SPAN("VA 7 X W\r\nEN\r\nHD\r\r\n"), EXPECT_META_GET, false},
        {SPAN("HD c5 ka\r\n"), EXPECT_META_SET, false},
        {SPAN("NS\r\n"), EXPECT_META_SET, false},
        {SPAN("EX\r\n"), EXPECT_META_SET, false},
        {SPAN("NF O1\r\n"), EXPECT_META_SET, false},
        {SPAN("NF\r\n"), EXPECT_META_DELETE, false},
        {SPAN("VA 20 t-1\r\n18446744073709551615\r\n"), EXPECT_META_NUMBER, false},
        {SPAN("NF\r\n"), EXPECT_META_NUMBER, false},
        {SPAN("ME a exp=-1 la=0 cas=1 fetch=no cls=1 size=63\r\n"), EXPECT_META_DEBUG, false},
        {SPAN("EN\r\n"), EXPECT_META_DEBUG, false},
        {SPAN("CLIENT_ERROR invalid flag\r\n"), EXPECT_META_SET, true},
        {SPAN("ERROR\r\n"), EXPECT_META_GET, true},
        {SPAN("VERSION 1.6.18-a-long-name-of-a-distribution\r\n"), EXPECT_VERSION, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(w); i++)
        check(&w[i]);
}

static void test_errors(void **state)
{
    (void)state;
    static const struct span lines[] = {
        SPAN("ERROR\r\n"),
        SPAN("ERROR Too many open connections\r\n"),
        SPAN("CLIENT_ERROR bad data chunk\r\n"),
        SPAN("CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
        SPAN("SERVER_ERROR out of memory storing object\r\n"),
        SPAN("SERVER_ERROR a lone \r in it, just where the kept bytes end\r\n"),
        SPAN("SERVER_ERROR 0123456789\r0123\r\n"),
        SPAN("SERVER_ERROR\r\n"),
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        for (int expect = EXPECT_NOTHING; expect <= EXPECT_VALUES; expect++)
            check(&(struct wanted){lines[i], (uint8_t)expect, true});
    }
}

static void test_values(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        {SPAN("END\r\n"), EXPECT_VALUES, false},
        {SPAN("VALUE a 0 1\r\nX\r\nEND\r\n"), EXPECT_VALUES, false},
        {SPAN("VALUE a 0 0\r\n\r\nEND\r\n"), EXPECT_VALUES, false},
        {SPAN("VALUE a 4294967295 5 18446744073709551615\r\nEND\r\n\r\nEND\r\n"), EXPECT_VALUES,
         false},
        {SPAN("VALUE " K250 " 0 3\r\nabc\r\nVALUE b\r\t 1 2 3\r\n\r\n\r\nEND\r\n"), EXPECT_VALUES,
         false},
        {SPAN("VALUE a 0 12\r\nSERVER_ERROR\r\nSERVER_ERROR out of memory\r\n"), EXPECT_VALUES,
         true},
    };
    for (size_t i = 0; i < ARRAY_LEN(w); i++)
        check(&w[i]);
}

/* Whole or byte by byte: not a reply. */
static void check_bad(uint8_t expect, struct span in)
{
    struct reply_parser p = {0};
    size_t used;
    if (feed(&p, expect, in, &used) != PARSE_BAD)
        fail_msg("%.*s: taken for a reply to %d", (int)in.len, in.ptr, expect);
    p = (struct reply_parser){0};
    for (size_t i = 0; i < in.len; i++) {
        enum parse said = feed(&p, expect, span_of(in.ptr + i, 1), &used);
        assert_int_not_equal(said, PARSE_DONE);
        if (said == PARSE_BAD)
            return;
    }
    fail_msg("%.*s: taken for a reply to %d, byte by byte", (int)in.len, in.ptr, expect);
}

static void test_bad_lines(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        {SPAN("STORED\n"), EXPECT_STORED, false},
        {SPAN("\r\n"), EXPECT_STORED, false},
        {SPAN("\n"), EXPECT_STORED, false},
        {SPAN("stored\r\n"), EXPECT_STORED, false},
        {SPAN("STORE\r\n"), EXPECT_STORED, false},
        {SPAN("STORED \r\n"), EXPECT_STORED, false},
        {SPAN("STORED\r\r\n"), EXPECT_STORED, false},
        {SPAN("EXISTS\r\n"), EXPECT_STORED, false},
        {SPAN("DELETED\r\n"), EXPECT_STORED, false},
        {SPAN("END\r\n"), EXPECT_STORED, false},
        {SPAN("STORED\r\n"), EXPECT_DELETED, false},
        {SPAN("DELETED\r\n"), EXPECT_TOUCHED, false},
        {SPAN("EXISTS\r\n"), EXPECT_NUMBER, false},
        {SPAN("-1\r\n"), EXPECT_NUMBER, false},
        {SPAN("1x\r\n"), EXPECT_NUMBER, false},
        {SPAN("123456789012345678901\r\n"), EXPECT_NUMBER, false},
        {SPAN("1.6.18\r\n"), EXPECT_VERSION, false},
        {SPAN("ERRORS\r\n"), EXPECT_STORED, false},
        {SPAN("SERVER_ERRORS\r\n"), EXPECT_STORED, false},
        {SPAN("STORED\r\n"), EXPECT_NOTHING, false},
        {SPAN("VALUE a 0 1\r\nX\r\nEND\r\n"), EXPECT_VERSION, false},
        {SPAN("H\r\n"), EXPECT_META_GET, false},
        {SPAN("HDX\r\n"), EXPECT_META_GET, false},
        {SPAN("hd\r\n"), EXPECT_META_GET, false},
        {SPAN("HD\n"), EXPECT_META_GET, false},
        {SPAN("NF\r\n"), EXPECT_META_GET, false},
        {SPAN("VA\r\n"), EXPECT_META_GET, false},
        {SPAN("VA \r\n\r\n"), EXPECT_META_GET, false},
        {SPAN("VA -1\r\n\r\n"), EXPECT_META_GET, false},
        {SPAN("VA 1x\r\nX\r\n"), EXPECT_META_GET, false},
        {SPAN("VA 2147483648\r\n"), EXPECT_META_GET, false},
        {SPAN("VA 1\r\nXY\r\n"), EXPECT_META_GET, false},
        {SPAN("VA 1\r\nX\r\n"), EXPECT_META_SET, false},
        {SPAN("EN\r\n"), EXPECT_META_SET, false},
        {SPAN("STORED\r\n"), EXPECT_META_SET, false},
        {SPAN("ERROR\r\n"), EXPECT_META_SET, false}, /* it read the data as requests */
        {SPAN("MN\r\n"), EXPECT_META_DELETE, false},
        {SPAN("HD\r\n"), EXPECT_META_DEBUG, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(w); i++)
        check_bad(w[i].expect, w[i].in);
}

static void test_bad_values(void **state)
{
    (void)state;
    static const struct span in[] = {
        SPAN("\r\n"),
        SPAN("END\n"),
        SPAN("ENDS\r\n"),
        SPAN("STORED\r\n"),
        SPAN("VALUES a 0 1\r\nX\r\nEND\r\n"),
        SPAN("EALUE a 0 1\r\nX\r\nEND\r\n"),
        SPAN("VALUE  0 1\r\nX\r\nEND\r\n"),
        SPAN("VALUE a\r\nb 0 1\r\nX\r\nEND\r\n"),
        SPAN("VALUE " K250 "k 0 1\r\nX\r\nEND\r\n"),
        SPAN("VALUE a  1\r\nX\r\nEND\r\n"),
        SPAN("VALUE a -1 1\r\nX\r\nEND\r\n"),
        SPAN("VALUE a 0\r\nX\r\nEND\r\n"),
        SPAN("VALUE a 0 \r\nX\r\nEND\r\n"),
        SPAN("VALUE a 0 1 \r\nX\r\nEND\r\n"),
        SPAN("VALUE a 0 1 2 3\r\nX\r\nEND\r\n"),
        SPAN("VALUE a 0 1x\r\nX\r\nEND\r\n"),
        SPAN("VALUE a 0 1\nX\r\nEND\r\n"),
        SPAN("VALUE a 0 1\r\nXY\r\nEND\r\n"),
        SPAN("VALUE a 0 1\r\nX\n\nEND\r\n"),
        SPAN("VALUE a 0 1\r\nX\r\rEND\r\n"),
        SPAN("VALUE a 0 2147483648\r\nX"),
        SPAN("VALUE a 0 99999999999999999999\r\nX"),
        SPAN("VALUE a 12345678901 1\r\nX\r\nEND\r\n"),
        SPAN("VALUE a 0 1 123456789012345678901\r\nX\r\nEND\r\n"),
        SPAN("VALUE a 0 1\r\nX\r\nDELETED\r\n"),
    };
    for (size_t i = 0; i < ARRAY_LEN(in); i++)
        check_bad(EXPECT_VALUES, in[i]);
}

/* A line without end is given up. */
static void test_long_line(void **state)
{
    (void)state;
    struct reply_parser p = {0};
    size_t used;
    assert_int_equal(feed(&p, EXPECT_STORED, SPAN("SERVER_ERROR "), &used), PARSE_MORE);
    enum parse said = PARSE_MORE;
    for (int i = 0; i < 100 && said == PARSE_MORE; i++)
        said = feed(&p, EXPECT_STORED, SPAN(K250), &used);
    assert_int_equal(said, PARSE_BAD);
}

/* A large value is passed over without being kept. */
static void test_large_value(void **state)
{
    (void)state;
    struct reply_parser p = {0};
    size_t used;
    assert_int_equal(feed(&p, EXPECT_VALUES, SPAN("VALUE a 0 250000000\r\n"), &used), PARSE_MORE);
    for (int i = 0; i < 1000 * 1000; i++)
        assert_int_equal(memcache_parse_reply(&p, EXPECT_VALUES, SPAN(K250), &used), PARSE_MORE);
    assert_int_equal(feed(&p, EXPECT_VALUES, SPAN("\r\nEND\r\n"), &used), PARSE_DONE);
}

struct joining {
    struct part_reply parts[3];
    uint32_t part_count;
    uint16_t part_of[6];
    uint32_t key_count;
    const char *wanted; /* NULL: it must fail and name `bad` */
    uint32_t bad;
    uint8_t join;
};

static void assert_chain(const struct chain *c, const char *wanted)
{
    struct buf flat = {0};
    for (const struct chunk *k = c->first; k != NULL; k = k->next)
        assert_true(buf_append(&flat, span_of(k->data + k->head, k->tail - k->head)));
    if (!span_eq(buf_span(&flat), span_str(wanted)))
        fail_msg("got '%.*s', not '%s'", (int)buf_len(&flat), buf_span(&flat).ptr, wanted);
    buf_free(&flat);
}

static void check_join(const struct joining *j)
{
    struct chunk_pool pool = {0};
    struct chain out = {0};
    uint32_t bad = 77;
    assert_true(chain_append(&out, &pool, SPAN("before|")));
    bool good = memcache_join(j->join, j->parts, j->part_count, j->part_of, j->key_count, &pool,
                              &out, &bad);
    assert_int_equal(good, j->wanted != NULL);
    assert_int_equal(bad, good ? UINT32_MAX : j->bad);
    char text[512];
    snprintf(text, sizeof(text), "before|%s", good ? j->wanted : "");
    assert_chain(&out, text);
    chain_clear(&out, &pool);
    chunk_pool_free(&pool);
}

#define GOOD(text)                                                                                 \
    {                                                                                              \
        SPAN(text), false, false                                                                   \
    }
#define FAILED(text)                                                                               \
    {                                                                                              \
        SPAN(text), true, false                                                                    \
    }
#define REFUSED(text)                                                                              \
    {                                                                                              \
        SPAN(text), false, true                                                                    \
    }
#define BLOCK(key, data) "VALUE " key " 0 1\r\n" data "\r\n"

static void test_join(void **state)
{
    (void)state;
    static const struct joining cases[] = {
        /* the order of the keys, one of them twice */
        {{GOOD(BLOCK("a", "A") BLOCK("c", "C") BLOCK("a", "A") "END\r\n"),
          GOOD(BLOCK("b", "B") "END\r\n")},
         2,
         {0, 1, 0, 0},
         4,
         BLOCK("a", "A") BLOCK("b", "B") BLOCK("c", "C") BLOCK("a", "A") "END\r\n",
         0},
        /* misses */
        {{GOOD("END\r\n"), GOOD("END\r\n")}, 2, {0, 1, 0}, 3, "END\r\n", 0},
        {{GOOD("END\r\n"), GOOD(BLOCK("b", "B") "END\r\n")},
         2,
         {0, 1, 0},
         3,
         BLOCK("b", "B") "END\r\n",
         0},
        /* a dead server: the hits, then its error */
        {{GOOD(BLOCK("a", "A") "END\r\n"), FAILED("SERVER_ERROR gone\r\n")},
         2,
         {0, 1},
         2,
         BLOCK("a", "A") "SERVER_ERROR gone\r\n",
         0},
        /* a server's own error, behind a hit of its own */
        {{REFUSED(BLOCK("a", "A") "SERVER_ERROR out of memory\r\n"),
          GOOD(BLOCK("b", "B") "END\r\n")},
         2,
         {1, 0, 0},
         3,
         BLOCK("b", "B") BLOCK("a", "A") "SERVER_ERROR out of memory\r\n",
         0},
        /* two errors: one line */
        {{REFUSED("ERROR\r\n"), FAILED("SERVER_ERROR gone\r\n"), GOOD("END\r\n")},
         3,
         {0, 1, 2},
         3,
         "ERROR\r\n",
         0},
        {{FAILED("SERVER_ERROR one\r\n"), FAILED("SERVER_ERROR two\r\n")},
         2,
         {0, 1},
         2,
         "SERVER_ERROR one\r\n",
         0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_join(&cases[i]);
}

/* All said OK, or the whole is the errors of those that did not. */
static void test_join_ok(void **state)
{
    (void)state;
    static const struct joining cases[] = {
        {{GOOD("OK\r\n"), GOOD("OK\r\n"), GOOD("OK\r\n")}, 3, {0}, 0, "OK\r\n", 0, JOIN_OK},
        {{GOOD("OK\r\n"), FAILED("SERVER_ERROR gone\r\n"), GOOD("OK\r\n")},
         3,
         {0},
         0,
         "SERVER_ERROR gone\r\n",
         0,
         JOIN_OK},
        {{REFUSED("CLIENT_ERROR flush_all not allowed\r\n"), GOOD("OK\r\n"),
          FAILED("SERVER_ERROR gone\r\n")},
         3,
         {0},
         0,
         "CLIENT_ERROR flush_all not allowed; SERVER_ERROR gone\r\n",
         0,
         JOIN_OK},
        /* There was no memory for the error line. */
        /* A mere ERROR stays the word that clients know. */
        {{REFUSED("ERROR\r\n"), FAILED("SERVER_ERROR b\r\n"), REFUSED("ERROR\r\n")},
         3,
         {0},
         0,
         "ERROR ; SERVER_ERROR b ; ERROR\r\n",
         0,
         JOIN_OK},
        {{GOOD("OK\r\n"), FAILED(""), GOOD("OK\r\n")}, 3, {0}, 0, NULL, UINT32_MAX, JOIN_OK},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_join(&cases[i]);
}

/* Parts that have not the shape they must have; nothing is joined of them. */
static void test_join_bad(void **state)
{
    (void)state;
    static const struct joining cases[] = {
        /* more blocks than keys */
        {{GOOD("END\r\n"), GOOD(BLOCK("a", "A") BLOCK("b", "B") "END\r\n")}, 2, {0, 1}, 2, NULL, 1},
        {{GOOD("STORED\r\n"), GOOD("END\r\n")}, 2, {0, 1}, 2, NULL, 0},
        {{GOOD(""), GOOD("END\r\n")}, 2, {0, 1}, 2, NULL, 0},
        {{GOOD("VALUE a 0 9\r\nA\r\nEND\r\n"), GOOD("END\r\n")}, 2, {0, 1}, 2, NULL, 0},
        {{GOOD("VALUE a 0 x\r\nA\r\nEND\r\n"), GOOD("END\r\n")}, 2, {0, 1}, 2, NULL, 0},
        {{GOOD("END\r\n"), FAILED("")}, 2, {0, 1}, 2, NULL, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_join(&cases[i]);
}

static void test_own_lines(void **state)
{
    (void)state;
    struct buf out = {0};
    assert_true(proto_memcache.error(&out, SPAN("Connection refused")));
    assert_true(span_eq(buf_span(&out), SPAN("SERVER_ERROR Connection refused\r\n")));
    buf_clear(&out);
    assert_true(proto_memcache.error_cross(&out, NULL));
    assert_int_equal(memcmp(buf_span(&out).ptr, "SERVER_ERROR ", 13), 0);
    buf_clear(&out);
    uint8_t expect;
    assert_int_equal(proto_memcache.handshake(NULL, &out, &expect), 0);
    assert_int_equal(buf_len(&out), 0);
    assert_false(proto_memcache.handshake_ok(0, SPAN("STORED\r\n")));
    struct reply_parser p = {.state = 3, .left = 7};
    static const struct reply_parser fresh = {0};
    proto_memcache.reply_reset(&p);
    assert_memory_equal(&p, &fresh, sizeof(p));
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),       cmocka_unit_test(test_errors),
        cmocka_unit_test(test_values),      cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_bad_values),  cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_large_value), cmocka_unit_test(test_join),
        cmocka_unit_test(test_join_bad),    cmocka_unit_test(test_join_ok),
        cmocka_unit_test(test_own_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
