/* SPDX-License-Identifier: BSD-3-Clause */
/* What an attentive reader doubted: odd moments at which the proxy could lose step, wait for ever or end twice. */
#include "one_rig.h"

#include <stdio.h>
#include <string.h>

#define REDIS "p:\n  listen: 127.0.0.1:1\n  hash: md5\n  redis: true\n"
#define MEMCACHE "p:\n  listen: 127.0.0.1:1\n  hash: md5\n"
#define ONE "  servers:\n   - 127.0.0.1:7001:1 a\n"
#define TWO ONE "   - 127.0.0.1:7002:1 b\n"

/* A client that said QUIT and never closes is cut by its own deadline and by the end of the process, both at the same
 * moment. */
static void test_stop_meets_the_deadline_of_a_lingering_client(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = rig_client(r, 0);
    SEND(r, c, "QUIT\r\n");
    EXPECT(r, c, "+OK\r\n");
    sim_advance(r->loop, STREAM_FINISH_MS - 250);
    rig_stop(r);
    sim_advance(r->loop, 249);
    sim_advance(r->loop, 1);
    assert_true(sim_peer_gone(c));
}

static void greet(struct sim_peer *p, void *context)
{
    (void)context;
    assert_true(sim_peer_send(p, SPAN("+OK\r\n")));
}

/* A server that greets: its word is not the reply to an AUTH that it has not read, else every reply behind would be
 * taken for that of the request before. */
static void test_greeting_is_not_a_handshake_reply(void **state)
{
    (void)state;
    struct addr at;
    rig_open(r, REDIS "  redis_auth: pw\n  servers:\n   - greeter:7001:1 a\n");
    assert_true(addr_literal(&at, "127.0.0.1", 7001));
    struct sim_listener *listener = sim_listen(r->loop, &at, greet, NULL);
    assert_non_null(listener);
    assert_true(sim_name(r->loop, "greeter", 0, 0, &at, 1));
    struct sim_peer *c = rig_client(r, 0);
    SEND(r, c, "AUTH pw\r\nGET k\r\n");
    sim_advance(r->loop, 10);
    struct sim_peer *server = sim_listener_peer(listener, 0);
    assert_non_null(server);
    /* The reply to AUTH, were the greeting taken for it. */
    if (!sim_peer_gone(server))
        assert_true(sim_peer_send(server, SPAN("+OK\r\n")));
    sim_settle(r->loop);
    EXPECT(r, c, "+OK\r\n-ERR Invalid argument (server 'a' replied before it was asked)\r\n");
}

/* The data of a refused item comes in pieces, each larger than a request may be: they are dropped without a word. */
static void test_dropped_data_is_not_a_request(void **state)
{
    (void)state;
    rig_open(r, MEMCACHE "  max_request_size: 100\n" ONE);
    struct sim_peer *c = rig_client(r, 0);
    char data[501];
    memset(data, 'v', 500);
    data[500] = '\0';
    SEND(r, c, "set k 0 0 2000000000\r\n");
    EXPECT(r, c, "SERVER_ERROR object too large for cache\r\n");
    SEND(r, c, data);
    SEND(r, c, data);
    EXPECT(r, c, "");
}

/* A server answered a big item early and then reads no more: nobody stands in its FIFO, yet who waits for it gets an
 * answer in time. */
static void test_waiter_behind_an_answered_request_times_out(void **state)
{
    (void)state;
    enum { BIG = 6 * 1024 * 1024 };
    rig_open(r, MEMCACHE "  timeout: 400\n" ONE);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *d = rig_client(r, 0);
    SEND(r, d, "get k\r\n");
    rig_expect_begin(r, d, "VALUE k");
    sim_peer_limit(fake_conn_now(a())->peer, SIM_UNLIMITED, 100000);
    struct buf wire = {0};
    assert_true(buf_append(&wire, SPAN("set big 0 0 6291456\r\n")));
    assert_true(buf_reserve(&wire, BIG + 2));
    memset(wire.data + wire.tail, 'v', BIG);
    wire.tail += BIG;
    assert_true(buf_append(&wire, SPAN("\r\n")));
    rig_send(r, c, buf_span(&wire));
    buf_free(&wire);
    fake_say(a(), "SERVER_ERROR object too large for cache\r\n");
    EXPECT(r, c, "SERVER_ERROR object too large for cache\r\n");
    SEND(r, d, "get k\r\n");
    sim_advance(r->loop, 450);
    sim_advance(r->loop, 450);
    rig_expect_begin(r, d, "SERVER_ERROR Connection timed out (server 'a'");
}

