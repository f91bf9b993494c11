/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit kernel holds the calls to the kernel that the real backends of the loop make alike. */
#ifndef IO_KERNEL_H
#define IO_KERNEL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/must.h"
#include "io/addr.h"

/** Begins to connect a new non-blocking socket, with TCP_NODELAY on TCP. Returns its fd, which is
 * the caller's, or a negative errno. It is done, or has failed, when the fd is writable. */
must_check int kernel_connect(const struct addr *to);

/** How connecting went: 0 or a negative errno. */
must_check int kernel_connected(int fd);

/** The error that the kernel holds for the socket, and forgets by this: 0 or a negative errno. */
must_check int kernel_error(int fd);

/** Sends without waiting and without a signal. As sock_send(). */
must_check ssize_t kernel_send(int fd, const struct iovec *iov, int count);

#endif
