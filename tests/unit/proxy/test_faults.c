/* SPDX-License-Identifier: BSD-3-Clause */
/* When a server fails, every request on its connection is answered once, with the reason, and no
 * byte of it ever reaches somebody else's request. */
#include "one_rig.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD "p:\n  listen: 127.0.0.1:1\n  hash: md5\n  redis: true\n"
#define ONE "  servers:\n   - 127.0.0.1:7001:1 a\n"
#define EJECT "  auto_eject_hosts: true\n  server_retry_timeout: 2000\n"
#define TWO ONE "   - 127.0.0.1:7002:1 b\n"

/* ---- what a server must not say ---- */

struct lie {
    const char *said;
    const char *what;
};

/* Two clients wait at a server that says something wrong: both get an error, once, and the next
 * requests go to a fresh connection. */
static void lie(const struct lie *l, bool asked)
{
    rig_open(r, HEAD ONE);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *d = rig_client(r, 0);
    char want[200];
    rig_ask(r, c, "GET k");
    rig_expect_get(r, c, "k");
    a()->hold = true;
    if (asked) {
        rig_ask(r, c, "GET k1");
        rig_ask(r, d, "GET k2");
        rig_ask(r, c, "GET k3");
    }
    fake_say(a(), l->said);
    snprintf(want, sizeof(want), "-ERR Invalid argument (server 'a' %s)\r\n", l->what);
    if (asked) {
        EXPECT(r, d, want);
        rig_expect_begin(r, c, want);
        assert_int_equal(POOL_STAT(r, forward_error), 3);
    }
    EXPECT(r, c, "");
    EXPECT(r, d, "");
    assert_null(fake_conn_now(a()));
    a()->hold = false;
    rig_ask(r, c, "GET k4");
    rig_expect_get(r, c, "k4");
    rig_ask(r, d, "GET k5");
    rig_expect_get(r, d, "k5");
    assert_int_equal(sim_listener_count(a()->listener), 2);
    rig_close(r);
}

static void test_lies(void **state)
{
    (void)state;
    const struct lie lies[] = {
        {"hello\r\n", "sent what is not a reply"},
        {"$-2\r\n", "sent what is not a reply"},
        {"$3x\r\n", "sent what is not a reply"},
        {"*-3\r\n", "sent what is not a reply"},
    };
    for (size_t i = 0; i < ARRAY_LEN(lies); i++)
        lie(&lies[i], true);
    lie(&(struct lie){"+OK\r\n", ""}, false);
    lie(&(struct lie){"x", ""}, false);
}

/* The reply is there before the kernel took a byte of the request. */
static void test_early_reply(void **state)
{
    (void)state;
    rig_open(r, HEAD ONE);
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "GET k");
    rig_expect_get(r, c, "k");
    sim_peer_limit(fake_conn_now(a())->peer, SIM_UNLIMITED, 0);
    rig_ask(r, c, "GET k1");
    fake_say(a(), "$4\r\nevil\r\n");
    EXPECT(r, c, "-ERR Invalid argument (server 'a' replied before it was asked)\r\n");
}

/* More replies than requests, in one go: the first is good, the second is nobody's. */
static void test_one_reply_too_many(void **state)
{
    (void)state;
    rig_open(r, HEAD ONE);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *d = rig_client(r, 0);
    a()->hold = true;
    rig_ask(r, c, "GET k");
    fake_say(a(), "$1\r\nx\r\n$4\r\nevil\r\n");
    EXPECT(r, c, "$1\r\nx\r\n");
    assert_null(fake_conn_now(a()));
    a()->hold = false;
    rig_ask(r, d, "GET k2");
    rig_expect_get(r, d, "k2");
}

/* A streamed reply can't be taken back: only the end of the connection says that it is not whole.
 */
static void test_dies_mid_reply(void **state)
{
    (void)state;
    rig_open(r, HEAD TWO);
    struct sim_peer *streamed = rig_client(r, 0);
    struct sim_peer *parked = rig_client(r, 0);
    const char *on_a = rig_key(r, 0, 0);
    const char *on_b = rig_key(r, 1, 0);
    a()->hold = true;
    b()->hold = true;
    rig_ask(r, streamed, "GET %s", on_a);
    rig_ask(r, streamed, "GET %s", on_b);
    rig_ask(r, parked, "GET %s", on_b);
    rig_ask(r, parked, "GET %s", on_a);
    fake_send(a(), 3);
    sim_peer_close(fake_conn_now(a())->peer);
    sim_settle(r->loop);
    assert_true(sim_peer_ended(streamed));
    assert_true(sim_peer_received(streamed).len > 0);
    fake_send_all(b());
    rig_expect_begin(r, parked, "$4\r\n<k");
    assert_false(sim_peer_ended(parked));
    assert_int_equal(SERVER_STAT(r, a(), server_eof), 1);
}

