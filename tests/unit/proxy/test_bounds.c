/* SPDX-License-Identifier: BSD-3-Clause */
/* What one client may ask, and leave unread, is bounded, and so is what waits for a server: first by waiting, then by
 * an error, then by the end of the connection. */
#include "one_rig.h"

#include <errno.h>
#include <string.h>

#define HEAD "p:\n  listen: 127.0.0.1:1\n  redis: true\n"
#define ONE "  servers:\n   - 127.0.0.1:7001:1 a\n"

/* A server with two requests in flight takes no third; the waiting clients go on in order as it answers. */
static void test_busy_server_makes_clients_wait(void **state)
{
    (void)state;
    struct sim_peer *c[5];
    rig_open(r, HEAD "  max_in_flight: 2\n" ONE);
    a()->hold = true;
    for (int i = 0; i < 5; i++) {
        c[i] = rig_client(r, 0);
        rig_ask(r, c[i], "GET k%d", i);
    }
    assert_int_equal(a()->requests, 2);
    a()->hold = false;
    fake_send_all(a());
    assert_int_equal(a()->requests, 5);
    for (int i = 0; i < 5; i++) {
        char key[8] = {'k', (char)('0' + i), 0};
        rig_expect_get(r, c[i], key);
    }
}

static void test_waiter_that_leaves(void **state)
{
    (void)state;
    rig_open(r, HEAD "  max_in_flight: 1\n" ONE);
    a()->hold = true;
    struct sim_peer *first = rig_client(r, 0);
    struct sim_peer *leaves = rig_client(r, 0);
    struct sim_peer *last = rig_client(r, 0);
    rig_ask(r, first, "GET k1");
    rig_ask(r, leaves, "GET k2");
    rig_ask(r, last, "GET k3");
    sim_peer_reset(leaves, -ECONNRESET);
    sim_settle(r->loop);
    a()->hold = false;
    fake_send_all(a());
    rig_expect_get(r, first, "k1");
    rig_expect_get(r, last, "k3");
    assert_int_equal(a()->requests, 2);
}

static void test_waiter_times_out(void **state)
{
    (void)state;
    rig_open(r, HEAD "  timeout: 400\n  max_in_flight: 1\n" ONE);
    a()->hold = true;
    struct sim_peer *first = rig_client(r, 0);
    struct sim_peer *waits = rig_client(r, 0);
    rig_ask(r, first, "GET k1");
    sim_advance(r->loop, 300);
    rig_ask(r, waits, "GET k2");
    assert_int_equal(a()->requests, 1);
    sim_advance(r->loop, 150);
    /* The first was given up, and the waiter went on to a fresh connection. */
    EXPECT(r, first, "-ERR Connection timed out (server 'a', 400 ms)\r\n");
    assert_int_equal(a()->requests, 2);
    EXPECT(r, waits, "");
    sim_advance(r->loop, 400);
    EXPECT(r, waits, "-ERR Connection timed out (server 'a', 400 ms)\r\n");
}

static void test_server_ends_while_clients_wait(void **state)
{
    (void)state;
    rig_open(r, HEAD "  max_in_flight: 1\n" ONE);
    a()->hold = true;
    struct sim_peer *first = rig_client(r, 0);
    struct sim_peer *waits = rig_client(r, 0);
    rig_ask(r, first, "GET k1");
    rig_ask(r, waits, "GET k2");
    a()->hold = false;
    sim_peer_close(fake_conn_now(a())->peer);
    sim_settle(r->loop);
    rig_expect_begin(r, first, "-ERR unknown (server 'a' closed the connection)\r\n");
    rig_expect_get(r, waits, "k2");
}

/* Requests behind a backlog go on; a client that lets it grow past the limit is closed. */
/* Replies that are queued but not yet flushed fill the backlog when the server's line moves on: they leave at once, and
 * the client must be read on. */
