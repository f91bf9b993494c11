/* SPDX-License-Identifier: BSD-3-Clause */
#include "run/processors.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

/* A system's files in a folder of their own. */
struct fixture {
    char root[64];
};

static int setup(void **state)
{
    static struct fixture f;
    strcpy(f.root, "/tmp/cashew-groups-XXXXXX");
    assert_non_null(mkdtemp(f.root));
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    snprintf(command, sizeof(command), "rm -r '%s'", f->root);
    return system(command) == 0 ? 0 : -1; /* NOLINT(cert-env33-c): a fixed path of our own */
}

static void put(const struct fixture *f, const char *path, const char *text)
{
    char full[256];
    int n = snprintf(full, sizeof(full), "%s%s", f->root, path);
    assert_true(n > 0 && (size_t)n < sizeof(full));
    for (char *slash = strchr(full + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    FILE *file = fopen(full, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void test_no_groups_set_no_limit(void **state)
{
    const struct fixture *f = *state;
    assert_int_equal(processors_by_groups(f->root, 8), 8);
    put(f, "/proc/self/cgroup", "");
    assert_int_equal(processors_by_groups(f->root, 8), 8);
    put(f, "/proc/self/cgroup", "nonsense\n1:cpu\n2:cpu:relative\n");
    assert_int_equal(processors_by_groups(f->root, 8), 8);
}

static void test_version_2(void **state)
{
    const struct fixture *f = *state;
    static const struct {
        const char *max;
        unsigned processors;
    } rows[] = {
        {"max 100000\n", 8},    {"200000 100000\n", 2},
        {"150000 100000\n", 1}, {"299999 100000\n", 2},
        {"5000 100000\n", 1},   {"10000000 100000\n", 8},
        {"200000 0\n", 8},      {"\n", 8},
        {"-1 100000\n", 8},     {"many 100000\n", 8},
        {"200000\n", 8},        {"18446744073709551615 1\n", 8},
    };
    put(f, "/proc/self/cgroup", "0::/box\n");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        put(f, "/sys/fs/cgroup/box/cpu.max", rows[i].max);
        assert_int_equal(processors_by_groups(f->root, 8), rows[i].processors);
    }
}

static void test_a_group_above_holds_too(void **state)
{
    const struct fixture *f = *state;
    put(f, "/proc/self/cgroup", "0::/a/b/c\n");
    put(f, "/sys/fs/cgroup/a/b/c/cpu.max", "600000 100000\n");
    put(f, "/sys/fs/cgroup/a/cpu.max", "300000 100000\n");
    assert_int_equal(processors_by_groups(f->root, 8), 3);
    put(f, "/sys/fs/cgroup/cpu.max", "200000 100000\n");
    assert_int_equal(processors_by_groups(f->root, 8), 2);
}

static void test_version_1(void **state)
{
    const struct fixture *f = *state;
    put(f, "/proc/self/cgroup", "9:memory:/m\n4:cpu,cpuacct:/docker/1\n3:cpuset:/x\n0::/\n");
    put(f, "/sys/fs/cgroup/cpuset/x/cpu.cfs_quota_us", "100000\n");
    put(f, "/sys/fs/cgroup/cpuset/x/cpu.cfs_period_us", "100000\n");
    assert_int_equal(processors_by_groups(f->root, 8), 8);
    put(f, "/sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us", "-1\n");
    put(f, "/sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us", "50000\n");
    assert_int_equal(processors_by_groups(f->root, 8), 8);
    put(f, "/sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us", "200000\n");
    assert_int_equal(processors_by_groups(f->root, 8), 4);
}

/* In a container the path of the group is the one outside, and what is mounted is the group. */
static void test_inside_a_container(void **state)
{
    const struct fixture *f = *state;
    put(f, "/proc/self/cgroup", "1:cpuacct,cpu:/kubepods/pod1/box\n");
    put(f, "/sys/fs/cgroup/cpuacct,cpu/cpu.cfs_quota_us", "250000\n");
    put(f, "/sys/fs/cgroup/cpuacct,cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(processors_by_groups(f->root, 8), 2);
}

static void test_the_processors_that_it_may_run_on(void **state)
{
    const struct fixture *f = *state;
    cpu_set_t all;
    assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
    assert_int_equal(processors_allowed(f->root), CPU_COUNT(&all));
    unsigned first = 0;
    while (!CPU_ISSET(first, &all))
        first++;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    assert_int_equal(processors_allowed(f->root), 1);
    assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
    put(f, "/proc/self/cgroup", "0::/\n");
    put(f, "/sys/fs/cgroup/cpu.max", "100000 100000\n");
    assert_int_equal(processors_allowed(f->root), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_no_groups_set_no_limit),  TEST(test_version_2),
        TEST(test_a_group_above_holds_too), TEST(test_version_1),
        TEST(test_inside_a_container),      TEST(test_the_processors_that_it_may_run_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
