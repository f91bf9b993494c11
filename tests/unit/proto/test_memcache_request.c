/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/memcache/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/memcache/meta.h"
#include "proto/memcache/reply.h"

#define K50 "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
#define K250 K50 K50 K50 K50 K50
#define ERROR_LINE "ERROR\r\n"
#define BAD_DELETE "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n"
#define BAD_CHUNK "CLIENT_ERROR bad data chunk\r\n"
#define BAD_DELTA "CLIENT_ERROR invalid numeric delta argument\r\n"
#define REFUSED_FORMAT "CLIENT_ERROR bad command line format\r\n"
#define REFUSED_EXPTIME "CLIENT_ERROR invalid exptime argument\r\n"

/* A client whose requests are read. */
struct reader {
    struct proto_settings settings;
    struct proto_session session;
    struct request_parser parser;
    struct args args;
    struct buf scratch;
    struct request_view view;
};

static void reader_init(struct reader *r)
{
    *r = (struct reader){0};
    r->settings.allow_flush = true;
    r->session.settings = &r->settings;
    r->parser.args = &r->args;
}

static void reader_free(struct reader *r)
{
    args_free(&r->args);
    buf_free(&r->scratch);
}

/* Parses from an exact copy, so that a byte too far is seen by a sanitizer. */
static enum parse feed(struct reader *r, struct span in, char **copy)
{
    *copy = malloc(in.len + 1);
    assert_non_null(*copy);
    char *exact = realloc(*copy, in.len > 0 ? in.len : 1);
    assert_non_null(exact);
    *copy = exact;
    memcpy(*copy, in.ptr, in.len);
    /* Whatever was in a view before, none of it may be left in what its reader looks at. */
    memset(&r->view, 0xff, sizeof(r->view));
    enum parse said = memcache_parse_request(&r->parser, &r->session, span_of(*copy, in.len),
                                             &r->scratch, &r->view);
    assert_false(r->view.about);
    assert_false(r->view.named);
    return said;
}

/* What must come of one request. */
struct wanted {
    struct span in;
    enum request_kind kind;
    size_t len;       /* bytes it takes; 0: all of `in` */
    const char *text; /* what is forwarded, or answered; NULL: `in` itself */
    const char *key;  /* NULL: none */
    uint8_t expect;
    bool quiet;
    bool close;
    uint64_t skip; /* bytes that are to be dropped behind it */
    uint8_t hush;
};

static void assert_span(struct span is, struct span wanted, struct span in)
{
    if (!span_eq(is, wanted))
        fail_msg("%.*s: got '%.*s', not '%.*s'", (int)in.len, in.ptr, (int)is.len, is.ptr,
                 (int)wanted.len, wanted.ptr);
}

static void check_view(const struct reader *r, const struct wanted *w)
{
    const struct request_view *v = &r->view;
    if (v->kind != w->kind)
        fail_msg("%.*s: kind %d, not %d", (int)w->in.len, w->in.ptr, v->kind, w->kind);
    assert_int_equal(v->len, w->len == 0 ? w->in.len : w->len);
    assert_int_equal(v->quiet, w->quiet);
    assert_int_equal(v->close, w->close);
    assert_int_equal(r->session.skip, w->skip);
    if (w->kind == REQUEST_LOCAL)
        assert_span(v->reply, span_str(w->text), w->in);
    if (w->kind == REQUEST_LOCAL || w->kind == REQUEST_NONE)
        return;
    assert_span(v->wire, w->text == NULL ? span_of(w->in.ptr, v->len) : span_str(w->text), w->in);
    assert_int_equal(v->expect, w->expect);
    assert_int_equal(v->hush, w->hush);
    assert_int_equal(request_key_count(v) > 0, w->key != NULL);
    if (w->key != NULL)
        assert_span(request_key(v, 0), span_str(w->key), w->in);
}

/* Reads the request when it comes whole, with other bytes behind it, in two pieces cut at each
 * place, and byte by byte: always the same must come of it. */
static void check(const struct wanted *w)
{
    size_t len = w->len == 0 ? w->in.len : w->len;
    char *copy;
    for (size_t first = 1; first <= len; first++) {
        struct reader r;
        reader_init(&r);
        if (first < len) {
            if (feed(&r, span_of(w->in.ptr, first), &copy) != PARSE_MORE)
                fail_msg("%.*s: not MORE when cut at %zu", (int)w->in.len, w->in.ptr, first);
            free(copy);
        }
        if (feed(&r, w->in, &copy) != PARSE_DONE)
            fail_msg("%.*s: not DONE when cut at %zu", (int)w->in.len, w->in.ptr, first);
        check_view(&r, w);
        free(copy);
        reader_free(&r);
    }
    struct reader r;
    reader_init(&r);
    for (size_t have = 0; have < len; have++) {
        assert_int_equal(feed(&r, span_of(w->in.ptr, have), &copy), PARSE_MORE);
        free(copy);
    }
    assert_int_equal(feed(&r, span_of(w->in.ptr, len), &copy), PARSE_DONE);
    check_view(&r, w);
    free(copy);
    reader_free(&r);
}

static void check_all(const struct wanted *w, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check(&w[i]);
}

#define FORWARD(in, text, key, expect)                                                             \
    {                                                                                              \
        SPAN(in), REQUEST_FORWARD, 0, text, key, expect, false, false, 0                           \
    }
#define QUIET(in, text, key, expect)                                                               \
    {                                                                                              \
        SPAN(in), REQUEST_FORWARD, 0, text, key, expect, true, false, 0                            \
    }
/* A refused line: what stands behind it is read on its own. */
#define REFUSE(line, text)                                                                         \
    {                                                                                              \
        SPAN(line "X\r\n"), REQUEST_LOCAL, sizeof(line) - 1, text, NULL, 0, false, false, 0        \
    }
