/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit stream is a connected byte stream over a sock: it keeps what its owner left of the input,
 * queues output and flushes it once per loop turn.
 *
 * Lifetime: embedded in its owner (a client, a server connection). stream_adopt() or
 * stream_connect() begins it, stream_close() ends it, `closed` gives the memory back. No callback
 * comes from inside a call of the owner. */
#ifndef IO_STREAM_H
#define IO_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/chain.h"
#include "base/must.h"
#include "base/span.h"
#include "io/loop.h"

struct stream;

struct stream_events {
    void (*connected)(struct stream *s, int err);
    /** All input that is there and not yet consumed. Returns how many bytes from its front were
     * consumed; the rest is kept and comes again, with more behind it, when more is received.
     * Returning less than all after stream_pause() is how an owner leaves whole messages for later:
     * stream_resume() offers them again. */
    size_t (*data)(struct stream *s, struct span in);
    /** As sock_events.ended. What was not consumed is still there until the stream is closed. While
     * paused or held with unconsumed whole messages an orderly end is held back until stream_resume() and
     * the data call after it. */
    void (*ended)(struct stream *s, int err);
    /** The out queue fell empty after stream_flush() had left bytes in it. May be NULL. */
    void (*drained)(struct stream *s);
    /** Sending failed with this negative errno: the connection is dead. Comes from the loop, once,
     * instead of (or before) `ended`. */
    void (*broken)(struct stream *s, int err);
    void (*closed)(struct stream *s);
    /** While it is paused: the peer sends no more than what is kept or still to be received, and `ended` comes
     * behind that. Once at most. May be NULL. */
    void (*left)(struct stream *s);
    /** While it is held: more was kept. */
    void (*kept)(struct stream *s);
};

struct stream {
    struct sock sock;
    const struct stream_events *on;
    struct chain out; /* what is not yet sent */
    struct buf in;    /* what the owner left of the input */
    struct list link; /* in the loop's list of streams to flush at the end of this turn, or of
                         finishing ones */
    uint64_t sent;    /* bytes handed to the kernel since it began */
    uint16_t bits;    /* unit stream's */
    int16_t err;      /* of the send that failed: 0 or a negative errno */
    uint32_t stamp;   /* finishing: when output moved last, ms modulo 2^32 */
};

/** More than this pending is flushed at once rather than at the end of the turn. */
enum { STREAM_FLUSH_NOW = 65536 };

/** Begins a stream over a connected fd. 0 or a negative errno (fd is still the caller's). `on` is
 * kept. */
must_check int stream_adopt(struct stream *s, struct loop *l, int fd,
                            const struct stream_events *on);

/** Begins a stream that connects; `connected` follows. Output may be queued before. 0 or a negative
 * errno. */
must_check int stream_connect(struct stream *s, struct loop *l, const struct addr *to,
                              const struct stream_events *on);

/** Bytes queued and not yet handed to the kernel. */
static inline size_t stream_pending(const struct stream *s)
{
    return s->out.len;
}

/** Bytes ever queued: what is queued next begins at this offset; compare with `sent`. */
static inline uint64_t stream_queued(const struct stream *s)
{
    return s->sent + s->out.len;
}

/* Output that is queued when the connection is dead, or after stream_close() or stream_finish(), is
 * dropped silently. */

/** Queues a copy of `bytes` and sees to its sending at the end of the turn. Big writes to an empty
 * queue are offered to the kernel straight from `bytes`, and only the rest is copied. False if
 * memory is out: nothing was queued. */
must_check bool stream_write(struct stream *s, struct span bytes);

/** Queues the whole chain behind what is there, without a copy if it is large; `c` is left empty.
 */
void stream_write_chain(struct stream *s, struct chain *c);

/** Queues the bytes of `b` without a copy; `b` is left empty. False if memory is out. */
must_check bool stream_write_buf(struct stream *s, struct buf *b);

/** Only inside `data`, and only if `in` begins at the start of the kept input: takes its first `n`
 * bytes away as a buf of its own, without copying them, so that they can be queued elsewhere. They
 * count as consumed: `data` must then return 0 at once, and is called again if more is there. False
 * if it can't be done cheaply (the bytes lie in the loop's own buffer, or memory is out): then
 * copy. */
must_check bool stream_take(struct stream *s, struct span in, size_t n, struct buf *out);

/** Memory of the input that is kept. */
static inline size_t stream_kept(const struct stream *s)
{
    return s->in.cap;
}

/** Drops the input that is kept. Not from inside `data`. */
void stream_forget(struct stream *s);

/** Stops calling `data`. */
void stream_pause(struct stream *s);

/** The same, but what arrives is received and kept: for a peer that may read only once it has sent all. `kept`
 * tells of it. */
void stream_hold(struct stream *s);

/** Goes on after either: kept input is offered again, from the loop. */
void stream_resume(struct stream *s);

/** Was it paused or held, and not resumed since? */
bool stream_paused(const struct stream *s);

/** Bytes of the input that are kept. */
static inline size_t stream_waiting(const struct stream *s)
{
    return buf_len(&s->in);
}

/** Was `left` told? */
static inline bool stream_left(const struct stream *s)
{
    return (s->sock.bits & SOCK_LEFT) != 0;
}

/** Has the kernel refused to take more for now? */
bool stream_blocked(const struct stream *s);

/** Closes at once; queued output is dropped. `closed` follows. Closing again is harmless: a finishing
 * stream may have closed itself, and its owner hears of it only by `closed`. */
void stream_close(struct stream *s);

/** Closes after all queued output was handed to the kernel (then FIN, and input is read and dropped
 * until the peer's own FIN, so that it can read the last reply without a reset). No `data` comes
 * any more. `closed` follows; if nothing moved for STREAM_FINISH_MS it is closed as it is.
 * stream_close() may still be called to cut it short. */
void stream_finish(struct stream *s);
enum { STREAM_FINISH_MS = 5000 };

#endif
