/* SPDX-License-Identifier: BSD-3-Clause */
#include "upstream/probe.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "upstream/server_conn.h"

/* How long an answer may take if the pool has no timeout, and the least wait between two probes of a
 * server that is away, ms. */
enum { ANSWER_MS = 1000, WAIT_LEAST = 50 };
/* What is kept of an answer. */
enum { ANSWER_KEEP = 128 };

static struct upstream *up_of(const struct probe *b)
{
    return b->server->up;
}

static struct pool *pool_of(const struct probe *b)
{
    return up_of(b)->pool;
}

static const struct conf_pool *conf_of(const struct probe *b)
{
    return pool_of(b)->conf;
}

static const char *name_of(const struct probe *b)
{
    return conf_of(b)->servers[b->server->index].name;
}

/* ---- when ---- */

static void ask_in(struct probe *b, uint64_t ms)
{
    timer_start(up_of(b)->loop, &b->next, ms);
}

/* Of up to `ms`, at least half: so that proxies and servers don't fall into step. */
static uint64_t jittered(struct probe *b, uint64_t ms)
{
    return ms - upstream_random(up_of(b)) % (ms / 2 + 1);
}

static void first_ask(struct probe *b)
{
    ask_in(b, (uint64_t)conf_of(b)->server_retry_timeout);
}

static void ask_later(struct probe *b)
{
    uint64_t base = (uint64_t)conf_of(b)->server_retry_timeout;
    uint64_t most = (uint64_t)conf_of(b)->server_retry_max;
    b->wait = b->wait * 2 < most ? b->wait * 2 : most;
    if (b->wait < base)
        b->wait = base;
    if (b->wait < WAIT_LEAST)
        b->wait = WAIT_LEAST;
    ask_in(b, jittered(b, b->wait));
}

static void check_later(struct probe *b)
{
    if (b->checks)
        ask_in(b, jittered(b, (uint64_t)conf_of(b)->health_check_interval));
}

static uint64_t answer_ms(const struct probe *b)
{
    int64_t timeout = conf_of(b)->timeout;
    return timeout > 0 ? (uint64_t)timeout : ANSWER_MS;
}

/* ---- what follows from an answer ---- */

static void back(struct probe *b)
{
    if (!pool_server_back(pool_of(b), b->server->index)) {
        ask_later(b);
        return;
    }
    b->away = false;
    stat_sub(&b->server->stats->ejected, 1);
    check_later(b);
}

static void still_away(struct probe *b, struct span reason)
{
    /* Once is enough: it is away, as was said before. */
    if (b->failed++ == 0)
        log_warn("pool '%s': server '%s' stays off the ring: %.*s", conf_of(b)->name, name_of(b),
                 (int)reason.len, reason.ptr);
    ask_later(b);
}

static void check_failed(struct probe *b, struct span reason)
{
    if (b->slot.lacking) {
        log_warn("pool '%s': can't check server '%s': %.*s", conf_of(b)->name, name_of(b),
                 (int)reason.len, reason.ptr);
        check_later(b);
    } else if (pool_check_failed(pool_of(b), b->server->index, reason)) {
        upstream_ejected(up_of(b), b->server->index);
    } else {
        check_later(b);
    }
}

static void judge(struct probe *b, bool alive, struct span reason)
{
    bool early = b->early;
    timer_stop(up_of(b)->loop, &b->limit);
    b->early = false;
    if (up_of(b)->stopping)
        return;
    if (!alive)
        stat_add(&b->server->stats->probe_failures, 1);
    if (early)
        first_ask(b);
    else if (b->away && alive)
        back(b);
    else if (b->away)
        still_away(b, reason);
    else if (!alive)
        check_failed(b, reason);
    else {
        pool_check_passed(pool_of(b), b->server->index);
        check_later(b);
    }
}

/* Replies of this kind are short; what the server says is told as it says it, to the line's end. */
static void on_done(struct call *c, bool replied, struct span text)
{
    struct probe *b = container_of(c, struct probe, call);
    char reason[REASON_TEXT];
    if (!replied) {
        judge(b, false, text);
        return;
    }
    bool alive = pool_of(b)->proto->alive(text);
    const char *end = memchr(text.ptr, '\r', text.len);
    int shown = (int)(end == NULL ? text.len : (size_t)(end - text.ptr));
    snprintf(reason, sizeof(reason), "Resource temporarily unavailable (server '%s': %.*s)",
             name_of(b), shown, text.ptr);
    if (b->slot.conn != NULL)
        server_conn_stop(b->slot.conn, "the probe is over");
    judge(b, alive, span_str(reason));
}

/* ---- asking ---- */

static void on_limit(struct timer *t)
{
    struct probe *b = container_of(t, struct probe, limit);
    char reason[REASON_TEXT];
    must(b->slot.conn != NULL);
    snprintf(reason, sizeof(reason), "Connection timed out (server '%s', %llu ms)", name_of(b),
             (unsigned long long)answer_ms(b));
    server_conn_stop(b->slot.conn, reason);
}

static void ask(struct probe *b)
{
    struct upstream *up = up_of(b);
    struct buf wire = {0};
    uint8_t expect = 0;
    stat_add(&b->server->stats->probes, 1);
    bool made = pool_of(b)->proto->probe(&wire, &expect);
    if (!made)
        snprintf(up->reason, sizeof(up->reason), "Cannot allocate memory (server '%s')",
                 name_of(b));
    bool sent = made && call_send(&b->call, b->server, &b->slot, expect, buf_span(&wire));
    buf_free(&wire);
    if (sent)
        timer_start(up->loop, &b->limit, answer_ms(b));
    else
        judge(b, false, span_str(up->reason));
}

static void on_next(struct timer *t)
{
    struct probe *b = container_of(t, struct probe, next);
    if (b->away && !conf_of(b)->server_probe)
        back(b);
    else if (b->away || !pool_server_ejected(pool_of(b), b->server->index))
        ask(b);
    else
        check_later(b); /* another worker has ejected it, and asks it */
}

void probe_init(struct probe *b, struct server_slot *server, bool checks)
{
    *b = (struct probe){.server = server, .checks = checks};
    b->slot.apart = true;
    b->slot.profile = up_of(b)->plain;
    list_init(&b->slot.line);
    list_init(&b->slot.lined);
    list_init(&b->slot.called);
    b->call.done = on_done;
    b->call.keep = ANSWER_KEEP;
    timer_init(&b->next, on_next);
    timer_init(&b->limit, on_limit);
    check_later(b);
}

void probe_away(struct probe *b)
{
    must(!b->away);
    b->away = true;
    b->failed = 0;
    b->wait = 0;
    stat_add(&b->server->stats->ejected, 1);
    b->early = b->call.under_way;
    if (!b->early)
        first_ask(b);
}

void probe_stop(struct probe *b)
{
    timer_stop(up_of(b)->loop, &b->next);
    timer_stop(up_of(b)->loop, &b->limit);
}

void probe_free(struct probe *b)
{
    call_free(&b->call);
}
