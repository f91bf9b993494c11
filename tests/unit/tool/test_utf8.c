/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/must.h"

static void test_characters(void **state)
{
    static const struct {
        const char *bytes;
        uint32_t value;
        size_t len;
    } rows[] = {{"a", 'a', 1},
                {"\x7f", 0x7f, 1},
                {"ü", 0xfc, 2},
                {"猫", 0x732b, 3},
                {"\xf0\x9f\xa5\x9c", 0x1f95c, 4}, /* a nut */
                {"\xf4\x8f\xbf\xbf", 0x10ffff, 4}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint32_t value = 0;
        assert_int_equal(utf8_read(span_str(rows[i].bytes), &value), rows[i].len);
        assert_int_equal(value, rows[i].value);
    }
}

static void test_no_characters(void **state)
{
    static const struct span rows[] = {
        {"\x80", 1},             /* goes on from nothing */
        {"\xc3", 1},             /* cut */
        {"\xc3z", 2},            /* does not go on */
        {"\xc0\xaf", 2},         /* longer than need be */
        {"\xe0\x9f\xbf", 3},     /* the same */
        {"\xf0\x8f\xbf\xbf", 4}, /* the same */
        {"\xed\xa0\x80", 3},     /* half of a surrogate pair */
        {"\xf4\x90\x80\x80", 4}, /* behind the last */
        {"\xff", 1},
        {"\xf8\x88\x80\x80\x80", 5},
    };
    uint32_t value;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(utf8_read(rows[i], &value), 0);
        assert_false(utf8_is(rows[i]));
    }
    assert_true(utf8_is(SPAN("")));
    assert_true(utf8_is(SPAN("größe\0猫")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_characters),
        cmocka_unit_test(test_no_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
