/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/kernel.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int start_connect(int fd, const struct addr *to)
{
    const int on = 1;
    if (!addr_is_unix(to) && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
        return -errno;
    return connect(fd, &to->u.any, to->len) == 0 || errno == EINPROGRESS ? 0 : -errno;
}

int kernel_connect(const struct addr *to)
{
    int fd = socket(to->u.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int err = start_connect(fd, to);
    if (err == 0)
        return fd;
    close(fd);
    return err;
}

int kernel_error(int fd)
{
    int err = 0;
    socklen_t len = sizeof(err);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 ? -err : -errno;
}

/* Connecting to a free port of this host may, by chance, get that very port as its own and so
 * connect to itself. */
static bool connected_to_itself(int fd)
{
    struct addr here = {.len = sizeof(here.u)};
    struct addr there = {.len = sizeof(there.u)};
    if (getsockname(fd, &here.u.any, &here.len) != 0 ||
        getpeername(fd, &there.u.any, &there.len) != 0)
        return false;
    return !addr_is_unix(&here) && here.len == there.len &&
           memcmp(&here.u, &there.u, here.len) == 0;
}

int kernel_connected(int fd)
{
    int err = kernel_error(fd);
    return err == 0 && connected_to_itself(fd) ? -ECONNREFUSED : err;
}

ssize_t kernel_send(int fd, const struct iovec *iov, int count)
{
    const struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                               .msg_iovlen = (size_t)count};
    ssize_t n;
    /* One piece is the common case, and send() spares the kernel the reading of two structs. */
    do
        n = count == 1 ? send(fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL)
                       : sendmsg(fd, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}
