/* SPDX-License-Identifier: BSD-3-Clause */
#include "redis_ask.h"

static const struct proto_settings plain = {.db = 3, .servers = 2};

static bool number(const struct proto_facts *f, uint32_t i, struct proto_number *out)
{
    (void)f;
    *out = (struct proto_number){"client_connections", 5};
    return i == 0;
}

static bool server_number(const struct proto_facts *f, uint32_t server, uint32_t i,
                          struct proto_number *out)
{
    (void)f;
    *out = (struct proto_number){"requests", 10 + server};
    return i == 0;
}

static void server(const struct proto_facts *f, uint32_t i, struct proto_server_fact *out)
{
    (void)f;
    *out = (struct proto_server_fact){i == 0 ? SPAN("one") : SPAN("two"), SPAN("h:1")};
}

static const char *setting(const struct proto_facts *f, uint32_t i, char *value, size_t size)
{
    (void)f;
    snprintf(value, size, "%s", "400");
    return i == 0 ? "timeout" : NULL;
}

static uint64_t memory(void)
{
    return 1536;
}

static const struct proto_facts facts = {
    .client_id = 7,
    .client = {"1.2.3.4:5", 9},
    .here = {"6.7.8.9:10", 10},
    .client_fd = 8,
    .now_us = 1700000000000001,
    .server_count = 2,
    .pool = {"alpha", 5},
    .version = {"1.0", 3},
    .about = &(const struct proto_about){"8.0.1", "server_name:valkey\r\n"},
    .number = number,
    .server_number = server_number,
    .server = server,
    .setting = setting,
    .memory = memory,
};

/* One session that asks again and again. */
struct talk {
    struct proto_session session;
    struct args args;
    struct buf scratch;
    struct buf reply;
    bool good; /* what comes of a login */
};

static void begin(struct talk *t, const struct proto_settings *settings)
{
    *t = (struct talk){.session = {.settings = settings}};
}

static void end(struct talk *t)
{
    proto_redis.session_end(&t->session);
    args_free(&t->args);
    buf_free(&t->scratch);
    buf_free(&t->reply);
}

/* The answer to one line. */
static struct span ask(struct talk *t, const char *line)
{
    struct request_view v;
    args_clear(&t->args);
    struct request_parser p = {.args = &t->args};
    assert_int_equal(proto_redis.parse_request(&p, &t->session, span_str(line), &t->scratch, &v),
                     PARSE_DONE);
    if (v.kind == REQUEST_LOCAL)
        return v.reply;
    if (v.kind == REQUEST_LOGIN) {
        assert_true(proto_redis.login_begin(&t->session, &v));
        proto_redis.login_end(&t->session, t->good);
        return v.reply;
    }
    assert_int_equal(v.kind, REQUEST_TELL);
    buf_clear(&t->reply);
    assert_true(proto_redis.tell(&v, &t->session, &facts, &t->reply));
    return buf_span(&t->reply);
}

static void expect(struct talk *t, const char *line, const char *want)
{
    struct span got = ask(t, line);
    if (!span_eq(got, span_str(want)))
        print_message("%s: %.*s\n", line, (int)got.len, got.ptr);
    assert_true(span_eq(got, span_str(want)));
}

static void expect_within(struct talk *t, const char *line, const char *want)
{
    struct span got = ask(t, line);
    if (memmem(got.ptr, got.len, want, strlen(want)) == NULL)
        print_message("%s: %.*s\n", line, (int)got.len, got.ptr);
    assert_non_null(memmem(got.ptr, got.len, want, strlen(want)));
}

