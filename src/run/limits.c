/* SPDX-License-Identifier: BSD-3-Clause */
#include "run/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Descriptors for logs, loops, the statistics port and its peers. */
enum { RESERVE = 32 };
/* The least memory_limit for a worker, bytes: a few large requests and replies, and what the pools of
 * chunks need at all. */
enum { WORKER_MEMORY = 16 << 20 };
/* What is asked for when the hard limit is "unlimited": more than any kernel gives a process by
 * default. */
#define OPEN_FILES_MOST ((rlim_t)1048576)
/* Descriptors for which there is room from the start; for more the kernel makes it later. */
#define ROOM_MOST ((uint64_t)65536)

/* The limit of open files after raising it as far as it goes. */
static bool raise_open_files(uint64_t *files, FILE *errors)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        fprintf(errors, "error: can't read the limit of open files: %s\n", strerror(errno));
        return false;
    }
    rlim_t most = limit.rlim_max == RLIM_INFINITY ? OPEN_FILES_MOST : limit.rlim_max;
    if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < most) {
        struct rlimit raised = {.rlim_cur = most, .rlim_max = limit.rlim_max};
        /* Where it can't be raised the old limit holds. */
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            limit = raised;
    }
    *files = limit.rlim_cur == RLIM_INFINITY ? OPEN_FILES_MOST : limit.rlim_cur;
    return true;
}

bool limits_clients(const struct conf *conf, unsigned workers, uint64_t *clients, FILE *errors)
{
    uint64_t files;
    if (!raise_open_files(&files, errors))
        return false;
    uint64_t own = RESERVE + 3 * (uint64_t)workers;
    for (uint32_t i = 0; i < conf->pool_count; i++)
        own += 1 + (uint64_t)conf->pools[i].server_count *
                       (uint64_t)conf->pools[i].server_connections * workers;
    if (own >= files) {
        fprintf(errors,
                "error: the limit of open files is %" PRIu64 ", but servers, listeners and a "
                "reserve need %" PRIu64 "; raise it (ulimit -n, LimitNOFILE=)\n",
                files, own);
        return false;
    }
    *clients = files - own;
    return true;
}

void limits_make_room(uint64_t clients)
{
    struct rlimit limit;
    if (clients == 0 || getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    uint64_t room = limit.rlim_cur < ROOM_MOST ? limit.rlim_cur : ROOM_MOST;
    if (clients < room)
        room = clients;
    /* The duplicate is the highest descriptor that there may be, and gone at once; the room stays.
     */
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, (int)room - 1);
    if (fd >= 0)
        close(fd);
}

bool limits_memory(const struct conf *conf, const struct conf_global *set, unsigned workers,
                   FILE *errors)
{
    uint64_t limit = (uint64_t)set->memory_limit;
    uint64_t least = (uint64_t)WORKER_MEMORY * workers;
    if (limit == 0 || limit >= least)
        return true;
    conf_global_blame(conf, set, GLOBAL_memory_limit, errors);
    fprintf(errors,
            "memory_limit is %" PRIu64 " bytes, but %u worker(s) need at least %" PRIu64
            " (16m each)\n",
            limit, workers, least);
    return false;
}
