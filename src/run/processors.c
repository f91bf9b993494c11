/* SPDX-License-Identifier: BSD-3-Clause */
#include "run/processors.h"

#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"

/* More processors than any kernel counts; the system call refuses a set that is too small. */
enum { SETS = 16 };

/* Puts the first word of a file, and the second one if there is, into `a` and `b`, 32 bytes each. */
static bool read_words(const char *path, char *a, char *b)
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    *a = '\0';
    *b = '\0';
    int n = fscanf(f, "%31s %31s", a, b);
    fclose(f);
    return n >= 1;
}

/* A number of microseconds; 0 for anything else, such as "max" and "-1", which mean no limit. */
static uint64_t microseconds(const char *word)
{
    char *end;
    unsigned long long n = strtoull(word, &end, 10);
    return *word == '-' || *word == '\0' || *end != '\0' ? 0 : n;
}

static unsigned lower(unsigned most, const char *quota, const char *period)
{
    uint64_t q = microseconds(quota);
    uint64_t p = microseconds(period);
    if (q == 0 || p == 0 || q / p >= most)
        return most;
    return q < p ? 1 : (unsigned)(q / p);
}

static bool join(char *path, const char *root, const char *mount, const char *group,
                 const char *file)
{
    int n = snprintf(path, PATH_MAX, "%s%s%s/%s", root, mount, group, file);
    return n > 0 && n < PATH_MAX;
}

/* The limit of one group. What can't be read sets none: a process in a container sees the path that
 * its group has outside, under which there is nothing inside. */
static unsigned limit_of(const char *root, const char *mount, const char *group, unsigned most)
{
    char path[PATH_MAX];
    char quota[32];
    char period[32];
    char unused[32];
    if (join(path, root, mount, group, "cpu.max") && read_words(path, quota, period))
        return lower(most, quota, period);
    if (join(path, root, mount, group, "cpu.cfs_quota_us") && read_words(path, quota, unused) &&
        join(path, root, mount, group, "cpu.cfs_period_us") && read_words(path, period, unused))
        return lower(most, quota, period);
    return most;
}

/* The group and all above it, up to where the controller is mounted. */
static unsigned limit_of_all(const char *root, const char *mount, char *group, unsigned most)
{
    while (*group != '\0') {
        most = limit_of(root, mount, group, most);
        *strrchr(group, '/') = '\0';
    }
    return limit_of(root, mount, "", most);
}

/* Is "cpu" one of the controllers of a line of version 1, such as "cpu,cpuacct"? */
static bool names_cpu(const char *controllers)
{
    for (const char *at = controllers; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, "cpu", 3) == 0 && (at[3] == ',' || at[3] == '\0'))
            return true;
    }
    return false;
}

/* A line of /proc/self/cgroup: "4:cpu,cpuacct:/group", or "0::/group" of version 2. */
static unsigned limit_of_line(const char *root, char *line, unsigned most)
{
    char *controllers = strchr(line, ':');
    char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
    if (group == NULL || group[1] != '/')
        return most;
    *group++ = '\0';
    controllers++;
    group[strcspn(group, "\n")] = '\0';
    if (*controllers == '\0')
        return limit_of_all(root, "/sys/fs/cgroup", group, most);
    if (!names_cpu(controllers))
        return most;
    char mount[PATH_MAX];
    int n = snprintf(mount, sizeof(mount), "/sys/fs/cgroup/%s", controllers);
    return n < (int)sizeof(mount) ? limit_of_all(root, mount, group, most) : most;
}

unsigned processors_by_groups(const char *root, unsigned most)
{
    char path[PATH_MAX];
    FILE *f = join(path, root, "/proc/self", "", "cgroup") ? fopen(path, "re") : NULL;
    if (f == NULL)
        return most;
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, f) > 0)
        most = limit_of_line(root, line, most);
    free(line);
    fclose(f);
    return most;
}

unsigned processors_allowed(const char *root)
{
    cpu_set_t sets[SETS];
    int count = 1;
    if (sched_getaffinity(0, sizeof(sets), sets) == 0)
        count = CPU_COUNT_S(sizeof(sets), sets);
    must(count > 0);
    return processors_by_groups(root, (unsigned)count);
}
