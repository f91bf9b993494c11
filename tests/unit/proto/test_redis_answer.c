/* SPDX-License-Identifier: BSD-3-Clause */
#include "redis_ask.h"

#include "proto/redis/reply.h"

static const struct proto_settings plain = {.db = 0};
static const struct proto_settings db3 = {.db = 3};
static const struct proto_settings locked = {.password = {"secret", 6}};

static void test_ping_echo_quit(void **state)
{
    (void)state;
    ASK(&plain, "PING\nping hi\nPING \"\"\n",
        "local +PONG\r\n\nlocal $2\r\nhi\r\n\nlocal $0\r\n\r\n\n");
    ASK(&plain, "PING a b\n", "local -ERR wrong number of arguments for 'ping' command\r\n\n");
    ASK(&plain, "*2\r\n$4\r\nECHO\r\n$3\r\n\r\n\0\r\n", "local $3\r\n\r\n\0\r\n\n");
    ASK(&plain, "ECHO\n", "local -ERR wrong number of arguments for 'echo' command\r\n\n");
    ASK(&plain, "QUIT\nPING\n", "local close +OK\r\n\n");
    ASK(&plain, "QUIT a b\n", "local close +OK\r\n\n");
}

static void test_select(void **state)
{
    (void)state;
    ASK(&plain, "SELECT 0\n", "local +OK\r\n\n");
    ASK(&db3, "SELECT 3\n", "local +OK\r\n\n");
    /* Another database is the servers' to grant. */
    ASK(&db3, "SELECT 0\n",
        "login resp2 db0 user <> password <> *2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n\n");
    ASK(&locked, "AUTH secret\nSELECT 7\n",
        "local +OK\r\n\n"
        "login resp2 db7 user <> password <secret> *2\r\n$6\r\nSELECT\r\n$1\r\n7\r\n\n");
    ASK(&plain, "SELECT -1\n", "local -ERR DB index is out of range\r\n\n");
#define NO_DB(text)                                                                                \
    ASK(&plain, "SELECT " text "\n", "local -ERR value is not an integer or out of range\r\n\n")
    NO_DB("x");
    NO_DB("00");
    NO_DB("+0");
    NO_DB("\"\"");
    NO_DB("2147483648");
    NO_DB("99999999999999999999");
    ASK(&plain, "SELECT\n", "local -ERR wrong number of arguments for 'select' command\r\n\n");
}

#define WRONGPASS "local -WRONGPASS invalid username-password pair or user is disabled.\r\n\n"
#define NOAUTH "local -NOAUTH Authentication required.\r\n\n"

static void test_auth(void **state)
{
    (void)state;
    ASK(&plain, "AUTH x\n", "local -ERR Client sent AUTH, but no password is set\r\n\n");
    ASK(&locked, "PING\nGET a\nMGET a b\nSHUTDOWN\nECHO a\nSELECT 0\n",
        NOAUTH NOAUTH NOAUTH NOAUTH NOAUTH NOAUTH);
    ASK(&locked, "AUTH secret\nPING\n", "local +OK\r\n\nlocal +PONG\r\n\n");
    ASK(&locked, "AUTH default secret\nPING\n", "local +OK\r\n\nlocal +PONG\r\n\n");
    ASK(&locked, "AUTH secret\nAUTH wrong!\nPING\n",
        "local +OK\r\n\nlocal -ERR invalid password\r\n\n" NOAUTH);
    ASK(&locked, "AUTH secre\nPING\n", "local -ERR invalid password\r\n\n" NOAUTH);
    ASK(&locked, "AUTH secretx\nPING\n", "local -ERR invalid password\r\n\n" NOAUTH);
    ASK(&locked, "AUTH secretsecret\nPING\n", "local -ERR invalid password\r\n\n" NOAUTH);
    ASK(&locked, "AUTH \"\"\nPING\n", "local -ERR invalid password\r\n\n" NOAUTH);
    ASK(&locked, "AUTH default wrong\nPING\n", WRONGPASS NOAUTH);
    /* Of any other user only the servers know. */
    ASK(&locked, "AUTH bob secret\nPING\n",
        "login resp2 db0 user <bob> password <secret> *3\r\n$4\r\nAUTH\r\n$3\r\nbob\r\n$6\r\nsecret"
        "\r\n\n" NOAUTH);
    ASK(&plain, "AUTH default x\n",
        "login resp2 db0 user <default> password <x> *3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$1\r\nx"
        "\r\n\n");
    ASK(&locked, "AUTH\n", "local -ERR wrong number of arguments for 'auth' command\r\n\n");
    ASK(&locked, "AUTH a b c\n", "local -ERR syntax error\r\n\n");
    ASK(&locked, "QUIT\nPING\n", "local close +OK\r\n\n");
}

