/* SPDX-License-Identifier: BSD-3-Clause */
#include "run/control.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

/* Each case is a child process whose main thread runs control and sends itself signals, since they
 * belong to a process. The child's log and its exit code are what is looked at. */
struct child {
    struct control control;
    int stops;
    bool finish; /* end in order when told to stop */
};

struct fixture {
    char path[64];
    char text[1 << 16];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    strcpy(f->path, "/tmp/cashew-control-XXXXXX");
    int fd = mkstemp(f->path);
    assert_true(fd >= 0);
    close(fd);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    unlink(f->path);
    free(f);
    return 0;
}

static void *finish(void *arg)
{
    control_finished(arg);
    return NULL;
}

static void stop(void *arg)
{
    struct child *child = arg;
    pthread_t thread;
    child->stops++;
    log_warn("stop %d", child->stops);
    if (child->finish && pthread_create(&thread, NULL, finish, &child->control) == 0)
        pthread_join(thread, NULL);
}

/* Runs control in a child; `signals` ended by 0 are sent to it, the last one after a pause. Returns
 * the status of waitpid(), the log in f->text. */
static int run(struct fixture *f, const int *signals, bool finishes, int timeout_ms)
{
    assert_int_equal(truncate(f->path, 0), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct child child = {.finish = finishes};
        struct control_ops ops = {.stop = stop, .arg = &child, .shutdown_timeout_ms = timeout_ms};
        signal(SIGHUP, SIG_IGN); /* as nohup leaves it */
        signal(SIGINT, SIG_IGN);
        signal(SIGSEGV, SIG_DFL); /* the harness of the tests catches it */
        signal(SIGABRT, SIG_DFL);
        if (log_open(f->path, LEVEL_NOTICE) != 0 || control_open(&child.control) != 0)
            _exit(99);
        log_warn("ready");
        int code = control_run(&child.control, &ops);
        log_warn("code %d stops %d", code, child.stops);
        control_close(&child.control);
        _exit(code);
    }
    for (int tries = 0; tries < 500; tries++) {
        FILE *log = fopen(f->path, "re");
        f->text[fread(f->text, 1, sizeof(f->text) - 1, log)] = '\0';
        fclose(log);
        if (strstr(f->text, " ready\n") != NULL)
            break;
        usleep(10000);
    }
    for (; *signals != 0; signals++) {
        assert_int_equal(kill(pid, *signals), 0);
        usleep(50000);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    FILE *log = fopen(f->path, "re");
    f->text[fread(f->text, 1, sizeof(f->text) - 1, log)] = '\0';
    fclose(log);
    return status;
}

static void assert_exit(int status, int code)
{
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), code);
}

static void test_orderly_end(void **state)
{
    struct fixture *f = *state;
    const int ends[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        assert_exit(run(f, (int[]){ends[i], 0}, true, -1), 0);
        assert_non_null(strstr(f->text, i == 0 ? " signal 15 (SIGTERM), exiting\n"
                                               : " signal 2 (SIGINT), exiting\n"));
        assert_non_null(strstr(f->text, "code 0 stops 1\n"));
    }
}

static void test_second_signal_ends_at_once(void **state)
{
    struct fixture *f = *state;
    assert_exit(run(f, (int[]){SIGTERM, SIGINT, 0}, false, -1), 1);
    assert_non_null(strstr(f->text, "signal 2 (SIGINT) again, ending at once\n"));
    assert_non_null(strstr(f->text, "code 1 stops 1\n"));
}

static void test_orderly_end_is_bounded(void **state)
{
    struct fixture *f = *state;
    assert_exit(run(f, (int[]){SIGTERM, 0}, false, 100), 1);
    assert_non_null(strstr(f->text, "not all was answered within 100 ms, ending at once\n"));
}

static void test_other_signals(void **state)
{
    struct fixture *f = *state;
    const int all[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU, SIGTTOU, SIGPIPE, SIGTERM, 0};
    assert_exit(run(f, all, true, 1000), 0);
    static const char *const lines[] = {
        "signal 1 (SIGHUP), reopening the log file\n",
        "signal 10 (SIGUSR1), nothing to do\n",
        "signal 12 (SIGUSR2), nothing to do\n",
        "signal 21 (SIGTTIN), log level is 6 now\n",
        "signal 22 (SIGTTOU), log level is 5 now\n",
        "signal 22 (SIGTTOU), log level is 4 now\n",
        "signal 15 (SIGTERM), exiting\n",
    };
    const char *at = f->text;
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        at = strstr(at, lines[i]);
        assert_non_null(at);
    }
}

static void test_crash_is_told_and_stays_a_crash(void **state)
{
    struct fixture *f = *state;
    struct rlimit before, none = {0, 0};
    getrlimit(RLIMIT_CORE, &before);
    none.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_CORE, &none); /* its core would be left behind */
    const int crashes[] = {SIGSEGV, SIGABRT};
    for (size_t i = 0; i < ARRAY_LEN(crashes); i++) {
        int status = run(f, (int[]){crashes[i], 0}, true, 1000);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), crashes[i]);
        assert_non_null(strstr(f->text, i == 0 ? "] ended by SIGSEGV, called from:\n"
                                               : "] ended by SIGABRT, called from:\n"));
    }
    setrlimit(RLIMIT_CORE, &before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_orderly_end),
        TEST(test_second_signal_ends_at_once),
        TEST(test_orderly_end_is_bounded),
        TEST(test_other_signals),
        TEST(test_crash_is_told_and_stays_a_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