static void test_identity(void **state)
{
    (void)state;
    struct talk t;
    begin(&t, &plain);
    expect(&t, "CLIENT ID\n", ":7\r\n");
    expect(&t, "CLIENT GETNAME\n", "$-1\r\n");
    expect(&t, "CLIENT SETINFO lib-ver 1.2\n", "+OK\r\n");
    expect(&t, "CLIENT SETNAME long-name\n", "+OK\r\n");
    expect(&t, "CLIENT SETINFO LIB-NAME lib\n", "+OK\r\n");
    expect(&t, "CLIENT GETNAME\n", "$9\r\nlong-name\r\n");
    expect_within(&t, "CLIENT INFO\n", "id=7 addr=1.2.3.4:5 laddr=6.7.8.9:10 fd=8 name=long-name ");
    expect_within(&t, "CLIENT LIST\n",
                  " cmd=client|list user=default redir=-1 resp=2 "
                  "lib-name=lib lib-ver=1.2\n\r\n");
    expect_within(&t, "CLIENT LIST TYPE Normal\n", " name=long-name ");
    expect_within(&t, "CLIENT LIST ID 1 7\n", " name=long-name ");
    expect(&t, "CLIENT LIST TYPE pubsub\n", "$0\r\n\r\n");
    expect(&t, "CLIENT LIST ID 1 -7\n", "$0\r\n\r\n");
    expect(&t, "CLIENT LIST TYPE what\n", "-ERR Unknown client type 'what'\r\n");
    expect(&t, "CLIENT LIST ID 7 x\n", "-ERR Invalid client ID\r\n");
    expect(&t, "CLIENT LIST ID\n", "-ERR syntax error\r\n");
    expect(&t, "CLIENT LIST TYPE normal x\n", "-ERR syntax error\r\n");
    expect_within(&t, "CLIENT INFO\n", " db=3 ");
    expect(&t, "CLIENT SETINFO what x\n", "-ERR Unrecognized option 'what'\r\n");
    expect(&t, "CLIENT SETINFO lib-name \"a b\"\n",
           "-ERR lib-name cannot contain spaces, newlines or special characters.\r\n");
    expect(&t, "CLIENT SETNAME \"\"\n", "+OK\r\n");
    expect(&t, "CLIENT GETNAME\n", "$-1\r\n");
    /* A name that comes with a login comes to nothing with it. */
    expect(&t, "CLIENT SETNAME old\n", "+OK\r\n");
    expect(&t, "HELLO 3 SETNAME new\n", "");
    expect(&t, "CLIENT GETNAME\n", "$3\r\nold\r\n");
    t.good = true;
    expect(&t, "HELLO 3 SETNAME new\n", "");
    expect(&t, "CLIENT GETNAME\n", "$3\r\nnew\r\n");
    expect_within(&t, "CLIENT INFO\n", " lib-name=lib ");
    expect(&t, "HELLO 3\n", "");
    expect(&t, "CLIENT GETNAME\n", "$3\r\nnew\r\n");
    expect(&t, "HELLO 3 SETNAME \"\"\n", "");
    expect(&t, "CLIENT GETNAME\n", "$-1\r\n");
    expect(&t, "RESET\n", "+RESET\r\n");
    expect_within(&t, "CLIENT INFO\n", " lib-name= lib-ver=\n");
    end(&t);
}

