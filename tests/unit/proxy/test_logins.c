/* SPDX-License-Identifier: BSD-3-Clause */
/* Odd moments of clients that ask for another user, database or version of the protocol. */
#include "one_rig.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_long_error_refuses_a_login, close_rig),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
