/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit test_out_of_memory lets every allocation of buf, chain and slab fail in turn: the call says
 * so, and what was there is as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/chain.h"
#include "base/slab.h"
#include "failing_malloc.h"

static const char zeros[300000];

static void test_buf(void **state)
{
    (void)state;
    struct buf b = {0};
    failing_malloc_after(0);
    assert_false(buf_append(&b, SPAN("x")));
    assert_false(buf_reserve(&b, SIZE_MAX / 2));
    failing_malloc_off();
    assert_null(b.data);
    assert_true(buf_append(&b, span_of(zeros, 256)));
    buf_consume(&b, 10);
    struct span before = buf_span(&b);
    failing_malloc_after(0);
    assert_false(buf_append(&b, SPAN("x")));
    assert_false(buf_reserve(&b, SIZE_MAX / 2 - 246));
    failing_malloc_off();
    assert_ptr_equal(buf_span(&b).ptr, before.ptr); /* not even moved */
    assert_true(span_eq(buf_span(&b), before));
    assert_int_equal(buf_len(&b), 246);
    buf_free(&b);
}

static size_t bytes_of(const struct chain *c)
{
    struct iovec iov[64];
    size_t sum = 0;
    for (int i = 0, n = chain_iovec(c, iov, 64); i < n; i++)
        sum += iov[i].iov_len;
    return sum;
}

/* An append of many chunks fails whole, wherever it fails, and leaks none of them. */
static void test_chain_append(void **state)
{
    (void)state;
    for (size_t allowed = 0;; allowed++) {
        struct chunk_pool pool = {0};
        struct chain c = {0};
        assert_true(chain_append(&c, &pool, SPAN("hello")));
        failing_malloc_after(allowed);
        bool done = chain_append(&c, &pool, span_of(zeros, sizeof(zeros)));
        assert_int_equal(failing_malloc_off(), !done);
        assert_int_equal(c.len, done ? 5 + sizeof(zeros) : 5);
        assert_int_equal(bytes_of(&c), c.len);
        assert_true(chain_append(&c, &pool, SPAN("world")));
        chain_clear(&c, &pool);
        assert_int_equal(pool.bytes, 0);
        chunk_pool_free(&pool);
        if (done) {
            assert_true(allowed > 5);
            return;
        }
    }
}

/* A splice that would copy links what it can't, and loses nothing. */
static void test_chain_splice(void **state)
{
    (void)state;
    struct chunk_pool pool = {0};
    struct chain c = {0}, from = {0};
    assert_true(chain_append(&c, &pool, span_of(zeros, 400)));
    assert_true(chain_append(&from, &pool, span_of(zeros, 300)));
    failing_malloc_after(0);
    assert_false(chain_append(&c, &pool, span_of(zeros, 100)));
    chain_splice(&c, &pool, &from);
    assert_int_equal(failing_malloc_off(), 4); /* each for a wider chunk, then for one more */
    assert_int_equal(bytes_of(&c), 700);
    assert_int_equal(c.len, 700);
    assert_null(from.first);
    chain_clear(&c, &pool);
    assert_int_equal(pool.bytes, 0);
    chunk_pool_free(&pool);
}

static void test_chain_adopt(void **state)
{
    (void)state;
    struct chunk_pool pool = {0};
    struct chain c = {0};
    struct buf b = {0};
    assert_true(buf_append(&b, SPAN("hello")));
    failing_malloc_after(0);
    assert_false(chain_adopt(&c, &pool, &b));
    failing_malloc_off();
    assert_true(span_eq(buf_span(&b), SPAN("hello")));
    assert_true(chain_empty(&c));
    assert_int_equal(pool.bytes, 0);
    assert_true(chain_adopt(&c, &pool, &b));
    chain_clear(&c, &pool);
    chunk_pool_free(&pool);
}

static void test_slab(void **state)
{
    (void)state;
    struct slab s;
    slab_init(&s, 100);
    failing_malloc_after(0);
    assert_null(slab_borrow(&s));
    failing_malloc_off();
    assert_int_equal(s.live, 0);
    void *first = slab_borrow(&s);
    assert_non_null(first);
    failing_malloc_after(0);
    void *second = slab_borrow(&s); /* the page is there already */
    assert_int_equal(failing_malloc_off(), 0);
    assert_non_null(second);
    slab_return(&s, first);
    slab_return(&s, second);
    slab_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf),          cmocka_unit_test(test_chain_append),
        cmocka_unit_test(test_chain_splice), cmocka_unit_test(test_chain_adopt),
        cmocka_unit_test(test_slab),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
