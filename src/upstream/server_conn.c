/* SPDX-License-Identifier: BSD-3-Clause */
#include "upstream/server_conn.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "upstream/conn.h"
#include "upstream/conn_fifo.h"
#include "upstream/conn_late.h"
#include "upstream/conn_reply.h"
#include "upstream/ear.h"

/* Waits after failed attempts to connect, ms: none, then from FIRST doubling to LAST. */
enum { BACKOFF_FIRST = 50, BACKOFF_LAST = 1000 };
/* Addresses of a name that are tried. */
enum { ADDRS_MAX = 16 };

struct server_conn *server_conn_of_waiting(struct list *node)
{
    return container_of(node, struct server_conn, waiting);
}

struct server_conn *server_conn_of_all(struct list *node)
{
    return container_of(node, struct server_conn, all);
}

/* ---- end ---- */

void conn_leave_slot(struct server_conn *sc)
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
    if (conf->auto_eject_hosts || sc->apart)
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

void conn_count_failure(struct server_conn *sc)
{
    struct upstream *up = up_of(sc);
    if (!sc->apart && pool_server_failed(up->pool, sc->server->index))
        upstream_ejected(up, sc->server->index);
}

/* That we are out of descriptors or memory says nothing of the server: it must not cost it its place on
 * the ring, and after it all others theirs. */
static enum end end_for(enum end end, int err)
{
    switch (-err) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return END_SHORT;
    default:
        return end;
    }
}

static void count_end(struct server_conn *sc, enum end end)
{
    struct server_stats *stats = sc->server->stats;
    if (end == END_EOF)
        stat_add(&stats->server_eof, 1);
    else if (end == END_ERROR || end == END_CONNECT || end == END_SHORT)
        stat_add(&stats->server_err, 1);
    /* A server that closes an idle connection does nothing wrong. */
    bool failure = end == END_ERROR || end == END_CONNECT || (end == END_EOF && sc->part_count > 0);
    if (failure)
        conn_count_failure(sc);
}

static void server_conn_free(struct server_conn *sc)
{
    sc->profile->conns--;
    list_unlink(&sc->all);
    list_unlink(&sc->account.link);
    list_unlink(&sc->waiting);
    pool_of(sc)->proto->reply_reset(&sc->parser);
    chain_clear(&sc->held, chunks_of(sc));
    free(sc->addrs);
    free(sc);
}

void conn_end(struct server_conn *sc, enum end end, const char *reason)
{
    if (sc->state == SERVER_CONN_CLOSING)
        return;
    enum server_conn_state was = sc->state;
    struct conn_slot *slot = sc->slot;
    struct ear *ear = sc->ear;
    sc->ear = NULL;
    sc->state = SERVER_CONN_CLOSING;
    sc->profile->open--;
    timer_stop(up_of(sc)->loop, &sc->attempt);
    conn_leave_slot(sc);
    count_end(sc, end);
    bool ours = end == END_STOP || end == END_LEFT || end == END_REFUSED;
    if (slot != NULL && !ours && was < SERVER_CONN_READY) {
        snprintf(slot->reason, sizeof(slot->reason), "%s", reason);
        slot->lacking = end == END_SHORT;
        slot_rest(sc, slot);
    }
    bool failed = end == END_ERROR || end == END_CONNECT || end == END_SHORT ||
                  (end != END_LEFT && sc->part_count > 0);
    /* Of one that is heard its owner tells, who knows what it is for. */
    if (failed && !sc->apart && ear == NULL)
        log_warn("pool '%s': %s with %u requests on it: %s", pool_of(sc)->conf->name,
                 sc->connected ? "connection to server ended"
                               : "connection to server did not come up",
                 sc->part_count, reason);
    else
        log_info("pool '%s': connection to server '%s' is closed", pool_of(sc)->conf->name,
                 server_name(sc));
    conn_fifo_fail(sc, span_str(reason));
    conn_show_queues(sc);
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
    if (ear != NULL)
        ear->on->ended(ear, span_str(reason), false);
}

void conn_end_error(struct server_conn *sc, enum end end, int err)
{
    char reason[REASON_TEXT];
    snprintf(reason, sizeof(reason), "%s (server '%s')", conn_error_text(err), server_name(sc));
    conn_end(sc, end_for(end, err), reason);
}

void conn_end_protocol(struct server_conn *sc, const char *what)
{
    char reason[REASON_TEXT];
    snprintf(reason, sizeof(reason), "%s (server '%s' %s)", conn_error_text(EINVAL),
             server_name(sc), what);
    conn_end(sc, END_ERROR, reason);
}

void conn_end_refused(struct server_conn *sc, struct span line)
{
    log_info("pool '%s': server '%s' refused the login of a client: %.*s", pool_of(sc)->conf->name,
             server_name(sc), (int)line.len - 2, line.ptr);
    struct ear *ear = sc->ear;
    sc->ear = NULL;
    conn_leave_slot(sc);
    conn_fifo_answer(sc, line);
    conn_end(sc, END_REFUSED, "");
    if (ear != NULL)
        ear->on->ended(ear, line, true);
}

