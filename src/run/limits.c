/* SPDX-License-Identifier: BSD-3-Clause */
#include "run/limits.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>

/* Descriptors for logs, loops, the statistics port and its peers. */
enum { RESERVE = 32 };
/* What is asked for when the hard limit is "unlimited": more than any kernel gives a process by
 * default. */
#define OPEN_FILES_MOST ((rlim_t)1048576)

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
