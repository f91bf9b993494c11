/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit sim is a loop in memory: connections, listeners, clock and look-ups are played by the test,
 * and the same calls always give the same events in the same order. For tests and fuzzing only; it
 * touches no file descriptor.
 *
 * A connection has a near end, the sock of the code under test, and a far end, a `struct sim_peer`
 * that the test plays. All peers and listeners belong to the loop and live until loop_free(). Calls
 * of this header may be made at any time, also from callbacks; what they cause is reported by a
 * later turn.
 *
 * When memory is out, as a test may will it, what would be received resets the connection with -ENOMEM,
 * and a send fails with -ENOBUFS.
 *
 * The clock stands still unless sim_advance() moves it or a turn that may wait has nothing to do:
 * then it jumps to what is due next. When nothing at all can happen any more loop_run() returns. */
#ifndef IO_SIM_H
#define IO_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/must.h"
#include "base/span.h"
#include "io/loop.h"

struct sim_peer;
struct sim_listener;

extern const struct loop_ops sim_ops;

enum { SIM_UNLIMITED = -1 };

/* ---- clock and turns ---- */

/** Moves the clock on by `ms`, stopping for a turn at each thing that becomes due on the way. */
void sim_advance(struct loop *l, uint64_t ms);

/** Takes turns until nothing is left to do at the present time; the clock does not move. */
void sim_settle(struct loop *l);

/* ---- connections ---- */

/** A client connects to what this acceptor listens on; `accepted` comes from the loop (never, if
 * the acceptor is not watched or stops before). NULL if memory is out. */
must_check struct sim_peer *sim_client(struct loop *l, struct acceptor *a);

/** A connection whose near end is to be given to loop_adopt() as `*fd`. NULL if memory is out. */
must_check struct sim_peer *sim_pair(struct loop *l, int *fd);

/** A server at `at`: each connection to it is shown to `on_peer` (may be NULL) when it stands.
 * loop_connect() to any other address is refused. NULL if memory is out. */
must_check struct sim_listener *sim_listen(struct loop *l, const struct addr *at,
                                           void (*on_peer)(struct sim_peer *p, void *context),
                                           void *context);

/** What connecting to it gives from now on: `err` is 0, a negative errno, or 1: no answer at all.
 * It takes `ms`. */
void sim_listener_set(struct sim_listener *s, int err, uint64_t ms);

/** The `n`th connection, from 0, that was made to the listener, also one that failed; NULL if there
 * is none. */
struct sim_peer *sim_listener_peer(const struct sim_listener *s, size_t n);
size_t sim_listener_count(const struct sim_listener *s);

/* ---- the far end ---- */

/** Sends bytes to the near end. False if memory is out or the connection is gone. */
must_check bool sim_peer_send(struct sim_peer *p, struct span bytes);

/** All that came from the near end and was not dropped yet; valid until the next turn. */
struct span sim_peer_received(const struct sim_peer *p);

/** Drops the first `n` bytes of that. */
void sim_peer_drop(struct sim_peer *p, size_t n);

/** Calls `on_bytes` from the loop whenever bytes came or the near end ended, for scripted servers.
 */
void sim_peer_on(struct sim_peer *p, void (*on_bytes)(struct sim_peer *p, void *context),
                 void *context);

/** FIN: the near end gets the bytes sent before, then `ended` with 0. */
void sim_peer_half_close(struct sim_peer *p);

/** Closes: as a half-close, and what the near end sends from now on fails with -EPIPE. */
void sim_peer_close(struct sim_peer *p);

/** The connection breaks at once with this negative errno; bytes on the way are lost. */
void sim_peer_reset(struct sim_peer *p, int err);

/** Did the near end send its FIN, or close? */
bool sim_peer_ended(const struct sim_peer *p);

/** Did the near end close its sock? */
bool sim_peer_gone(const struct sim_peer *p);

/* ---- the network between ---- */

/** At most `n` bytes come with each recv, and one recv a turn (SIM_UNLIMITED: as many as a turn may
 * bring). */
void sim_peer_cut(struct sim_peer *p, ptrdiff_t n);

/** One send of the near end takes at most `each` bytes, and all sends together `room` bytes; then
 * -EAGAIN. */
void sim_peer_limit(struct sim_peer *p, ptrdiff_t each, ptrdiff_t room);

/** Makes room for `n` bytes more: the near end becomes writable. */
void sim_peer_room(struct sim_peer *p, size_t n);

/** The cut and the limits of every connection made from now on. */
void sim_defaults(struct loop *l, ptrdiff_t cut, ptrdiff_t each, ptrdiff_t room);

/* ---- names and failures ---- */

/** What a look-up of `host` gives from now on, `ms` after it was asked: at most 4 addresses, their
 * ports set to the one asked for. A name that was never set gives EAI_NONAME at once. False if
 * memory is out. */
must_check bool sim_name(struct loop *l, const char *host, uint64_t ms, int err,
                         const struct addr *addrs, size_t count);

enum sim_call { SIM_ADOPT, SIM_CONNECT, SIM_SEND, SIM_LOOKUP, SIM_ACCEPT, SIM_CALLS };

/** After `skip` calls of this kind that work as usual, the next `count` fail with this negative
 * errno (an accept of -EMFILE: it is paused for 100 ms). */
void sim_fail(struct loop *l, enum sim_call call, unsigned skip, unsigned count, int err);

#endif
