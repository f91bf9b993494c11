/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/slab.h"

#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { MANY = 5000 };

static void test_empty(void **state)
{
    (void)state;
    struct slab s;
    slab_init(&s, 100);
    assert_null(s.pages); /* nothing allocated yet */
    assert_int_equal(s.size % alignof(max_align_t), 0);
    slab_free(&s);
    slab_free(&s);
}

/* Objects of every size are apart, aligned and hold their bytes. */
static void assert_apart(size_t size)
{
    static unsigned char *objects[MANY];
    struct slab s;
    slab_init(&s, size);
    for (size_t i = 0; i < MANY; i++) {
        objects[i] = slab_borrow(&s);
        assert_non_null(objects[i]);
        assert_int_equal((uintptr_t)objects[i] % alignof(max_align_t), 0);
        memset(objects[i], (int)(i % 251), size);
    }
    assert_int_equal(s.live, MANY);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(objects[i][0], i % 251);
        assert_int_equal(objects[i][size - 1], i % 251);
    }
    for (size_t i = 0; i < MANY; i++)
        slab_return(&s, objects[i]);
    assert_int_equal(s.live, 0);
    slab_free(&s);
}

static void test_apart(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 7, 8, 16, 17, 100, 512, 4080, 4095};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        assert_apart(sizes[i]);
}

static void test_reuse(void **state)
{
    (void)state;
    struct slab s;
    slab_init(&s, 48);
    void *first = slab_borrow(&s), *second = slab_borrow(&s);
    assert_ptr_not_equal(first, second);
    slab_return(&s, first);
    slab_return(&s, second);
    assert_ptr_equal(slab_borrow(&s), second); /* the last returned is the warmest */
    assert_ptr_equal(slab_borrow(&s), first);
    slab_return(&s, first);
    slab_return(&s, second);
    slab_free(&s);
    first = slab_borrow(&s); /* and it can be used on */
    assert_non_null(first);
    slab_return(&s, first);
    slab_free(&s);
}

/* Borrowed and returned at random, it never grows beyond what was out at once. */
static void test_at_random(void **state)
{
    (void)state;
    static uint32_t *out[200];
    struct slab s;
    uint32_t seed = 7;
    slab_init(&s, 64);
    for (uint32_t step = 0; step < 100000; step++) {
        seed = seed * 1664525 + 1013904223;
        uint32_t i = (seed >> 8) % ARRAY_LEN(out);
        if (out[i] == NULL) {
            out[i] = slab_borrow(&s);
            assert_non_null(out[i]);
            *out[i] = i;
        } else {
            assert_int_equal(*out[i], i);
            slab_return(&s, out[i]);
            out[i] = NULL;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(out); i++)
        if (out[i] != NULL)
            slab_return(&s, out[i]);
    assert_non_null(s.pages);
    assert_null(*(void **)s.pages); /* one page of 16 KiB has room for all 200 */
    slab_free(&s);
}

static void *objects[MANY];

static void borrow_many(struct slab *s)
{
    for (size_t i = 0; i < MANY; i++) {
        objects[i] = slab_borrow(s);
        assert_non_null(objects[i]);
        memset(objects[i], (int)(i % 251), s->size);
    }
}

/* Pages that nobody needs are freed, but not by the look that saw them grow, and a few are kept. */
static void test_shed(void **state)
{
    (void)state;
    struct slab s;
    struct meter meter = {0};
    slab_init(&s, 320);
    slab_meter(&s, &meter);
    borrow_many(&s);
    size_t pages = s.page_count;
    assert_int_equal(meter.used, pages * 16384);
    assert_false(slab_can_shed(&s));
    for (size_t i = 0; i < MANY; i++)
        slab_return(&s, objects[i]);
    assert_true(slab_can_shed(&s));
    assert_int_equal(slab_shed(&s), 0);
    assert_int_equal(slab_shed(&s), (pages - 4) * 16384);
    assert_int_equal(meter.used, 4 * 16384);
    assert_false(slab_can_shed(&s));
    borrow_many(&s); /* and it grows again */
    assert_int_equal(s.page_count, pages);
    for (size_t i = 0; i < MANY; i++)
        slab_return(&s, objects[i]);
    slab_free(&s);
    assert_int_equal(meter.used, 0);
}

/* What is borrowed stays where it is, and its pages with it. */
static void test_shed_around_borrowed(void **state)
{
    (void)state;
    struct slab s;
    slab_init(&s, 320);
    borrow_many(&s);
    size_t pages = s.page_count;
    for (size_t i = 0; i < MANY; i++)
        if (i % 1000 != 7)
            slab_return(&s, objects[i]);
    assert_int_equal(slab_shed(&s), 0);
    assert_int_equal(slab_shed(&s), (pages - 9) * 16384);
    assert_false(slab_can_shed(&s)); /* else it would be tried again and again */
    for (size_t i = 7; i < MANY; i += 1000)
        assert_int_equal(*(unsigned char *)objects[i], i % 251);
    for (size_t i = 7; i < MANY; i += 1000)
        slab_return(&s, objects[i]);
    borrow_many(&s);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(*(unsigned char *)objects[i], i % 251);
    for (size_t i = 0; i < MANY; i++)
        slab_return(&s, objects[i]);
    slab_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty), cmocka_unit_test(test_apart),
        cmocka_unit_test(test_reuse), cmocka_unit_test(test_at_random),
        cmocka_unit_test(test_shed),  cmocka_unit_test(test_shed_around_borrowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