#define IGNORE(line)                                                                               \
    {                                                                                              \
        SPAN(line "X\r\n"), REQUEST_NONE, sizeof(line) - 1, NULL, NULL, 0, false, false, 0         \
    }
#define CLOSE(line)                                                                                \
    {                                                                                              \
        SPAN(line), REQUEST_LOCAL, 0, "", NULL, 0, false, true, 0                                  \
    }

static void test_get(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        FORWARD("get a\r\n", NULL, "a", EXPECT_VALUES),
        FORWARD("gets a\r\n", NULL, "a", EXPECT_VALUES),
        FORWARD("get " K250 "\r\n", NULL, K250, EXPECT_VALUES),
        FORWARD("get a\tb\r\n", NULL, "a\tb", EXPECT_VALUES),
        FORWARD("get a\rb\r\n", NULL, "a\rb", EXPECT_VALUES),
        FORWARD("get \x01\xff\r\n", NULL, "\x01\xff", EXPECT_VALUES),
        FORWARD("get a\r\r\n", NULL, "a\r", EXPECT_VALUES),
        FORWARD("get noreply\r\n", NULL, "noreply", EXPECT_VALUES),
        FORWARD("get a\n", "get a\r\n", "a", EXPECT_VALUES),
        FORWARD("get a \n", "get a\r\n", "a", EXPECT_VALUES),
        FORWARD("get  a\r\n", "get a\r\n", "a", EXPECT_VALUES),
        FORWARD(" get a\r\n", "get a\r\n", "a", EXPECT_VALUES),
        FORWARD("get a \r\n", "get a\r\n", "a", EXPECT_VALUES),
        FORWARD("get a\0b\r\n", "get a\r\n", "a", EXPECT_VALUES),
        REFUSE("get\r\n", ERROR_LINE),
        REFUSE("get \r\n", ERROR_LINE),
        REFUSE("get\ta\r\n", ERROR_LINE),
        REFUSE("GET a\r\n", ERROR_LINE),
        REFUSE("get " K250 "k\r\n", REFUSED_FORMAT),
        REFUSE("get a " K250 "k b\r\n", REFUSED_FORMAT),
    };
    check_all(w, ARRAY_LEN(w));
}

static void test_multi_get(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        {SPAN("get a b\r\n"), REQUEST_SPLIT, 0, NULL, "a", EXPECT_VALUES, false, false, 0},
        {SPAN("gets a b a\r\n"), REQUEST_SPLIT, 0, NULL, "a", EXPECT_VALUES, false, false, 0},
        {SPAN("get a  b \n"), REQUEST_SPLIT, 0, "get a b\r\n", "a", EXPECT_VALUES, false, false, 0},
    };
    check_all(w, ARRAY_LEN(w));
}

/* Only the line up to LF is one request; a bare LF does not glue two of them together. */
static void test_two_lines(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        {SPAN("get a\nget b\r\n"), REQUEST_FORWARD, 6, "get a\r\n", "a", EXPECT_VALUES, false,
         false, 0},
        {SPAN("get a\r\nget b\r\n"), REQUEST_FORWARD, 7, NULL, "a", EXPECT_VALUES, false, false, 0},
    };
    check_all(w, ARRAY_LEN(w));
}

static void test_single_server(void **state)
{
    (void)state;
    struct reader r;
    reader_init(&r);
    r.settings.single_server = true;
    char *copy;
    assert_int_equal(feed(&r, SPAN("get a b\r\n"), &copy), PARSE_DONE);
    assert_int_equal(r.view.kind, REQUEST_FORWARD);
    assert_int_equal(request_key_count(&r.view), 2);
    free(copy);
    reader_free(&r);
}

static void test_store(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        FORWARD("set a 0 0 1\r\nX\r\n", NULL, "a", EXPECT_STORED),
        FORWARD("add a 1 2 3\r\nXYZ\r\n", NULL, "a", EXPECT_STORED),
        FORWARD("replace a 0 0 1\r\nX\r\n", NULL, "a", EXPECT_STORED),
        FORWARD("append a 0 0 1\r\nX\r\n", NULL, "a", EXPECT_STORED),
        FORWARD("prepend a 0 0 1\r\nX\r\n", NULL, "a", EXPECT_STORED),
        FORWARD("cas a 0 0 1 7\r\nX\r\n", NULL, "a", EXPECT_CAS),
        FORWARD("set a 0 0 0\r\n\r\n", NULL, "a", EXPECT_STORED),
        FORWARD("set a 0 0 5\r\n\r\n\r\n\n\r\n", NULL, "a", EXPECT_STORED),
        FORWARD("set " K250 " 0 0 1\r\nX\r\n", NULL, K250, EXPECT_STORED),
        FORWARD("set a 0 0 003\r\nXYZ\r\n", NULL, "a", EXPECT_STORED),
        FORWARD("set noreply 0 0 1\r\nX\r\n", NULL, "noreply", EXPECT_STORED),
    };
    check_all(w, ARRAY_LEN(w));
}

