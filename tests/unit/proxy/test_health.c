/* SPDX-License-Identifier: BSD-3-Clause */
/* An ejected server is asked whether it is alive before it gets keys again; servers may be asked
 * without traffic, too; and what becomes of the keys meanwhile. */
#include "one_rig.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HEAD "p:\n  listen: 127.0.0.1:1\n  hash: md5\n"
#define EJECT "  auto_eject_hosts: true\n  server_failure_limit: 1\n  server_retry_timeout: 1000\n"
#define REDIS "  redis: true\n"
#define TWO "  servers:\n   - 127.0.0.1:7001:1 a\n   - 127.0.0.1:7002:1 b\n"
#define REFUSED "-ERR Connection refused (server 'a')\r\n"

static struct sim_peer *client;
static const char *on_a;
static const char *on_b;

static void open_rig(const char *conf)
{
    rig_open(r, conf);
    client = rig_client(r, 0);
    on_a = rig_key(r, 0, 0);
    on_b = rig_key(r, 1, 0);
}

static void refuse(struct fake *f, bool refuses)
{
    sim_listener_set(f->listener, refuses ? -ECONNREFUSED : 0, 0);
}

/* Server a refuses one request, and is ejected for that. */
static void eject_a(void)
{
    refuse(a(), true);
    rig_ask(r, client, "GET %s", on_a);
    EXPECT(r, client, REFUSED);
    assert_int_equal(POOL_STAT(r, server_ejects), 1);
    assert_int_equal(SERVER_STAT(r, a(), ejected), 1);
}

/* The key of a is served by this one now. */
static void expect_on(struct fake *f)
{
    unsigned before = f->requests;
    rig_ask(r, client, "GET %s", on_a);
    rig_expect_get(r, client, on_a);
    assert_int_equal(f->requests, before + 1);
}

/* Nobody but the proxy itself finds out that the server is still dead. */
static void test_dead_server_stays_away(void **state)
{
    (void)state;
    open_rig(HEAD EJECT REDIS TWO);
    eject_a();
    for (unsigned i = 0; i < 10; i++) {
        sim_advance(r->loop, 1000);
        expect_on(b());
    }
    assert_in_range(SERVER_STAT(r, a(), probes), 10, 20);
    assert_int_equal(SERVER_STAT(r, a(), probe_failures), SERVER_STAT(r, a(), probes));
    assert_int_equal(POOL_STAT(r, server_ejects), 1);
    refuse(a(), false);
    sim_advance(r->loop, 1000);
    expect_on(a());
    assert_int_equal(a()->pings, 1);
    assert_int_equal(SERVER_STAT(r, a(), ejected), 0);
}

/* It is back at the moment when it may be, without a request, and the connection of the probe is
 * gone. */
static void test_comes_back_in_time(void **state)
{
    (void)state;
    open_rig(HEAD EJECT REDIS TWO);
    eject_a();
    refuse(a(), false);
    sim_advance(r->loop, 999);
    assert_int_equal(a()->pings, 0);
    sim_advance(r->loop, 1);
    assert_int_equal(a()->pings, 1);
    assert_null(fake_conn_now(a()));
    assert_int_equal(SERVER_STAT(r, a(), ejected), 0);
    expect_on(a());
    sim_advance(r->loop, 60000);
    assert_int_equal(a()->pings, 1);
}

