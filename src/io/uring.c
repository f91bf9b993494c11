/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/uring.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "io/accept.h"
#include "io/kernel.h"
#include "io/resolve.h"

/* How it works. A connection is received in one of two ways.
 *
 * At first by a multishot receive: one request to the kernel, which then takes a buffer from the
 * loop's ring for each piece that comes, without a system call. That is the cheap way for small
 * messages. But what is in the ring has been received, wanted or not. So when the owner pauses, or
 * much comes at once, the request is cancelled, what still came is copied to `kept`, and the
 * connection becomes a plain one: a poll tells that there is something, and recv() takes it into
 * one big buffer that stays in the processor's cache. It goes back to multishot after some small
 * pieces.
 *
 * Sending is a plain sendmsg(): a completion for each would end the wait that it is meant to save,
 * and its bytes would have to stay where they are until then. */

enum {
    SQ_ENTRIES = 256,
    CQ_ENTRIES = 4096,
    BUFFERS = 512, /* a power of 2 */
    BUFFER_SIZE = 4096,
    BUFFER_GROUP = 0,
    PLAIN_FROM = 16384, /* bytes of one turn that make a connection plain */
    SMALL_BYTES = 4096, /* at most so much is a small piece ... */
    SMALL_PIECES = 4,   /* ... and after so many in a row a plain connection is multishot again */
};

enum {
    ENDED = SOCK_BACKEND << 0, /* `ended` was reported */
    DEAD = SOCK_BACKEND << 1,  /* send met the error, so recv will not see it again */
    CONNECTING = SOCK_BACKEND << 2,
    CONNECT_FAILED = SOCK_BACKEND << 3,
    PLAIN = SOCK_BACKEND << 4,     /* received by recv() */
    IN_READY = SOCK_BACKEND << 5,  /* plain: there may be bytes or an end */
    OUT_READY = SOCK_BACKEND << 6, /* there is room: used up by this turn */
    HUNG_UP = SOCK_BACKEND << 7,   /* both directions ended: nothing more to watch for */
    CANCELLED = SOCK_BACKEND << 8, /* the multishot receive, and its last completion is to come */
    LOCAL = SOCK_BACKEND << 9,     /* a unix socket whose end was not seen yet */
    GONE = SOCK_BACKEND << 10,     /* the peer sends no more */
};

/* What a request to the kernel is for: the low bits of its user_data. */
enum op {
    OP_NONE,   /* its completion says nothing */
    OP_RECV,   /* multishot */
    OP_IN,     /* plain: until there is something to receive */
    OP_OUT,    /* until there is room, or connecting ended */
    OP_WATCH,  /* until the connection breaks; or until a LOCAL one ends */
    OP_LEFT,   /* paused: until the peer sends no more */
    OP_ACCEPT, /* until a client waits */
    OP_WAKE,   /* the eventfd, multishot */
    OP_MASK = 7,
};

enum { NO_END = 1 };

/* What requests to the kernel point to. It goes when its sock or acceptor is closed and the last
 * completion of every request has come, so that no completion ever points to something else. A
 * request that cancels another one can't hit a later one of the same address either, since the
 * kernel takes requests in order. */
struct handle {
    void *owner;      /* the sock or acceptor; NULL once closed */
    struct list link; /* in `apart`, if it has no sock */
    struct buf kept;  /* received and not yet reported */
    int fd;
    int end;        /* what stands behind `kept`: NO_END, 0, or a negative errno */
    uint32_t turn;  /* in which ... */
    uint32_t taken; /* ... so many bytes were reported */
    uint8_t flying; /* bit 1 << op: there is such a request, and its last completion is to come */
    uint8_t small;  /* plain: small pieces in a row */
    bool owns_fd;   /* not that of an acceptor */
};

