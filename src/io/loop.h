/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit loop is the boundary to the kernel: sockets, timers, wake-ups and name look-ups of one
 * thread. Its shape is that of completions; a backend is one const vtable, chosen at run time:
 * epoll.c, uring.c, and sim.c, which is in memory and deterministic, for tests and fuzzing.
 *
 * Rules that every backend keeps:
 * - A turn takes at most 256 events and at most 256 KiB of each connection; what is left over comes
 * in the next turn. After the events of a turn the loop calls every `struct turn_end` that asked
 * for it: there the touched connections are flushed.
 * - No callback is ever called from inside a call to the loop: only from loop_run(). So the callee
 * may call anything.
 * - After loop_close(sock) no callback of it comes but `closed`, exactly once, from a later point
 * of loop_run(); the memory of a sock may be reused from inside `closed`, and not before.
 * - All times are milliseconds of a monotonic clock, read once per turn. */
#ifndef IO_LOOP_H
#define IO_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/chain.h"
#include "base/list.h"
#include "base/must.h"
#include "base/span.h"
#include "io/addr.h"

struct loop;
struct sock;

enum {
    LOOP_EVENTS_PER_TURN = 256,
    LOOP_BYTES_PER_TURN = 262144, /* of one connection */
};

struct sock_events {
    /** loop_connect() ended: `err` is 0 or a negative errno. After an error only loop_close() is
     * allowed. */
    void (*connected)(struct sock *s, int err);
    /** Bytes came. They are lent for the time of the call. */
    void (*recv)(struct sock *s, struct span in);
    /** The peer sends no more: `err` is 0 after an orderly FIN, else a negative errno (the
     * connection is dead). Once, and after the last recv. Comes also while the socket is paused if
     * the connection broke, but an orderly FIN only after all bytes before it were received. */
    void (*ended)(struct sock *s, int err);
    /** loop_want_writable() was asked for and there is room again. One call for each asking. */
    void (*writable)(struct sock *s);
    /** loop_close() is done: the memory is the owner's again. */
    void (*closed)(struct sock *s);
    /** While it is paused: the peer sends no more than what is still to be received, and `ended` comes behind that.
     * Once at most. May be NULL. */
    void (*left)(struct sock *s);
};

/** A connected or connecting socket; embedded in its owner (a stream). All but `on` belongs to the
 * backend. */
struct sock {
    const struct sock_events *on;
    struct loop *loop;
    struct list link; /* the loop's rescan or closing list */
    void *backend;    /* more of the backend's, if it needs more */
    int fd;
    uint32_t bits;
};

/** A listening socket as one worker's loop watches it. The fd is the process's; it is never closed
 * by the loop. When the process is out of file descriptors the loop pauses accepting for 100 ms and
 * logs it, then tries again. */
struct acceptor {
    void (*accepted)(struct acceptor *a,
                     int fd); /* fd is non-blocking and close-on-exec; the callee owns it */
    struct loop *loop;
    struct list link;
    void *backend;
    int fd;
    uint32_t bits;
};

struct timer {
    void (*fire)(struct timer *t);
    struct list link;
    uint64_t due; /* ms */
};

/** Called once after the events of the turn in which loop_at_turn_end() was called. */
struct turn_end {
    void (*run)(struct turn_end *t);
    struct list link;
};

/** Somebody who keeps memory ready for the next use; embedded in its owner, who removes it with
 * list_unlink(&k->link). */
struct keeper {
    /** Is there enough that could be given back? Asked in every turn. */
    bool (*can_shed)(struct keeper *k);
    /** Frees what was not needed since the last call. Asked about once a second. */
    void (*shed)(struct keeper *k);
    struct list link;
};

/** Work posted to a loop from another thread. The poster owns the memory until `run` was called. */
struct task {
    void (*run)(struct task *t);
    struct task *next; /* the loop's */
};

