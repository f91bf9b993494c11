/* SPDX-License-Identifier: BSD-3-Clause */
#include "proxy/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hint.h"
#include "base/log.h"
#include "proxy/login.h"
#include "proxy/request.h"
#include "proxy/session_ops.h"

/* Memory of each piece of work space that is kept between requests, bytes. */
enum { WORK_KEEP = 4 << 20 };

static struct client *of_stream(struct stream *s)
{
    return container_of(s, struct client, stream);
}

static struct pool_stats *stats_of(const struct client *c)
{
    return c->front->up->stats;
}

static const char *pool_name(const struct client *c)
{
    return c->front->up->pool->conf->name;
}

static size_t backlog(const struct client *c)
{
    return c->parked + stream_pending(&c->stream);
}

/* ---- end ---- */

/* From here on the requests that are still open belong to nobody. */
static void leave_requests(struct client *c, enum client_state next)
{
    c->state = (uint8_t)next;
    while (c->first != NULL) {
        struct request *r = c->first;
        c->first = r->next;
        request_orphan(r);
    }
    waiter_leave(&c->waiter);
    if (c->held != NULL)
        c->front->px->sessions->leave(c);
    c->last = NULL;
    c->open = 0;
    c->parked = 0;
}

static void finish(struct client *c)
{
    leave_requests(c, CLIENT_FINISHING);
    stream_finish(&c->stream);
}

void client_end(struct client *c)
{
    if (c->state != CLIENT_OPEN)
        return;
    c->state = CLIENT_ENDING;
    stream_pause(&c->stream);
    if (c->first == NULL)
        finish(c);
}

static void note_failure(const struct client *c, const char *why)
{
    log_info("pool '%s': closing client %u with %u requests open: %s", pool_name(c), c->id, c->open,
             why);
    stat_add(&stats_of(c)->client_err, 1);
}

void client_stop(struct client *c)
{
    c->ends = true;
    if (c->waiter.since == 0)
        client_end(c);
}

void client_fail(struct client *c, const char *why)
{
    if (c->state >= CLIENT_FINISHING)
        return;
    note_failure(c, why);
    leave_requests(c, CLIENT_CLOSING);
    stream_close(&c->stream);
}

void client_break(struct client *c, const char *why)
{
    if (c->state >= CLIENT_FINISHING)
        return;
    note_failure(c, why);
    finish(c);
}

void client_cut(struct client *c)
{
    if (c->state != CLIENT_FINISHING || stream_pending(&c->stream) > 0)
        return;
    c->state = CLIENT_CLOSING;
    stream_close(&c->stream);
}

static struct meter *meter_of(const struct client *c)
{
    return &c->front->px->loop->pool.meter;
}

static size_t args_bytes(const struct client *c)
{
    return c->args == NULL ? 0 : c->args->cap * sizeof(*c->args->v);
}

/* Frees the arguments of a request that came only in part. */
static void free_args(struct client *c)
{
    if (c->args == NULL)
        return;
    meter_sub(meter_of(c), args_bytes(c));
    args_free(c->args);
    free(c->args);
    c->args = NULL;
}

static void on_closed(struct stream *s)
{
    struct client *c = of_stream(s);
    struct proxy *px = c->front->px;
    log_info("pool '%s': client %u is gone", pool_name(c), c->id);
    stat_sub(&stats_of(c)->client_connections, 1);
    stat_sub(&px->stats->curr_connections, 1);
    stat_add(&c->front->closed, 1);
    free_args(c);
    if (c->front->proto->session_end != NULL)
        c->front->proto->session_end(&c->session);
    login_end(c);
    list_unlink(&c->link);
    slab_return(&px->client_slab, c);
}

/* ---- reading requests ---- */

static uint64_t output_soft(const struct client *c)
{
    return (uint64_t)c->front->up->pool->conf->client_output_soft;
}

/* What the client would have to read before it may ask on. What the kernel has not refused leaves
 * when the turn ends, and nobody would come back here for it. */
static size_t unread(const struct client *c)
{
    return stream_blocked(&c->stream) ? backlog(c) : c->parked;
}

