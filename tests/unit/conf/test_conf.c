/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit test_conf reads configurations, good and bad. */
#include "conf/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/key.h"

#define POOL(keys) "p:\n  listen: 127.0.0.1:22121\n" keys "  servers:\n   - 127.0.0.1:6379:1\n"
#define SERVER(text) "p:\n  listen: 127.0.0.1:22121\n  servers:\n   - " text "\n"
#define LISTEN(text) "p:\n  listen: " text "\n  servers:\n   - 127.0.0.1:6379:1\n"
#define SERVERS_1 "  servers:\n   - a:1:1\n"

/* Reads a text; the errors are in `*errors`, to be freed. */
static struct conf *parse(const char *text, size_t len, char **errors)
{
    size_t size;
    FILE *out = open_memstream(errors, &size);
    struct conf *c;

    assert_non_null(out);
    c = conf_parse("f", text, len, out);
    fclose(out);
    return c;
}

/* Reads a text that must be good. */
static struct conf *good(const char *text)
{
    char *errors;
    struct conf *c = parse(text, strlen(text), &errors);

    if (c == NULL || errors[0] != '\0')
        fail_msg("%s\nis refused: %s", text, errors);
    free(errors);
    return c;
}

static void test_defaults(void **state)
{
    struct conf *c = good(POOL(""));
    const struct conf_pool *p = &c->pools[0];

    (void)state;
    assert_int_equal(c->pool_count, 1);
    assert_string_equal(c->file, "f");
    assert_string_equal(p->name, "p");
    assert_int_equal(p->line, 1);
    assert_string_equal(p->listen.text, "127.0.0.1:22121");
    assert_string_equal(p->listen.host, "127.0.0.1");
    assert_null(p->listen.path);
    assert_int_equal(p->listen.port, 22121);
    assert_int_equal(p->listen.mode, -1);
    assert_int_equal(p->hash, 6);
    assert_int_equal(p->distribution, 0);
    assert_null(p->hash_tag);
    assert_null(p->redis_auth);
    assert_false(p->redis || p->tcpkeepalive || p->reuseport || p->preconnect ||
                 p->auto_eject_hosts);
    assert_int_equal(p->timeout, 0);
    assert_int_equal(p->backlog, 512);
    assert_int_equal(p->client_connections, 0);
    assert_int_equal(p->redis_db, 0);
    assert_int_equal(p->server_connections, 1);
    assert_int_equal(p->server_retry_timeout, 30000);
    assert_int_equal(p->server_failure_limit, 2);
    assert_int_equal(p->server_count, 1);
    assert_int_equal(c->global.given, 0);
    assert_int_equal(c->global.workers, 1);
    assert_string_equal(c->global.io, "epoll");
    assert_string_equal(c->global.stats_addr, "0.0.0.0");
    assert_int_equal(c->global.stats_port, 22222);
    assert_int_equal(c->global.verbosity, 5);
    assert_null(c->global.output);
    conf_free(c);
}

static void test_every_key(void **state)
{
    struct conf *c = good("p:\n"
                          "  servers: [a:1:1]\n"
                          "  redis_db: 3\n"
                          "  redis_auth: \"se#c ret\"\n"
                          "  redis: true\n"
                          "  listen: /tmp/s 0700\n"
                          "  hash: jenkins\n"
                          "  distribution: random\n"
                          "  hash_tag: \"{}\"\n"
                          "  timeout: 2147483647\n"
                          "  backlog: 007\n"
                          "  client_connections: '10'\n"
                          "  client_output_soft: 512K\n"
                          "  client_output_limit: 1g\n"
                          "  max_request_size: 3m\n"
                          "  server_connections: 2\n"
                          "  server_retry_timeout: 5\n"
                          "  server_failure_limit: 0\n"
                          "  tcpkeepalive: true\n"
                          "  reuseport: true\n"
                          "  preconnect: true\n"
                          "  auto_eject_hosts: true\n");
    const struct conf_pool *p = &c->pools[0];

    (void)state;
    assert_int_equal(p->redis_db, 3);
    assert_string_equal(p->redis_auth, "se#c ret");
    assert_string_equal(p->listen.path, "/tmp/s");
    assert_string_equal(p->listen.text, "/tmp/s");
    assert_null(p->listen.host);
    assert_int_equal(p->listen.mode, 0700);
    assert_int_equal(p->hash, 11);
    assert_int_equal(p->distribution, 2);
    assert_string_equal(p->hash_tag, "{}");
    assert_int_equal(p->timeout, 2147483647);
    assert_int_equal(p->backlog, 7);
    assert_int_equal(p->client_connections, 10);
    assert_int_equal(p->client_output_soft, 512 << 10);
    assert_int_equal(p->client_output_limit, 1 << 30);
    assert_int_equal(p->max_request_size, 3 << 20);
    assert_int_equal(p->server_connections, 2);
    assert_int_equal(p->server_retry_timeout, 5);
    assert_int_equal(p->server_failure_limit, 0);
    assert_true(p->redis && p->tcpkeepalive && p->reuseport && p->preconnect &&
                p->auto_eject_hosts);
    conf_free(c);
}

