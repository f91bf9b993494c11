/* SPDX-License-Identifier: BSD-3-Clause */
/* What memory_limit promises: first nothing new is read, then requests fail, then the largest backlog is
 * closed; and all goes on when memory comes free. */
#include "rig.h"

#include <string.h>

#include "base/budget.h"

#define HEAD "p:\n  listen: 127.0.0.1:1\n  redis: true\n  client_output_soft: 1g\n"
#define ONE "  servers:\n   - 127.0.0.1:7001:1 a\n"
#define NO_MEMORY "-ERR Cannot allocate memory (memory_limit is 16777216 bytes)\r\n"

enum { MIB = 1 << 20, LIMIT = 16 * MIB };

static struct rig rig;
static struct rig *const r = &rig;
static struct budget budget;
static char zeros[MIB];

static struct fake *server(void)
{
    return &rig.fakes[0][0];
}

static enum memory_state state_now(void)
{
    return r->proxy->memory.state;
}

static void open_rig(const char *text, unsigned threads)
{
    rig_open(r, text);
    budget = (struct budget){.limit = LIMIT, .threads = threads};
    proxy_limit_memory(r->proxy, &budget);
}

static int close_rig(void **state)
{
    (void)state;
    rig_close(r);
    assert_int_equal(budget_drawn(&budget), 0);
    return 0;
}

/* A client for whom `mib` MiB wait, since it reads nothing; or just as many as make memory tight. */
static struct sim_peer *hoarder(unsigned mib)
{
    struct sim_peer *c = rig_client(r, 0);
    sim_peer_limit(c, SIM_UNLIMITED, 0);
    for (unsigned i = 0; i < mib && state_now() == MEMORY_FREE; i++)
        rig_ask(r, c, "GET big:1048000");
    return c;
}

