/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit epoll is the loop's backend over Linux epoll, edge-triggered. */
#ifndef IO_EPOLL_H
#define IO_EPOLL_H

#include "io/loop.h"

extern const struct loop_ops epoll_ops;

#endif
