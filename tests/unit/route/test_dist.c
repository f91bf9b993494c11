/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit test_dist checks the distributions: on placements that twemproxy gave, and against a ketama
 * as plain as can be. */
#include "route/dist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <md5.h>

#include "route/hash.h"

enum { MANY = 120 };

/* Members named by a format with their number, all live, of weight 1. */
static void name_members(struct dist_member *members, char (*names)[32], uint32_t count,
                         const char *prefix)
{
    for (uint32_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof(names[i]), "%s%02u", prefix, i);
        members[i] = (struct dist_member){span_str(names[i]), 1, true};
    }
}

static struct ring *must_build(enum dist_kind kind, const struct dist_member *members,
                               uint32_t count)
{
    struct ring *r = ring_build(kind, members, count);
    assert_non_null(r);
    return r;
}

static uint32_t place(const struct ring *r, const char *key)
{
    return ring_pick(r, hash_function(HASH_fnv1a_64)(span_str(key)), 0);
}

static uint32_t points_of(const struct ring *r, uint32_t wanted)
{
    uint32_t n = 0, value = 0, member = 0;
    for (uint32_t i = 0; i < ring_size(r); i++) {
        ring_point(r, i, &value, &member);
        n += member == wanted;
    }
    return n;
}

static void assert_point(const struct ring *r, uint32_t i, uint32_t value, uint32_t member)
{
    uint32_t is_value = 0, is_member = 0;
    ring_point(r, i, &is_value, &is_member);
    assert_int_equal(is_value, value);
    assert_int_equal(is_member, member);
}

static void test_ketama_weights(void **state)
{
    (void)state;
    enum { B1, ZZ, NODE_C };
    const struct dist_member members[] = {[B1] = {SPAN("b1"), 3, true},
                                          [ZZ] = {SPAN("zz"), 1, true},
                                          [NODE_C] = {SPAN("node-c"), 2, true}};
    struct ring *r = must_build(DIST_ketama, members, 3);
    assert_int_equal(ring_size(r), 480);
    assert_int_equal(points_of(r, ZZ), 80);
    assert_int_equal(points_of(r, B1), 240);
    assert_int_equal(points_of(r, NODE_C), 160);
    assert_point(r, 0, 609016, B1);
    assert_point(r, 1, 2992783, NODE_C);
    assert_point(r, 2, 4342681, ZZ);
    assert_int_equal(place(r, "a"), ZZ);
    assert_int_equal(place(r, "foo"), NODE_C);
    assert_int_equal(place(r, "hello world"), B1);
    assert_int_equal(place(r, "user:1000"), NODE_C);
    assert_int_equal(place(r, ""), B1);
    assert_false(ring_random(r));
    ring_free(r);
}

static void test_ketama_default_names(void **state)
{
    (void)state;
    /* A server on memcached's port is named by its host alone. */
    const struct dist_member members[] = {{SPAN("127.0.0.1"), 1, true},
                                          {SPAN("127.0.0.1:11212"), 1, true}};
    struct ring *r = must_build(DIST_ketama, members, 2);
    assert_int_equal(place(r, "a"), 0);
    assert_int_equal(place(r, "k1"), 0);
    assert_int_equal(place(r, "k2"), 0);
    assert_int_equal(place(r, "foo"), 1);
    assert_int_equal(place(r, "hello world"), 1);
    assert_int_equal(place(r, "user:1000"), 1);
    ring_free(r);
}

static void test_ketama_25_servers(void **state)
{
    (void)state;
    struct dist_member members[25];
    char names[25][32];
    name_members(members, names, 25, "n");
    struct ring *r = must_build(DIST_ketama, members, 25);
    assert_int_equal(ring_size(r), 3900);
    assert_int_equal(place(r, "a"), 18);
    assert_int_equal(place(r, "foo"), 11);
    assert_int_equal(place(r, "user:1000"), 12);
    ring_free(r);
}

/* For these numbers of equal servers the rounding of 32-bit floats takes four points from each
 * server. */
