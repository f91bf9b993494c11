/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit test_hash checks the hashes on values that twemproxy gave on x86. It is built twice, once
 * with an unsigned plain `char` as on ARM: the values are the same. */
#include "route/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/must.h"

enum { KEYS = 5, LONGEST = 64 };

static const struct span keys[KEYS] = {
    {"a", 1}, {"foo", 3}, {"hello world", 11}, {"user:1000", 9}, {"\xff\x80z", 3},
};

struct golden {
    enum hash_kind kind;
    uint32_t hashes[KEYS];
    uint32_t all_lengths; /* see test_all_lengths */
};

static const struct golden goldens[HASH_KINDS] = {
    {HASH_one_at_a_time, {3392050242, 596015325, 1045060183, 3043211087, 2816916234}, 2001237874},
    {HASH_md5, {3111502092, 3675831724, 3141252702, 781738503, 289677374}, 633559477},
    {HASH_crc16, {31879, 205303702, 4060494820, 3781445233, 512887590}, 208750486},
    {HASH_crc32, {26807, 3187, 3402, 8052, 19082}, 3517388221},
    {HASH_crc32a, {3904355907, 2356372769, 222957957, 2675185635, 3398102422}, 1595112064},
    {HASH_fnv1_64, {2248259518, 1805727027, 2979073647, 3550362913, 1813151706}, 1264076271},
    {HASH_fnv1a_64, {2248273036, 4275688823, 37540583, 2927313545, 1912617008}, 559182677},
    {HASH_fnv1_32, {84696446, 1083137555, 1418570095, 2796551329, 817040666}, 2880123695},
    {HASH_fnv1a_32, {3826002220, 2851307223, 3582672807, 1350311305, 2547836304}, 3406779189},
    {HASH_hsieh, {2472816263, 1993659431, 1333368947, 3723237737, 850028070}, 344495333},
    {HASH_murmur, {1262581116, 3303027599, 1578702139, 2384768711, 3709053664}, 761715418},
    {HASH_jenkins, {3768813200, 2583187353, 355681275, 76303748, 1217046158}, 1045152331},
};

static void test_golden(void **state)
{
    (void)state;
    for (size_t i = 0; i < HASH_KINDS; i++) {
        assert_int_equal(goldens[i].kind, i);
        for (size_t k = 0; k < KEYS; k++)
            assert_int_equal(hash_function(goldens[i].kind)(keys[k]), goldens[i].hashes[k]);
    }
}

static void test_empty_key_is_zero(void **state)
{
    (void)state;
    for (size_t i = 0; i < HASH_KINDS; i++) {
        assert_int_equal(hash_function((enum hash_kind)i)(SPAN("")), 0);
        assert_int_equal(hash_function((enum hash_kind)i)(span_of(NULL, 0)), 0);
    }
}

/* Bytes of every kind and no period; every second one is 0x80 or more. */
static void fill(char *to, size_t len)
{
    uint32_t x = 12345 + (uint32_t)len;
    for (size_t i = 0; i < len; i++) {
        x = x * 1664525 + 1013904223;
        to[i] = (char)(x >> 24);
    }
}

/* Every length up to 64, in memory of just that size so that a sanitizer sees a byte too many, all
 * in one sum. */
static void test_all_lengths(void **state)
{
    (void)state;
    for (size_t i = 0; i < HASH_KINDS; i++) {
        uint32_t sum = 0;
        for (size_t len = 1; len <= LONGEST; len++) {
            char *key = malloc(len);
            assert_non_null(key);
            fill(key, len);
            sum = sum * 31 + hash_function((enum hash_kind)i)(span_of(key, len));
            free(key);
        }
        assert_int_equal(sum, goldens[i].all_lengths);
    }
}

static void test_any_alignment(void **state)
{
    (void)state;
    char key[LONGEST], room[LONGEST + 8];
    fill(key, sizeof(key));
    for (size_t i = 0; i < HASH_KINDS; i++) {
        hash_fn *hash = hash_function((enum hash_kind)i);
        for (size_t len = 1; len <= LONGEST; len++) {
            for (size_t offset = 0; offset < 8; offset++) {
                memcpy(room + offset, key, len);
                assert_int_equal(hash(span_of(room + offset, len)), hash(span_of(key, len)));
            }
        }
    }
}

