/* SPDX-License-Identifier: BSD-3-Clause */
/* Every client gets the replies to its own requests, in their order, and nothing else; and a client
 * that leaves, or asks too much, troubles nobody. */
#include "one_rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REDIS                                                                                      \
    "p:\n  listen: 127.0.0.1:1\n  hash: md5\n  redis: true\n  servers:\n"                          \
    "   - 127.0.0.1:7001:1 a\n   - 127.0.0.1:7002:1 b\n"
#define MEMCACHE                                                                                   \
    "p:\n  listen: 127.0.0.1:1\n  hash: md5\n  servers:\n   - 127.0.0.1:7001:1 a\n"                \
    "   - 127.0.0.1:7002:1 b\n"

static void hold(bool on)
{
    a()->hold = on;
    b()->hold = on;
}

static int open_redis(void **state)
{
    (void)state;
    rig_open(r, REDIS);
    return 0;
}

static int open_memcache(void **state)
{
    (void)state;
    rig_open(r, MEMCACHE);
    return 0;
}

static void test_opposite_order(void **state)
{
    (void)state;
    struct sim_peer *c = rig_client(r, 0);
    const char *on_a = rig_key(r, 0, 0);
    const char *on_b = rig_key(r, 1, 0);
    hold(true);
    rig_ask(r, c, "GET %s", on_a);
    rig_ask(r, c, "GET %s", on_b);
    rig_ask(r, c, "PING");
    fake_send_all(b());
    EXPECT(r, c, "");
    fake_send(a(), 2);
    EXPECT(r, c, "$4");
    fake_send_all(a());
    rig_expect_begin(r, c, "\r\n<k");
    rig_ask(r, c, "MGET %s %s %s", on_b, on_a, on_b);
    fake_send_all(b());
    EXPECT(r, c, "");
    fake_send_all(a());
    rig_expect_begin(r, c, "*3\r\n$4\r\n");
}

static void test_one_in_one_out(void **state)
{
    (void)state;
    struct sim_peer *c = rig_client(r, 0);
    struct buf wire = {0};
    struct buf want = {0};
    char line[32];
    for (int i = 0; i < 1000; i++) {
        snprintf(line, sizeof(line), "GET key%d", i);
        resp(&wire, line);
        put_get(&want, line + 4);
    }
    rig_send(r, c, buf_span(&wire));
    rig_expect(r, c, buf_span(&want));
    assert_int_equal(a()->requests + b()->requests, 1000);
    assert_true(a()->requests > 100 && b()->requests > 100);
    assert_int_equal(SERVER_STAT(r, a(), requests) + SERVER_STAT(r, b(), requests), 1000);
    assert_int_equal(SERVER_STAT(r, a(), responses) + SERVER_STAT(r, b(), responses), 1000);
    assert_int_equal(sim_listener_count(a()->listener), 1);
    buf_free(&wire);
    buf_free(&want);
}

static void test_leaves_mid_request(void **state)
{
    (void)state;
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *other = rig_client(r, 0);
    const char *key = rig_key(r, 0, 0);
    SEND(r, c, "*3\r\n$3\r\nSET\r\n$2\r\nk1\r\n$100\r\nbegun");
    sim_peer_reset(c, -ECONNRESET);
    rig_ask(r, other, "GET %s", key);
    rig_expect_get(r, other, key);
    assert_int_equal(a()->requests + b()->requests, 1);
    assert_true(sim_peer_gone(c));
}

/* Part of the reply to the one that leaves is there, part of it is not. */
static void test_leaves_mid_reply(void **state)
{
    (void)state;
    const char *key = rig_key(r, 0, 0);
    const char *next = rig_key(r, 0, 1);
    hold(true);
    for (size_t cut = 0; cut < 10; cut++) {
        struct sim_peer *c = rig_client(r, 0);
        struct sim_peer *other = rig_client(r, 0);
        rig_ask(r, c, "GET %s", key);
        rig_ask(r, other, "GET %s", next);
        fake_send(a(), cut);
        if (cut % 2 == 0)
            sim_peer_reset(c, -ECONNRESET);
        else
            sim_peer_close(c);
        sim_settle(r->loop);
        fake_send_all(a());
        rig_expect_get(r, other, next);
        sim_peer_close(other);
        sim_settle(r->loop);
        assert_true(sim_peer_gone(c));
    }
    assert_int_equal(sim_listener_count(a()->listener), 1);
}

