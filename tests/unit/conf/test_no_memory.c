/* SPDX-License-Identifier: BSD-3-Clause */
/* A configuration and a command line are read again and again, and each time another allocation of ours fails: they are
 * refused with a reason then, and nothing is left behind. (What the YAML library allocates is its own.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "conf/conf.h"
#include "conf/options.h"
#include "memory.h"
#include "said.h"

enum { RUNS_MAX = 10000 };

static const char good[] =
    "global: {stats_addr: 127.0.0.1, pid_file: /x, output: /y}\n"
    "one: &one\n  listen: /tmp/a.sock 0660\n  redis: true\n  redis_auth: secret\n  hash_tag: '{}'\n"
    "  servers: [127.0.0.1:1:1 a, '[::1]:2:2 b', /c.sock:1, host:11211:1]\n"
    "two:\n  <<: *one\n  listen: 127.0.0.1:2\n";

static const char bad[] = "one: {listen: here, timeout: soon, hsh: md5, servers: [nowhere]}\n"
                          "one: {servers: []}\n";

/* Reads the text while allocation number `skip` fails; true if one did. */
static bool read_conf(const char *text, bool valid, uint64_t skip)
{
    struct said said;
    said_open(&said);
    uint64_t live = memory_live();
    memory_fail(skip, 1);
    struct conf *c = conf_parse("x.yml", text, strlen(text), said.file);
    bool failed = memory_calm() > 0;
    assert_true(failed || (c != NULL) == valid);
    assert_true(c != NULL || said_span(&said).len > 0);
    conf_free(c);
    assert_int_equal(memory_live(), live);
    said_close(&said);
    return failed;
}

static void test_conf(void **state)
{
    (void)state;
    uint64_t runs = 0;
    while (read_conf(good, true, runs))
        assert_true(++runs < RUNS_MAX);
    assert_true(runs > 50);
    runs = 0;
    while (read_conf(bad, false, runs))
        assert_true(++runs < RUNS_MAX);
    assert_true(runs > 5);
}

static bool read_options(const struct conf *c, uint64_t skip)
{
    char *argv[] = {(char[]){"cashew"},
                    (char[]){"-c"},
                    (char[]){"x.yml"},
                    (char[]){"-o"},
                    (char[]){"out"},
                    (char[]){"--io=epoll"},
                    NULL};
    struct options o;
    struct said said;
    said_open(&said);
    uint64_t live = memory_live();
    memory_fail(skip, 1);
    bool ok = options_read(&o, 6, argv, said.file);
    bool merged = ok && conf_global_merge(&o.set, &c->global);
    bool failed = memory_calm() > 0;
    assert_true(failed || merged);
    assert_true(ok || said_span(&said).len > 0);
    options_free(&o);
    assert_int_equal(memory_live(), live);
    said_close(&said);
    return failed;
}

static void test_options(void **state)
{
    (void)state;
    struct conf *c = conf_parse("x.yml", good, strlen(good), stderr);
    uint64_t runs = 0;
    assert_non_null(c);
    while (read_options(c, runs))
        assert_true(++runs < RUNS_MAX);
    assert_true(runs > 5);
    conf_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conf),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
