/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit listen makes the process's listening sockets. */
#ifndef IO_LISTEN_H
#define IO_LISTEN_H

#include <stdbool.h>
#include <sys/types.h>

#include "io/addr.h"

struct listen_options {
    int backlog;
    bool reuseport;
    int mode; /* permissions of a unix socket, or -1: as the umask leaves them */
};

/** What must be known to remove a unix socket's path only while it is still ours. */
struct listen_path {
    dev_t dev;
    ino_t ino;
};

/** Binds and listens; non-blocking, close-on-exec, SO_REUSEADDR, TCP_NODELAY (inherited by what is
 * accepted). A unix path that exists is removed first if it is a socket that nobody answers on,
 * else the error is -EADDRINUSE. Returns the fd or a negative errno. `path` may be NULL for TCP. */
must_check int listen_open(const struct addr *at, const struct listen_options *opt,
                           struct listen_path *path);

/** Gives the path of a unix socket to a user and group, if that is still the socket that was made;
 * anything else, TCP too, is left alone. 0 or a negative errno. */
must_check int listen_give(const struct addr *at, const struct listen_path *path, uid_t uid,
                           gid_t gid);

/** Removes the path of a unix socket, if that is still the socket that was made. */
void listen_unlink(const struct addr *at, const struct listen_path *path);

/** Closes the fd and, for a unix socket, removes its path if that is still the socket that was
 * made. */
void listen_close(int fd, const struct addr *at, const struct listen_path *path);

/** Resolves host and port of a listen address, blocking (at start only); NULL is every address of
 * this host. 0 or an EAI_* code. */
must_check int listen_resolve(const char *host, uint16_t port, struct addr *out);

#endif