static void test_dies_mid_parked_reply(void **state)
{
    (void)state;
    rig_open(r, HEAD TWO);
    struct sim_peer *c = rig_client(r, 0);
    const char *on_a = rig_key(r, 0, 0);
    const char *on_b = rig_key(r, 1, 0);
    char want[256];
    b()->hold = true;
    a()->hold = true;
    rig_ask(r, c, "GET %s", on_b);
    rig_ask(r, c, "GET %s", on_a);
    rig_ask(r, c, "MGET %s %s", on_a, on_b);
    fake_send(a(), 3);
    sim_peer_reset(fake_conn_now(a())->peer, -ECONNRESET);
    sim_settle(r->loop);
    EXPECT(r, c, "");
    fake_send_all(b());
    struct buf text = {0};
    put_get(&text, on_b);
    snprintf(want, sizeof(want), "%.*s-ERR Connection reset by peer (server 'a')\r\n%s",
             (int)buf_len(&text), buf_span(&text).ptr,
             "-ERR Connection reset by peer (server 'a')\r\n");
    EXPECT(r, c, want);
    buf_free(&text);
    assert_false(sim_peer_ended(c));
}

static void test_closes_with_requests(void **state)
{
    (void)state;
    rig_open(r, HEAD ONE);
    struct sim_peer *c = rig_client(r, 0);
    a()->hold = true;
    rig_ask(r, c, "GET k");
    rig_ask(r, c, "PING");
    sim_peer_close(fake_conn_now(a())->peer);
    sim_settle(r->loop);
    EXPECT(r, c, "-ERR unknown (server 'a' closed the connection)\r\n+PONG\r\n");
}

static void test_closes_idle(void **state)
{
    (void)state;
    rig_open(r, HEAD "  auto_eject_hosts: true\n  server_failure_limit: 1\n" ONE);
    struct sim_peer *c = rig_client(r, 0);
    for (unsigned i = 0; i < 5; i++) {
        rig_ask(r, c, "GET k");
        rig_expect_get(r, c, "k");
        sim_peer_close(fake_conn_now(a())->peer);
        sim_settle(r->loop);
        EXPECT(r, c, "");
    }
    assert_int_equal(SERVER_STAT(r, a(), server_eof), 5);
    assert_int_equal(POOL_STAT(r, server_ejects), 0);
}

static void test_send_fails(void **state)
{
    (void)state;
    static const int errors[] = {-EPIPE, -ECONNRESET, -ENOMEM};
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        char want[100];
        rig_open(r, HEAD ONE);
        struct sim_peer *c = rig_client(r, 0);
        rig_ask(r, c, "GET k");
        rig_expect_get(r, c, "k");
        sim_fail(r->loop, SIM_SEND, 0, 1, errors[i]);
        rig_ask(r, c, "GET k1");
        snprintf(want, sizeof(want), "-ERR %s (server 'a')\r\n", strerror(-errors[i]));
        EXPECT(r, c, want);
        rig_ask(r, c, "GET k2");
        rig_expect_get(r, c, "k2");
        /* The same towards the client. */
        a()->hold = true;
        rig_ask(r, c, "GET k3");
        sim_fail(r->loop, SIM_SEND, 0, 1, errors[i]);
        fake_send_all(a());
        assert_true(sim_peer_gone(c));
        rig_close(r);
    }
}

/* The send of a long request fails in the turn in which an earlier reply is late. */
static void test_send_fails_when_late(void **state)
{
    (void)state;
    rig_open(r, HEAD "  timeout: 400\n" ONE);
    struct sim_peer *c = rig_client(r, 0);
    struct buf wire = {0};
    assert_true(buf_append(&wire, SPAN("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$20000\r\n")));
    for (int i = 0; i < 20000; i++)
        assert_true(buf_append(&wire, SPAN("x")));
    assert_true(buf_append(&wire, SPAN("\r\n")));
    a()->hold = true;
    rig_ask(r, c, "GET k");
    sim_advance(r->loop, 399);
    sim_fail(r->loop, SIM_SEND, 0, 1, -EPIPE);
    assert_true(sim_peer_send(c, buf_span(&wire)));
    /* The next turn is that of the tick, too. */
    r->loop->now += 1;
    sim_settle(r->loop);
    EXPECT(r, c, "-ERR Broken pipe (server 'a')\r\n-ERR Broken pipe (server 'a')\r\n");
    buf_free(&wire);
}

/* ---- late replies ---- */

#define LATE "-ERR Connection timed out (server 'a', 400 ms)\r\n"

static void test_timeout(void **state)
{
    (void)state;
    rig_open(r, HEAD "  timeout: 400\n" ONE);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *d = rig_client(r, 0);
    struct sim_peer *e = rig_client(r, 0);
    a()->hold = true;
    rig_ask(r, c, "GET k1");
    sim_advance(r->loop, 300);
    rig_ask(r, d, "GET k2");
    rig_ask(r, c, "GET k3");
    sim_advance(r->loop, 95);
    EXPECT(r, c, "");
    sim_advance(r->loop, 15);
    EXPECT(r, c, LATE);
    EXPECT(r, d, "");
    assert_int_equal(SERVER_STAT(r, a(), server_timedout), 1);
    struct fake_conn *old = fake_conn_now(a());
    /* New requests don't wait behind the late one, unless their client has others on that
     * connection, which they would overtake. */
    a()->hold = false;
    rig_ask(r, d, "GET k4");
    rig_ask(r, e, "GET k5");
    EXPECT(r, d, "");
    rig_expect_get(r, e, "k5");
    assert_int_equal(sim_listener_count(a()->listener), 2);
    /* The late reply comes at last and is swallowed; the others on that connection are answered. */
    assert_true(sim_peer_send(old->peer, buf_span(&old->pending)));
    buf_clear(&old->pending);
    sim_settle(r->loop);
    struct buf want = {0};
    put_get(&want, "k2");
    put_get(&want, "k4");
    rig_expect(r, d, buf_span(&want));
    buf_free(&want);
    rig_expect_get(r, c, "k3");
    assert_true(sim_peer_gone(old->peer));
}

