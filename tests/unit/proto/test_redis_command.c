/* SPDX-License-Identifier: BSD-3-Clause */
#include "redis_ask.h"

#include "proto/redis/command.h"

static const struct proto_settings plain = {.db = 0};

/* The row is found by its name, in either case, and not by what is nearly its name. */
static void check_row(const struct command *c)
{
    char upper[COMMAND_NAME + 1] = {0};
    char nearly[COMMAND_NAME + 1] = {0};
    assert_int_equal(strlen(c->name), c->len);
    for (size_t i = 0; i < c->len; i++)
        upper[i] = (char)((c->name[i] >= 'a' && c->name[i] <= 'z') ? c->name[i] - 32 : c->name[i]);
    memcpy(nearly, c->name, c->len);
    struct span name = span_of(c->name, c->len);
    const char *bar = memchr(c->name, '|', c->len);
    assert_int_equal(bar != NULL, c->sub);
    if (bar == NULL) {
        assert_ptr_equal(command_find(NULL, name), c);
        assert_ptr_equal(command_find(NULL, span_of(upper, c->len)), c);
        assert_null(command_find(NULL, span_of(nearly, c->len + 1u)));
        return;
    }
    const struct command *container = command_find(NULL, span_of(c->name, (size_t)(bar - c->name)));
    assert_non_null(container);
    struct span sub = span_from(name, (size_t)(bar - c->name) + 1);
    assert_ptr_equal(command_find_sub(NULL, container, sub), c);
    assert_ptr_equal(
        command_find_sub(NULL, container, span_of(upper + (name.len - sub.len), sub.len)), c);
    assert_null(command_find(NULL, name));
}

static void test_every_row_is_found(void **state)
{
    (void)state;
    uint32_t i = 0;
    for (; command_row(i) != NULL; i++)
        check_row(command_row(i));
    assert_true(i > 400);
}

static void test_what_is_no_command(void **state)
{
    (void)state;
    static const char letters[] = "0123456789012345678901234567890123456789";
    for (size_t n = 0; n < sizeof(letters); n++)
        assert_null(command_find(NULL, span_of(letters, n)));
    assert_null(command_find(NULL, SPAN("get\0")));
    assert_null(command_find(NULL, SPAN("ge\0t")));
    assert_null(command_find(NULL, SPAN("getx")));
    assert_null(command_find(NULL, SPAN("g\xc5\xd4")));
    assert_null(command_find(NULL, SPAN("georadiusbymember_ro ")));
    const struct command *object = command_find(NULL, SPAN("object"));
    for (size_t n = 0; n < sizeof(letters); n++)
        assert_null(command_find_sub(NULL, object, span_of(letters, n)));
    assert_null(command_find_sub(NULL, object, SPAN("encoding\0")));
    assert_null(command_find_sub(NULL, command_find(NULL, SPAN("get")), SPAN("encoding")));
}

/* Each row that is forwarded finds keys in a request of the words that it needs at least. */
static void test_every_forwarded_row_has_keys(void **state)
{
    (void)state;
    for (uint32_t i = 0; command_row(i) != NULL; i++) {
        const struct command *c = command_row(i);
        if (c->class == CLASS_FORWARD)
            assert_int_not_equal(c->places[0].kind, PLACE_NONE);
        if (c->places[0].kind == PLACE_RANGE)
            assert_true(c->arity > c->places[0].first || c->arity < -c->places[0].first);
        if (c->places[1].kind == PLACE_RANGE && c->places[1].last >= 0)
            assert_true(c->arity > c->places[1].first || c->arity < -c->places[1].first);
    }
}

/* The words of a request and the keys in it, as "<a> <b>". */
static void expect_keys(const char *line, const char *kind, const char *keys)
{
    struct ask a;
    char begin[256];
    ask_begin(&a, &plain);
    ask_parse(&a, span_str(line));
    struct span told = buf_span(&a.told);
    snprintf(begin, sizeof(begin), "%s%s%s *", kind, keys[0] == '\0' ? "" : " ", keys);
    bool same = told.len >= strlen(begin) && memcmp(told.ptr, begin, strlen(begin)) == 0;
    if (!same)
        print_message("%s: %.*s, not %s\n", line, (int)told.len, told.ptr, begin);
    ask_end(&a);
    assert_true(same);
}

/* Does the class of a row need keys to go by? */
static bool needs_keys(enum command_class class)
{
    switch (command_way(class)) {
    case WAY_SPLIT:
    case WAY_BLOCK:
        return true;
    default:
        return class == CLASS_FORWARD || class == CLASS_WATCH;
    }
}

