/* SPDX-License-Identifier: BSD-3-Clause */
/* Odd moments of clients that have a connection of their own, or a transaction open. */
#include "one_rig.h"

#include <stdio.h>

#include "upstream/private.h"
#include "upstream/profile.h"

#define REDIS "p:\n  listen: 127.0.0.1:1\n  hash: md5\n  redis: true\n"
#define ONE "  servers:\n   - 127.0.0.1:7001:1 a\n"
#define TWO ONE "   - 127.0.0.1:7002:1 b\n"

/* Asks for a transaction of one command. */
static void ask_transaction(struct sim_peer *c)
{
    rig_ask(r, c, "MULTI");
    rig_ask(r, c, "SET k v");
    rig_ask(r, c, "EXEC");
}

/* The reply of one server breaks off: that closes the client, and with it the connection that it has for itself to
 * another server, which is the next one to be looked at. */
static void test_one_late_reply_ends_two_connections(void **state)
{
    (void)state;
    rig_open(r, REDIS "  timeout: 400\n" TWO);
    struct sim_peer *c = rig_client(r, 0);
    const char *on_a = rig_key(r, 0, 0);
    rig_ask(r, c, "WATCH %s", on_a);
    EXPECT(r, c, "+OK\r\n");
    a()->hold = true;
    b()->hold = true;
    rig_ask(r, c, "GET %s", rig_key(r, 1, 0));
    fake_send(b(), 3);
    rig_ask(r, c, "GET %s", on_a);
    sim_advance(r->loop, 450);
    rig_expect_begin(r, c, "$");
    struct sim_peer *other = rig_client(r, 0);
    a()->hold = false;
    rig_ask(r, other, "GET %s", on_a);
    rig_expect_get(r, other, on_a);
}

/* A connection on which keys are watched is lost while its client waits there for data: what it watched may have
 * changed, and its transaction is not carried out. */
static void test_watch_is_lost_with_a_wait(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "WATCH k");
    EXPECT(r, c, "+OK\r\n");
    a()->hold = true;
    rig_ask(r, c, "BLPOP q 0");
    sim_peer_close(fake_conn_now(a())->peer);
    sim_settle(r->loop);
    EXPECT(r, c, "-ERR unknown (server 'a' closed the connection)\r\n");
    a()->hold = false;
    ask_transaction(c);
    EXPECT(r, c, "+OK\r\n+QUEUED\r\n*-1\r\n");
    assert_int_equal(a()->requests, 2);
}

/* The same with a second WATCH. */
static void test_second_watch_fails(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "WATCH k");
    EXPECT(r, c, "+OK\r\n");
    a()->hold = true;
    rig_ask(r, c, "WATCH l");
    sim_peer_close(fake_conn_now(a())->peer);
    sim_settle(r->loop);
    EXPECT(r, c, "-ERR unknown (server 'a' closed the connection)\r\n");
    ask_transaction(c);
    EXPECT(r, c, "+OK\r\n+QUEUED\r\n*-1\r\n");
}

/* A server refuses a second WATCH: the first one counts. */
static void test_second_watch_is_refused(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "WATCH k");
    EXPECT(r, c, "+OK\r\n");
    struct fake_conn *own = fake_conn_now(a());
    a()->hold = true;
    rig_ask(r, c, "WATCH l");
    buf_clear(&own->pending);
    fake_say(a(), "-NOPERM no\r\n");
    EXPECT(r, c, "-NOPERM no\r\n");
    ask_transaction(c);
    EXPECT(r, c, "+OK\r\n+QUEUED\r\n");
    buf_clear(&own->pending);
    fake_say(a(), "+OK\r\n+QUEUED\r\n*-1\r\n");
    EXPECT(r, c, "*-1\r\n");
    assert_int_equal(sim_listener_count(a()->listener), 1);
}

/* The server refuses to carry out a transaction, which stays open there: what others asked behind it, on the connection
 * that all share, must not become a part of it. */
static void test_transaction_that_stays_open(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *other = rig_client(r, 0);
    a()->hold = true;
    ask_transaction(c);
    EXPECT(r, c, "+OK\r\n+QUEUED\r\n");
    rig_ask(r, other, "GET k");
    buf_clear(&fake_conn_now(a())->pending);
    fake_say(a(), "+OK\r\n+QUEUED\r\n-ERR unknown command 'EXEC'\r\n+QUEUED\r\n");
    EXPECT(r, c, "-ERR unknown command 'EXEC'\r\n");
    EXPECT(r, other, "-ERR Invalid argument (server 'a' left a transaction open)\r\n");
    a()->hold = false;
    rig_ask(r, other, "GET k");
    rig_expect_get(r, other, "k");
    assert_int_equal(sim_listener_count(a()->listener), 2);
}