/* But for what it does not read: may it have so many requests open, and ask on? */
static inline bool may_ask(const struct client *c, uint32_t open)
{
    return c->state == CLIENT_OPEN && c->open <= open && !c->waiter.waits && c->draining == 0 &&
           !(c->alone && (c->open > 0 || c->asks)) &&
           memory_lets_read(&c->front->px->memory, c->half);
}

static every_request bool may_read(const struct client *c)
{
    return may_ask(c, CLIENT_OPEN_MAX - 1) && unread(c) < output_soft(c);
}

/* Stops reading requests. Where only the client itself can make what stopped it go, what it sends meanwhile is
 * kept: many send all of a pipeline before they read, and would else wait for us for ever as we for them. */
slow_path static void stop_reading(struct client *c)
{
    if (may_ask(c, CLIENT_OPEN_MAX / 2))
        stream_hold(&c->stream);
    else
        stream_pause(&c->stream);
}

/* Reads on once half of what stopped it is gone, so that it does not stop again with the next
 * request. */
slow_path static void try_reading(struct client *c)
{
    if (!may_ask(c, CLIENT_OPEN_MAX / 2))
        return;
    if (unread(c) <= output_soft(c) / 2)
        stream_resume(&c->stream);
    else
        stream_hold(&c->stream);
}

static inline void read_on(struct client *c)
{
    if (unlikely(stream_paused(&c->stream)))
        try_reading(c);
}

void client_read_on(struct client *c)
{
    read_on(c);
}

void client_about_over(struct about *b)
{
    struct front *front = container_of(b, struct front, about);
    LIST_FOREACH_SAFE (node, &front->px->clients) {
        struct client *c = container_of(node, struct client, link);
        if (c->front != front || !c->asks)
            continue;
        c->asks = false;
        read_on(c);
    }
}

void client_obey_memory(struct client *c)
{
    if (c->state == CLIENT_OPEN && !memory_lets_read(&c->front->px->memory, c->half))
        stream_pause(&c->stream);
}

void client_drains(struct client *c)
{
    c->draining++;
}

void client_drained(struct client *c)
{
    must(c->draining > 0);
    if (--c->draining == 0)
        read_on(c);
}

static void on_go(struct waiter *w, bool late)
{
    struct client *c = container_of(w, struct client, waiter);
    c->late = late;
    read_on(c);
    /* It is not read for another reason: nobody need wait for it. */
    if (stream_paused(&c->stream))
        list_unlink(&w->link);
}

void client_wait(struct client *c, uint32_t server, uint32_t bytes)
{
    struct upstream *up = c->front->up;
    /* Who was let go and finds it busy again has waited since the first time. */
    if (c->waiter.since == 0)
        c->waiter.since = loop_now(up->loop);
    c->waiter.bytes = bytes;
    upstream_wait(up, server, &c->lane, &c->waiter);
}

bool client_may_queue(struct client *c)
{
    if (backlog(c) <= (uint64_t)c->front->up->pool->conf->client_output_limit)
        return true;
    stat_add(&stats_of(c)->client_overflow, 1);
    client_fail(c, "it does not read its replies (client_output_limit)");
    return false;
}

void client_push(struct client *c, struct span message)
{
    if (c->state >= CLIENT_FINISHING)
        return;
    if (backlog(c) > (uint64_t)c->front->up->pool->conf->client_output_limit) {
        log_warn("pool '%s': closing client %u, which does not read its messages: %zu bytes wait "
                 "(client_output_limit)",
                 pool_name(c), c->id, backlog(c));
        stat_add(&stats_of(c)->slow_subscribers, 1);
        client_fail(c, "it does not read its messages (client_output_limit)");
        return;
    }
    bool inside = c->first != NULL && c->first->streamed;
    bool good = message.len > 0 && (inside ? request_park_behind(c->first, message)
                                           : stream_write(&c->stream, message));
    if (!good)
        client_fail(c, "no memory for a message");
}

/* The message came only in part: its arguments so far go with the client, and the worker takes a
 * new vector. */
static bool keep_args(struct client *c)
{
    struct proxy *px = c->front->px;
    if (c->args != NULL || px->args.count == 0)
        return true;
    c->args = malloc(sizeof(*c->args));
    if (c->args == NULL)
        return false;
    *c->args = px->args;
    px->args = (struct args){0};
    meter_add(meter_of(c), args_bytes(c));
    return true;
}