/* A client that has sent a part of a value of two million bytes. */
static struct sim_peer *half_sender(void)
{
    struct sim_peer *c = rig_client(r, 0);
    SEND(r, c, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2000000\r\n");
    rig_send(r, c, (struct span){zeros, MIB});
    return c;
}

static void send_rest(struct sim_peer *c)
{
    rig_send(r, c, (struct span){zeros, 2000000 - MIB});
    SEND(r, c, "\r\n");
}

static void test_back_pressure_first(void **state)
{
    (void)state;
    open_rig(HEAD ONE, 1);
    struct sim_peer *other = rig_client(r, 0);
    struct sim_peer *c = hoarder(9);
    rig_ask(r, other, "GET k");
    rig_expect_get(r, other, "k");
    assert_int_equal(state_now(), MEMORY_FREE);
    for (int i = 0; i < 4; i++)
        rig_ask(r, c, "GET big:1048000");
    assert_int_equal(state_now(), MEMORY_TIGHT);
    rig_ask(r, other, "GET k2");
    struct sim_peer *late = rig_client(r, 0);
    rig_ask(r, late, "GET k3");
    EXPECT(r, other, "");
    EXPECT(r, late, "");
    sim_peer_room(c, LIMIT);
    sim_advance(r->loop, 200);
    assert_int_equal(state_now(), MEMORY_FREE);
    rig_expect_get(r, other, "k2");
    rig_expect_get(r, late, "k3");
    assert_int_equal(POOL_STAT(r, client_memory), 0);
    sim_advance(r->loop, 5000);
    assert_true(budget_drawn(&budget) <= (size_t)2 * MIB);
    assert_true(list_empty(&r->loop->timers));
}

/* Nobody waits for ever on somebody who does not read. */
static void test_then_errors_then_the_end(void **state)
{
    (void)state;
    open_rig(HEAD ONE, 1);
    struct sim_peer *other = rig_client(r, 0);
    struct sim_peer *c = hoarder(LIMIT);
    rig_ask(r, other, "GET k");
    EXPECT(r, other, "");
    sim_advance(r->loop, 600);
    EXPECT(r, other, NO_MEMORY);
    assert_int_equal(state_now(), MEMORY_REFUSING);
    rig_ask(r, other, "PING");
    EXPECT(r, other, "+PONG\r\n");
    rig_ask(r, other, "GET k");
    EXPECT(r, other, NO_MEMORY);
    assert_int_equal(POOL_STAT(r, memory_errors), 2);
    assert_false(sim_peer_gone(c));
    sim_advance(r->loop, 700);
    assert_true(sim_peer_gone(c));
    assert_int_equal(POOL_STAT(r, client_memory), 1);
    rig_ask(r, other, "GET k");
    rig_expect_get(r, other, "k");
    assert_int_equal(state_now(), MEMORY_FREE);
}

static void fill_transaction(struct sim_peer *c, unsigned mib)
{
    rig_ask(r, c, "MULTI");
    for (unsigned i = 0; i < mib; i++) {
        SEND(r, c, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048576\r\n");
        rig_send(r, c, (struct span){zeros, MIB});
        SEND(r, c, "\r\n");
    }
}

/* What clients put into transactions counts. When memory is short one can still be ended, else its client would go on
 * in a transaction that it takes for done. */
static void test_transactions(void **state)
{
    (void)state;
    open_rig(HEAD ONE, 1);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *d = rig_client(r, 0);
    struct sim_peer *e = rig_client(r, 0);
    rig_ask(r, d, "MULTI");
    rig_ask(r, d, "SET k v");
    EXPECT(r, d, "+OK\r\n+QUEUED\r\n");
    fill_transaction(c, 5);
    fill_transaction(e, 3);
    assert_int_equal(state_now(), MEMORY_TIGHT);
    sim_advance(r->loop, 600);
    assert_int_equal(state_now(), MEMORY_REFUSING);
    rig_ask(r, d, "SET l v");
    EXPECT(r, d, NO_MEMORY);
    rig_ask(r, d, "EXEC");
    rig_expect_begin(r, d, "-EXECABORT");
    rig_ask(r, d, "GET k");
    EXPECT(r, d, NO_MEMORY);
    sim_advance(r->loop, 1200);
    assert_true(sim_peer_gone(c));
    assert_int_equal(POOL_STAT(r, client_memory), 1);
    sim_advance(r->loop, 200);
    assert_int_equal(state_now(), MEMORY_FREE);
}

/* One that reads slowly keeps what it has asked for. */
static void test_relief_stops_the_escalation(void **state)
{
    (void)state;
    open_rig(HEAD ONE, 1);
    struct sim_peer *c = hoarder(LIMIT);
    size_t asked = server()->requests;
    for (int i = 0; i < 12; i++) {
        sim_advance(r->loop, 300);
        sim_peer_room(c, (size_t)2 * MIB);
        sim_settle(r->loop);
        assert_int_not_equal(state_now(), MEMORY_REFUSING);
    }
    assert_false(sim_peer_gone(c));
    assert_int_equal(sim_peer_received(c).len, asked * (1048000 + 12));
    assert_int_equal(state_now(), MEMORY_FREE);
}

/* At the limit itself there is no time to wait. */
static void test_one_reply_beyond_the_limit(void **state)
{
    (void)state;
    open_rig(HEAD ONE, 1);
    struct sim_peer *other = rig_client(r, 0);
    struct sim_peer *c = hoarder(3);
    server()->hold = true;
    rig_ask(r, c, "GET big:30000000");
    rig_ask(r, other, "GET k");
    while (fake_pending(server()) > 1000000)
        fake_send(server(), 1000000);
    assert_true(sim_peer_gone(c));
    assert_true(r->loop->pool.meter.high < LIMIT + 2 * MIB);
    assert_int_equal(POOL_STAT(r, client_memory), 1);
    server()->hold = false;
    fake_send_all(server());
    rig_expect_get(r, other, "k");
}

/* Requests that came in part may become whole, so that their memory comes free. */
static void test_half_requests_go_on(void **state)
{
    (void)state;
    struct sim_peer *c[12];
    open_rig(HEAD ONE, 1);
    unsigned n = 0;
    while (state_now() == MEMORY_FREE && n < ARRAY_LEN(c))
        c[n++] = half_sender();
    assert_int_equal(state_now(), MEMORY_TIGHT);
    for (unsigned i = 0; i < n; i++)
        send_rest(c[i]);
    sim_advance(r->loop, 400);
    for (unsigned i = 0; i < n; i++)
        EXPECT(r, c[i], "+OK\r\n");
    assert_int_equal(POOL_STAT(r, client_memory), 0);
    assert_int_equal(state_now(), MEMORY_FREE);
}

/* Those that never do don't stop the others, and are told why they end. */
static void test_half_requests_that_stay(void **state)
{
    (void)state;
    struct sim_peer *c[12];
    open_rig(HEAD ONE, 1);
    struct sim_peer *other = rig_client(r, 0);
    unsigned n = 0;
    unsigned gone = 0;
    while (state_now() == MEMORY_FREE && n < ARRAY_LEN(c))
        c[n++] = half_sender();
    rig_ask(r, other, "GET k");
    for (int i = 0; i < 10 && state_now() != MEMORY_FREE; i++)
        sim_advance(r->loop, 600);
    assert_int_equal(state_now(), MEMORY_FREE);
    EXPECT(r, other, NO_MEMORY);
    rig_ask(r, other, "GET k");
    rig_expect_get(r, other, "k");
    for (unsigned i = 0; i < n; i++)
        gone += sim_peer_ended(c[i]);
    assert_in_range(gone, 1, n - 1);
    assert_int_equal(POOL_STAT(r, client_memory), gone);
    for (unsigned i = 0; i < n; i++)
        EXPECT(r, c[i], sim_peer_ended(c[i]) ? NO_MEMORY : "");
}

static void test_request_beyond_a_quarter(void **state)
{
    (void)state;
    open_rig(HEAD ONE, 1);
    struct sim_peer *c = rig_client(r, 0);
    SEND(r, c, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8388608\r\n");
    for (int i = 0; i < 5; i++)
        rig_send(r, c, (struct span){zeros, MIB});
    EXPECT(r, c, "-ERR request is too large (memory_limit leaves it 4194304 bytes)\r\n");
    assert_true(sim_peer_ended(c));
}

/* A worker learns that memory is short from what the others have drawn, and closes nobody if it holds little
 * itself. */
static void test_two_workers(void **state)
{
    (void)state;
    struct credit elsewhere = {.budget = &budget};
    open_rig(HEAD ONE, 2);
    struct sim_peer *c = hoarder(1);
    struct sim_peer *other = rig_client(r, 0);
    credit_draw(&elsewhere, (size_t)13 * MIB);
    rig_ask(r, c, "GET big:1500000"); /* the next step */
    assert_int_equal(state_now(), MEMORY_TIGHT);
    rig_ask(r, other, "GET k");
    EXPECT(r, other, "");
    sim_advance(r->loop, 3000);
    EXPECT(r, other, NO_MEMORY);
    assert_int_equal(POOL_STAT(r, client_memory), 0);
    credit_close(&elsewhere);
    sim_advance(r->loop, 100);
    assert_int_equal(state_now(), MEMORY_FREE);
    rig_ask(r, other, "GET k");
    rig_expect_get(r, other, "k");
}

/* A split request's pieces are counted, and what a client may hold of them. */
static void test_split(void **state)
{
    (void)state;
    open_rig(HEAD "  servers:\n   - 127.0.0.1:7001:1 a\n   - 127.0.0.1:7002:1 b\n", 1);
    struct sim_peer *c = rig_client(r, 0);
    for (int i = 0; i < 2; i++)
        rig.fakes[0][i].hold = true;
    rig_ask(r, c, "MGET %s %s", rig_key(r, 0, 0), rig_key(r, 1, 0));
    size_t before = r->loop->pool.meter.used;
    struct buf head = {0};
    assert_true(buf_append(&head, SPAN("*1\r\n$60000000\r\n")));
    struct fake_conn *conn = fake_conn_now(server());
    assert_true(sim_peer_send(conn->peer, buf_span(&head)));
    for (int i = 0; i < 6; i++) {
        assert_true(sim_peer_send(conn->peer, (struct span){zeros, MIB}));
        sim_settle(r->loop);
    }
    assert_true(r->loop->pool.meter.used >= before + (size_t)6 * MIB);
    for (int i = 0; i < 40 && !sim_peer_gone(c); i++) {
        assert_true(sim_peer_send(conn->peer, (struct span){zeros, MIB}));
        sim_settle(r->loop);
    }
    assert_true(sim_peer_gone(c));
    buf_free(&head);
    sim_peer_close(conn->peer);
    rig.fakes[0][1].hold = false;
    fake_send_all(&rig.fakes[0][1]);
}

#define TEST(name) cmocka_unit_test_teardown(name, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_back_pressure_first),
        TEST(test_then_errors_then_the_end),
        TEST(test_relief_stops_the_escalation),
        TEST(test_one_reply_beyond_the_limit),
        TEST(test_half_requests_go_on),
        TEST(test_half_requests_that_stay),
        TEST(test_request_beyond_a_quarter),
        TEST(test_two_workers),
        TEST(test_split),
        TEST(test_transactions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