/* memcached takes these as one request; others may not, so they are sent in the plain form. */
static void test_store_canonical(void **state)
{
    (void)state;
#define PLAIN "set a 0 0 1\r\nX\r\n"
    static const struct wanted w[] = {
        FORWARD("set a 0 0 1\nX\r\n", PLAIN, "a", EXPECT_STORED),
        FORWARD(" set  a 0 0 1 \r\nX\r\n", PLAIN, "a", EXPECT_STORED),
        FORWARD("set a 0 0 +1\r\nX\r\n", PLAIN, "a", EXPECT_STORED),
        FORWARD("set a 0 0 1 x\r\nX\r\n", PLAIN, "a", EXPECT_STORED),
        FORWARD("set a 0 0 1 NOREPLY\r\nX\r\n", PLAIN, "a", EXPECT_STORED),
        FORWARD("set a 0 0 4294967297\r\nX\r\n", PLAIN, "a", EXPECT_STORED),
        FORWARD("set a 4294967296 0 1\r\nX\r\n", PLAIN, "a", EXPECT_STORED),
        FORWARD("set a 0 0 00000000000000000001\r\nX\r\n", PLAIN, "a", EXPECT_STORED),
        FORWARD("set a 0 0 1\0noreply\r\nX\r\n", PLAIN, "a", EXPECT_STORED),
        FORWARD("set a \t0 0\r 1\x0bx\r\nX\r\n", PLAIN, "a", EXPECT_STORED),
        FORWARD("set a -18446744073709551615 2147483648 1\r\nX\r\n",
                "set a 1 -2147483648 1\r\nX\r\n", "a", EXPECT_STORED),
        FORWARD("set a 4294967295 -1 1\r\nX\r\n", NULL, "a", EXPECT_STORED),
        FORWARD("cas a 0 0 1 18446744073709551615 x\r\nX\r\n",
                "cas a 0 0 1 18446744073709551615\r\nX\r\n", "a", EXPECT_CAS),
        QUIET("set a 0 0 1 noreply\r\nX\r\n", PLAIN, "a", EXPECT_STORED),
        QUIET("set a 0 0 1  noreply \r\nX\r\n", PLAIN, "a", EXPECT_STORED),
        QUIET("cas a 0 0 1 5 noreply\r\nX\r\n", "cas a 0 0 1 5\r\nX\r\n", "a", EXPECT_CAS),
    };
    check_all(w, ARRAY_LEN(w));
}

static void test_store_refused(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        REFUSE("set\r\n", ERROR_LINE),
        REFUSE("set a 0 0\r\n", ERROR_LINE),
        REFUSE("set a 0 noreply\r\n", ERROR_LINE),
        REFUSE("set a 0 0 1 noreply x\r\n", ERROR_LINE),
        REFUSE("set a 0 0 1 x noreply\r\n", ERROR_LINE),
        REFUSE("set a\0 0 0 1\r\n", ERROR_LINE),
        REFUSE("SET a 0 0 1\r\n", ERROR_LINE),
        REFUSE("cas a 0 0 1\r\n", ERROR_LINE),
        REFUSE("set " K250 "k 0 0 1\r\n", REFUSED_FORMAT),
        REFUSE("set a x 0 1\r\n", REFUSED_FORMAT),
        REFUSE("set a -1 0 1\r\n", REFUSED_FORMAT),
        REFUSE("set a 0 x 1\r\n", REFUSED_FORMAT),
        REFUSE("set a 0 0 x\r\n", REFUSED_FORMAT),
        REFUSE("set a 0 0 -1\r\n", REFUSED_FORMAT),
        REFUSE("set a 0 0 2147483646\r\n", REFUSED_FORMAT),
        REFUSE("set a 0 0 2147483648\r\n", REFUSED_FORMAT),
        REFUSE("set a 0 0 9223372036854775808\r\n", REFUSED_FORMAT),
        REFUSE("set k 99999999999999999999999999 0 3\r\n", REFUSED_FORMAT),
        REFUSE("cas a 0 0 1 -1\r\n", REFUSED_FORMAT),
        REFUSE("cas a 0 0 1 18446744073709551616\r\n", REFUSED_FORMAT),
        IGNORE("set a 0 0 x noreply\r\n"),
        IGNORE("set a 0 0 noreply\r\n"),
        IGNORE("set " K250 "k 0 0 1 noreply\r\n"),
        IGNORE("cas a 0 0 1 noreply\r\n"),
    };
    check_all(w, ARRAY_LEN(w));
}

/* A data block that does not end as it must is taken with its two bytes; what follows is read as
 * commands. */
static void test_bad_chunk(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        {SPAN("set a 0 0 1\r\nXY\r\n"), REQUEST_LOCAL, 16, BAD_CHUNK, NULL, 0, false, false, 0},
        {SPAN("set a 0 0 1\r\nX\nv"), REQUEST_LOCAL, 16, BAD_CHUNK, NULL, 0, false, false, 0},
        {SPAN("set a 0 0 -0\r\nX\r\n"), REQUEST_LOCAL, 16, BAD_CHUNK, NULL, 0, false, false, 0},
        {SPAN("set a 0 0 1 noreply\r\nXY\r\n"), REQUEST_NONE, 24, NULL, NULL, 0, false, false, 0},
    };
    check_all(w, ARRAY_LEN(w));
}

static void test_arithmetic(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        FORWARD("incr a 1\r\n", NULL, "a", EXPECT_NUMBER),
        FORWARD("decr a 5\r\n", NULL, "a", EXPECT_NUMBER),
        FORWARD("incr a 18446744073709551615\r\n", NULL, "a", EXPECT_NUMBER),
        FORWARD("incr a +1\r\n", "incr a 1\r\n", "a", EXPECT_NUMBER),
        FORWARD("incr a 1 x\r\n", "incr a 1\r\n", "a", EXPECT_NUMBER),
        FORWARD("incr a 1\tx\r\n", "incr a 1\r\n", "a", EXPECT_NUMBER),
        FORWARD("incr noreply 1\r\n", NULL, "noreply", EXPECT_NUMBER),
        QUIET("incr a 1 noreply\r\n", "incr a 1\r\n", "a", EXPECT_NUMBER),
        REFUSE("incr\r\n", ERROR_LINE),
        REFUSE("incr a\r\n", ERROR_LINE),
        REFUSE("incr noreply\r\n", ERROR_LINE),
        REFUSE("incr a 1 x noreply\r\n", ERROR_LINE),
        REFUSE("incr " K250 "k 1\r\n", REFUSED_FORMAT),
        REFUSE("incr a x\r\n", BAD_DELTA),
        REFUSE("incr a -1\r\n", BAD_DELTA),
        REFUSE("incr a 18446744073709551616\r\n", BAD_DELTA),
        IGNORE("incr a noreply\r\n"),
        IGNORE("incr a x noreply\r\n"),
    };
    check_all(w, ARRAY_LEN(w));
}