struct server_case {
    const char *text;
    const char *name;
    const char *at;
    const char *host; /* or the path */
    int port;         /* 0: a unix socket */
    uint32_t weight;
};

static const struct server_case server_cases[] = {
    {"127.0.0.1:6379:1", "127.0.0.1:6379", "127.0.0.1:6379", "127.0.0.1", 6379, 1},
    {"127.0.0.1:6379:5 s1", "s1", "127.0.0.1:6379", "127.0.0.1", 6379, 5},
    {"127.0.0.1:11211:1", "127.0.0.1", "127.0.0.1:11211", "127.0.0.1", 11211, 1},
    {"h:11211:1 n", "n", "h:11211", "h", 11211, 1},
    {"h:011211:01", "h", "h:011211", "h", 11211, 1},
    {"h:1:2147483647", "h:1", "h:1", "h", 1, 2147483647},
    {"h:1:1 a:2:3", "a:2:3", "h:1", "h", 1, 1},
    {"/tmp/s:3", "/tmp/s:", "/tmp/s", "/tmp/s", 0, 3},
    {"/tmp/s:3 n", "n", "/tmp/s", "/tmp/s", 0, 3},
    {"/tmp/a b:c:3 n", "n", "/tmp/a b:c", "/tmp/a b:c", 0, 3},
    {"/tmp/s:1 /x:2", "/x:2", "/tmp/s", "/tmp/s", 0, 1},
    {"::1:6379:1", "::1:6379", "::1:6379", "::1", 6379, 1},
    {"::1:11211:1", "::1", "::1:11211", "::1", 11211, 1},
    {"\"[::1]:6379:1\"", "[::1]:6379", "[::1]:6379", "::1", 6379, 1},
    {"\"[fe80::1%lo]:1:1 n\"", "n", "[fe80::1%lo]:1", "fe80::1%lo", 1, 1},
};

static void test_servers(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(server_cases); i++) {
        const struct server_case *want = &server_cases[i];
        const struct conf_server *got;
        char text[256];
        struct conf *c;

        snprintf(text, sizeof(text), SERVER("%s"), want->text);
        c = good(text);
        got = &c->pools[0].servers[0];
        assert_string_equal(got->name, want->name);
        assert_string_equal(got->at.text, want->at);
        assert_string_equal(want->port == 0 ? got->at.path : got->at.host, want->host);
        assert_null(want->port == 0 ? got->at.host : got->at.path);
        assert_int_equal(got->at.port, want->port);
        assert_int_equal(got->weight, want->weight);
        conf_free(c);
    }
}