static void test_timeout_drain_ends(void **state)
{
    (void)state;
    rig_open(r, HEAD "  timeout: 400\n" ONE);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *d = rig_client(r, 0);
    a()->hold = true;
    rig_ask(r, c, "GET k1");
    sim_advance(r->loop, 200);
    rig_ask(r, d, "GET k2");
    struct fake_conn *old = fake_conn_now(a());
    sim_advance(r->loop, 210);
    EXPECT(r, c, LATE);
    sim_advance(r->loop, 180);
    EXPECT(r, d, "");
    sim_advance(r->loop, 20);
    EXPECT(r, d, LATE);
    assert_false(sim_peer_gone(old->peer));
    sim_advance(r->loop, 190);
    assert_true(sim_peer_gone(old->peer));
    EXPECT(r, c, "");
    EXPECT(r, d, "");
}

static void test_timeout_of_streamed_reply(void **state)
{
    (void)state;
    rig_open(r, HEAD "  timeout: 400\n" ONE);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *d = rig_client(r, 0);
    a()->hold = true;
    rig_ask(r, c, "GET k1");
    rig_ask(r, d, "GET k2");
    sim_advance(r->loop, 390);
    rig_ask(r, d, "GET k3");
    fake_send(a(), 5);
    EXPECT(r, c, "$4\r\n<");
    sim_advance(r->loop, 20);
    assert_true(sim_peer_ended(c));
    EXPECT(r, d, LATE);
    fake_send_all(a());
    rig_expect_get(r, d, "k3");
}

/* What the kernel has no byte of goes to a fresh connection; what it may have sent does not. */
static void test_timeout_moves_unsent(void **state)
{
    (void)state;
    rig_open(r, HEAD "  timeout: 400\n" ONE);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *d = rig_client(r, 0);
    struct sim_peer *e = rig_client(r, 0);
    rig_ask(r, c, "GET k");
    rig_expect_get(r, c, "k");
    struct fake_conn *old = fake_conn_now(a());
    sim_peer_limit(old->peer, SIM_UNLIMITED, 30); /* the first, and some bytes of the second */
    rig_ask(r, c, "GET k1");
    fake_expect(a(), "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*2\r\n$3\r\nGET\r\n$2\r\nk1\r\n");
    sim_peer_drop(c, sim_peer_received(c).len);
    a()->hold = true;
    sim_peer_limit(old->peer, SIM_UNLIMITED, 30);
    rig_ask(r, c, "GET k2");
    rig_ask(r, c, "GET k3");
    sim_advance(r->loop, 200);
    rig_ask(r, d, "GET k4");
    rig_ask(r, e, "GET k5");
    fake_expect(a(), "*2\r\n$3\r\nGET\r\n$2\r\nk2\r\n");
    sim_advance(r->loop, 210);
    EXPECT(r, c, LATE LATE);
    /* k3 was begun, and is late too; k4 and k5 are not, and were not begun. */
    fake_expect(a(), "*2\r\n$3\r\nGET\r\n$2\r\nk4\r\n*2\r\n$3\r\nGET\r\n$2\r\nk5\r\n");
    fake_send_all(a());
    rig_expect_get(r, d, "k4");
    rig_expect_get(r, e, "k5");
    EXPECT(r, c, "");
}

static void test_timeout_while_connecting(void **state)
{
    (void)state;
    rig_open(r, HEAD "  timeout: 400\n" ONE);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *d = rig_client(r, 0);
    sim_listener_set(a()->listener, 1, 0);
    rig_ask(r, c, "GET k1");
    sim_advance(r->loop, 200);
    rig_ask(r, d, "GET k2");
    EXPECT(r, c, "");
    sim_listener_set(a()->listener, 0, 0);
    sim_advance(r->loop, 210);
    EXPECT(r, c, LATE);
    rig_expect_get(r, d, "k2");
    rig_ask(r, c, "GET k3");
    rig_expect_get(r, c, "k3");
}

static void test_timeout_with_split(void **state)
{
    (void)state;
    rig_open(r, HEAD "  timeout: 400\n" TWO);
    struct sim_peer *c = rig_client(r, 0);
    const char *on_a = rig_key(r, 0, 0);
    const char *on_b = rig_key(r, 1, 0);
    a()->hold = true;
    rig_ask(r, c, "MGET %s %s", on_a, on_b);
    rig_ask(r, c, "DEL %s %s", on_a, on_b);
    rig_ask(r, c, "GET %s", on_b);
    sim_advance(r->loop, 420);
    rig_expect_begin(r, c, LATE LATE "$4\r\n<k");
    fake_send_all(a());
    EXPECT(r, c, "");
}

