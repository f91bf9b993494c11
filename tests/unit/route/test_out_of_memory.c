/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit test_out_of_memory lets every allocation on the way to a ring fail in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "failing_malloc.h"
#include "route/dist.h"

enum { MEMBERS = 4 };

static const struct dist_member members[MEMBERS] = {
    {{"a", 1}, 1, true}, {{"b", 1}, 20, true}, {{"c", 1}, 3, true}, {{"d", 1}, 4, true}};

static void assert_same_ring(const struct ring *r, const struct ring *wanted)
{
    assert_int_equal(ring_size(r), ring_size(wanted));
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(ring_pick(r, i * 4294967, i), ring_pick(wanted, i * 4294967, i));
}

static void test_ring_build(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < DIST_KINDS; kind++) {
        struct ring *wanted = ring_build((enum dist_kind)kind, members, MEMBERS);
        assert_non_null(wanted);
        for (size_t allowed = 0;; allowed++) {
            failing_malloc_after(allowed);
            struct ring *r = ring_build((enum dist_kind)kind, members, MEMBERS);
            bool done = failing_malloc_off() == 0;
            assert_int_equal(r != NULL, done);
            if (done)
                assert_same_ring(r, wanted);
            ring_free(r);
            if (done)
                break;
            assert_true(allowed < 100);
        }
        ring_free(wanted);
    }
}

/* A rebuild that failed, half grown or not, can be done again later. */
static void test_rebuild(void **state)
{
    (void)state;
    struct dist_member left[MEMBERS];
    memcpy(left, members, sizeof(left));
    left[1].live = false;
    struct ring *wanted = ring_build(DIST_ketama, left, MEMBERS);
    assert_non_null(wanted);
    struct ring_source *s = NULL;
    bool live[MEMBERS] = {true, true, true, true}, done = false;
    for (size_t allowed = 0; !done; allowed++) {
        assert_true(allowed < 100);
        s = ring_source_new(DIST_ketama, members, MEMBERS);
        assert_non_null(s);
        live[1] = true;
        struct ring *all = ring_source_build(s, live);
        live[1] = false;
        failing_malloc_after(allowed);
        struct ring *r = ring_source_build(s, live);
        done = failing_malloc_off() == 0;
        assert_int_equal(r != NULL, done);
        ring_free(r);
        r = ring_source_build(s, live);
        assert_non_null(r);
        assert_same_ring(r, wanted);
        ring_free(r);
        ring_free(all);
        ring_source_free(s);
    }
    ring_free(wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ring_build),
        cmocka_unit_test(test_rebuild),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