/* One that was aborted is over, and clients can bring that about: nobody else hears of it. */
static void test_aborted_transaction(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *other = rig_client(r, 0);
    a()->hold = true;
    ask_transaction(c);
    EXPECT(r, c, "+OK\r\n+QUEUED\r\n");
    rig_ask(r, other, "GET k");
    buf_clear(&fake_conn_now(a())->pending);
    fake_say(a(), "+OK\r\n-ERR no\r\n-EXECABORT no\r\n$3\r\n<k>\r\n");
    EXPECT(r, c, "-EXECABORT no\r\n");
    rig_expect_get(r, other, "k");
    assert_int_equal(sim_listener_count(a()->listener), 1);
}

/* A client may keep a connection for hours: only one that lies idle is a reason to wake up. */
static void test_nobody_looks_at_what_is_taken(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct upstream *up = r->proxy->fronts[0].up;
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *other = rig_client(r, 0);
    rig_ask(r, c, "WATCH k");
    rig_ask(r, other, "WATCH k");
    rig_ask(r, other, "UNWATCH");
    assert_true(timer_running(&up->sweep));
    sim_advance(r->loop, (uint64_t)PROFILE_LINGER_MS * 3);
    assert_false(timer_running(&up->sweep));
    assert_int_equal(up->slots[0].privates, 1);
    rig_ask(r, c, "UNWATCH");
    assert_true(timer_running(&up->sweep));
    sim_advance(r->loop, (uint64_t)PROFILE_LINGER_MS * 3);
    assert_false(timer_running(&up->sweep));
    assert_int_equal(up->slots[0].privates, 0);
}

/* The word that tells so may come in pieces. */
static void test_aborted_in_pieces(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    for (size_t cut = 1; cut < 15; cut++) {
        struct sim_peer *c = rig_client(r, 0);
        a()->hold = true;
        rig_ask(r, c, "MULTI");
        rig_ask(r, c, "SET k v");
        rig_ask(r, c, "EXEC");
        EXPECT(r, c, "+OK\r\n+QUEUED\r\n");
        struct buf *pending = &fake_conn_now(a())->pending;
        buf_clear(pending);
        assert_true(buf_append(pending, SPAN("+OK\r\n-ERR no\r\n-EXECABORT no\r\n")));
        fake_send(a(), 14 + cut);
        fake_send_all(a());
        EXPECT(r, c, "-EXECABORT no\r\n");
    }
    assert_int_equal(sim_listener_count(a()->listener), 1);
}

/* A server does not let the proxy's user begin transactions: what was to be in one was done without it, and so may be
 * what waits for data. The client hears why, and nobody else is kept waiting. */
static void refuse_multi(const char *said, const char *told)
{
    rig_open(r, REDIS ONE);
    for (size_t cut = 0; cut < 8; cut++) {
        struct sim_peer *c = rig_client(r, 0);
        struct sim_peer *other = rig_client(r, 0);
        a()->hold = true;
        rig_ask(r, c, "MULTI");
        rig_ask(r, c, "BLPOP k 0");
        rig_ask(r, c, "EXEC");
        EXPECT(r, c, "+OK\r\n+QUEUED\r\n");
        rig_ask(r, other, "GET k");
        struct buf *pending = &fake_conn_now(a())->pending;
        buf_clear(pending);
        assert_true(buf_append(pending, span_str(said)));
        fake_send(a(), cut);
        fake_send_all(a());
        EXPECT(r, c, told);
        EXPECT(r, other, "-ERR Invalid argument (server 'a' did not begin a transaction)\r\n");
        a()->hold = false;
        rig_ask(r, other, "GET k");
        rig_expect_get(r, other, "k");
    }
    rig_close(r);
}

static void test_multi_is_refused(void **state)
{
    (void)state;
    refuse_multi("-NOPERM no 'multi'\r\n", "-NOPERM no 'multi'\r\n");
    refuse_multi("-NOPERM no 'multi'\r\n-ERR no EXEC\r\n", "-NOPERM no 'multi'\r\n");
}

/* The same where keys are watched. */
static void test_multi_is_refused_while_watching(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "WATCH k");
    rig_ask(r, c, "MULTI");
    rig_ask(r, c, "SET k v");
    a()->hold = true;
    rig_ask(r, c, "EXEC");
    EXPECT(r, c, "+OK\r\n+OK\r\n+QUEUED\r\n");
    buf_clear(&fake_conn_now(a())->pending);
    fake_say(a(), "-NOPERM no\r\n+OK\r\n-ERR no EXEC\r\n");
    EXPECT(r, c, "-NOPERM no\r\n");
    assert_null(fake_conn_now(a()));
}

/* A client asks more behind a request that may wait for ever, and goes: nobody waits for it any more. One that only
 * closed its sending side gets all its answers, and what is there at once. */