/* The remainder of one byte, bit by bit. */
static uint32_t crc_by_bits(uint32_t c, uint32_t b, bool reflected)
{
    c ^= reflected ? b : b << 8;
    for (int bit = 0; bit < 8; bit++) {
        if (reflected)
            c = (c & 1) ? (c >> 1) ^ 0xedb88320U : c >> 1;
        else
            c = (c & 0x8000) ? ((c << 1) ^ 0x1021U) & 0xffff : (c << 1) & 0xffff;
    }
    return c;
}

/* The tables are computed from their single bits: here is every entry by the definition. */
static void test_crc_of_every_byte(void **state)
{
    (void)state;
    for (uint32_t b = 0; b < 256; b++) {
        char key[2] = {0, (char)b};
        struct span one = span_of(key + 1, 1);
        assert_int_equal(hash_function(HASH_crc16)(one), crc_by_bits(0, b, false));
        assert_int_equal(hash_function(HASH_crc32a)(one), ~crc_by_bits(0xffffffffU, b, true));
    }
}

static void test_crc_check_values(void **state)
{
    (void)state;
    struct span check = SPAN("123456789");
    assert_int_equal(hash_function(HASH_crc16)(check) & 0xffff, 0x31c3);
    assert_int_equal(hash_function(HASH_crc32a)(check), 0xcbf43926);
    assert_int_equal(hash_function(HASH_crc32)(check), 0xcbf43926 >> 16 & 0x7fff);
}

struct tag_case {
    struct span key;
    struct span tag;
    struct span hashed;
};

static const struct tag_case tag_cases[] = {
    {{"a{b}c", 5}, {"{}", 2}, {"b", 1}},
    {{"{user1}.a", 9}, {"{}", 2}, {"user1", 5}},
    {{"a{b}c", 5}, {"", 0}, {"a{b}c", 5}},
    {{"a{}c", 4}, {"{}", 2}, {"a{}c", 4}},
    {{"a{}{b}", 6}, {"{}", 2}, {"a{}{b}", 6}}, /* only the first pair counts */
    {{"a{b", 3}, {"{}", 2}, {"a{b", 3}},
    {{"ab}", 3}, {"{}", 2}, {"ab}", 3}},
    {{"}a{b}", 5}, {"{}", 2}, {"b", 1}}, /* a closing one before the first opening one */
    {{"}a{b", 4}, {"{}", 2}, {"}a{b", 4}},
    {{"{{a}}", 5}, {"{}", 2}, {"{a", 2}},
    {{"a|bc|d", 6}, {"||", 2}, {"bc", 2}}, /* the same character twice */
    {{"a||d", 4}, {"||", 2}, {"a||d", 4}},
    {{"a||d|", 5}, {"||", 2}, {"a||d|", 5}},
    {{"|", 1}, {"||", 2}, {"|", 1}},
    {{"{", 1}, {"{}", 2}, {"{", 1}},
    {{"x{", 2}, {"{}", 2}, {"x{", 2}},
    {{"", 0}, {"{}", 2}, {"", 0}},
    {{"a\0b\xff"
      "c",
      5},
     {"\0\xff", 2},
     {"b", 1}},
};

static void test_tags(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(tag_cases); i++) {
        const struct tag_case *c = &tag_cases[i];
        struct span hashed = hash_tagged(c->key, c->tag);
        assert_true(span_eq(hashed, c->hashed));
        assert_true(hashed.ptr >= c->key.ptr && hashed.ptr <= c->key.ptr + c->key.len);
    }
    assert_int_equal(hash_tagged(span_of(NULL, 0), SPAN("{}")).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_empty_key_is_zero),
        cmocka_unit_test(test_all_lengths),
        cmocka_unit_test(test_any_alignment),
        cmocka_unit_test(test_crc_of_every_byte),
        cmocka_unit_test(test_crc_check_values),
        cmocka_unit_test(test_tags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