static void test_ketama_rounding(void **state)
{
    (void)state;
    static const uint32_t fewer[] = {25, 47, 50, 55, 61, 71, 94, 100, 107, 109, 110, 115};
    struct dist_member members[MANY];
    char names[MANY][32];
    name_members(members, names, MANY, "n");
    for (uint32_t n = 1, at = 0; n <= 115; n++) {
        bool rounded = n == fewer[at];
        at += rounded;
        for (uint32_t weight = 1; weight <= 1000; weight *= 10) {
            for (uint32_t i = 0; i < n; i++)
                members[i].weight = weight;
            struct ring *r = must_build(DIST_ketama, members, n);
            if (weight == 1)
                assert_int_equal(ring_size(r), n * (rounded ? 156 : 160));
            ring_free(r);
        }
    }
}

/* A ketama as plain as can be: all points of all live members, in no order. */
struct plain_point {
    uint32_t value;
    uint32_t member;
};

static size_t plain_points(const struct dist_member *members, uint32_t count,
                           struct plain_point *points)
{
    uint64_t total = 0;
    uint32_t live = 0;
    size_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        total += members[i].live ? members[i].weight : 0;
        live += members[i].live;
    }
    for (uint32_t i = 0; i < count; i++) {
        volatile float share = (float)members[i].weight / (float)total;
        volatile float scaled = share * 160.0f;
        volatile float quarter = scaled / 4.0f;
        volatile float all = quarter * (float)live;
        volatile float raised = (float)((double)all + 0.0000000001);
        for (uint32_t d = 0; members[i].live && d < (uint32_t)raised; d++) {
            char label[273];
            MD5_CTX md5;
            uint8_t digest[MD5_DIGEST_LENGTH];
            snprintf(label, sizeof(label), "%.*s-%u", (int)members[i].name.len, members[i].name.ptr,
                     d);
            MD5Init(&md5);
            MD5Update(&md5, (uint8_t *)label, strlen(label));
            MD5Final(digest, &md5);
            for (size_t x = 0; x < 4; x++)
                points[n++] = (struct plain_point){
                    (uint32_t)digest[4 * x] | (uint32_t)digest[4 * x + 1] << 8 |
                        (uint32_t)digest[4 * x + 2] << 16 | (uint32_t)digest[4 * x + 3] << 24,
                    i};
        }
    }
    return n;
}

/* Of the points at or behind the hash the nearest, of equal ones the first. */
static uint32_t plain_pick(const struct plain_point *points, size_t count, uint32_t hash)
{
    const struct plain_point *best = points;
    for (size_t i = 1; i < count; i++)
        if (points[i].value - hash < best->value - hash)
            best = &points[i];
    return best->member;
}

/* The ring has just the plain points, and gives the same members for hashes on, next to and between
 * them. */
static void assert_as_plain(const struct ring *r, const struct dist_member *members, uint32_t count)
{
    static struct plain_point points[MANY * 200];
    size_t n = plain_points(members, count, points);
    assert_int_equal(ring_size(r), n);
    for (size_t i = 0; i < n; i += 1 + n / 150) {
        for (uint32_t by = 0; by < 3; by++) {
            uint32_t hash = points[i].value + by - 1;
            assert_int_equal(ring_pick(r, hash, 0), plain_pick(points, n, hash));
        }
    }
    for (uint32_t i = 0; i <= 64; i++) {
        uint32_t hash = i * 0x04000000U - (i & 1);
        assert_int_equal(ring_pick(r, hash, 0), plain_pick(points, n, hash));
    }
}

static void assert_sorted(const struct ring *r)
{
    uint32_t last = 0, value = 0, member = 0;
    for (uint32_t i = 0; i < ring_size(r); i++, last = value) {
        ring_point(r, i, &value, &member);
        assert_true(value >= last);
    }
}

/* One source gives every combination of live members, in an order that makes it grow now and then.
 */
static void eject_all_combos(struct dist_member *members, uint32_t count)
{
    struct ring_source *s = ring_source_new(DIST_ketama, members, count);
    assert_non_null(s);
    bool live[8];
    for (uint32_t step = 1; step < 1U << count; step++) {
        uint32_t combo = step * 37 % (1U << count);
        if (combo == 0)
            continue;
        for (uint32_t i = 0; i < count; i++)
            members[i].live = live[i] = combo >> i & 1;
        struct ring *r = ring_source_build(s, live);
        assert_non_null(r);
        assert_sorted(r);
        assert_as_plain(r, members, count);
        ring_free(r);
    }
    ring_source_free(s);
}

