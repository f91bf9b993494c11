/* SPDX-License-Identifier: BSD-3-Clause */
#include "admin/stats_port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 5000, REPLY_MAX = 1 << 16 };

struct fixture {
    struct stats *stats;
    struct stats_port *port;
    uint16_t number;
    char reply[REPLY_MAX];
};

static uint64_t ms_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint16_t free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    close(fd);
    return ntohs(at.sin_port);
}

static int setup(void **state)
{
    static const char *const servers[] = {"one"};
    static const struct stats_pool_names pools[] = {{"alpha", servers, 1}};
    const char *why = NULL;
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->stats = stats_new(1, pools, 1);
    assert_non_null(f->stats);
    f->number = free_port();
    f->port = stats_port_open("127.0.0.1", f->number, f->stats, &why);
    assert_non_null(f->port);
    assert_int_equal(stats_port_start(f->port), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    stats_port_close(f->port);
    stats_free(f->stats);
    free(f);
    return 0;
}

static int dial(const struct fixture *f)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(f->number), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Reads until the peer closes in order, or until the reply ends in `end`. */
static const char *hear(struct fixture *f, int fd, const char *end)
{
    size_t len = 0;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
        ssize_t n = recv(fd, f->reply + len, REPLY_MAX - 1 - len, 0);
        assert_true(n >= 0);
        len += (size_t)n;
        f->reply[len] = '\0';
        if (n == 0)
            return f->reply;
        if (end != NULL && len >= strlen(end) && strcmp(f->reply + len - strlen(end), end) == 0)
            return f->reply;
    }
}

static void assert_bare_json(const char *reply)
{
    static const char begin[] = "{\"service\":\"nutcracker\", \"source\":\"";
    assert_memory_equal(reply, begin, strlen(begin));
    assert_non_null(strstr(reply, "\"alpha\": {\"client_eof\":0, "));
    assert_memory_equal(reply + strlen(reply) - 4, "}}}\n", 4);
}

static void assert_http(const char *reply, const char *status)
{
    char line[64];
    snprintf(line, sizeof(line), "HTTP/1.1 %s\r\n", status);
    assert_memory_equal(reply, line, strlen(line));
}

/* The body, checked against its Content-Length. */
static const char *body_of(const char *reply)
{
    const char *body = strstr(reply, "\r\n\r\n");
    const char *length = strstr(reply, "Content-Length: ");
    assert_non_null(body);
    assert_non_null(length);
    assert_int_equal(strlen(body + 4), strtoul(length + 16, NULL, 10));
    return body + 4;
}

static void test_silence_gets_the_bare_json(void **state)
{
    struct fixture *f = *state;
    uint64_t begin = ms_now();
    int fd = dial(f);
    assert_bare_json(hear(f, fd, NULL));
    assert_in_range(ms_now() - begin, 45, 1000);
    close(fd);
}

static void test_half_close_gets_it_at_once(void **state)
{
    struct fixture *f = *state;
    uint64_t begin = ms_now();
    for (int i = 0; i < 20; i++) {
        int fd = dial(f);
        shutdown(fd, SHUT_WR);
        assert_bare_json(hear(f, fd, NULL));
        close(fd);
    }
    assert_in_range(ms_now() - begin, 0, 900); /* 20 times 50 ms would be longer */
}

static void test_what_is_not_http_gets_the_bare_json(void **state)
{
    struct fixture *f = *state;
    static const char *const words[] = {"stats\r\n",
                                        "\n",
                                        "STATS\r\n",
                                        "G3T / HTTP/1.1\r\n\r\n",
                                        "\x16\x03\x01",
                                        " GET",
                                        "get / HTTP/1.1\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        int fd = dial(f);
        say(fd, words[i]);
        assert_bare_json(hear(f, fd, NULL));
        close(fd);
    }
}

