/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/accept.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"

/* How many connections one listener gives in a turn, so that other workers get some and nobody
 * waits long. */
enum { ACCEPTS_PER_TURN = 8, ACCEPT_PAUSE_MS = 100 };

void accepting_pause(struct accepting *x, struct acceptor *a, int err)
{
    log_warn("accept on %d failed, trying again in %d ms: %s", a->fd, ACCEPT_PAUSE_MS,
             strerror(err));
    list_unlink(&a->link);
    list_append(&x->paused, &a->link);
    if (!timer_running(&x->again))
        timer_start(x->loop, &x->again, ACCEPT_PAUSE_MS);
}

static void watch_again(struct timer *t)
{
    struct accepting *x = container_of(t, struct accepting, again);
    struct list paused;
    list_move(&paused, &x->paused);
    while (!list_empty(&paused)) {
        struct acceptor *a = LIST_FIRST(&paused, struct acceptor, link);
        list_unlink(&a->link);
        int err = x->watch(x->loop, a);
        if (err != 0)
            accepting_pause(x, a, -err);
    }
}

void accepting_init(struct accepting *x, struct loop *l,
                    int (*watch)(struct loop *l, struct acceptor *a))
{
    *x = (struct accepting){.loop = l, .watch = watch};
    list_init(&x->paused);
    timer_init(&x->again, watch_again);
}

static bool out_of_resources(int err)
{
    return err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM;
}

enum accepted accepting_take(struct accepting *x, struct acceptor *a)
{
    enum accepted result = ACCEPT_ON;
    x->current = a;
    for (int i = 0; i < ACCEPTS_PER_TURN && x->current == a; i++) {
        int fd = accept4(a->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            a->accepted(a, fd);
            continue;
        }
        if (errno == EAGAIN)
            break;
        if (out_of_resources(errno)) {
            accepting_pause(x, a, errno);
            result = ACCEPT_PAUSED;
            break;
        }
        /* Anything else is the fault of that one connection, which is gone now. */
    }
    if (x->current != a)
        result = ACCEPT_STOPPED;
    x->current = NULL;
    return result;
}

void accepting_stop(struct accepting *x, struct acceptor *a)
{
    list_unlink(&a->link);
    if (list_empty(&x->paused))
        timer_stop(x->loop, &x->again);
    if (x->current == a)
        x->current = NULL;
}
