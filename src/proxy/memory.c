/* SPDX-License-Identifier: BSD-3-Clause */
#include "proxy/memory.h"

#include "base/log.h"
#include "proxy/client.h"

/* How often the state is looked at, and how long it may be without relief before the next step, ms. */
enum { TICK_MS = 50, STUCK_MS = 500 };
/* Clients for whom less is held are not closed: that would bring nothing. */
enum { VICTIM_BYTES = 65536 };

/* Parts of the limit, in sixteenths: below RELAX all is free again. */
enum { RELAX = 10, TIGHT = 12, STOP_HALVES = 14, CLOSE_TO = 14 };

static struct proxy *proxy_of(struct memory *m)
{
    return container_of(m, struct proxy, memory);
}

static size_t sixteenths(const struct memory *m, size_t n)
{
    return m->credit.budget->limit / 16 * n;
}

static size_t drawn(const struct memory *m)
{
    return budget_drawn(m->credit.budget);
}

bool memory_lets_read(const struct memory *m, bool half)
{
    switch (m->state) {
    case MEMORY_FREE:
        return true;
    case MEMORY_TIGHT:
    case MEMORY_REFUSING:
        break;
    }
    return half ? drawn(m) < sixteenths(m, STOP_HALVES) : m->state == MEMORY_REFUSING;
}

/* Changes the state. Only pauses clients, which is harmless anywhere; who may read on is told later. */
static void enter(struct memory *m, enum memory_state state)
{
    struct proxy *px = proxy_of(m);
    m->state = state;
    m->lowest = drawn(m);
    m->since = loop_now(px->loop);
    LIST_FOREACH (node, &px->clients) {
        client_obey_memory(container_of(node, struct client, link));
    }
}

/* Lets clients read on. Of those whose request came in part only as many as there is room for: if all went
 * on none might become whole. The memory of such a request doubles when it grows. */
static void let_read(struct memory *m)
{
    size_t end = sixteenths(m, m->state == MEMORY_FREE ? TIGHT : STOP_HALVES);
    size_t room = drawn(m) < end ? end - drawn(m) : 0;
    m->some_wait = false;
    LIST_FOREACH_SAFE (node, &proxy_of(m)->clients) {
        struct client *c = container_of(node, struct client, link);
        size_t more = c->half ? stream_kept(&c->stream) : 0;
        if (more <= room) {
            room -= more;
            client_read_on(c);
        } else {
            m->some_wait = true;
        }
    }
}

static void settle(struct memory *m)
{
    struct meter *meter = &proxy_of(m)->loop->pool.meter;
    credit_settle(&m->credit, meter->used);
    meter->mark = m->credit.held;
}

/* Does this worker hold so much that it must act when memory is short? One always does. */
static bool holds_much(const struct memory *m)
{
    return m->credit.held >= m->credit.budget->limit / m->credit.budget->threads / 2;
}

static struct client *largest(const struct proxy *px)
{
    struct client *found = NULL;
    size_t most = VICTIM_BYTES;
    LIST_FOREACH (node, &px->clients) {
        struct client *c = container_of(node, struct client, link);
        size_t held = client_memory(c);
        if (held < most)
            continue;
        most = held;
        found = c;
    }
    return found;
}

/* Closes clients, those first for whom most is held, until so many bytes will come free. */
static void close_largest(struct memory *m, size_t bytes)
{
    size_t freed = 0;
    while (freed < bytes) {
        struct client *c = largest(proxy_of(m));
        if (c == NULL)
            return;
        freed += client_memory(c);
        client_out_of_memory(c);
    }
}

/* Some steps below the limit, so that it is not reached at once again. */
static void keep_below_limit(struct memory *m)
{
    size_t now = drawn(m);
    if (now >= m->credit.budget->limit && holds_much(m))
        close_largest(m, now - sixteenths(m, CLOSE_TO));
}

/* Nothing came free for a while. */
static void escalate(struct memory *m)
{
    if (m->state == MEMORY_TIGHT) {
        log_warn("%zu of %zu bytes of memory_limit are in use and none come free: requests are "
                 "refused",
                 drawn(m), m->credit.budget->limit);
        enter(m, MEMORY_REFUSING);
        let_read(m);
        return;
    }
    if (holds_much(m))
        close_largest(m, sixteenths(m, 1));
    m->lowest = drawn(m);
    m->since = loop_now(proxy_of(m)->loop);
}

static void review(struct memory *m)
{
    uint64_t now = loop_now(proxy_of(m)->loop);
    size_t all = drawn(m);
    if (m->state == MEMORY_FREE) {
        if (all >= sixteenths(m, TIGHT))
            enter(m, MEMORY_TIGHT);
        else if (m->some_wait)
            let_read(m);
    } else if (all < sixteenths(m, RELAX)) {
        log_info("memory_limit: there is room again");
        enter(m, MEMORY_FREE);
        let_read(m);
    } else if (all + BUDGET_STEP <= m->lowest) {
        m->lowest = all;
        m->since = now;
        let_read(m); /* requests that came in part may go on */
    } else if (now - m->since >= STUCK_MS) {
        escalate(m);
    }
    keep_below_limit(m);
}

static void watch(struct memory *m)
{
    if (!timer_running(&m->tick) && (m->state != MEMORY_FREE || m->some_wait || holds_much(m)))
        timer_start(proxy_of(m)->loop, &m->tick, TICK_MS);
}

/* What only lies ready counts, too, and goes first. */
static void act(struct memory *m)
{
    if (m->state != MEMORY_FREE || drawn(m) >= sixteenths(m, TIGHT))
        chunk_pool_shed_all(&proxy_of(m)->loop->pool);
    settle(m);
    review(m);
    watch(m);
}

static void on_tick(struct timer *t)
{
    act(container_of(t, struct memory, tick));
}

static void on_act(struct turn_end *t)
{
    act(container_of(t, struct memory, act));
}

/* Draws the next step. What is to be done about it waits for the end of the turn, but for the clients'
 * pause, or all that came for them in this turn would still be read. */
static void on_over(struct meter *meter)
{
    struct proxy *px = meter->owner;
    struct memory *m = &px->memory;
    credit_draw(&m->credit, meter->used);
    meter->mark = m->credit.held;
    bool ready = px->loop->pool.cached_bytes >= BUDGET_STEP;
    if (m->state == MEMORY_FREE && !ready && drawn(m) >= sixteenths(m, TIGHT))
        enter(m, MEMORY_TIGHT);
    loop_at_turn_end(px->loop, &m->act);
}

void memory_init(struct memory *m)
{
    *m = (struct memory){.state = MEMORY_FREE};
    timer_init(&m->tick, on_tick);
    turn_end_init(&m->act, on_act);
}

void memory_begin(struct proxy *px, struct budget *budget)
{
    struct meter *meter = &px->loop->pool.meter;
    px->memory.credit.budget = budget;
    credit_draw(&px->memory.credit, meter->used);
    meter->mark = px->memory.credit.held;
    meter->owner = px;
    meter->over = on_over;
}

void memory_end(struct proxy *px)
{
    px->loop->pool.meter.over = NULL;
    timer_stop(px->loop, &px->memory.tick);
    list_unlink(&px->memory.act.link);
    credit_close(&px->memory.credit);
}