static void test_leaves_with_parked_replies(void **state)
{
    (void)state;
    const char *on_a = rig_key(r, 0, 0);
    const char *on_b = rig_key(r, 1, 0);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *other = rig_client(r, 0);
    hold(true);
    rig_ask(r, c, "GET %s", on_a);
    rig_ask(r, c, "GET %s", on_b);
    rig_ask(r, c, "MGET %s %s", on_a, on_b);
    rig_ask(r, c, "NOTHING");
    fake_send(b(), fake_pending(b()) - 3);
    sim_peer_reset(c, -ECONNRESET);
    sim_settle(r->loop);
    rig_ask(r, other, "MGET %s %s", on_a, on_b);
    fake_send_all(a());
    fake_send_all(b());
    rig_expect_begin(r, other, "*2\r\n$4\r\n");
    assert_int_equal(POOL_STAT(r, client_connections), 1);
}

static void test_open_requests_are_bounded(void **state)
{
    (void)state;
    struct sim_peer *c = rig_client(r, 0);
    const char *key = rig_key(r, 0, 0);
    struct buf wire = {0};
    struct buf want = {0};
    char line[64];
    snprintf(line, sizeof(line), "GET %s", key);
    for (int i = 0; i < 3000; i++) {
        resp(&wire, line);
        put_get(&want, key);
    }
    a()->hold = true;
    rig_send(r, c, buf_span(&wire));
    assert_int_equal(a()->requests, CLIENT_OPEN_MAX);
    /* It reads on when half of them are answered. */
    size_t each = buf_len(&want) / 3000;
    fake_send(a(), each * (CLIENT_OPEN_MAX / 2 - 1));
    assert_int_equal(a()->requests, CLIENT_OPEN_MAX);
    fake_send(a(), each);
    assert_int_equal(a()->requests, CLIENT_OPEN_MAX + CLIENT_OPEN_MAX / 2);
    a()->hold = false;
    fake_send_all(a());
    rig_expect(r, c, buf_span(&want));
    assert_int_equal(a()->requests, 3000);
    /* All of it is there, and then its FIN, while it is paused. */
    a()->hold = true;
    assert_true(sim_peer_send(c, buf_span(&wire)));
    sim_peer_half_close(c);
    sim_settle(r->loop);
    a()->hold = false;
    fake_send_all(a());
    rig_expect(r, c, buf_span(&want));
    assert_true(sim_peer_gone(c));
    buf_free(&wire);
    buf_free(&want);
}

enum { BIG = 100000, BIGS = 40 };

static void big_replies(struct sim_peer *c)
{
    struct span got = sim_peer_received(c);
    assert_int_equal(got.len, BIGS * (size_t)(BIG + 11));
    for (size_t i = 0; i < BIGS; i++)
        assert_memory_equal(got.ptr + i * (BIG + 11), "$100000\r\nabcd", 13);
    sim_peer_drop(c, got.len);
}

static void test_slow_reader_is_not_read(void **state)
{
    (void)state;
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *other = rig_client(r, 0);
    const char *key = rig_key(r, 0, 0);
    sim_peer_limit(c, SIM_UNLIMITED, 0);
    for (int i = 0; i < BIGS; i++)
        rig_ask(r, c, "GET big:%d", BIG);
    assert_in_range(a()->requests + b()->requests, 1, 2 * CLIENT_OUTPUT_SOFT / BIG);
    rig_ask(r, other, "GET %s", key);
    rig_expect_get(r, other, key);
    for (int i = 0; i < 10 * BIGS; i++) {
        sim_peer_room(c, BIG / 5);
        sim_settle(r->loop);
    }
    big_replies(c);
}

