/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/must.h"
#include "proto/redis/glob.h"

static void test_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        const char *text;
        bool match;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "abc", true},
        {"a*c", "abbc", true},
        {"a*c", "abb", false},
        {"*max*", "maxmemory", true},
        {"MAX*", "maxmemory", true},
        {"?", "a", true},
        {"?", "", false},
        {"a?c", "abc", true},
        {"[ab]", "b", true},
        {"[^ab]", "b", false},
        {"[^ab]", "c", true},
        {"[a-c]x", "bx", true},
        {"[c-a]x", "bx", true},
        {"[a-c]x", "dx", false},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"[a", "a", true},
        {"[", "a", false},
        {"\\", "\\", true},
        {"**a", "bba", true},
        {"*a*b*c", "xaybzc", true},
        {"*a*b*c", "xaybz", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(glob_match(span_str(cases[i].pattern), span_str(cases[i].text)),
                         cases[i].match);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_patterns)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
