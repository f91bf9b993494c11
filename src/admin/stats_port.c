/* SPDX-License-Identifier: BSD-3-Clause */
#include "admin/stats_port.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/stats_http.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/addr.h"
#include "io/listen.h"

enum {
    BACKLOG = 128,
    PEERS_MAX = 256,
    ACCEPTS_PER_TURN = 64,
    SILENCE_MS = 50,       /* who has said nothing by then gets the bare JSON */
    SENDING_MS = 10000,    /* for a peer to take the JSON */
    LINGERING_MS = 1000,   /* for a peer to close after it */
    ACCEPT_PAUSE_MS = 100, /* when there are no descriptors left */
    DRAIN_BYTES = 16384,   /* taken and dropped at once */
    PEEK_BYTES = 16,
};

/* A peer that is not (yet) HTTP's:
 *   WAITING -> SENDING    it is silent, half-closed, or speaks no HTTP
 *   SENDING -> LINGERING  all is sent, and FIN
 * It is closed when it has closed, when its time is over, or when it is the oldest and there are
 * too many. Lingering takes what it still sends: closing with bytes unread would reset the
 * connection and lose the JSON on its way. */
enum state { WAITING, SENDING, LINGERING };

struct peer {
    int fd; /* -1: gone */
    enum state state;
    uint64_t due; /* end of the time for this state, ms */
    struct buf out;
};

enum { POLL_WAKE, POLL_LISTEN, POLL_HTTP, POLL_PEERS };

struct stats_port {
    const struct stats *stats;
    int listen_fd;
    int wake_fd; /* written once: end the thread */
    bool started;
    pthread_t thread;
    struct stats_http *http;
    uint64_t now;            /* ms, of this turn */
    uint64_t no_accept_till; /* ms */
    size_t count;
    struct peer peers[PEERS_MAX]; /* oldest first */
    struct pollfd polls[POLL_PEERS + PEERS_MAX];
};

static void peer_enter(struct stats_port *p, struct peer *peer, enum state state, uint64_t ms)
{
    peer->state = state;
    peer->due = p->now + ms;
}

static void peer_close(struct peer *peer)
{
    if (peer->fd >= 0)
        close(peer->fd);
    peer->fd = -1;
    buf_free(&peer->out);
}

static void peer_send(struct stats_port *p, struct peer *peer)
{
    struct span rest = buf_span(&peer->out);
    ssize_t n = send(peer->fd, rest.ptr, rest.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            peer_close(peer);
        return;
    }
    buf_consume(&peer->out, (size_t)n);
    if (buf_len(&peer->out) > 0)
        return;
    buf_free(&peer->out);
    shutdown(peer->fd, SHUT_WR);
    peer_enter(p, peer, LINGERING, LINGERING_MS);
}

static void peer_answer(struct stats_port *p, struct peer *peer)
{
    if (!stats_json(p->stats, &peer->out)) {
        peer_close(peer);
        return;
    }
    peer_enter(p, peer, SENDING, SENDING_MS);
    peer_send(p, peer);
}

/* A request of HTTP begins with its method: capital letters, then a space. Its beginning may be all
 * that is in yet. */
static bool looks_like_http(const char *in, size_t len)
{
    size_t letters = 0;
    while (letters < len && in[letters] >= 'A' && in[letters] <= 'Z')
        letters++;
    return letters > 0 && (letters == len || in[letters] == ' ');
}

/* What does a peer that was waited for want? Its bytes stay in the socket for who reads them. */
static void peer_listen_to(struct stats_port *p, struct peer *peer)
{
    char in[PEEK_BYTES];
    ssize_t n = recv(peer->fd, in, sizeof(in), MSG_PEEK | MSG_DONTWAIT);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            peer_close(peer);
        return;
    }
    if (looks_like_http(in, (size_t)n)) {
        stats_http_adopt(p->http, peer->fd);
        peer->fd = -1;
        return;
    }
    peer_answer(p, peer);
}

static void peer_drain(struct peer *peer)
{
    char in[DRAIN_BYTES];
    ssize_t n = recv(peer->fd, in, sizeof(in), MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        peer_close(peer);
}

static void peer_ready(struct stats_port *p, struct peer *peer)
{
    switch (peer->state) {
    case WAITING:
        peer_listen_to(p, peer);
        break;
    case SENDING:
        peer_send(p, peer);
        break;
    case LINGERING:
        peer_drain(peer);
        break;
    }
}

static void peer_late(struct stats_port *p, struct peer *peer)
{
    if (peer->state == WAITING)
        peer_answer(p, peer);
    else
        peer_close(peer);
}

static void forget_gone(struct stats_port *p)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->count; i++) {
        if (p->peers[i].fd >= 0)
            p->peers[kept++] = p->peers[i];
    }
    p->count = kept;
}

/* Nobody may hold the port by coming often and staying long. Who still waits gets its answer first.
 */
