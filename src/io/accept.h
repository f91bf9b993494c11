/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit accept takes clients from listening sockets: the part of it that does not depend on how a
 * backend of the loop learns that there are some. */
#ifndef IO_ACCEPT_H
#define IO_ACCEPT_H

#include "base/list.h"
#include "io/loop.h"

/** One loop's. */
struct accepting {
    struct loop *loop;
    int (*watch)(struct loop *l, struct acceptor *a); /* 0 or a negative errno */
    struct list paused;                               /* those that ran out of file descriptors */
    struct timer again;                               /* for them */
    struct acceptor *current; /* whose callback is running; NULL as soon as it was stopped */
};

/** `watch` is called when a pause is over. */
void accepting_init(struct accepting *x, struct loop *l,
                    int (*watch)(struct loop *l, struct acceptor *a));

enum accepted {
    ACCEPT_ON,      /* watch it further */
    ACCEPT_PAUSED,  /* stop watching it until `watch` is called */
    ACCEPT_STOPPED, /* accepting_stop() was called meanwhile: its memory may be gone */
};

/** Takes some of the clients that wait at `a`. */
enum accepted accepting_take(struct accepting *x, struct acceptor *a);

/** As if taking had failed with this errno: `watch` is called after a while. */
void accepting_pause(struct accepting *x, struct acceptor *a, int err);

/** Nothing of `a` will be reported any more. */
void accepting_stop(struct accepting *x, struct acceptor *a);

#endif
