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

static uint64_t number_now(struct bench *b)
{
    struct ring_version *v = pool_ring(b->pool);
    uint64_t number = v->number;
    ring_release(v);
    return number;
}

static uint32_t live_now(struct bench *b)
{
    struct ring_version *v = pool_ring(b->pool);
    uint32_t live = v->live;
    ring_release(v);
    return live;
}

/* Fails so often, and must be ejected by the last of these. */
static void eject(struct bench *b, uint32_t server, unsigned failures)
{
    for (unsigned i = 1; i < failures; i++)
        assert_false(pool_server_failed(b->pool, server));
    assert_true(pool_server_failed(b->pool, server));
    assert_true(pool_server_ejected(b->pool, server));
}

static void test_without_ejection(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, HEAD THREE);
    uint64_t number = number_now(&b);
    for (unsigned i = 0; i < 100; i++)
        assert_false(pool_server_failed(b.pool, 1));
    assert_int_equal(number_now(&b), number);
    assert_int_equal(live_now(&b), 3);
    bench_close(&b);
}

static void test_ejection_and_return(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, HEAD EJECT THREE);
    uint64_t number = number_now(&b);
    eject(&b, 1, 2);
    assert_true(number_now(&b) > number);
    /* What fails while it is off the ring changes nothing, also for later. */
    for (int i = 0; i < 5; i++)
        assert_false(pool_server_failed(b.pool, 1));
    assert_int_equal(live_now(&b), 2);
    assert_true(pool_server_back(b.pool, 1));
    assert_int_equal(live_now(&b), 3);
    assert_false(pool_server_ejected(b.pool, 1));
    eject(&b, 1, 2);
    bench_close(&b);
}

static void test_success_between(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, HEAD EJECT THREE);
    for (int i = 0; i < 10; i++) {
        assert_false(pool_server_failed(b.pool, 2));
        pool_server_succeeded(b.pool, 2);
    }
    eject(&b, 2, 2);
    bench_close(&b);
}

/* A server that is loading answers requests, with errors: that must not hide what checks found. */
static void test_checks_count_apart(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, HEAD EJECT THREE);
    assert_false(pool_check_failed(b.pool, 0, SPAN("-LOADING")));
    pool_server_succeeded(b.pool, 0);
    assert_true(pool_check_failed(b.pool, 0, SPAN("-LOADING")));
    assert_int_equal(live_now(&b), 2);
    assert_true(pool_server_back(b.pool, 0));
    assert_false(pool_check_failed(b.pool, 0, SPAN("-LOADING")));
    pool_check_passed(b.pool, 0);
    assert_false(pool_check_failed(b.pool, 0, SPAN("-LOADING")));
    bench_close(&b);
}

static void test_all_ejected(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, HEAD EJECT THREE);
    for (uint32_t i = 0; i < 3; i++) {
        eject(&b, i, 2);
        assert_int_equal(live_now(&b), 2 - i);
    }
    struct ring_version *v = pool_ring(b.pool);
    assert_null(v->ring);
    ring_release(v);
    assert_true(pool_server_back(b.pool, 1));
    assert_int_equal(live_now(&b), 1);
    bench_close(&b);
}

static void fail_all(struct bench *b, unsigned failures)
{
    for (uint32_t i = 0; i < b->pool->server_count; i++)
        for (unsigned k = 0; k < failures; k++)
            (void)!pool_server_failed(b->pool, i);
}

static void test_min_live(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t live;
    } rows[] = {{"0", 0},   {"1", 1},   {"2", 2},   {"3", 3},   {"0%", 0},
                {"30%", 1}, {"50%", 2}, {"67%", 3}, {"100%", 3}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bench b;
        char text[512];
        snprintf(text, sizeof(text), "%s  min_live: %s\n", HEAD EJECT THREE, rows[i].text);
        bench_open(&b, text);
        fail_all(&b, 5);
        assert_int_equal(live_now(&b), rows[i].live);
        bench_close(&b);
    }
}

/* Who was held on the ring goes with its next failure, once another one is back. */
static void test_min_live_lets_go(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, HEAD EJECT THREE "  min_live: 2\n");
    eject(&b, 0, 2);
    for (int i = 0; i < 3; i++)
        assert_false(pool_server_failed(b.pool, 1));
    assert_true(pool_server_back(b.pool, 0));
    assert_true(pool_server_failed(b.pool, 1));
    bench_close(&b);
}

/* No key moves, whoever is away. */
static void test_on_eject_fail(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, HEAD EJECT THREE "  on_eject: fail\n");
    struct ring_version *before = pool_ring(b.pool);
    fail_all(&b, 2);
    struct ring_version *after = pool_ring(b.pool);
    assert_int_equal(after->live, 0);
    assert_non_null(after->ring);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(ring_pick(before->ring, i * 4294967u, 0),
                         ring_pick(after->ring, i * 4294967u, 0));
    for (uint32_t i = 0; i < 3; i++)
        assert_true(after->ejected[i] && !before->ejected[i]);
    ring_release(before);
    ring_release(after);
    bench_close(&b);
}

/* A worker that has not looked yet keeps the ring that it has. */
static void test_old_ring_stays_for_its_holder(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, HEAD EJECT THREE);
    struct ring_version *old = pool_ring(b.pool);
    eject(&b, 0, 2);
    struct ring_version *fresh = pool_ring(b.pool);
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
        cmocka_unit_test(test_checks_count_apart),
        cmocka_unit_test(test_all_ejected),
        cmocka_unit_test(test_min_live),
        cmocka_unit_test(test_min_live_lets_go),
        cmocka_unit_test(test_on_eject_fail),
        cmocka_unit_test(test_old_ring_stays_for_its_holder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
