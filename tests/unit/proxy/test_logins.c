/* SPDX-License-Identifier: BSD-3-Clause */
/* Odd moments of clients that ask for another user, database or version of the protocol. */
#include "one_rig.h"

#include <stdio.h>
#include <string.h>

#define POOL "p:\n  listen: 127.0.0.1:1\n  hash: md5\n  redis: true\n"
#define ONE "  servers:\n   - 127.0.0.1:7001:1 a\n"

/* A server says no to a login, in an error that is a string with a length: the client gets a line of it, and no part of
 * one that would make it wait for more. */
static void test_long_error_refuses_a_login(void **state)
{
    (void)state;
    rig_open(r, POOL ONE);
    struct sim_peer *c = rig_client(r, 0);
    a()->hold = true;
    rig_ask(r, c, "HELLO 3 AUTH user pw");
    buf_clear(&fake_conn_now(a())->pending);
    fake_say(a(), "!17\r\nNO way\r\nat all ..\r\n");
    EXPECT(r, c, "-NO way\r\n");
    rig_ask(r, c, "HELLO 3 AUTH user pw");
    buf_clear(&fake_conn_now(a())->pending);
    fake_say(a(), "*1\r\n!4\r\nNO x\r\n");
    rig_expect_begin(r, c, "-ERR Invalid argument (server 'a' ");
    a()->hold = false;
    rig_ask(r, c, "GET k");
    rig_expect_get(r, c, "k");
}

#define LOCKED POOL "  redis_auth: pw\n" ONE

/* What a client asks to be is not so before the server has agreed. */
static void test_refused_login_changes_nothing(void **state)
{
    (void)state;
    rig_open(r, LOCKED);
    struct sim_peer *c = rig_client(r, 0);
    a()->auth = "-ERR no\r\n";
    a()->hold = true;
    rig_ask(r, c, "HELLO 3 AUTH default pw SETNAME new");
    buf_clear(&fake_conn_now(a())->pending);
    fake_say(a(), "-ERR not now\r\n");
    EXPECT(r, c, "-ERR not now\r\n");
    a()->hold = false;
    a()->auth = NULL;
    rig_ask(r, c, "GET k");
    EXPECT(r, c, "-NOAUTH Authentication required.\r\n");
    rig_ask(r, c, "AUTH pw");
    rig_ask(r, c, "CLIENT GETNAME");
    EXPECT(r, c, "+OK\r\n$-1\r\n");
}

/* Only the form of AUTH that twemproxy has takes a client's right away when the password is wrong, as there; the others
 * leave it, as a server does. */
static void test_wrong_password(void **state)
{
    (void)state;
    rig_open(r, LOCKED);
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "AUTH pw");
    rig_ask(r, c, "AUTH default no");
    rig_ask(r, c, "HELLO 3 AUTH default no");
    sim_peer_drop(c, sim_peer_received(c).len);
    rig_ask(r, c, "GET k");
    rig_expect_get(r, c, "k");
    rig_ask(r, c, "AUTH no");
    rig_ask(r, c, "GET k");
    EXPECT(r, c, "-ERR invalid password\r\n-NOAUTH Authentication required.\r\n");
}

/* RESET ends what the client has begun, its connection of its own included, and waits for what it asked before. */
static void test_reset_ends_all(void **state)
{
    (void)state;
    rig_open(r, LOCKED);
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "AUTH pw");
    rig_ask(r, c, "WATCH k");
    rig_ask(r, c, "MULTI");
    rig_ask(r, c, "SET k v");
    EXPECT(r, c, "+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n");
    rig_ask(r, c, "RESET");
    EXPECT(r, c, "+RESET\r\n");
    assert_null(fake_conn_now(a()));
    rig_ask(r, c, "GET k");
    EXPECT(r, c, "-NOAUTH Authentication required.\r\n");
    rig_ask(r, c, "AUTH pw");
    rig_ask(r, c, "EXEC");
    EXPECT(r, c, "+OK\r\n-ERR EXEC without MULTI\r\n");
    a()->hold = true;
    rig_ask(r, c, "SELECT 3");
    fake_send_all(a());
    rig_ask(r, c, "RESET");
    rig_ask(r, c, "PING");
    EXPECT(r, c, "");
    fake_send_all(a());
    fake_send_all(a());
    EXPECT(r, c, "+OK\r\n+RESET\r\n-NOAUTH Authentication required.\r\n");
}

