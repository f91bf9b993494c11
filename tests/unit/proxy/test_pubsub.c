/* SPDX-License-Identifier: BSD-3-Clause */
/* Subscriptions: what many clients hear over one connection, and the moments at which something else
 * comes in between. */
#include "rig.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define REDIS "p:\n  listen: 127.0.0.1:1\n  hash: md5\n  redis: true\n  timeout: 400\n"
#define ONE "  servers:\n   - 127.0.0.1:7001:1 a\n"
#define TWO ONE "   - 127.0.0.1:7002:1 b\n"

#define ASK_PING "*1\r\n$4\r\nPING\r\n"
#define ASK_ON(name) "*2\r\n$9\r\nsubscribe\r\n$1\r\n" name "\r\n"
#define ASK_OFF(name) "*2\r\n$11\r\nunsubscribe\r\n$1\r\n" name "\r\n"
#define TOLD_ON(name, n) "*3\r\n$9\r\nsubscribe\r\n$1\r\n" name "\r\n:" n "\r\n"
#define TOLD_OFF(name, n) "*3\r\n$11\r\nunsubscribe\r\n$1\r\n" name "\r\n:" n "\r\n"
#define MESSAGE(name, text) "*3\r\n$7\r\nmessage\r\n$1\r\n" name "\r\n$2\r\n" text "\r\n"
#define PUSH(name, text) ">3\r\n$7\r\nmessage\r\n$1\r\n" name "\r\n$2\r\n" text "\r\n"

static struct rig rig;
static struct rig *const r = &rig;

static struct fake *a(void)
{
    return &rig.fakes[0][0];
}

static struct fake *b(void)
{
    return &rig.fakes[0][1];
}

static int close_rig(void **state)
{
    (void)state;
    rig_close(r);
    return 0;
}

/* Connection number `n`, from 0, that was made to it. */
static struct fake_conn *conn(struct fake *f, unsigned n)
{
    struct list *it = f->conns.next;
    for (; n > 0; n--)
        it = it->next;
    assert_true(it != &f->conns);
    return container_of(it, struct fake_conn, link);
}

static void say_on(struct fake_conn *c, const char *text)
{
    assert_true(sim_peer_send(c->peer, span_str(text)));
    sim_settle(r->loop);
}

static unsigned conns_open(struct fake *f)
{
    unsigned n = 0;
    LIST_FOREACH (it, &f->conns) {
        n += !sim_peer_gone(container_of(it, struct fake_conn, link)->peer);
    }
    return n;
}

static struct sim_peer *subscriber(const char *topic)
{
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "SUBSCRIBE %s", topic);
    return c;
}

static struct sim_peer *subscriber3(const char *topic)
{
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "HELLO 3");
    EXPECT(r, c, "+OK\r\n");
    buf_clear(&a()->log);
    rig_ask(r, c, "SUBSCRIBE %s", topic);
    return c;
}

/* Many hear, one is subscribed; it ends with the last of them, and so does the connection. */
static void test_one_for_all(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c[3];
    for (int i = 0; i < 3; i++) {
        c[i] = subscriber("x");
        EXPECT(r, c[i], TOLD_ON("x", "1"));
    }
    fake_expect(a(), ASK_ON("x"));
    assert_int_equal(a()->pings, 1);
    assert_int_equal(conns_open(a()), 1);
    fake_say(a(), MESSAGE("x", "hi"));
    for (int i = 0; i < 3; i++)
        EXPECT(r, c[i], MESSAGE("x", "hi"));
    assert_int_equal(POOL_STAT(r, messages), 3);
    assert_int_equal(POOL_STAT(r, subscribers), 3);
    assert_int_equal(POOL_STAT(r, subscriptions), 3);
    assert_int_equal(POOL_STAT(r, pubsub_channels), 1);
    rig_ask(r, c[0], "UNSUBSCRIBE x");
    EXPECT(r, c[0], TOLD_OFF("x", "0"));
    sim_peer_close(c[1]);
    sim_settle(r->loop);
    fake_expect(a(), "");
    fake_say(a(), MESSAGE("x", "ho"));
    EXPECT(r, c[0], "");
    EXPECT(r, c[2], MESSAGE("x", "ho"));
    sim_peer_close(c[2]);
    sim_settle(r->loop);
    fake_expect(a(), ASK_OFF("x"));
    assert_int_equal(POOL_STAT(r, subscribers), 0);
    assert_int_equal(POOL_STAT(r, pubsub_channels), 0);
    assert_int_equal(conns_open(a()), 1);
    sim_advance(r->loop, 1500);
    assert_int_equal(conns_open(a()), 0);
    assert_null(r->proxy->fronts[0].hubs);
}