static void test_touch(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        FORWARD("touch a 10\r\n", NULL, "a", EXPECT_TOUCHED),
        FORWARD("touch a -1\r\n", NULL, "a", EXPECT_TOUCHED),
        FORWARD("touch a 1 x\r\n", "touch a 1\r\n", "a", EXPECT_TOUCHED),
        QUIET("touch a 1 noreply\r\n", "touch a 1\r\n", "a", EXPECT_TOUCHED),
        REFUSE("touch a\r\n", ERROR_LINE),
        REFUSE("touch a 1 noreply x\r\n", ERROR_LINE),
        REFUSE("touch a x\r\n", REFUSED_EXPTIME),
        REFUSE("touch " K250 "k 1\r\n", REFUSED_FORMAT),
        IGNORE("touch a noreply\r\n"),
        IGNORE("touch " K250 "k x noreply\r\n"),
    };
    check_all(w, ARRAY_LEN(w));
}

static void test_delete(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        FORWARD("delete a\r\n", NULL, "a", EXPECT_DELETED),
        FORWARD("delete a 0\r\n", "delete a\r\n", "a", EXPECT_DELETED),
        FORWARD("delete noreply\r\n", NULL, "noreply", EXPECT_DELETED),
        FORWARD("delete noreply 0\r\n", "delete noreply\r\n", "noreply", EXPECT_DELETED),
        QUIET("delete a noreply\r\n", "delete a\r\n", "a", EXPECT_DELETED),
        QUIET("delete a 0 noreply\r\n", "delete a\r\n", "a", EXPECT_DELETED),
        QUIET("delete noreply noreply\r\n", "delete noreply\r\n", "noreply", EXPECT_DELETED),
        REFUSE("delete\r\n", ERROR_LINE),
        REFUSE("delete a 0 0 noreply\r\n", ERROR_LINE),
        REFUSE("delete a 1\r\n", BAD_DELETE),
        REFUSE("delete a 00\r\n", BAD_DELETE),
        REFUSE("delete a noreply 0\r\n", BAD_DELETE),
        REFUSE("delete " K250 "k x\r\n", BAD_DELETE),
        REFUSE("delete " K250 "k\r\n", REFUSED_FORMAT),
        IGNORE("delete a x noreply\r\n"),
        IGNORE("delete " K250 "k noreply\r\n"),
    };
    check_all(w, ARRAY_LEN(w));
}

static void test_no_key(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        FORWARD("version\r\n", "version\r\n", NULL, EXPECT_VERSION),
        FORWARD(" version x\n", "version\r\n", NULL, EXPECT_VERSION),
        FORWARD("version noreply\r\n", "version\r\n", NULL, EXPECT_VERSION),
        CLOSE("quit\r\n"),
        CLOSE("quit x\n"),
        REFUSE("VERSION\r\n", ERROR_LINE),
        REFUSE("QUIT\r\n", ERROR_LINE),
    };
    check_all(w, ARRAY_LEN(w));
}

static void test_unknown(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        REFUSE("\r\n", ERROR_LINE),
        REFUSE("\n", ERROR_LINE),
        REFUSE("  \r\n", ERROR_LINE),
        REFUSE("\0get a\r\n", ERROR_LINE),
        REFUSE("foo\r\n", ERROR_LINE),
        REFUSE("f\r\n", ERROR_LINE),
        REFUSE("foo a noreply\r\n", ERROR_LINE),
        REFUSE("mx a v\r\n", ERROR_LINE),
        REFUSE("mgx a v\r\n", ERROR_LINE),
        CLOSE("POST / HTTP/1.0\r\n"),
        CLOSE("foo HTTP/ \r\n"),
        REFUSE("get_ / HTTP/1.0\r\n", ERROR_LINE),
        REFUSE("x HTTP/1.0\r\n", ERROR_LINE),
        REFUSE("mx HTTP/1.0\r\n", ERROR_LINE),
        REFUSE("POST / HTTP/1.0 x\r\n", ERROR_LINE),
    };
    check_all(w, ARRAY_LEN(w));
}

static void test_gat(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        FORWARD("gat 10 a\r\n", NULL, "a", EXPECT_VALUES),
        FORWARD("gats 0 " K250 "\r\n", NULL, K250, EXPECT_VALUES),
        FORWARD("gat 10 noreply\r\n", NULL, "noreply", EXPECT_VALUES),
        FORWARD("gat -1 a\r\n", "gat -1 a\r\n", "a", EXPECT_VALUES),
        FORWARD("gat +10 a\r\n", "gat 10 a\r\n", "a", EXPECT_VALUES),
        FORWARD("gat 1\tx a\r\n", "gat 1 a\r\n", "a", EXPECT_VALUES),
        FORWARD("gat 4294967297 a\n", "gat 1 a\r\n", "a", EXPECT_VALUES),
        FORWARD("  gat  10  a \n", "gat 10 a\r\n", "a", EXPECT_VALUES),
        {SPAN("gat 10 a b\r\n"), REQUEST_SPLIT, 0, NULL, "a", EXPECT_VALUES, false, false, 0},
        {SPAN("gats +1 a  b a\r\n"), REQUEST_SPLIT, 0, "gats 1 a b a\r\n", "a", EXPECT_VALUES,
         false, false, 0},
        REFUSE("gat\r\n", ERROR_LINE),
        REFUSE("gats \r\n", ERROR_LINE),
        REFUSE("gat 10\r\n", "END\r\n"),
        REFUSE("gat x\r\n", REFUSED_EXPTIME),
        REFUSE("gat 10x a\r\n", REFUSED_EXPTIME),
        REFUSE("gat 9223372036854775808 a\r\n", REFUSED_EXPTIME),
        REFUSE("gat x " K250 "k\r\n", REFUSED_EXPTIME),
        REFUSE("gat 0 a " K250 "k\r\n", REFUSED_FORMAT),
    };
    check_all(w, ARRAY_LEN(w));
}

