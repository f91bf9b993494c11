/* SPDX-License-Identifier: BSD-3-Clause */
#include "upstream/server_conn.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"

/* Bytes not yet taken by the kernel: above HIGH_WATER clients wait, at LOW_WATER they go on. */
enum { HIGH_WATER = 4 * 1024 * 1024, LOW_WATER = 1024 * 1024 };
/* Waits after failed attempts to connect, ms: none, then from FIRST doubling to LAST. */
enum { BACKOFF_FIRST = 50, BACKOFF_LAST = 1000 };
/* What is kept of a handshake reply, to judge it and to show it. */
enum { HANDSHAKE_KEEP = 128 };
/* Addresses of a name that are tried. */
enum { ADDRS_MAX = 16 };

struct server_conn {
    struct stream stream;
    struct server_slot *server;
    struct conn_slot *slot; /* NULL once it takes no new parts */
    enum server_conn_state state;
    struct list all;     /* in upstream.all */
    struct list waiting; /* in upstream.waiting while `parts` is not empty */
    struct turn_end account;

    struct list parts; /* FIFO */
    struct list
        *due; /* the first part whose time is not over; the head of `parts` when there is none */
    uint32_t part_count;
    uint64_t part_bytes; /* request bytes of `parts` */
    uint64_t queued;     /* request bytes ever queued, those in `held` included */
    uint64_t preamble;   /* handshake bytes in front of them on the wire */
    struct chain held;   /* requests that came before READY */
    struct reply_parser parser;
    uint64_t drain_until; /* ms */

    uint32_t handshake_left; /* replies to come */
    uint32_t handshake_at;   /* number of the one that is being read */
    uint8_t handshake_expect;
    uint8_t handshake_len;
    char handshake_text[HANDSHAKE_KEEP];

    bool connected;    /* counted as an open connection */
    bool looking;      /* a look-up is under way */
    bool streaming;    /* the stream is open: its `closed` will come */
    bool next_address; /* the stream is closing only to try the next address */
    struct lookup lookup;
    struct addr *addrs; /* what a look-up gave */
    uint32_t addr_count;
    uint32_t addr_at;

    /* What was last added to the gauges of the server. */
    struct {
        uint64_t in, in_bytes, out, out_bytes;
    } shown;
};

/* Why a connection ends, for counters and health. */
enum end {
    END_EOF,     /* the server closed it in order */
    END_ERROR,   /* it broke, or said what it must not */
    END_CONNECT, /* it never stood */
    END_LATE,    /* a reply was late */
    END_STOP,    /* we want no more of it */
};

struct server_conn *server_conn_of_waiting(struct list *node)
{
    return container_of(node, struct server_conn, waiting);
}

struct server_conn *server_conn_of_all(struct list *node)
{
    return container_of(node, struct server_conn, all);
}

static struct server_conn *of_stream(struct stream *s)
{
    return container_of(s, struct server_conn, stream);
}

static struct part *part_of(struct list *node)
{
    return container_of(node, struct part, link);
}

static struct upstream *up_of(const struct server_conn *sc)
{
    return sc->server->up;
}

static const struct pool *pool_of(const struct server_conn *sc)
{
    return sc->server->up->pool;
}

static struct chunk_pool *chunks_of(const struct server_conn *sc)
{
    return &up_of(sc)->loop->pool;
}

static const char *server_name(const struct server_conn *sc)
{
    return pool_of(sc)->servers[sc->server->index].conf->name;
}

/* Request bytes that the kernel has taken: the server may have read everything before this offset.
 */
static uint64_t user_sent(const struct server_conn *sc)
{
    return sc->stream.sent > sc->preamble ? sc->stream.sent - sc->preamble : 0;
}

static const char *error_text(int err)
{
    const char *text = strerrordesc_np(err < 0 ? -err : err);
    return text == NULL ? "unknown" : text;
}

/* ---- gauges ---- */

