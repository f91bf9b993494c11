/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/spread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "pools.h"
#include "tool/advice.h"

static const char *const kinds[] = {
    "servers: [a:1:1, b:1:1, c:1:1]",
    "hash: murmur, servers: [zz:1:1 zz, b1:1:3 b1, node:1:2 node-c]",
    "hash: crc32, servers: [a:1:1, b:1:1, c:1:1, d:1:9, e:1:1]",
    "distribution: modula, servers: [a:1:1, b:1:2, c:1:7]",
    "distribution: modula, hash: crc32, servers: [a:1:70000, b:1:2, c:1:7]",
    "distribution: modula, servers: [a:1:2147483647, b:1:2147483646, c:1:2]",
    "distribution: random, servers: [a:1:3]",
    "servers: [a:1:3]",
};

/* The server of a hash by the runs alone. */
static uint32_t by_runs(const struct spread *s, uint64_t hash)
{
    size_t i = 0;
    while (s->runs[i].end <= hash % s->period)
        i++;
    return s->runs[i].server;
}

static uint32_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

static void test_runs_are_the_ring(void **state)
{
    uint64_t random = 1;
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct test_pool p = pool_of(kinds[k]);
        const struct spread *s = p.spread;
        for (int i = 0; i < 3000; i++) {
            uint32_t hash = (uint32_t)(draw(&random) % s->values);
            assert_int_equal(by_runs(s, hash), spread_server(s, hash));
        }
        /* Edges are where an error by one would be. */
        for (size_t i = 0; i < s->run_count; i++) {
            uint32_t last = (uint32_t)(s->runs[i].end - 1);
            assert_int_equal(by_runs(s, last), spread_server(s, last));
            assert_int_equal(by_runs(s, last + 1u), spread_server(s, last + 1u));
        }
        pool_gone(&p);
    }
}

static void test_shares_are_counted(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct test_pool p = pool_of(kinds[k]);
        const struct spread *s = p.spread;
        double sum = 0;
        uint64_t begin = 0;
        for (uint32_t i = 0; i < s->conf->server_count; i++)
            sum += s->shares[i];
        assert_true(sum > 1 - 1e-12 && sum < 1 + 1e-12);
        for (size_t i = 0; i < s->run_count; begin = s->runs[i++].end)
            assert_true(s->runs[i].end > begin);
        pool_gone(&p);
    }
}

static void test_modula_is_exact(void **state)
{
    struct test_pool p = pool_of(kinds[3]);
    (void)state;
    /* 2^32 = 429496729 * 10 + 6: the first six remainders come once more. */
    assert_true(p.spread->shares[0] == (429496729.0 + 1) / 4294967296.0);
    assert_true(p.spread->shares[1] == (429496729.0 * 2 + 2) / 4294967296.0);
    assert_true(p.spread->shares[2] == (429496729.0 * 7 + 3) / 4294967296.0);
    assert_int_equal(p.spread->points[2], 7);
    pool_gone(&p);
}

/* A ring that twemproxy itself was seen to build. */
static void test_known_ring(void **state)
{
    struct test_pool p = pool_of("servers: [x:1:1 zz, x:2:3 b1, x:3:2 node-c]");
    const struct spread *s = p.spread;
    (void)state;
    assert_int_equal(s->points[0] + s->points[1] + s->points[2], 480);
    assert_int_equal(s->runs[0].end, 609016 + 1);
    assert_string_equal(s->conf->servers[s->runs[0].server].name, "b1");
    uint32_t server = spread_server(s, spread_hash(s, SPAN("hello world")));
    assert_string_equal(s->conf->servers[server].name, "b1");
    assert_int_equal(spread_hash(s, SPAN("a")), 2248273036u);
    pool_gone(&p);
}

static void test_hash_tag(void **state)
{
    struct test_pool p = pool_of("hash_tag: '{}', servers: [a:1:1, b:1:1]");
    (void)state;
    assert_int_equal(spread_hash(p.spread, SPAN("x{foo}y")), spread_hash(p.spread, SPAN("foo")));
    assert_int_equal(spread_hash(p.spread, SPAN("")), 0);
    pool_gone(&p);
}

static void test_random(void **state)
{
    struct test_pool p = pool_of("distribution: random, servers: [a:1:9, b:1:1]");
    (void)state;
    assert_true(p.spread->random);
    assert_true(p.spread->shares[0] == 0.5 && p.spread->shares[1] == 0.5);
    assert_true(spread_due(p.spread, 0) == 0.5);
    pool_gone(&p);
}

/* How far apart hashes of keys are that differ in their last character. */
static unsigned apart_at_most(const struct spread *s)
{
    uint32_t most = 0;
    for (int a = 0; a < 128; a++) {
        for (int b = 0; b < 128; b++) {
            char one[] = {'k', 'e', 'y', ':', (char)a}, two[] = {'k', 'e', 'y', ':', (char)b};
            uint32_t up = spread_hash(s, span_of(one, 5)) - spread_hash(s, span_of(two, 5));
            uint32_t near = up < -up ? up : -up;
            most = near > most ? near : most;
        }
    }
    return most;
}

static void test_advice_on_clusters(void **state)
{
    static const struct {
        const char *hash;
        bool clusters;
    } hashes[] = {{"fnv1a_64", true}, {"fnv1_64", true}, {"fnv1_32", true}, {"crc16", true},
                  {"murmur", false},  {"md5", false},    {"crc32a", false}, {"fnv1a_32", false}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hashes); i++) {
        char keys[128], number[32];
        struct advice advice[ADVICE_MAX];
        snprintf(keys, sizeof(keys), "hash: %s, servers: [a:1:1, b:1:1]", hashes[i].hash);
        struct test_pool p = pool_of(keys);
        size_t count = advice_of_pool(p.spread, advice);
        unsigned apart = apart_at_most(p.spread);
        assert_int_equal(count, hashes[i].clusters ? 1 : 0);
        assert_true((apart < 70000) == hashes[i].clusters);
        if (hashes[i].clusters) {
            unsigned said = 0;
            snprintf(number, sizeof(number), "%u", apart);
            assert_int_equal(sscanf(strstr(advice[0].text, "at most "), "at most %u", &said), 1);
            assert_true(apart <= said);
        }
        pool_gone(&p);
    }
}

static void test_advice_on_crc32(void **state)
{
    struct advice advice[ADVICE_MAX];
    struct test_pool p = pool_of(kinds[2]);
    (void)state;
    assert_int_equal(advice_of_pool(p.spread, advice), 1);
    assert_true(advice[0].warning);
    assert_non_null(strstr(advice[0].text, "100.00 % of the keys go to"));
    pool_gone(&p);
    p = pool_of(kinds[4]);
    assert_int_equal(advice_of_pool(p.spread, advice), 0);
    pool_gone(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_are_the_ring),  cmocka_unit_test(test_shares_are_counted),
        cmocka_unit_test(test_modula_is_exact),    cmocka_unit_test(test_known_ring),
        cmocka_unit_test(test_hash_tag),           cmocka_unit_test(test_random),
        cmocka_unit_test(test_advice_on_clusters), cmocka_unit_test(test_advice_on_crc32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