static void test_listen_forms(void **state)
{
    static const struct {
        const char *text;
        const char *at;
        const char *host;
        const char *path;
        int mode;
    } cases[] = {
        {"localhost:1", "localhost:1", "localhost", NULL, -1},
        {"::1:65535", "::1:65535", "::1", NULL, -1},
        {"\"[::1]:00022\"", "[::1]:00022", "::1", NULL, -1},
        {"/tmp/s", "/tmp/s", NULL, "/tmp/s", -1},
        {"/tmp/s 0", "/tmp/s", NULL, "/tmp/s", -1},
        {"/tmp/s 777", "/tmp/s", NULL, "/tmp/s", 0777},
        {"/tmp/s  0600", "/tmp/s", NULL, "/tmp/s", 0600},
        {"'/tmp/s 0600 '", "/tmp/s", NULL, "/tmp/s", 0600},
        {"/tmp/a b 0644", "/tmp/a b", NULL, "/tmp/a b", 0644},
        {"/tmp/s:22", "/tmp/s:22", NULL, "/tmp/s:22", -1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct conf_endpoint *got;
        char text[256];
        struct conf *c;

        snprintf(text, sizeof(text), LISTEN("%s"), cases[i].text);
        c = good(text);
        got = &c->pools[0].listen;
        assert_string_equal(got->text, cases[i].at);
        if (cases[i].host != NULL)
            assert_string_equal(got->host, cases[i].host);
        else
            assert_string_equal(got->path, cases[i].path);
        assert_int_equal(got->mode, cases[i].mode);
        conf_free(c);
    }
}

static void test_order(void **state)
{
    struct conf *c =
        good("zz: {listen: a:1, servers: [b3:1:1 zz, x:1:1 b1, y:1:1 node-c, z:1:1 a]}\n"
             "aaa: {listen: a:2, servers: [a:1:1]}\n"
             "b: {listen: a:3, servers: [a:1:1]}\n"
             "\"\\xe9\": {listen: a:4, servers: [a:1:1]}\n");
    static const char *const servers[] = {"a", "b1", "zz", "node-c"};

    (void)state;
    assert_string_equal(c->pools[0].name, "b");
    assert_string_equal(c->pools[1].name, "zz");
    /* Bytes are unsigned, whatever char is. */
    assert_string_equal(c->pools[2].name, "\xc3\xa9");
    assert_string_equal(c->pools[3].name, "aaa");
    for (size_t i = 0; i < ARRAY_LEN(servers); i++)
        assert_string_equal(c->pools[1].servers[i].name, servers[i]);
    conf_free(c);
}

static void test_global(void **state)
{
    struct conf *c = good("global:\n  workers: auto\n  io: auto\n  output: /l\n  verbosity: 11\n"
                          "  pid_file: /p\n  stats_addr: 127.0.0.1\n  stats_port: 1\n"
                          "  stats_interval: 0\n  daemonize: true\n  user: u\n  group: g\n"
                          "  shutdown_timeout: 5\n  memory_limit: 64m\n" POOL(""));

    (void)state;
    assert_int_equal(c->pool_count, 1);
    assert_int_equal(c->global.given, (1u << GLOBAL_KEYS) - 1);
    assert_int_equal(c->global.workers, 0);
    assert_string_equal(c->global.io, "auto");
    assert_string_equal(c->global.output, "/l");
    assert_string_equal(c->global.pid_file, "/p");
    assert_string_equal(c->global.user, "u");
    assert_string_equal(c->global.group, "g");
    assert_int_equal(c->global.shutdown_timeout, 5);
    assert_int_equal(c->global.memory_limit, 64 << 20);
    assert_true(c->global.daemonize);
    conf_free(c);

    /* With servers it is a pool that happens to have this name. */
    c = good("global: {listen: a:1, servers: [a:1:1]}\n");
    assert_string_equal(c->pools[0].name, "global");
    assert_int_equal(c->global.given, 0);
    conf_free(c);
}

static void test_global_merge(void **state)
{
    struct conf *c = good("global: {workers: 4, verbosity: 3, output: /file}\n" POOL(""));
    struct conf_global set;

    (void)state;
    assert_true(conf_global_init(&set));
    set.workers = 2;
    set.given = 1u << GLOBAL_workers;
    assert_true(conf_global_merge(&set, &c->global));
    assert_int_equal(set.workers, 2);
    assert_int_equal(set.verbosity, 3);
    assert_string_equal(set.output, "/file");
    assert_int_equal(set.stats_port, 22222);
    conf_global_free(&set);
    conf_free(c);
}

static void test_ordinary_yaml(void **state)
{
    static const char *const texts[] = {
        "---\n" POOL(""),
        "%YAML 1.2\n---\n" POOL("") "...\n",
        "\xef\xbb\xbf" POOL(""),
        "# one\np: # two\n\n  # three\n  listen: 127.0.0.1:22121 # four\n\n  servers: # five\n"
        "  # six\n  - 127.0.0.1:6379:1 # seven\n# eight",
        "p:\r\n  listen: 127.0.0.1:22121\r\n  servers:\r\n   - 127.0.0.1:6379:1\r\n",
        "p: {listen: 127.0.0.1:22121, servers: [127.0.0.1:6379:1]}",
        "{\"p\": {\"listen\": \"127.0.0.1:22121\", \"servers\": [\"127.0.0.1:6379:1\"]}}",
        "'p':\n  \"listen\": '127.0.0.1:22121'\n  ? servers\n  : - 127.0.0.1:6379:1\n",
        "p:\n  listen: &at 127.0.0.1:22121\n  servers: [127.0.0.1:6379:1]\n"
        "  redis: true\n  redis_auth: *at\n",
        POOL("  timeout:\t400\t\n"),
        POOL("  timeout: !!int 400\n"),
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct conf *c = good(texts[i]);

        assert_string_equal(c->pools[0].name, "p");
        assert_string_equal(c->pools[0].listen.text, "127.0.0.1:22121");
        assert_string_equal(c->pools[0].servers[0].name, "127.0.0.1:6379");
        conf_free(c);
    }
}

static void test_merge_key(void **state)
{
    struct conf *c = good("a: &a {listen: h:1, timeout: 7, servers: [x:1:1]}\n"
                          "b: &b\n  <<: *a\n  listen: h:2\n"
                          "c:\n  timeout: 9\n  <<: *b\n  listen: h:3\n");

    (void)state;
    assert_int_equal(c->pools[1].timeout, 7);
    assert_string_equal(c->pools[1].listen.text, "h:2");
    assert_int_equal(c->pools[2].timeout, 9);
    assert_string_equal(c->pools[2].listen.text, "h:3");
    assert_string_equal(c->pools[2].servers[0].name, "x:1");
    conf_free(c);
}

static const struct {
    const char *text;
    const char *error; /* all that is written must begin with it */
} bad_cases[] = {
    /* keys */
    {POOL("  listn: 1\n"), "f:3:3: error: 'listn' is not a key of a pool (did you mean 'listen'? "
                           "allowed: listen, servers, redis, "},
    {POOL("  zzzzzz: 1\n"), "f:3:3: error: 'zzzzzz' is not a key of a pool (allowed: listen, "},
    {POOL("  Timeout: 1\n"),
     "f:3:3: error: 'Timeout' is not a key of a pool (did you mean 'timeout'?"},
    {POOL("  timeout: 1\n  redis: true\n  timeout: 2\n"),
     "f:5:3: error: key 'timeout' stands twice (first in line 3)\n"},
    {POOL("  [a]: 1\n"), "f:3:4: error: '' is not a key of a pool"},
    {POOL("  \"a\\nb\\x1b\": 1\n"), "f:3:3: error: 'a\\x0ab\\x1b' is not a key of a pool"},
    /* names */
    {POOL("  distribution: ketma\n"), "f:3:17: error: 'ketma' is not a distribution (did you mean "
                                      "'ketama'? allowed: ketama, modula, random)\n"},
    {POOL("  hash: fnv1a64\n"), "f:3:9: error: 'fnv1a64' is not a hash (did you mean 'fnv1a_64'? "
                                "allowed: one_at_a_time, md5, crc16, crc32, crc32a, fnv1_64, "
                                "fnv1a_64, fnv1_32, fnv1a_32, hsieh, murmur, jenkins)\n"},
    {POOL("  hash: fvn\n"), "f:3:9: error: 'fvn' is not a hash (did you mean 'fnv1_64'? "},
    {POOL("  hash: MD5\n"), "f:3:9: error: 'MD5' is not a hash (allowed: "},
    {POOL("  redis: yes\n"), "f:3:10: error: 'yes' is not true or false (allowed: true, false)\n"},
    {POOL("  redis: ture\n"), "f:3:10: error: 'ture' is not true or false (did you mean 'true'?"},
    {POOL("  redis: True\n"), "f:3:10: error: 'True' is not true or false (did you mean 'true'?"},
    /* numbers */
    {POOL("  timeout: 4s\n"),
     "f:3:12: error: '4s' is not a number for 'timeout' (allowed: 0 to 2147483647 ms)\n"},
    {POOL("  timeout: -1\n"), "f:3:12: error: '-1' is not a number for 'timeout'"},
    {POOL("  timeout: +1\n"), "f:3:12: error: '+1' is not a number for 'timeout'"},
    {POOL("  timeout: 1.5\n"), "f:3:12: error: '1.5' is not a number for 'timeout'"},
    {POOL("  timeout: 0x10\n"), "f:3:12: error: '0x10' is not a number for 'timeout'"},
    {POOL("  timeout: 2147483648\n"), "f:3:12: error: '2147483648' is out of range for 'timeout'"},
    {POOL("  timeout: 99999999999999999999999999\n"),
     "f:3:12: error: '99999999999999999999999999' is out of range for 'timeout'"},
    {POOL("  server_connections: 0\n"), "f:3:23: error: '0' is out of range for "
                                        "'server_connections' (allowed: 1 to 2147483647 "
                                        "connections)\n"},
    /* sizes */
    {POOL("  max_request_size: 2g\n"),
     "f:3:21: error: '2g' is out of range for 'max_request_size' (allowed: 1 to 1073741823 bytes, "
     "with k, m or g for KiB, MiB or GiB)\n"},
    {POOL("  max_request_size: 17179869184g\n"), "f:3:21: error: '17179869184g' is out of range"},
    {POOL("  max_request_size: 5t\n"), "f:3:21: error: '5t' is not a number for "},
    {POOL("  max_request_size: m\n"), "f:3:21: error: 'm' is not a number for "},
    {POOL("  max_request_size: 5mb\n"), "f:3:21: error: '5mb' is not a number for "},
    {POOL("  max_request_size: 0k\n"), "f:3:21: error: '0k' is out of range for "},
    {POOL("  timeout: 4k\n"), "f:3:12: error: '4k' is not a number for "},
    /* other values */
    {POOL("  min_live: half\n"), "f:3:13: error: 'half' is no number for 'min_live' (allowed: 0 to "
                                 "2147483647, or 0% to 100%)\n"},
    {POOL("  min_live: 101%\n"), "f:3:13: error: '101%' is no number for 'min_live'"},
    {POOL("  min_live: '%'\n"), "f:3:13: error: '%' is no number for 'min_live'"},
    {POOL("  min_live: -1\n"), "f:3:13: error: '-1' is no number for 'min_live'"},
    {POOL("  min_live: 2\n"), "f:3:13: error: 'min_live' is 2, but pool 'p' has 1 server\n"},
    {"p:\n  servers: [a:1:1, b:1:1]\n  min_live: 3\n  listen: a:1\n",
     "f:3:13: error: 'min_live' is 3, but pool 'p' has 2 servers\n"},
    {POOL("  on_eject: fial\n"), "f:3:13: error: 'fial' is not a value of 'on_eject' (did you mean "
                                 "'fail'? allowed: rehash, fail)\n"},
    {POOL("  hash_tag: '{'\n"), "f:3:13: error: '{' is not a hash tag (allowed: two characters, "
                                "such as \"{}\")\n"},
    {POOL("  hash_tag: {}\n"), "f:3:3: error: 'hash_tag' takes one value (put text with brackets "
                               "in quotes)\n"},
    {POOL("  timeout:\n"), "f:3:3: error: 'timeout' has no value\n"},
    {POOL("  redis_auth: ''\n"), "f:3:15: error: 'redis_auth' has no value\n"},
    {POOL("  redis: true\n  redis_auth: \"a\\0b\"\n"),
     "f:4:15: error: 'redis_auth' has a NUL byte\n"},
    {POOL("  redis_auth: x\n"),
     "f:3:15: error: 'redis_auth' is only for pools with 'redis: true'\n"},
    {POOL("  redis: false\n  redis_auth: x\n"),
     "f:4:15: error: 'redis_auth' is only for pools with 'redis: true'\n"},
    {POOL("  redis: maybe\n  redis_auth: x\n  commands: {deny: [get]}\n"),
     "f:3:10: error: 'maybe' is not true or false (allowed: true, false)\n"},
    {POOL("  redis: true\n  commands: {deny: [get], deny: [set]}\n"),
     "f:4:27: error: key 'deny' stands twice (first in line 4)\n"},
    /* listen */
    {LISTEN("127.0.0.1"), "f:2:11: error: '127.0.0.1' has no port: write host:port, "},
    {LISTEN("127.0.0.1:0"), "f:2:11: error: '0' is not a port (allowed: 1 to 65535)\n"},
    {LISTEN("127.0.0.1:65536"), "f:2:11: error: '65536' is not a port"},
    {LISTEN("'127.0.0.1:'"), "f:2:11: error: '' is not a port"},
    {LISTEN("127.0.0.1:http"), "f:2:11: error: 'http' is not a port"},
    {LISTEN("'127.0.0.1:22 '"), "f:2:11: error: '22 ' is not a port"},
    {LISTEN(":22"), "f:2:11: error: the host is missing\n"},
    {LISTEN("' h:22'"), "f:2:11: error: host ' h' has a space or a control character\n"},
    {LISTEN("'[::1:22'"), "f:2:11: error: '[::1' is not an IPv6 address in brackets\n"},
    {LISTEN("'[]:22'"), "f:2:11: error: '[]' is not an IPv6 address in brackets\n"},
    {LISTEN("/s 1000"), "f:2:11: error: '1000' are not permissions (allowed: octal, 0 to 0777)\n"},
    {LISTEN("/s 08"), "f:2:11: error: '08' are not permissions"},
    {LISTEN("/s 77777777777777777777"),
     "f:2:11: error: '77777777777777777777' are not permissions"},
    {LISTEN("/s rw"), "f:2:11: error: 'rw' are not permissions"},
    {LISTEN("\"/s\\n\""), "f:2:11: error: path '/s\\x0a' has a control character\n"},
    /* servers */
    {SERVER("127.0.0.1:6379"), "f:4:6: error: '127.0.0.1:6379' has no weight: write "
                               "'127.0.0.1:6379:1', that is host:port:weight\n"},
    {SERVER("'[::1]:6379'"), "f:4:6: error: '[::1]:6379' has no weight: write '[::1]:6379:1', "},
    {SERVER("'::1:6379'"), "f:4:6: error: '::1:6379' has no weight: write '::1:6379:1', "},
    {SERVER("'a:b:1:1'"), "f:4:6: error: 'a:b' is not an IPv6 address\n"},
    {SERVER("127.0.0.1"), "f:4:6: error: '127.0.0.1' is not a server: write host:port:weight or "},
    {SERVER("h:1:0"), "f:4:6: error: '0' is not a weight (allowed: 1 to 2147483647): write "},
    {SERVER("h:1:x"), "f:4:6: error: 'x' is not a weight"},
    {SERVER("'h:1:'"), "f:4:6: error: '' is not a weight"},
    {SERVER("h:1:2147483648"), "f:4:6: error: '2147483648' is not a weight"},
    {SERVER("h:0:1"), "f:4:6: error: '0' is not a port"},
    {SERVER("h:70000:1"), "f:4:6: error: '70000' is not a port"},
    {SERVER(":1:1"), "f:4:6: error: the host is missing\n"},
    {SERVER("h h:1:1 n"), "f:4:6: error: host 'h h' has a space or a control character\n"},
    {SERVER("h:1:1 na me"), "f:4:6: error: '1 na' is not a weight"},
    {SERVER("'h:1:1 '"), "f:4:6: error: the name behind the space is missing"},
    {SERVER("\"h:1:1 a\\tb\""), "f:4:6: error: name 'a\\x09b' has a control character\n"},
    {SERVER("/tmp/s"), "f:4:6: error: '/tmp/s' is not a server"},
    {SERVER("{a: b}"), "f:4:7: error: a server is one text, host:port:weight [name]\n"},
    {SERVER(""), "f:3:3: error: an empty item in 'servers'\n"},
    {SERVER("a:1:1 x\n   - b:1:1 x"),
     "f:5:6: error: server name 'x' stands twice (first in line 4)\n"},
    {SERVER("a:11211:1\n   - a:1:1 a"), "f:5:6: error: server name 'a' stands twice"},
    {SERVER("a:1:2147483647\n   - b:1:2147483647\n   - c:1:2"),
     "f:4:6: error: the weights add up to more than 4294967295\n"},
    {"p:\n  listen: a:1\n  servers:\n", "f:3:3: error: 'servers' takes a list: "},
    {"p:\n  listen: a:1\n  servers: a:1:1\n", "f:3:12: error: 'servers' takes a list: "},
    {"p:\n  listen: a:1\n  servers: []\n", "f:3:3: error: 'servers' has no servers\n"},
    {"p:\n  listen: a:1\n", "f:1:1: error: pool 'p' has no 'servers'\n"},
    {"p:\n" SERVERS_1, "f:1:1: error: pool 'p' has no 'listen'\n"},
    /* pools */
    {"p:\n  listen: a:1\n" SERVERS_1 "q:\n  listen: a:1\n" SERVERS_1,
     "f:6:11: error: listen address 'a:1' stands twice (first in line 2)\n"},
    {"p:\n  listen: /a 0700\n" SERVERS_1 "q:\n  listen: /a 0600\n" SERVERS_1,
     "f:6:11: error: listen address '/a' stands twice (first in line 2)\n"},
    {"p:\n  listen: a:1\n" SERVERS_1 "p:\n  listen: a:2\n" SERVERS_1,
     "f:5:1: error: pool 'p' stands twice (first in line 1)\n"},
    {"p:\n", "f:1:1: error: pool 'p' has no keys\n"},
    {"p: 5\n", "f:1:1: error: pool 'p' has no keys\n"},
    {"'': {listen: a:1, servers: [a:1:1]}\n", "f:1:1: error: a pool needs a name\n"},
    {"[x]: {listen: a:1, servers: [a:1:1]}\n", "f:1:2: error: a pool needs a name\n"},
    {"\"a\\nb\": {listen: a:1, servers: [a:1:1]}\n",
     "f:1:1: error: the name of a pool has a control character\n"},
    {"", "f:1:1: error: the file has no pools\n"},
    {"# nothing\n", "f:1:1: error: the file has no pools\n"},
    {"{}", "f:1:1: error: the file has no pools\n"},
    {"global: {workers: 2}\n", "f:1:1: error: the file has no pools\n"},
    {"listen", "f:1:1: error: the file is not a mapping of pools: write 'name:' and, indented "},
    {"- a\n- b\n", "f:1:3: error: the file is not a mapping of pools"},
    /* global */
    {"global: {wokers: 2}\n" POOL(""), "f:1:10: error: 'wokers' is not a key of 'global' (did you "
                                       "mean 'workers'? allowed: workers, io, "},
    {"global: {workers: 0}\n" POOL(""),
     "f:1:19: error: '0' is out of range for 'workers' (allowed: "
     "auto, or 1 to 1024 threads)\n"},
    {"global: {io: pol}\n" POOL(""), "f:1:14: error: 'pol' is not a way to talk to the kernel "},
    {"global: {verbosity: 12}\n" POOL(""), "f:1:21: error: '12' is out of range for 'verbosity' "
                                           "(allowed: 0 to 11)\n"},
    {"global: {workers: 1}\nglobal: {workers: 1}\n" POOL(""),
     "f:2:1: error: 'global' stands twice\n"},
    /* YAML */
    {"p:\n\tlisten: a:1\n", "f:2:1: error: not YAML: tab character"},
    {"p: {listen: a:1\n", "f:"},
    {"p:\n  listen: \"a:1\n", "f:2:12: error: not YAML: "},
    {"p:\n  listen: @a\n", "f:2:11: error: not YAML: "},
    {POOL("") "---\nq: 1\n", "f:6:1: error: a second YAML document"},
    {"p: *q\n", "f:1:5: error: no anchor '&q' is known for the alias '*q'\n"},
    {"p: &p {<<: *p}\n", "f:1:1: error: '<<' runs in a circle, or through more than 16 mappings\n"},
    {"p: {<<: 1, listen: a:1, servers: [a:1:1]}\n",
     "f:1:9: error: '<<' takes an alias of a mapping\n"},
    {"p:\n  listen: a\xff:1\n", "f:2:12: error: byte 0xff is not text: "},
    {"p:\n  listen: a\x01:1\n", "f:2:12: error: byte 0x01 is not text: "},
    {"p: \xed\xa0\x80\n", "f:1:4: error: byte 0xed is not text: "},
    {"p: \xc0\x80\n", "f:1:4: error: byte 0xc0 is not text: "},
    {"p: \xe2\x82", "f:1:4: error: byte 0xe2 is not text: "},
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad_cases); i++) {
        char *errors;
        struct conf *c = parse(bad_cases[i].text, strlen(bad_cases[i].text), &errors);

        if (c != NULL)
            fail_msg("accepted: %s", bad_cases[i].text);
        if (strncmp(errors, bad_cases[i].error, strlen(bad_cases[i].error)) != 0)
            fail_msg("%s\nexpected: %s\ngot: %s", bad_cases[i].text, bad_cases[i].error, errors);
        free(errors);
    }
}