static void test_small_output_soft(void **state)
{
    (void)state;
    rig_open(r, HEAD "  max_in_flight: 2\n  client_output_soft: 16\n" ONE);
    struct sim_peer *c = rig_client(r, 0);
    SEND(r, c, "GET k1\r\nGET k2\r\nGET k3\r\nGET k4\r\nGET k5\r\n");
    EXPECT(r, c, "$4\r\n<k1>\r\n$4\r\n<k2>\r\n$4\r\n<k3>\r\n$4\r\n<k4>\r\n$4\r\n<k5>\r\n");
}

static void test_output_limit(void **state)
{
    (void)state;
    rig_open(r, HEAD "  client_output_soft: 1000\n  client_output_limit: 50000\n" ONE);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *other = rig_client(r, 0);
    sim_peer_limit(c, SIM_UNLIMITED, 0);
    a()->hold = true;
    for (int i = 0; i < 10; i++)
        rig_ask(r, c, "GET big:20000");
    rig_ask(r, other, "GET k");
    a()->hold = false;
    fake_send_all(a());
    assert_true(sim_peer_gone(c));
    assert_int_equal(POOL_STAT(r, client_overflow), 1);
    rig_expect_get(r, other, "k");
}

/* A client that sends all of a pipeline before it reads must get it all: what it sends behind its backlog is kept. */
static void test_asks_all_before_it_reads(void **state)
{
    enum { ASKED = 40 };
    (void)state;
    rig_open(r, HEAD "  client_output_soft: 1000\n  client_output_limit: 50000\n" ONE);
    struct sim_peer *c = rig_client(r, 0);
    sim_peer_limit(c, SIM_UNLIMITED, 0);
    for (int i = 0; i < ASKED; i++)
        rig_ask(r, c, "GET big:600");
    assert_true(a()->requests < ASKED);
    sim_peer_room(c, 1000000);
    sim_settle(r->loop);
    assert_int_equal(sim_peer_received(c).len, ASKED * (600 + 8));
    assert_int_equal(a()->requests, ASKED);
}

/* But not more than the limit. */
static void test_asks_and_never_reads(void **state)
{
    (void)state;
    rig_open(r, HEAD "  client_output_soft: 1000\n  client_output_limit: 5000\n" ONE);
    struct sim_peer *c = rig_client(r, 0);
    sim_peer_limit(c, SIM_UNLIMITED, 0);
    for (int i = 0; i < 1000 && !sim_peer_gone(c); i++)
        rig_ask(r, c, "GET big:600");
    assert_true(sim_peer_gone(c));
    assert_true(a()->requests < 5);
    assert_int_equal(POOL_STAT(r, client_overflow), 1);
}

/* One reply may be larger than the limit. */
static void test_single_reply_is_not_limited(void **state)
{
    (void)state;
    rig_open(r, HEAD "  client_output_soft: 1000\n  client_output_limit: 50000\n" ONE);
    struct sim_peer *c = rig_client(r, 0);
    sim_peer_limit(c, SIM_UNLIMITED, 0);
    rig_ask(r, c, "GET big:200000");
    assert_false(sim_peer_gone(c));
    sim_peer_room(c, 300000);
    sim_settle(r->loop);
    assert_int_equal(sim_peer_received(c).len, 200000 + 11);
    assert_int_equal(POOL_STAT(r, client_overflow), 0);
}

