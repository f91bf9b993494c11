/* SPDX-License-Identifier: BSD-3-Clause */
/* The lines of busy servers: who waits is let in when there is room, in order, and not asked in vain;
 * what a server's queues show meanwhile; and what one request sees of the ring. */
#include "one_rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD "p:\n  listen: 127.0.0.1:1\n  redis: true\n"
#define ONE "  servers:\n   - 127.0.0.1:7001:1 a\n"
#define TWO ONE "   - 127.0.0.1:7002:1 b\n"

/* ---- how often requests are read ---- */

static const struct proto *real;
static struct proto counting;
static unsigned reads;

static enum parse count_parse(struct request_parser *p, struct proto_session *ses, struct span in,
                              struct buf *scratch, struct request_view *out)
{
    reads++;
    return real->parse_request(p, ses, in, scratch, out);
}

static void count_reads(void)
{
    real = r->proxy->fronts[0].proto;
    counting = *real;
    counting.parse_request = count_parse;
    r->proxy->fronts[0].proto = &counting;
    reads = 0;
}

/* Many wait, and few can go at a time: each request is read when it comes, and when it goes. */
static void test_waiters_are_read_twice(void **state)
{
    (void)state;
    enum { CLIENTS = 200 };
    struct sim_peer *c[CLIENTS];
    rig_open(r, HEAD "  max_in_flight: 2\n" ONE);
    count_reads();
    a()->hold = true;
    for (int i = 0; i < CLIENTS; i++) {
        c[i] = rig_client(r, 0);
        rig_ask(r, c[i], "GET k%d", i);
    }
    assert_int_equal(reads, CLIENTS);
    for (int i = 0; i < 2 * CLIENTS && fake_pending(a()) > 0; i++)
        fake_send_all(a());
    for (int i = 0; i < CLIENTS; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        rig_expect_get(r, c[i], key);
    }
    assert_in_range(reads, CLIENTS, 2 * CLIENTS + 10);
}

/* As many bytes are let in as the connection takes, not the whole line. */
static void test_large_waiters(void **state)
{
    (void)state;
    enum { CLIENTS = 12, SIZE = 1 << 20 };
    struct sim_peer *c[CLIENTS];
    char *value = calloc(1, SIZE);
    struct buf wire = {0};
    char head[64];
    assert_non_null(value);
    memset(value, 'v', SIZE);
    rig_open(r, HEAD ONE);
    snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n", SIZE);
    assert_true(buf_append(&wire, span_str(head)) && buf_append(&wire, span_of(value, SIZE)) &&
                buf_append(&wire, SPAN("\r\n")));
    sim_defaults(r->loop, SIM_UNLIMITED, SIM_UNLIMITED, SIM_UNLIMITED);
    c[0] = rig_client(r, 0);
    rig_ask(r, c[0], "GET k");
    rig_expect_get(r, c[0], "k");
    struct sim_peer *s = fake_conn_now(a())->peer;
    sim_peer_limit(s, SIM_UNLIMITED, 0);
    for (int i = 0; i < CLIENTS; i++) {
        c[i] = i == 0 ? c[0] : rig_client(r, 0);
        rig_send(r, c[i], buf_span(&wire));
    }
    count_reads();
    for (int i = 0; i < 40; i++) {
        sim_peer_room(s, SIZE);
        sim_settle(r->loop);
    }
    for (int i = 0; i < CLIENTS; i++)
        EXPECT(r, c[i], "+OK\r\n");
    assert_in_range(reads, 1, 2 * CLIENTS);
    buf_free(&wire);
    free(value);
}

/* The reply that makes room and a new request come together: who has waited goes first. */
static void test_nobody_passes_who_was_let_go(void **state)
{
    (void)state;
    rig_open(r, HEAD "  max_in_flight: 1\n" ONE);
    struct sim_peer *first = rig_client(r, 0);
    struct sim_peer *waits = rig_client(r, 0);
    struct sim_peer *fresh = rig_client(r, 0);
    struct buf wire = {0};
    a()->hold = true;
    rig_ask(r, first, "GET k1");
    rig_ask(r, waits, "GET k2");
    resp(&wire, "GET k3");
    /* The reply, and a turn later, when the waiter is on its way, the request of the other. */
    assert_true(sim_peer_send(fake_conn_now(a())->peer, SPAN("$4\r\n<k1>\r\n")));
    buf_clear(&fake_conn_now(a())->pending);
    loop_turn(r->loop, false);
    struct upstream *up = r->proxy->fronts[0].up;
    struct lane lane = {.profile = up->plain};
    struct waiter newcomer;
    waiter_init(&newcomer, NULL);
    assert_true(list_empty(&up->plain->slots[0].line));
    assert_true(upstream_busy(up, 0, &lane, &newcomer));
    assert_true(sim_peer_send(fresh, buf_span(&wire)));
    sim_settle(r->loop);
    a()->hold = false;
    fake_send_all(a());
    sim_advance(r->loop, 100);
    rig_expect_get(r, first, "k1");
    rig_expect_get(r, waits, "k2");
    rig_expect_get(r, fresh, "k3");
    fake_expect(a(), "*2\r\n$3\r\nGET\r\n$2\r\nk1\r\n*2\r\n$3\r\nGET\r\n$2\r\nk2\r\n"
                     "*2\r\n$3\r\nGET\r\n$2\r\nk3\r\n");
    buf_free(&wire);
}