/* All errors come at once, in the order of the file, also those that are found last. */
static void test_all_errors(void **state)
{
    static const char text[] = "a:\n  listen: x:1\n  hash: md\n  timeout: x\n  servers:\n"
                               "    - y:1:1\n    - y\n    - y:1:2\n"
                               "b:\n  listen: x:1\n  foo: 1\n  redis: 1\n  servers: [z:1:0]\n";
    static const char *const places[] = {"f:3:9: ",   "f:4:12: ", "f:7:7: ",   "f:8:7: ",
                                         "f:10:11: ", "f:11:3: ", "f:12:10: ", "f:13:13: "};
    char *errors;
    const char *line;

    (void)state;
    assert_null(parse(text, strlen(text), &errors));
    line = errors;
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        assert_memory_equal(line, places[i], strlen(places[i]));
        line = strchr(line, '\n') + 1;
    }
    assert_string_equal(line, "");
    free(errors);
}

static void test_error_limit(void **state)
{
    char *text;
    char *errors;
    size_t size;
    size_t lines = 0;
    FILE *out = open_memstream(&text, &size);

    (void)state;
    fputs("p:\n", out);
    for (int i = 0; i < 3000; i++)
        fprintf(out, "  key%d: 1\n", i);
    fclose(out);
    assert_null(parse(text, size, &errors));
    for (const char *at = errors; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_int_equal(lines, 1001);
    assert_non_null(strstr(errors, "f: error: 2002 more errors are not shown\n"));
    free(errors);
    free(text);
}

/* No text may crash: every beginning of a file, and every file with a byte that is another one. */
static void test_mutilated(void **state)
{
    static const char text[] =
        "global: {workers: auto, io: epoll}\nalpha: &a # c\n\n  listen: 127.0.0.1:22121\n"
        "  hash_tag: \"{}\"\n  redis_auth: 'x\\y'\n  redis: true\n  servers:\n"
        "   - 127.0.0.1:6379:1 n\n   - /tmp/s:2\n   - \"[::1]:1:1\"\n"
        "beta: {<<: *a, listen: /tmp/x 0777, servers: [a:1:1, *a]}\n";
    static const char bytes[] = "\0\n\t :-?[]{}*&!|>'\"%@#,\\\x80\xff";
    char changed[sizeof(text)];
    char *errors;

    (void)state;
    for (size_t len = 0; len < sizeof(text); len++) {
        char *copy = malloc(len + 1); /* of its exact size, for the sanitizer */

        assert_non_null(copy);
        memcpy(copy, text, len);
        conf_free(parse(copy, len, &errors));
        free(errors);
        free(copy);
    }
    for (size_t at = 0; at + 1 < sizeof(text); at++) {
        memcpy(changed, text, sizeof(text));
        changed[at] = bytes[at % (sizeof(bytes) - 1)];
        conf_free(parse(changed, sizeof(text) - 1, &errors));
        free(errors);
    }
}

static void test_nesting(void **state)
{
    enum { DEEP = 100000 };
    char *text = malloc(DEEP);
    char *errors;

    (void)state;
    assert_non_null(text);
    memset(text, '[', DEEP);
    assert_null(parse(text, DEEP, &errors));
    assert_non_null(strstr(errors, "error: not YAML: "));
    free(errors);
    free(text);
}

static char *server_list(int count, size_t *size)
{
    char *text;
    FILE *out = open_memstream(&text, size);

    assert_non_null(out);
    fputs("p:\n  listen: a:1\n  servers:\n", out);
    for (int i = 0; i < count; i++)
        fprintf(out, "  - host-%06d:6379:1 server-%06d\n", count - i, i);
    fclose(out);
    return text;
}

/* A big file takes no more than in proportion. */
static void test_big(void **state)
{
    enum { COUNT = 200000 };
    size_t size;
    char *text = server_list(COUNT, &size);
    char *errors;
    struct conf *c = parse(text, size, &errors);

    (void)state;
    assert_non_null(c);
    assert_int_equal(c->pools[0].server_count, COUNT);
    assert_string_equal(c->pools[0].servers[0].name, "server-000000");
    conf_free(c);
    free(errors);
    free(text);
}

static void load_bad(const char *file, const char *error)
{
    char *errors;
    size_t size;
    FILE *out = open_memstream(&errors, &size);
    bool was_read;

    assert_null(conf_load(file, out, &was_read));
    fclose(out);
    assert_int_equal(was_read, strstr(error, "cannot be read") == NULL);
    assert_string_equal(errors, error);
    free(errors);
}

static void test_load(void **state)
{
    (void)state;
    load_bad("/nope/x.yml", "/nope/x.yml: error: cannot be read: No such file or directory\n");
    load_bad("/", "/: error: cannot be read: Is a directory\n");
    load_bad("/dev/null", "/dev/null:1:1: error: the file has no pools\n");
    load_bad("/dev/zero", "/dev/zero: error: cannot be read: the file is larger than 16 MiB\n");
}

static void test_describe(void **state)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    (void)state;
    conf_describe(out);
    fclose(out);
    for (size_t i = 0; i < pool_keys.count; i++)
        assert_non_null(strstr(text, pool_keys.names[i]));
    for (size_t i = 0; i < global_keys.count; i++)
        assert_non_null(strstr(text, global_keys.names[i]));
    assert_non_null(
        strstr(text, "type: number; default: 30000; allowed: 0 to 2147483647; unit: ms"));
    assert_non_null(strstr(text, "default: ketama; allowed: ketama, modula, random"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),     cmocka_unit_test(test_every_key),
        cmocka_unit_test(test_servers),      cmocka_unit_test(test_listen_forms),
        cmocka_unit_test(test_order),        cmocka_unit_test(test_global),
        cmocka_unit_test(test_global_merge), cmocka_unit_test(test_ordinary_yaml),
        cmocka_unit_test(test_merge_key),    cmocka_unit_test(test_bad),
        cmocka_unit_test(test_all_errors),   cmocka_unit_test(test_error_limit),
        cmocka_unit_test(test_mutilated),    cmocka_unit_test(test_nesting),
        cmocka_unit_test(test_big),          cmocka_unit_test(test_load),
        cmocka_unit_test(test_describe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