static void gauge_move(stat *s, uint64_t *shown, uint64_t now)
{
    stat_add(s, now - *shown);
    *shown = now;
}

/* Brings the four queue gauges of the server up to date; runs once in a turn that touched the
 * connection. The flush of the turn comes later: what is queued counts as sent unless the kernel
 * has refused to take more. */
static void show_queues(struct server_conn *sc)
{
    uint64_t in = 0;
    uint64_t in_bytes = 0;
    bool flows = sc->state >= SERVER_CONN_READY && !stream_blocked(&sc->stream);
    uint64_t sent = flows ? sc->queued : user_sent(sc);
    for (struct list *node = sc->parts.prev; node != &sc->parts; node = node->prev) {
        if (part_of(node)->start < sent)
            break;
        in++;
        in_bytes += part_of(node)->bytes;
    }
    gauge_move(&sc->server->stats->in_queue, &sc->shown.in, in);
    gauge_move(&sc->server->stats->in_queue_bytes, &sc->shown.in_bytes, in_bytes);
    gauge_move(&sc->server->stats->out_queue, &sc->shown.out, sc->part_count - in);
    gauge_move(&sc->server->stats->out_queue_bytes, &sc->shown.out_bytes,
               sc->part_bytes - in_bytes);
}

static size_t unsent(const struct server_conn *sc)
{
    return stream_pending(&sc->stream) + sc->held.len;
}

bool server_conn_busy(const struct server_conn *sc)
{
    return unsent(sc) > HIGH_WATER || sc->part_count >= (uint64_t)pool_of(sc)->conf->max_in_flight;
}

/* Far enough below what makes it busy that waiters do not come and go for each reply. */
static bool relaxed(const struct server_conn *sc)
{
    return unsent(sc) <= LOW_WATER &&
           sc->part_count <= (uint64_t)pool_of(sc)->conf->max_in_flight / 2;
}

static void on_account(struct turn_end *t)
{
    struct server_conn *sc = container_of(t, struct server_conn, account);
    show_queues(sc);
    if (sc->slot != NULL && !list_empty(&sc->slot->line) && relaxed(sc))
        upstream_release(sc->slot);
}

/* ---- the FIFO ---- */

/* Parts that were answered with an error because their time was over, and whose replies must still
 * be swallowed. */
static void swallow_reply(struct part *p, struct span piece, bool last, bool error)
{
    (void)piece;
    (void)error;
    if (last)
        free(p);
}

static void swallow_failed(struct part *p, struct span reason)
{
    (void)reason;
    free(p);
}

static void swallow_drains(struct part *p)
{
    (void)p; /* who was told that it failed waits for nothing */
}

static const struct part_events swallow = {
    .reply = swallow_reply, .failed = swallow_failed, .drains = swallow_drains};

static void fifo_append(struct server_conn *sc, struct part *p)
{
    list_append(&sc->parts, &p->link);
    if (sc->due == &sc->parts)
        sc->due = &p->link;
    sc->part_count++;
    sc->part_bytes += p->bytes;
    if (!list_linked(&sc->waiting))
        list_append(&up_of(sc)->waiting, &sc->waiting);
}

static void fifo_remove(struct server_conn *sc, struct part *p)
{
    if (sc->due == &p->link)
        sc->due = p->link.next;
    list_unlink(&p->link);
    sc->part_count--;
    sc->part_bytes -= p->bytes;
    if (sc->part_count == 0)
        list_unlink(&sc->waiting);
}

static void fail_parts(struct list *parts, struct span reason)
{
    while (!list_empty(parts)) {
        struct part *p = part_of(parts->next);
        list_unlink(&p->link);
        p->on->failed(p, reason);
    }
}

static void fail_fifo(struct server_conn *sc, struct span reason)
{
    struct list failed;
    list_move(&failed, &sc->parts);
    list_unlink(&sc->waiting);
    sc->due = &sc->parts;
    sc->part_count = 0;
    sc->part_bytes = 0;
    fail_parts(&failed, reason);
}

