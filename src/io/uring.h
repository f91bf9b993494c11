/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit uring is the loop on Linux's io_uring: the kernel puts what it receives into buffers of the
 * loop's and tells of it without being asked again. It is part of the program if liburing was there
 * when it was built. */
#ifndef IO_URING_H
#define IO_URING_H

#include "io/loop.h"

extern const struct loop_ops uring_ops;

#endif
