/* SPDX-License-Identifier: BSD-3-Clause */
#include "stats/stats.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const alpha_servers[] = {"one", "127.0.0.1:6380"};
static const char *const odd_servers[] = {"a\"b\\c\n\x01\xc3\xa9"};
static const struct stats_pool_names two_pools[] = {
    {"alpha", alpha_servers, 2},
    {"odd", odd_servers, 1},
};

/* The JSON of these numbers. The caller frees it. */
static char *json_of(const struct stats *s)
{
    struct buf out = {0};
    assert_true(stats_json(s, &out));
    assert_true(buf_append(&out, span_of("", 1)));
    char *text = strdup(buf_span(&out).ptr);
    buf_free(&out);
    assert_non_null(text);
    return text;
}

static uint64_t value_of(const char *json, const char *key)
{
    char quoted[64];
    snprintf(quoted, sizeof(quoted), "\"%s\":", key);
    const char *at = strstr(json, quoted);
    assert_non_null(at);
    return strtoull(at + strlen(quoted), NULL, 10);
}

/* What follows twemproxy's own counters in an object: ours, from the tables, all 0 in these tests.
 */
enum { POOL_COUNTERS = 6, SERVER_COUNTERS = 13 };

static void expect_additions(FILE *to, const char *const *names, size_t from, size_t count)
{
    for (size_t i = from; i < count; i++)
        fprintf(to, ", \"%s\":0", names[i]);
}

static void expect_pool(FILE *to, int client_eof, int client_err)
{
#define STAT(name, kind, text) #name,
    static const char *const names[] = {
#include "pool_stats.def"
    };
#undef STAT
    fprintf(to,
            "{\"client_eof\":%d, \"client_err\":%d, \"client_connections\":0, "
            "\"server_ejects\":0, \"forward_error\":0, \"fragments\":0",
            client_eof, client_err);
    expect_additions(to, names, POOL_COUNTERS, ARRAY_LEN(names));
}

static void expect_server(FILE *to, const char *requests)
{
#define STAT(name, kind, text) #name,
    static const char *const names[] = {
#include "server_stats.def"
    };
#undef STAT
    fprintf(to,
            "{\"server_eof\":0, \"server_err\":0, \"server_timedout\":0, "
            "\"server_connections\":0, \"server_ejected_at\":0, \"requests\":%s, "
            "\"request_bytes\":0, \"responses\":0, \"response_bytes\":0, \"in_queue\":0, "
            "\"in_queue_bytes\":0, \"out_queue\":0, \"out_queue_bytes\":0",
            requests);
    expect_additions(to, names, SERVER_COUNTERS, ARRAY_LEN(names));
    fputs("}", to);
}

/* What test_layout's numbers look like, from the connections on. The caller frees it. */
static char *expected_layout(void)
{
    char *text = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);
    assert_non_null(to);
    fputs(", \"total_connections\":8, \"curr_connections\":2, ", to);
    fputs("\"cashew_version\":\"" CASHEW_VERSION "\", \"alpha\": ", to);
    expect_pool(to, 7, 0);
    fputs(", \"one\": ", to);
    expect_server(to, "0");
    fputs(",\"127.0.0.1:6380\": ", to);
    expect_server(to, "1");
    fputs("},\"odd\": ", to);
    expect_pool(to, 0, 5);
    fputs(", \"a\\\"b\\\\c\\u000a\\u0001\xc3\xa9\": ", to);
    expect_server(to, "1099511627776");
    fputs("}}\n", to);
    assert_int_equal(fclose(to), 0);
    return text;
}

static void test_layout(void **state)
{
    (void)state;
    struct stats *s = stats_new(2, two_pools, 2);
    assert_non_null(s);
    stat_add(&stats_pool(s, 0, 0)->client_eof, 3);
    stat_add(&stats_pool(s, 1, 0)->client_eof, 4);
    stat_add(&stats_pool(s, 1, 1)->client_err, 5);
    stat_add(&stats_server(s, 0, 0, 1)->requests, 1);
    stat_add(&stats_server(s, 1, 1, 0)->requests, UINT64_C(1) << 40);
    stat_add(&stats_worker(s, 1)->total_connections, 6);
    char *json = json_of(s);
    char host[256] = "";
    gethostname(host, sizeof(host) - 1);
    char begin[512];
    snprintf(
        begin, sizeof(begin),
        "{\"service\":\"nutcracker\", \"source\":\"%s\", \"version\":\"0.5.0\", \"uptime\":", host);
    assert_memory_equal(json, begin, strlen(begin));
    const char *rest = strstr(json, ", \"total_connections\":");
    assert_non_null(rest);
    char *expected = expected_layout();
    assert_string_equal(rest, expected);
    free(expected);
    free(json);
    stats_free(s);
}