static void accept_part(struct server_conn *sc, struct part *p, size_t len)
{
    p->start = sc->queued;
    p->born = loop_now(up_of(sc)->loop);
    p->bytes = (uint32_t)len;
    sc->queued += len;
    fifo_append(sc, p);
    stat_add(&sc->server->stats->requests, 1);
    stat_add(&sc->server->stats->request_bytes, len);
    loop_at_turn_end(up_of(sc)->loop, &sc->account);
}

bool server_conn_push(struct server_conn *sc, struct part *part, struct span wire)
{
    bool good = sc->state == SERVER_CONN_READY ? stream_write(&sc->stream, wire)
                                               : chain_append(&sc->held, chunks_of(sc), wire);
    if (good)
        accept_part(sc, part, wire.len);
    return good;
}

bool server_conn_push_buf(struct server_conn *sc, struct part *part, struct buf *wire)
{
    size_t len = buf_len(wire);
    bool good = sc->state == SERVER_CONN_READY ? stream_write_buf(&sc->stream, wire)
                                               : chain_adopt(&sc->held, chunks_of(sc), wire);
    if (good)
        accept_part(sc, part, len);
    return good;
}

/* ---- end ---- */

static void leave_slot(struct server_conn *sc)
{
    struct conn_slot *slot = sc->slot;
    sc->slot = NULL;
    if (slot == NULL)
        return;
    slot->conn = NULL;
    /* Who waited for it goes on to the next connection, or is told that there is none. */
    upstream_release(slot);
}

/* After a failed attempt the slot rests: not at all at first, then longer and longer, with jitter
 * so that workers and proxies don't come back in step. While ejection counts failures there is no
 * rest: it ends the attempts itself. */
static void slot_rest(struct server_conn *sc, struct conn_slot *slot)
{
    struct upstream *up = up_of(sc);
    const struct conf_pool *conf = pool_of(sc)->conf;
    if (conf->auto_eject_hosts)
        return;
    uint64_t wait = slot->backoff;
    slot->backoff =
        wait == 0 ? BACKOFF_FIRST : (uint32_t)(wait * 2 < BACKOFF_LAST ? wait * 2 : BACKOFF_LAST);
    if (wait > (uint64_t)conf->server_retry_timeout)
        wait = (uint64_t)conf->server_retry_timeout;
    if (wait > 0)
        wait = wait / 2 + upstream_random(up) % (wait / 2 + 1);
    slot->retry_at = loop_now(up->loop) + wait;
}

static uint64_t wall_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void count_failure(struct server_conn *sc)
{
    struct upstream *up = up_of(sc);
    if (!pool_server_failed(up->pool, sc->server->index, loop_now(up->loop)))
        return;
    stat_add(&up->stats->server_ejects, 1);
    stat_set(&sc->server->stats->server_ejected_at, wall_us());
}

static void count_end(struct server_conn *sc, enum end end)
{
    struct server_stats *stats = sc->server->stats;
    if (end == END_EOF)
        stat_add(&stats->server_eof, 1);
    else if (end == END_ERROR || end == END_CONNECT)
        stat_add(&stats->server_err, 1);
    /* A server that closes an idle connection does nothing wrong. */
    bool failure = end == END_ERROR || end == END_CONNECT || (end == END_EOF && sc->part_count > 0);
    if (failure)
        count_failure(sc);
}

static void server_conn_free(struct server_conn *sc)
{
    list_unlink(&sc->all);
    list_unlink(&sc->account.link);
    list_unlink(&sc->waiting);
    pool_of(sc)->proto->reply_reset(&sc->parser);
    chain_clear(&sc->held, chunks_of(sc));
    free(sc->addrs);
    free(sc);
}

/* Ends the connection: counts, answers every part left, and closes. `reason` begins with the words
 * of the system. */