/* The joined replies of requests over several servers count against the limit as others do. */
static void test_output_limit_of_split_replies(void **state)
{
    (void)state;
    rig_open(r, REDIS "  client_output_soft: 1000\n  client_output_limit: 50000\n" TWO);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *other = rig_client(r, 0);
    sim_peer_limit(c, SIM_UNLIMITED, 0);
    a()->hold = true;
    b()->hold = true;
    const char *big_a = NULL;
    const char *big_b = NULL;
    static char keys[64][16];
    for (int i = 0; i < 64; i++) {
        snprintf(keys[i], sizeof(keys[i]), "big:%d", 20000 + i);
        const struct pool *p = r->pools[0];
        uint32_t at = ring_pick(p->ring->ring, p->hash(span_str(keys[i])), 0);
        if (at == 0)
            big_a = keys[i];
        else
            big_b = keys[i];
    }
    assert_non_null(big_a);
    assert_non_null(big_b);
    for (int i = 0; i < 10; i++)
        rig_ask(r, c, "MGET %s %s", big_a, big_b);
    rig_ask(r, other, "GET k");
    a()->hold = false;
    b()->hold = false;
    fake_send_all(a());
    fake_send_all(b());
    assert_true(sim_peer_gone(c));
    assert_int_equal(POOL_STAT(r, client_overflow), 1);
    rig_expect_get(r, other, "k");
}

/* One slow request makes its connection given up. Another client's write is still on it: what that client asks next
 * must not overtake the write on a fresh connection, while others go there at once. */
static void test_nothing_overtakes_on_a_fresh_connection(void **state)
{
    (void)state;
    rig_open(r, REDIS "  timeout: 400\n" ONE);
    struct sim_peer *slow = rig_client(r, 0);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *other = rig_client(r, 0);
    a()->hold = true;
    rig_ask(r, slow, "GET slow");
    sim_advance(r->loop, 300);
    rig_ask(r, c, "SET k v");
    sim_advance(r->loop, 120);
    EXPECT(r, slow, "-ERR Connection timed out (server 'a', 400 ms)\r\n");
    rig_ask(r, c, "DEL k");
    rig_ask(r, other, "GET k2");
    assert_int_equal(sim_listener_count(a()->listener), 2);
    assert_int_equal(a()->requests, 3);
    fake_send_all(a());
    rig_expect_get(r, other, "k2");
    EXPECT(r, c, "+OK\r\n");
    assert_int_equal(a()->requests, 4);
    fake_send_all(a());
    EXPECT(r, c, ":1\r\n");
}

/* The same when the next request was queued behind the write, and the kernel took no byte of it. */
static void test_nothing_unsent_overtakes(void **state)
{
    (void)state;
    rig_open(r, REDIS "  timeout: 400\n" ONE);
    struct sim_peer *slow = rig_client(r, 0);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *other = rig_client(r, 0);
    a()->hold = true;
    rig_ask(r, slow, "GET slow");
    sim_advance(r->loop, 300);
    rig_ask(r, c, "SET k v");
    struct fake_conn *old = fake_conn_now(a());
    sim_peer_limit(old->peer, SIM_UNLIMITED, 0);
    rig_ask(r, c, "DEL k");
    rig_ask(r, other, "GET k2");
    rig_ask(r, c, "DEL k3");
    buf_clear(&a()->log);
    sim_advance(r->loop, 120);
    EXPECT(r, slow, "-ERR Connection timed out (server 'a', 400 ms)\r\n");
    fake_expect(a(), "*2\r\n$3\r\nGET\r\n$2\r\nk2\r\n");
    sim_peer_limit(old->peer, SIM_UNLIMITED, SIM_UNLIMITED);
    sim_settle(r->loop);
    fake_expect(a(), "*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n*2\r\n$3\r\nDEL\r\n$2\r\nk3\r\n");
    fake_send_all(a());
    rig_expect_get(r, other, "k2");
    EXPECT(r, c, "+OK\r\n:1\r\n:1\r\n");
    rig_ask(r, c, "GET k4");
    fake_send_all(a());
    rig_expect_get(r, c, "k4");
}