struct uring_loop {
    struct loop base;
    struct io_uring ring;
    struct io_uring_buf_ring *buffer_ring; /* BUFFERS entries, then the buffers */
    size_t mapped;                         /* bytes from there */
    char *buffers;
    int wakefd;
    bool wakeable; /* the eventfd is watched */
    uint32_t turn;
    struct list
        rescan;        /* socks to look at in the next turn although no completion comes for them */
    struct list apart; /* handles without a sock: those of acceptors, and closed ones */
    struct accepting accepting;
    struct resolver *resolver;
    char scratch[LOOP_BYTES_PER_TURN];
};

static struct uring_loop *self(struct loop *l)
{
    return container_of(l, struct uring_loop, base);
}

/* ---- requests ---- */

static uint64_t tagged(const struct handle *h, enum op op)
{
    return (uint64_t)(uintptr_t)h | op;
}

/* NULL if the kernel takes no requests just now. */
static struct io_uring_sqe *new_request(struct uring_loop *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (sqe != NULL)
        return sqe;
    io_uring_submit(&u->ring);
    return io_uring_get_sqe(&u->ring);
}

static unsigned poll_mask(const struct handle *h, enum op op)
{
    switch (op) {
    case OP_IN:
        return POLLIN | POLLRDHUP;
    case OP_OUT:
        return POLLOUT;
    case OP_LEFT:
        return POLLRDHUP;
    case OP_ACCEPT: /* exclusive, so that one client does not wake every worker */
        return POLLIN | EPOLLEXCLUSIVE;
    default: /* an error and a hang-up are always reported */
        return ((const struct sock *)h->owner)->bits & LOCAL ? POLLRDHUP : 0;
    }
}