static void make_room(struct stats_port *p)
{
    struct peer *oldest = &p->peers[0];
    if (oldest->state == WAITING)
        peer_listen_to(p, oldest);
    if (oldest->fd >= 0 && oldest->state == WAITING)
        peer_answer(p, oldest);
    peer_close(oldest);
    forget_gone(p);
}

static void accept_some(struct stats_port *p)
{
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(p->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            bool no_more_room =
                errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
            if (no_more_room) {
                log_warn("accept on the stats port: %s", strerror(errno));
                p->no_accept_till = p->now + ACCEPT_PAUSE_MS;
            }
            return;
        }
        if (p->count == PEERS_MAX)
            make_room(p);
        struct peer *peer = &p->peers[p->count++];
        *peer = (struct peer){.fd = fd};
        peer_enter(p, peer, WAITING, SILENCE_MS);
    }
}

static int shorter(int ms, int than)
{
    return ms < 0 || (than >= 0 && than < ms) ? than : ms;
}

static int ms_till(const struct stats_port *p, uint64_t due)
{
    return due <= p->now ? 0 : (int)(due - p->now);
}

/* Fills `polls`; returns for how long to poll. */
static int prepare_polls(struct stats_port *p)
{
    bool accepting = p->now >= p->no_accept_till;
    int timeout = stats_http_timeout(p->http);
    if (!accepting)
        timeout = shorter(timeout, ms_till(p, p->no_accept_till));
    p->polls[POLL_WAKE] = (struct pollfd){.fd = p->wake_fd, .events = POLLIN};
    p->polls[POLL_LISTEN] = (struct pollfd){.fd = accepting ? p->listen_fd : -1, .events = POLLIN};
    p->polls[POLL_HTTP] = (struct pollfd){.fd = stats_http_fd(p->http), .events = POLLIN};
    for (size_t i = 0; i < p->count; i++) {
        const struct peer *peer = &p->peers[i];
        short events = peer->state == SENDING ? POLLOUT : POLLIN;
        p->polls[POLL_PEERS + i] = (struct pollfd){.fd = peer->fd, .events = events};
        timeout = shorter(timeout, ms_till(p, peer->due));
    }
    return timeout;
}

static void serve_peers(struct stats_port *p)
{
    for (size_t i = 0; i < p->count; i++) {
        struct peer *peer = &p->peers[i];
        if (p->polls[POLL_PEERS + i].revents != 0)
            peer_ready(p, peer);
        if (peer->fd >= 0 && p->now >= peer->due)
            peer_late(p, peer);
    }
    forget_gone(p);
}

static void *serve(void *arg)
{
    struct stats_port *p = arg;
    for (;;) {
        p->now = clock_ms();
        int timeout = prepare_polls(p);
        int n = poll(p->polls, (nfds_t)(POLL_PEERS + p->count), timeout);
        p->now = clock_ms();
        if (n < 0) {
            (void)poll(NULL, 0, 1); /* the kernel is out of memory: try again, but don't spin */
            continue;
        }
        if (p->polls[POLL_WAKE].revents != 0)
            return NULL;
        serve_peers(p);
        if (p->polls[POLL_LISTEN].revents != 0)
            accept_some(p);
        stats_http_run(p->http);
    }
}

struct stats_port *stats_port_open(const char *address, uint16_t port, const struct stats *stats,
                                   const char **why)
{
    struct addr at;
    int err = listen_resolve(address, port, &at);
    if (err != 0) {
        *why = gai_strerror(err);
        return NULL;
    }
    struct stats_port *p = calloc(1, sizeof(*p));
    if (p == NULL) {
        *why = strerror(ENOMEM);
        return NULL;
    }
    p->stats = stats;
    p->wake_fd = -1;
    p->listen_fd = listen_open(
        &at, &(struct listen_options){.backlog = BACKLOG, .reuseport = false, .mode = -1}, NULL);
    err = -p->listen_fd;
    if (p->listen_fd >= 0) {
        p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        err = errno;
    }
    if (p->wake_fd < 0) {
        *why = strerror(err);
        stats_port_close(p);
        return NULL;
    }
    return p;
}

int stats_port_start(struct stats_port *p)
{
    p->http = stats_http_open(p->stats);
    if (p->http == NULL)
        return -ENOMEM;
    int err = pthread_create(&p->thread, NULL, serve, p);
    if (err != 0)
        return -err;
    p->started = true;
    (void)pthread_setname_np(p->thread, "stats");
    return 0;
}

void stats_port_close(struct stats_port *p)
{
    if (p == NULL)
        return;
    if (p->started) {
        uint64_t one = 1;
        must(write(p->wake_fd, &one, sizeof(one)) == sizeof(one));
        pthread_join(p->thread, NULL);
    }
    for (size_t i = 0; i < p->count; i++)
        peer_close(&p->peers[i]);
    stats_http_close(p->http);
    if (p->wake_fd >= 0)
        close(p->wake_fd);
    if (p->listen_fd >= 0)
        close(p->listen_fd);
    free(p);
}
