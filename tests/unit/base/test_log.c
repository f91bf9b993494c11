/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
    char dir[64];
    char path[80];
    char moved[80];
    char text[1 << 20];
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    strcpy(p->dir, "/tmp/cashew-log-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->path, sizeof(p->path), "%s/log", p->dir);
    snprintf(p->moved, sizeof(p->moved), "%s/moved", p->dir);
    assert_int_equal(log_open(p->path, LEVEL_NOTICE), 0);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    log_close();
    unlink(p->path);
    unlink(p->moved);
    rmdir(p->dir);
    free(p);
    return 0;
}

static const char *content(struct place *p, const char *path)
{
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    size_t n = fread(p->text, 1, sizeof(p->text) - 1, f);
    p->text[n] = '\0';
    fclose(f);
    return p->text;
}

static unsigned lines_with(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *at = strstr(text, what); at != NULL; at = strstr(at + 1, what))
        n++;
    return n;
}

/* Starts early in a second of the clock that limits, so that what follows lies within one. */
static void wait_for_next_second(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    struct timespec rest = {0, 1000000000L - now.tv_nsec + 10000000L};
    if (rest.tv_nsec >= 1000000000L)
        rest = (struct timespec){1, rest.tv_nsec - 1000000000L};
    nanosleep(&rest, NULL);
}

static void test_form(void **state)
{
    struct place *p = *state;
    errno = ENOENT;
    log_warn("hello %d %m", 7);
    assert_int_equal(errno, ENOENT);
    regex_t form;
    assert_int_equal(
        regcomp(&form,
                "^\\[20[0-9]{2}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
                "\\.[0-9]{3}\\] test_log\\.c:[0-9]+ hello 7 No such file or directory\n$",
                REG_EXTENDED | REG_NOSUB),
        0);
    assert_int_equal(regexec(&form, content(p, p->path), 0, NULL, 0), 0);
    regfree(&form);
}

static void test_file_is_appended_to_and_readable(void **state)
{
    struct place *p = *state;
    log_warn("first");
    log_close();
    assert_int_equal(log_open(p->path, LEVEL_NOTICE), 0);
    log_warn("second");
    assert_int_equal(lines_with(content(p, p->path), "\n"), 2);
    struct stat st;
    assert_int_equal(stat(p->path, &st), 0);
    assert_int_equal(st.st_mode & 0133, 0);
}

static void test_levels(void **state)
{
    struct place *p = *state;
    log_notice("yes");
    log_info("no");
    assert_int_equal(log_level_change(1), 6);
    log_info("yes");
    assert_int_equal(log_level_change(-100), 0);
    log_crit("no");
    assert_int_equal(log_level_change(-1), 0);
    assert_int_equal(log_level_change(100), 11);
    log_verb("yes");
    log_level_set(99);
    assert_int_equal(log_level_change(0), 11);
    content(p, p->path);
    assert_int_equal(lines_with(p->text, " yes\n"), 3);
    assert_int_equal(lines_with(p->text, " no\n"), 0);
}

static void test_control_characters_are_shown(void **state)
{
    struct place *p = *state;
    log_warn("key 'a\n[2026-01-01 00:00:00.000] forged\x1b[2J\t\x7f%s'", "\r\xc3\xa9");
    content(p, p->path);
    assert_int_equal(lines_with(p->text, "\n"), 1);
    assert_non_null(strstr(p->text, "key 'a\\x0a[2026-01-01 00:00:00.000] "
                                    "forged\\x1b[2J\\x09\\x7f\\x0d\xc3\xa9'\n"));
}

static void test_long_lines_are_cut(void **state)
{
    struct place *p = *state;
    char *huge = malloc(100001);
    assert_non_null(huge);
    static const char fills[] = {'x', '\n'};
    for (size_t i = 0; i < sizeof(fills); i++) {
        memset(huge, fills[i], 100000);
        huge[100000] = '\0';
        log_warn("%s", huge);
    }
    for (int len = 4040; len < 4100; len++) {
        memset(huge, 'y', 100000);
        log_verb("off");
        log_level_set(LEVEL_VERB);
        log_verb("%.*s", len, huge);
        log_level_set(LEVEL_NOTICE);
    }
    free(huge);
    content(p, p->path);
    assert_int_equal(lines_with(p->text, "\n"), 62);
    for (char *at = p->text, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        assert_true(end + 1 - at <= 4096);
        assert_true(end + 1 - at > 4000);
    }
    assert_true(lines_with(p->text, "x...\n") == 1 && lines_with(p->text, "y...\n") > 0);
    assert_int_equal(lines_with(p->text, "\\x0a...\n"), 1);
}

static void log_at_two_sites(bool second)
{
    log_warn("repeats");
    if (second)
        log_warn("another");
}

static void test_call_sites_are_limited(void **state)
{
    struct place *p = *state;
    wait_for_next_second();
    for (int i = 0; i < 500; i++)
        log_at_two_sites(i == 499);
    content(p, p->path);
    assert_int_equal(lines_with(p->text, "repeats\n"), 20);
    assert_int_equal(lines_with(p->text, "another\n"), 1);

    wait_for_next_second();
    log_at_two_sites(false);
    log_at_two_sites(false);
    content(p, p->path);
    assert_int_equal(lines_with(p->text, " (480 such lines held back) repeats\n"), 1);
    assert_int_equal(lines_with(p->text, "held back"), 1);
    assert_int_equal(lines_with(p->text, "repeats\n"), 22);
}

