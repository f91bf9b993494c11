/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/stream.h"

#include <errno.h>
#include <string.h>

#include "base/hint.h"

enum { IOVECS = 64 };
/* From this size on, sending straight from the caller's memory saves more than a send of its own
 * costs. */
enum { SEND_DIRECT = 16384 };

enum {
    CONNECTING = 1u << 0,
    PAUSED = 1u << 1,
    BLOCKED = 1u << 2,   /* the kernel takes no more: waiting for `writable` */
    BROKEN = 1u << 3,    /* a send failed; `err` says why */
    TOLD = 1u << 4,      /* ... and the owner was told */
    ENDED = 1u << 5,     /* the peer sends no more */
    END_HELD = 1u << 6,  /* ... and the owner will be told when it has seen what it left */
    DEAD = 1u << 7,      /* ended with an error, or out of memory: nothing goes in or out */
    TAKEN = 1u << 8,     /* stream_take() was called in this `data` */
    FINISHING = 1u << 9, /* stream_finish() was called */
    FIN_SENT = 1u << 10,
    CLOSED = 1u << 11,
    HELD = 1u << 12, /* stream_hold(): what comes is kept */
};

/* With any of these the owner wants no data. */
enum { SILENT = PAUSED | HELD };

/* With any of these, what the owner writes is dropped. */
enum { NO_OUTPUT = BROKEN | DEAD | FINISHING | CLOSED };
/* With any of these, no input is shown to the owner. */
enum { NO_INPUT = TOLD | DEAD | FINISHING | CLOSED };

static struct meter *meter_of(const struct stream *s)
{
    return &s->sock.loop->pool.meter;
}

static struct stream *self(struct sock *sock)
{
    return container_of(sock, struct stream, sock);
}

static void set(struct stream *s, unsigned bits)
{
    s->bits = (uint16_t)(s->bits | bits);
}

static void unset(struct stream *s, unsigned bits)
{
    s->bits = (uint16_t)(s->bits & ~bits);
}

/* ---- output ---- */

/* Sees to it that the end of this turn looks at the stream. A finishing one changes lists. */
static void make_dirty(struct stream *s)
{
    list_unlink(&s->link);
    list_append(&s->sock.loop->dirty, &s->link);
}

/* The owner may be anywhere in its own code, so it is told at the end of the turn. */
static void break_later(struct stream *s, ssize_t err)
{
    set(s, BROKEN);
    s->err = (int16_t)err;
    make_dirty(s);
}

static void block(struct stream *s)
{
    set(s, BLOCKED);
    sock_want_writable(&s->sock);
}

/* Sends what the kernel takes. */
static void flush(struct stream *s)
{
    while (!chain_empty(&s->out) && !(s->bits & (CONNECTING | BLOCKED | BROKEN | DEAD))) {
        struct iovec iov[IOVECS];
        int count = chain_iovec(&s->out, iov, IOVECS);
        size_t total = 0;
        for (int i = 0; i < count; i++)
            total += iov[i].iov_len;
        ssize_t n = sock_send(&s->sock, iov, count);
        if (n < 0 && n != -EAGAIN) {
            break_later(s, n);
            return;
        }
        size_t sent = n < 0 ? 0 : (size_t)n;
        chain_consume(&s->out, &s->sock.loop->pool, sent);
        s->sent += sent;
        if (sent < total)
            block(s);
    }
}

/* More is pending than is left for the end of the turn. */
slow_path static void flush_now(struct stream *s)
{
    flush(s);
}

/* Something was queued. */
static every_request void queued(struct stream *s)
{
    if (unlikely(s->bits & (CONNECTING | BLOCKED)))
        return;
    if (unlikely(s->out.len > STREAM_FLUSH_NOW))
        flush_now(s);
    else if (!list_linked(&s->link))
        make_dirty(s);
}

static void finish_step(struct stream *s);

static void end_of_turn(struct stream *s)
{
    flush(s);
    if (s->bits & FINISHING) {
        finish_step(s);
    } else if ((s->bits & (BROKEN | TOLD)) == BROKEN) {
        list_unlink(&s->link);
        set(s, TOLD);
        s->on->broken(s, s->err);
    }
}

static void flush_streams(struct loop *l)
{
    while (!list_empty(&l->dirty)) {
        struct stream *s = LIST_FIRST(&l->dirty, struct stream, link);
        list_unlink(&s->link);
        end_of_turn(s);
    }
}

/* Offers big `bytes` to the kernel directly. Returns how many it took. */
static size_t send_direct(struct stream *s, struct span bytes)
{
    if (!chain_empty(&s->out) || (s->bits & (CONNECTING | BLOCKED)))
        return 0;
    const struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes.ptr, .iov_len = bytes.len};
    ssize_t n = sock_send(&s->sock, &iov, 1);
    if (n < 0 && n != -EAGAIN) {
        break_later(s, n);
        return 0;
    }
    size_t sent = n < 0 ? 0 : (size_t)n;
    s->sent += sent;
    if (sent < bytes.len)
        block(s);
    return sent;
}