/** A name look-up under way; embedded in its owner. */
struct lookup {
    /** `err` is 0, or a getaddrinfo() error code (EAI_*). `addrs` is lent for the time of the call.
     * Not called after loop_lookup_cancel(). */
    void (*done)(struct lookup *l, int err, const struct addr *addrs, size_t count);
    void *backend; /* backend's; zero before the first look-up */
};

/** What a backend must do. Timers, turn ends, posted tasks and closing are the same for all of them
 * and live in loop.c; so `closed` is called by nobody else. */
struct loop_ops {
    const char *name;
    const char *needs;          /* of the system, for people whose system lacks it; or NULL */
    struct loop *(*open)(void); /* NULL and errno; loop_open() fills in the shared part */
    void (*free)(struct loop *l);
    /* Waits at most `ms` (-1: as long as it takes) for events, sets `now`, and reports the events.
     */
    void (*poll)(struct loop *l, int ms);
    void (*wake)(struct loop *l); /* ends the wait of poll; from any thread */
    int (*accept_start)(struct loop *l, struct acceptor *a);
    void (*accept_stop)(struct loop *l, struct acceptor *a);
    int (*adopt)(struct loop *l, struct sock *s, int fd);
    int (*connect)(struct loop *l, struct sock *s, const struct addr *to);
    ssize_t (*send)(struct sock *s, const struct iovec *iov, int count);
    /* Something in the low bits of the sock was changed (SOCK_...): see to it that poll looks at
     * the sock. */
    void (*review)(struct sock *s);
    void (*shutdown)(struct sock *s);
    void (*close)(
        struct sock *s); /* lets go of the fd; nothing of the sock may be reported any more */
    int (*lookup)(struct loop *l, struct lookup *k, const char *host, uint16_t port);
    void (*lookup_cancel)(struct loop *l, struct lookup *k);
};

/* The bits of a sock that loop.c sets and backends obey; theirs begin at SOCK_BACKEND. */
enum {
    SOCK_CLOSING = 1u << 0, /* report nothing */
    SOCK_PAUSED = 1u << 1,  /* report no recv and no orderly end */
    SOCK_WANTED = 1u << 2,  /* report writable once, if there is room */
    SOCK_OFFER = 1u << 3,   /* report one recv without bytes, unless paused */
    SOCK_LEFT = 1u << 4,    /* the backends': `left` was reported */
    SOCK_BACKEND = 1u << 8,
};

/** The part of a loop that backends share; each backend's struct begins with it. */
struct loop {
    const struct loop_ops *ops;
    uint64_t now;                  /* ms, monotonic, as of the start of this turn */
    struct list turn_ends;         /* of this turn */
    struct list timers;            /* running, in the order they are due */
    struct list closing;           /* socks whose `closed` is to be called */
    struct chunk_pool pool;        /* chunks of the streams of this loop */
    struct list keepers;           /* others that keep memory ready */
    struct timer shed_timer;       /* gives back what is ready and not needed; idle: not running */
    size_t untrimmed;              /* the most memory since it was last given back to the system */
    _Atomic(struct task *) posted; /* latest first */
    struct list dirty;             /* streams to flush when the turn ends; unit stream's */
    struct list finishing;         /* streams on their way out, by deadline; unit stream's */
    struct timer finish_timer;     /* of the first of them */
    void (*flush)(struct loop *l); /* flushes `dirty`; NULL until there is a stream */
    size_t socks;                  /* adopted or connected, and not yet closed */
    bool stopping;
};

/** Every backend, ended by NULL; the first is the default. */
extern const struct loop_ops *const loop_backends[];

/** The backend of that name, or NULL. */
const struct loop_ops *loop_backend(struct span name);

/** A new loop of the calling thread; NULL and errno. */
must_check struct loop *loop_open(const struct loop_ops *ops);

/** Frees the loop. Every socket must be closed (its `closed` called: a leak aborts), every timer
 * stopped, every look-up ended or cancelled. Tasks that were posted and did not run are forgotten.
 */