static void test_ketama_ejected(void **state)
{
    (void)state;
    static const uint32_t weights[][8] = {{1, 1, 1, 1, 1, 1, 1, 1},
                                          {1, 2, 3, 4, 5, 6, 7, 8},
                                          {1, 1, 1, 1, 1, 1, 1, 1000},
                                          {1, 10, 100, 1000, 1, 50, 7, 3},
                                          {2147483647, 2147483646, 1, 5, 1, 5, 3, 9}};
    for (size_t w = 0; w < ARRAY_LEN(weights); w++) {
        struct dist_member members[8];
        char names[8][32];
        name_members(members, names, 8, "server-");
        for (uint32_t i = 0; i < 8; i++)
            members[i].weight = weights[w][i];
        eject_all_combos(members, w == 1 ? 8 : 5 + (uint32_t)w % 2);
    }
}

static void test_ketama_any_number(void **state)
{
    (void)state;
    struct dist_member members[MANY];
    char names[MANY][32];
    name_members(members, names, MANY, "cache-");
    for (uint32_t n = 1; n <= MANY; n += 7) {
        for (uint32_t i = 0; i < n; i++)
            members[i].weight = 1 + i * 7919 % 13;
        struct ring *r = must_build(DIST_ketama, members, n);
        assert_as_plain(r, members, n);
        ring_free(r);
    }
}

/* A label is cut after 272 bytes, so of a longer name all digests are the same, and servers that
 * differ only behind have the same points: the first of them has all keys. */
static void test_ketama_long_names(void **state)
{
    (void)state;
    char names[4][300];
    struct dist_member members[4];
    for (uint32_t len = 268; len <= 299; len++) {
        for (uint32_t i = 0; i < 4; i++) {
            memset(names[i], 'x', sizeof(names[i]));
            names[i][len - 1] = (char)('a' + i);
            members[i] = (struct dist_member){span_of(names[i], len), 1, true};
        }
        struct ring *r = must_build(DIST_ketama, members, 4);
        assert_int_equal(ring_size(r), 640);
        assert_sorted(r);
        assert_as_plain(r, members, 4);
        if (len > 272)
            for (uint32_t i = 0; i < 100; i++)
                assert_int_equal(ring_pick(r, i * 42949672, 0), 0);
        ring_free(r);
    }
}

static void test_ketama_source_outlived(void **state)
{
    (void)state;
    char *name = strdup("only");
    assert_non_null(name);
    struct dist_member member = {span_str(name), 5, true};
    struct ring_source *s = ring_source_new(DIST_ketama, &member, 1);
    assert_non_null(s);
    free(name); /* names are copied */
    struct ring *r = ring_source_build(s, (bool[]){true});
    assert_non_null(r);
    ring_source_free(s); /* and a ring stands alone */
    assert_int_equal(ring_size(r), 160);
    assert_int_equal(ring_pick(r, 0, 0), 0);
    assert_int_equal(ring_pick(r, UINT32_MAX, 0), 0);
    ring_free(r);
}

static void test_modula(void **state)
{
    (void)state;
    struct dist_member members[] = {
        {SPAN("a"), 3, true}, {SPAN("b"), 1, true}, {SPAN("c"), 2, false}, {SPAN("d"), 4, true}};
    static const uint32_t slots[] = {0, 0, 0, 1, 3, 3, 3, 3};
    struct ring *r = must_build(DIST_modula, members, 4);
    assert_int_equal(ring_size(r), 8);
    for (uint32_t i = 0; i < 8; i++) {
        assert_point(r, i, i, slots[i]);
        assert_int_equal(ring_pick(r, i, 12345), slots[i]);
        assert_int_equal(ring_pick(r, 8000000 + i, 0), slots[i]);
    }
    assert_int_equal(ring_pick(r, UINT32_MAX, 0), slots[UINT32_MAX % 8]);
    assert_false(ring_random(r));
    ring_free(r);
}