#define HELLO "*1\r\n$5\r\nHELLO\r\n\n"
#define HELLO2 "*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n\n"
#define HELLO3 "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n\n"

static void test_hello(void **state)
{
    (void)state;
    ASK(&plain, "HELLO\n", "login resp2 db0 user <> password <> " HELLO);
    ASK(&plain, "HELLO 2\n", "login resp2 db0 user <> password <> " HELLO2);
    ASK(&db3, "hello 3 setname me\n", "login resp3 db3 user <> password <> " HELLO3);
    ASK(&plain, "HELLO 3 SETNAME me AUTH bob pw\n",
        "login resp3 db0 user <bob> password <pw> " HELLO3);
    ASK(&plain, "HELLO 4\n", "local -NOPROTO unsupported protocol version\r\n\n");
    ASK(&plain, "HELLO x\n", "local -ERR Protocol version is not an integer or out of range\r\n\n");
    ASK(&plain, "HELLO 3 AUTH bob\n", "local -ERR Syntax error in HELLO option 'AUTH'\r\n\n");
    ASK(&plain, "HELLO 3 SETNAME\n", "local -ERR Syntax error in HELLO option 'SETNAME'\r\n\n");
    ASK(&plain, "HELLO 3 \"x\\r\\ny\"\n", "local -ERR Syntax error in HELLO option 'x  y'\r\n\n");
    ASK(&locked, "HELLO 3\n",
        "local -NOAUTH HELLO must be called with the client already authenticated, otherwise the "
        "HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select "
        "the RESP protocol version at the same time\r\n\n");
    ASK(&locked, "HELLO 3 AUTH default wrong\nPING\n", WRONGPASS NOAUTH);
    ASK(&locked, "HELLO 3 AUTH default secret\n",
        "login resp3 db0 user <> password <secret> " HELLO3);
    ASK(&locked, "AUTH secret\nHELLO 3\n",
        "local +OK\r\n\nlogin resp3 db0 user <> password <secret> " HELLO3);
    ASK(&locked, "AUTH secret\nGET a\nRESET\nPING\n",
        "local +OK\r\n\nforward <a> *2\r\n$3\r\nGET\r\n$1\r\na\r\n\n"
        "login resp2 db0 user <> password <secret> +RESET\r\n\n"
        "local -NOAUTH Authentication required.\r\n\n");
}

static void test_unknown(void **state)
{
    (void)state;
    ASK(&plain, "FOO\n", "local -ERR unknown command 'FOO', with args beginning with: \r\n\n");
    ASK(&plain, "\"\" a\n", "local -ERR unknown command '', with args beginning with: 'a' \r\n\n");
    ASK(&plain, "*3\r\n$3\r\nf\ro\r\n$3\r\na\0b\r\n$3\r\nx\ny\r\n",
        "local -ERR unknown command 'f o', with args beginning with: 'a' 'x y' \r\n\n");
#define TEN "0123456789"
#define FIFTY TEN TEN TEN TEN TEN
    ASK(&plain, "FOO " FIFTY FIFTY FIFTY " b\n",
        "local -ERR unknown command 'FOO', with args beginning with: '" FIFTY FIFTY TEN TEN
        "01234567' \r\n\n");
    ASK(&plain, "FOO " FIFTY FIFTY " " FIFTY " b\n",
        "local -ERR unknown command 'FOO', with args beginning with: '" FIFTY FIFTY "' '" TEN TEN
        "01234' \r\n\n");
    ASK(&plain, FIFTY FIFTY FIFTY "\n",
        "local -ERR unknown command '" FIFTY FIFTY TEN TEN
        "01234567', with args beginning with: \r\n\n");
    ASK(&plain, "CONFIG\n", "local -ERR wrong number of arguments for 'config' command\r\n\n");
    ASK(&plain, "OBJECT FOO\nobject\n",
        "local -ERR unknown subcommand 'FOO'. Try OBJECT HELP.\r\n\n"
        "local -ERR wrong number of arguments for 'object' command\r\n\n");
    ASK(&plain, "*2\r\n$6\r\nobject\r\n$4\r\na\n\0b\r\n",
        "local -ERR unknown subcommand 'a '. Try OBJECT HELP.\r\n\n");
    ASK(&plain, "object|encoding a\n",
        "local -ERR unknown command 'object|encoding', with args beginning with: 'a' \r\n\n");
}