/* Nobody asks twice for what stands: the second client is told at once. */
static void test_what_stands_is_told_at_once(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = subscriber("x");
    EXPECT(r, c, TOLD_ON("x", "1"));
    a()->hold = true;
    struct sim_peer *d = subscriber("x");
    EXPECT(r, d, TOLD_ON("x", "1"));
    rig_ask(r, d, "SUBSCRIBE x y x");
    EXPECT(r, d, "");
    fake_send_all(a());
    EXPECT(r, d, TOLD_ON("x", "1") TOLD_ON("y", "2") TOLD_ON("x", "2"));
}

/* Somebody subscribes while the end of the subscription is under way. */
static void test_again_while_it_ends(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = subscriber("x");
    EXPECT(r, c, TOLD_ON("x", "1"));
    a()->hold = true;
    rig_ask(r, c, "UNSUBSCRIBE");
    EXPECT(r, c, TOLD_OFF("x", "0"));
    struct sim_peer *d = subscriber("x");
    fake_expect(a(), ASK_ON("x") ASK_OFF("x"));
    EXPECT(r, d, "");
    fake_say(a(), MESSAGE("x", "no")); /* before the answer: it is still subscribed */
    fake_send_all(a());
    fake_expect(a(), ASK_ON("x"));
    EXPECT(r, d, "");
    fake_send_all(a());
    EXPECT(r, d, TOLD_ON("x", "1"));
    EXPECT(r, c, "");
    fake_say(a(), MESSAGE("x", "hi"));
    EXPECT(r, d, MESSAGE("x", "hi"));
    assert_int_equal(conns_open(a()), 1);
}

/* ... and is gone before it is answered, and comes again. */
static void test_gone_while_it_waits(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *keep = subscriber("k");
    EXPECT(r, keep, TOLD_ON("k", "1"));
    buf_clear(&a()->log);
    a()->hold = true;
    struct sim_peer *c = subscriber("x");
    struct sim_peer *d = subscriber("x");
    fake_expect(a(), ASK_ON("x"));
    sim_peer_close(c);
    sim_settle(r->loop);
    fake_send_all(a());
    EXPECT(r, d, TOLD_ON("x", "1"));
    struct sim_peer *e = subscriber("y");
    sim_peer_reset(e, -ECONNRESET);
    sim_settle(r->loop);
    fake_expect(a(), ASK_ON("y"));
    fake_send_all(a());
    fake_expect(a(), ASK_OFF("y"));
    struct sim_peer *g = subscriber("y");
    fake_send_all(a());
    fake_expect(a(), ASK_ON("y"));
    fake_send_all(a());
    EXPECT(r, g, TOLD_ON("y", "1"));
    assert_int_equal(POOL_STAT(r, subscribers), 3);
}

/* The FIN of a client ends all that it has, and the wait for more. */
static void test_half_closed(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = subscriber("x");
    EXPECT(r, c, TOLD_ON("x", "1"));
    a()->hold = true;
    rig_ask(r, c, "SUBSCRIBE y");
    sim_peer_half_close(c);
    sim_settle(r->loop);
    EXPECT(r, c, "-ERR Connection refused (its client sends no more)\r\n");
    assert_true(sim_peer_ended(c));
    fake_expect(a(), ASK_ON("x") ASK_ON("y") ASK_OFF("x"));
    fake_send_all(a());
    fake_expect(a(), ASK_OFF("y"));
    assert_int_equal(POOL_STAT(r, subscriptions), 0);
}