/* A part has the exptime, in its usual form even where the client's was odd. */
static void test_gat_part(void **state)
{
    (void)state;
    static const struct span lines[] = {{"gats 7 a b c\r\n", 14}, {"gats +07  a b  c\n", 17}};
    static const uint32_t order[] = {0, 2};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct reader r;
        reader_init(&r);
        char *copy;
        struct buf out = {0};
        assert_int_equal(feed(&r, lines[i], &copy), PARSE_DONE);
        assert_int_equal(r.view.kind, REQUEST_SPLIT);
        assert_true(memcache_compose_part(&r.view, order, 2, &out));
        assert_span(buf_span(&out), SPAN("gats 7 a c\r\n"), lines[i]);
        free(copy);
        buf_free(&out);
        reader_free(&r);
    }
}

#define FLUSH(in, text, quiet)                                                                     \
    {                                                                                              \
        SPAN(in), REQUEST_BROADCAST, 0, text, NULL, EXPECT_OK, quiet, false, 0                     \
    }

static void test_flush(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        FLUSH("flush_all\r\n", "flush_all\r\n", false),
        FLUSH(" flush_all \n", "flush_all\r\n", false),
        FLUSH("flush_all 0\r\n", "flush_all 0\r\n", false),
        FLUSH("flush_all -1\r\n", "flush_all -1\r\n", false),
        FLUSH("flush_all +5\r\n", "flush_all 5\r\n", false),
        FLUSH("flush_all 1 2\r\n", "flush_all 1\r\n", false),
        FLUSH("flush_all noreply\r\n", "flush_all\r\n", true),
        FLUSH("flush_all 10 noreply\r\n", "flush_all 10\r\n", true),
        REFUSE("flush_all x\r\n", REFUSED_EXPTIME),
        REFUSE("flush_all noreply 0\r\n", REFUSED_EXPTIME),
        REFUSE("flush_all 1 2 3\r\n", ERROR_LINE),
        REFUSE("flush_all 1 2 noreply\r\n", ERROR_LINE),
        IGNORE("flush_all x noreply\r\n"),
    };
    check_all(w, ARRAY_LEN(w));
}

/* Unless the pool allows it. */
static void test_flush_refused(void **state)
{
    (void)state;
    static const struct {
        struct span in;
        enum request_kind kind;
    } cases[] = {
        {SPAN("flush_all\r\n"), REQUEST_LOCAL},
        {SPAN("flush_all x\r\n"), REQUEST_LOCAL},
        {SPAN("flush_all noreply\r\n"), REQUEST_NONE},
        {SPAN("flush_all 9 noreply\r\n"), REQUEST_NONE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct reader r;
        reader_init(&r);
        r.settings.allow_flush = false;
        char *copy;
        assert_int_equal(feed(&r, cases[i].in, &copy), PARSE_DONE);
        assert_int_equal(r.view.kind, cases[i].kind);
        assert_span(r.view.reply,
                    SPAN("CLIENT_ERROR flush_all not allowed "
                         "(this pool has no allow_flush: true)\r\n"),
                    cases[i].in);
        free(copy);
        reader_free(&r);
    }
}

/* It is answered, and changes nothing. */
static void test_verbosity(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        REFUSE("verbosity 1\r\n", "OK\r\n"),       REFUSE("verbosity 1 2\r\n", "OK\r\n"),
        REFUSE("verbosity x\r\n", REFUSED_FORMAT), REFUSE("verbosity -1\r\n", REFUSED_FORMAT),
        REFUSE("verbosity\r\n", ERROR_LINE),       REFUSE("verbosity 1 2 3\r\n", ERROR_LINE),
        IGNORE("verbosity 1 noreply\r\n"),         IGNORE("verbosity noreply\r\n"),
    };
    check_all(w, ARRAY_LEN(w));
}

#define HUSHED(in, text, key, expect)                                                              \
    {                                                                                              \
        SPAN(in), REQUEST_FORWARD, 0, text, key, expect, false, false, 0, expect                   \
    }

/* Flags are the server's to judge; `q` never gets there, and a key is what it means, not how it is
 * written. */
