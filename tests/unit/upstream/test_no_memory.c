/* SPDX-License-Identifier: BSD-3-Clause */
/* A pool is made, and servers leave its ring and come back, while one allocation after the other fails: the ring in force
 * stays one that is whole, and nothing is left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "memory.h"
#include "upstream/pool.h"

enum { RUNS_MAX = 10000 };

/* Fails and comes back; the ring must always be one. */
static void eject_and_return(struct pool *p, uint32_t server)
{
    (void)!pool_server_failed(p, server);
    if (pool_server_ejected(p, server))
        (void)!pool_server_back(p, server);
    struct ring_version *v = pool_ring(p);
    assert_non_null(v);
    assert_true(v->live > 0 && v->ring != NULL);
    ring_release(v);
}

static bool play(const struct conf_pool *conf, uint64_t skip)
{
    uint64_t live = memory_live();
    memory_fail(skip, 1);
    struct pool *p = pool_new(conf, 0);
    if (p != NULL) {
        eject_and_return(p, 0);
        eject_and_return(p, 2);
    }
    bool failed = memory_calm() > 0;
    assert_true(failed || p != NULL);
    if (p != NULL) {
        /* With memory again, all is as it should be. */
        for (uint32_t i = 0; i < 3; i++)
            if (pool_server_ejected(p, i))
                assert_true(pool_server_back(p, i));
        struct ring_version *v = pool_ring(p);
        assert_int_equal(v->live, 3);
        ring_release(v);
        pool_free(p);
    }
    assert_int_equal(memory_live(), live);
    return failed;
}

static void every_distribution(const char *distribution)
{
    char text[512];
    uint64_t runs = 0;
    snprintf(text, sizeof(text),
             "p: {listen: 127.0.0.1:1, distribution: %s, auto_eject_hosts: true, "
             "server_failure_limit: 1, servers: [127.0.0.1:1:1 a, 127.0.0.1:2:5 b, "
             "127.0.0.1:3:1 c]}\n",
             distribution);
    struct conf *c = conf_parse("x.yml", text, strlen(text), stderr);
    assert_non_null(c);
    while (play(&c->pools[0], runs))
        assert_true(++runs < RUNS_MAX);
    assert_true(runs > 5);
    conf_free(c);
}

static void test_pool(void **state)
{
    (void)state;
    log_level_set(LEVEL_EMERG);
    every_distribution("ketama");
    every_distribution("modula");
    every_distribution("random");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pool)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