static void test_much_garbage_does_not_cost_the_answer(void **state)
{
    struct fixture *f = *state;
    char *garbage = malloc(200001);
    assert_non_null(garbage);
    memset(garbage, 'x', 200000);
    garbage[200000] = '\0';
    int fd = dial(f);
    say(fd, garbage);
    free(garbage);
    assert_bare_json(hear(f, fd, NULL));
    close(fd);
}

static void test_values_are_live(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 1; i <= 3; i++) {
        char want[64];
        stat_add(&stats_server(f->stats, 0, 0, 0)->requests, 1);
        snprintf(want, sizeof(want), "\"requests\":%d,", (int)i);
        int fd = dial(f);
        shutdown(fd, SHUT_WR);
        assert_non_null(strstr(hear(f, fd, NULL), want));
        close(fd);
    }
}

static void test_http_get(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    say(fd, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const char *reply = hear(f, fd, NULL);
    assert_http(reply, "200 OK");
    assert_non_null(strstr(reply, "\r\nContent-Type: application/json\r\n"));
    assert_bare_json(body_of(reply));
    close(fd);
}

static void test_http_get_with_query(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    say(fd, "GET /?a=b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_http(hear(f, fd, NULL), "200 OK");
    close(fd);
}

static void test_http_1_0(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    say(fd, "GET / HTTP/1.0\r\n\r\n");
    const char *reply = hear(f, fd, NULL);
    assert_non_null(strstr(reply, " 200 OK\r\n"));
    assert_bare_json(body_of(reply));
    close(fd);
}

static void test_http_head(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    say(fd, "HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const char *reply = hear(f, fd, NULL);
    assert_http(reply, "200 OK");
    assert_true(strtoul(strstr(reply, "Content-Length: ") + 16, NULL, 10) > 300);
    assert_string_equal(strstr(reply, "\r\n\r\n"), "\r\n\r\n");
    close(fd);
}

static void test_http_keep_alive(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    for (int i = 0; i < 5; i++) {
        say(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        const char *reply = hear(f, fd, "}}}\n");
        assert_http(reply, "200 OK");
        assert_bare_json(body_of(reply));
    }
    close(fd);
}

static void test_http_request_in_pieces(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    const char *request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for (const char *at = request; *at != '\0'; at++) {
        assert_int_equal(send(fd, at, 1, MSG_NOSIGNAL), 1);
        (void)poll(NULL, 0, 5); /* 5 ms x 46 bytes: longer than silence is waited for */
    }
    const char *reply = hear(f, fd, NULL);
    assert_http(reply, "200 OK");
    assert_bare_json(body_of(reply));
    close(fd);
}

static void test_http_other_paths_and_methods(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *request;
        const char *status;
    } cases[] = {
        {"GET /other HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "404 Not Found"},
        {"HEAD /other HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "404 Not Found"},
        {"DELETE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "405 Method Not Allowed"},
        {"FROB / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "405 Method Not Allowed"},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n",
         "405 Method Not Allowed"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int fd = dial(f);
        say(fd, cases[i].request);
        const char *reply = hear(f, fd, NULL);
        assert_http(reply, cases[i].status);
        if (strncmp(cases[i].status, "405", 3) == 0)
            assert_non_null(strstr(reply, "\r\nAllow: GET, HEAD\r\n"));
        close(fd);
    }
}

enum { SLOW = 200 };

static void test_slow_peers_do_not_hold_each_other(void **state)
{
    struct fixture *f = *state;
    int fds[SLOW];
    uint64_t begin = ms_now();
    for (int i = 0; i < SLOW; i++)
        fds[i] = dial(f);
    for (int i = 0; i < SLOW; i++) {
        assert_bare_json(hear(f, fds[i], NULL));
    }
    assert_in_range(ms_now() - begin, 45, 2000); /* one after the other would be 10 s */
    for (int i = 0; i < SLOW; i++)
        close(fds[i]);
}

static void test_peers_that_stay_do_not_hold_the_port(void **state)
{
    struct fixture *f = *state;
    enum { STAY = 420 };
    static int fds[STAY];
    /* Bare peers that never read nor close, and half requests of HTTP, each more than there is room
     * for. */
    for (int i = 0; i < STAY; i++) {
        fds[i] = dial(f);
        if (i % 3 == 0)
            say(fds[i], "GET / HT");
    }
    uint64_t begin = ms_now();
    int fd = dial(f);
    assert_bare_json(hear(f, fd, NULL));
    close(fd);
    fd = dial(f);
    say(fd, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_http(hear(f, fd, NULL), "200 OK");
    close(fd);
    assert_in_range(ms_now() - begin, 0, 2000);
    for (int i = 0; i < STAY; i++)
        close(fds[i]);
}

static void test_peers_that_reset_do_no_harm(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 50; i++) {
        int fd = dial(f);
        struct linger reset = {1, 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        if (i % 3 == 1)
            say(fd, "GET / HTTP/1.1\r\n");
        if (i % 3 == 2)
            say(fd, "x");
        close(fd);
    }
    int fd = dial(f);
    assert_bare_json(hear(f, fd, NULL));
    close(fd);
}

static void test_close_while_peers_are_there(void **state)
{
    struct fixture *f = *state;
    int bare = dial(f);
    int http = dial(f);
    say(http, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_http(hear(f, http, "}}}\n"), "200 OK");
    stats_port_close(f->port);
    f->port = NULL;
    close(bare);
    close(http);
}

static void test_ipv6(void **state)
{
    struct fixture *f = *state;
    const char *why = NULL;
    struct stats_port *port = stats_port_open("::1", f->number, f->stats, &why);
    if (port == NULL)
        skip(); /* this host has no IPv6 */
    assert_int_equal(stats_port_start(port), 0);
    struct sockaddr_in6 at = {
        .sin6_family = AF_INET6, .sin6_port = htons(f->number), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_bare_json(hear(f, fd, NULL));
    close(fd);
    stats_port_close(port);
}

static void test_open_says_why_not(void **state)
{
    struct fixture *f = *state;
    const char *why = NULL;
    assert_null(stats_port_open("192.0.2.1", f->number, f->stats, &why));
    assert_string_equal(why, strerror(EADDRNOTAVAIL));
    why = NULL;
    assert_null(stats_port_open("not an address", f->number, f->stats, &why));
    assert_non_null(why);
    /* In use by somebody who doesn't share. */
    struct sockaddr_in taken = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(taken);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&taken, len), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&taken, &len), 0);
    assert_null(stats_port_open("127.0.0.1", ntohs(taken.sin_port), f->stats, &why));
    assert_string_equal(why, strerror(EADDRINUSE));
    close(fd);
}

static void test_open_and_never_started(void **state)
{
    struct fixture *f = *state;
    const char *why = NULL;
    struct stats_port *port = stats_port_open("127.0.0.1", free_port(), f->stats, &why);
    assert_non_null(port);
    stats_port_close(port);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_silence_gets_the_bare_json),
        TEST(test_half_close_gets_it_at_once),
        TEST(test_what_is_not_http_gets_the_bare_json),
        TEST(test_much_garbage_does_not_cost_the_answer),
        TEST(test_values_are_live),
        TEST(test_http_get),
        TEST(test_http_get_with_query),
        TEST(test_http_1_0),
        TEST(test_http_head),
        TEST(test_http_keep_alive),
        TEST(test_http_request_in_pieces),
        TEST(test_http_other_paths_and_methods),
        TEST(test_slow_peers_do_not_hold_each_other),
        TEST(test_peers_that_stay_do_not_hold_the_port),
        TEST(test_peers_that_reset_do_no_harm),
        TEST(test_close_while_peers_are_there),
        TEST(test_ipv6),
        TEST(test_open_says_why_not),
        TEST(test_open_and_never_started),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
