/* SPDX-License-Identifier: BSD-3-Clause */
/* What a burst needed is given back some seconds after it, and then nothing wakes up for it. */
#include "one_rig.h"

#include <string.h>

#define HEAD "p:\n  listen: 127.0.0.1:1\n  redis: true\n"
#define ONE "  servers:\n   - 127.0.0.1:7001:1 a\n"

enum { MIB = 1 << 20 };

static const struct meter *meter(void)
{
    return &r->loop->pool.meter;
}

/* What many clients did not read for a while is given back once they have read it. */
static void test_after_replies(void **state)
{
    (void)state;
    struct sim_peer *c[20];
    rig_open(r, HEAD ONE);
    struct sim_peer *first = rig_client(r, 0);
    rig_ask(r, first, "GET k");
    rig_expect_get(r, first, "k");
    size_t before = meter()->used;
    for (int i = 0; i < 20; i++) {
        c[i] = rig_client(r, 0);
        sim_peer_limit(c[i], SIM_UNLIMITED, 0);
        rig_ask(r, c[i], "GET big:4000000");
    }
    assert_true(meter()->used > (size_t)70 * MIB);
    for (int i = 0; i < 20; i++) {
        sim_peer_room(c[i], (size_t)5 * MIB);
        sim_settle(r->loop);
        assert_int_equal(sim_peer_received(c[i]).len, 4000000 + 12);
        sim_peer_close(c[i]);
    }
    sim_settle(r->loop);
    assert_true(r->loop->pool.cached_bytes >
                (size_t)70 * MIB); /* a busy second may need it again */
    assert_true(timer_running(&r->loop->shed_timer));
    sim_advance(r->loop, 10000);
    assert_int_equal(r->loop->pool.cached_bytes, 0);
    assert_true(meter()->used <= before + (size_t)128 * 1024);
    assert_false(timer_running(&r->loop->shed_timer));
}

/* So is that of many small requests, of which each is an object of a slab. */
static void test_after_requests(void **state)
{
    (void)state;
    struct sim_peer *c[100];
    struct buf wire = {0};
    rig_open(r, HEAD ONE);
    a()->hold = true;
    for (int i = 0; i < 600; i++)
        resp(&wire, "GET k");
    size_t before = meter()->used;
    for (int i = 0; i < 100; i++) {
        c[i] = rig_client(r, 0);
        rig_send(r, c[i], buf_span(&wire));
    }
    assert_int_equal(r->proxy->request_slab.live, 60000);
    size_t peak = meter()->used;
    fake_send_all(a());
    sim_advance(r->loop, 10000);
    assert_int_equal(r->proxy->request_slab.live, 0);
    assert_true(r->proxy->request_slab.page_count <= 4);
    assert_true(peak > before + (size_t)6 * MIB);
    assert_true(meter()->used <= before + (size_t)256 * 1024);
    assert_false(timer_running(&r->loop->shed_timer));
    buf_free(&wire);
}

/* And that of requests which came only in part. */
static void test_after_half_requests(void **state)
{
    (void)state;
    struct buf wire = {0};
    static char zeros[MIB];
    rig_open(r, HEAD ONE);
    struct sim_peer *c = rig_client(r, 0);
    size_t before = meter()->used;
    assert_true(buf_append(&wire, SPAN("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8000000\r\n")));
    rig_send(r, c, buf_span(&wire));
    for (int i = 0; i < 5; i++)
        rig_send(r, c, (struct span){zeros, MIB});
    assert_true(meter()->used >= before + (size_t)5 * MIB);
    sim_peer_close(c);
    sim_advance(r->loop, 10000);
    assert_int_equal(meter()->used, before);
    assert_false(timer_running(&r->loop->shed_timer));
    buf_free(&wire);
}

/* Small traffic sets no timer, and a proxy at rest has none. */
static void test_rest(void **state)
{
    (void)state;
    rig_open(r, HEAD ONE);
    struct sim_peer *c = rig_client(r, 0);
    for (int i = 0; i < 100; i++) {
        rig_ask(r, c, "GET k");
        rig_expect_get(r, c, "k");
        assert_false(timer_running(&r->loop->shed_timer));
    }
    assert_true(list_empty(&r->loop->timers));
}

/* An idle client holds one object and nothing else. What the loop's backend and the kernel take comes
 * on top of it; the bound is 700 B all in all. */
static void test_idle_client(void **state)
{
    (void)state;
    enum { CLIENTS = 1000 };
    rig_open(r, HEAD ONE);
    struct sim_peer *first = rig_client(r, 0);
    rig_ask(r, first, "GET k");
    size_t before = meter()->used;
    for (int i = 0; i < CLIENTS; i++) {
        struct sim_peer *c = rig_client(r, 0);
        rig_ask(r, c, "GET k");
        rig_expect_get(r, c, "k");
    }
    size_t each = (meter()->used - before) / CLIENTS;
    assert_in_range(each, 1, 400);
    assert_true(r->proxy->client_slab.size <= 384);
}

#define TEST(name) cmocka_unit_test_teardown(name, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_after_replies), TEST(test_after_requests), TEST(test_after_half_requests),
        TEST(test_rest),          TEST(test_idle_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