static void test_meta(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        FORWARD("mg a\r\n", NULL, "a", EXPECT_META_GET),
        FORWARD("mg a v ! v\r\n", NULL, "a", EXPECT_META_GET),
        FORWARD(" mg  a v \n", "mg a v\r\n", "a", EXPECT_META_GET),
        FORWARD("mg a v\0 q\r\n", "mg a v\r\n", "a", EXPECT_META_GET),
        HUSHED("mg a q\r\n", "mg a\r\n", "a", EXPECT_META_GET),
        HUSHED("mg q qx v O1\r\n", "mg q v O1\r\n", "q", EXPECT_META_GET),
        FORWARD("mg Zm9v b v\r\n", NULL, "foo", EXPECT_META_GET),
        FORWARD("mg Zm9v v bx\r\n", NULL, "foo", EXPECT_META_GET),
        FORWARD("mg Z*m9v b\r\n", NULL, "foo", EXPECT_META_GET),
        FORWARD("mg Zg== b\r\n", NULL, "f", EXPECT_META_GET),
        FORWARD("mg Zm8=Zg== b\r\n", NULL, "fo", EXPECT_META_GET),
        FORWARD("mg +/+/ b\r\n", NULL, "\xfb\xff\xbf", EXPECT_META_GET),
        FORWARD("mg Z=== b\r\n", NULL, "Z===", EXPECT_META_GET),
        FORWARD("mg Zm9 b\r\n", NULL, "Zm9", EXPECT_META_GET),
        FORWARD("mg !!! b\r\n", NULL, "!!!", EXPECT_META_GET),
        HUSHED("md Zm9v b q\r\n", "md Zm9v b\r\n", "foo", EXPECT_META_DELETE),
        HUSHED("ma a q D3\r\n", "ma a D3\r\n", "a", EXPECT_META_NUMBER),
        FORWARD("me a\r\n", NULL, "a", EXPECT_META_DEBUG),
        FORWARD("me a q b\r\n", "me a\r\n", "a", EXPECT_META_DEBUG),
        FORWARD("me Zm9v b q\r\n", "me Zm9v b\r\n", "foo", EXPECT_META_DEBUG),
        REFUSE("mn\r\n", "MN\r\n"),
        REFUSE("mn q noreply\r\n", "MN\r\n"),
        REFUSE("mg\r\n", ERROR_LINE),
        REFUSE("me\r\n", REFUSED_FORMAT),
        REFUSE("mg " K250 "k v\r\n", REFUSED_FORMAT),
        REFUSE("md " K250 "k v\r\n", REFUSED_FORMAT),
        REFUSE("mg a q q\r\n", "CLIENT_ERROR duplicate flag\r\n"),
        REFUSE("mg a k k ! q q\r\n", "CLIENT_ERROR duplicate flag\r\n"),
        REFUSE("mg a \xff ! q q\r\n", "CLIENT_ERROR duplicate flag\r\n"),
        REFUSE("mg a ! q q\r\n", "CLIENT_ERROR invalid flag\r\n"),
        REFUSE("md a q q\r\n", "CLIENT_ERROR invalid or duplicate flag\r\n"),
        REFUSE("mg a b c f h k l s t u v q O P L N R T I\r\n",
               "CLIENT_ERROR options flags are too long\r\n"),
        REFUSE("ma a b c f h k l s t u v q O P L N R T I\r\n",
               "CLIENT_ERROR options flags too long\r\n"),
    };
    check_all(w, ARRAY_LEN(w));
}

static void test_meta_set(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        FORWARD("ms a 1\r\nX\r\n", NULL, "a", EXPECT_META_SET),
        FORWARD("ms a 6 T0 O1\r\nquit\r\n\r\n", NULL, "a", EXPECT_META_SET),
        HUSHED("ms a 1 q T0\r\nX\r\n", "ms a 1 T0\r\nX\r\n", "a", EXPECT_META_SET),
        FORWARD("ms Zm9v 1 b\r\nX\r\n", NULL, "foo", EXPECT_META_SET),
        HUSHED("ms Zm9v 0 b q\n\r\n", "ms Zm9v 0 b\r\n\r\n", "foo", EXPECT_META_SET),
        FORWARD("ms a +1 !\r\nX\r\n", "ms a 1 !\r\nX\r\n", "a", EXPECT_META_SET),
        FORWARD("ms a 4294967297\r\nX\r\n", "ms a 1\r\nX\r\n", "a", EXPECT_META_SET),
        /* memcached takes a block that does not end well, and says so. */
        FORWARD("ms a 1\r\nXYZ", NULL, "a", EXPECT_META_SET),
        {SPAN("ms a 1 q q\r\nX\r\nX\r\n"), REQUEST_LOCAL, 15, "CLIENT_ERROR duplicate flag\r\n",
         NULL, 0, false, false, 0, 0},
        /* No data block belongs to these. */
        REFUSE("ms\r\n", ERROR_LINE),
        REFUSE("ms a\r\n", REFUSED_FORMAT),
        REFUSE("ms a x\r\n", REFUSED_FORMAT),
        REFUSE("ms a -1\r\n", REFUSED_FORMAT),
        REFUSE("ms a 2147483646\r\n", REFUSED_FORMAT),
        REFUSE("ms " K250 "k 1\r\n", REFUSED_FORMAT),
        REFUSE("ms a 1 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6\r\n",
               "CLIENT_ERROR options flags too long\r\n"),
        {SPAN("ms a 2147483645\r\nX"), REQUEST_LOCAL, 17,
         "SERVER_ERROR object too large for cache\r\n", NULL, 0, false, false, 2147483647, 0},
    };
    check_all(w, ARRAY_LEN(w));
}

/* What each quiet command would not say, and nothing else. */
static void test_unheard(void **state)
{
    (void)state;
    static const struct {
        uint8_t hush;
        const char *unheard;
    } rows[] = {
        {EXPECT_META_GET, "EN"},
        {EXPECT_META_SET, "HD"},
        {EXPECT_META_DELETE, "HD"},
        {EXPECT_META_NUMBER, "HD VA"},
    };
    static const char *const heads[] = {"HD", "VA", "EN", "NF", "NS", "EX", "CL", "SE", "ER"};
    for (size_t r = 0; r < ARRAY_LEN(rows); r++)
        for (size_t i = 0; i < ARRAY_LEN(heads); i++)
            assert_int_equal(meta_unheard(rows[r].hush, span_str(heads[i])),
                             strstr(rows[r].unheard, heads[i]) != NULL);
}

