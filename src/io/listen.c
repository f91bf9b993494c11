/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int socket_for(const struct addr *at)
{
    int fd = socket(at->u.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    return fd;
}

/* Does anybody listen at this unix path? A full backlog (EAGAIN) is an answer too. */
static bool path_answers(const struct addr *at)
{
    int fd = socket_for(at);
    if (fd < 0)
        return true;
    int rc = connect(fd, &at->u.any, at->len);
    int err = errno;
    close(fd);
    return rc == 0 || (err != ECONNREFUSED && err != ENOENT);
}

/* Removes what an earlier process left at the path. 0 or -EADDRINUSE. */
static int path_clear(const struct addr *at)
{
    struct stat st;
    if (lstat(at->u.un.sun_path, &st) != 0)
        return 0; /* nothing there; if it can't be looked at, bind() says why */
    if (!S_ISSOCK(st.st_mode) || path_answers(at))
        return -EADDRINUSE;
    return unlink(at->u.un.sun_path) == 0 || errno == ENOENT ? 0 : -errno;
}

static int set_tcp_options(int fd, const struct listen_options *opt)
{
    const int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0)
        return -errno;
    if (opt->reuseport && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0)
        return -errno;
    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 ? 0 : -errno;
}

/* After bind() and before listen(), so that nobody can connect before the permissions are right. */
static int set_path(const struct addr *at, const struct listen_options *opt,
                    struct listen_path *path)
{
    const char *name = at->u.un.sun_path;
    struct stat st;
    int err = 0;
    if (opt->mode >= 0 && chmod(name, (mode_t)opt->mode) != 0)
        err = -errno;
    else if (lstat(name, &st) != 0)
        err = -errno;
    if (err != 0) {
        unlink(name);
        return err;
    }
    if (path != NULL)
        *path = (struct listen_path){.dev = st.st_dev, .ino = st.st_ino};
    return 0;
}

static int bind_and_listen(int fd, const struct addr *at, const struct listen_options *opt,
                           struct listen_path *path)
{
    bool is_unix = addr_is_unix(at);
    int err = is_unix ? path_clear(at) : set_tcp_options(fd, opt);
    if (err != 0)
        return err;
    if (bind(fd, &at->u.any, at->len) != 0)
        return -errno;
    err = is_unix ? set_path(at, opt, path) : 0;
    if (err != 0)
        return err;
    if (listen(fd, opt->backlog) == 0)
        return 0;
    err = -errno;
    if (is_unix)
        unlink(at->u.un.sun_path);
    return err;
}

int listen_open(const struct addr *at, const struct listen_options *opt, struct listen_path *path)
{
    int fd = socket_for(at);
    if (fd < 0)
        return fd;
    int err = bind_and_listen(fd, at, opt, path);
    if (err == 0)
        return fd;
    close(fd);
    return err;
}

int listen_give(const struct addr *at, const struct listen_path *path, uid_t uid, gid_t gid)
{
    if (!addr_is_unix(at))
        return 0;
    /* The descriptor holds on to what is looked at, so that nobody can exchange it in between. */
    int fd = open(at->u.un.sun_path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct stat st;
    int err = 0;
    if (fstat(fd, &st) != 0)
        err = -errno;
    else if (st.st_dev == path->dev && st.st_ino == path->ino &&
             fchownat(fd, "", uid, gid, AT_EMPTY_PATH) != 0)
        err = -errno;
    close(fd);
    return err;
}

void listen_unlink(const struct addr *at, const struct listen_path *path)
{
    struct stat st;
    if (addr_is_unix(at) && path != NULL && lstat(at->u.un.sun_path, &st) == 0 &&
        S_ISSOCK(st.st_mode) && st.st_dev == path->dev && st.st_ino == path->ino)
        unlink(at->u.un.sun_path);
}

void listen_close(int fd, const struct addr *at, const struct listen_path *path)
{
    listen_unlink(at, path);
    close(fd);
}

int listen_resolve(const char *host, uint16_t port, struct addr *out)
{
    if (host != NULL && addr_literal(out, host, port))
        return 0;
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                   .ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM};
    char service[8];
    snprintf(service, sizeof(service), "%u", (unsigned)port);
    struct addrinfo *found = NULL;
    int err = getaddrinfo(host, service, &hints, &found);
    if (err != 0)
        return err;
    *out = (struct addr){.len = found->ai_addrlen};
    memcpy(&out->u, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}