static void test_time_and_uptime(void **state)
{
    (void)state;
    struct stats *s = stats_new(1, two_pools, 2);
    char *json = json_of(s);
    assert_in_range(value_of(json, "uptime"), 0, 1);
    assert_in_range(value_of(json, "timestamp"), (uint64_t)time(NULL) - 1, (uint64_t)time(NULL));
    free(json);
    stats_free(s);
}

static void test_moment_is_the_latest(void **state)
{
    (void)state;
    struct stats *s = stats_new(3, two_pools, 1);
    stat_set(&stats_server(s, 0, 0, 0)->server_ejected_at, 100);
    stat_set(&stats_server(s, 1, 0, 0)->server_ejected_at, 300);
    stat_set(&stats_server(s, 2, 0, 0)->server_ejected_at, 200);
    char *json = json_of(s);
    assert_int_equal(value_of(json, "server_ejected_at"), 300);
    free(json);
    stats_free(s);
}

static void test_level_is_summed_and_never_negative(void **state)
{
    (void)state;
    struct stats *s = stats_new(2, two_pools, 1);
    stat_add(&stats_pool(s, 0, 0)->client_connections, 3);
    stat_sub(&stats_pool(s, 1, 0)->client_connections, 1);
    stat_sub(&stats_worker(s, 1)->curr_connections, 1);
    char *json = json_of(s);
    assert_int_equal(value_of(json, "client_connections"), 2);
    assert_int_equal(value_of(json, "curr_connections"), 1); /* the listener */
    free(json);
    stat_sub(&stats_pool(s, 1, 0)->client_connections, 5);
    json = json_of(s);
    assert_int_equal(value_of(json, "client_connections"), 0);
    free(json);
    stats_free(s);
}

static void test_workers_share_no_cache_line(void **state)
{
    (void)state;
    struct stats *s = stats_new(2, two_pools, 2);
    for (unsigned w = 0; w < 2; w++) {
        assert_int_equal((uintptr_t)stats_worker(s, w) % 64, 0);
        uintptr_t end = (uintptr_t)(stats_server(s, w, 1, 0) + 1);
        uintptr_t other = (uintptr_t)stats_worker(s, !w);
        assert_true(other >= end || other < (uintptr_t)stats_worker(s, w));
    }
    stats_free(s);
}

static void test_no_pools_is_still_an_object(void **state)
{
    (void)state;
    struct stats *s = stats_new(1, NULL, 0);
    assert_non_null(s);
    char *json = json_of(s);
    assert_non_null(strstr(json, "\"cashew_version\":\"" CASHEW_VERSION "\"}\n"));
    free(json);
    stats_free(s);
}

static void *count_up(void *arg)
{
    struct server_stats *numbers = arg;
    for (int i = 0; i < 100000; i++) {
        stat_add(&numbers->requests, 1);
        stat_add(&numbers->in_queue, 1);
        stat_sub(&numbers->in_queue, 1);
    }
    return NULL;
}

static void test_reading_while_workers_write(void **state)
{
    (void)state;
    struct stats *s = stats_new(2, two_pools, 1);
    pthread_t threads[2];
    for (unsigned w = 0; w < 2; w++)
        assert_int_equal(pthread_create(&threads[w], NULL, count_up, stats_server(s, w, 0, 0)), 0);
    uint64_t last = 0;
    for (int i = 0; i < 200; i++) {
        char *json = json_of(s);
        assert_true(value_of(json, "requests") >= last);
        assert_in_range(value_of(json, "in_queue"), 0, 2);
        last = value_of(json, "requests");
        free(json);
    }
    for (unsigned w = 0; w < 2; w++)
        assert_int_equal(pthread_join(threads[w], NULL), 0);
    char *json = json_of(s);
    assert_int_equal(value_of(json, "requests"), 200000);
    free(json);
    stats_free(s);
}

static void test_describe_names_every_counter(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    assert_non_null(f);
    stats_describe(f);
    assert_int_equal(fclose(f), 0);
    const char *at = text;
#define STAT(name, kind, text)                                                                     \
    at = strstr(at, "\n  " #name " ");                                                             \
    assert_non_null(at);                                                                           \
    assert_non_null(strstr(at, "  \"" text "\"\n"));
#include "pool_stats.def"
#include "server_stats.def"
#undef STAT
    assert_memory_equal(text, "pool stats:\n", 12);
    assert_non_null(strstr(text, "\n\nserver stats:\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_time_and_uptime),
        cmocka_unit_test(test_moment_is_the_latest),
        cmocka_unit_test(test_level_is_summed_and_never_negative),
        cmocka_unit_test(test_workers_share_no_cache_line),
        cmocka_unit_test(test_no_pools_is_still_an_object),
        cmocka_unit_test(test_reading_while_workers_write),
        cmocka_unit_test(test_describe_names_every_counter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