static void end_with(struct server_conn *sc, enum end end, const char *reason)
{
    if (sc->state == SERVER_CONN_CLOSING)
        return;
    enum server_conn_state was = sc->state;
    struct conn_slot *slot = sc->slot;
    sc->state = SERVER_CONN_CLOSING;
    leave_slot(sc);
    count_end(sc, end);
    if (slot != NULL && end != END_STOP && (was < SERVER_CONN_READY)) {
        snprintf(slot->reason, sizeof(slot->reason), "%s", reason);
        slot_rest(sc, slot);
    }
    if (end == END_ERROR || end == END_CONNECT || sc->part_count > 0)
        log_warn("pool '%s': connection to server ended with %u requests on it: %s",
                 pool_of(sc)->conf->name, sc->part_count, reason);
    else
        log_info("pool '%s': connection to server '%s' is closed", pool_of(sc)->conf->name,
                 server_name(sc));
    fail_fifo(sc, span_str(reason));
    show_queues(sc);
    if (sc->connected) {
        stat_sub(&sc->server->stats->server_connections, 1);
        stat_sub(&up_of(sc)->worker_stats->curr_connections, 1);
    }
    if (sc->looking)
        loop_lookup_cancel(up_of(sc)->loop, &sc->lookup);
    if (!sc->streaming)
        server_conn_free(sc);
    else if (!sc->next_address) /* else it is closing already */
        stream_close(&sc->stream);
}

static void end_error(struct server_conn *sc, enum end end, int err)
{
    char reason[REASON_TEXT];
    snprintf(reason, sizeof(reason), "%s (server '%s')", error_text(err), server_name(sc));
    end_with(sc, end, reason);
}

/* The server broke the protocol: `what` it did. */
static void end_protocol(struct server_conn *sc, const char *what)
{
    char reason[REASON_TEXT];
    snprintf(reason, sizeof(reason), "%s (server '%s' %s)", error_text(EINVAL), server_name(sc),
             what);
    end_with(sc, END_ERROR, reason);
}

void server_conn_stop(struct server_conn *sc)
{
    char reason[REASON_TEXT];
    snprintf(reason, sizeof(reason), "Connection refused (shutting down)");
    end_with(sc, END_STOP, reason);
}

/* ---- coming up ---- */

static void go_ready(struct server_conn *sc)
{
    sc->state = SERVER_CONN_READY;
    log_info("pool '%s': connected to server '%s'", pool_of(sc)->conf->name, server_name(sc));
    sc->slot->backoff = 0;
    sc->slot->retry_at = 0;
    if (!chain_empty(&sc->held))
        stream_write_chain(&sc->stream, &sc->held);
    loop_at_turn_end(up_of(sc)->loop, &sc->account);
}

static bool say_handshake(struct server_conn *sc)
{
    const struct pool *p = pool_of(sc);
    struct buf hello = {0};
    sc->handshake_left = p->proto->handshake(&p->settings, &hello, &sc->handshake_expect);
    sc->preamble = buf_len(&hello);
    bool good = sc->handshake_left != UINT32_MAX && stream_write(&sc->stream, buf_span(&hello));
    buf_free(&hello);
    return good;
}

static const struct stream_events events;

/* Starts on the next address that can be tried at all; 0, or the last negative errno. */
static int connect_next(struct server_conn *sc)
{
    int err = -EHOSTUNREACH;
    while (sc->addr_at < sc->addr_count) {
        err = stream_connect(&sc->stream, up_of(sc)->loop, &sc->addrs[sc->addr_at++], &events);
        sc->streaming = err == 0;
        if (sc->streaming)
            return 0;
    }
    return err;
}

static void on_connected(struct stream *s, int err)
{
    struct server_conn *sc = of_stream(s);
    if (sc->state == SERVER_CONN_CLOSING)
        return;
    if (err != 0) {
        if (sc->addr_at < sc->addr_count) {
            sc->next_address = true;
            stream_close(s);
        } else {
            end_error(sc, END_CONNECT, err);
        }
        return;
    }
    sc->connected = true;
    stat_add(&sc->server->stats->server_connections, 1);
    stat_add(&up_of(sc)->worker_stats->curr_connections, 1);
    stat_add(&up_of(sc)->worker_stats->total_connections, 1);
    sc->state = SERVER_CONN_HANDSHAKE;
    if (!say_handshake(sc))
        end_error(sc, END_ERROR, ENOMEM);
    else if (sc->handshake_left == 0)
        go_ready(sc);
}