#define ONLY_STATS                                                                                 \
    "CLIENT_ERROR only stats, stats servers and stats settings are served by this proxy: ask a "   \
    "server directly\r\n"

static void test_stats(void **state)
{
    (void)state;
    static const struct wanted refused[] = {
        REFUSE("stats items\r\n", ONLY_STATS),
        REFUSE("stats servers x\r\n", ONLY_STATS),
        REFUSE("stats noreply\r\n", ONLY_STATS),
        REFUSE("STATS\r\n", ERROR_LINE),
    };
    static const struct span told[] = {SPAN("stats\r\n"), SPAN(" stats  servers \n"),
                                       SPAN("stats settings\r\n")};
    check_all(refused, ARRAY_LEN(refused));
    for (size_t i = 0; i < ARRAY_LEN(told); i++) {
        struct reader r;
        char *copy;
        reader_init(&r);
        assert_int_equal(feed(&r, told[i], &copy), PARSE_DONE);
        assert_int_equal(r.view.kind, REQUEST_TELL);
        assert_int_equal(r.view.len, told[i].len);
        assert_int_equal(r.view.join, i);
        free(copy);
        reader_free(&r);
    }
}

/* What is about one server. */
static void test_refused(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        REFUSE("slabs automove 1\r\n",
               "CLIENT_ERROR slabs is not served by this proxy: ask a server directly\r\n"),
        REFUSE(
            "cache_memlimit 64\r\n",
            "CLIENT_ERROR cache_memlimit is not served by this proxy: ask a server directly\r\n"),
        IGNORE("cache_memlimit 64 noreply\r\n"),
    };
    check_all(w, ARRAY_LEN(w));
}

/* Reads what is at `at` of a stream and steps over it. */
static void next(struct reader *r, struct span stream, size_t *at, char **copy)
{
    args_clear(&r->args);
    r->parser = (struct request_parser){.args = &r->args};
    assert_int_equal(feed(r, span_from(stream, *at), copy), PARSE_DONE);
    *at += r->view.len;
}

static void test_skip(void **state)
{
    (void)state;
    struct span stream = SPAN("quit\r\n\r\nget b\r\n");
    struct reader r;
    reader_init(&r);
    char *copy;
    size_t at = 0;
    r.session.skip = 8;
    next(&r, span_of(stream.ptr, 4), &at, &copy);
    assert_int_equal(r.view.kind, REQUEST_NONE);
    assert_int_equal(at, 4);
    free(copy);
    next(&r, stream, &at, &copy);
    assert_int_equal(r.view.kind, REQUEST_NONE);
    assert_int_equal(at, 8);
    free(copy);
    next(&r, stream, &at, &copy);
    assert_int_equal(r.view.kind, REQUEST_FORWARD);
    free(copy);
    reader_free(&r);
}

/* What no memcached can store is refused before its data is here, and dropped while it comes. */
static void test_too_large(void **state)
{
    (void)state;
    static const struct wanted w[] = {
        {SPAN("set a 0 0 2147483645\r\nX"), REQUEST_LOCAL, 22,
         "SERVER_ERROR object too large for cache\r\n", NULL, 0, false, false, 2147483647},
        {SPAN("set a 0 0 2147483645 noreply\r\nX"), REQUEST_NONE, 30, NULL, NULL, 0, false, false,
         2147483647},
    };
    check_all(w, ARRAY_LEN(w));
}

static enum parse parse_once(struct span in, struct span *reply)
{
    struct reader r;
    reader_init(&r);
    char *copy;
    enum parse said = feed(&r, in, &copy);
    *reply = said == PARSE_BAD ? r.view.reply : SPAN("");
    free(copy);
    reader_free(&r);
    return said;
}

/* `head`, then `len` times `fill`, then `tail`, parsed at once. */
static enum parse parse_long(const char *head, char fill, size_t len, const char *tail)
{
    char *text = malloc(len + 64);
    assert_non_null(text);
    size_t at = strlen(head);
    memcpy(text, head, at);
    memset(text + at, fill, len);
    memcpy(text + at + len, tail, strlen(tail));
    struct span reply;
    enum parse said = parse_once(span_of(text, at + len + strlen(tail)), &reply);
    free(text);
    assert_int_equal(reply.len, 0);
    return said;
}

static void test_long_lines(void **state)
{
    (void)state;
    assert_int_equal(parse_long("", 'x', 2048, ""), PARSE_MORE);
    assert_int_equal(parse_long("", 'x', 2049, ""), PARSE_BAD);
    assert_int_equal(parse_long("", 'x', 2049, "\r\n"), PARSE_DONE);
    assert_int_equal(parse_long("", 'x', 16382, "\r\n"), PARSE_DONE);
    assert_int_equal(parse_long("", 'x', 16383, "\r\n"), PARSE_BAD);
    assert_int_equal(parse_long("get ", 'x', 100000, ""), PARSE_MORE);
    assert_int_equal(parse_long("gets ", 'x', 100000, "\r\n"), PARSE_DONE);
    assert_int_equal(parse_long("gat ", 'x', 3000, ""), PARSE_BAD);
    assert_int_equal(parse_long("gat 1", ' ', 3000, "a\r\n"), PARSE_DONE);
    assert_int_equal(parse_long("", ' ', 100, "get a"), PARSE_MORE);
    assert_int_equal(parse_long("", ' ', 3000, "get a\r\n"), PARSE_DONE);
    assert_int_equal(parse_long("", ' ', 20000, "get a\r\n"), PARSE_BAD);
}

