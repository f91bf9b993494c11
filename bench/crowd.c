/* SPDX-License-Identifier: BSD-3-Clause */
#include "crowd.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "watch.h"

enum { SCRATCH = 256 * 1024, EVENTS = 256 };

void crowd_init(struct crowd *c, const struct options *opt)
{
    *c = (struct crowd){.opt = opt, .random = 0x9e3779b97f4a7c15U};
    payload_init(&c->payload, opt->keys, opt->size);
    c->poll = epoll_create1(EPOLL_CLOEXEC);
    c->clients = calloc(opt->clients, sizeof(*c->clients));
    c->scratch = malloc(SCRATCH);
    must(c->poll >= 0 && c->clients != NULL && c->scratch != NULL);
}

static void note_error(struct crowd *c, const char *what, const char *detail)
{
    struct tally *t = &c->tally;
    if (t->errors++ > 0)
        return;
    (void)snprintf(t->first_error, sizeof(t->first_error), "%s%s%s", what,
                   detail[0] == '\0' ? "" : ": ", detail);
    for (char *p = t->first_error; *p != '\0'; p++)
        if (*p < ' ' || *p > '~' || *p == '"' || *p == '\\')
            *p = '?';
}

/* An end by RST: no thousands of ports shall wait behind us. */
static void drop(struct client *cl)
{
    if (cl->fd < 0)
        return;
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(cl->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(cl->fd);
    cl->fd = -1;
}

void crowd_free(struct crowd *c)
{
    for (uint32_t i = 0; i < c->begun; i++) {
        drop(&c->clients[i]);
        free(c->clients[i].asks);
        buf_free(&c->clients[i].out);
    }
    close(c->poll);
    free(c->clients);
    free(c->scratch);
    payload_free(&c->payload);
}

static void lose(struct crowd *c, struct client *cl, const char *what, const char *detail)
{
    if (cl->fd < 0)
        return;
    note_error(c, what, detail);
    drop(cl);
    c->lost++;
}

void crowd_connect(struct crowd *c)
{
    const struct sockaddr_in *to = &c->opt->targets[c->begun % c->opt->target_count];
    struct client *cl = &c->clients[c->begun++];
    cl->asks = calloc(c->opt->pipeline, sizeof(*cl->asks));
    must(cl->asks != NULL);
    cl->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (cl->fd < 0) {
        note_error(c, "socket", strerror(errno));
        c->lost++;
        return;
    }
    int on = 1;
    (void)setsockopt(cl->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = cl};
    if ((connect(cl->fd, (const struct sockaddr *)to, sizeof(*to)) != 0 && errno != EINPROGRESS) ||
        epoll_ctl(c->poll, EPOLL_CTL_ADD, cl->fd, &e) != 0)
        lose(c, cl, "connect", strerror(errno));
}

struct ask crowd_draw(struct crowd *c)
{
    uint64_t r = payload_random(&c->random);
    uint64_t mix = (uint64_t)c->opt->gets + c->opt->sets;
    bool set = (r >> 32) % mix >= c->opt->gets;
    return (struct ask){.first = (uint32_t)((r & UINT32_MAX) % c->opt->keys),
                        .count = set ? 1 : c->opt->count,
                        .set = set,
                        .born = c->now};
}

void crowd_ask(struct crowd *c, struct client *cl, struct ask a)
{
    must(cl->asked < c->opt->pipeline);
    cl->asks[(cl->head + cl->asked++) % c->opt->pipeline] = a;
    c->opt->dialect->compose(&c->payload, &a, &cl->out);
}

void crowd_send(struct crowd *c, struct client *cl)
{
    while (cl->fd >= 0 && buf_len(&cl->out) > 0) {
        struct span s = buf_span(&cl->out);
        ssize_t n = send(cl->fd, s.ptr, s.len, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN)
                lose(c, cl, "send", strerror(errno));
            return;
        }
        buf_consume(&cl->out, (size_t)n);
    }
}

/* The oldest request of a client is answered. */
static void answered(struct crowd *c, struct client *cl)
{
    struct answer *s = &cl->answer;
    if (s->wrong != NULL)
        note_error(c, "reply", s->wrong);
    if (c->counting) {
        c->tally.requests++;
        histogram_add(&c->tally.latency, c->now - cl->asks[cl->head].born);
    }
    *s = (struct answer){0};
    cl->head = (cl->head + 1) % c->opt->pipeline;
    cl->asked--;
}

static void check(struct crowd *c, struct client *cl, struct span in)
{
    while (in.len > 0) {
        if (cl->asked == 0) {
            lose(c, cl, "reply", "bytes that nobody asked for");
            return;
        }
        size_t used = 0;
        enum answer_state state =
            answer_check(&cl->answer, c->opt->dialect, &c->payload, &cl->asks[cl->head], in, &used);
        if (state == ANSWER_BROKEN) {
            lose(c, cl, "reply", cl->answer.wrong);
            return;
        }
        if (state == ANSWER_DONE)
            answered(c, cl);
        in = span_from(in, used);
    }
}

/* Edge-triggered: reads until nothing is left, which a short read says. */
static void receive(struct crowd *c, struct client *cl)
{
    ssize_t n = SCRATCH;
    while (cl->fd >= 0 && n == SCRATCH) {
        n = recv(cl->fd, c->scratch, SCRATCH, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        c->now = watch_clock();
        if (n <= 0) {
            lose(c, cl, "closed by the other side", n == 0 ? "" : strerror(errno));
            return;
        }
        if (c->counting)
            c->tally.bytes += (uint64_t)n;
        check(c, cl, span_of(c->scratch, (size_t)n));
    }
}

static void on_event(struct crowd *c, struct client *cl, uint32_t events)
{
    bool waited = cl->asked > 0;
    if ((events & EPOLLOUT) != 0 && !cl->connected) {
        cl->connected = true;
        c->now = watch_clock();
        c->on_free(c, cl);
        return;
    }
    if ((events & EPOLLOUT) != 0)
        crowd_send(c, cl);
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
        receive(c, cl);
    if (cl->fd < 0 || cl->asked > 0 || !waited)
        return;
    if (!cl->met) {
        cl->met = true;
        c->met++;
    }
    c->on_free(c, cl);
}

void crowd_turn(struct crowd *c, uint64_t until)
{
    struct epoll_event events[EVENTS];
    c->now = watch_clock();
    uint64_t left = until > c->now ? until - c->now : 0;
    struct timespec wait = {.tv_sec = (time_t)(left / 1000000000U),
                            .tv_nsec = (long)(left % 1000000000U)};
    int n = epoll_pwait2(c->poll, events, EVENTS, &wait, NULL);
    c->now = watch_clock();
    for (int i = 0; i < n; i++)
        on_event(c, events[i].data.ptr, events[i].events);
}