static void test_arity_and_refusal(void **state)
{
    (void)state;
    ASK(&plain, "GET\nGET a b\nSET a\nMSET a 1 b\nMSETNX a\n",
        "local -ERR wrong number of arguments for 'get' command\r\n\n"
        "local -ERR wrong number of arguments for 'get' command\r\n\n"
        "local -ERR wrong number of arguments for 'set' command\r\n\n"
        "local -ERR wrong number of arguments for 'mset' command\r\n\n"
        "local -ERR wrong number of arguments for 'msetnx' command\r\n\n");
    ASK(&plain, "OBJECT ENCODING\n",
        "local -ERR wrong number of arguments for 'object|encoding' command\r\n\n");
    ASK(&plain, "SHUTDOWN NOSAVE\nMODULE LOAD x\nREPLICAOF\n",
        "local -ERR command 'shutdown' is not supported by this proxy\r\n\n"
        "local -ERR command 'module|load' is not supported by this proxy\r\n\n"
        "local -ERR command 'replicaof' is not supported by this proxy\r\n\n");
}

static void test_own_errors(void **state)
{
    (void)state;
    struct buf out = {0};
    assert_true(proto_redis.error(&out, SPAN("Host is down\r\n(server 'a')")));
    assert_true(span_eq(buf_span(&out), SPAN("-ERR Host is down  (server 'a')\r\n")));
    buf_clear(&out);
    assert_true(proto_redis.error_cross(&out, NULL));
    struct span told = buf_span(&out);
    struct span begin = SPAN("-CROSSSLOT Keys in request don't hash to the same slot");
    assert_true(span_eq(span_of(told.ptr, begin.len), begin));
    assert_ptr_equal(memchr(told.ptr, '\r', told.len), told.ptr + told.len - 2);
    assert_non_null(memmem(told.ptr, told.len, "hash_tag", 8));
    buf_free(&out);
}

static void expect_handshake(struct proto_login login, uint32_t count, struct span bytes)
{
    struct buf out = {0};
    uint8_t expect = 77;
    assert_int_equal(proto_redis.handshake(&login, &out, &expect), count);
    assert_int_equal(expect, login.resp == 3 ? REPLY_RESP3 : REPLY_RESP2);
    assert_true(span_eq(buf_span(&out), bytes));
    buf_free(&out);
}

static void test_handshake(void **state)
{
    (void)state;
    struct proto_login login = {.resp = 2};
    expect_handshake(login, 0, SPAN(""));
    login.password = SPAN("secret");
    expect_handshake(login, 1, SPAN("*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n"));
    login.db = 12;
    expect_handshake(
        login, 2, SPAN("*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*2\r\n$6\r\nSELECT\r\n$2\r\n12\r\n"));
    login.password = SPAN("");
    expect_handshake(login, 1, SPAN("*2\r\n$6\r\nSELECT\r\n$2\r\n12\r\n"));
    login = (struct proto_login){.user = SPAN("bob"), .resp = 2};
    expect_handshake(login, 1, SPAN("*3\r\n$4\r\nAUTH\r\n$3\r\nbob\r\n$0\r\n\r\n"));
    login = (struct proto_login){.resp = 3};
    expect_handshake(login, 1, SPAN("*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"));
    login.password = SPAN("secret");
    login.db = 3;
    expect_handshake(login, 2,
                     SPAN("*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n"
                          "$6\r\nsecret\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"));
    assert_true(proto_redis.handshake_ok(0, SPAN("%7\r\n$6\r\nserver")));
    assert_false(proto_redis.handshake_ok(1, SPAN("%7\r\n$6\r\nserver")));
    assert_true(proto_redis.handshake_ok(0, SPAN("+OK\r\n")));
    assert_false(proto_redis.handshake_ok(0, SPAN("+O")));
    assert_false(proto_redis.handshake_ok(0, SPAN("")));
    assert_false(proto_redis.handshake_ok(1, SPAN("-ERR invalid password\r\n")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ping_echo_quit), cmocka_unit_test(test_select),
        cmocka_unit_test(test_auth),           cmocka_unit_test(test_hello),
        cmocka_unit_test(test_unknown),        cmocka_unit_test(test_arity_and_refusal),
        cmocka_unit_test(test_own_errors),     cmocka_unit_test(test_handshake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
