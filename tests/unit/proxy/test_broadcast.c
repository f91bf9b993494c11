/* SPDX-License-Identifier: BSD-3-Clause */
/* A request that is for all servers reaches each of them once, and none is left out in silence. */
#include "one_rig.h"

#include <errno.h>

#define HEAD "p:\n  listen: 127.0.0.1:1\n  hash: md5\n  allow_flush: true\n"
#define ONE "  servers:\n   - 127.0.0.1:7001:1 a\n"
#define THREE ONE "   - 127.0.0.1:7002:1 b\n   - 127.0.0.1:7003:1 c\n"

static struct fake *fake(uint32_t server)
{
    return &rig.fakes[0][server];
}

static void test_all_are_asked(void **state)
{
    (void)state;
    rig_open(r, HEAD THREE);
    struct sim_peer *c = rig_client(r, 0);
    SEND(r, c, "flush_all\r\nflush_all 10\r\n");
    EXPECT(r, c, "OK\r\nOK\r\n");
    for (uint32_t i = 0; i < 3; i++)
        fake_expect(fake(i), "flush_all\r\nflush_all 10\r\n");
    assert_int_equal(POOL_STAT(r, fragments), 6);
    assert_int_equal(POOL_STAT(r, forward_error), 0);
}

static void test_one_server(void **state)
{
    (void)state;
    rig_open(r, HEAD ONE);
    struct sim_peer *c = rig_client(r, 0);
    SEND(r, c, "flush_all +7\r\n");
    EXPECT(r, c, "OK\r\n");
    fake_expect(fake(0), "flush_all 7\r\n");
    assert_int_equal(POOL_STAT(r, fragments), 0);
}

/* The answer waits for the last server, and the answers behind it wait for the answer. */
static void test_order(void **state)
{
    (void)state;
    rig_open(r, HEAD THREE);
    struct sim_peer *c = rig_client(r, 0);
    fake(1)->hold = true;
    SEND(r, c, "version\r\nflush_all\r\nversion\r\n");
    fake_send_all(fake(1));
    EXPECT(r, c, "VERSION 1\r\nOK\r\nVERSION 1\r\n");
    SEND(r, c, "flush_all\r\nverbosity 1\r\n");
    EXPECT(r, c, "");
    fake_send_all(fake(1));
    EXPECT(r, c, "OK\r\nOK\r\n");
}

static void test_quiet(void **state)
{
    (void)state;
    rig_open(r, HEAD THREE);
    struct sim_peer *c = rig_client(r, 0);
    SEND(r, c, "flush_all noreply\r\nflush_all 5 noreply\r\nverbosity 1\r\n");
    EXPECT(r, c, "OK\r\n");
    for (uint32_t i = 0; i < 3; i++)
        fake_expect(fake(i), "flush_all\r\nflush_all 5\r\n");
}

/* The client goes while servers still work at it. */
static void test_client_goes(void **state)
{
    (void)state;
    rig_open(r, HEAD THREE);
    struct sim_peer *c = rig_client(r, 0);
    struct sim_peer *d = rig_client(r, 0);
    fake(2)->hold = true;
    SEND(r, c, "flush_all\r\n");
    sim_peer_reset(c, -ECONNRESET);
    SEND(r, d, "flush_all\r\n");
    fake_send_all(fake(2));
    EXPECT(r, d, "OK\r\n");
}

/* A server that is gone makes an error that names it; the others have done it. */
static void test_dead_server(void **state)
{
    (void)state;
    rig_open(r, HEAD THREE);
    struct sim_peer *c = rig_client(r, 0);
    sim_listener_set(fake(1)->listener, -ECONNREFUSED, 0);
    SEND(r, c, "flush_all\r\n");
    EXPECT(r, c, "SERVER_ERROR Connection refused (server 'b')\r\n");
    fake_expect(fake(0), "flush_all\r\n");
    fake_expect(fake(2), "flush_all\r\n");
    assert_int_equal(POOL_STAT(r, forward_error), 1);
}

/* So does one that is ejected: it is asked all the same. */
static void test_ejected_server(void **state)
{
    (void)state;
    rig_open(r, HEAD "  auto_eject_hosts: true\n  server_failure_limit: 1\n" THREE);
    struct sim_peer *c = rig_client(r, 0);
    sim_listener_set(fake(1)->listener, -ECONNREFUSED, 0);
    sim_listener_set(fake(2)->listener, -ECONNREFUSED, 0);
    for (int i = 0; i < 3; i++) {
        SEND(r, c, "flush_all\r\n");
        EXPECT(r, c,
               "SERVER_ERROR Connection refused (server 'b'); "
               "SERVER_ERROR Connection refused (server 'c')\r\n");
    }
    assert_int_equal(POOL_STAT(r, server_ejects), 2);
    sim_listener_set(fake(1)->listener, 0, 0);
    sim_listener_set(fake(2)->listener, 0, 0);
    SEND(r, c, "flush_all\r\n");
    EXPECT(r, c, "OK\r\n");
}

#define TEST(name) cmocka_unit_test_teardown(name, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_are_asked),  TEST(test_one_server),  TEST(test_order),
        TEST(test_quiet),          TEST(test_client_goes), TEST(test_dead_server),
        TEST(test_ejected_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
