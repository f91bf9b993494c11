/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit privileges makes a process that was started by root one of an ordinary user, for good: the keys `user` and
 * `group`. All of it belongs to the main thread, before any other starts.
 *
 * Files are the delicate part. In a directory where the user may create files, root must not open any: the user could
 * have put a link there, to a file of somebody else. So those are opened as the user. Elsewhere root opens them and then
 * gives them to the user, who needs that to open the log again. */
#ifndef RUN_PRIVILEGES_H
#define RUN_PRIVILEGES_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/must.h"

struct privileges {
    const char *user; /* borrowed; NULL: there is nobody to become, the rest does nothing */
    uid_t uid;
    gid_t gid;
    bool is_already; /* we are that user already, as under systemd's User= */
};

/** Looks up the user, and the group if there is one (else the user's own); either may be NULL. False: there is no such
 * user or group, the user is root, we are neither root nor that user, or there is a group without a user; the reason is
 * written to `errors`. */
must_check bool privileges_find(struct privileges *p, const char *user, const char *group,
                                FILE *errors);

/** Acts as the user if they may create files where `path` is, until privileges_return(). 0 or a negative errno. */
must_check int privileges_borrow(const struct privileges *p, const char *path);

/** Acts as before privileges_borrow(). 0 or a negative errno, after which the process must end. */
must_check int privileges_return(const struct privileges *p);

/** Gives an open file to the user, if it is a regular one. 0 or a negative errno. */
must_check int privileges_give(const struct privileges *p, int fd);

/** Becomes the user for good: groups, group, user, no capability left, none to be gained by running another program;
 * a crash leaves a core as without this. 0, or a negative errno and in `*what` what failed; the process must end
 * then. -EPERM also if the kernel would let us become root again. */
must_check int privileges_drop(const struct privileges *p, const char **what);

#endif
