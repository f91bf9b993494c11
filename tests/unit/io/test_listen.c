/* SPDX-License-Identifier: BSD-3-Clause */
#include "rig.h"

#include <netinet/tcp.h>
#include <sys/stat.h>

#include "io/listen.h"

struct place {
    char dir[64];
    char path[100];
    struct addr at;
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    *state = p;
    if (p == NULL)
        return -1;
    snprintf(p->dir, sizeof(p->dir), "/tmp/cashew-io-XXXXXX");
    if (mkdtemp(p->dir) == NULL)
        return -1;
    snprintf(p->path, sizeof(p->path), "%s/s", p->dir);
    return addr_unix(&p->at, p->path) ? 0 : -1;
}

static int teardown(void **state)
{
    struct place *p = *state;
    unlink(p->path);
    rmdir(p->dir);
    free(p);
    return 0;
}

static const struct listen_options plain = {.backlog = 4, .mode = -1};

static int option(int fd, int level, int name)
{
    int on = 0;
    socklen_t len = sizeof(on);
    assert_int_equal(getsockopt(fd, level, name, &on, &len), 0);
    return on;
}

static void tcp(void **state)
{
    (void)state;
    const struct listen_options shared = {.backlog = 4, .mode = -1, .reuseport = true};
    struct addr at;
    assert_true(addr_literal(&at, "127.0.0.1", 0));
    int fd = listen_open(&at, &shared, NULL);
    assert_true(fd >= 0);
    at = rig_bound(fd);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_true(option(fd, IPPROTO_TCP, TCP_NODELAY));
    assert_true(option(fd, SOL_SOCKET, SO_REUSEADDR));
    int second = listen_open(&at, &shared, NULL);
    assert_true(second >= 0);
    assert_int_equal(listen_open(&at, &plain, NULL), -EADDRINUSE);
    listen_close(second, &at, NULL);
    listen_close(fd, &at, NULL);
}

static void unix_mode(void **state)
{
    struct place *p = *state;
    struct listen_options opt = {.backlog = 4, .mode = 0600};
    struct listen_path path;
    struct stat st;
    int fd = listen_open(&p->at, &opt, &path);
    assert_true(fd >= 0);
    assert_int_equal(lstat(p->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    listen_close(fd, &p->at, &path);
    assert_int_equal(lstat(p->path, &st), -1);
}

static void unix_in_use(void **state)
{
    struct place *p = *state;
    struct listen_path path;
    struct listen_path other;
    int fd = listen_open(&p->at, &plain, &path);
    assert_true(fd >= 0);
    assert_int_equal(listen_open(&p->at, &plain, &other), -EADDRINUSE);
    assert_int_equal(access(p->path, F_OK), 0);
    listen_close(fd, &p->at, &path);
}

/* A process that died left its path behind. */
static void unix_stale(void **state)
{
    struct place *p = *state;
    struct listen_path path;
    int fd = listen_open(&p->at, &plain, &path);
    assert_true(fd >= 0);
    close(fd);
    fd = listen_open(&p->at, &plain, &path);
    assert_true(fd >= 0);
    listen_close(fd, &p->at, &path);
    assert_int_equal(access(p->path, F_OK), -1);
}

static void unix_is_a_file(void **state)
{
    struct place *p = *state;
    struct listen_path path;
    int fd = open(p->path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(listen_open(&p->at, &plain, &path), -EADDRINUSE);
    assert_int_equal(access(p->path, F_OK), 0);
}

/* The path is somebody else's by now: it stays. */
static void unix_replaced(void **state)
{
    struct place *p = *state;
    struct listen_path mine;
    struct listen_path theirs;
    char moved[120];
    snprintf(moved, sizeof(moved), "%s.old", p->path);
    int fd = listen_open(&p->at, &plain, &mine);
    assert_int_equal(rename(p->path, moved), 0);
    int other = listen_open(&p->at, &plain, &theirs);
    assert_true(fd >= 0 && other >= 0);
    listen_close(fd, &p->at, &mine);
    assert_int_equal(access(p->path, F_OK), 0);
    listen_close(other, &p->at, &theirs);
    assert_int_equal(access(p->path, F_OK), -1);
    unlink(moved);
}

static void errors(void **state)
{
    (void)state;
    struct addr at;
    struct listen_path path;
    assert_true(addr_unix(&at, "/nonexistent-folder/s"));
    assert_int_equal(listen_open(&at, &plain, &path), -ENOENT);
    assert_true(addr_literal(&at, "192.0.2.1", 0)); /* an address that no host has */
    assert_int_equal(listen_open(&at, &plain, NULL), -EADDRNOTAVAIL);
}

static void resolves(void **state)
{
    (void)state;
    struct addr at;
    char text[ADDR_TEXT];
    assert_int_equal(listen_resolve("127.0.0.1", 22121, &at), 0);
    assert_string_equal(addr_text(&at, text), "127.0.0.1:22121");
    assert_int_equal(listen_resolve("localhost", 22121, &at), 0);
    assert_int_equal(listen_resolve(NULL, 22121, &at), 0);
    struct addr star;
    assert_int_equal(listen_resolve("*", 22121, &star), 0);
    assert_memory_equal(&star, &at, sizeof(at));
    assert_int_not_equal(listen_resolve("no such name.invalid", 1, &at), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tcp),
        cmocka_unit_test_setup_teardown(unix_mode, setup, teardown),
        cmocka_unit_test_setup_teardown(unix_in_use, setup, teardown),
        cmocka_unit_test_setup_teardown(unix_stale, setup, teardown),
        cmocka_unit_test_setup_teardown(unix_is_a_file, setup, teardown),
        cmocka_unit_test_setup_teardown(unix_replaced, setup, teardown),
        cmocka_unit_test(errors),
        cmocka_unit_test(resolves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