static void on_closed(struct stream *s)
{
    struct server_conn *sc = of_stream(s);
    sc->streaming = false;
    if (sc->state == SERVER_CONN_CLOSING) {
        server_conn_free(sc);
        return;
    }
    must(sc->next_address);
    sc->next_address = false;
    int err = connect_next(sc);
    if (err != 0)
        end_error(sc, END_CONNECT, err);
}

static void on_lookup(struct lookup *l, int err, const struct addr *addrs, size_t count)
{
    struct server_conn *sc = container_of(l, struct server_conn, lookup);
    char reason[REASON_TEXT];
    sc->looking = false;
    sc->state = SERVER_CONN_CONNECTING;
    if (err != 0 || count == 0) {
        snprintf(reason, sizeof(reason), "%s (server '%s': %s)", error_text(EHOSTDOWN),
                 server_name(sc), err == 0 ? "no address" : gai_strerror(err));
        end_with(sc, END_CONNECT, reason);
        return;
    }
    count = count < ADDRS_MAX ? count : ADDRS_MAX;
    sc->addrs = malloc(count * sizeof(*addrs));
    if (sc->addrs == NULL) {
        end_error(sc, END_CONNECT, ENOMEM);
        return;
    }
    memcpy(sc->addrs, addrs, count * sizeof(*addrs));
    sc->addr_count = (uint32_t)count;
    int failed = connect_next(sc);
    if (failed != 0)
        end_error(sc, END_CONNECT, failed);
}

/* Begins to connect: looks the name up, or connects at once. 0 or a negative errno. */
static int begin(struct server_conn *sc)
{
    const struct server *server = &pool_of(sc)->servers[sc->server->index];
    struct loop *loop = up_of(sc)->loop;
    int err;
    if (server->literal) {
        sc->state = SERVER_CONN_CONNECTING;
        err = stream_connect(&sc->stream, loop, &server->addr, &events);
        sc->streaming = err == 0;
    } else {
        sc->state = SERVER_CONN_LOOKUP;
        sc->lookup.done = on_lookup;
        err = loop_lookup(loop, &sc->lookup, server->conf->at.host, server->conf->at.port);
        sc->looking = err == 0;
    }
    return err;
}

static struct server_conn *open_failed(struct server_conn *sc, struct conn_slot *slot, int err)
{
    snprintf(slot->reason, sizeof(slot->reason), "%s (server '%s')", error_text(err),
             server_name(sc));
    log_warn("pool '%s': can't connect: %s", pool_of(sc)->conf->name, slot->reason);
    count_end(sc, END_CONNECT);
    slot_rest(sc, slot);
    free(sc);
    return NULL;
}

struct server_conn *server_conn_open(struct server_slot *server, struct conn_slot *slot)
{
    must(slot->conn == NULL);
    struct server_conn *sc = calloc(1, sizeof(*sc));
    if (sc == NULL) {
        snprintf(slot->reason, sizeof(slot->reason), "%s", error_text(ENOMEM));
        return NULL;
    }
    sc->server = server;
    list_init(&sc->parts);
    list_init(&sc->waiting);
    list_init(&sc->all);
    turn_end_init(&sc->account, on_account);
    sc->due = &sc->parts;
    int err = begin(sc);
    if (err != 0)
        return open_failed(sc, slot, err);
    sc->slot = slot;
    slot->conn = sc;
    list_append(&server->up->all, &sc->all);
    return sc;
}

/* ---- replies ---- */

