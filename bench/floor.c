/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit floor is a server that knows every value that the load generator asks for, and so needs no
 * server behind it: it receives, answers and sends, once for each client that has something to say.
 * What it costs is what the kernel takes for that on this machine; a proxy has its servers besides,
 * and can't cost less. It reads only what unit load sends, and aborts on anything else. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "payload.h"

enum { SCRATCH = 256 * 1024, EVENTS = 256, LINE = 64 };

struct floor {
    struct payload payload;
    bool memcache;
    int poll;
    int listener;
    size_t set_bytes; /* of a whole request to set */
    char size[LINE];  /* what a value's length looks like in front of it */
    char scratch[SCRATCH];
};

/* What is open of one client, which mostly is nothing. */
struct peer {
    int fd;
    struct buf in;
    struct buf out;
};

/* Answers with the value of the key at `name`. */
static void value(const struct floor *f, const char *name, struct buf *out)
{
    struct span text = span_of(name, PAYLOAD_KEY);
    uint32_t key = 0;
    must(payload_number(text, &key));
    if (f->memcache)
        must(buf_append(out, SPAN("VALUE ")) && buf_append(out, text));
    must(buf_append(out, span_str(f->size)));
    payload_value(&f->payload, out, key);
    must(buf_append(out, SPAN("\r\n")));
}

/* "set ..."; or "get key key ...". Returns the bytes of the request, 0 if it is not whole. */
static size_t answer_memcache(const struct floor *f, struct span in, struct buf *out)
{
    if (in.ptr[0] == 's') {
        if (in.len < f->set_bytes)
            return 0;
        must(buf_append(out, SPAN("STORED\r\n")));
        return f->set_bytes;
    }
    const char *end = memchr(in.ptr, '\n', in.len);
    if (end == NULL)
        return 0;
    for (const char *key = in.ptr + 4; key < end; key += PAYLOAD_KEY + 1)
        value(f, key, out);
    must(buf_append(out, SPAN("END\r\n")));
    return (size_t)(end - in.ptr) + 1;
}

/* "*3" is SET, "*2" is GET, and other numbers are MGET. */
static size_t answer_redis(const struct floor *f, struct span in, struct buf *out)
{
    enum { KEY_HEADER = 5, KEY_BYTES = KEY_HEADER + PAYLOAD_KEY + 2 };
    const char *line = memchr(in.ptr, '\n', in.len);
    if (line == NULL)
        return 0;
    size_t words = strtoul(in.ptr + 1, NULL, 10);
    size_t name = words <= 3 ? sizeof("$3\r\nGET\r\n") - 1 : sizeof("$4\r\nMGET\r\n") - 1;
    size_t keys_at = (size_t)(line - in.ptr) + 1 + name;
    size_t whole = words == 3 ? f->set_bytes : keys_at + (words - 1) * KEY_BYTES;
    if (in.len < whole)
        return 0;
    if (words == 3) {
        must(buf_append(out, SPAN("+OK\r\n")));
        return whole;
    }
    char head[LINE];
    if (words > 2)
        must(buf_append(out, span_of(head, (size_t)snprintf(head, LINE, "*%zu\r\n", words - 1))));
    for (size_t i = 0; i + 1 < words; i++)
        value(f, in.ptr + keys_at + i * KEY_BYTES + KEY_HEADER, out);
    return whole;
}

static void drop(struct peer *p)
{
    close(p->fd);
    buf_free(&p->in);
    buf_free(&p->out);
    free(p);
}

/* Sends what the kernel takes. False if the client is gone. */
static bool flush(struct peer *p)
{
    struct span s = buf_span(&p->out);
    ssize_t n = s.len == 0 ? 0 : send(p->fd, s.ptr, s.len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        return false;
    buf_consume(&p->out, n < 0 ? 0 : (size_t)n);
    return true;
}

/* Answers all that is whole in `in`; returns the bytes used. */
static size_t answer_all(const struct floor *f, struct span in, struct buf *out)
{
    size_t used = 0;
    for (size_t n = 1; n > 0 && used < in.len; used += n)
        n = f->memcache ? answer_memcache(f, span_from(in, used), out)
                        : answer_redis(f, span_from(in, used), out);
    return used;
}

static bool receive(struct floor *f, struct peer *p)
{
    ssize_t n = recv(p->fd, f->scratch, SCRATCH, 0);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    struct span in = {f->scratch, (size_t)n};
    if (buf_len(&p->in) == 0) {
        must(buf_append(&p->in, span_from(in, answer_all(f, in, &p->out))));
    } else {
        must(buf_append(&p->in, in));
        buf_consume(&p->in, answer_all(f, buf_span(&p->in), &p->out));
    }
    return flush(p);
}

static void watch(const struct floor *f, int fd, uint32_t events, void *data)
{
    struct epoll_event e = {.events = events, .data.ptr = data};
    must(epoll_ctl(f->poll, EPOLL_CTL_ADD, fd, &e) == 0);
}

static void take(const struct floor *f)
{
    int fd = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct peer *p = calloc(1, sizeof(*p));
    must(p != NULL);
    p->fd = fd;
    watch(f, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, p);
    /* epoll has it, and drop() frees it. */
} /* NOLINT(clang-analyzer-unix.Malloc) */

static void on_event(struct floor *f, struct peer *p, uint32_t events)
{
    bool good = (events & EPOLLOUT) == 0 || flush(p);
    if (good && (events & ~(uint32_t)EPOLLOUT) != 0)
        good = receive(f, p);
    if (!good || (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
        drop(p);
}

static void serve(struct floor *f)
{
    struct epoll_event events[EVENTS];
    for (;;) {
        int n = epoll_wait(f->poll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                take(f);
            else
                on_event(f, events[i].data.ptr, events[i].events);
        }
    }
}

static void open_listener(struct floor *f, uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    f->poll = epoll_create1(EPOLL_CLOEXEC);
    must(f->listener >= 0 && f->poll >= 0);
    (void)setsockopt(f->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    (void)setsockopt(f->listener, IPPROTO_TCP, TCP_NODELAY, &on,
                     sizeof(on)); /* clients inherit it */
    if (bind(f->listener, (const struct sockaddr *)&at, sizeof(at)) != 0 ||
        listen(f->listener, 1024) != 0) {
        (void)fprintf(stderr, "floor: port %u: %s\n", port, strerror(errno));
        exit(1);
    }
    watch(f, f->listener, EPOLLIN, NULL);
}

int main(int argc, char **argv)
{
    static struct floor f;
    struct rlimit limit;
    if (argc != 5) {
        (void)fprintf(stderr, "usage: floor PORT redis|memcache KEYS SIZE\n");
        return 2;
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    size_t size = strtoul(argv[4], NULL, 10);
    char text[LINE];
    f.memcache = strcmp(argv[2], "memcache") == 0;
    payload_init(&f.payload, (uint32_t)strtoul(argv[3], NULL, 10), size);
    f.set_bytes = size + 2 + PAYLOAD_KEY +
                  (f.memcache ? (size_t)snprintf(text, sizeof(text), "set  0 0 %zu\r\n", size)
                              : (size_t)snprintf(text, sizeof(text),
                                                 "*3\r\n$3\r\nSET\r\n$12\r\n\r\n$%zu\r\n", size));
    (void)snprintf(f.size, sizeof(f.size), f.memcache ? " 0 %zu\r\n" : "$%zu\r\n", size);
    open_listener(&f, (uint16_t)strtoul(argv[1], NULL, 10));
    serve(&f);
}
