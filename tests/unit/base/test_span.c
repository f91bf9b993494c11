/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/span.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/must.h"

static void test_making(void **state)
{
    (void)state;
    struct span s = SPAN("a\0b");
    assert_int_equal(s.len, 3);
    assert_int_equal(SPAN("").len, 0);
    assert_int_equal(span_str("hello").len, 5);
    assert_int_equal(span_of("hello", 2).len, 2);
}

static void test_equal(void **state)
{
    (void)state;
    assert_true(span_eq(SPAN("abc"), SPAN("abc")));
    assert_false(span_eq(SPAN("abc"), SPAN("abd")));
    assert_false(span_eq(SPAN("abc"), SPAN("ab")));
    assert_true(span_eq(SPAN("a\0b"), SPAN("a\0b")));
    assert_false(span_eq(SPAN("a\0b"), SPAN("a\0c")));
    assert_true(span_eq(SPAN(""), span_of(NULL, 0)));
    assert_true(span_eq(span_of(NULL, 0), span_of(NULL, 0)));
}

static void test_from(void **state)
{
    (void)state;
    struct span s = SPAN("hello");
    assert_true(span_eq(span_from(s, 0), s));
    assert_true(span_eq(span_from(s, 2), SPAN("llo")));
    assert_int_equal(span_from(s, 5).len, 0);
    assert_null(span_from(span_of(NULL, 0), 0).ptr);
}

/* Each pair of bytes: only the ASCII letters have a second form. */
static void test_ieq_of_every_byte(void **state)
{
    (void)state;
    for (int a = 0; a < 256; a++) {
        for (int b = 0; b < 256; b++) {
            bool letter = (a | 32) >= 'a' && (a | 32) <= 'z';
            bool same = a == b || (letter && (a ^ b) == 32);
            char left = (char)a, right = (char)b;
            assert_int_equal(span_ieq(span_of(&left, 1), span_of(&right, 1)), same);
        }
    }
}

static void test_ieq(void **state)
{
    (void)state;
    assert_true(span_ieq(SPAN("mGeT"), SPAN("MgEt")));
    assert_false(span_ieq(SPAN("mget"), SPAN("mge")));
    assert_false(span_ieq(SPAN("mget"), SPAN("mgex")));
    assert_true(span_ieq(SPAN(""), span_of(NULL, 0)));
}

struct number {
    const char *text;
    uint64_t max;
    bool valid;
    uint64_t value;
};

static const struct number numbers[] = {
    {"0", 0, true, 0},
    {"0", 9, true, 0},
    {"7", 7, true, 7},
    {"8", 7, false, 0},
    {"007", 7, true, 7},
    {"00000000000000000000000000000000000000001", 1, true, 1},
    {"65535", 65535, true, 65535},
    {"65536", 65535, false, 0},
    {"18446744073709551615", UINT64_MAX, true, UINT64_MAX},
    {"18446744073709551616", UINT64_MAX, false, 0},
    {"18446744073709551620", UINT64_MAX, false, 0},
    {"28446744073709551615", UINT64_MAX, false, 0},
    {"184467440737095516150", UINT64_MAX, false, 0},
    {"99999999999999999999999999", UINT64_MAX, false, 0},
    {"18446744073709551615", UINT64_MAX - 1, false, 0},
    {"", UINT64_MAX, false, 0},
    {"-1", UINT64_MAX, false, 0},
    {"+1", UINT64_MAX, false, 0},
    {" 1", UINT64_MAX, false, 0},
    {"1 ", UINT64_MAX, false, 0},
    {"1a", UINT64_MAX, false, 0},
    {"0x1", UINT64_MAX, false, 0},
    {"1.0", UINT64_MAX, false, 0},
    {"/", UINT64_MAX, false, 0}, /* the bytes next to the digits */
    {":", UINT64_MAX, false, 0},
    {"\xb1", UINT64_MAX, false, 0},
};

static void test_u64(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        uint64_t value = 12345;
        assert_int_equal(span_u64(span_str(numbers[i].text), numbers[i].max, &value),
                         numbers[i].valid);
        assert_true(value == (numbers[i].valid ? numbers[i].value : 12345));
    }
    uint64_t value = 12345;
    assert_false(span_u64(SPAN("1\0"), 9, &value));
    assert_false(span_u64(span_of(NULL, 0), 9, &value));
    assert_int_equal(value, 12345);
}

static void test_eq_secret(void **state)
{
    (void)state;
    assert_true(span_eq_secret(SPAN("open sesame"), SPAN("open sesame")));
    assert_false(span_eq_secret(SPAN("open sesamE"), SPAN("open sesame")));
    assert_false(span_eq_secret(SPAN("Open sesame"), SPAN("open sesame")));
    assert_false(span_eq_secret(SPAN("open"), SPAN("open sesame")));
    assert_false(span_eq_secret(SPAN("open sesame open sesame"), SPAN("open sesame ")));
    assert_false(span_eq_secret(SPAN("aa"), SPAN("a")));
    assert_false(span_eq_secret(SPAN(""), SPAN("a")));
    assert_false(span_eq_secret(SPAN("a"), SPAN("")));
    assert_true(span_eq_secret(SPAN(""), span_of(NULL, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_making), cmocka_unit_test(test_equal),
        cmocka_unit_test(test_from),   cmocka_unit_test(test_ieq_of_every_byte),
        cmocka_unit_test(test_ieq),    cmocka_unit_test(test_eq_secret),
        cmocka_unit_test(test_u64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