/* The server is lost: who waits gets an error, who hears stays and hears on. */
static void test_server_lost(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = subscriber("x");
    EXPECT(r, c, TOLD_ON("x", "1"));
    a()->hold = true;
    struct sim_peer *d = subscriber("y");
    rig_ask(r, c, "UNSUBSCRIBE z");
    EXPECT(r, c, TOLD_OFF("z", "1"));
    buf_clear(&a()->log);
    sim_peer_close(conn(a(), 0)->peer);
    sim_settle(r->loop);
    EXPECT(r, d, "-ERR unknown (server 'a' closed the connection)\r\n");
    EXPECT(r, c, "");
    a()->hold = false;
    sim_advance(r->loop, 150);
    assert_int_equal(conns_open(a()), 1);
    fake_expect(a(), ASK_ON("x"));
    fake_say(a(), MESSAGE("x", "hi"));
    EXPECT(r, c, MESSAGE("x", "hi"));
    rig_ask(r, d, "SUBSCRIBE y");
    EXPECT(r, d, TOLD_ON("y", "1"));
}

/* It can't be reached: an error each time, no subscription is left, and the server is not stormed. */
static void test_server_away(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    sim_listener_set(a()->listener, -ECONNREFUSED, 0);
    struct sim_peer *c = subscriber("x");
    EXPECT(r, c, "-ERR Connection refused (server 'a')\r\n");
    for (int i = 0; i < 50; i++) {
        rig_ask(r, c, "SUBSCRIBE x");
        EXPECT(r, c, "-ERR Connection refused (server 'a')\r\n");
    }
    assert_in_range(sim_listener_count(a()->listener), 1, 3);
    assert_int_equal(POOL_STAT(r, subscriptions), 0);
    rig_ask(r, c, "GET k");
    rig_expect_begin(r, c, "-ERR Connection refused");
    sim_listener_set(a()->listener, 0, 0);
    sim_advance(r->loop, 100);
    rig_ask(r, c, "SUBSCRIBE x");
    EXPECT(r, c, TOLD_ON("x", "1"));
}

/* While it does not come back it is tried again, less and less often. */
static void test_comes_back_late(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = subscriber("x");
    EXPECT(r, c, TOLD_ON("x", "1"));
    sim_listener_set(a()->listener, -ECONNREFUSED, 0);
    sim_peer_reset(conn(a(), 0)->peer, -ECONNRESET);
    sim_settle(r->loop);
    sim_advance(r->loop, 10000);
    assert_in_range(sim_listener_count(a()->listener), 8, 30);
    sim_listener_set(a()->listener, 0, 0);
    sim_advance(r->loop, 1500);
    EXPECT(r, c, "");
    fake_say(a(), MESSAGE("x", "hi"));
    EXPECT(r, c, MESSAGE("x", "hi"));
}

/* What the server refuses is an error for who asked, and leaves nothing behind. */
static void test_refused(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = subscriber("x");
    EXPECT(r, c, TOLD_ON("x", "1"));
    a()->hold = true;
    rig_ask(r, c, "SUBSCRIBE y z");
    buf_clear(&conn(a(), 0)->pending);
    fake_say(a(), "-NOPERM not y\r\n");
    EXPECT(r, c, "-NOPERM not y\r\n");
    fake_say(a(), TOLD_ON("z", "1"));
    a()->hold = false;
    fake_send_all(a());
    buf_clear(&a()->log);
    rig_ask(r, c, "SUBSCRIBE z");
    EXPECT(r, c, TOLD_ON("z", "2"));
    assert_int_equal(POOL_STAT(r, subscriptions), 2);
    assert_int_equal(conns_open(a()), 1);
}