/* Nothing is left for later, and what goes by keys has them. */
static void test_every_row(void **state)
{
    (void)state;
    for (uint32_t i = 0; command_row(i) != NULL; i++) {
        const struct command *c = command_row(i);
        bool keyed = c->places[0].kind != PLACE_NONE;
        bool sane = c->class != CLASS_LATER && c->class != CLASS_DENIED && c->arity != 0 &&
                    (keyed || !needs_keys(c->class));
        if (!sane)
            print_message("%s has no sensible class\n", c->name);
        assert_true(sane);
        assert_true(c->places[1].kind == PLACE_NONE || keyed);
        bool sub = strchr(c->name, '|') != NULL;
        assert_int_equal(c->sub, sub);
    }
}

static void test_key_places(void **state)
{
    (void)state;
    expect_keys("GET a\n", "forward", "<a>");
    expect_keys("LCS a b LEN\n", "forward", "<a> <b>");
    expect_keys("RENAME a b\n", "forward write", "<a> <b>");
    expect_keys("BITOP and d a b\n", "forward write", "<d> <a> <b>");
    expect_keys("PFMERGE d\n", "forward write", "<d>");
    expect_keys("PFMERGE d a\n", "forward write", "<d> <a>");
    expect_keys("MSETNX a 1 b 2\n", "forward write", "<a> <b>");
    expect_keys("OBJECT ENCODING a\n", "forward", "<a>");
    expect_keys("XGROUP CREATE s g $ MKSTREAM\n", "forward write", "<s>");
    expect_keys("MEMORY usage a SAMPLES 2\n", "forward", "<a>");
    expect_keys("SPUBLISH ch hello\n", "forward write", "<ch>");
    expect_keys("JSON.GET doc $.a $.b\n", "forward", "<doc>");
    expect_keys("JSON.MGET d e $\n", "split", "<d> <e>");
    expect_keys("JSON.MSET d $ 1 e $ 2\n", "split write", "<d> <e>");
    expect_keys("JSON.DEBUG MEMORY d\n", "forward", "<d>");
    expect_keys("TS.MADD a 1 2 b 3 4\n", "forward write", "<a> <b>");
    expect_keys("MSETEX 2 a 1 b 2 EX 10\n", "forward write", "<a> <b>");
    expect_keys("COMMAND\n", "forward", "");
    expect_keys("LOLWUT version 5\n", "forward", "");
    expect_keys("OBJECT HELP\n", "forward", "");
}

static void test_numbered_keys(void **state)
{
    (void)state;
    expect_keys("EVAL s 2 a b c\n", "forward write", "<a> <b>");
    expect_keys("EVAL s 0 a\n", "forward write", "");
    expect_keys("EVAL_RO s 1 a\n", "forward", "<a>");
    expect_keys("FCALL f 1 a b\n", "forward write", "<a>");
    expect_keys("ZUNION 2 a b WITHSCORES\n", "forward", "<a> <b>");
    expect_keys("ZUNIONSTORE d 2 a b\n", "forward write", "<d> <a> <b>");
    expect_keys("ZUNIONSTORE d 3 a b\n", "forward write", "<d>");
    expect_keys("LMPOP 1 a LEFT\n", "forward write", "<a>");
    expect_keys("SINTERCARD 2 a b LIMIT 1\n", "forward", "<a> <b>");
    /* No server reads these, so that any may refuse them. */
    expect_keys("EVAL s 4 a b c\n", "forward write", "");
    expect_keys("EVAL s -1 a\n", "forward write", "");
    expect_keys("EVAL s x a\n", "forward write", "");
    expect_keys("EVAL s 99999999999999999999 a\n", "forward write", "");
    expect_keys("EVAL s 4294967297 a\n", "forward write", "");
    /* An old server may read these. */
    expect_keys("EVAL s +1 a b\n", "forward write", "<a>");
    expect_keys("EVAL s 002 a b\n", "forward write", "<a> <b>");
}