slow_path static bool write_big(struct stream *s, struct span bytes)
{
    size_t sent = send_direct(s, bytes);
    if (sent == bytes.len || (s->bits & BROKEN))
        return true;
    if (chain_append(&s->out, &s->sock.loop->pool, span_from(bytes, sent))) {
        queued(s);
        return true;
    }
    if (sent == 0)
        return false;
    /* Half of it is on its way and the rest can't be kept: nothing sensible can follow on this
     * connection. */
    break_later(s, -ENOMEM);
    return true;
}

bool stream_write(struct stream *s, struct span bytes)
{
    if (unlikely(s->bits & NO_OUTPUT))
        return true;
    if (unlikely(bytes.len >= SEND_DIRECT))
        return write_big(s, bytes);
    bool good = chain_append(&s->out, &s->sock.loop->pool, bytes);
    if (good)
        queued(s);
    return good;
}

void stream_write_chain(struct stream *s, struct chain *c)
{
    struct chunk_pool *pool = &s->sock.loop->pool;
    if (s->bits & NO_OUTPUT) {
        chain_clear(c, pool);
        return;
    }
    if (chain_empty(c))
        return;
    chain_splice(&s->out, pool, c);
    queued(s);
}

bool stream_write_buf(struct stream *s, struct buf *b)
{
    if (s->bits & NO_OUTPUT) {
        buf_free(b);
        return true;
    }
    if (!chain_adopt(&s->out, &s->sock.loop->pool, b))
        return false;
    if (!chain_empty(&s->out))
        queued(s);
    return true;
}

static void on_writable(struct sock *sock)
{
    struct stream *s = self(sock);
    unset(s, BLOCKED);
    flush(s);
    if (s->bits & FINISHING) {
        s->stamp = (uint32_t)sock->loop->now;
        make_dirty(s);
    } else if (chain_empty(&s->out) && s->on->drained != NULL && !(s->bits & NO_OUTPUT)) {
        s->on->drained(s);
    }
}

/* ---- input ---- */

/* What is kept of the input is counted by its memory. */
static void drop_input(struct stream *s)
{
    meter_sub(meter_of(s), s->in.cap);
    buf_free(&s->in);
}

/* The peer is gone, or nothing more can be done with it. */
static void tell_end(struct stream *s, int err)
{
    unset(s, END_HELD);
    if (err != 0)
        set(s, DEAD);
    s->on->ended(s, err);
}

/* Shows all that is kept, again after each stream_take(). */
static void show_kept(struct stream *s)
{
    while (buf_len(&s->in) > 0 && !(s->bits & (SILENT | NO_INPUT))) {
        unset(s, TAKEN);
        size_t len = buf_len(&s->in);
        size_t used = s->on->data(s, buf_span(&s->in));
        if (s->bits & CLOSED)
            return; /* its memory goes with `closed` */
        if (s->bits & TAKEN) {
            must(used == 0);
            continue;
        }
        must(used <= len);
        buf_consume(&s->in, used);
        break;
    }
    if (buf_len(&s->in) == 0)
        drop_input(s);
}

static void keep(struct stream *s, struct span in)
{
    size_t before = s->in.cap;
    if (!buf_append(&s->in, in)) {
        tell_end(s, -ENOMEM);
        return;
    }
    if (s->in.cap != before)
        meter_move(meter_of(s), before, s->in.cap);
}

static void on_recv(struct sock *sock, struct span in)
{
    struct stream *s = self(sock);
    if (s->bits & NO_INPUT)
        return;
    if (buf_len(&s->in) == 0 && in.len > 0 && !(s->bits & SILENT)) {
        size_t used = s->on->data(s, in);
        must(used <= in.len);
        in = span_from(in, used);
        if (in.len > 0 && !(s->bits & NO_INPUT))
            keep(s, in);
    } else {
        keep(s, in);
        show_kept(s);
    }
    if ((s->bits & (END_HELD | SILENT | NO_INPUT)) == END_HELD)
        tell_end(s, 0);
    else if ((s->bits & (SILENT | NO_INPUT)) == HELD && in.len > 0)
        s->on->kept(s);
}

static void on_ended(struct sock *sock, int err)
{
    struct stream *s = self(sock);
    set(s, ENDED);
    if (s->bits & FINISHING) {
        if (err != 0)
            set(s, DEAD);
        if (err != 0 || chain_empty(&s->out))
            make_dirty(s);
    } else if (s->bits & (TOLD | DEAD)) {
        return;
    } else if (err == 0 && (s->bits & SILENT) && buf_len(&s->in) > 0) {
        set(s, END_HELD);
    } else {
        tell_end(s, err);
    }
}

static void on_left(struct sock *sock)
{
    struct stream *s = self(sock);
    if (!(s->bits & (NO_INPUT | ENDED)) && s->on->left != NULL)
        s->on->left(s);
}