static void test_parked_replies_count(void **state)
{
    (void)state;
    struct sim_peer *c = rig_client(r, 0);
    const char *on_big = rig_key(r, 0, 0);
    uint32_t big_server = 0;
    rig_ask(r, c, "GET big:%d", BIG);
    big_server = b()->requests;
    sim_peer_drop(c, sim_peer_received(c).len);
    struct fake *big = big_server == 1 ? b() : a();
    struct fake *other = big_server == 1 ? a() : b();
    on_big = rig_key(r, 1 - big_server, 0);
    other->hold = true;
    rig_ask(r, c, "GET %s", on_big);
    for (int i = 0; i < BIGS; i++)
        rig_ask(r, c, "GET big:%d", BIG);
    assert_in_range(big->requests, 1, 2 * CLIENT_OUTPUT_SOFT / BIG);
    other->hold = false;
    fake_send_all(other);
    sim_peer_drop(c, 10);
    big_replies(c);
}

static void test_split_replies_count(void **state)
{
    (void)state;
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "GET big:%d", BIG);
    struct fake *big = b()->requests == 1 ? b() : a();
    struct fake *other = big == b() ? a() : b();
    const char *key = rig_key(r, other->index, 0);
    other->hold = true;
    for (int i = 0; i < BIGS; i++)
        rig_ask(r, c, "MGET big:%d %s", BIG, key);
    assert_in_range(big->requests, 1, 2 * CLIENT_OUTPUT_SOFT / BIG);
    other->hold = false;
    fake_send_all(other);
    assert_int_equal(big->requests, 1 + BIGS);
    assert_int_equal(sim_peer_received(c).len, 11 + BIG + BIGS * (4 + 11 + BIG + 10));
}

static void test_quit(void **state)
{
    (void)state;
    struct sim_peer *c = rig_client(r, 0);
    const char *key = rig_key(r, 0, 0);
    char text[128];
    hold(true);
    snprintf(text, sizeof(text), "GET %s\r\nQUIT\r\nGET %s\r\n", key, key);
    SEND(r, c, text);
    EXPECT(r, c, "");
    assert_false(sim_peer_ended(c));
    fake_send_all(a());
    snprintf(text, sizeof(text), "$%zu\r\n<%s>\r\n+OK\r\n", strlen(key) + 2, key);
    EXPECT(r, c, text);
    assert_true(sim_peer_ended(c));
    assert_int_equal(a()->requests + b()->requests, 1);
}

static void test_bad_framing(void **state)
{
    (void)state;
    struct sim_peer *c = rig_client(r, 0);
    const char *key = rig_key(r, 0, 0);
    hold(true);
    rig_ask(r, c, "GET %s", key);
    SEND(r, c, "*1\r\n$x\r\n*1\r\n$4\r\nPING\r\n");
    fake_send_all(a());
    rig_expect_begin(r, c, "$4\r\n");
    assert_true(sim_peer_ended(c));
    struct sim_peer *other = rig_client(r, 0);
    SEND(r, other, "*1\r\n$x\r\n*1\r\n$4\r\nPING\r\n");
    EXPECT(r, other, "-ERR Protocol error: invalid bulk length\r\n");
    assert_true(sim_peer_ended(other));
    assert_int_equal(POOL_STAT(r, client_err), 2);
}

static void test_half_close(void **state)
{
    (void)state;
    struct sim_peer *c = rig_client(r, 0);
    const char *on_a = rig_key(r, 0, 0);
    hold(true);
    rig_ask(r, c, "GET %s", on_a);
    rig_ask(r, c, "MGET %s %s", on_a, rig_key(r, 1, 0));
    SEND(r, c, "*2\r\n$3\r\nGET\r\n$2\r\nk");
    sim_peer_half_close(c);
    sim_settle(r->loop);
    assert_false(sim_peer_ended(c));
    fake_send_all(a());
    rig_expect_get(r, c, on_a);
    fake_send_all(b());
    rig_expect_begin(r, c, "*2\r\n");
    assert_true(sim_peer_gone(c));
    assert_int_equal(a()->requests + b()->requests, 3);
    assert_int_equal(POOL_STAT(r, client_eof), 1);
}