/* Reads on in the replies of the handshake. Returns the bytes used; the state tells how it went. */
static size_t read_handshake(struct server_conn *sc, struct span in)
{
    const struct proto *proto = pool_of(sc)->proto;
    size_t used = 0;
    enum parse r = proto->parse_reply(&sc->parser, sc->handshake_expect, in, &used);
    size_t room = sizeof(sc->handshake_text) - 1 - sc->handshake_len;
    size_t keep = r == PARSE_BAD ? in.len : used; /* all that may help to understand it */
    keep = keep < room ? keep : room;
    memcpy(sc->handshake_text + sc->handshake_len, in.ptr, keep);
    sc->handshake_len = (uint8_t)(sc->handshake_len + keep);
    if (r == PARSE_MORE)
        return used;
    struct span text = {sc->handshake_text, sc->handshake_len};
    if (r == PARSE_BAD || !proto->handshake_ok(sc->handshake_at, text)) {
        char what[HANDSHAKE_KEEP + 32];
        size_t line = strcspn(sc->handshake_text, "\r\n");
        snprintf(what, sizeof(what), "refused the connection: %.*s", (int)line, sc->handshake_text);
        end_protocol(sc, what);
        return in.len;
    }
    /* A greeting must not be taken for the first reply, nor every reply behind it for that of the
     * request before. */
    if (sc->stream.sent == 0) {
        end_protocol(sc, "replied before it was asked");
        return in.len;
    }
    proto->reply_reset(&sc->parser);
    memset(sc->handshake_text, 0, sizeof(sc->handshake_text));
    sc->handshake_len = 0;
    sc->handshake_at++;
    sc->handshake_left--;
    if (sc->handshake_left == 0)
        go_ready(sc);
    return used;
}

/* Reads on in the reply of the part at the head. */
static size_t read_reply(struct server_conn *sc, struct span in)
{
    const struct proto *proto = pool_of(sc)->proto;
    if (list_empty(&sc->parts)) {
        end_protocol(sc, "sent a reply that nobody asked for");
        return in.len;
    }
    struct part *p = part_of(sc->parts.next);
    if (p->start >= user_sent(sc)) {
        end_protocol(sc, "replied before it was asked");
        return in.len;
    }
    size_t used = 0;
    enum parse r = proto->parse_reply(&sc->parser, p->expect, in, &used);
    if (r == PARSE_BAD) {
        end_protocol(sc, "sent what is not a reply");
        return in.len;
    }
    stat_add(&sc->server->stats->response_bytes, used);
    struct span piece = {in.ptr, used};
    if (r == PARSE_MORE) {
        p->on->reply(p, piece, false, false);
        return used;
    }
    bool error = sc->parser.error;
    proto->reply_reset(&sc->parser);
    fifo_remove(sc, p);
    stat_add(&sc->server->stats->responses, 1);
    p->on->reply(p, piece, true, error);
    return used;
}

static size_t on_data(struct stream *s, struct span in)
{
    struct server_conn *sc = of_stream(s);
    size_t used = 0;
    bool was_ready = sc->state == SERVER_CONN_READY;
    while (used < in.len && sc->state != SERVER_CONN_CLOSING) {
        struct span rest = span_from(in, used);
        used +=
            sc->state == SERVER_CONN_HANDSHAKE ? read_handshake(sc, rest) : read_reply(sc, rest);
    }
    if (sc->state == SERVER_CONN_CLOSING)
        return in.len;
    if (was_ready)
        pool_server_succeeded(up_of(sc)->pool, sc->server->index);
    loop_at_turn_end(up_of(sc)->loop, &sc->account);
    if (sc->state == SERVER_CONN_DRAINING && sc->part_count == 0)
        end_with(sc, END_LATE, "");
    return in.len;
}

static void on_ended(struct stream *s, int err)
{
    struct server_conn *sc = of_stream(s);
    if (err != 0) {
        end_error(sc, END_ERROR, err);
        return;
    }
    char reason[REASON_TEXT];
    snprintf(reason, sizeof(reason), "unknown (server '%s' closed the connection)",
             server_name(sc));
    end_with(sc, sc->state == SERVER_CONN_HANDSHAKE ? END_ERROR : END_EOF, reason);
}

