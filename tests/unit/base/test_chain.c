/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/chain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MANY_PIECES = 4096, RUN = 1 << 20 };

/* All that goes through the chains of a test is this run of bytes, whose every four name their
 * place. */
static char run[RUN];

static int make_run(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < RUN / 4; i++)
        memcpy(run + (size_t)4 * i, &(uint32_t){i * 2654435761U}, 4);
    return 0;
}

static uint32_t draw(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

/* The chain holds just these bytes, none of them in an empty piece. */
static void assert_holds(const struct chain *c, struct span bytes)
{
    static struct iovec iov[MANY_PIECES];
    int n = chain_iovec(c, iov, MANY_PIECES);
    size_t at = 0;
    assert_in_range(n, 0, MANY_PIECES - 1);
    for (int i = 0; i < n; i++) {
        assert_true(iov[i].iov_len > 0 && iov[i].iov_len <= bytes.len - at);
        assert_memory_equal(iov[i].iov_base, bytes.ptr + at, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    assert_int_equal(at, bytes.len);
    assert_int_equal(c->len, bytes.len);
    assert_int_equal(chain_empty(c), bytes.len == 0);
}

static struct buf buf_with(struct span bytes)
{
    struct buf b = {0};
    assert_true(buf_append(&b, bytes));
    return b;
}

static void test_empty(void **state)
{
    (void)state;
    struct chunk_pool pool = {0};
    struct chain c = {0}, other = {0};
    struct iovec iov;
    assert_true(chain_append(&c, &pool, span_of(NULL, 0)));
    assert_true(chain_adopt(&c, &pool, &(struct buf){0}));
    chain_splice(&c, &pool, &other);
    chain_consume(&c, &pool, 0);
    assert_int_equal(chain_iovec(&c, &iov, 1), 0);
    assert_true(chain_empty(&c));
    assert_null(c.first); /* an empty one holds no chunk */
    chain_clear(&c, &pool);
    chunk_pool_free(&pool);
}

static void test_append_is_copied_together(void **state)
{
    (void)state;
    struct chunk_pool pool = {0};
    struct chain c = {0};
    struct iovec iov[2];
    for (size_t i = 0; i < 40; i++)
        assert_true(chain_append(&c, &pool, span_of(run + 10 * i, 10)));
    assert_holds(&c, span_of(run, 400));
    assert_int_equal(chain_iovec(&c, iov, 2), 1);
    assert_int_equal(pool.bytes, 512); /* one chunk of the smallest */
    chain_clear(&c, &pool);
    assert_int_equal(pool.bytes, 0);
    chunk_pool_free(&pool);
}

/* What is sent together is one piece for the kernel, however it came, until that would mean to copy
 * much. */
static void test_little_is_one_piece(void **state)
{
    (void)state;
    struct chunk_pool pool = {0};
    struct iovec iov[2];
    static const size_t sizes[] = {1, 71, 455, 1000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct chain c = {0};
        size_t len = 0;
        for (; len + sizes[i] < 30000; len += sizes[i]) {
            assert_true(chain_append(&c, &pool, span_of(run + len, sizes[i])));
            assert_int_equal(chain_iovec(&c, iov, 2), 1);
        }
        assert_holds(&c, span_of(run, len));
        assert_int_equal(pool.bytes, 32768); /* smaller chunks were given back */
        chain_clear(&c, &pool);
    }
    assert_int_equal(pool.bytes, 0);
    chunk_pool_free(&pool);
}

/* The same after a part of it has been sent. */
static void test_little_is_one_piece_behind_a_short_send(void **state)
{
    (void)state;
    struct chunk_pool pool = {0};
    struct chain c = {0};
    struct iovec iov[2];
    assert_true(chain_append(&c, &pool, span_of(run, 400)));
    chain_consume(&c, &pool, 390);
    assert_true(chain_append(&c, &pool, span_of(run + 400, 1000)));
    assert_int_equal(chain_iovec(&c, iov, 2), 1);
    assert_holds(&c, span_of(run + 390, 1010));
    chain_clear(&c, &pool);
    assert_int_equal(pool.bytes, 0);
    chunk_pool_free(&pool);
}

static void test_append_of_any_size(void **state)
{
    (void)state;
    struct chunk_pool pool = {0};
    for (size_t size = 1; size < RUN; size += 1 + size / 3) {
        struct chain c = {0};
        assert_true(chain_append(&c, &pool, span_of(run, size)));
        assert_holds(&c, span_of(run, size));
        /* A chain of any length wastes at most about one chunk and the headers. */
        assert_true(pool.bytes <= size + size / 100 + 33000);
        if (size < 400)
            assert_int_equal(pool.bytes, 512);
        chain_clear(&c, &pool);
    }
    chunk_pool_free(&pool);
}

static void test_adopt(void **state)
{
    (void)state;
    struct chunk_pool pool = {0};
    struct chain c = {0};
    struct iovec iov[3];
    struct buf b = buf_with(span_of(run, 1000));
    buf_consume(&b, 10);
    char *data = b.data;
    assert_true(chain_append(&c, &pool, span_of(run, 10)));
    assert_true(chain_adopt(&c, &pool, &b));
    assert_null(b.data);
    assert_int_equal(buf_len(&b), 0);
    assert_int_equal(chain_iovec(&c, iov, 3), 2);
    assert_ptr_equal(iov[1].iov_base, data + 10); /* without a copy */
    assert_true(chain_append(&c, &pool, span_of(run + 1000, 5000)));
    assert_holds(&c, span_of(run, 6000));
    chain_clear(&c, &pool);
    assert_int_equal(pool.bytes, 0);
    chunk_pool_free(&pool);
}

/* The memory of an emptied buffer doesn't stay behind. */
static void test_adopt_of_nothing(void **state)
{
    (void)state;
    struct chunk_pool pool = {0};
    struct chain c = {0};
    struct buf b = buf_with(span_of(run, 100));
    buf_consume(&b, 100);
    assert_true(chain_adopt(&c, &pool, &b));
    assert_null(b.data);
    assert_null(c.first);
    chunk_pool_free(&pool);
}

static void test_splice(void **state)
{
    (void)state;
    struct chunk_pool pool = {0};
    static const size_t sizes[] = {0, 1, 100, 450, 1000, 2000, 2048, 2049, 5000, 40000, 100000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
            struct chain c = {0}, from = {0};
            assert_true(chain_append(&c, &pool, span_of(run, sizes[i])));
            assert_true(chain_append(&from, &pool, span_of(run + sizes[i], sizes[k])));
            chain_splice(&c, &pool, &from);
            assert_holds(&c, span_of(run, sizes[i] + sizes[k]));
            assert_holds(&from, SPAN(""));
            assert_null(from.first);
            assert_true(chain_append(&c, &pool, span_of(run + sizes[i] + sizes[k], 777)));
            assert_holds(&c, span_of(run, sizes[i] + sizes[k] + 777));
            chain_clear(&c, &pool);
            assert_int_equal(pool.bytes, 0);
        }
    }
    chunk_pool_free(&pool);
}

/* Few bytes that fit are copied: many small chains make one piece. */
static void test_splice_copies_few(void **state)
{
    (void)state;
    struct chunk_pool pool = {0};
    struct chain c = {0}, from = {0};
    struct iovec iov[2];
    for (size_t i = 0; i < 32; i++) {
        assert_true(chain_append(&from, &pool, span_of(run + 100 * i, 100)));
        chain_splice(&c, &pool, &from);
    }
    assert_holds(&c, span_of(run, 3200));
    assert_int_equal(chain_iovec(&c, iov, 2), 1);
    chain_clear(&c, &pool);
    chunk_pool_free(&pool);
}

static void test_consume_at_every_place(void **state)
{
    (void)state;
    struct chunk_pool pool = {0};
    for (size_t first = 0; first <= 6000; first += 1 + first / 40) {
        struct chain c = {0};
        struct buf b = buf_with(span_of(run + 3000, 1500));
        assert_true(chain_append(&c, &pool, span_of(run, 3000)));
        assert_true(chain_adopt(&c, &pool, &b));
        assert_true(chain_append(&c, &pool, span_of(run + 4500, 1500)));
        chain_consume(&c, &pool, first);
        assert_holds(&c, span_of(run + first, 6000 - first));
        chain_consume(&c, &pool, 6000 - first);
        assert_holds(&c, SPAN(""));
        assert_null(c.first);
        assert_int_equal(pool.bytes, 0); /* consumed is given back */
    }
    chunk_pool_free(&pool);
}

static void test_move_at_every_place(void **state)
{
    (void)state;
    enum { LEN = 1100, STEP = 7 };
    for (size_t n = 0; n <= LEN; n += STEP) {
        struct chunk_pool pool = {0};
        struct chain from = {0};
        struct chain to = {0};
        assert_true(chain_append(&to, &pool, span_of(run, 10)));
        assert_true(chain_append(&from, &pool, span_of(run + 10, LEN)));
        assert_true(chain_move(&from, &pool, n, &to));
        assert_holds(&to, span_of(run, 10 + n));
        assert_holds(&from, span_of(run + 10 + n, LEN - n));
        chain_clear(&from, &pool);
        chain_clear(&to, &pool);
        chunk_pool_free(&pool);
    }
}

static void test_iovec_is_bounded(void **state)
{
    (void)state;
    struct chunk_pool pool = {0};
    struct chain c = {0};
    struct iovec iov[3] = {{0}, {0}, {&pool, 99}};
    assert_true(chain_append(&c, &pool, span_of(run, 200000)));
    assert_int_equal(chain_iovec(&c, iov, 0), 0);
    assert_int_equal(chain_iovec(&c, iov, 2), 2);
    assert_ptr_equal(iov[2].iov_base, &pool);
    chain_clear(&c, &pool);
    chunk_pool_free(&pool);
}

/* What was in use at once lies ready while it is needed again and again, and what a whole period did not
 * need is freed. */
static void test_ready_chunks_are_shed(void **state)
{
    (void)state;
    struct chunk_pool pool = {0};
    struct chain c = {0};
    for (size_t i = 0; i < 20; i++)
        assert_true(chain_append(&c, &pool, span_of(run, RUN)));
    size_t most = pool.bytes;
    chain_clear(&c, &pool);
    assert_int_equal(pool.bytes, 0);
    assert_int_equal(pool.cached_bytes, most);
    assert_int_equal(chunk_pool_shed(&pool, SIZE_MAX), 0); /* all of it was in use in this period */
    for (size_t i = 0; i < 5; i++)
        assert_true(chain_append(&c, &pool, span_of(run, RUN)));
    size_t less = pool.bytes;
    chain_clear(&c, &pool);
    assert_in_range(chunk_pool_shed(&pool, 1 << 20), 1 << 20, (1 << 20) + 32768);
    size_t left = pool.cached_bytes;
    assert_int_equal(chunk_pool_shed(&pool, SIZE_MAX), left);
    assert_int_equal(pool.cached_bytes, 0);
    assert_true(less < most);
    chunk_pool_free(&pool);
    assert_int_equal(pool.meter.used, 0);
}

static void test_shed_keeps_what_was_needed(void **state)
{
    (void)state;
    struct chunk_pool pool = {0};
    struct chain c = {0};
    for (size_t i = 0; i < 20; i++)
        assert_true(chain_append(&c, &pool, span_of(run, RUN)));
    chain_clear(&c, &pool);
    (void)!chunk_pool_shed(&pool, SIZE_MAX);
    for (size_t i = 0; i < 5; i++)
        assert_true(chain_append(&c, &pool, span_of(run, RUN)));
    size_t needed = pool.bytes;
    chain_clear(&c, &pool);
    (void)!chunk_pool_shed(&pool, SIZE_MAX);
    assert_int_equal(pool.cached_bytes, needed);
    assert_int_equal(pool.meter.used, needed);
    chunk_pool_shed_all(&pool);
    assert_int_equal(pool.meter.used, 0);
    chunk_pool_free(&pool);
}

static size_t over;

static void on_over(struct meter *m)
{
    over++;
    m->mark = 2 * m->used;
}

static void test_meter(void **state)
{
    (void)state;
    struct chunk_pool pool = {.meter = {.mark = 100000, .over = on_over}};
    struct chain c = {0};
    struct buf b = buf_with(span_of(run, 50000));
    size_t cap = b.cap;
    over = 0;
    assert_true(chain_append(&c, &pool, span_of(run, 20000)));
    assert_true(chain_adopt(&c, &pool, &b));
    assert_int_equal(pool.meter.used, 32768 + cap);
    assert_int_equal(over, 0);
    assert_true(chain_append(&c, &pool, span_of(run, 20000)));
    assert_int_equal(over, 1);
    chain_clear(&c, &pool);
    assert_int_equal(pool.meter.used, 65536);
    assert_int_equal(pool.meter.high, 65536 + cap);
    chunk_pool_free(&pool);
    assert_int_equal(pool.meter.used, 0);
}

/* One random act on the chain that holds run[out] to run[in]; returns how many bytes came in. */
static size_t act(struct chain *c, struct chunk_pool *pool, uint32_t *seed, struct span fresh)
{
    size_t size = draw(seed) % (1U << draw(seed) % 14);
    struct span bytes = span_of(fresh.ptr, size < fresh.len ? size : fresh.len);
    struct chain other = {0};
    struct buf b;
    switch (draw(seed) % 4) {
    case 0:
        b = buf_with(bytes);
        assert_true(chain_adopt(c, pool, &b));
        return bytes.len;
    case 1:
        assert_true(chain_append(&other, pool, span_of(bytes.ptr, bytes.len / 2)));
        b = buf_with(span_from(bytes, bytes.len / 2));
        assert_true(chain_adopt(&other, pool, &b));
        chain_splice(c, pool, &other);
        return bytes.len;
    default:
        assert_true(chain_append(c, pool, bytes));
        return bytes.len;
    }
}

static void test_at_random(void **state)
{
    (void)state;
    struct chunk_pool pool = {0};
    for (uint32_t seed = 1; seed <= 10; seed++) {
        struct chain c = {0};
        size_t in = 0, out = 0;
        uint32_t random = seed;
        while (in < RUN) {
            in += act(&c, &pool, &random, span_of(run + in, RUN - in));
            size_t some = draw(&random) % (1U << draw(&random) % 15);
            size_t take = some < in - out ? some : in - out;
            chain_consume(&c, &pool, take);
            out += take;
            assert_holds(&c, span_of(run + out, in - out));
        }
        chain_clear(&c, &pool);
        assert_int_equal(pool.bytes, 0);
    }
    chunk_pool_free(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_append_is_copied_together),
        cmocka_unit_test(test_little_is_one_piece),
        cmocka_unit_test(test_little_is_one_piece_behind_a_short_send),
        cmocka_unit_test(test_append_of_any_size),
        cmocka_unit_test(test_adopt),
        cmocka_unit_test(test_adopt_of_nothing),
        cmocka_unit_test(test_splice),
        cmocka_unit_test(test_splice_copies_few),
        cmocka_unit_test(test_consume_at_every_place),
        cmocka_unit_test(test_move_at_every_place),
        cmocka_unit_test(test_iovec_is_bounded),
        cmocka_unit_test(test_ready_chunks_are_shed),
        cmocka_unit_test(test_shed_keeps_what_was_needed),
        cmocka_unit_test(test_meter),
        cmocka_unit_test(test_at_random),
    };
    return cmocka_run_group_tests(tests, make_run, NULL);
}
