/* SPDX-License-Identifier: BSD-3-Clause */
#include "rig.h"

#include "io/addr.h"

static void literals(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        const char *text;
    } good[] = {
        {"1.2.3.4", "1.2.3.4:80"}, {"0.0.0.0", "0.0.0.0:80"},
        {"::1", "[::1]:80"},       {"[::1]", "[::1]:80"},
        {"::", "[::]:80"},         {"[2001:db8::1:2]", "[2001:db8::1:2]:80"},
    };
    static const char *const bad[] = {"",          "localhost", "[1.2.3.4]", "[",         "[]",
                                      "1.2.3.4.5", "[::1",      "::1]",      "300.1.1.1", "a b",
                                      "*",         "1.2.3.4 ",  "[[::1]]",   "1.2.3.4:80"};
    struct addr a;
    char text[ADDR_TEXT];
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(addr_literal(&a, good[i].host, 80));
        assert_string_equal(addr_text(&a, text), good[i].text);
        assert_false(addr_is_unix(&a));
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(addr_literal(&a, bad[i], 80));
    char host[3000];
    memset(host, '1', sizeof(host));
    host[sizeof(host) - 1] = '\0';
    assert_false(addr_literal(&a, host, 80));
}

static void paths(void **state)
{
    (void)state;
    struct addr a;
    char text[ADDR_TEXT];
    char path[200];
    assert_true(addr_unix(&a, "/tmp/some.sock"));
    assert_true(addr_is_unix(&a));
    assert_string_equal(addr_text(&a, text), "/tmp/some.sock");
    assert_false(addr_unix(&a, ""));
    memset(path, 'x', sizeof(path));
    path[107] = '\0';
    assert_true(addr_unix(&a, path));
    assert_string_equal(addr_text(&a, text), path);
    path[107] = 'x';
    path[108] = '\0';
    assert_false(addr_unix(&a, path));
}

/* The kernel gives no path for the client's end, and no NUL after the longest one. */
static void paths_of_the_kernel(void **state)
{
    (void)state;
    struct addr a = {.len = sizeof(sa_family_t)};
    char text[ADDR_TEXT];
    a.u.un.sun_family = AF_UNIX;
    assert_string_equal(addr_text(&a, text), "(unix)");
    a.len = sizeof(a.u.un);
    memset(a.u.un.sun_path, 'y', sizeof(a.u.un.sun_path));
    assert_int_equal(strlen(addr_text(&a, text)), sizeof(a.u.un.sun_path));
    a.u.any.sa_family = AF_APPLETALK;
    assert_string_equal(addr_text(&a, text), "(unknown)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals),
        cmocka_unit_test(paths),
        cmocka_unit_test(paths_of_the_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