static void on_broken(struct stream *s, int err)
{
    end_error(of_stream(s), END_ERROR, err);
}

static void on_drained(struct stream *s)
{
    struct server_conn *sc = of_stream(s);
    loop_at_turn_end(up_of(sc)->loop, &sc->account);
}

static const struct stream_events events = {
    .connected = on_connected,
    .data = on_data,
    .drained = on_drained,
    .ended = on_ended,
    .broken = on_broken,
    .closed = on_closed,
};

/* ---- late replies ---- */

/* Puts a part that swallows in the place of `p`, which is then its owner's to be told. False if
 * memory is out. */
static bool replace_with_swallower(struct server_conn *sc, struct part *p)
{
    struct part *stand_in = malloc(sizeof(*stand_in));
    if (stand_in == NULL)
        return false;
    *stand_in = *p;
    stand_in->on = &swallow;
    list_init(&stand_in->link);
    list_append(&p->link, &stand_in->link); /* directly before p */
    list_unlink(&p->link);
    sc->due = stand_in->link.next;
    return true;
}

static bool late(const struct server_conn *sc, const struct part *p, uint64_t timeout)
{
    return loop_now(up_of(sc)->loop) - p->born >= timeout;
}

static void late_reason(const struct server_conn *sc, uint64_t timeout, char reason[REASON_TEXT])
{
    snprintf(reason, REASON_TEXT, "%s (server '%s', %llu ms)", error_text(ETIMEDOUT),
             server_name(sc), (unsigned long long)timeout);
}

/* Answers the parts that are late and may have been read by the server, and leaves swallowers for
 * their replies. False: memory is out. */
static bool expire_sent(struct server_conn *sc, uint64_t timeout, struct span reason)
{
    while (sc->due != &sc->parts) {
        struct part *p = part_of(sc->due);
        if (p->start >= user_sent(sc) || !late(sc, p, timeout))
            return true;
        if (!replace_with_swallower(sc, p))
            return false;
        p->on->failed(p, reason);
    }
    return true;
}

/* Takes the parts of which the kernel has no byte, and their bytes, off this connection. False:
 * memory is out. */
static bool take_unsent(struct server_conn *sc, struct list *parts, struct chain *bytes)
{
    struct list *node = sc->parts.prev;
    uint64_t sent = user_sent(sc);
    uint64_t unsent = 0;
    while (node != &sc->parts && part_of(node)->start >= sent) {
        unsent += part_of(node)->bytes;
        node = node->prev;
    }
    bool ready = sc->state == SERVER_CONN_READY;
    struct chain *from = ready ? &sc->stream.out : &sc->held;
    if (!chain_cut(from, chunks_of(sc), from->len - unsent, bytes))
        return false;
    sc->queued -= unsent;
    while (node->next != &sc->parts) {
        struct part *p = part_of(node->next);
        fifo_remove(sc, p);
        list_append(parts, &p->link);
    }
    return true;
}

static void drain_part(struct part *p)
{
    if (p->drains)
        return;
    p->drains = true;
    p->on->drains(p);
}

/* What the server may have read drains. Behind it stay those of the unsent `parts` whose client
 * waits for one of those, since on another connection they could overtake it; the rest, and its
 * bytes, are left to be moved. False: memory is out, and what is left has no bytes any more. */
