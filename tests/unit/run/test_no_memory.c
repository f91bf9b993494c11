/* SPDX-License-Identifier: BSD-3-Clause */
/* Listeners and workers start while one allocation after the other fails: they serve, or they do not and leave nothing
 * behind, neither memory nor a descriptor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "memory.h"
#include "run/listeners.h"
#include "run/workers.h"
#include "said.h"

enum { RUNS_MAX = 10000, WORKERS = 2 };

static struct conf *conf;
static struct pool *pool;
static struct stats *stats;
static sem_t all_ended;

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *all = opendir("/proc/self/fd");
    assert_non_null(all);
    while (readdir(all) != NULL)
        count++;
    closedir(all);
    return count;
}

static void on_ended(void *arg)
{
    sem_post(arg);
}

static bool start_workers(struct listeners *ls, struct workers **ws)
{
    struct workers_options options = {
        .count = WORKERS,
        .io = loop_backend(SPAN("epoll")),
        .pools = &pool,
        .listeners = ls->fds,
        .pool_count = 1,
        .clients_most = 10,
        .stats = stats,
        .ended = on_ended,
        .arg = &all_ended,
    };
    *ws = workers_start(&options);
    return *ws != NULL;
}

static bool play(uint64_t skip)
{
    struct listeners ls;
    struct workers *ws = NULL;
    struct said said;
    struct privileges nobody = {0};
    said_open(&said);
    uint64_t live = memory_live();
    unsigned descriptors = open_descriptors();
    memory_fail(skip, 1);
    bool listen = listeners_open(&ls, conf, &nobody, said.file);
    bool serve = listen && start_workers(&ls, &ws);
    bool failed = memory_calm() > 0;
    assert_true(failed || serve);
    assert_true(listen || said_span(&said).len > 0);
    if (serve) {
        workers_stop(ws);
        sem_wait(&all_ended);
        workers_join(ws);
    }
    if (listen)
        listeners_close(&ls);
    assert_int_equal(memory_live(), live);
    assert_int_equal(open_descriptors(), descriptors);
    said_close(&said);
    return failed;
}

static void test_start(void **state)
{
    (void)state;
    char folder[] = "/tmp/cashew-no-memory-XXXXXX";
    char text[256];
    uint64_t runs = 0;
    log_level_set(LEVEL_EMERG);
    assert_non_null(mkdtemp(folder));
    snprintf(text, sizeof(text), "p: {listen: %s/socket, servers: [127.0.0.1:1:1 a]}\n", folder);
    conf = conf_parse("x.yml", text, strlen(text), stderr);
    assert_non_null(conf);
    const char *server = conf->pools[0].servers[0].name;
    const struct stats_pool_names names = {conf->pools[0].name, &server, 1};
    pool = pool_new(&conf->pools[0], 0);
    stats = stats_new(WORKERS, &names, 1);
    assert_true(pool != NULL && stats != NULL && sem_init(&all_ended, 0, 0) == 0);
    while (play(runs))
        assert_true(++runs < RUNS_MAX);
    assert_true(runs > 10);
    stats_free(stats);
    pool_free(pool);
    conf_free(conf);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_start)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