/* Sees to it that there is such a request. False if it has to be tried again. */
static bool request(struct uring_loop *u, struct handle *h, enum op op)
{
    if (h->flying & (1u << op))
        return true;
    struct io_uring_sqe *sqe = new_request(u);
    if (sqe == NULL)
        return false;
    if (op == OP_RECV) {
        io_uring_prep_recv_multishot(sqe, h->fd, NULL, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = BUFFER_GROUP;
        /* Without this an idle connection would fail while no buffer is free. */
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    } else {
        io_uring_prep_poll_add(sqe, h->fd, poll_mask(h, op));
    }
    io_uring_sqe_set_data64(sqe, tagged(h, op));
    h->flying |= (uint8_t)(1u << op);
    return true;
}

static bool cancel(struct uring_loop *u, struct handle *h, enum op op)
{
    if (!(h->flying & (1u << op)))
        return true;
    struct io_uring_sqe *sqe = new_request(u);
    if (sqe == NULL)
        return false;
    io_uring_prep_cancel64(sqe, tagged(h, op), 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(sqe, OP_NONE);
    return true;
}

static bool request_wake(struct uring_loop *u)
{
    struct io_uring_sqe *sqe = new_request(u);
    if (sqe == NULL)
        return false;
    /* Every write to the eventfd completes it once more, so the eventfd need not be read. */
    io_uring_prep_poll_multishot(sqe, u->wakefd, POLLIN);
    io_uring_sqe_set_data64(sqe, OP_WAKE);
    return true;
}

/* ---- handles ---- */

static struct handle *handle_new(void *owner, int fd, bool owns_fd)
{
    struct handle *h = calloc(1, sizeof(*h));
    if (h == NULL)
        return NULL;
    h->owner = owner;
    h->fd = fd;
    h->owns_fd = owns_fd;
    h->end = NO_END;
    list_init(&h->link);
    return h;
}

static void handle_free(struct handle *h)
{
    list_unlink(&h->link);
    buf_free(&h->kept);
    if (h->owns_fd)
        close(h->fd);
    free(h);
}

/* The owner lets go of it. The fd stays open until no request needs it, so that none can meet
 * another connection with the same number. */
static void handle_leave(struct uring_loop *u, struct handle *h)
{
    h->owner = NULL;
    buf_free(&h->kept);
    if (h->flying == 0) {
        handle_free(h);
        return;
    }
    list_unlink(&h->link);
    list_append(&u->apart, &h->link);
    bool asked = true;
    for (enum op op = OP_RECV; op <= OP_ACCEPT; op++)
        asked = cancel(u, h, op) && asked;
    if (!asked && h->owns_fd)
        shutdown(h->fd, SHUT_RDWR); /* ends them all, too */
}

/* ---- buffers ---- */

static char *buffer(const struct uring_loop *u, unsigned id)
{
    return u->buffers + (size_t)id * BUFFER_SIZE;
}

static void give_buffer(struct uring_loop *u, unsigned id, int place)
{
    io_uring_buf_ring_add(u->buffer_ring, buffer(u, id), BUFFER_SIZE, (unsigned short)id,
                          io_uring_buf_ring_mask(BUFFERS), place);
}

static void return_buffer(struct uring_loop *u, const struct io_uring_cqe *cqe)
{
    if (!(cqe->flags & IORING_CQE_F_BUFFER))
        return;
    give_buffer(u, cqe->flags >> IORING_CQE_BUFFER_SHIFT, 0);
    io_uring_buf_ring_advance(u->buffer_ring, 1);
}

static int make_buffers(struct uring_loop *u)
{
    size_t entries = BUFFERS * sizeof(struct io_uring_buf);
    u->mapped = entries + (size_t)BUFFERS * BUFFER_SIZE;
    /* cppcheck-suppress invalidFunctionArg; memory without a file has no descriptor */
    void *at = mmap(NULL, u->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return -errno;
    u->buffer_ring = at;
    u->buffers = (char *)at + entries;
    struct io_uring_buf_reg reg = {
        .ring_addr = (uint64_t)(uintptr_t)at, .ring_entries = BUFFERS, .bgid = BUFFER_GROUP};
    int err = io_uring_register_buf_ring(&u->ring, &reg, 0);
    if (err != 0)
        return err;
    io_uring_buf_ring_init(u->buffer_ring);
    for (unsigned id = 0; id < BUFFERS; id++)
        give_buffer(u, id, (int)id);
    io_uring_buf_ring_advance(u->buffer_ring, BUFFERS);
    return 0;
}

/* ---- listening ---- */

static int watch_acceptor(struct loop *l, struct acceptor *a)
{
    return request(self(l), a->backend, OP_ACCEPT) ? 0 : -ENOBUFS;
}

static int uring_accept_start(struct loop *l, struct acceptor *a)
{
    struct handle *h = handle_new(a, a->fd, false);
    if (h == NULL)
        return -ENOMEM;
    a->backend = h;
    int err = watch_acceptor(l, a);
    if (err == 0)
        list_append(&self(l)->apart, &h->link);
    else
        handle_free(h);
    return err;
}

static void uring_accept_stop(struct loop *l, struct acceptor *a)
{
    struct uring_loop *u = self(l);
    accepting_stop(&u->accepting, a);
    handle_leave(u, a->backend);
    a->backend = NULL;
    /* The request holds the listener open, and its owner may close it next to make room for
     * another one: so this can't wait for the next turn. */
    io_uring_submit_and_get_events(&u->ring);
}

static void acceptor_ready(struct uring_loop *u, struct acceptor *a)
{
    if (accepting_take(&u->accepting, a) == ACCEPT_ON && watch_acceptor(&u->base, a) != 0)
        accepting_pause(&u->accepting, a, ENOBUFS);
}

/* ---- connections ---- */

static void rescan(struct sock *s)
{
    if (!list_linked(&s->link))
        list_append(&self(s->loop)->rescan, &s->link);
}

/* The kernel (seen with 6.18) forgets to complete a multishot receive when the peer sent bytes and
 * ended in one go: over a unix socket by any end, over TCP by a reset. So these are asked for
 * separately. */
static bool watches_end(struct uring_loop *u, struct sock *s)
{
    return (s->bits & HUNG_UP) || request(u, s->backend, OP_WATCH);
}

static bool is_local(int fd)
{
    int domain = 0;
    socklen_t len = sizeof(domain);
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

static int uring_adopt(struct loop *l, struct sock *s, int fd)
{
    struct handle *h = handle_new(s, fd, true);
    if (h == NULL)
        return -ENOMEM;
    s->fd = fd;
    s->backend = h;
    s->bits |= is_local(fd) ? LOCAL : 0;
    if (!request(self(l), h, OP_RECV) || !watches_end(self(l), s))
        rescan(s);
    return 0;
}

static int uring_connect(struct loop *l, struct sock *s, const struct addr *to)
{
    struct handle *h = handle_new(s, kernel_connect(to), true);
    if (h == NULL || h->fd < 0) {
        int err = h == NULL ? -ENOMEM : h->fd;
        free(h);
        return err;
    }
    s->fd = h->fd;
    s->backend = h;
    s->bits |= CONNECTING | (addr_is_unix(to) ? LOCAL : 0);
    if (!request(self(l), h, OP_OUT))
        rescan(s);
    return 0;
}

static ssize_t uring_send(struct sock *s, const struct iovec *iov, int count)
{
    ssize_t n = kernel_send(s->fd, iov, count);
    if (n < 0 && n != -EAGAIN)
        s->bits |= DEAD;
    return n;
}

static void uring_shutdown(struct sock *s)
{
    shutdown(s->fd, SHUT_WR);
}

static void uring_close(struct sock *s)
{
    handle_leave(self(s->loop), s->backend);
    s->backend = NULL;
    s->fd = -1;
}

/* Is the owner to be told of no bytes at all? */
static bool deaf(const struct sock *s)
{
    return (s->bits & (SOCK_PAUSED | SOCK_CLOSING | ENDED)) != 0;
}

/* How many bytes may be reported in this turn. */
static size_t room(const struct uring_loop *u, struct handle *h)
{
    if (h->turn != u->turn) {
        h->turn = u->turn;
        h->taken = 0;
    }
    return h->taken < LOOP_BYTES_PER_TURN ? LOOP_BYTES_PER_TURN - h->taken : 0;
}

/* From here on no more than what is on its way comes without having been asked for. */
static void make_plain(struct uring_loop *u, struct sock *s)
{
    struct handle *h = s->backend;
    if (!(s->bits & PLAIN)) {
        s->bits |= PLAIN | IN_READY;
        h->small = 0;
    }
    if ((h->flying & (1u << OP_RECV)) && !(s->bits & CANCELLED) && cancel(u, h, OP_RECV))
        s->bits |= CANCELLED;
}

/* Bytes that came by the multishot receive. */
static void take(struct uring_loop *u, struct sock *s, struct span bytes)
{
    struct handle *h = s->backend;
    if (h->end != NO_END)
        return; /* memory ran out before: these have a gap before them */
    bool now = !deaf(s) && buf_len(&h->kept) == 0 && bytes.len <= room(u, h);
    if (!now && !buf_append(&h->kept, bytes))
        h->end = -ENOMEM;
    if (now)
        h->taken += (uint32_t)bytes.len;
    if (!now || h->taken >= PLAIN_FROM)
        make_plain(u, s);
    if (now)
        s->on->recv(s, bytes);
}

static void report_kept(struct uring_loop *u, struct sock *s)
{
    struct handle *h = s->backend;
    size_t n = buf_len(&h->kept);
    if (n > room(u, h))
        n = room(u, h);
    if (deaf(s) || n == 0)
        return;
    /* The callee may close the sock, and the bytes must outlive that. */
    struct buf kept = h->kept;
    h->kept = (struct buf){0};
    h->taken += (uint32_t)n;
    s->on->recv(s, span_of(buf_span(&kept).ptr, n));
    buf_consume(&kept, n);
    if ((s->bits & SOCK_CLOSING) || buf_len(&kept) == 0)
        buf_free(&kept);
    else
        h->kept = kept;
}

/* May recv() be called? Not before the multishot receive is over: it may hold bytes that came
 * earlier. */
static bool may_receive(const struct sock *s)
{
    if ((s->bits & (PLAIN | IN_READY)) != (PLAIN | IN_READY) || deaf(s))
        return false;
    const struct handle *h = s->backend;
    return !(h->flying & (1u << OP_RECV)) && h->end == NO_END && buf_len(&h->kept) == 0;
}

static void receive(struct uring_loop *u, struct sock *s, size_t max)
{
    struct handle *h = s->backend;
    ssize_t n = recv(s->fd, u->scratch, max, 0);
    if (n < 0 && errno == EINTR)
        return;
    if (n < (ssize_t)max)
        s->bits &= ~(uint32_t)IN_READY;
    if (n > 0) {
        h->taken += (uint32_t)n;
        s->on->recv(s, span_of(u->scratch, (size_t)n));
    } else if (n == 0) {
        h->end = 0;
    } else if (errno != EAGAIN) {
        h->end = -errno;
    }
}

static void receive_plain(struct uring_loop *u, struct sock *s)
{
    if (!may_receive(s))
        return;
    struct handle *h = s->backend;
    while (may_receive(s) && room(u, h) > 0)
        receive(u, s, room(u, h));
    if (s->bits & (SOCK_CLOSING | IN_READY))
        return;
    h->small = (uint8_t)(h->taken <= SMALL_BYTES ? h->small + 1 : 0);
    if (h->small >= SMALL_PIECES)
        s->bits &= ~(uint32_t)(PLAIN | CANCELLED);
}

static void report_end(struct sock *s)
{
    struct handle *h = s->backend;
    if (h->end == NO_END || (s->bits & ENDED))
        return;
    /* An error does not wait for a paused owner; what it has not received yet is lost. */
    if ((s->bits & SOCK_PAUSED) ? h->end == 0 : buf_len(&h->kept) > 0)
        return;
    int err = h->end == 0 && (s->bits & DEAD) ? -ECONNRESET : h->end;
    s->bits |= ENDED;
    buf_free(&h->kept);
    s->on->ended(s, err);
}

/* An orderly end waits while the sock is paused, but the owner hears of it. */
static void report_left(struct sock *s)
{
    const struct handle *h = s->backend;
    bool silent = (s->bits & (SOCK_PAUSED | ENDED | SOCK_LEFT)) != SOCK_PAUSED;
    if (!silent && ((s->bits & GONE) || h->end == 0))
        sock_report_left(s);
}

static void offer(struct sock *s)
{
    if ((s->bits & (SOCK_OFFER | SOCK_PAUSED | SOCK_CLOSING)) != SOCK_OFFER)
        return;
    s->bits &= ~(uint32_t)SOCK_OFFER;
    s->on->recv(s, SPAN(""));
}

static void report_writable(struct sock *s)
{
    const uint32_t ready = SOCK_WANTED | OUT_READY;
    if ((s->bits & ready) == ready) {
        s->bits &= ~ready;
        s->on->writable(s);
    }
}

/* Of one that is paused the kernel tells that it broke, and that the peer sends no more. */
static bool watches_paused(struct uring_loop *u, struct sock *s)
{
    if (s->bits & HUNG_UP)
        return true;
    bool left = (s->bits & GONE) || request(u, s->backend, OP_LEFT);
    return request(u, s->backend, OP_WATCH) && left;
}

/* Sees to it that what comes next is told by the kernel. False if it has to be tried again, or
 * something is left over. */
static bool request_input(struct uring_loop *u, struct sock *s)
{
    struct handle *h = s->backend;
    bool receiving = (h->flying & (1u << OP_RECV)) != 0;
    if (s->bits & ENDED)
        return true;
    if (s->bits & SOCK_PAUSED)
        return receiving || watches_paused(u, s);
    if (h->end != NO_END || buf_len(&h->kept) > 0)
        return false;
    if (!(s->bits & PLAIN))
        return request(u, h, OP_RECV) && watches_end(u, s);
    return receiving || (!(s->bits & IN_READY) && request(u, h, OP_IN));
}

static bool request_output(struct uring_loop *u, struct sock *s)
{
    return !(s->bits & (SOCK_WANTED | CONNECTING)) || request(u, s->backend, OP_OUT);
}

/* Reports all that can be reported of a sock, and asks for the rest. It is not freed before the end
 * of the turn, whatever the callbacks do; its handle is. */
static void sock_ready(struct uring_loop *u, struct sock *s)
{
    list_unlink(&s->link);
    if (!(s->bits & CONNECTING)) {
        offer(s);
        if (!(s->bits & SOCK_CLOSING))
            report_kept(u, s);
        receive_plain(u, s);
        if (!(s->bits & SOCK_CLOSING))
            report_end(s);
        if (!(s->bits & SOCK_CLOSING))
            report_left(s);
        if (!(s->bits & SOCK_CLOSING))
            report_writable(s);
    }
    if (s->bits & SOCK_CLOSING)
        return;
    s->bits &= ~(uint32_t)OUT_READY;
    bool input = (s->bits & CONNECTING) || request_input(u, s);
    if (!request_output(u, s) || !input)
        rescan(s);
}

static void uring_review(struct sock *s)
{
    struct uring_loop *u = self(s->loop);
    if ((s->bits & (CONNECT_FAILED | CONNECTING)))
        return;
    bool input = !(s->bits & SOCK_PAUSED) && ((s->bits & SOCK_OFFER) || !request_input(u, s));
    if (!request_output(u, s) || input)
        rescan(s);
}

/* A completion of the multishot receive. */
static void received(struct uring_loop *u, struct sock *s, const struct io_uring_cqe *cqe)
{
    struct handle *h = s->backend;
    if (!(cqe->flags & IORING_CQE_F_MORE))
        s->bits &= ~(uint32_t)CANCELLED;
    if (cqe->res > 0) {
        unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        offer(s);
        if (!(s->bits & SOCK_CLOSING))
            take(u, s, span_of(buffer(u, id), (size_t)cqe->res));
    } else if (cqe->res == 0) {
        h->end = h->end == NO_END ? 0 : h->end;
    } else if (cqe->res != -ECANCELED && cqe->res != -ENOBUFS && cqe->res != -EAGAIN &&
               cqe->res != -EINTR) {
        h->end = cqe->res;
    }
}

/* The kernel reports trouble with a connection that is not read: is it broken? */
static void check_paused(struct sock *s, int events)
{
    struct handle *h = s->backend;
    if (events < 0 || !(events & (POLLERR | POLLHUP)) || !(s->bits & SOCK_PAUSED))
        return;
    int err = kernel_error(s->fd);
    if (err != 0 && h->end == NO_END)
        h->end = err;
    if (events & POLLHUP)
        s->bits |= HUNG_UP;
}

/* ... and of one that is: the multishot receive may have forgotten to say so. */
static void check_forgotten(struct uring_loop *u, struct sock *s, int events)
{
    if (events < 0 || !(events & (POLLERR | POLLHUP)) || (s->bits & SOCK_PAUSED))
        return;
    s->bits |= HUNG_UP;
    make_plain(u, s);
}

static void end_connect(struct sock *s)
{
    int err = kernel_connected(s->fd);
    s->bits &= ~(uint32_t)CONNECTING;
    if (err != 0)
        s->bits |= CONNECT_FAILED;
    s->on->connected(s, err);
}

static void sock_event(struct uring_loop *u, struct sock *s, enum op op,
                       const struct io_uring_cqe *cqe)
{
    if (op == OP_RECV) {
        received(u, s, cqe);
    } else if (op == OP_OUT && cqe->res >= 0) {
        s->bits |= OUT_READY;
        if (s->bits & CONNECTING)
            end_connect(s);
    } else if (op != OP_OUT) {
        if (op == OP_IN)
            s->bits |= IN_READY;
        if (cqe->res > 0 && (cqe->res & POLLRDHUP) && (s->bits & LOCAL)) {
            s->bits &= ~(uint32_t)LOCAL;
            make_plain(u, s);
        }
        if (cqe->res > 0 && (cqe->res & (POLLRDHUP | POLLHUP)))
            s->bits |= GONE;
        if (op == OP_WATCH)
            check_forgotten(u, s, cqe->res);
        check_paused(s, cqe->res);
    }
    if (!(s->bits & (SOCK_CLOSING | CONNECT_FAILED)))
        sock_ready(u, s);
}

/* ---- the turn ---- */

static void handle_event(struct uring_loop *u, struct handle *h, enum op op,
                         const struct io_uring_cqe *cqe)
{
    if (!(cqe->flags & IORING_CQE_F_MORE))
        h->flying &= (uint8_t) ~(1u << op);
    if (h->owner == NULL) {
        if (h->flying == 0)
            handle_free(h);
    } else if (op == OP_ACCEPT) {
        acceptor_ready(u, h->owner);
    } else {
        sock_event(u, h->owner, op, cqe);
    }
}

static void dispatch(struct uring_loop *u, const struct io_uring_cqe *cqe)
{
    enum op op = (enum op)(cqe->user_data & OP_MASK);
    if (op == OP_NONE)
        return;
    if (op == OP_WAKE) {
        if (!(cqe->flags & IORING_CQE_F_MORE))
            u->wakeable = request_wake(u);
        return;
    }
    handle_event(u, (struct handle *)(uintptr_t)(cqe->user_data & ~(uint64_t)OP_MASK), op, cqe);
    return_buffer(u, cqe);
}

/* Does the kernel have work to do from which completions come? It may say so late, of work that is
 * done, but it never conceals any. */
static bool work_waits(const struct uring_loop *u)
{
    return (IO_URING_READ_ONCE(*u->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) !=
           0;
}

/* Hands the new requests to the kernel and lets it work. Returns how many completions came. */
static unsigned gather(struct uring_loop *u)
{
    struct io_uring *ring = &u->ring;
    unsigned before = io_uring_cq_ready(ring);
    if (io_uring_sq_ready(ring) > 0 || work_waits(u))
        io_uring_submit_and_get_events(ring);
    return io_uring_cq_ready(ring) - before;
}

static void wait_for_one(struct uring_loop *u, int ms)
{
    struct __kernel_timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000LL};
    struct io_uring_cqe *first;
    io_uring_submit_and_wait_timeout(&u->ring, &first, 1, ms < 0 ? NULL : &ts, NULL);
}

/* Asking the kernel whether it has more work, before a wait and after it, saves calls that bring
 * nothing: with one client every second one. */
static void enter(struct uring_loop *u, int ms)
{
    if (!u->wakeable)
        u->wakeable = request_wake(u);
    bool may_wait = ms != 0 && u->wakeable && io_uring_cq_ready(&u->ring) == 0;
    unsigned got = may_wait && !work_waits(u) ? 0 : gather(u);
    if (may_wait && got == 0) {
        wait_for_one(u, ms);
        got = 1;
    }
    /* Newer kernels do only a part of the work that waits each time, after a sleep next to nothing.
     */
    while (got > 0 && work_waits(u) && io_uring_cq_ready(&u->ring) < LOOP_EVENTS_PER_TURN)
        got = gather(u);
}

static void uring_poll(struct loop *l, int ms)
{
    struct uring_loop *u = self(l);
    enter(u, list_empty(&u->rescan) ? ms : 0);
    l->now = clock_ms();
    u->turn++;
    /* What callbacks put on the list from here on is for the next turn. */
    struct list again;
    list_move(&again, &u->rescan);
    unsigned head;
    unsigned events = 0;
    struct io_uring_cqe *cqe;
    io_uring_for_each_cqe(&u->ring, head, cqe)
    {
        const struct io_uring_cqe copy = {
            .user_data = cqe->user_data, .res = cqe->res, .flags = cqe->flags};
        io_uring_cq_advance(&u->ring, 1);
        dispatch(u, &copy);
        if (++events == LOOP_EVENTS_PER_TURN)
            break;
    }
    while (!list_empty(&again))
        sock_ready(u, LIST_FIRST(&again, struct sock, link));
}

static void uring_wake(struct loop *l)
{
    const uint64_t one = 1;
    /* It can fail only when the counter is full, and then the loop is awake anyway. */
    ssize_t n = write(self(l)->wakefd, &one, sizeof(one));
    (void)n;
}

static int uring_lookup(struct loop *l, struct lookup *k, const char *host, uint16_t port)
{
    return resolver_lookup(&self(l)->resolver, l, k, host, port);
}

static void uring_lookup_cancel(struct loop *l, struct lookup *k)
{
    (void)l;
    resolver_cancel(k);
}

/* ---- begin and end ---- */

static void unmap(struct uring_loop *u)
{
    if (u->buffer_ring != NULL)
        munmap(u->buffer_ring, u->mapped);
    if (u->wakefd >= 0)
        close(u->wakefd);
    free(u);
}

static void uring_free(struct loop *l)
{
    struct uring_loop *u = self(l);
    resolver_free(u->resolver);
    /* Connections that were closed in the last turn end with this, if it is the loop's thread that
     * frees it, else with the ring. */
    io_uring_submit_and_get_events(&u->ring);
    io_uring_queue_exit(&u->ring);
    LIST_FOREACH_SAFE (node, &u->apart)
        handle_free(container_of(node, struct handle, link));
    unmap(u);
}

static int make_ring(struct uring_loop *u)
{
    /* With these the kernel does its work when the loop enters it, and never interrupts it. They
     * are also the newest thing that is needed, so that a kernel without the rest says so here. */
    struct io_uring_params params = {
        .flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SINGLE_ISSUER |
                 IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        .cq_entries = CQ_ENTRIES};
    return io_uring_queue_init_params(SQ_ENTRIES, &u->ring, &params);
}

/* Everything that a sandbox may forbid is tried here. */
static int set_up(struct uring_loop *u)
{
    int err = make_buffers(u);
    if (err != 0)
        return err;
    u->wakeable = request_wake(u);
    int n = io_uring_submit(&u->ring);
    if (n < 0)
        return n;
    io_uring_register_ring_fd(&u->ring); /* saves a little; without it all goes as well */
    return 0;
}

static struct loop *uring_open(void)
{
    struct uring_loop *u = calloc(1, sizeof(*u));
    if (u == NULL)
        return NULL;
    list_init(&u->rescan);
    list_init(&u->apart);
    accepting_init(&u->accepting, &u->base, watch_acceptor);
    u->base.now = clock_ms();
    u->wakefd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int err = u->wakefd < 0 ? -errno : make_ring(u);
    if (err != 0) {
        unmap(u);
        errno = -err;
        return NULL;
    }
    err = set_up(u);
    if (err == 0)
        return &u->base;
    uring_free(&u->base);
    errno = -err;
    return NULL;
}

const struct loop_ops uring_ops = {
    .name = "uring",
    .needs = "Linux 6.1 or newer, and no sandbox or sysctl (kernel.io_uring_disabled) that forbids "
             "io_uring",
    .open = uring_open,
    .free = uring_free,
    .poll = uring_poll,
    .wake = uring_wake,
    .accept_start = uring_accept_start,
    .accept_stop = uring_accept_stop,
    .adopt = uring_adopt,
    .connect = uring_connect,
    .send = uring_send,
    .review = uring_review,
    .shutdown = uring_shutdown,
    .close = uring_close,
    .lookup = uring_lookup,
    .lookup_cancel = uring_lookup_cancel,
};