/* ---- connecting ---- */

#define REFUSED "-ERR Connection refused (server 'a')\r\n"

static void test_refused(void **state)
{
    (void)state;
    rig_open(r, HEAD ONE);
    struct sim_peer *c = rig_client(r, 0);
    sim_listener_set(a()->listener, -ECONNREFUSED, 0);
    /* The first two attempts follow at once; then there is a rest, in which requests fail at once.
     */
    for (int i = 0; i < 10; i++) {
        rig_ask(r, c, "GET k");
        EXPECT(r, c, REFUSED);
    }
    assert_int_equal(sim_listener_count(a()->listener), 2);
    for (int i = 0; i < 1000; i++) {
        sim_advance(r->loop, 10);
        rig_ask(r, c, "GET k");
        EXPECT(r, c, REFUSED);
    }
    assert_in_range(sim_listener_count(a()->listener), 12, 26);
    /* The longest rest is one second. */
    sim_listener_set(a()->listener, 0, 0);
    sim_advance(r->loop, 1000);
    rig_ask(r, c, "GET k");
    rig_expect_get(r, c, "k");
    /* And the next trouble begins anew. */
    sim_peer_close(fake_conn_now(a())->peer);
    sim_settle(r->loop);
    rig_ask(r, c, "GET k");
    rig_expect_get(r, c, "k");
}

static void test_connect_fails_at_once(void **state)
{
    (void)state;
    rig_open(r, HEAD ONE);
    struct sim_peer *c = rig_client(r, 0);
    sim_fail(r->loop, SIM_CONNECT, 0, 1, -EADDRNOTAVAIL);
    rig_ask(r, c, "GET k");
    EXPECT(r, c, "-ERR Cannot assign requested address (server 'a')\r\n");
    rig_ask(r, c, "GET k");
    rig_expect_get(r, c, "k");
}

static void test_adopt_fails(void **state)
{
    (void)state;
    rig_open(r, HEAD ONE);
    int fd = -1;
    assert_non_null(sim_pair(r->loop, &fd));
    sim_fail(r->loop, SIM_ADOPT, 0, 1, -ENOSPC);
    assert_int_equal(proxy_adopt(r->proxy, 0, fd), -ENOSPC);
    assert_int_equal(proxy_closed_count(r->proxy, 0), 1);
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "GET k");
    rig_expect_get(r, c, "k");
}

static void test_waits_for_connection(void **state)
{
    (void)state;
    rig_open(r, HEAD ONE);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *d = rig_client(r, 0);
    sim_listener_set(a()->listener, 0, 50);
    rig_ask(r, c, "GET k1");
    rig_ask(r, d, "GET k2");
    assert_int_equal(SERVER_STAT(r, a(), in_queue), 2);
    sim_peer_reset(d, -ECONNRESET);
    sim_advance(r->loop, 60);
    rig_expect_get(r, c, "k1");
    assert_int_equal(sim_listener_count(a()->listener), 1);
    assert_int_equal(a()->requests, 2);
}

#define NAMED HEAD "  servers:\n   - redis.example:7001:1 a\n"

static struct addr address(const char *host)
{
    struct addr at;
    assert_true(addr_literal(&at, host, 7001));
    return at;
}

static void test_unknown_name(void **state)
{
    (void)state;
    rig_open(r, NAMED);
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "GET k");
    rig_expect_begin(r, c, "-ERR Host is down (server 'a': ");
    sim_fail(r->loop, SIM_LOOKUP, 0, 1, -ENOMEM);
    rig_ask(r, c, "GET k");
    EXPECT(r, c, "-ERR Cannot allocate memory (server 'a')\r\n");
    assert_true(sim_name(r->loop, "redis.example", 0, EAI_AGAIN, NULL, 0));
    sim_advance(r->loop, 100);
    rig_ask(r, c, "GET k");
    rig_expect_begin(r, c, "-ERR Host is down (server 'a': ");
}

static void test_several_addresses(void **state)
{
    (void)state;
    rig_open(r, NAMED);
    struct sim_peer *c = rig_client(r, 0);
    const struct addr all[] = {address("127.0.0.7"), address("127.0.0.8"), address("127.0.0.9")};
    assert_true(sim_name(r->loop, "redis.example", 20, 0, all, 3));
    rig_ask(r, c, "GET k");
    sim_advance(r->loop, 30);
    EXPECT(r, c, REFUSED);
    struct sim_listener *silent = sim_listen(r->loop, &all[1], NULL, NULL);
    struct sim_listener *last = sim_listen(r->loop, &all[2], NULL, NULL);
    assert_non_null(silent);
    assert_non_null(last);
    sim_listener_set(silent, -EHOSTUNREACH, 5);
    rig_ask(r, c, "GET k1");
    sim_advance(r->loop, 30);
    struct sim_peer *server = sim_listener_peer(last, 0);
    assert_non_null(server);
    assert_int_equal(sim_listener_count(silent), 1);
    assert_true(sim_peer_send(server, SPAN("$1\r\nx\r\n")));
    sim_settle(r->loop);
    EXPECT(r, c, "$1\r\nx\r\n");
    assert_int_equal(SERVER_STAT(r, a(), server_connections), 1);
}