/* A connection that always has somebody new to serve: who waits for it is not passed by for ever. */
static void test_newcomers_go_behind_a_waiter(void **state)
{
    (void)state;
    enum { ROUNDS = 3 };
    struct sim_peer *crowd[2 * ROUNDS];
    rig_open(r, REDIS "  max_in_flight: 2\n" ONE);
    a()->hold = true;
    struct sim_peer *first = rig_client(r, 0);
    struct sim_peer *second = rig_client(r, 0);
    struct sim_peer *waits = rig_client(r, 0);
    rig_ask(r, first, "GET k1");
    rig_ask(r, second, "GET k2");
    rig_ask(r, waits, "GET k3");
    for (size_t i = 0; i < ARRAY_LEN(crowd); i++)
        crowd[i] = rig_client(r, 0);
    for (int i = 0; i < ROUNDS; i++) {
        struct fake_conn *conn = fake_conn_now(a());
        sim_advance(r->loop, 10);
        assert_true(sim_peer_send(conn->peer, buf_span(&conn->pending)));
        buf_clear(&conn->pending);
        for (int k = 0; k < 2; k++)
            assert_true(sim_peer_send(crowd[2 * i + k], SPAN("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n")));
        sim_settle(r->loop);
    }
    rig_expect_get(r, waits, "k3");
}

/* What one large request needed of the space that all share is given back. */
static void test_work_space_is_given_back(void **state)
{
    (void)state;
    enum { BIG = 6 * 1024 * 1024, KEYS = 600000 };
    struct buf wire = {0};
    rig_open(r, MEMCACHE TWO);
    sim_listener_set(a()->listener, 1, 0);
    sim_listener_set(b()->listener, 1, 0);
    struct sim_peer *c = rig_client(r, 0);
    assert_true(buf_append(&wire, SPAN("set k 0 0 6291456 noreply\r\n")));
    assert_true(buf_reserve(&wire, BIG + 2));
    memset(wire.data + wire.tail, 'v', BIG);
    wire.tail += BIG;
    assert_true(buf_append(&wire, SPAN("\r\n")));
    rig_send(r, c, buf_span(&wire));
    buf_clear(&wire);
    assert_true(buf_append(&wire, SPAN("get")));
    for (int i = 0; i < KEYS; i++)
        assert_true(buf_append(&wire, i % 2 == 0 ? SPAN(" a") : SPAN(" b")));
    assert_true(buf_append(&wire, SPAN("\r\n")));
    rig_send(r, c, buf_span(&wire));
    buf_free(&wire);
    assert_in_range(r->proxy->scratch.cap, 0, 4 << 20);
    assert_in_range(r->proxy->compose.cap, 0, 4 << 20);
    assert_in_range(r->proxy->shards_cap * sizeof(*r->proxy->shards), 0, 4 << 20);
}

/* A server whose reply to a part is of another kind than the request has is out of step: nothing that comes on that
 * connection can be trusted, neither for this client nor for others. */
static void test_joined_reply_of_another_kind(void **state)
{
    static const char *const rows[][2] = {{"MGET", ":1\r\n"},
                                          {"MGET", "$1\r\nv\r\n"},
                                          {"DEL", "*1\r\n:1\r\n"},
                                          {"EXISTS", "+QUEUED\r\n"}};
    (void)state;
    rig_open(r, REDIS TWO);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *other = rig_client(r, 0);
    const char *on_a = rig_key(r, 0, 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        a()->hold = true;
        rig_ask(r, c, "%s %s %s", rows[i][0], on_a, rig_key(r, 1, 0));
        rig_ask(r, other, "GET %s", on_a);
        buf_clear(&fake_conn_now(a())->pending);
        fake_say(a(), rows[i][1]);
        EXPECT(r, c, "-ERR Invalid argument (server 'a' sent what is not a reply)\r\n");
        EXPECT(r, other, "-ERR Invalid argument (server 'a' sent what is not a reply)\r\n");
        assert_null(fake_conn_now(a()));
        a()->hold = false;
        rig_ask(r, other, "GET %s", on_a);
        rig_expect_get(r, other, on_a);
    }
}

#define TEST(name) cmocka_unit_test_teardown(name, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_stop_meets_the_deadline_of_a_lingering_client),
        TEST(test_greeting_is_not_a_handshake_reply),
        TEST(test_dropped_data_is_not_a_request),
        TEST(test_waiter_behind_an_answered_request_times_out),
        TEST(test_output_limit_of_split_replies),
        TEST(test_nothing_overtakes_on_a_fresh_connection),
        TEST(test_nothing_unsent_overtakes),
        TEST(test_newcomers_go_behind_a_waiter),
        TEST(test_work_space_is_given_back),
        TEST(test_joined_reply_of_another_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
