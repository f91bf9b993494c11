/* SPDX-License-Identifier: BSD-3-Clause */
#include "proxy/tell.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "conf/key.h"
#include "io/addr.h"
#include "proxy/request.h"
#include "proxy/session_ops.h"

static const struct client *client_of(const struct proto_facts *f)
{
    return f->source;
}

static const struct pool *pool_of(const struct proto_facts *f)
{
    return client_of(f)->front->up->pool;
}

static bool number(const struct proto_facts *f, uint32_t i, struct proto_number *out)
{
    struct stats_number n;
    if (!stats_pool_number(client_of(f)->front->px->all_stats, pool_of(f)->index, i, &n))
        return false;
    *out = (struct proto_number){n.name, n.value};
    return true;
}

static bool server_number(const struct proto_facts *f, uint32_t server, uint32_t i,
                          struct proto_number *out)
{
    struct stats_number n;
    if (!stats_server_number(client_of(f)->front->px->all_stats, pool_of(f)->index, server, i, &n))
        return false;
    *out = (struct proto_number){n.name, n.value};
    return true;
}

static void server(const struct proto_facts *f, uint32_t i, struct proto_server_fact *out)
{
    const struct conf_server *s = pool_of(f)->servers[i].conf;
    out->name = span_str(s->name);
    out->address = span_str(s->at.text);
}

static const char *setting(const struct proto_facts *f, uint32_t i, char *value, size_t size)
{
    if (i >= pool_keys.count)
        return NULL;
    key_show(&pool_keys.keys[i], pool_of(f)->conf, value, size);
    return pool_keys.keys[i].name;
}

/* Bytes of memory that the process has; 0 where the kernel does not say. */
static uint64_t resident(void)
{
    unsigned long long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm == NULL)
        return 0;
    if (fscanf(statm, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(statm);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

struct ends {
    char client[ADDR_TEXT];
    char here[ADDR_TEXT];
};

static void gather(struct client *c, struct ends *ends, struct proto_facts *f)
{
    const struct proxy *px = c->front->px;
    struct addr a;
    *ends = (struct ends){"", ""};
    *f = (struct proto_facts){
        .client_id = ((uint64_t)px->worker << 32 | c->id) + 1,
        .client =
            addr_of_peer(&a, c->stream.sock.fd) ? span_str(addr_text(&a, ends->client)) : SPAN(""),
        .here =
            addr_of_here(&a, c->stream.sock.fd) ? span_str(addr_text(&a, ends->here)) : SPAN(""),
        .client_fd = c->stream.sock.fd,
        .client_age = (uint32_t)(loop_now(px->loop) / 1000) - c->came,
        .now_us = clock_wall_us(),
        .uptime = stats_uptime(px->all_stats),
        .pid = (uint64_t)getpid(),
        .workers = stats_workers(px->all_stats),
        .pool = span_str(c->front->up->pool->conf->name),
        .version = SPAN(CASHEW_VERSION),
        .about = &c->front->about.known,
        .server_count = c->front->up->pool->server_count,
        .source = c,
        .number = number,
        .server_number = server_number,
        .server = server,
        .setting = setting,
        .memory = resident,
    };
}

bool tell_text(struct client *c, const struct request_view *v, struct buf *out)
{
    struct proto_facts facts;
    struct ends ends;
    gather(c, &ends, &facts);
    if (c->held != NULL)
        c->front->px->sessions->subscribed(c, facts.subscribed);
    return c->front->proto->tell(v, &c->session, &facts, out);
}

/* Does it have to wait until it is known what the servers are? */
static bool waits_for_servers(struct client *c)
{
    uint32_t server = request_keyless(c->front->up);
    c->asks = server != SERVER_NONE && about_ask(&c->front->about, server);
    c->alone = c->asks;
    return c->asks;
}

enum request_fate tell(struct client *c, const struct request_view *v)
{
    struct buf *reply = &c->front->px->compose;
    if (v->about && waits_for_servers(c))
        return REQUEST_WAITS;
    buf_clear(reply);
    if (!tell_text(c, v, reply))
        client_fail(c, "no memory for an answer");
    else if (!v->quiet)
        request_answer(c, buf_span(reply));
    return REQUEST_STARTED;
}