static void test_modula_all_combos(void **state)
{
    (void)state;
    struct dist_member members[7];
    char names[7][32];
    name_members(members, names, 7, "m");
    struct ring_source *s = NULL;
    for (uint32_t i = 0; i < 7; i++)
        members[i].weight = 1 + i * i % 5;
    s = ring_source_new(DIST_modula, members, 7);
    assert_non_null(s);
    for (uint32_t combo = 1; combo < 128; combo++) {
        uint32_t slots[64], total = 0;
        bool live[7];
        for (uint32_t i = 0; i < 7; i++) {
            live[i] = combo >> i & 1;
            for (uint32_t w = 0; live[i] && w < members[i].weight; w++)
                slots[total++] = i;
        }
        struct ring *r = ring_source_build(s, live);
        assert_non_null(r);
        assert_int_equal(ring_size(r), total);
        for (uint32_t i = 0; i < 1000; i++)
            assert_int_equal(ring_pick(r, i * 4294967, 0), slots[i * 4294967 % total]);
        ring_free(r);
    }
    ring_source_free(s);
}

/* Two thousand millions of slots a server cost no memory, and more than 2^32 of them are no
 * trouble. */
static void test_modula_huge_weights(void **state)
{
    (void)state;
    const struct dist_member members[] = {
        {SPAN("a"), INT32_MAX, true}, {SPAN("b"), INT32_MAX, true}, {SPAN("c"), INT32_MAX, true}};
    struct ring *r = must_build(DIST_modula, members, 2);
    assert_int_equal(ring_size(r), 2U * INT32_MAX);
    assert_int_equal(ring_pick(r, INT32_MAX - 1, 0), 0);
    assert_int_equal(ring_pick(r, INT32_MAX, 0), 1);
    assert_int_equal(ring_pick(r, UINT32_MAX, 0), 0);
    ring_free(r);
    r = must_build(DIST_modula, members, 3);
    assert_int_equal(ring_size(r), UINT32_MAX);
    assert_int_equal(ring_pick(r, INT32_MAX, 0), 1);
    assert_int_equal(ring_pick(r, 2U * INT32_MAX, 0), 2);
    assert_int_equal(ring_pick(r, UINT32_MAX, 0), 2);
    ring_free(r);
}

static void test_random(void **state)
{
    (void)state;
    const struct dist_member members[] = {
        {SPAN("a"), 1000, true}, {SPAN("b"), 1, false}, {SPAN("c"), 1, true}, {SPAN("d"), 7, true}};
    struct ring *r = must_build(DIST_random, members, 4);
    uint32_t seen[4] = {0};
    assert_true(ring_random(r));
    assert_int_equal(ring_size(r), 3);
    assert_point(r, 1, 1, 2);
    for (uint32_t i = 0; i < 3000; i++)
        seen[ring_pick(r, 99, i)]++;
    assert_int_equal(seen[0], 1000);
    assert_int_equal(seen[1], 0);
    assert_int_equal(seen[2], 1000);
    assert_int_equal(seen[3], 1000);
    assert_in_range(ring_pick(r, 0, UINT32_MAX), 0, 3);
    ring_free(r);
}

static void test_one_member(void **state)
{
    (void)state;
    const struct dist_member members[] = {{SPAN("dead"), 1, false}, {SPAN(""), 1, true}};
    for (size_t kind = 0; kind < DIST_KINDS; kind++) {
        struct ring *r = must_build((enum dist_kind)kind, members, 2);
        for (uint32_t i = 0; i < 64; i++)
            assert_int_equal(ring_pick(r, i * 67108864, i * 67108864), 1);
        ring_free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ketama_weights),
        cmocka_unit_test(test_ketama_default_names),
        cmocka_unit_test(test_ketama_25_servers),
        cmocka_unit_test(test_ketama_rounding),
        cmocka_unit_test(test_ketama_ejected),
        cmocka_unit_test(test_ketama_any_number),
        cmocka_unit_test(test_ketama_long_names),
        cmocka_unit_test(test_ketama_source_outlived),
        cmocka_unit_test(test_modula),
        cmocka_unit_test(test_modula_all_combos),
        cmocka_unit_test(test_modula_huge_weights),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_one_member),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