/* The client, or all of them, leave while the name is looked up; then we stop. */
static void test_stop_while_looking_up(void **state)
{
    (void)state;
    rig_open(r, NAMED);
    struct sim_peer *c = rig_client(r, 0);
    const struct addr at = address("127.0.0.7");
    assert_true(sim_name(r->loop, "redis.example", 5000, 0, &at, 1));
    rig_ask(r, c, "GET k");
    sim_peer_reset(c, -ECONNRESET);
    sim_settle(r->loop);
    rig_stop(r);
    sim_advance(r->loop, 10);
    assert_true(r->stopped);
}

static void test_preconnect(void **state)
{
    (void)state;
    rig_open(r, HEAD "  preconnect: true\n  server_connections: 2\n" TWO);
    sim_listener_set(b()->listener, -ECONNREFUSED, 0);
    proxy_preconnect(r->proxy);
    sim_settle(r->loop);
    assert_int_equal(sim_listener_count(a()->listener), 2);
    assert_int_equal(sim_listener_count(b()->listener), 2);
    assert_int_equal(SERVER_STAT(r, a(), server_connections), 2);
    assert_int_equal(SERVER_STAT(r, b(), server_connections), 0);
    sim_listener_set(b()->listener, 0, 0);
    struct sim_peer *c = rig_client(r, 0);
    const char *on_b = rig_key(r, 1, 0);
    rig_ask(r, c, "GET %s", on_b);
    rig_expect_get(r, c, on_b);
}

static void test_several_connections(void **state)
{
    (void)state;
    rig_open(r, HEAD "  server_connections: 3\n" ONE);
    struct sim_peer *clients[6];
    a()->hold = true;
    for (int i = 0; i < 6; i++) {
        clients[i] = rig_client(r, 0);
        rig_ask(r, clients[i], "GET k1");
        rig_ask(r, clients[i], "GET k2");
    }
    assert_int_equal(sim_listener_count(a()->listener), 3);
    fake_send_all(a());
    for (int i = 0; i < 6; i++) {
        EXPECT(r, clients[i], "$4\r\n<k1>\r\n$4\r\n<k2>\r\n");
    }
}

/* ---- handshake ---- */

#define AUTH HEAD "  redis_auth: secret\n  redis_db: 3\n" ONE
#define HELLO "*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"

static struct sim_peer *authed_client(void)
{
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "AUTH secret");
    EXPECT(r, c, "+OK\r\n");
    return c;
}

static void test_handshake(void **state)
{
    (void)state;
    rig_open(r, AUTH);
    struct sim_peer *c = authed_client();
    a()->hold = true;
    rig_ask(r, c, "GET k");
    assert_true(span_eq(buf_span(&a()->handshake), SPAN(HELLO)));
    assert_int_equal(a()->requests, 0);
    /* Nothing of the user's is sent before the last reply is whole. */
    for (size_t n = 0; n < 9; n++) {
        fake_send(a(), 1);
        assert_int_equal(a()->requests, 0);
    }
    fake_send(a(), 1);
    assert_int_equal(a()->requests, 1);
    fake_send_all(a());
    rig_expect_get(r, c, "k");
}

static void refuse(const char *auth, const char *select, const char *shown)
{
    char want[200];
    rig_open(r, AUTH);
    struct sim_peer *c = authed_client();
    a()->auth = auth;
    a()->select = select;
    rig_ask(r, c, "SET k v");
    rig_ask(r, c, "GET k");
    snprintf(want, sizeof(want),
             "-ERR Invalid argument (server 'a' refused the connection: %s)\r\n", shown);
    rig_expect_begin(r, c, want);
    assert_int_equal(a()->requests, 0);
    assert_null(fake_conn_now(a()));
    a()->auth = NULL;
    a()->select = NULL;
    sim_advance(r->loop, 100);
    rig_ask(r, c, "GET k");
    rig_expect_get(r, c, "k");
    rig_close(r);
}

static void test_handshake_refused(void **state)
{
    (void)state;
    refuse("-WRONGPASS invalid\r\n", NULL, "-WRONGPASS invalid");
    refuse(NULL, "-ERR DB index is out of range\r\n", "-ERR DB index is out of range");
    refuse("$2\r\nOK\r\n", NULL, "$2");
    refuse("nonsense\r\n", NULL, "nonsense");
}

static void test_handshake_dies(void **state)
{
    (void)state;
    rig_open(r, AUTH);
    struct sim_peer *c = authed_client();
    a()->hold = true;
    rig_ask(r, c, "GET k");
    fake_send(a(), 7);
    sim_peer_close(fake_conn_now(a())->peer);
    sim_settle(r->loop);
    EXPECT(r, c, "-ERR unknown (server 'a' closed the connection)\r\n");
    assert_int_equal(a()->requests, 0);
}

static void test_handshake_says_too_much(void **state)
{
    (void)state;
    rig_open(r, AUTH);
    struct sim_peer *c = authed_client();
    a()->hold = true;
    rig_ask(r, c, "GET k");
    fake_say(a(), "+OK\r\n+OK\r\n$4\r\nevil\r\n");
    EXPECT(r, c, "-ERR Invalid argument (server 'a' replied before it was asked)\r\n");
    assert_int_equal(a()->requests, 0);
}

