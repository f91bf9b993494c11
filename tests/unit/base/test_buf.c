/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static uint32_t draw(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

static void test_empty(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_int_equal(buf_len(&b), 0);
    assert_int_equal(buf_span(&b).len, 0);
    assert_non_null(buf_span(&b).ptr);
    assert_true(buf_append(&b, span_of(NULL, 0)));
    assert_true(buf_reserve(&b, 0));
    assert_null(b.data); /* an empty one holds no memory */
    buf_consume(&b, 0);
    buf_clear(&b);
    buf_free(&b);
    buf_free(&b);
}

static void test_append_and_consume(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_true(buf_append(&b, SPAN("hello ")));
    assert_true(buf_append(&b, SPAN("world")));
    assert_true(span_eq(buf_span(&b), SPAN("hello world")));
    buf_consume(&b, 6);
    assert_true(span_eq(buf_span(&b), SPAN("world")));
    buf_consume(&b, 5);
    assert_int_equal(b.head, 0); /* an emptied one starts from its front again */
    assert_true(buf_append(&b, SPAN("again")));
    assert_true(span_eq(buf_span(&b), SPAN("again")));
    buf_clear(&b);
    assert_int_equal(buf_len(&b), 0);
    assert_non_null(b.data); /* and keeps its memory until it is freed */
    buf_free(&b);
    assert_null(b.data);
    assert_true(buf_append(&b, SPAN("once more")));
    assert_true(span_eq(buf_span(&b), SPAN("once more")));
    buf_free(&b);
}

static void test_reserve_gives_room(void **state)
{
    (void)state;
    struct buf b = {0};
    for (size_t more = 1; more < 100000; more = more * 3 + 1) {
        assert_true(buf_append(&b, SPAN("x")));
        assert_true(buf_reserve(&b, more));
        assert_true(b.cap - b.tail >= more);
        memset(b.data + b.tail, 'x', more);
        b.tail += more;
        buf_consume(&b, more / 2);
    }
    buf_free(&b);
}

/* More than there is: nothing has changed then. */
static void test_reserve_too_much(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_false(buf_reserve(&b, SIZE_MAX));
    assert_true(buf_append(&b, SPAN("hello")));
    buf_consume(&b, 1);
    struct span before = buf_span(&b);
    assert_false(buf_reserve(&b, SIZE_MAX));
    assert_false(buf_reserve(&b, SIZE_MAX - 4));
    assert_ptr_equal(buf_span(&b).ptr, before.ptr);
    assert_true(span_eq(buf_span(&b), SPAN("ello")));
    buf_free(&b);
}

/* Appends and consumes at random; the bytes are those of one long run. */
static void test_at_random(void **state)
{
    (void)state;
    enum { RUN = 1 << 16 };
    static char run[RUN];
    for (uint32_t seed = 1; seed <= 20; seed++) {
        uint32_t random = seed;
        size_t in = 0, out = 0;
        struct buf b = {0};
        for (size_t i = 0; i < RUN; i++)
            run[i] = (char)draw(&random);
        while (in < RUN) {
            size_t add = draw(&random) % (1U << draw(&random) % 12);
            add = add < RUN - in ? add : RUN - in;
            assert_true(buf_append(&b, span_of(run + in, add)));
            in += add;
            size_t take = draw(&random) % (in - out + 1);
            buf_consume(&b, take);
            out += take;
            assert_true(span_eq(buf_span(&b), span_of(run + out, in - out)));
            assert_true(b.head <= b.tail && b.tail <= b.cap);
        }
        buf_free(&b);
    }
}

/* A window of many bytes that moves on by a few at a time, as the leftover of a stream does: the
 * bytes moved within memory stay in proportion to those that pass through, and the memory to those
 * that are in it. */
static void assert_linear(size_t window, size_t step)
{
    static char bytes[1 << 16];
    struct buf b = {0};
    size_t moved = 0, passed = 0;
    assert_true(buf_append(&b, span_of(bytes, window)));
    while (passed < 40 * window) {
        buf_consume(&b, step);
        size_t head = b.head;
        assert_true(buf_append(&b, span_of(bytes, step)));
        if (b.head < head)
            moved += window;
        passed += step;
    }
    assert_true(moved <= 2 * passed);
    assert_true(b.cap <= 8 * window + 256);
    assert_int_equal(buf_len(&b), window);
    buf_free(&b);
}

static void test_linear(void **state)
{
    (void)state;
    for (size_t window = 16; window <= 1 << 16; window *= 2) {
        assert_linear(window, 1);
        assert_linear(window, window / 3);
        assert_linear(window - 1, 1);
        assert_linear(window - 1, window - 2);
        assert_linear(window / 2 + 1, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_append_and_consume),
        cmocka_unit_test(test_reserve_gives_room),
        cmocka_unit_test(test_reserve_too_much),
        cmocka_unit_test(test_at_random),
        cmocka_unit_test(test_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