static void test_streams(void **state)
{
    (void)state;
    expect_keys("XREAD STREAMS a 0\n", "forward", "<a>");
    expect_keys("XREAD COUNT 2 STREAMS a b 0 0\n", "split", "<a> <b>");
    expect_keys("XREADGROUP GROUP streams streams NOACK STREAMS a >\n", "forward write", "<a>");
    expect_keys("XREADGROUP COUNT 1 GROUP g c STREAMS a b > >\n", "split write", "<a> <b>");
    expect_keys("XREADGROUP GROUP g c CLAIM 5 STREAMS a >\n", "forward write", "<a>");
    expect_keys("XREAD STREAMS a b 0\n", "forward", "");
    expect_keys("XREAD COUNT 2 COUNT\n", "forward", "");
    expect_keys("XREAD BLOCK 0 STREAMS a 0\n", "session block for ever", "<a>");
    expect_keys("XREAD COUNT 1 block 250 STREAMS a 0\n", "session block 250 ms", "<a>");
    expect_keys("XREADGROUP GROUP g c BLOCK x STREAMS a >\n", "session write block 0 ms", "<a>");
    /* Redis compares option names as C strings: a NUL ends them. */
#define BLOCK_NUL                                                                                  \
    "*6\r\n$5\r\nXREAD\r\n$7\r\nBLOCK\0x\r\n$1\r\n0\r\n$7\r\nSTREAMS\r\n$1\r\nk\r\n$1\r\n$\r\n"
    ASK(&plain, BLOCK_NUL, "session block for ever <k> " BLOCK_NUL "\n");
}

static void test_blocking(void **state)
{
    (void)state;
    expect_keys("BLPOP a b 0\n", "session write block for ever", "<a> <b>");
    expect_keys("FT.SUGADD s x 1\n", "forward write", "<s>");
    ASK(&plain, "FT.SEARCH i x\n",
        "local -ERR command 'ft.search' needs a pool with one server, or it would be about the "
        "keys of "
        "one of them (the pool's key `commands` can say where its keys are)\r\n\n");
    ASK(&plain, "TS.MRANGE - + FILTER a=1\n", "broadcast\n");
    ASK(&plain, "TS.MRANGE - + FILTER a=1 GROUPBY a REDUCE max\n",
        "local -ERR command 'ts.mrange' needs a pool with one server, or it would be about the "
        "keys of "
        "one of them (the pool's key `commands` can say where its keys are)\r\n\n");
    expect_keys("WAIT 1 0\n", "session wait for ever", "");
    expect_keys("WAIT 1 250\n", "session wait 250 ms", "");
    expect_keys("WAIT 1 -2\n", "session wait 0 ms", "");
    expect_keys("WAITAOF 1 0 x\n", "session wait 0 ms", "");
    expect_keys("BRPOP a 1.5\n", "session write block 1500 ms", "<a>");
    expect_keys("BLMOVE a b LEFT RIGHT 2\n", "session write block 2000 ms", "<a> <b>");
    expect_keys("BRPOPLPUSH a b -1\n", "session write block 0 ms", "<a> <b>");
    expect_keys("BLMPOP 0.25 2 a b LEFT\n", "session write block 250 ms", "<a> <b>");
    expect_keys("BZPOPMIN a x\n", "session write block for ever", "<a>");
    expect_keys("BZPOPMAX a nan\n", "session write block 0 ms", "<a>");
    expect_keys("BZMPOP 1e300 1 a MIN\n", "session write block for ever", "<a>");
}

static void test_transaction_verbs(void **state)
{
    (void)state;
    ASK(&plain, "MULTI\nEXEC\nDISCARD\nUNWATCH\nMULTI 1\nWATCH\n",
        "session multi *1\r\n$5\r\nMULTI\r\n\nsession exec *1\r\n$4\r\nEXEC\r\n\n"
        "session discard *1\r\n$7\r\nDISCARD\r\n\nsession unwatch *1\r\n$7\r\nUNWATCH\r\n\n"
        "local -ERR wrong number of arguments for 'multi' command\r\n\n"
        "local -ERR wrong number of arguments for 'watch' command\r\n\n");
    expect_keys("WATCH a b c\n", "session watch", "<a> <b> <c>");
}

static void test_stored_keys(void **state)
{
    (void)state;
    expect_keys("SORT a\n", "forward write", "<a>");
    expect_keys("SORT a STORE b\n", "forward write", "<a> <b>");
    expect_keys("SORT a BY store GET store LIMIT 0 1 store b\n", "forward write", "<a> <b>");
    expect_keys("SORT a STORE b STORE store\n", "forward write", "<a> <store>");
    expect_keys("SORT a STORE\n", "forward write", "<a>");
    expect_keys("GEORADIUS a 1 2 3 m COUNT 1 STORE b\n", "forward write", "<a> <b>");
    expect_keys("GEORADIUSBYMEMBER a x 3 m STOREDIST b\n", "forward write", "<a> <b>");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_is_found),
        cmocka_unit_test(test_what_is_no_command),
        cmocka_unit_test(test_every_forwarded_row_has_keys),
        cmocka_unit_test(test_every_row),
        cmocka_unit_test(test_key_places),
        cmocka_unit_test(test_numbered_keys),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_blocking),
        cmocka_unit_test(test_transaction_verbs),
        cmocka_unit_test(test_stored_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
