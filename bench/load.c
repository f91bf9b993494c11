/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit load is the load generator: one thread, many clients, every reply checked. It prints one
 * line of JSON. It takes what it watches (CPU time, memory) itself, at the very ends of what it
 * measures. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "crowd.h"
#include "options.h"
#include "watch.h"

enum { FILL_BATCH = 16, PRIMERS = 64 };
static const uint64_t second = 1000000000U;

/* What was used up to a moment. */
struct usage {
    uint64_t at;
    uint64_t own;
    uint64_t machine;
    uint64_t cpu[OPTIONS_WATCHED];
    uint64_t rss[OPTIONS_WATCHED];
};

static struct usage take_usage(const struct options *o)
{
    struct usage u = {.machine = watch_machine()};
    struct timespec own;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    u.own = (uint64_t)own.tv_sec * second + (uint64_t)own.tv_nsec;
    for (uint32_t i = 0; i < o->watched_count; i++) {
        u.cpu[i] = watch_cpu(o->watched[i]);
        u.rss[i] = watch_rss(o->watched[i]);
    }
    u.at = watch_clock();
    return u;
}

/* How long one send and recv over a pair of sockets takes now, in ns: machines change their speed
 * while one measures. */
static uint64_t calibrate(void)
{
    enum { ROUNDS = 3000 };
    int pair[2];
    char bytes[64] = {0};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return 0;
    uint64_t begin = watch_clock();
    for (int i = 0; i < ROUNDS; i++)
        if (send(pair[0], bytes, sizeof(bytes), 0) < 0 ||
            recv(pair[1], bytes, sizeof(bytes), 0) < 0)
            break;
    uint64_t ns = (watch_clock() - begin) / ROUNDS;
    close(pair[0]);
    close(pair[1]);
    return ns;
}

static _Noreturn void fail(const char *what, const char *detail)
{
    (void)fprintf(stderr, "load: %s: %s\n", what, detail);
    exit(1);
}

/* ---- fill ---- */

static void fill_send(int fd, struct buf *out)
{
    while (buf_len(out) > 0) {
        struct span s = buf_span(out);
        ssize_t n = send(fd, s.ptr, s.len, MSG_NOSIGNAL);
        if (n < 0)
            fail("fill", strerror(errno));
        buf_consume(out, (size_t)n);
    }
}

/* Reads the replies to `count` sets. */
static void fill_check(int fd, const struct options *o, const struct payload *p, uint32_t count)
{
    struct ask a = {.count = 1, .set = true};
    struct answer s = {0};
    char in[4096];
    while (count > 0) {
        ssize_t n = recv(fd, in, sizeof(in), 0);
        if (n <= 0)
            fail("fill", n == 0 ? "closed by the server" : strerror(errno));
        struct span rest = span_of(in, (size_t)n);
        while (rest.len > 0 && count > 0) {
            size_t used = 0;
            enum answer_state state = answer_check(&s, o->dialect, p, &a, rest, &used);
            rest = span_from(rest, used);
            if (s.wrong != NULL)
                fail("fill", s.wrong);
            if (state != ANSWER_DONE)
                continue;
            s = (struct answer){0};
            count--;
        }
    }
}

static void fill_target(const struct options *o, const struct payload *p,
                        const struct sockaddr_in *to)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) != 0)
        fail("fill", strerror(errno));
    struct buf out = {0};
    for (uint32_t key = 0; key < o->keys; key += FILL_BATCH) {
        uint32_t n = o->keys - key < FILL_BATCH ? o->keys - key : FILL_BATCH;
        for (uint32_t i = 0; i < n; i++) {
            struct ask a = {.first = key + i, .count = 1, .set = true};
            o->dialect->compose(p, &a, &out);
        }
        fill_send(fd, &out);
        fill_check(fd, o, p, n);
    }
    buf_free(&out);
    close(fd);
}

static void fill(const struct options *o)
{
    struct payload p;
    payload_init(&p, o->keys, o->size);
    for (uint32_t i = 0; i < o->target_count; i++)
        fill_target(o, &p, &o->targets[i]);
    payload_free(&p);
}