static void test_request_size(void **state)
{
    (void)state;
    rig_open(r, HEAD "  max_request_size: 100\n" ONE);
    struct sim_peer *c = rig_client(r, 0);
    struct buf wire = {0};
    char value[201];
    memset(value, 'v', 200);
    value[200] = '\0';
    resp(&wire, "SET k small");
    assert_true(buf_append(&wire, SPAN("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$200\r\n")));
    assert_true(buf_append(&wire, span_str(value)));
    assert_true(buf_append(&wire, SPAN("\r\n")));
    resp(&wire, "GET k");
    rig_send(r, c, buf_span(&wire));
    EXPECT(r, c, "+OK\r\n-ERR request is too large (max_request_size is 100 bytes)\r\n");
    assert_int_equal(a()->requests, 1);
    assert_true(sim_peer_ended(c));
    /* The same for what comes in pieces. */
    c = rig_client(r, 0);
    SEND(r, c, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$200\r\n");
    SEND(r, c, value);
    EXPECT(r, c, "-ERR request is too large (max_request_size is 100 bytes)\r\n");
    assert_true(sim_peer_ended(c));
    assert_int_equal(POOL_STAT(r, client_err), 2);
    buf_free(&wire);
}

static void test_idle_client_is_closed(void **state)
{
    (void)state;
    rig_open(r, HEAD "  client_idle_timeout: 2000\n" ONE);
    struct sim_peer *idle = rig_client(r, 0);
    struct sim_peer *talks = rig_client(r, 0);
    struct sim_peer *half = rig_client(r, 0);
    rig_ask(r, idle, "GET k");
    rig_expect_get(r, idle, "k");
    SEND(r, half, "*2\r\n$3\r\nGE");
    for (int i = 0; i < 10; i++) {
        sim_advance(r->loop, 190);
        rig_ask(r, talks, "GET k");
        rig_expect_get(r, talks, "k");
        assert_false(sim_peer_ended(idle) || sim_peer_ended(half));
    }
    sim_advance(r->loop, 400);
    assert_true(sim_peer_ended(idle));
    assert_true(sim_peer_ended(half));
    EXPECT(r, half, "");
    assert_false(sim_peer_ended(talks));
    assert_int_equal(POOL_STAT(r, client_idle), 2);
    assert_int_equal(POOL_STAT(r, client_err), 0);
    sim_advance(r->loop, 2400);
    assert_true(sim_peer_ended(talks));
    sim_advance(r->loop, STREAM_FINISH_MS + 1000);
    assert_int_equal(POOL_STAT(r, client_connections), 0);
    assert_true(list_empty(&r->loop->timers)); /* nobody is left to look at */
}

/* Who waits for a server is not idle, nor is who reads slowly; who does neither is. */
static void test_busy_client_is_not_idle(void **state)
{
    (void)state;
    rig_open(r, HEAD "  client_idle_timeout: 1000\n" ONE);
    struct sim_peer *reads = rig_client(r, 0);
    struct sim_peer *stuck = rig_client(r, 0);
    struct sim_peer *waits = rig_client(r, 0);
    sim_peer_limit(reads, SIM_UNLIMITED, 0);
    sim_peer_limit(stuck, SIM_UNLIMITED, 0);
    rig_ask(r, reads, "GET big:100000");
    rig_ask(r, stuck, "GET big:100000");
    a()->hold = true;
    rig_ask(r, waits, "GET k");
    for (int i = 0; i < 8; i++) {
        sim_advance(r->loop, 900);
        sim_peer_room(reads, 1000);
        sim_settle(r->loop);
    }
    assert_false(sim_peer_ended(reads) || sim_peer_ended(waits));
    assert_true(sim_peer_gone(stuck));
    assert_int_equal(POOL_STAT(r, client_idle), 1);
    a()->hold = false;
    fake_send_all(a());
    rig_expect_get(r, waits, "k");
}

#define TEST(name) cmocka_unit_test_teardown(name, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_busy_server_makes_clients_wait),
        TEST(test_waiter_that_leaves),
        TEST(test_waiter_times_out),
        TEST(test_server_ends_while_clients_wait),
        TEST(test_small_output_soft),
        TEST(test_output_limit),
        TEST(test_asks_all_before_it_reads),
        TEST(test_asks_and_never_reads),
        TEST(test_single_reply_is_not_limited),
        TEST(test_request_size),
        TEST(test_idle_client_is_closed),
        TEST(test_busy_client_is_not_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