static void test_nobody_waits_for_who_is_gone(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = rig_client(r, 0);
    struct upstream *up = r->proxy->fronts[0].up;
    a()->hold = true;
    rig_ask(r, c, "BLPOP k 0");
    rig_ask(r, c, "PING");
    rig_ask(r, c, "BLPOP l 0");
    rig_ask(r, c, "PING");
    sim_peer_half_close(c);
    sim_settle(r->loop);
    EXPECT(r, c, "");
    sim_advance(r->loop, 110);
    EXPECT(r, c, "-ERR Connection refused (server 'a': its client sends no more)\r\n+PONG\r\n");
    sim_advance(r->loop, 110);
    EXPECT(r, c, "-ERR Connection refused (server 'a': its client sends no more)\r\n+PONG\r\n");
    assert_true(sim_peer_ended(c));
    assert_null(fake_conn_now(a()));

    struct sim_peer *quick = rig_client(r, 0);
    rig_ask(r, quick, "BLPOP k 0");
    rig_ask(r, quick, "PING");
    sim_peer_half_close(quick);
    sim_settle(r->loop);
    fake_send_all(a());
    EXPECT(r, quick, "+OK\r\n+PONG\r\n");
    sim_advance(r->loop, 200);
    assert_non_null(fake_conn_now(a())); /* idle, and of use to others */

    struct sim_peer *gone = rig_client(r, 0);
    rig_ask(r, gone, "BLPOP k 0");
    rig_ask(r, gone, "PING");
    sim_peer_close(gone);
    sim_advance(r->loop, 110);
    assert_null(fake_conn_now(a()));
    LIST_FOREACH (node, &up->privates) {
        assert_false(container_of(node, struct private, link)->taken);
    }
}

/* The same with all servers: one that only closed its sending side is told what they answer at once. */
static void test_wait_of_who_sends_no_more(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = rig_client(r, 0);
    a()->hold = true;
    rig_ask(r, c, "WAIT 0 0");
    sim_peer_half_close(c);
    sim_settle(r->loop);
    EXPECT(r, c, "");
    buf_clear(&fake_conn_now(a())->pending);
    fake_say(a(), "+PONG\r\n:0\r\n");
    buf_clear(&fake_conn_now(a())->pending);
    fake_say(a(), ":0\r\n");
    EXPECT(r, c, ":0\r\n");
    assert_true(sim_peer_ended(c));
    sim_advance(r->loop, 200);
    assert_non_null(fake_conn_now(a())); /* idle, and of use to others */

    struct sim_peer *late = rig_client(r, 0);
    rig_ask(r, late, "WAIT 0 0");
    rig_ask(r, late, "WAIT 0 0");
    sim_peer_half_close(late);
    sim_advance(r->loop, 110);
    sim_advance(r->loop, 110);
    EXPECT(r, late,
           "-ERR Connection refused (server 'a': its client sends no more)\r\n"
           "-ERR Connection refused (server 'a': its client sends no more)\r\n");
    assert_true(sim_peer_ended(late));
}

/* A client that does not read has a connection of its own, and a request over several servers, of which only that
 * one's reply is outstanding: when that begins the client is closed, and with it the connection and the last part. */
static void test_overflow_ends_what_it_belongs_to(void **state)
{
    (void)state;
    rig_open(r, REDIS "  client_output_limit: 50000\n" TWO);
    struct sim_peer *c = rig_client(r, 0);
    const char *big = NULL;
    static char keys[64][16];
    for (int i = 0; i < 64 && big == NULL; i++) {
        const struct pool *p = r->pools[0];
        snprintf(keys[i], sizeof(keys[i]), "big:%d", 60000 + i);
        if (ring_pick(p->ring->ring, p->hash(span_str(keys[i])), 0) == 0)
            big = keys[i];
    }
    rig_ask(r, c, "WATCH %s", big);
    EXPECT(r, c, "+OK\r\n");
    sim_peer_limit(c, SIM_UNLIMITED, 0);
    a()->hold = true;
    b()->hold = true;
    rig_ask(r, c, "GET %s", big);
    rig_ask(r, c, "MGET %s %s", big, rig_key(r, 1, 0));
    sim_peer_close(fake_conn_now(b())->peer);
    sim_settle(r->loop);
    fake_send(a(), fake_pending(a()) - 100);
    assert_true(sim_peer_gone(c));
    assert_int_equal(POOL_STAT(r, client_overflow), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_one_late_reply_ends_two_connections, close_rig),
        cmocka_unit_test_teardown(test_watch_is_lost_with_a_wait, close_rig),
        cmocka_unit_test_teardown(test_second_watch_fails, close_rig),
        cmocka_unit_test_teardown(test_second_watch_is_refused, close_rig),
        cmocka_unit_test_teardown(test_transaction_that_stays_open, close_rig),
        cmocka_unit_test_teardown(test_aborted_transaction, close_rig),
        cmocka_unit_test_teardown(test_nobody_looks_at_what_is_taken, close_rig),
        cmocka_unit_test_teardown(test_aborted_in_pieces, close_rig),
        cmocka_unit_test_teardown(test_nobody_waits_for_who_is_gone, close_rig),
        cmocka_unit_test(test_multi_is_refused),
        cmocka_unit_test_teardown(test_multi_is_refused_while_watching, close_rig),
        cmocka_unit_test_teardown(test_wait_of_who_sends_no_more, close_rig),
        cmocka_unit_test_teardown(test_overflow_ends_what_it_belongs_to, close_rig),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