static void test_handshake_is_late(void **state)
{
    (void)state;
    rig_open(r, HEAD "  timeout: 400\n  redis_db: 3\n" ONE);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *d = rig_client(r, 0);
    a()->hold = true;
    rig_ask(r, c, "GET k");
    sim_advance(r->loop, 300);
    rig_ask(r, d, "GET k2");
    sim_advance(r->loop, 110);
    EXPECT(r, c, LATE);
    fake_send_all(a());
    fake_send_all(a());
    rig_expect_get(r, d, "k2");
    assert_int_equal(a()->requests, 1);
}

/* ---- a connection that ends while requests are queued on it ---- */

/* The end and the request come in one turn: no byte of the request has left, so that it may go to a
 * fresh connection. */
static void test_closes_before_it_is_sent(void **state)
{
    (void)state;
    for (int reset = 0; reset < 2; reset++) {
        rig_open(r, HEAD EJECT "  server_failure_limit: 9\n" ONE);
        struct sim_peer *c = rig_client(r, 0);
        rig_ask(r, c, "GET k");
        rig_expect_get(r, c, "k");
        struct buf wire = {0};
        resp(&wire, "GET k1");
        resp(&wire, "GET k2");
        assert_true(sim_peer_send(c, buf_span(&wire)));
        if (reset == 0)
            sim_peer_half_close(fake_conn_now(a())->peer);
        else
            sim_peer_reset(fake_conn_now(a())->peer, -ECONNRESET);
        sim_settle(r->loop);
        struct buf want = {0};
        put_get(&want, "k1");
        put_get(&want, "k2");
        rig_expect(r, c, buf_span(&want));
        assert_int_equal(a()->requests, 3);
        assert_int_equal(POOL_STAT(r, forward_error), 0);
        buf_free(&want);
        buf_free(&wire);
        rig_close(r);
    }
}

/* What may have reached the server is not sent twice; what has not, is sent. */
static void test_closes_with_some_sent(void **state)
{
    (void)state;
    rig_open(r, HEAD ONE);
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "GET k");
    rig_expect_get(r, c, "k");
    a()->hold = true;
    rig_ask(r, c, "SET k1 v");
    struct buf wire = {0};
    resp(&wire, "SET k2 v");
    assert_true(sim_peer_send(c, buf_span(&wire)));
    a()->hold = false;
    sim_peer_close(fake_conn_now(a())->peer);
    sim_settle(r->loop);
    EXPECT(r, c, "-ERR unknown (server 'a' closed the connection)\r\n+OK\r\n");
    assert_int_equal(a()->requests, 3);
    buf_free(&wire);
}

static void on_close_at_once(struct sim_peer *p, void *context)
{
    (void)context;
    sim_peer_close(p);
}

/* A server that accepts only to close ends each request, however it comes in between. */
static void test_closes_every_connection(void **state)
{
    (void)state;
    struct addr at;
    rig_open(r, HEAD "  servers:\n   - here:7001:1 a\n");
    assert_true(addr_literal(&at, "127.0.0.1", 7001));
    assert_non_null(sim_listen(r->loop, &at, on_close_at_once, NULL));
    assert_true(sim_name(r->loop, "here", 0, 0, &at, 1));
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "GET k");
    sim_advance(r->loop, 1000);
    assert_true(sim_peer_received(c).len > 4);
    rig_expect_begin(r, c, "-ERR ");
}

/* Redis answers one connection too many with an error, whatever comes first, and closes it. */
static void test_turned_away(void **state)
{
    (void)state;
    rig_open(r, HEAD ONE);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *d = rig_client(r, 0);
    a()->hold = true;
    rig_ask(r, c, "GET k");
    rig_ask(r, d, "GET k");
    struct sim_peer *s = fake_conn_now(a())->peer;
    assert_true(sim_peer_send(s, SPAN("-ERR max number of clients reached\r\n")));
    sim_peer_close(s);
    sim_settle(r->loop);
    EXPECT(r, c, "-ERR max number of clients reached\r\n");
    EXPECT(r, d,
           "-ERR unknown (server 'a' closed the connection after -ERR max number of clients "
           "reached)\r\n");
}

/* ---- the time to connect ---- */

#define SLOW_UP "-ERR Connection timed out (server 'a' did not come up within 200 ms)\r\n"

static void test_connect_timeout(void **state)
{
    (void)state;
    rig_open(r, HEAD "  connect_timeout: 200\n  timeout: 5000\n" ONE);
    struct sim_peer *c = rig_client(r, 0);
    sim_listener_set(a()->listener, 1, 0);
    rig_ask(r, c, "GET k");
    sim_advance(r->loop, 199);
    EXPECT(r, c, "");
    sim_advance(r->loop, 1);
    EXPECT(r, c, SLOW_UP);
    assert_int_equal(SERVER_STAT(r, a(), server_err), 1);
    assert_int_equal(SERVER_STAT(r, a(), server_timedout), 0);
    sim_listener_set(a()->listener, 0, 150);
    rig_ask(r, c, "GET k");
    sim_advance(r->loop, 200);
    rig_expect_get(r, c, "k");
    sim_advance(r->loop, 1000);
    rig_ask(r, c, "GET k");
    rig_expect_get(r, c, "k");
}