void server_conns_retire(struct profile *p)
{
    LIST_FOREACH_SAFE (node, &p->up->all) {
        struct server_conn *sc = server_conn_of_all(node);
        if (sc->profile == p && sc->part_count == 0)
            server_conn_stop(sc, "");
    }
}

void server_conn_stop(struct server_conn *sc, const char *reason)
{
    conn_end(sc, END_LEFT, reason);
}

void server_conn_shut_down(struct server_conn *sc)
{
    char reason[REASON_TEXT];
    snprintf(reason, sizeof(reason), "Connection refused (server '%s': shutting down)",
             server_name(sc));
    conn_end(sc, END_STOP, reason);
}

/* ---- coming up ---- */

static const struct stream_events hearing;

void conn_ready(struct server_conn *sc)
{
    sc->state = SERVER_CONN_READY;
    sc->ready_at = loop_now(up_of(sc)->loop);
    timer_stop(up_of(sc)->loop, &sc->attempt);
    log_info("pool '%s': connected to server '%s'", pool_of(sc)->conf->name, server_name(sc));
    sc->slot->backoff = 0;
    sc->slot->retry_at = 0;
    if (!chain_empty(&sc->held))
        stream_write_chain(&sc->stream, &sc->held);
    loop_at_turn_end(up_of(sc)->loop, &sc->account);
    if (sc->ear == NULL)
        return;
    sc->stream.on = &hearing;
    sc->ear->on->ready(sc->ear);
}

static const struct stream_events events;

/* Is the answer to what the server is told at the beginning late as any other would be, before the time for an
 * attempt is over? */
static bool late_as_reply(const struct server_conn *sc)
{
    const struct conf_pool *conf = pool_of(sc)->conf;
    return sc->state == SERVER_CONN_HANDSHAKE && !sc->apart && conf->timeout > 0 &&
           (conf->connect_timeout == 0 || conf->timeout < conf->connect_timeout);
}

/* A new attempt begins: to connect, or to be taken in. */
static void attempt(struct server_conn *sc)
{
    const struct conf_pool *conf = pool_of(sc)->conf;
    int64_t ms = late_as_reply(sc) ? conf->timeout : conf->connect_timeout;
    if (ms > 0)
        timer_start(up_of(sc)->loop, &sc->attempt, (uint64_t)ms);
}

/* Goes on to the next address, if there is one, by way of on_closed(). */
static bool try_next(struct server_conn *sc)
{
    if (sc->state != SERVER_CONN_CONNECTING || sc->addr_at >= sc->addr_count)
        return false;
    timer_stop(up_of(sc)->loop, &sc->attempt);
    sc->next_address = true;
    stream_close(&sc->stream);
    return true;
}

static void on_attempt_over(struct timer *t)
{
    struct server_conn *sc = container_of(t, struct server_conn, attempt);
    char reason[REASON_TEXT];
    if (late_as_reply(sc)) {
        conn_late_handshake(sc);
        return;
    }
    if (try_next(sc))
        return;
    snprintf(reason, sizeof(reason), "%s (server '%s' did not come up within %lld ms)",
             conn_error_text(ETIMEDOUT), server_name(sc),
             (long long)pool_of(sc)->conf->connect_timeout);
    conn_end(sc, END_CONNECT, reason);
}

/* Starts on the next address that can be tried at all; 0, or the last negative errno. */
static int connect_next(struct server_conn *sc)
{
    int err = -EHOSTUNREACH;
    while (sc->addr_at < sc->addr_count) {
        err = stream_connect(&sc->stream, up_of(sc)->loop, &sc->addrs[sc->addr_at++], &events);
        sc->streaming = err == 0;
        if (sc->streaming) {
            attempt(sc);
            return 0;
        }
    }
    return err;
}

static void on_connected(struct stream *s, int err)
{
    struct server_conn *sc = of_stream(s);
    if (sc->state == SERVER_CONN_CLOSING)
        return;
    if (err != 0) {
        if (!try_next(sc))
            conn_end_error(sc, END_CONNECT, err);
        return;
    }
    sc->connected = true;
    stat_add(&sc->server->stats->server_connections, 1);
    stat_add(&up_of(sc)->worker_stats->curr_connections, 1);
    stat_add(&up_of(sc)->worker_stats->total_connections, 1);
    sc->state = SERVER_CONN_HANDSHAKE;
    attempt(sc);
    if (!conn_say_handshake(sc))
        conn_end_error(sc, END_ERROR, -ENOMEM);
    else if (sc->handshake_left == 0)
        conn_ready(sc);
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
        conn_end_error(sc, END_CONNECT, err);
}