static void test_what_can_only_be_so(void **state)
{
    (void)state;
    struct talk t;
    begin(&t, &plain);
    expect(&t, "CLIENT NO-EVICT ON\n", "+OK\r\n");
    expect(&t, "CLIENT NO-EVICT x\n", "-ERR syntax error\r\n");
    expect(&t, "CLIENT NO-TOUCH off\n", "+OK\r\n");
    expect_within(&t, "CLIENT NO-TOUCH on\n", "-ERR this is not supported by this proxy");
    expect(&t, "CLIENT REPLY ON\n", "+OK\r\n");
    expect(&t, "CLIENT REPLY maybe\n", "-ERR syntax error\r\n");
    expect(&t, "CLIENT REPLY SKIP\n", "");
    assert_int_equal(t.session.mute, MUTE_SKIP);
    expect(&t, "CLIENT REPLY OFF\n", "");
    expect(&t, "CLIENT REPLY SKIP\n", "");
    assert_int_equal(t.session.mute, MUTE_ALL);
    expect(&t, "CLIENT REPLY ON\n", "+OK\r\n");
    assert_int_equal(t.session.mute, MUTE_NONE);
    expect(&t, "CLIENT REPLY x\n", "-ERR syntax error\r\n");
    expect(&t, "CLIENT TRACKING OFF\n", "+OK\r\n");
    expect_within(&t, "CLIENT TRACKING ON\n", "-ERR this is not supported by this proxy");
    expect(&t, "CLIENT UNBLOCK 5\n", ":0\r\n");
    expect(&t, "CLIENT UNBLOCK x\n", "-ERR value is not an integer or out of range\r\n");
    expect_within(&t, "CLIENT UNBLOCK 5 why\n", "-ERR CLIENT UNBLOCK reason");
    expect(&t, "CLIENT GETREDIR\n", ":-1\r\n");
    expect_within(&t, "CLIENT CACHING YES\n", "-ERR CLIENT CACHING");
    expect_within(&t, "CLIENT TRACKINGINFO\n", "*6\r\n$5\r\nflags\r\n*1\r\n$3\r\noff\r\n");
    expect(&t, "CLIENT UNPAUSE\n", "+OK\r\n");
    expect(&t, "CLIENT CAPA redirect\n", "+OK\r\n");
    expect(&t, "ROLE\n", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    expect(&t, "ASKING\n", "-ERR This instance has cluster support disabled\r\n");
    end(&t);
}

/* Of one who speaks RESP3, in database 5, as somebody. */
/* What servers say when they are asked what they are. */
static void test_about(void **state)
{
    (void)state;
    struct proto_about a = {"1", ""};
    static const char redis[] =
        "$60\r\n# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n";
    static const char valkey[] =
        "=9\r\ntxt:# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\n"
        "valkey_version:8.1.0\r\nvalkey_release_stage:ga\r\nos:Linux";
    assert_true(proto_redis.about_read(span_str(redis), &a));
    assert_string_equal(a.version, "7.0.15");
    assert_string_equal(a.lines, "");
    assert_true(proto_redis.about_read(span_str(valkey), &a));
    assert_string_equal(a.version, "7.2.4");
    assert_string_equal(
        a.lines, "server_name:valkey\r\nvalkey_version:8.1.0\r\nvalkey_release_stage:ga\r\n");
    /* Nothing of these is taken. */
    assert_false(proto_redis.about_read(SPAN("-NOPERM no\r\n"), &a));
    assert_false(proto_redis.about_read(SPAN(""), &a));
    assert_false(proto_redis.about_read(SPAN("redis_version:"), &a));
    assert_false(proto_redis.about_read(SPAN("redis_version:\r\n"), &a));
    assert_false(proto_redis.about_read(
        SPAN("redis_version:1234567890123456789012345678901234567890\r\n"), &a));
    assert_string_equal(a.version, "7.2.4");
}

static void test_resp3(void **state)
{
    (void)state;
    static const struct proto_login login = {.user = {"bob", 3}, .db = 5, .resp = 3};
    struct talk t;
    begin(&t, &plain);
    t.session.login = &login;
    expect(&t, "CLIENT GETNAME\n", "_\r\n");
    expect(&t, "CONFIG GET save\n", "%1\r\n$4\r\nsave\r\n$0\r\n\r\n");
    expect(&t, "INFO cluster\n", "=34\r\ntxt:# Cluster\r\ncluster_enabled:0\r\n\r\n");
    expect_within(&t, "CLIENT TRACKINGINFO\n", "%3\r\n$5\r\nflags\r\n~1\r\n$3\r\noff\r\n");
    expect_within(&t, "CLIENT INFO\n", " db=5 ");
    expect_within(&t, "CLIENT INFO\n", " user=bob redir=-1 resp=3 ");
    end(&t);
}

static void test_info_and_config(void **state)
{
    (void)state;
    struct talk t;
    begin(&t, &plain);
    expect(&t, "TIME\n", "*2\r\n$10\r\n1700000000\r\n$1\r\n1\r\n");
    expect_within(
        &t, "INFO\n",
        "# Server\r\nredis_version:8.0.1\r\nserver_name:valkey\r\nredis_mode:standalone\r\n");
    expect_within(&t, "INFO\n", "\r\n\r\n# Replication\r\nrole:master\r\n");
    expect_within(&t, "INFO everything\n", "connected_clients:5\r\n");
    expect_within(&t, "INFO memory\n", "used_memory_human:1.50K\r\n");
    expect_within(&t, "INFO Stats\n", "total_commands_processed:21\r\n");
    expect_within(&t, "INFO cpu cashew\n", "server1:name=two,address=h:1,requests=11\r\n");
    expect(&t, "INFO cluster\n", "$30\r\n# Cluster\r\ncluster_enabled:0\r\n\r\n");
    expect(&t, "INFO nothing\n", "$0\r\n\r\n");
    expect(&t, "CONFIG GET maxmemory\n", "*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n");
    expect(&t, "CONFIG GET *timeout x\n",
           "*4\r\n$7\r\ntimeout\r\n$1\r\n0\r\n$14\r\ncashew.timeout\r\n$3\r\n400\r\n");
    expect(&t, "CONFIG GET nothing\n", "*0\r\n");
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity),        cmocka_unit_test(test_what_can_only_be_so),
        cmocka_unit_test(test_info_and_config), cmocka_unit_test(test_about),
        cmocka_unit_test(test_resp3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