/* One that accepts and does not take the password is no better. */
static void test_connect_timeout_of_the_handshake(void **state)
{
    (void)state;
    rig_open(r, HEAD "  connect_timeout: 200\n  redis_db: 3\n" ONE);
    struct sim_peer *c = rig_client(r, 0);
    a()->hold = true;
    rig_ask(r, c, "GET k");
    sim_advance(r->loop, 200);
    EXPECT(r, c, SLOW_UP);
    assert_null(fake_conn_now(a()));
}

/* Each address has its own time: one that is silent does not hide the next. */
static void test_connect_timeout_of_an_address(void **state)
{
    (void)state;
    struct addr at[2];
    rig_open(r, HEAD "  connect_timeout: 200\n  servers:\n   - here:7001:1 a\n");
    assert_true(addr_literal(&at[0], "127.0.0.9", 7001));
    assert_true(addr_literal(&at[1], "127.0.0.8", 7001));
    struct sim_listener *dead = sim_listen(r->loop, &at[0], NULL, NULL);
    struct sim_listener *alive = sim_listen(r->loop, &at[1], NULL, NULL);
    assert_non_null(dead);
    assert_non_null(alive);
    sim_listener_set(dead, 1, 0);
    assert_true(sim_name(r->loop, "here", 0, 0, at, 2));
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "GET k");
    sim_advance(r->loop, 210);
    assert_int_equal(sim_listener_count(alive), 1);
    struct sim_peer *s = sim_listener_peer(alive, 0);
    assert_true(sim_peer_received(s).len > 0);
    assert_true(sim_peer_send(s, SPAN("$1\r\nv\r\n")));
    sim_settle(r->loop);
    EXPECT(r, c, "$1\r\nv\r\n");
    /* A name that is never found has its time, too. */
    sim_peer_close(s);
    assert_true(sim_name(r->loop, "here", 5000, 0, at, 2));
    sim_settle(r->loop);
    rig_ask(r, c, "GET k");
    sim_advance(r->loop, 200);
    EXPECT(r, c, SLOW_UP);
}

/* ---- names that change ---- */

/* A name is looked up for each connection: where it points to now is where the next one goes. */
static void test_name_changes(void **state)
{
    (void)state;
    struct addr at[2];
    struct sim_listener *hosts[2];
    rig_open(r, HEAD "  server_retry_timeout: 0\n  servers:\n   - here:7001:1 a\n");
    for (int i = 0; i < 2; i++) {
        assert_true(addr_literal(&at[i], i == 0 ? "127.0.0.9" : "127.0.0.8", 7001));
        hosts[i] = sim_listen(r->loop, &at[i], NULL, NULL);
        assert_non_null(hosts[i]);
    }
    struct sim_peer *c = rig_client(r, 0);
    for (size_t turn = 0; turn < 4; turn++) {
        int now = turn % 2 == 1;
        assert_true(sim_name(r->loop, "here", 0, 0, &at[now], 1));
        if (turn > 0) {
            /* The old host dies: by closing, or by refusing. */
            sim_peer_close(sim_listener_peer(hosts[!now], turn / 2 + (turn % 2) - 1));
            sim_listener_set(hosts[!now], turn < 2 ? -ECONNREFUSED : 0, 0);
            sim_settle(r->loop);
        }
        sim_listener_set(hosts[now], 0, 0);
        rig_ask(r, c, "GET k");
        assert_int_equal(sim_listener_count(hosts[now]), turn / 2 + 1);
        assert_true(sim_peer_send(sim_listener_peer(hosts[now], turn / 2), SPAN("$1\r\nv\r\n")));
        sim_settle(r->loop);
        EXPECT(r, c, "$1\r\nv\r\n");
    }
}

/* ---- ejection ---- */

static void test_ejection(void **state)
{
    (void)state;
    for (unsigned limit = 1; limit <= 3; limit++) {
        char conf[512];
        snprintf(conf, sizeof(conf), HEAD EJECT "  server_failure_limit: %u\n" TWO, limit);
        rig_open(r, conf);
        struct sim_peer *c = rig_client(r, 0);
        const char *on_a = rig_key(r, 0, 0);
        sim_listener_set(a()->listener, -ECONNREFUSED, 0);
        for (unsigned i = 0; i < limit; i++) {
            assert_int_equal(POOL_STAT(r, server_ejects), 0);
            rig_ask(r, c, "GET %s", on_a);
            EXPECT(r, c, REFUSED);
        }
        assert_int_equal(POOL_STAT(r, server_ejects), 1);
        rig_ask(r, c, "GET %s", on_a);
        rig_expect_get(r, c, on_a);
        assert_int_equal(b()->requests, 1);
        /* It comes back when the retry time is over. */
        sim_listener_set(a()->listener, 0, 0);
        sim_advance(r->loop, 1999);
        rig_ask(r, c, "GET %s", on_a);
        rig_expect_get(r, c, on_a);
        assert_int_equal(b()->requests, 2);
        sim_advance(r->loop, 1);
        rig_ask(r, c, "GET %s", on_a);
        rig_expect_get(r, c, on_a);
        assert_int_equal(a()->requests, 1);
        rig_close(r);
    }
}