/* A client that tries one database after the other holds none but the last: the others make room at once. */
static void test_idle_logins_make_room(void **state)
{
    (void)state;
    rig_open(r, POOL ONE);
    struct sim_peer *c = rig_client(r, 0);
    struct buf wire = {0};
    for (int db = 1; db <= PROFILES_MAX * 3; db++) {
        char line[32];
        snprintf(line, sizeof(line), "SELECT %d\r\n", db);
        assert_true(buf_append(&wire, span_str(line)));
    }
    rig_send(r, c, buf_span(&wire));
    buf_free(&wire);
    for (int db = 1; db <= PROFILES_MAX * 3; db++) {
        struct span got = sim_peer_received(c);
        assert_true(got.len >= 5 && memcmp(got.ptr, "+OK\r\n", 5) == 0);
        sim_peer_drop(c, 5);
    }
    assert_in_range(r->proxy->fronts[0].up->profile_count, 2, PROFILES_MAX + 2);
}

/* Clients that hold all logins that there may be keep nobody from another version of the protocol. */
static void test_own_login_is_never_refused(void **state)
{
    (void)state;
    rig_open(r, POOL ONE);
    for (int db = 1; db < PROFILES_MAX + 3; db++) {
        struct sim_peer *c = rig_client(r, 0);
        rig_ask(r, c, "SELECT %d", db);
        if (db <= PROFILES_MAX)
            EXPECT(r, c, "+OK\r\n");
        else
            EXPECT(r, c,
                   "-ERR too many different users and databases are in use (pool 'p', 64)\r\n");
    }
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "HELLO 3");
    EXPECT(r, c, "+OK\r\n");
    rig_ask(r, c, "RESET");
    EXPECT(r, c, "+RESET\r\n");
}

/* A server takes a connection and says nothing to what comes before the requests. */
static void test_handshake_is_never_answered(void **state)
{
    (void)state;
    rig_open(r, POOL "  preconnect: true\n  redis_auth: pw\n  timeout: 400\n" ONE);
    a()->hold = true;
    proxy_preconnect(r->proxy);
    sim_settle(r->loop);
    assert_non_null(fake_conn_now(a()));
    sim_advance(r->loop, 300);
    assert_non_null(fake_conn_now(a()));
    sim_advance(r->loop, 120);
    assert_null(fake_conn_now(a()));
    assert_int_equal(SERVER_STAT(r, a(), server_timedout), 1);
    /* Nor does who would wait for ever wait for that. */
    struct sim_peer *c = rig_client(r, 0);
    rig_ask(r, c, "AUTH pw");
    rig_ask(r, c, "BLPOP k 0");
    sim_advance(r->loop, 420);
    EXPECT(r, c, "+OK\r\n-ERR Connection timed out (server 'a', 400 ms)\r\n");
    /* What came later has its own time, on a fresh connection. */
    rig_ask(r, c, "SET k v");
    sim_advance(r->loop, 200);
    rig_ask(r, c, "GET k");
    sim_advance(r->loop, 210);
    EXPECT(r, c, "-ERR Connection timed out (server 'a', 400 ms)\r\n");
    a()->hold = false;
    fake_send_all(a());
    rig_expect_get(r, c, "k");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_long_error_refuses_a_login, close_rig),
        cmocka_unit_test_teardown(test_refused_login_changes_nothing, close_rig),
        cmocka_unit_test_teardown(test_wrong_password, close_rig),
        cmocka_unit_test_teardown(test_reset_ends_all, close_rig),
        cmocka_unit_test_teardown(test_idle_logins_make_room, close_rig),
        cmocka_unit_test_teardown(test_own_login_is_never_refused, close_rig),
        cmocka_unit_test_teardown(test_handshake_is_never_answered, close_rig),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