static void test_stop(void **state)
{
    (void)state;
    struct sim_peer *waits = rig_client(r, 0);
    struct sim_peer *idle = rig_client(r, 0);
    const char *key = rig_key(r, 0, 0);
    hold(true);
    rig_ask(r, waits, "GET %s", key);
    SEND(r, waits, "*2\r\n$3\r\nGET\r\n$2\r\nk");
    rig_stop(r);
    assert_true(sim_peer_ended(idle));
    sim_peer_close(idle);
    assert_false(sim_peer_ended(waits));
    sim_advance(r->loop, 2000);
    assert_false(r->stopped);
    fake_send_all(a());
    rig_expect_get(r, waits, key);
    assert_true(sim_peer_ended(waits));
    sim_peer_close(waits);
    sim_advance(r->loop, 20);
    assert_true(r->stopped);
}

/* A client that neither reads nor closes holds the end up, but not for ever. */
static void test_stop_with_deaf_client(void **state)
{
    (void)state;
    struct sim_peer *c = rig_client(r, 0);
    sim_peer_limit(c, SIM_UNLIMITED, 10);
    rig_ask(r, c, "GET big:%d", BIG);
    rig_stop(r);
    sim_advance(r->loop, STREAM_FINISH_MS + 100);
    assert_true(r->stopped);
}

static void test_quiet_requests(void **state)
{
    (void)state;
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *other = rig_client(r, 0);
    const char *key = rig_key(r, 0, 0);
    char text[128];
    hold(true);
    snprintf(text, sizeof(text), "set %s 0 0 1 noreply\r\nx\r\nget %s\r\n", key, key);
    SEND(r, c, text);
    snprintf(text, sizeof(text), "get %s\r\n", key);
    SEND(r, other, text);
    fake_say(a(), "SERVER_ERROR out of memory storing object\r\n");
    EXPECT(r, c, "");
    buf_consume(&fake_conn_now(a())->pending, strlen("STORED\r\n"));
    fake_send_all(a());
    rig_expect_begin(r, c, "VALUE ");
    rig_expect_begin(r, other, "VALUE ");
    assert_int_equal(sim_listener_count(a()->listener), 1);
}

static void test_quiet_requests_alone(void **state)
{
    (void)state;
    struct sim_peer *c = rig_client(r, 0);
    char text[128];
    snprintf(text, sizeof(text), "delete %s noreply\r\n", rig_key(r, 1, 0));
    for (int i = 0; i < 5; i++)
        SEND(r, c, text);
    EXPECT(r, c, "");
    assert_int_equal(b()->requests, 5);
    SEND(r, c, "version\r\n");
    EXPECT(r, c, "VERSION 1\r\n");
    SEND(r, c, "quit\r\n");
    EXPECT(r, c, "");
    assert_true(sim_peer_ended(c));
}

#define TEST(name, open) cmocka_unit_test_setup_teardown(name, open, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_opposite_order, open_redis),
        TEST(test_one_in_one_out, open_redis),
        TEST(test_leaves_mid_request, open_redis),
        TEST(test_leaves_mid_reply, open_redis),
        TEST(test_leaves_with_parked_replies, open_redis),
        TEST(test_open_requests_are_bounded, open_redis),
        TEST(test_slow_reader_is_not_read, open_redis),
        TEST(test_parked_replies_count, open_redis),
        TEST(test_split_replies_count, open_redis),
        TEST(test_quit, open_redis),
        TEST(test_bad_framing, open_redis),
        TEST(test_half_close, open_redis),
        TEST(test_stop, open_redis),
        TEST(test_stop_with_deaf_client, open_redis),
        TEST(test_quiet_requests, open_memcache),
        TEST(test_quiet_requests_alone, open_memcache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
