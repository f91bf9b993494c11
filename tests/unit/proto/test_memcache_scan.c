/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/memcache/scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *word_by_bytes(const char *p, const char *end)
{
    while (p < end && (unsigned char)*p > ' ')
        p++;
    return p;
}

/* Every byte, at every place of inputs of every length around the step, before bytes that a borrow
 * could make look like an end. The memory is exact, so that a sanitizer sees a byte too far. */
static void test_word(void **state)
{
    (void)state;
    static const char fill[] = {'!', 'k', '\x7f', '\x80', '\xff'};
    for (size_t len = 0; len <= 3 * SCAN_STEP + 1; len++) {
        char *text = malloc(len > 0 ? len : 1);
        assert_non_null(text);
        for (size_t at = 0; at < (len > 0 ? len : 1); at++) {
            for (int byte = 0; byte < 256; byte++) {
                memset(text, fill[(size_t)byte % sizeof(fill)], len);
                if (at < len)
                    text[at] = (char)byte;
                assert_ptr_equal(scan_word(text, text + len), word_by_bytes(text, text + len));
            }
        }
        free(text);
    }
}

/* Two ends: the first one counts. */
static void test_first(void **state)
{
    (void)state;
    static const char ends[] = {' ', '\r', '\n', '\0', '\t'};
    for (size_t a = 0; a < SCAN_STEP; a++) {
        for (size_t b = 0; b < SCAN_STEP; b++) {
            char text[SCAN_STEP];
            memset(text, '!', sizeof(text));
            text[a] = ends[a % sizeof(ends)];
            text[b] = ends[b % sizeof(ends)];
            assert_int_equal(scan_first(scan_low(scan_load(text))), a < b ? a : b);
        }
    }
}

static void test_number(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t digits; /* 0: none, or no byte behind them */
        uint32_t number;
    } rows[] = {
        {"0 ", 1, 0},
        {"64\r", 2, 64},
        {"007 ", 3, 7},
        {"999999999 ", 9, 999999999},
        {"1000000000 ", 9, 100000000},
        {"1x", 1, 1},
        {"", 0, 0},
        {"7", 0, 0},
        {" 7 ", 0, 0},
        {"-7 ", 0, 0},
        {"+7 ", 0, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *text = rows[i].text;
        uint32_t number = 0;
        const char *stop = scan_number(text, text + strlen(text), &number);
        assert_ptr_equal(stop, rows[i].digits == 0 ? NULL : text + rows[i].digits);
        if (stop != NULL)
            assert_int_equal(number, rows[i].number);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_word),
        cmocka_unit_test(test_first),
        cmocka_unit_test(test_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
