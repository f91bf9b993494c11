/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t watch_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

/* The first number in a file; 0 if there is none. */
static uint64_t first_number(const char *path)
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    unsigned long long number = 0;
    if (fscanf(f, "%llu", &number) != 1)
        number = 0;
    fclose(f);
    return number;
}

uint64_t watch_cpu(pid_t pid)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL)
        return 0;
    uint64_t sum = 0;
    /* cppcheck-suppress readdirCalled; there is one thread */
    for (struct dirent *e = readdir(tasks); e != NULL; e = readdir(tasks)) {
        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, e->d_name);
        sum += first_number(path);
    }
    closedir(tasks);
    return sum;
}

uint64_t watch_rss(pid_t pid)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    unsigned long long pages = 0;
    if (fscanf(f, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t watch_machine(void)
{
    FILE *f = fopen("/proc/stat", "re");
    if (f == NULL)
        return 0;
    unsigned long long user = 0;
    unsigned long long nice = 0;
    unsigned long long system = 0;
    unsigned long long irq = 0;
    unsigned long long softirq = 0;
    if (fscanf(f, "cpu %llu %llu %llu %*u %*u %llu %llu", &user, &nice, &system, &irq, &softirq) !=
        5)
        user = nice = system = irq = softirq = 0;
    fclose(f);
    uint64_t tick = 1000000000U / (uint64_t)sysconf(_SC_CLK_TCK);
    return (user + nice + system + irq + softirq) * tick;
}