bool stream_take(struct stream *s, struct span in, size_t n, struct buf *out)
{
    size_t len = buf_len(&s->in);
    if (len == 0 || in.ptr != s->in.data + s->in.head || n > len || (s->bits & TAKEN))
        return false;
    /* What stands behind it must be copied to a place of its own; that pays only if it is the
     * smaller part. */
    struct buf rest = {0};
    if (len - n > n || !buf_append(&rest, span_from(buf_span(&s->in), n)))
        return false;
    meter_move(meter_of(s), s->in.cap, rest.cap);
    *out = s->in;
    out->tail = out->head + n;
    s->in = rest;
    set(s, TAKEN);
    return true;
}

void stream_forget(struct stream *s)
{
    drop_input(s);
}

void stream_pause(struct stream *s)
{
    if (s->bits & (PAUSED | FINISHING | CLOSED))
        return;
    set(s, PAUSED);
    sock_pause(&s->sock);
}

void stream_hold(struct stream *s)
{
    if (s->bits & (FINISHING | CLOSED))
        return;
    if (s->bits & PAUSED)
        sock_resume(&s->sock);
    unset(s, PAUSED);
    set(s, HELD);
}

void stream_resume(struct stream *s)
{
    if (!(s->bits & SILENT) || (s->bits & CLOSED))
        return;
    if (s->bits & PAUSED)
        sock_resume(&s->sock);
    unset(s, SILENT);
    if (buf_len(&s->in) > 0)
        sock_offer(&s->sock);
}

bool stream_paused(const struct stream *s)
{
    return (s->bits & SILENT) != 0;
}

bool stream_blocked(const struct stream *s)
{
    return (s->bits & BLOCKED) != 0;
}

/* ---- begin and end ---- */

static void on_connected(struct sock *sock, int err)
{
    struct stream *s = self(sock);
    unset(s, CONNECTING);
    if (err != 0)
        set(s, DEAD);
    s->stamp = (uint32_t)sock->loop->now;
    if ((s->bits & FINISHING) || !chain_empty(&s->out))
        make_dirty(s);
    if (!(s->bits & FINISHING))
        s->on->connected(s, err);
}

static void on_closed(struct sock *sock)
{
    struct stream *s = self(sock);
    chain_clear(&s->out, &sock->loop->pool);
    drop_input(s);
    s->on->closed(s);
}

static const struct sock_events sock_events = {
    .connected = on_connected,
    .recv = on_recv,
    .ended = on_ended,
    .writable = on_writable,
    .closed = on_closed,
    .left = on_left,
};

static void stream_init(struct stream *s, struct loop *l, const struct stream_events *on)
{
    *s = (struct stream){.on = on, .sock.on = &sock_events};
    list_init(&s->link);
    l->flush = flush_streams;
}

int stream_adopt(struct stream *s, struct loop *l, int fd, const struct stream_events *on)
{
    stream_init(s, l, on);
    return loop_adopt(l, &s->sock, fd);
}

int stream_connect(struct stream *s, struct loop *l, const struct addr *to,
                   const struct stream_events *on)
{
    stream_init(s, l, on);
    set(s, CONNECTING);
    return loop_connect(l, &s->sock, to);
}

void stream_close(struct stream *s)
{
    if (s->bits & CLOSED)
        return;
    set(s, CLOSED);
    list_unlink(&s->link);
    sock_close(&s->sock);
}

void stream_finish(struct stream *s)
{
    if (s->bits & (FINISHING | CLOSED))
        return;
    set(s, FINISHING);
    s->stamp = (uint32_t)s->sock.loop->now;
    if (s->bits & PAUSED)
        stream_resume(s);
    make_dirty(s);
}

static void finish_late(struct timer *t);

/* Waits for what may still happen to a finishing stream, but not for ever. All wait equally long,
 * so that the list is in the order of their deadlines and one timer serves them all. */
static void finish_wait(struct stream *s)
{
    struct loop *l = s->sock.loop;
    list_append(&l->finishing, &s->link);
    if (timer_running(&l->finish_timer))
        return;
    l->finish_timer.fire = finish_late;
    timer_start(l, &l->finish_timer, STREAM_FINISH_MS);
}

/* At the end of a turn: how far is it? */
static void finish_step(struct stream *s)
{
    list_unlink(&s->link);
    drop_input(s);
    bool all_sent = chain_empty(&s->out) && !(s->bits & CONNECTING);
    if ((s->bits & (BROKEN | DEAD)) || (all_sent && (s->bits & ENDED))) {
        stream_close(s);
        return;
    }
    if (all_sent && !(s->bits & FIN_SENT)) {
        set(s, FIN_SENT);
        sock_shutdown(&s->sock);
        s->stamp = (uint32_t)s->sock.loop->now;
    }
    finish_wait(s);
}

static void finish_late(struct timer *t)
{
    struct loop *l = container_of(t, struct loop, finish_timer);
    while (!list_empty(&l->finishing)) {
        struct stream *s = LIST_FIRST(&l->finishing, struct stream, link);
        uint32_t waited = (uint32_t)l->now - s->stamp;
        if (waited < STREAM_FINISH_MS) {
            timer_start(l, t, STREAM_FINISH_MS - waited);
            return;
        }
        stream_close(s);
    }
}