static bool keep_order(struct server_conn *sc, struct list *parts, struct chain *bytes)
{
    struct chain moved = {0};
    struct chain stay = {0};
    bool good = true;
    LIST_FOREACH (node, &sc->parts) {
        drain_part(part_of(node));
    }
    LIST_FOREACH_SAFE (node, parts) {
        struct part *p = part_of(node);
        bool stays = p->on->stays(p);
        good = good && chain_move(bytes, chunks_of(sc), p->bytes, stays ? &stay : &moved);
        if (!stays || !good)
            continue;
        list_unlink(&p->link);
        p->start = sc->queued;
        sc->queued += p->bytes;
        fifo_append(sc, p);
        drain_part(p);
    }
    chain_clear(bytes, chunks_of(sc));
    if (good)
        *bytes = moved;
    else
        chain_clear(&moved, chunks_of(sc));
    stream_write_chain(&sc->stream, &stay);
    return good;
}

/* Gives parts and their bytes, none of which any server has seen, to a fresh connection; the late
 * ones among them (they stand in front) fail. */
static void move_parts(struct server_slot *server, struct conn_slot *slot, struct list *parts,
                       struct chain *bytes, uint64_t timeout, struct span reason)
{
    struct upstream *up = server->up;
    while (!list_empty(parts)) {
        struct part *p = part_of(parts->next);
        if (loop_now(up->loop) - p->born < timeout)
            break;
        chain_consume(bytes, &up->loop->pool, p->bytes);
        list_unlink(&p->link);
        p->on->failed(p, reason);
    }
    if (list_empty(parts))
        return;
    struct server_conn *sc = slot->conn;
    if (sc == NULL)
        sc = server_conn_open(server, slot);
    if (sc == NULL) {
        chain_clear(bytes, &up->loop->pool);
        fail_parts(parts, span_str(slot->reason));
        return;
    }
    must(sc->state < SERVER_CONN_READY && sc->part_count == 0);
    while (!list_empty(parts)) {
        struct part *p = part_of(parts->next);
        list_unlink(&p->link);
        p->start = sc->queued;
        sc->queued += p->bytes;
        fifo_append(sc, p);
    }
    chain_splice(&sc->held, &up->loop->pool, bytes);
    loop_at_turn_end(up->loop, &sc->account);
}

/* The first late reply of a connection: it takes no new parts from here on. What the server may
 * have read drains for one more timeout; the rest moves on. */
static void give_up(struct server_conn *sc, uint64_t timeout, struct span reason)
{
    struct server_slot *server = sc->server;
    struct conn_slot *slot = sc->slot;
    struct list moved;
    struct chain bytes = {0};
    list_init(&moved);
    stat_add(&server->stats->server_timedout, 1);
    log_warn("pool '%s': server '%s' did not answer within %llu ms; %u requests on the connection",
             pool_of(sc)->conf->name, server_name(sc), (unsigned long long)timeout, sc->part_count);
    count_failure(sc);
    bool good = take_unsent(sc, &moved, &bytes) && expire_sent(sc, timeout, reason);
    if (good && sc->part_count > 0 && !keep_order(sc, &moved, &bytes)) {
        fail_parts(&moved, SPAN("Cannot allocate memory"));
        good = false;
    }
    leave_slot(sc);
    if (!good || sc->part_count == 0) {
        end_with(sc, END_LATE, reason.ptr);
    } else {
        sc->state = SERVER_CONN_DRAINING;
        sc->drain_until = loop_now(up_of(sc)->loop) + timeout;
        show_queues(sc);
    }
    move_parts(server, slot, &moved, &bytes, timeout, reason);
}

void server_conn_expire(struct server_conn *sc, uint64_t timeout)
{
    char reason[REASON_TEXT];
    /* After a failed send what was queued is dropped, and the end of the turn ends the connection:
     * there is nothing to move, and that reason is the truer one. */
    if (sc->stream.err != 0)
        return;
    late_reason(sc, timeout, reason);
    if (sc->state == SERVER_CONN_DRAINING) {
        bool over = loop_now(up_of(sc)->loop) >= sc->drain_until;
        if (over || !expire_sent(sc, timeout, span_str(reason)))
            end_with(sc, END_LATE, reason);
        return;
    }
    if (sc->due != &sc->parts && late(sc, part_of(sc->due), timeout))
        give_up(sc, timeout, span_str(reason));
}
