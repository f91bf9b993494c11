/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit listeners holds the listening sockets of the process, one for each pool. */
#ifndef RUN_LISTENERS_H
#define RUN_LISTENERS_H

#include <stdio.h>

#include "base/must.h"
#include "conf/conf.h"
#include "io/addr.h"
#include "io/listen.h"
#include "run/privileges.h"

struct listener {
    int fd; /* -1: not open */
    struct addr at;
    struct listen_path path;
};

struct listeners {
    uint32_t count;
    int *fds;              /* by pool */
    struct listener *each; /* by pool */
};

/** Binds and listens for every pool; paths of unix sockets belong to whom the process will become.
 * On failure writes every reason to `errors`, leaves nothing open and returns false. */
must_check bool listeners_open(struct listeners *ls, const struct conf *conf,
                               const struct privileges *privileges, FILE *errors);

/** Removes the paths of unix sockets that are still ours, and nothing else: for an end while threads
 * still run. */
void listeners_unlink(const struct listeners *ls);

/** Closes all; removes the paths of unix sockets that are still ours. */
void listeners_close(struct listeners *ls);

#endif