static void drop_args(struct client *c)
{
    args_clear(&c->front->px->args);
    if (unlikely(c->args != NULL))
        free_args(c);
}

/* Broken framing: nothing behind it can be read. */
static void bad_framing(struct client *c, struct span reply)
{
    log_info("pool '%s': client %u sent a request that can't be framed", pool_name(c), c->id);
    stat_add(&stats_of(c)->client_err, 1);
    request_answer(c, reply);
    client_end(c);
}

static uint64_t request_max(const struct client *c)
{
    uint64_t max = (uint64_t)c->front->up->pool->conf->max_request_size;
    size_t room = memory_request_max(&c->front->px->memory);
    return max < room ? max : room;
}

/* The error line for a request that is larger than that. */
static struct span too_large(struct client *c)
{
    struct buf *line = &c->front->px->compose;
    char reason[REASON_TEXT];
    bool own = request_max(c) == (uint64_t)c->front->up->pool->conf->max_request_size;
    snprintf(reason, sizeof(reason), "request is too large (%s %llu bytes)",
             own ? "max_request_size is" : "memory_limit leaves it",
             (unsigned long long)request_max(c));
    buf_clear(line);
    return c->front->proto->error(line, span_str(reason)) ? buf_span(line) : SPAN("");
}

/* Its bytes are neither kept nor counted: the client is told, and nothing behind it is read. */
static void refuse_large(struct client *c)
{
    log_info("pool '%s': client %u sent a request that is too large", pool_name(c), c->id);
    stat_add(&stats_of(c)->client_err, 1);
    request_answer(c, too_large(c));
    client_end(c);
    drop_args(c);
}

/* The error line for a request for which there is no memory. */
static struct span no_room(struct client *c)
{
    struct buf *line = &c->front->px->compose;
    char reason[REASON_TEXT];
    snprintf(reason, sizeof(reason), "Cannot allocate memory (memory_limit is %zu bytes)",
             c->front->px->memory.credit.budget->limit);
    buf_clear(line);
    return c->front->proto->error(line, span_str(reason)) ? buf_span(line) : SPAN("");
}

size_t client_memory(const struct client *c)
{
    size_t held = c->held != NULL ? c->front->px->sessions->memory(c) : 0;
    return c->state == CLIENT_CLOSING ? 0 : backlog(c) + stream_kept(&c->stream) + held;
}

void client_out_of_memory(struct client *c)
{
    bool half = c->state == CLIENT_OPEN && stream_kept(&c->stream) > backlog(c);
    log_warn("pool '%s': closing client %u, for which %zu bytes are held: memory_limit",
             pool_name(c), c->id, client_memory(c));
    stat_add(&stats_of(c)->client_memory, 1);
    if (half) {
        request_answer(c, no_room(c));
        client_end(c);
        stream_forget(&c->stream);
    } else if (c->state == CLIENT_FINISHING) {
        c->state = CLIENT_CLOSING;
        stream_close(&c->stream);
    } else {
        client_fail(c, "memory_limit");
    }
}

/* Gives back what a large request took of the work space that all share. */
static void trim_work_space(struct proxy *px)
{
    if (px->scratch.cap > WORK_KEEP)
        buf_free(&px->scratch);
    if (px->compose.cap > WORK_KEEP)
        buf_free(&px->compose);
    if (px->shards_cap > WORK_KEEP / sizeof(*px->shards)) {
        free(px->shards);
        px->shards = NULL;
        px->shards_cap = 0;
    }
}

/* The view, answered with an error since memory is short. */
static struct request_view refused(struct client *c, const struct request_view *v)
{
    stat_add(&stats_of(c)->memory_errors, 1);
    return (struct request_view){.kind = REQUEST_LOCAL,
                                 .len = v->len,
                                 .quiet = v->quiet,
                                 .close = v->close,
                                 .reply = no_room(c),
                                 .args = v->args};
}

/* Must it be refused since memory is short? What ends a transaction or subscriptions frees memory, and the
 * client counts on its end. */