static void test_what_is_alive(void **state)
{
    (void)state;
    static const struct {
        const char *said;
        bool alive;
    } rows[] = {
        {"+PONG\r\n", true},
        {"-ERR unknown command 'PING'\r\n", true},
        {"-NOPERM this user has no permissions to run the 'ping' command\r\n", true},
        {"-MISCONF Redis is configured to save RDB snapshots\r\n", true},
        {"-LOADING Redis is loading the dataset in memory\r\n", false},
        {"-MASTERDOWN Link with MASTER is down\r\n", false},
        {"-BUSY Redis is busy running a script.\r\n", false},
        {"-CLUSTERDOWN The cluster is down\r\n", false},
        {":1\r\n", false},
        {"*0\r\n", false},
        {"HTTP/1.1 400 Bad Request\r\n", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        open_rig(HEAD EJECT REDIS TWO);
        eject_a();
        refuse(a(), false);
        a()->ping = rows[i].said;
        sim_advance(r->loop, 1000);
        assert_int_equal(a()->pings, 1);
        assert_int_equal(SERVER_STAT(r, a(), ejected), !rows[i].alive);
        assert_int_equal(SERVER_STAT(r, a(), probe_failures), !rows[i].alive);
        expect_on(rows[i].alive ? a() : b());
        a()->ping = NULL;
        sim_advance(r->loop, 1000);
        expect_on(a());
        rig_close(r);
    }
}

/* One that accepts and says nothing does not hold the probe for ever. */
static void test_silent_server(void **state)
{
    (void)state;
    static const char *const timeouts[] = {"", "  timeout: 400\n"};
    for (size_t i = 0; i < ARRAY_LEN(timeouts); i++) {
        char conf[512];
        snprintf(conf, sizeof(conf), "%s%s", HEAD EJECT REDIS TWO, timeouts[i]);
        open_rig(conf);
        eject_a();
        refuse(a(), false);
        a()->deaf = true;
        sim_advance(r->loop, 1000 + (i == 0 ? 1000 : 400) - 1);
        assert_int_equal(SERVER_STAT(r, a(), probe_failures), 0);
        assert_non_null(fake_conn_now(a()));
        sim_advance(r->loop, 1);
        assert_int_equal(SERVER_STAT(r, a(), probe_failures), 1);
        assert_null(fake_conn_now(a()));
        assert_int_equal(SERVER_STAT(r, a(), server_timedout), 0);
        a()->deaf = false;
        sim_advance(r->loop, 1000);
        expect_on(a());
        rig_close(r);
    }
}

/* The password and the database come before the probe; who refuses them can't serve. */
static void test_probe_after_handshake(void **state)
{
    (void)state;
    open_rig(HEAD EJECT REDIS TWO "  redis_auth: secret\n");
    rig_ask(r, client, "AUTH secret");
    EXPECT(r, client, "+OK\r\n");
    eject_a();
    refuse(a(), false);
    a()->auth = "-LOADING Redis is loading the dataset in memory\r\n";
    sim_advance(r->loop, 1000);
    assert_int_equal(a()->pings, 0);
    assert_int_equal(SERVER_STAT(r, a(), ejected), 1);
    a()->auth = NULL;
    sim_advance(r->loop, 1000);
    assert_int_equal(a()->pings, 1);
    expect_on(a());
}

/* The wait doubles up to server_retry_max, each by less than half shorter. */
static void test_backoff(void **state)
{
    (void)state;
    static const unsigned waits[] = {1000, 1000, 2000, 4000, 5000, 5000, 5000};
    open_rig(HEAD EJECT REDIS TWO "  server_retry_max: 5000\n");
    eject_a();
    for (unsigned i = 0; i < ARRAY_LEN(waits); i++) {
        unsigned waited = 0;
        while (SERVER_STAT(r, a(), probes) == i) {
            sim_advance(r->loop, 1);
            waited++;
        }
        assert_in_range(waited, i == 0 ? waits[i] : waits[i] / 2, waits[i]);
    }
    refuse(a(), false);
    sim_advance(r->loop, 5000);
    expect_on(a());
    /* The next time begins anew. */
    refuse(a(), true);
    sim_peer_close(fake_conn_now(a())->peer);
    sim_settle(r->loop);
    unsigned probes = SERVER_STAT(r, a(), probes);
    rig_ask(r, client, "GET %s", on_a);
    EXPECT(r, client, REFUSED);
    sim_advance(r->loop, 1000);
    assert_int_equal(SERVER_STAT(r, a(), probes), probes + 1);
}

static void test_retry_at_once(void **state)
{
    (void)state;
    open_rig("p:\n  listen: 127.0.0.1:1\n  hash: md5\n  auto_eject_hosts: true\n"
             "  server_failure_limit: 1\n  server_retry_timeout: 0\n" REDIS TWO);
    refuse(a(), true);
    rig_ask(r, client, "GET %s", on_a);
    EXPECT(r, client, REFUSED);
    sim_advance(r->loop, 1000);
    assert_in_range(SERVER_STAT(r, a(), probes), 20, 42);
    refuse(a(), false);
    sim_advance(r->loop, 50);
    expect_on(a());
}

/* Twemproxy's way: by time alone, and each time a client pays. */
static void test_without_probe(void **state)
{
    (void)state;
    open_rig(HEAD EJECT REDIS TWO "  server_probe: false\n");
    eject_a();
    for (unsigned i = 2; i < 5; i++) {
        sim_advance(r->loop, 1000);
        rig_ask(r, client, "GET %s", on_a);
        EXPECT(r, client, REFUSED);
        assert_int_equal(POOL_STAT(r, server_ejects), i);
        expect_on(b());
    }
    assert_int_equal(SERVER_STAT(r, a(), probes), 0);
}

static void test_memcached(void **state)
{
    (void)state;
    open_rig(HEAD EJECT TWO);
    char get[64];
    char hit[64];
    snprintf(get, sizeof(get), "get %s\r\n", on_a);
    snprintf(hit, sizeof(hit), "VALUE %s 0 %zu\r\n<%s>\r\nEND\r\n", on_a, strlen(on_a) + 2, on_a);
    refuse(a(), true);
    SEND(r, client, get);
    EXPECT(r, client, "SERVER_ERROR Connection refused (server 'a')\r\n");
    sim_advance(r->loop, 1000);
    SEND(r, client, get);
    EXPECT(r, client, hit);
    assert_int_equal(b()->requests, 1);
    refuse(a(), false);
    sim_advance(r->loop, 1000);
    fake_expect(a(), "version\r\n");
    SEND(r, client, get);
    EXPECT(r, client, hit);
    fake_expect(a(), get);
}

/* ---- keys that never move ---- */

#define OUT "-ERR Connection refused (server 'a': it is ejected)\r\n"

static void test_keys_never_move(void **state)
{
    (void)state;
    open_rig(HEAD EJECT REDIS TWO "  on_eject: fail\n");
    eject_a();
    for (int i = 0; i < 3; i++) {
        rig_ask(r, client, "SET %s v", on_a);
        EXPECT(r, client, OUT);
    }
    rig_ask(r, client, "MGET %s %s", on_b, on_a);
    EXPECT(r, client, OUT);
    rig_ask(r, client, "GET %s", on_b);
    rig_expect_get(r, client, on_b);
    assert_int_equal(b()->requests, 2);
    refuse(a(), false);
    sim_advance(r->loop, 1000);
    expect_on(a());
}

/* Also not on a connection that still stands, and nobody waits for it any longer. */
static void test_keys_never_wait(void **state)
{
    (void)state;
    open_rig(HEAD EJECT REDIS TWO "  on_eject: fail\n  timeout: 400\n  max_in_flight: 1\n");
    struct sim_peer *one = rig_client(r, 0);
    struct sim_peer *two = rig_client(r, 0);
    struct sim_peer *three = rig_client(r, 0);
    a()->hold = true;
    rig_ask(r, one, "GET %s", on_a);
    sim_advance(r->loop, 200);
    rig_ask(r, two, "GET %s", on_a);
    rig_ask(r, three, "GET %s", on_a);
    sim_advance(r->loop, 210);
    EXPECT(r, one, "-ERR Connection timed out (server 'a', 400 ms)\r\n");
    EXPECT(r, two, OUT);
    EXPECT(r, three, OUT);
    rig_ask(r, two, "GET %s", on_a);
    EXPECT(r, two, OUT);
}

/* Where keys are anywhere, none belongs to a server that is away. */
static void test_random_moves_all_the_same(void **state)
{
    (void)state;
    rig_open(r, "p:\n  listen: 127.0.0.1:1\n  distribution: random\n" EJECT REDIS TWO
                "  on_eject: fail\n");
    client = rig_client(r, 0);
    on_a = "k";
    refuse(a(), true);
    for (int i = 0; i < 100 && POOL_STAT(r, server_ejects) == 0; i++) {
        rig_ask(r, client, "GET k");
        sim_peer_drop(client, sim_peer_received(client).len);
    }
    for (int i = 0; i < 20; i++)
        expect_on(b());
}

/* ---- checks without traffic ---- */

#define CHECKED HEAD EJECT REDIS TWO "  health_check_interval: 100\n"

static void test_checks(void **state)
{
    (void)state;
    open_rig(CHECKED);
    sim_advance(r->loop, 10000);
    assert_in_range(a()->pings, 100, 200);
    assert_in_range(b()->pings, 100, 200);
    assert_null(fake_conn_now(a()));
    assert_int_equal(SERVER_STAT(r, a(), probe_failures), 0);
    assert_int_equal(SERVER_STAT(r, a(), server_err), 0);
}

/* No client ever sees that the server is dead. */
static void test_checks_eject(void **state)
{
    (void)state;
    open_rig(CHECKED);
    refuse(a(), true);
    sim_advance(r->loop, 100);
    assert_int_equal(POOL_STAT(r, server_ejects), 1);
    expect_on(b());
    /* From then on it is asked as any ejected server is. */
    unsigned probes = SERVER_STAT(r, a(), probes);
    sim_advance(r->loop, 900);
    assert_in_range(SERVER_STAT(r, a(), probes), probes, probes + 1);
    refuse(a(), false);
    sim_advance(r->loop, 1000);
    expect_on(a());
    unsigned pings = a()->pings;
    sim_advance(r->loop, 1000);
    assert_in_range(a()->pings, pings + 9, pings + 20);
}

/* A server that is loading answers every request, with an error; only the checks say that it can't
 * serve. */
static void test_checks_find_loading(void **state)
{
    (void)state;
    open_rig("p:\n  listen: 127.0.0.1:1\n  hash: md5\n  auto_eject_hosts: true\n"
             "  server_failure_limit: 3\n" REDIS TWO "  health_check_interval: 100\n");
    a()->ping = "-LOADING Redis is loading the dataset in memory\r\n";
    for (int i = 0; i < 30 && POOL_STAT(r, server_ejects) == 0; i++) {
        expect_on(a());
        sim_advance(r->loop, 10);
    }
    assert_int_equal(POOL_STAT(r, server_ejects), 1);
    assert_int_equal(SERVER_STAT(r, a(), probe_failures), 3);
    expect_on(b());
}

/* Without ejection they only tell. */
static void test_checks_without_ejection(void **state)
{
    (void)state;
    open_rig(HEAD REDIS TWO "  health_check_interval: 100\n");
    refuse(a(), true);
    sim_advance(r->loop, 10000);
    assert_in_range(SERVER_STAT(r, a(), probe_failures), 100, 200);
    assert_int_equal(POOL_STAT(r, server_ejects), 0);
    refuse(a(), false);
    /* Nor do they keep requests from being tried. */
    expect_on(a());
}

/* Requests eject it while a check is under way: what the check says is about the time before. */
static void test_check_does_not_bring_back(void **state)
{
    (void)state;
    open_rig(CHECKED "  timeout: 400\n");
    a()->hold = true;
    rig_ask(r, client, "GET %s", on_a);
    sim_advance(r->loop, 399);
    a()->deaf = true;
    sim_advance(r->loop, 101);
    EXPECT(r, client, "-ERR Connection timed out (server 'a', 400 ms)\r\n");
    assert_int_equal(POOL_STAT(r, server_ejects), 1);
    a()->deaf = false;
    a()->hold = false;
    fake_say(a(), "+PONG\r\n");
    sim_advance(r->loop, 800);
    expect_on(b());
    sim_advance(r->loop, 700);
    expect_on(a());
}

/* ---- the end ---- */

static void test_stop_while_asking(void **state)
{
    (void)state;
    open_rig(CHECKED);
    a()->deaf = true;
    refuse(b(), true);
    rig_ask(r, client, "GET %s", on_b);
    rig_expect_begin(r, client, "-ERR Connection refused (server 'b')\r\n");
    sim_advance(r->loop, 100);
    assert_non_null(fake_conn_now(a()));
    rig_stop(r);
    sim_advance(r->loop, 1000);
    assert_true(r->stopped);
}

/* When the proxy has no descriptors or no memory left, that is no reason to take its servers off the ring. */
static void test_our_shortage_ejects_nobody(void **state)
{
    (void)state;
    open_rig(HEAD EJECT REDIS TWO);
    sim_fail(r->loop, SIM_CONNECT, 0, 1, -EMFILE);
    rig_ask(r, client, "GET %s", on_a);
    EXPECT(r, client, "-ERR Too many open files (server 'a')\r\n");
    assert_int_equal(SERVER_STAT(r, a(), server_err), 1);
    sim_listener_set(a()->listener, -ENOBUFS, 0);
    rig_ask(r, client, "GET %s", on_a);
    EXPECT(r, client, "-ERR No buffer space available (server 'a')\r\n");
    assert_int_equal(POOL_STAT(r, server_ejects), 0);
    refuse(a(), false);
    expect_on(a());
}

static void test_check_that_we_cannot_make(void **state)
{
    (void)state;
    open_rig(CHECKED);
    sim_fail(r->loop, SIM_CONNECT, 0, 100, -EMFILE);
    sim_advance(r->loop, 1000);
    assert_true(SERVER_STAT(r, a(), probe_failures) > 5);
    assert_int_equal(POOL_STAT(r, server_ejects), 0);
    sim_fail(r->loop, SIM_CONNECT, 0, 0, 0);
    refuse(a(), true);
    sim_advance(r->loop, 200);
    assert_int_equal(POOL_STAT(r, server_ejects), 1);
}

#define TEST(name) cmocka_unit_test_teardown(name, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_dead_server_stays_away),
        TEST(test_comes_back_in_time),
        TEST(test_our_shortage_ejects_nobody),
        TEST(test_check_that_we_cannot_make),
        cmocka_unit_test(test_what_is_alive),
        cmocka_unit_test(test_silent_server),
        TEST(test_probe_after_handshake),
        TEST(test_backoff),
        TEST(test_retry_at_once),
        TEST(test_without_probe),
        TEST(test_memcached),
        TEST(test_keys_never_move),
        TEST(test_keys_never_wait),
        TEST(test_random_moves_all_the_same),
        TEST(test_checks),
        TEST(test_checks_eject),
        TEST(test_checks_find_loading),
        TEST(test_checks_without_ejection),
        TEST(test_check_does_not_bring_back),
        TEST(test_stop_while_asking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