/* A memcached may close on a gat that is long, if it does not come in one piece: it is not sent. */
static void test_long_gat(void **state)
{
    (void)state;
    static const size_t keys[] = {8, 9};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        struct buf line = {0};
        assert_true(buf_append(&line, SPAN("gat 10")));
        for (size_t k = 0; k < keys[i]; k++)
            assert_true(buf_append(&line, SPAN(" " K250)));
        assert_true(buf_append(&line, SPAN("\r\n")));
        struct reader r;
        reader_init(&r);
        char *copy;
        assert_int_equal(feed(&r, buf_span(&line), &copy), PARSE_DONE);
        assert_int_equal(r.view.kind, i == 0 ? REQUEST_SPLIT : REQUEST_LOCAL);
        if (i == 1)
            assert_span(r.view.reply, SPAN("CLIENT_ERROR line is too long for this command\r\n"),
                        SPAN("gat"));
        free(copy);
        reader_free(&r);
        buf_free(&line);
    }
}

/* Only the first byte of a connection asks for the binary protocol. */
static void test_binary(void **state)
{
    (void)state;
    struct span reply;
    assert_int_equal(parse_once(SPAN("\x80"), &reply), PARSE_BAD);
    assert_true(reply.len > 0);
    struct reader r;
    reader_init(&r);
    char *copy;
    size_t at = 0;
    struct span stream = SPAN("version\r\n\x80\r\n");
    next(&r, stream, &at, &copy);
    free(copy);
    next(&r, stream, &at, &copy);
    assert_span(r.view.reply, SPAN(ERROR_LINE), stream);
    free(copy);
    reader_free(&r);
}

/* 100 keys of 250 bytes, of which every third goes to one server. */
static void test_compose_part(void **state)
{
    (void)state;
    static char line[5 + 100 * 251 + 2];
    struct buf expect = {0};
    uint32_t order[34];
    uint32_t count = 0;
    size_t at = 4;
    memcpy(line, "gets", 4);
    assert_true(buf_append(&expect, SPAN("gets")));
    for (uint32_t i = 0; i < 100; i++) {
        char key[252];
        snprintf(key, sizeof(key), " %03u%.247s", i, K250);
        memcpy(line + at, key, 251);
        at += 251;
        if (i % 3 != 0)
            continue;
        order[count++] = i;
        assert_true(buf_append(&expect, span_of(key, 251)));
    }
    memcpy(line + at, "\r\n", 2);
    assert_true(buf_append(&expect, SPAN("\r\n")));

    struct reader r;
    reader_init(&r);
    char *copy;
    struct buf out = {0};
    assert_int_equal(feed(&r, span_of(line, at + 2), &copy), PARSE_DONE);
    assert_int_equal(r.view.kind, REQUEST_SPLIT);
    assert_int_equal(request_key_count(&r.view), 100);
    assert_true(memcache_compose_part(&r.view, order, count, &out));
    assert_span(buf_span(&out), buf_span(&expect), SPAN("part"));
    assert_int_equal(proto_memcache.part_expect(&r.view), EXPECT_VALUES);
    free(copy);
    buf_free(&out);
    buf_free(&expect);
    reader_free(&r);
}

static void test_writes(void **state)
{
    (void)state;
    static const struct {
        struct span in;
        bool write;
    } cases[] = {
        {SPAN("get a\r\n"), false},    {SPAN("version\r\n"), false},
        {SPAN("delete a\r\n"), true},  {SPAN("set a 0 0 0\r\n\r\n"), true},
        {SPAN("touch a 1\r\n"), true}, {SPAN("incr a 1\r\n"), true},
        {SPAN("gat 1 a\r\n"), true},   {SPAN("flush_all\r\n"), true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct reader r;
        reader_init(&r);
        char *copy;
        assert_int_equal(feed(&r, cases[i].in, &copy), PARSE_DONE);
        assert_int_equal(r.view.write, cases[i].write);
        free(copy);
        reader_free(&r);
    }
}

/* A view is not emptied by whoever hands it in: nothing of the request before may be left. */
static void test_fresh_view(void **state)
{
    (void)state;
    static const struct span cases[] = {SPAN("get a b c\r\n"), SPAN("get a\r\n"),
                                        SPAN("set a 0 0 1\r\nx\r\n"), SPAN("mg a v\r\n")};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct reader r;
        char *copy;
        reader_init(&r);
        memset(&r.view, 1, sizeof(r.view));
        assert_int_equal(feed(&r, cases[i], &copy), PARSE_DONE);
        assert_false(r.view.named);
        assert_false(r.view.about);
        assert_false(r.view.close);
        assert_false(r.view.quiet);
        free(copy);
        reader_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),           cmocka_unit_test(test_multi_get),
        cmocka_unit_test(test_two_lines),     cmocka_unit_test(test_single_server),
        cmocka_unit_test(test_store),         cmocka_unit_test(test_store_canonical),
        cmocka_unit_test(test_store_refused), cmocka_unit_test(test_bad_chunk),
        cmocka_unit_test(test_arithmetic),    cmocka_unit_test(test_touch),
        cmocka_unit_test(test_delete),        cmocka_unit_test(test_no_key),
        cmocka_unit_test(test_unknown),       cmocka_unit_test(test_meta_set),
        cmocka_unit_test(test_meta),          cmocka_unit_test(test_unheard),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_stats),
        cmocka_unit_test(test_gat),           cmocka_unit_test(test_gat_part),
        cmocka_unit_test(test_flush),         cmocka_unit_test(test_flush_refused),
        cmocka_unit_test(test_verbosity),     cmocka_unit_test(test_long_gat),
        cmocka_unit_test(test_skip),          cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_long_lines),    cmocka_unit_test(test_binary),
        cmocka_unit_test(test_compose_part),  cmocka_unit_test(test_writes),
        cmocka_unit_test(test_fresh_view),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