static bool is_refused(const struct client *c, const struct request_view *v)
{
    bool costs = v->kind > REQUEST_LOCAL && v->kind != REQUEST_TELL;
    bool transaction = c->session.queues && (v->verb == SESSION_EXEC || v->verb == SESSION_DISCARD);
    bool ends = v->kind == REQUEST_SESSION ? transaction || v->verb == SESSION_UNSUBSCRIBE
                                           : v->kind == REQUEST_LOGIN && v->resets;
    return costs && !ends && memory_refuses(&c->front->px->memory);
}

/* What was read is no whole request: it came in part, or can't be framed. Returns the bytes used. */
slow_path static size_t not_whole(struct client *c, enum parse r, struct span in, struct span reply)
{
    c->half = r == PARSE_MORE;
    if (c->half && !keep_args(c)) {
        drop_args(c); /* or the next client's request would begin with them */
        client_fail(c, "no memory");
        return 0;
    }
    if (c->half && in.len <= request_max(c))
        return 0;
    if (c->half) {
        refuse_large(c);
    } else {
        bad_framing(c, reply);
        drop_args(c);
    }
    return in.len;
}

/* May it be started, if only as an error? Else its client ends. What is dropped unread is answered by nothing,
 * however much comes at once. */
slow_path static bool is_taken(struct client *c, struct request_view *v)
{
    if (v->len > request_max(c) && v->kind != REQUEST_NONE) {
        refuse_large(c);
        return false;
    }
    if (is_refused(c, v))
        *v = refused(c, v);
    return true;
}

/* Parses the front of `in`. */
static every_request enum parse parse(struct client *c, struct span in, struct request_view *v)
{
    struct proxy *px = c->front->px;
    c->parser.args = &px->args;
    if (likely(c->args == NULL))
        return c->front->proto->parse_request(&c->parser, &c->session, in, &px->scratch, v);
    size_t before = args_bytes(c);
    c->parser.args = c->args;
    enum parse r = c->front->proto->parse_request(&c->parser, &c->session, in, &px->scratch, v);
    meter_move(meter_of(c), before, args_bytes(c));
    return r;
}

/* Reads one request from the front of `in`; returns the bytes used, 0 if it is not whole or was
 * taken away. */
static every_request size_t read_one(struct client *c, struct span in, bool whole_input,
                                     bool *again)
{
    struct proxy *px = c->front->px;
    struct request_view v;
    enum parse r = parse(c, in, &v);
    *again = r == PARSE_DONE;
    if (unlikely(r != PARSE_DONE))
        return not_whole(c, r, in, v.reply);
    c->half = false;
    if (unlikely(v.len > request_max(c) || memory_refuses(&px->memory)) && !is_taken(c, &v))
        return in.len;
    c->alone = false;
    enum request_fate fate = request_start(c, &v, whole_input ? in : (struct span){0});
    c->parser = (struct request_parser){0};
    drop_args(c);
    *again = fate == REQUEST_STARTED;
    if (unlikely(fate == REQUEST_WAITS))
        return 0;
    if (unlikely(c->session.mute >= MUTE_NEXT))
        c->session.mute = c->session.mute == MUTE_SKIP ? MUTE_NEXT : MUTE_NONE;
    if (unlikely(c->waiter.since != 0))
        waiter_leave(&c->waiter);
    c->late = false;
    if (unlikely(v.close || c->ends))
        client_end(c);
    return fate == REQUEST_TAKEN ? 0 : v.len;
}

/* Has it no part in the silence? What it was asked to wait for, and what it reads, is no idleness. */
static bool busy(const struct client *c)
{
    bool kept_waiting = stream_paused(&c->stream) && stream_pending(&c->stream) == 0;
    return c->open > 0 || kept_waiting || c->session.hears || (uint32_t)c->stream.sent != c->sent;
}

void client_check_idle(struct client *c)
{
    uint32_t timeout = (uint32_t)c->front->up->pool->conf->client_idle_timeout;
    uint32_t now = (uint32_t)loop_now(c->front->px->loop);
    if (timeout == 0 || c->state != CLIENT_OPEN)
        return;
    if (busy(c)) {
        c->heard = now;
        c->sent = (uint32_t)c->stream.sent;
    }
    if (now - c->heard < timeout)
        return;
    log_info("pool '%s': closing client %u: nothing came for %u ms (client_idle_timeout)%s",
             pool_name(c), c->id, now - c->heard, c->half ? ", in the middle of a request" : "");
    stat_add(&stats_of(c)->client_idle, 1);
    if (stream_pending(&c->stream) > 0)
        client_fail(c, "it does not read, either");
    else
        client_end(c);
}

