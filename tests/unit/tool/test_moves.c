/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/moves.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "pools.h"

struct change {
    struct test_pool old;
    struct test_pool new;
    struct moves moves;
};

static struct change change_of(const char *old, const char *new)
{
    struct change c = {.old = pool_of(old), .new = pool_of(new)};
    assert_true(moves_find(&c.moves, c.old.spread, c.new.spread));
    return c;
}

static void change_gone(struct change *c)
{
    moves_free(&c->moves);
    pool_gone(&c->old);
    pool_gone(&c->new);
}

static double part_between(const struct change *c, uint32_t from, uint32_t to)
{
    for (size_t i = 0; i < c->moves.count; i++)
        if (c->moves.all[i].from == from && c->moves.all[i].to == to)
            return c->moves.all[i].part;
    return 0;
}

/* Each pair of pools with crc32, of which there are so few hashes that all can be tried. */
static void test_against_every_hash(void **state)
{
    static const char *const pools[] = {
        "hash: crc32, servers: [a:1:1, b:1:1]",
        "hash: crc32, distribution: modula, servers: [a:1:1, b:1:2, c:1:4]",
        "hash: crc32, distribution: modula, servers: [a:1:1, c:1:4]",
        "hash: crc32, distribution: modula, servers: [c:1:311, b:1:500, d:1:6]",
        "hash: crc32, distribution: modula, servers: [a:1:20000, b:1:20000]",
        "hash: crc32, servers: [a:1:100, b:1:100, c:1:30000, d:1:20000]",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pools); i++) {
        for (size_t k = 0; k < ARRAY_LEN(pools); k++) {
            struct change c = change_of(pools[i], pools[k]);
            double counted[4][4] = {{0}}, sum = 0;
            for (uint32_t hash = 0; hash < 32768; hash++)
                counted[spread_server(c.old.spread, hash)][spread_server(c.new.spread, hash)] +=
                    1.0 / 32768;
            for (uint32_t a = 0; a < c.old.spread->conf->server_count; a++) {
                for (uint32_t b = 0; b < c.new.spread->conf->server_count; b++) {
                    bool same = strcmp(c.old.spread->conf->servers[a].name,
                                       c.new.spread->conf->servers[b].name) == 0;
                    assert_true(part_between(&c, a, b) == (same ? 0 : counted[a][b]));
                    sum += part_between(&c, a, b);
                }
            }
            assert_true(c.moves.moved == sum);
            assert_int_equal(c.moves.method, MOVES_EXACT);
            change_gone(&c);
        }
    }
}

static uint32_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

/* With 32 bits a sample must do: 400,000 hashes are off by 0.4 % at most, but for one time in millions. */
static void test_against_a_sample(void **state)
{
    static const char *const pools[] = {
        "hash: md5, servers: [a:1:1, b:1:1, c:1:2]",
        "hash: md5, servers: [a:1:1, b:1:1, c:1:2, d:1:1]",
        "hash: md5, distribution: modula, servers: [a:1:1, b:1:1, c:1:2]",
        "hash: md5, distribution: modula, servers: [a:1:1, d:1:1, c:1:3]",
        "hash: md5, distribution: modula, servers: [a:1:2147483647, b:1:1000000000]",
    };
    uint64_t random = 42;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pools); i++) {
        for (size_t k = 0; k < ARRAY_LEN(pools); k++) {
            struct change c = change_of(pools[i], pools[k]);
            int moved = 0;
            for (int n = 0; n < 400000; n++) {
                uint32_t hash = draw(&random);
                uint32_t a = spread_server(c.old.spread, hash);
                uint32_t b = spread_server(c.new.spread, hash);
                moved += strcmp(c.old.spread->conf->servers[a].name,
                                c.new.spread->conf->servers[b].name) != 0;
            }
            double off = moved / 400000.0 - c.moves.moved;
            assert_true(off < 0.004 && off > -0.004);
            change_gone(&c);
        }
    }
}

static void test_one_server_more(void **state)
{
    struct change c =
        change_of("servers: [x:1:1 a, x:2:1 b]", "servers: [x:1:1 a, x:2:1 b, x:3:1 c]");
    (void)state;
    /* What moves goes to the new server, and to nobody else. */
    assert_int_equal(c.moves.count, 2);
    assert_int_equal(c.moves.all[0].to, 2);
    assert_int_equal(c.moves.all[1].to, 2);
    assert_true(c.moves.all[0].part >= c.moves.all[1].part);
    assert_true(c.moves.moved == c.new.spread->shares[2]);
    change_gone(&c);
}

static void test_nothing(void **state)
{
    struct change c = change_of("servers: [x:1:1 a, x:2:1 b]", "servers: [y:7:1 b, y:8:1 a]");
    (void)state;
    assert_int_equal(c.moves.count, 0);
    assert_true(c.moves.moved == 0);
    change_gone(&c);
}

static void test_other_hash(void **state)
{
    struct change c = change_of("hash: md5, distribution: modula, servers: [a:1:1, b:1:1]",
                                "hash: murmur, distribution: modula, servers: [a:1:1, b:1:1]");
    (void)state;
    assert_int_equal(c.moves.method, MOVES_EXPECTED);
    assert_true(c.moves.moved == 0.5);
    change_gone(&c);
}

static void test_random_has_no_moves(void **state)
{
    struct change c =
        change_of("distribution: random, servers: [a:1:1, b:1:1]", "servers: [a:1:1, b:1:1]");
    (void)state;
    assert_int_equal(c.moves.method, MOVES_NONE);
    assert_int_equal(c.moves.count, 0);
    change_gone(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_every_hash), cmocka_unit_test(test_against_a_sample),
        cmocka_unit_test(test_one_server_more),    cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_other_hash),         cmocka_unit_test(test_random_has_no_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
