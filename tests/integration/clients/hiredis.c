/* SPDX-License-Identifier: BSD-3-Clause */
/* What an application does with hiredis: blocking, pipelined, and with callbacks. Usage: hiredis PORT. */
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 500 };

static void check(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "wrong: %s\n", what);
        exit(1);
    }
}

static void expect_text(redisContext *c, redisReply *reply, int type, const char *text)
{
    check(reply != NULL, c->errstr);
    check(reply->type == type && strcmp(reply->str, text) == 0, text);
    freeReplyObject(reply);
}

static void blocking(int port)
{
    redisContext *c = redisConnect("127.0.0.1", port);
    check(c != NULL && c->err == 0, "connect");
    expect_text(c, redisCommand(c, "PING"), REDIS_REPLY_STATUS, "PONG");
    expect_text(c, redisCommand(c, "SET %s %b", "bin", "a\0b", (size_t)3), REDIS_REPLY_STATUS,
                "OK");
    redisReply *reply = redisCommand(c, "GET bin");
    check(reply->len == 3 && memcmp(reply->str, "a\0b", 3) == 0, "binary");
    freeReplyObject(reply);
    for (int i = 0; i < MANY; i++)
        redisAppendCommand(c, "SET key:%d %d", i, i);
    for (int i = 0; i < MANY; i++)
        redisAppendCommand(c, "GET key:%d", i);
    for (int i = 0; i < 2 * MANY; i++) {
        check(redisGetReply(c, (void **)&reply) == REDIS_OK, "pipeline");
        check(i < MANY || atoi(reply->str) == i - MANY, "order");
        freeReplyObject(reply);
    }
    expect_text(c, redisCommand(c, "MULTI"), REDIS_REPLY_STATUS, "OK");
    expect_text(c, redisCommand(c, "INCR {t}n"), REDIS_REPLY_STATUS, "QUEUED");
    reply = redisCommand(c, "EXEC");
    check(reply->type == REDIS_REPLY_ARRAY && reply->element[0]->integer == 1, "transaction");
    freeReplyObject(reply);
    expect_text(c, redisCommand(c, "EVAL %s 1 %s", "return redis.call('get', KEYS[1])", "{t}n"),
                REDIS_REPLY_STRING, "1");
    redisFree(c);
}

/* The least that is an event loop. */
struct loop {
    int want;
    int got;
};

static void add_read(void *of)
{
    ((struct loop *)of)->want |= POLLIN;
}

static void drop_read(void *of)
{
    ((struct loop *)of)->want &= ~POLLIN;
}

static void add_write(void *of)
{
    ((struct loop *)of)->want |= POLLOUT;
}

static void drop_write(void *of)
{
    ((struct loop *)of)->want &= ~POLLOUT;
}

static void done(void *of)
{
    ((struct loop *)of)->want = 0;
}

static void on_value(redisAsyncContext *ac, void *answer, void *number)
{
    redisReply *reply = answer;
    struct loop *loop = ac->data;
    check(reply != NULL && reply->type == REDIS_REPLY_STRING, "callback");
    check(atol(reply->str) == (long)number && loop->got == (int)(long)number, "order of callbacks");
    if (++loop->got == MANY)
        redisAsyncDisconnect(ac);
}

static void with_callbacks(int port)
{
    struct loop loop = {0};
    redisAsyncContext *ac = redisAsyncConnect("127.0.0.1", port);
    check(ac != NULL && ac->err == 0, "asynchronous connect");
    struct pollfd fd = {.fd = ac->c.fd};
    ac->data = &loop;
    ac->ev.data = &loop;
    ac->ev.addRead = add_read;
    ac->ev.delRead = drop_read;
    ac->ev.addWrite = add_write;
    ac->ev.delWrite = drop_write;
    ac->ev.cleanup = done;
    loop.want = POLLOUT;
    for (long i = 0; i < MANY; i++)
        redisAsyncCommand(ac, on_value, (void *)i, "GET key:%ld", i);
    while (loop.want != 0) {
        fd.events = (short)loop.want;
        check(poll(&fd, 1, 5000) == 1, "silence");
        if (fd.revents & POLLOUT)
            redisAsyncHandleWrite(ac);
        else
            redisAsyncHandleRead(ac);
    }
    check(loop.got == MANY, "callbacks");
}

int main(int argc, char **argv)
{
    check(argc == 2, "usage: hiredis PORT");
    blocking(atoi(argv[1]));
    with_callbacks(atoi(argv[1]));
    puts("done");
    return 0;
}