static void test_levels_asked_for_are_not_limited(void **state)
{
    struct place *p = *state;
    log_level_set(LEVEL_DEBUG);
    for (int i = 0; i < 500; i++)
        log_debug("each");
    assert_int_equal(lines_with(content(p, p->path), "each\n"), 500);
}

static void test_reopen_after_rotation(void **state)
{
    struct place *p = *state;
    log_warn("before");
    assert_int_equal(rename(p->path, p->moved), 0);
    log_warn("between");
    log_reopen();
    log_warn("after");
    assert_int_equal(lines_with(content(p, p->moved), "\n"), 2);
    assert_non_null(strstr(content(p, p->path), "/log' reopened\n"));
    assert_non_null(strstr(p->text, "after"));
    assert_int_equal(lines_with(p->text, "\n"), 2);
}

static void test_failed_reopen_keeps_the_old_file(void **state)
{
    struct place *p = *state;
    log_warn("before");
    assert_int_equal(rename(p->path, p->moved), 0);
    assert_int_equal(mkdir(p->path, 0700), 0);
    log_reopen();
    log_warn("after");
    content(p, p->moved);
    assert_non_null(strstr(p->text, "failed, writing on to the old one: Is a directory\n"));
    assert_non_null(strstr(p->text, "after"));
    assert_int_equal(rmdir(p->path), 0);
}

static void test_open_fails_with_the_reason(void **state)
{
    struct place *p = *state;
    assert_int_equal(log_open("/nowhere/at/all", LEVEL_NOTICE), -ENOENT);
    log_warn("still here");
    assert_non_null(strstr(content(p, p->path), "still here"));
}

static void test_descriptor_leaves_the_standard_ones_alone(void **state)
{
    struct place *p = *state;
    int kept = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10);
    close(STDIN_FILENO);
    assert_int_equal(log_open(p->path, LEVEL_NOTICE), 0);
    assert_int_equal(fcntl(STDIN_FILENO, F_GETFD), -1);
    if (kept >= 0) {
        assert_int_equal(dup2(kept, STDIN_FILENO), STDIN_FILENO);
        close(kept);
    }
    log_warn("here");
    assert_non_null(strstr(content(p, p->path), "here"));
}

static void test_stderr_without_a_path(void **state)
{
    struct place *p = *state;
    int file = open(p->moved, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    int kept = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
    assert_true(file >= 0 && kept >= 0);
    assert_int_equal(log_open(NULL, LEVEL_NOTICE), 0);
    assert_int_equal(dup2(file, STDERR_FILENO), STDERR_FILENO);
    log_reopen();
    log_warn("to stderr");
    assert_int_equal(dup2(kept, STDERR_FILENO), STDERR_FILENO);
    close(file);
    close(kept);
    assert_int_equal(lines_with(content(p, p->moved), "to stderr\n"), 1);
}

enum { THREADS = 8, LINES = 400 };

static void *log_much(void *arg)
{
    for (int i = 0; i < LINES; i++)
        log_debug("thread %d line %d ends", *(int *)arg, i);
    return NULL;
}

static void test_threads_never_mix_lines_and_lose_none_over_a_reopen(void **state)
{
    struct place *p = *state;
    log_level_set(LEVEL_DEBUG);
    pthread_t threads[THREADS];
    int ids[THREADS];
    for (int i = 0; i < THREADS; i++) {
        ids[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, log_much, &ids[i]), 0);
    }
    assert_int_equal(rename(p->path, p->moved), 0);
    log_reopen();
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    unsigned whole = 0;
    const char *paths[] = {p->path, p->moved};
    for (int i = 0; i < 2; i++) {
        for (const char *at = content(p, paths[i]); *at != '\0'; at = strchr(at, '\n') + 1) {
            int thread, line, used = 0;
            if (strncmp(at + 26, "log.c", 5) == 0)
                continue; /* that it was reopened */
            sscanf(at, "[%*[^]]] test_log.c:%*d thread %d line %d ends%n", &thread, &line, &used);
            assert_true(used > 0 && at[used] == '\n');
            whole++;
        }
    }
    assert_int_equal(whole, THREADS * LINES);
}

/* The last words of a daemon, whose stderr is nobody's. */
static void test_log_tells_what_must_not_be(void **state)
{
    struct place *p = *state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        must_failed("a < b", "x.c", 7);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(content(p, p->path), " x.c:7: a < b\n"));
}

static void test_file_name_is_the_last_part(void **state)
{
    struct place *p = *state;
    static struct log_site site;
    wait_for_next_second();
    for (int i = 0; i < 100; i++)
        log_write(&site, LEVEL_WARN, "a/b/c.c", 1, "x");
    assert_int_equal(lines_with(content(p, p->path), " c.c:1 x\n"), 20);
    assert_int_equal(atomic_load(&site.held), 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_form, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_is_appended_to_and_readable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_levels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_control_characters_are_shown, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_lines_are_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_call_sites_are_limited, setup, teardown),
        cmocka_unit_test_setup_teardown(test_levels_asked_for_are_not_limited, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reopen_after_rotation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failed_reopen_keeps_the_old_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_fails_with_the_reason, setup, teardown),
        cmocka_unit_test_setup_teardown(test_descriptor_leaves_the_standard_ones_alone, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_stderr_without_a_path, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads_never_mix_lines_and_lose_none_over_a_reopen,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_name_is_the_last_part, setup, teardown),
        cmocka_unit_test_setup_teardown(test_log_tells_what_must_not_be, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
