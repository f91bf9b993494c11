/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/memcache/line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/must.h"

static struct line cut(struct span in)
{
    return line_cut(in, memchr(in.ptr, '\n', in.len));
}

static void assert_text(struct span is, const char *wanted)
{
    assert_int_equal(is.len, strlen(wanted));
    assert_memory_equal(is.ptr, wanted, is.len);
}

static void test_cut(void **state)
{
    (void)state;
    struct line l = cut(SPAN("get a\r\nrest"));
    assert_text(l.text, "get a");
    assert_int_equal(l.len, 7);
    assert_true(l.strict);
    l = cut(SPAN("get a\n"));
    assert_text(l.text, "get a");
    assert_int_equal(l.len, 6);
    assert_false(l.strict);
    l = cut(SPAN("get a\r\r\n"));
    assert_text(l.text, "get a\r");
    assert_true(l.strict);
    l = cut(SPAN("get a\0 b\r\n"));
    assert_text(l.text, "get a");
    assert_int_equal(l.len, 10);
    assert_false(l.strict);
}

/* memcached keeps the CR of a line that is nothing else. */
static void test_cut_empty(void **state)
{
    (void)state;
    struct line l = cut(SPAN("\n"));
    assert_text(l.text, "");
    assert_int_equal(l.len, 1);
    l = cut(SPAN("\r\n"));
    assert_text(l.text, "\r");
    assert_int_equal(l.len, 2);
}

static void test_split(void **state)
{
    (void)state;
    struct words w = {0};
    line_split(SPAN("  set a\tb  1 "), &w);
    assert_int_equal(w.count, 3);
    assert_text(w.v[0], "set");
    assert_text(w.v[1], "a\tb");
    assert_text(w.v[2], "1");
    line_split(SPAN("   "), &w);
    line_split(SPAN(""), &w);
    assert_int_equal(w.count, 3);
    line_split(SPAN("x"), &w);
    assert_int_equal(w.count, 4);
    assert_text(w.v[3], "x");
}

static void test_split_bound(void **state)
{
    (void)state;
    char text[2 * (LINE_WORDS + 2)];
    for (size_t i = 0; i < sizeof(text); i += 2)
        memcpy(text + i, "a ", 2);
    struct words w = {0};
    line_split(span_of(text, sizeof(text)), &w);
    assert_int_equal(w.count, LINE_WORDS);
}

struct signed_case {
    const char *word;
    bool good;
    int32_t value;
    bool plain;
};

/* What memcached 1.6.18 stores for these as exptime or length; each was asked of a real one. */
static void test_i32(void **state)
{
    (void)state;
    static const struct signed_case cases[] = {
        {"0", true, 0, true},
        {"003", true, 3, true},
        {"999999999", true, 999999999, true},
        {"2147483647", true, INT32_MAX, true},
        {"2147483648", true, INT32_MIN, false},
        {"4294967297", true, 1, false},
        {"9223372036854775807", true, -1, false},
        {"9223372036854775808", false, 0, false},
        {"-9223372036854775808", true, 0, false},
        {"-9223372036854775809", false, 0, false},
        {"99999999999999999999999999", false, 0, false},
        {"-1", true, -1, false},
        {"-0", true, 0, false},
        {"+1", true, 1, false},
        {"\t\v1", true, 1, false},
        {"1\tx", true, 1, false},
        {"1\r", true, 1, false},
        {"000000000000000000000000000007", true, 7, false},
        {"", false, 0, false},
        {"-", false, 0, false},
        {"+-1", false, 0, false},
        {"x", false, 0, false},
        {"1x", false, 0, false},
        {"0x10", false, 0, false},
        {"\t", false, 0, false},
        {"1\x85", false, 0, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int32_t value = 0;
        bool plain = true;
        bool good = line_i32(span_str(cases[i].word), &value, &plain);
        if (good != cases[i].good || (good && value != cases[i].value) || plain != cases[i].plain)
            fail_msg("'%s': good %d, value %d, plain %d", cases[i].word, good, value, plain);
    }
}

struct unsigned_case {
    const char *word;
    bool good;
    uint64_t value;
    bool plain;
};

static const struct unsigned_case unsigned_cases[] = {
    {"0", true, 0, true},
    {"4294967295", true, UINT32_MAX, true},
    {"4294967296", true, 4294967296u, true},
    {"18446744073709551615", true, UINT64_MAX, false},
    {"18446744073709551616", false, 0, false},
    {"-1", false, 0, false},
    {"-18446744073709551615", true, 1, false},
    {"-99999999999999999999999", false, 0, false},
    {"+1", true, 1, false},
    {"9223372036854775808", true, 9223372036854775808u, false},
    {"9223372036854775808\t-", false, 0, false},
    {"9223372036854775807\t-", true, INT64_MAX, false},
    {"", false, 0, false},
    {"1x", false, 0, false},
};

static void test_u64(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(unsigned_cases); i++) {
        const struct unsigned_case *c = &unsigned_cases[i];
        uint64_t value = 0;
        bool plain = true;
        bool good = line_u64(span_str(c->word), &value, &plain);
        if (good != c->good || (good && value != c->value))
            fail_msg("'%s': good %d, value %llu", c->word, good, (unsigned long long)value);
        assert_int_equal(plain, c->plain);
    }
}

static void test_u32(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(unsigned_cases); i++) {
        const struct unsigned_case *c = &unsigned_cases[i];
        uint32_t value = 0;
        bool plain = true;
        bool good = line_u32(span_str(c->word), &value, &plain);
        if (good != c->good || (good && value != (uint32_t)c->value))
            fail_msg("'%s': good %d, value %u", c->word, good, value);
        assert_int_equal(plain, c->plain && c->value <= UINT32_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut),   cmocka_unit_test(test_cut_empty),
        cmocka_unit_test(test_split), cmocka_unit_test(test_split_bound),
        cmocka_unit_test(test_i32),   cmocka_unit_test(test_u64),
        cmocka_unit_test(test_u32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