/* ---- what clients do ---- */

static void ask_one_get(struct crowd *c, struct client *cl)
{
    struct ask a = crowd_draw(c);
    a.set = false;
    a.count = 1;
    crowd_ask(c, cl, a);
    crowd_send(c, cl);
}

/* While the crowd gathers: one get, which shows that the connection stands, then nothing. */
static void on_free_gather(struct crowd *c, struct client *cl)
{
    if (!cl->met)
        ask_one_get(c, cl);
}

/* As fast as replies come: the next pipeline of requests when all of the last are answered. */
static void on_free_next(struct crowd *c, struct client *cl)
{
    for (uint32_t i = 0; i < c->opt->pipeline; i++)
        crowd_ask(c, cl, crowd_draw(c));
    crowd_send(c, cl);
}

/* Connects clients until `count` are there, and waits until each had its first reply. */
static void gather(struct crowd *c, uint32_t count)
{
    c->on_free = on_free_gather;
    uint64_t end = watch_clock() + 60 * second;
    while (c->met + c->lost < count) {
        while (c->begun < count && c->begun - c->met - c->lost < c->opt->in_flight)
            crowd_connect(c);
        crowd_turn(c, end);
        if (c->now >= end)
            fail("connect", "not all clients were answered within 60 s");
    }
}

static void run_until(struct crowd *c, uint64_t end)
{
    while (watch_clock() < end && c->lost < c->opt->clients)
        crowd_turn(c, end);
}

/* ---- a fixed rate ---- */

/* Requests become due by the clock and go to the client that has been free for longest; when none
 * is free they wait, and that wait is part of their latency. */
struct pace {
    struct crowd crowd;
    uint64_t begin;
    uint64_t due;  /* requests that were given to a client since */
    uint32_t head; /* of the cyclic queue of free clients */
    uint32_t free;
    struct client **queue;
};

static void on_free_queue(struct crowd *c, struct client *cl)
{
    struct pace *p = container_of(c, struct pace, crowd);
    p->queue[(p->head + p->free++) % c->opt->clients] = cl;
}

static uint64_t pace_due(const struct pace *p)
{
    return p->begin + (uint64_t)((double)p->due * (double)second / (double)p->crowd.opt->rate);
}

static void pace_dispatch(struct pace *p)
{
    struct crowd *c = &p->crowd;
    c->now = watch_clock();
    while (p->free > 0 && pace_due(p) <= c->now) {
        struct client *cl = p->queue[p->head];
        p->head = (p->head + 1) % c->opt->clients;
        p->free--;
        struct ask a = crowd_draw(c);
        a.born = pace_due(p);
        p->due++;
        crowd_ask(c, cl, a);
        crowd_send(c, cl);
    }
}

static void pace_until(struct pace *p, uint64_t end)
{
    while (watch_clock() < end && p->crowd.lost < p->crowd.opt->clients) {
        uint64_t next = p->free > 0 && pace_due(p) < end ? pace_due(p) : end;
        crowd_turn(&p->crowd, next);
        pace_dispatch(p);
    }
}

/* What was due and is not answered at the end counts with the time that it has waited, or a proxy
 * that stands still would look fast. */
static void pace_count_waiting(struct pace *p)
{
    struct crowd *c = &p->crowd;
    uint64_t end = watch_clock();
    for (uint32_t i = 0; i < c->begun; i++)
        if (c->clients[i].fd >= 0 && c->clients[i].asked > 0)
            histogram_add(&c->tally.latency, end - c->clients[i].asks[c->clients[i].head].born);
    for (; pace_due(p) < end; p->due++)
        histogram_add(&c->tally.latency, end - pace_due(p));
}

/* ---- runs ---- */

static void print_list(const char *name, const struct options *o, const uint64_t *values,
                       const uint64_t *before)
{
    printf(", \"%s\": [", name);
    for (uint32_t i = 0; i < o->watched_count; i++)
        printf("%s%" PRIu64, i == 0 ? "" : ", ", values[i] - (before == NULL ? 0 : before[i]));
    printf("]");
}

