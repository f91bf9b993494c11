/* SPDX-License-Identifier: BSD-3-Clause */
/* The health of servers and the rings that follow from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "upstream/pool.h"

#define HEAD "p:\n  listen: 127.0.0.1:1\n  hash: md5\n  server_retry_timeout: 1000\n"
#define THREE                                                                                      \
    "  servers:\n   - 127.0.0.1:7001:1 a\n   - 127.0.0.1:7002:1 b\n   - 127.0.0.1:7003:1 c\n"
#define EJECT "  auto_eject_hosts: true\n  server_failure_limit: 2\n"

struct bench {
    struct conf *conf;
    struct pool *pool;
};

static void bench_open(struct bench *b, const char *text)
{
    log_level_set(LEVEL_EMERG);
    b->conf = conf_parse("test.yml", text, strlen(text), stderr);
    assert_non_null(b->conf);
    b->pool = pool_new(&b->conf->pools[0], 0);
    assert_non_null(b->pool);
}

static void bench_close(struct bench *b)
{
    pool_free(b->pool);
    conf_free(b->conf);
}

static uint64_t number_at(struct bench *b, uint64_t now)
{
    struct ring_version *v = pool_ring(b->pool, now);
    assert_non_null(v);
    uint64_t number = v->number;
    ring_release(v);
    return number;
}

static uint32_t live_at(struct bench *b, uint64_t now)
{
    struct ring_version *v = pool_ring(b->pool, now);
    assert_non_null(v);
    uint32_t live = v->live;
    ring_release(v);
    return live;
}

static void test_without_ejection(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, HEAD THREE);
    uint64_t number = number_at(&b, 0);
    for (uint64_t now = 0; now < 100; now++)
        assert_false(pool_server_failed(b.pool, 1, now));
    assert_int_equal(number_at(&b, 100), number);
    assert_int_equal(live_at(&b, 100), 3);
    bench_close(&b);
}

static void test_ejection_and_return(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, HEAD EJECT THREE);
    uint64_t number = number_at(&b, 0);
    assert_false(pool_server_failed(b.pool, 1, 10));
    assert_true(pool_server_failed(b.pool, 1, 20));
    assert_true(number_at(&b, 20) > number);
    assert_int_equal(live_at(&b, 1019), 2);
    /* What fails while it is off the ring changes nothing. */
    for (int i = 0; i < 5; i++)
        assert_false(pool_server_failed(b.pool, 1, 500));
    assert_int_equal(live_at(&b, 1020), 3);
    bench_close(&b);
}

static void test_success_between(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, HEAD EJECT THREE);
    for (int i = 0; i < 10; i++) {
        assert_false(pool_server_failed(b.pool, 2, 10));
        pool_server_succeeded(b.pool, 2);
    }
    assert_false(pool_server_failed(b.pool, 2, 10));
    assert_true(pool_server_failed(b.pool, 2, 10));
    bench_close(&b);
}

static void test_all_ejected(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, HEAD EJECT THREE);
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t now = 100 * (uint64_t)i;
        assert_false(pool_server_failed(b.pool, i, now));
        assert_true(pool_server_failed(b.pool, i, now));
        assert_int_equal(live_at(&b, now), 2 - i);
    }
    struct ring_version *v = pool_ring(b.pool, 999);
    assert_null(v->ring);
    assert_int_equal(v->retry_at, 1000);
    ring_release(v);
    assert_int_equal(live_at(&b, 1000), 1);
    assert_int_equal(live_at(&b, 1100), 2);
    assert_int_equal(live_at(&b, 5000), 3);
    bench_close(&b);
}

/* A worker that has not looked yet keeps the ring that it has. */
static void test_old_ring_stays_for_its_holder(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, HEAD EJECT THREE);
    struct ring_version *old = pool_ring(b.pool, 0);
    assert_false(pool_server_failed(b.pool, 0, 0));
    assert_true(pool_server_failed(b.pool, 0, 0));
    struct ring_version *fresh = pool_ring(b.pool, 0);
    unsigned moved = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t was = ring_pick(old->ring, i * 4294967u, 0);
        uint32_t is = ring_pick(fresh->ring, i * 4294967u, 0);
        assert_int_not_equal(is, 0);
        assert_true(was == 0 || was == is);
        moved += was == 0;
    }
    assert_in_range(moved, 100, 600);
    assert_int_equal(old->live, 3);
    ring_release(old);
    ring_release(fresh);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_ejection),
        cmocka_unit_test(test_ejection_and_return),
        cmocka_unit_test(test_success_between),
        cmocka_unit_test(test_all_ejected),
        cmocka_unit_test(test_old_ring_stays_for_its_holder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