static void test_success_forgets_failures(void **state)
{
    (void)state;
    rig_open(r, HEAD EJECT "  server_failure_limit: 2\n" ONE);
    struct sim_peer *c = rig_client(r, 0);
    for (int i = 0; i < 5; i++) {
        a()->hold = true;
        rig_ask(r, c, "GET k");
        sim_peer_reset(fake_conn_now(a())->peer, -ECONNRESET);
        sim_settle(r->loop);
        EXPECT(r, c, "-ERR Connection reset by peer (server 'a')\r\n");
        a()->hold = false;
        rig_ask(r, c, "GET k");
        rig_expect_get(r, c, "k");
    }
    assert_int_equal(POOL_STAT(r, server_ejects), 0);
}

static void test_all_ejected(void **state)
{
    (void)state;
    rig_open(r, HEAD EJECT "  server_failure_limit: 1\n" TWO);
    struct sim_peer *c = rig_client(r, 0);
    const char *on_a = rig_key(r, 0, 0);
    const char *on_b = rig_key(r, 1, 0);
    const char *none = "-ERR Connection refused (all servers of pool 'p' are ejected)\r\n";
    sim_listener_set(a()->listener, -ECONNREFUSED, 0);
    sim_listener_set(b()->listener, -ECONNREFUSED, 0);
    rig_ask(r, c, "GET %s", on_a);
    EXPECT(r, c, REFUSED);
    sim_advance(r->loop, 500);
    rig_ask(r, c, "GET %s", on_b);
    EXPECT(r, c, "-ERR Connection refused (server 'b')\r\n");
    assert_int_equal(POOL_STAT(r, server_ejects), 2);
    rig_ask(r, c, "GET %s", on_a);
    EXPECT(r, c, none);
    rig_ask(r, c, "MGET %s %s", on_a, on_b);
    EXPECT(r, c, none);
    sim_listener_set(a()->listener, 0, 0);
    sim_listener_set(b()->listener, 0, 0);
    sim_advance(r->loop, 1499);
    rig_ask(r, c, "PING");
    rig_ask(r, c, "GET %s", on_b);
    rig_expect_begin(r, c, "+PONG\r\n-ERR Connection refused (all");
    /* The first to be back gets everything, until the other is. */
    sim_advance(r->loop, 1);
    rig_ask(r, c, "GET %s", on_b);
    rig_expect_get(r, c, on_b);
    assert_int_equal(a()->requests, 1);
    sim_advance(r->loop, 500);
    rig_ask(r, c, "GET %s", on_b);
    rig_expect_get(r, c, on_b);
    assert_int_equal(b()->requests, 1);
}

static void test_ejected_by_timeout(void **state)
{
    (void)state;
    rig_open(r, HEAD EJECT "  server_failure_limit: 1\n  timeout: 400\n" TWO);
    struct sim_peer *c = rig_client(r, 0);
    const char *on_a = rig_key(r, 0, 0);
    a()->hold = true;
    rig_ask(r, c, "GET %s", on_a);
    sim_advance(r->loop, 410);
    EXPECT(r, c, LATE);
    assert_int_equal(POOL_STAT(r, server_ejects), 1);
    rig_ask(r, c, "GET %s", on_a);
    rig_expect_get(r, c, on_a);
    assert_int_equal(b()->requests, 1);
}

#define TEST(name) cmocka_unit_test_teardown(name, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lies),
        TEST(test_early_reply),
        TEST(test_one_reply_too_many),
        TEST(test_dies_mid_reply),
        TEST(test_dies_mid_parked_reply),
        TEST(test_closes_with_requests),
        TEST(test_closes_idle),
        cmocka_unit_test(test_send_fails),
        TEST(test_send_fails_when_late),
        TEST(test_timeout),
        TEST(test_timeout_drain_ends),
        TEST(test_timeout_of_streamed_reply),
        TEST(test_timeout_moves_unsent),
        TEST(test_timeout_while_connecting),
        TEST(test_timeout_with_split),
        TEST(test_refused),
        TEST(test_connect_fails_at_once),
        TEST(test_adopt_fails),
        TEST(test_waits_for_connection),
        TEST(test_unknown_name),
        TEST(test_several_addresses),
        TEST(test_stop_while_looking_up),
        TEST(test_preconnect),
        TEST(test_several_connections),
        TEST(test_handshake),
        cmocka_unit_test(test_handshake_refused),
        TEST(test_handshake_dies),
        TEST(test_handshake_says_too_much),
        TEST(test_handshake_is_late),
        cmocka_unit_test(test_closes_before_it_is_sent),
        TEST(test_closes_with_some_sent),
        TEST(test_closes_every_connection),
        TEST(test_turned_away),
        TEST(test_connect_timeout),
        TEST(test_connect_timeout_of_the_handshake),
        TEST(test_connect_timeout_of_an_address),
        TEST(test_name_changes),
        cmocka_unit_test(test_ejection),
        TEST(test_success_forgets_failures),
        TEST(test_all_ejected),
        TEST(test_ejected_by_timeout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