static void print_usage(const struct options *o, const struct usage *from, const struct usage *to)
{
    printf(", \"seconds\": %.6f, \"own_ns\": %" PRIu64 ", \"machine_ns\": %" PRIu64,
           (double)(to->at - from->at) / 1e9, to->own - from->own, to->machine - from->machine);
    print_list("cpu_ns", o, to->cpu, from->cpu);
    print_list("rss", o, to->rss, NULL);
}

static void print_tally(const struct tally *t)
{
    printf("{\"requests\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"errors\": %" PRIu64
           ", \"first_error\": \"%s\"",
           t->requests, t->bytes, t->errors, t->first_error);
    static const struct {
        const char *name;
        double q;
    } quantiles[] = {{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};
    for (size_t i = 0; i < ARRAY_LEN(quantiles); i++)
        printf(", \"%s_us\": %.1f", quantiles[i].name,
               (double)histogram_quantile(&t->latency, quantiles[i].q) / 1e3);
}

/* Sets everybody to work who is connected. */
static void start(struct pace *p)
{
    struct crowd *c = &p->crowd;
    c->now = watch_clock();
    c->on_free = c->opt->rate > 0 ? on_free_queue : on_free_next;
    for (uint32_t i = 0; i < c->begun; i++)
        if (c->clients[i].fd >= 0)
            c->on_free(c, &c->clients[i]);
    p->begin = c->now;
}

static void run_for(struct pace *p, uint64_t span)
{
    uint64_t end = watch_clock() + span;
    if (p->crowd.opt->rate > 0)
        pace_until(p, end);
    else
        run_until(&p->crowd, end);
}

static void run(const struct options *o)
{
    struct pace p = {.queue = calloc(o->clients, sizeof(struct client *))};
    must(p.queue != NULL);
    crowd_init(&p.crowd, o);
    uint64_t before = calibrate();
    gather(&p.crowd, o->clients);
    start(&p);
    run_for(&p, o->warm_up);
    p.crowd.counting = true;
    struct usage from = take_usage(o);
    run_for(&p, o->measure);
    struct usage to = take_usage(o);
    if (o->rate > 0)
        pace_count_waiting(&p);
    uint64_t after = calibrate();
    print_tally(&p.crowd.tally);
    print_usage(o, &from, &to);
    printf(", \"calibration_ns\": [%" PRIu64 ", %" PRIu64 "]}\n", before, after);
    crowd_free(&p.crowd);
    free(p.queue);
}

/* Connections are made as fast as they are answered, then nobody says anything. The first few are
 * there before the counting begins, so that what the proxy needs for any client is not counted. */
static void run_idle(const struct options *o)
{
    struct crowd c;
    crowd_init(&c, o);
    gather(&c, o->clients < PRIMERS ? o->clients : PRIMERS);
    uint32_t primers = c.met;
    struct usage before = take_usage(o);
    c.counting = true;
    gather(&c, o->clients);
    struct usage made = take_usage(o);
    run_until(&c, watch_clock() + second / 5);
    struct usage quiet = take_usage(o);
    run_until(&c, watch_clock() + o->measure);
    struct usage end = take_usage(o);
    print_tally(&c.tally);
    print_usage(o, &before, &made);
    printf(", \"connections\": %" PRIu32, c.met - primers);
    print_list("rss_before", o, before.rss, NULL);
    print_list("rss_idle", o, quiet.rss, NULL);
    printf(", \"idle_seconds\": %.6f", (double)(end.at - quiet.at) / 1e9);
    print_list("idle_cpu_ns", o, end.cpu, quiet.cpu);
    printf("}\n");
    crowd_free(&c);
}

static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    struct options o;
    options_read(&o, argc, argv);
    raise_descriptors();
    /* The kernel may wake a thread 50 us late unless it is told otherwise. */
    (void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    if (o.fill)
        fill(&o);
    else if (o.idle)
        run_idle(&o);
    else
        run(&o);
    return 0;
}