/* A permission is gone when the connection comes back: only those who counted on it are closed. */
static void test_refused_again(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = subscriber("x");
    struct sim_peer *d = subscriber("y");
    EXPECT(r, c, TOLD_ON("x", "1"));
    EXPECT(r, d, TOLD_ON("y", "1"));
    a()->hold = true;
    sim_peer_close(conn(a(), 0)->peer);
    sim_settle(r->loop);
    sim_advance(r->loop, 150);
    buf_clear(&conn(a(), 1)->pending);
    fake_say(a(), "+PONG\r\n-NOPERM not x\r\n" TOLD_ON("y", "1"));
    assert_true(sim_peer_gone(c));
    assert_false(sim_peer_gone(d));
    fake_say(a(), MESSAGE("y", "hi"));
    EXPECT(r, d, MESSAGE("y", "hi"));
}

/* What a server must not say. */
static void test_bad_news(void **state)
{
    static const char *const bad[] = {
        MESSAGE("y", "no"),
        "*2\r\n$7\r\nmessage\r\n$1\r\nx\r\n",
        "*4\r\n$7\r\nmessage\r\n$1\r\nx\r\n$1\r\nx\r\n$1\r\nx\r\n",
        "*3\r\n$8\r\npmessage\r\n$1\r\nx\r\n$1\r\nx\r\n",
        "*3\r\n$8\r\nsmessage\r\n$1\r\nx\r\n$1\r\nx\r\n",
        "*3\r\n$5\r\nother\r\n$1\r\nx\r\n$1\r\nx\r\n",
        "*3\r\n$7\r\nmessage\r\n$-1\r\n$1\r\nx\r\n",
        "*3\r\n$7\r\nmessage\r\n$1\r\nxx\r\n",
        "*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n:1\r\n",
        "*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$99999999999999999999999\r\n",
        "*-1\r\n",
        "*1000000\r\n",
        ">3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$2\r\nno\r\n",
        "+OK\r\n",
        "+PONG\r\n",
        "-ERR nobody asked\r\n",
        ":1\r\n",
        "$2\r\nno\r\n",
        "\r\n",
        TOLD_ON("x", "1"),
        TOLD_OFF("x", "0"),
        "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n",
        "*2\r\n$4\r\npong\r\n$0\r\n\r\n",
    };
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = subscriber("x");
    EXPECT(r, c, TOLD_ON("x", "1"));
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct fake_conn *now = conn(a(), i);
        assert_false(sim_peer_gone(now->peer));
        say_on(now, bad[i]);
        if (!sim_peer_gone(now->peer))
            print_message("it stands after: %s\n", bad[i]);
        assert_true(sim_peer_gone(now->peer));
        sim_advance(r->loop, 1500);
        EXPECT(r, c, "");
        say_on(conn(a(), i + 1), MESSAGE("x", "hi"));
        EXPECT(r, c, MESSAGE("x", "hi"));
    }
}

/* An answer out of turn. */
static void test_answer_of_another(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = subscriber("x");
    EXPECT(r, c, TOLD_ON("x", "1"));
    a()->hold = true;
    rig_ask(r, c, "SUBSCRIBE y");
    fake_say(a(), TOLD_ON("z", "1"));
    EXPECT(r, c,
           "-ERR Invalid argument (server 'a' sent what does not belong to a subscription)\r\n");
    assert_true(sim_peer_gone(conn(a(), 0)->peer));
}

/* News come in pieces, wherever they are cut. */
static void test_cut_news(void **state)
{
    static const char news[] = MESSAGE("x", "hi") MESSAGE("x", "ho");
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = subscriber("x");
    struct sim_peer *d = subscriber3("x");
    EXPECT(r, c, TOLD_ON("x", "1"));
    EXPECT(r, d, ">3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n");
    for (size_t at = 1; at < sizeof(news) - 1; at++) {
        assert_true(sim_peer_send(conn(a(), 0)->peer, span_of(news, at)));
        sim_settle(r->loop);
        assert_true(sim_peer_send(conn(a(), 0)->peer, span_of(news + at, sizeof(news) - 1 - at)));
        sim_settle(r->loop);
        EXPECT(r, c, news);
        EXPECT(r, d, PUSH("x", "hi") PUSH("x", "ho"));
    }
}