static void on_lookup(struct lookup *l, int err, const struct addr *addrs, size_t count)
{
    struct server_conn *sc = container_of(l, struct server_conn, lookup);
    char reason[REASON_TEXT];
    sc->looking = false;
    sc->state = SERVER_CONN_CONNECTING;
    if (err != 0 || count == 0) {
        snprintf(reason, sizeof(reason), "%s (server '%s': %s)", conn_error_text(EHOSTDOWN),
                 server_name(sc), err == 0 ? "no address" : gai_strerror(err));
        conn_end(sc, END_CONNECT, reason);
        return;
    }
    count = count < ADDRS_MAX ? count : ADDRS_MAX;
    sc->addrs = malloc(count * sizeof(*addrs));
    if (sc->addrs == NULL) {
        conn_end_error(sc, END_CONNECT, -ENOMEM);
        return;
    }
    memcpy(sc->addrs, addrs, count * sizeof(*addrs));
    sc->addr_count = (uint32_t)count;
    int failed = connect_next(sc);
    if (failed != 0)
        conn_end_error(sc, END_CONNECT, failed);
}

/* Begins to connect: looks the name up, or connects at once. 0 or a negative errno. */
static int begin(struct server_conn *sc)
{
    const struct server *server = &pool_of(sc)->servers[sc->server->index];
    struct loop *loop = up_of(sc)->loop;
    int err;
    attempt(sc);
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
    snprintf(slot->reason, sizeof(slot->reason), "%s (server '%s')", conn_error_text(err),
             server_name(sc));
    if (!sc->apart)
        log_warn("pool '%s': can't connect: %s", pool_of(sc)->conf->name, slot->reason);
    slot->lacking = end_for(END_CONNECT, err) == END_SHORT;
    count_end(sc, end_for(END_CONNECT, err));
    slot_rest(sc, slot);
    timer_stop(up_of(sc)->loop, &sc->attempt);
    free(sc);
    return NULL;
}

struct server_conn *server_conn_open(struct server_slot *server, struct conn_slot *slot)
{
    must(slot->conn == NULL);
    struct server_conn *sc = calloc(1, sizeof(*sc));
    if (sc == NULL) {
        snprintf(slot->reason, sizeof(slot->reason), "%s (server '%s')", conn_error_text(ENOMEM),
                 server->up->pool->servers[server->index].conf->name);
        slot->lacking = true;
        return NULL;
    }
    sc->server = server;
    sc->profile = slot->profile;
    sc->apart = slot->apart;
    sc->ear = slot->ear;
    sc->most = (uint32_t)server->up->pool->conf->max_in_flight;
    list_init(&sc->parts);
    list_init(&sc->waiting);
    list_init(&sc->all);
    turn_end_init(&sc->account, conn_account);
    timer_init(&sc->attempt, on_attempt_over);
    sc->due = &sc->parts;
    int err = begin(sc);
    if (err != 0)
        return open_failed(sc, slot, err);
    sc->slot = slot;
    sc->profile->conns++;
    sc->profile->open++;
    slot->opened++;
    slot->number = ++server->opened;
    slot->lacking = false;
    slot->conn = sc;
    list_append(&server->up->all, &sc->all);
    return sc;
}

/* How long a server that turns new connections away may take for it, ms. */
enum { TURNED_AWAY_MS = 1000 };

/* A server may accept a connection only to answer whatever comes first with an error, and close it:
 * redis does when it has too many clients. Then the error is why all the others fail. */
static const char *turned_away(const struct server_conn *sc)
{
    uint64_t answered = sc->part_count == 0 ? sc->queued : part_of(sc->parts.next)->start;
    bool first_only = sc->handshake_len > 0 && answered == sc->first_bytes;
    bool soon = loop_now(up_of(sc)->loop) - sc->ready_at < TURNED_AWAY_MS;
    return sc->state == SERVER_CONN_READY && first_only && soon ? sc->handshake_text : NULL;
}

static void on_ended(struct stream *s, int err)
{
    struct server_conn *sc = of_stream(s);
    char reason[REASON_TEXT];
    const char *said = turned_away(sc);
    snprintf(reason, sizeof(reason), "%s (server '%s'%s%s%s)",
             err == 0 ? "unknown" : conn_error_text(err), server_name(sc),
             err == 0 ? " closed the connection" : "", said == NULL ? "" : " after ",
             said == NULL ? "" : said);
    if (said != NULL)
        log_warn("pool '%s': %s", pool_of(sc)->conf->name, reason);
    enum end end = err == 0 ? END_EOF : end_for(END_ERROR, err);
    if (sc->state == SERVER_CONN_READY)
        conn_end_rescuing(sc, end, reason);
    else
        conn_end(sc, end == END_EOF && sc->state == SERVER_CONN_HANDSHAKE ? END_ERROR : end,
                 reason);
}

static void on_broken(struct stream *s, int err)
{
    conn_end_error(of_stream(s), END_ERROR, err);
}

static void on_drained(struct stream *s)
{
    struct server_conn *sc = of_stream(s);
    loop_at_turn_end(up_of(sc)->loop, &sc->account);
}

static const struct stream_events events = {
    .connected = on_connected,
    .data = conn_data,
    .drained = on_drained,
    .ended = on_ended,
    .broken = on_broken,
    .closed = on_closed,
};

/* Of one with an ear, once it is ready. */
static const struct stream_events hearing = {
    .data = ear_data,
    .drained = on_drained,
    .ended = on_ended,
    .broken = on_broken,
    .closed = on_closed,
};