void loop_free(struct loop *l);

/** Takes turns until loop_stop(). */
void loop_run(struct loop *l);

/** One turn; waits for an event if `may_wait` (and nothing is left over), else only looks. Runs
 * turn ends. */
void loop_turn(struct loop *l, bool may_wait);

/** Makes loop_run() return after this turn. Called on the loop's own thread. */
void loop_stop(struct loop *l);

static inline uint64_t loop_now(const struct loop *l)
{
    return l->now;
}

/** Starts watching `a->fd`. 0 or a negative errno. */
must_check int loop_accept_start(struct loop *l, struct acceptor *a);
void loop_accept_stop(struct loop *l, struct acceptor *a);

/** Takes over a connected, non-blocking `fd`; receiving starts at once. 0, or a negative errno: the
 * fd is then still the caller's. `s->on` must be set; the rest of `*s` is initialised here. */
must_check int loop_adopt(struct loop *l, struct sock *s, int fd);

/** Starts to connect; `connected` follows (also when the connection stands at once), then receiving
 * starts. Sets TCP_NODELAY on TCP. 0, or a negative errno: there is then nothing to close. */
must_check int loop_connect(struct loop *l, struct sock *s, const struct addr *to);

/** Hands bytes to the kernel. Returns how many it took, -EAGAIN, or another negative errno (the
 * connection is dead). */
must_check ssize_t sock_send(struct sock *s, const struct iovec *iov, int count);

/** Asks for one `writable`. */
void sock_want_writable(struct sock *s);

/** Stops receiving; at most one more `recv` comes. */
void sock_pause(struct sock *s);
void sock_resume(struct sock *s);

/** Asks for one `recv` without bytes, from the loop, as soon as the sock is not paused: so that a
 * stream can offer again what it kept. Comes also after `ended`. */
void sock_offer(struct sock *s);

/** Sends FIN after what was sent; receiving goes on. */
void sock_shutdown(struct sock *s);

/** For backends: reports that the peer sends no more. */
static inline void sock_report_left(struct sock *s)
{
    s->bits |= SOCK_LEFT;
    if (s->on->left != NULL)
        s->on->left(s);
}

/** Closes: `closed` follows. Allowed at any time after a successful adopt or connect, once. */
void sock_close(struct sock *s);

/** Fires once, `ms` from the time of this turn; starting a running timer moves it. `t->fire` must
 * be set, and the timer initialised by timer_init(). */
void timer_init(struct timer *t, void (*fire)(struct timer *));
void timer_start(struct loop *l, struct timer *t, uint64_t ms);
void timer_stop(struct loop *l, struct timer *t);
static inline bool timer_running(const struct timer *t)
{
    return list_linked(&t->link);
}

/** Runs `t` at the end of this turn; asking twice in a turn is one call. Turn ends asked for by a
 * turn end run in the same turn, after it. */
void turn_end_init(struct turn_end *t, void (*run)(struct turn_end *));
static inline void loop_at_turn_end(struct loop *l, struct turn_end *t)
{
    if (!list_linked(&t->link))
        list_append(&l->turn_ends, &t->link);
}

/** Adds one who keeps memory ready. */
static inline void loop_add_keeper(struct loop *l, struct keeper *k)
{
    list_append(&l->keepers, &k->link);
}

/** Runs `t` on the loop's thread soon; may be called from any thread, and wakes the loop. The loop
 * must outlive the call. Tasks of one poster run in the order they were posted. */
void loop_post(struct loop *l, struct task *t);

/** Looks `host` up on the resolver thread. 0, or a negative errno and no call of `done`. */
must_check int loop_lookup(struct loop *l, struct lookup *k, const char *host, uint16_t port);

/** No `done` will come; harmless if the look-up is over or never began. */
void loop_lookup_cancel(struct loop *l, struct lookup *k);

#endif