/* A message never comes inside a reply. */
static void test_between_replies(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = subscriber("x");
    EXPECT(r, c, TOLD_ON("x", "1"));
    struct sim_peer *d = subscriber3("x");
    EXPECT(r, d, ">3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n");
    struct fake_conn *hub = conn(a(), 0);
    struct fake_conn *shared = conn(a(), 1);
    a()->hold = true;
    rig_ask(r, d, "GET big:3");
    say_on(hub, MESSAGE("x", "m0"));
    EXPECT(r, d, PUSH("x", "m0")); /* nothing of the reply is here yet */
    fake_send(a(), 2);
    EXPECT(r, d, "$3");
    say_on(hub, MESSAGE("x", "m1"));
    say_on(hub, MESSAGE("x", "m2"));
    EXPECT(r, d, "");
    EXPECT(r, c, MESSAGE("x", "m0") MESSAGE("x", "m1") MESSAGE("x", "m2"));
    rig_ask(r, d, "GET k");
    rig_ask(r, d, "PING");
    conn(a(), 1)->fake->hold = true;
    fake_send(a(), 7);
    EXPECT(r, d, "\r\nabc\r\n" PUSH("x", "m1") PUSH("x", "m2"));
    fake_send(a(), 3);
    say_on(hub, MESSAGE("x", "m3"));
    fake_send(a(), buf_len(&shared->pending));
    EXPECT(r, d, "$3\r\n<k>\r\n+PONG\r\n" PUSH("x", "m3"));
    /* Two in the line behind one that streams, of which the next is not whole. */
    rig_ask(r, d, "GET l");
    rig_ask(r, d, "GET m");
    fake_send(a(), 1);
    say_on(hub, MESSAGE("x", "m4"));
    rig_ask(r, d, "UNSUBSCRIBE x");
    fake_send(a(), buf_len(&shared->pending));
    EXPECT(r, d,
           "$3\r\n<l>\r\n" PUSH("x", "m4") "$3\r\n<m>\r\n"
                                           ">3\r\n$11\r\nunsubscribe\r\n$1\r\nx\r\n:0\r\n");
}

/* Who does not read is closed, and holds up nobody. */
static void test_slow_subscriber(void **state)
{
    char big[30100];
    (void)state;
    rig_open(r, REDIS "  client_output_limit: 100000\n" ONE);
    struct sim_peer *slow = subscriber("x");
    struct sim_peer *next = subscriber("x");
    struct sim_peer *last = subscriber3("x");
    EXPECT(r, slow, TOLD_ON("x", "1"));
    EXPECT(r, next, TOLD_ON("x", "1"));
    EXPECT(r, last, ">3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n");
    sim_peer_limit(slow, SIM_UNLIMITED, 0);
    sim_peer_limit(last, SIM_UNLIMITED, 0);
    int head = snprintf(big, sizeof(big), "*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$30000\r\n");
    memset(big + head, 'v', 30000);
    memcpy(big + head + 30000, "\r\n", 3);
    for (int i = 0; i < 6; i++)
        say_on(conn(a(), 0), big);
    assert_true(sim_peer_gone(slow));
    assert_true(sim_peer_gone(last));
    assert_int_equal(POOL_STAT(r, slow_subscribers), 2);
    assert_int_equal(sim_peer_received(next).len, 6 * strlen(big));
    sim_peer_drop(next, sim_peer_received(next).len);
    assert_int_equal(POOL_STAT(r, subscribers), 1);
    sim_peer_close(next);
    sim_settle(r->loop);
    sim_advance(r->loop, 3000);
    assert_true(r->loop->pool.meter.used < 100000);
}

/* A server that falls silent is found, and one that only has nothing to say is left alone. */
static void test_silent_server(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *c = subscriber("x");
    EXPECT(r, c, TOLD_ON("x", "1"));
    sim_advance(r->loop, 10000);
    assert_in_range(a()->pings, 6, 11);
    assert_int_equal(sim_listener_count(a()->listener), 1);
    a()->hold = true;
    sim_advance(r->loop, 1300);
    sim_advance(r->loop, 400);
    a()->hold = false;
    sim_advance(r->loop, 1500);
    assert_in_range(sim_listener_count(a()->listener), 2, 6);
    assert_true(SERVER_STAT(r, a(), server_timedout) > 0);
    fake_say(a(), MESSAGE("x", "hi"));
    EXPECT(r, c, MESSAGE("x", "hi"));
}