static void never_comes(struct waiter *w, bool late)
{
    (void)w;
    assert_false(late);
}

/* One that was let go does not come: the others do not wait for ever, timeout or not. */
static void test_let_go_and_gone(void **state)
{
    (void)state;
    rig_open(r, HEAD "  max_in_flight: 1\n" ONE);
    struct upstream *up = r->proxy->fronts[0].up;
    struct lane lane = {.profile = up->plain};
    struct sim_peer *first = rig_client(r, 0);
    struct sim_peer *last = rig_client(r, 0);
    struct waiter ghost;
    a()->hold = true;
    rig_ask(r, first, "GET k1");
    waiter_init(&ghost, never_comes);
    ghost.since = loop_now(r->loop);
    upstream_wait(up, 0, &lane, &ghost);
    rig_ask(r, last, "GET k3");
    a()->hold = false;
    fake_send_all(a());
    rig_expect_get(r, first, "k1");
    assert_false(ghost.waits);
    sim_advance(r->loop, 50);
    rig_expect_get(r, last, "k3");
    waiter_leave(&ghost);
}

/* ---- the orderly end ---- */

/* A request that waits was read: it is answered before the end. */
static void test_stop_answers_who_waits(void **state)
{
    (void)state;
    rig_open(r, HEAD "  max_in_flight: 1\n" ONE);
    struct sim_peer *c[4];
    a()->hold = true;
    for (int i = 0; i < 4; i++) {
        c[i] = rig_client(r, 0);
        rig_ask(r, c[i], "GET k%d", i);
    }
    rig_ask(r, c[3], "GET late"); /* not read yet: is not answered */
    rig_stop(r);
    a()->hold = false;
    fake_send_all(a());
    sim_advance(r->loop, 100);
    for (int i = 0; i < 4; i++) {
        char key[8];
        snprintf(key, sizeof(key), "k%d", i);
        rig_expect_get(r, c[i], key);
    }
    sim_advance(r->loop, 1000);
    assert_true(r->stopped);
}

/* ---- queues of a connection that is blocked ---- */

static void expect_queues(unsigned in, unsigned out)
{
    assert_int_equal(SERVER_STAT(r, a(), in_queue), in);
    assert_int_equal(SERVER_STAT(r, a(), out_queue), out);
}

static void test_queues_while_blocked(void **state)
{
    (void)state;
    enum { BYTES = 21 }; /* of GET k0 */
    rig_open(r, HEAD ONE);
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "GET k0");
    rig_expect_get(r, c, "k0");
    struct sim_peer *s = fake_conn_now(a())->peer;
    a()->hold = true;
    sim_peer_limit(s, SIM_UNLIMITED, 0);
    for (unsigned i = 1; i < 10; i++)
        rig_ask(r, c, "GET k%u", i);
    expect_queues(9, 0);
    assert_int_equal(SERVER_STAT(r, a(), in_queue_bytes), 9 * BYTES);
    /* A request of which some bytes are gone counts as sent. */
    sim_peer_room(s, 2 * BYTES + 1);
    rig_ask(r, c, "GET k0");
    expect_queues(7, 3);
    /* Replies, while it is blocked. */
    fake_send_all(a());
    rig_ask(r, c, "GET k0");
    expect_queues(8, 1);
    sim_peer_room(s, (size_t)3 * BYTES);
    sim_settle(r->loop);
    rig_ask(r, c, "GET k0");
    expect_queues(6, 4);
    assert_int_equal(SERVER_STAT(r, a(), in_queue_bytes), 6 * BYTES);
    sim_peer_room(s, 1000);
    sim_settle(r->loop);
    rig_ask(r, c, "GET k0");
    expect_queues(0, 11);
    fake_send_all(a());
    expect_queues(0, 0);
    assert_int_equal(SERVER_STAT(r, a(), out_queue_bytes), 0);
}

/* ---- one request, one ring ---- */

/* Another worker ejects the server while the keys of a request are routed. */
static void test_one_ring_for_a_request(void **state)
{
    (void)state;
    rig_open(r, HEAD "  hash: md5\n  auto_eject_hosts: true\n  server_failure_limit: 1\n" TWO);
    struct upstream *up = r->proxy->fronts[0].up;
    struct span key = span_str(rig_key(r, 0, 0));
    upstream_begin(up);
    assert_int_equal(upstream_route(up, key, INTENT_READ), 0);
    assert_true(pool_server_failed(r->pools[0], 0));
    assert_int_equal(upstream_route(up, key, INTENT_READ), 0);
    upstream_begin(up);
    assert_int_equal(upstream_route(up, key, INTENT_READ), 1);
}

#define TEST(name) cmocka_unit_test_teardown(name, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_waiters_are_read_twice),       TEST(test_large_waiters),
        TEST(test_nobody_passes_who_was_let_go), TEST(test_let_go_and_gone),
        TEST(test_stop_answers_who_waits),       TEST(test_queues_while_blocked),
        TEST(test_one_ring_for_a_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