static size_t on_data(struct stream *s, struct span in)
{
    struct client *c = of_stream(s);
    c->heard = (uint32_t)loop_now(c->front->px->loop);
    size_t used = 0;
    bool again = true;
    while (again && used < in.len && may_read(c))
        used += read_one(c, span_from(in, used), used == 0, &again);
    trim_work_space(c->front->px);
    /* Of one that waits alone, for what may be long in coming, it is well to hear that it is gone. */
    bool listens = c->alone && used == in.len;
    if (c->state == CLIENT_OPEN && !may_read(c) && !listens)
        stop_reading(c);
    return c->state >= CLIENT_FINISHING ? in.len : used;
}

/* It sends no more: most likely it is gone, and nobody waits for what may never come. */
static void on_left(struct stream *s)
{
    struct client *c = of_stream(s);
    if (c->held != NULL)
        c->front->px->sessions->left(c);
}

/* It asks on and on, and reads nothing. */
static void on_kept(struct stream *s)
{
    struct client *c = of_stream(s);
    uint64_t limit = (uint64_t)c->front->up->pool->conf->client_output_limit;
    if (backlog(c) + (uint64_t)stream_waiting(s) <= limit)
        return;
    stat_add(&stats_of(c)->client_overflow, 1);
    client_fail(c, "it does not read its replies (client_output_limit)");
}

static void on_ended(struct stream *s, int err)
{
    struct client *c = of_stream(s);
    if (err != 0) {
        client_fail(c, strerror(-err));
        return;
    }
    if (c->state == CLIENT_OPEN)
        stat_add(&stats_of(c)->client_eof, 1);
    client_end(c);
    on_left(s);
}

static void on_broken(struct stream *s, int err)
{
    client_fail(of_stream(s), strerror(-err));
}

static void on_drained(struct stream *s)
{
    read_on(of_stream(s));
}

static const struct stream_events events = {
    .data = on_data,
    .ended = on_ended,
    .drained = on_drained,
    .broken = on_broken,
    .closed = on_closed,
    .left = on_left,
    .kept = on_kept,
};

int client_open(struct front *front, int fd)
{
    struct proxy *px = front->px;
    struct client *c = slab_borrow(&px->client_slab);
    if (c == NULL)
        return -ENOMEM;
    memset(c, 0, sizeof(*c));
    int err = stream_adopt(&c->stream, px->loop, fd, &events);
    if (err != 0) {
        slab_return(&px->client_slab, c);
        return err;
    }
    c->front = front;
    c->session.settings = &front->up->pool->settings;
    c->id = px->next_id++;
    c->heard = (uint32_t)loop_now(px->loop);
    if (px->idle_ms > 0 && !timer_running(&px->idle))
        timer_start(px->loop, &px->idle, px->idle_ms);
    c->came = (uint32_t)(loop_now(px->loop) / 1000);
    login_begin(c);
    waiter_init(&c->waiter, on_go);
    list_append(&px->clients, &c->link);
    stat_add(&stats_of(c)->client_connections, 1);
    stat_add(&px->stats->curr_connections, 1);
    stat_add(&px->stats->total_connections, 1);
    log_info("pool '%s': client %u came on descriptor %d", pool_name(c), c->id, fd);
    return 0;
}

/* ---- sending replies ---- */

void client_advance(struct client *c)
{
    while (c->first != NULL && c->state < CLIENT_FINISHING) {
        struct request *r = c->first;
        if (!request_send_parked(r)) {
            client_fail(c, "no memory for a reply");
            return;
        }
        if (!r->done)
            break;
        c->first = r->next;
        if (c->first == NULL)
            c->last = NULL;
        c->open--;
        request_free(r);
    }
    if (c->state == CLIENT_ENDING && c->first == NULL)
        finish(c);
    else
        read_on(c);
}