/* A server that does not answer: the request fails in time. */
static void test_late_answer(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    a()->hold = true;
    struct sim_peer *c = subscriber("x");
    sim_advance(r->loop, 350);
    EXPECT(r, c, "");
    sim_advance(r->loop, 100);
    EXPECT(r, c, "-ERR Connection timed out (server 'a', 400 ms)\r\n");
    assert_int_equal(POOL_STAT(r, subscriptions), 0);
    sim_listener_set(a()->listener, 1, 0);
    sim_advance(r->loop, 200);
    rig_ask(r, c, "SUBSCRIBE x");
    sim_advance(r->loop, 450);
    EXPECT(r, c, "-ERR Connection timed out (server 'a', 400 ms)\r\n");
}

/* A topic goes where now is published to it, and comes back. */
static void test_follows_the_ring(void **state)
{
    (void)state;
    rig_open(r, REDIS "  auto_eject_hosts: true\n  server_failure_limit: 1\n"
                      "  server_retry_timeout: 2000\n" TWO);
    struct sim_peer *c = rig_client(r, 0);
    const char *on_a = rig_key(r, 0, 0);
    rig_ask(r, c, "SUBSCRIBE %s", on_a);
    rig_expect_begin(r, c, "*3\r\n$9\r\nsubscribe\r\n");
    rig_ask(r, c, "PSUBSCRIBE p");
    EXPECT(r, c, "*3\r\n$10\r\npsubscribe\r\n$1\r\np\r\n:2\r\n");
    fake_expect(b(), "*2\r\n$10\r\npsubscribe\r\n$1\r\np\r\n");
    sim_listener_set(a()->listener, -ECONNREFUSED, 0);
    sim_peer_close(conn(a(), 0)->peer);
    sim_settle(r->loop);
    sim_advance(r->loop, 600);
    assert_int_equal(b()->requests, 2);
    rig_ask(r, c, "PSUBSCRIBE q"); /* on those that are there */
    EXPECT(r, c, "*3\r\n$10\r\npsubscribe\r\n$1\r\nq\r\n:3\r\n");
    buf_clear(&a()->log);
    buf_clear(&b()->log);
    sim_listener_set(a()->listener, 0, 0);
    sim_advance(r->loop, 4000);
    assert_true(a()->requests >= 3);
    rig_ask(r, c, "UNSUBSCRIBE");
    rig_expect_begin(r, c, "*3\r\n$11\r\nunsubscribe\r\n");
    /* The one on b was ended when a came back. */
    struct buf want = {0};
    char line[64];
    snprintf(line, sizeof(line), "unsubscribe %s", on_a);
    resp(&want, line);
    assert_true(buf_append(&want, SPAN("")));
    assert_int_equal(buf_len(&b()->log), buf_len(&want));
    assert_memory_equal(buf_span(&b()->log).ptr, buf_span(&want).ptr, buf_len(&want));
    buf_free(&want);
}

/* A pattern is heard from all servers; an error of one of them is the answer. */
static void test_pattern_on_all(void **state)
{
    (void)state;
    rig_open(r, REDIS TWO);
    b()->hold = true;
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "PSUBSCRIBE p");
    EXPECT(r, c, "");
    fake_send_all(b());
    EXPECT(r, c, "*3\r\n$10\r\npsubscribe\r\n$1\r\np\r\n:1\r\n");
    fake_say(a(), "*4\r\n$8\r\npmessage\r\n$1\r\np\r\n$1\r\np\r\n$2\r\nhi\r\n");
    fake_say(b(), "*4\r\n$8\r\npmessage\r\n$1\r\np\r\n$1\r\np\r\n$2\r\nho\r\n");
    EXPECT(r, c,
           "*4\r\n$8\r\npmessage\r\n$1\r\np\r\n$1\r\np\r\n$2\r\nhi\r\n"
           "*4\r\n$8\r\npmessage\r\n$1\r\np\r\n$1\r\np\r\n$2\r\nho\r\n");
    rig_ask(r, c, "PSUBSCRIBE q");
    sim_peer_close(conn(b(), 0)->peer);
    sim_settle(r->loop);
    EXPECT(r, c, "-ERR unknown (server 'b' closed the connection)\r\n");
    assert_int_equal(POOL_STAT(r, pubsub_patterns), 1);
    b()->hold = false;
    sim_advance(r->loop, 200);
    rig_ask(r, c, "PSUBSCRIBE q");
    EXPECT(r, c, "*3\r\n$10\r\npsubscribe\r\n$1\r\nq\r\n:2\r\n");
}

/* The end of the process does not wait for what may never come. */
static void test_stop(void **state)
{
    (void)state;
    rig_open(r, REDIS TWO);
    struct sim_peer *c = subscriber("x");
    EXPECT(r, c, TOLD_ON("x", "1"));
    a()->hold = true;
    b()->hold = true;
    struct sim_peer *d = rig_client(r, 0);
    rig_ask(r, d, "PSUBSCRIBE *");
    rig_stop(r);
    sim_advance(r->loop, 300);
    EXPECT(r, d, "-ERR Connection refused (shutting down)\r\n");
    assert_true(sim_peer_gone(c) && sim_peer_gone(d));
    assert_true(r->stopped);
}

/* Subscriptions and watched keys, blocking requests and transactions are a client's at the same time. */
static void test_with_other_sessions(void **state)
{
    (void)state;
    rig_open(r, REDIS ONE);
    struct sim_peer *d = subscriber3("x");
    EXPECT(r, d, ">3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n");
    rig_ask(r, d, "WATCH k");
    EXPECT(r, d, "+OK\r\n");
    rig_ask(r, d, "MULTI");
    rig_ask(r, d, "SUBSCRIBE y");
    fake_conn_now(a());
    say_on(conn(a(), 1), MESSAGE("x", "hi"));
    rig_ask(r, d, "EXEC");
    EXPECT(r, d,
           "+OK\r\n-ERR command 'subscribe' can't be a part of a transaction behind this "
           "proxy\r\n" PUSH(
               "x", "hi") "-EXECABORT Transaction discarded because of previous errors.\r\n");
    rig_ask(r, d, "WATCH k");
    EXPECT(r, d, "+OK\r\n");
    rig_ask(r, d, "UNSUBSCRIBE");
    EXPECT(r, d, ">3\r\n$11\r\nunsubscribe\r\n$1\r\nx\r\n:0\r\n");
    rig_ask(r, d, "SSUBSCRIBE x");
    EXPECT(r, d, ">3\r\n$10\r\nssubscribe\r\n$1\r\nx\r\n:1\r\n");
    rig_ask(r, d, "UNWATCH");
    EXPECT(r, d, "+OK\r\n");
    rig_ask(r, d, "RESET");
    EXPECT(r, d, "+RESET\r\n");
    assert_int_equal(POOL_STAT(r, subscriptions), 0);
    rig_ask(r, d, "GET k");
    rig_expect_get(r, d, "k");
}

#define TEST(f) cmocka_unit_test_teardown(f, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_for_all),
        TEST(test_what_stands_is_told_at_once),
        TEST(test_again_while_it_ends),
        TEST(test_gone_while_it_waits),
        TEST(test_half_closed),
        TEST(test_server_lost),
        TEST(test_server_away),
        TEST(test_comes_back_late),
        TEST(test_refused),
        TEST(test_refused_again),
        TEST(test_bad_news),
        TEST(test_answer_of_another),
        TEST(test_cut_news),
        TEST(test_between_replies),
        TEST(test_slow_subscriber),
        TEST(test_silent_server),
        TEST(test_late_answer),
        TEST(test_follows_the_ring),
        TEST(test_pattern_on_all),
        TEST(test_stop),
        TEST(test_with_other_sessions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
