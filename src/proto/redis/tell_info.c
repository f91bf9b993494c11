/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit tell_info answers INFO: the proxy in the sections of a server, with what client libraries look
 * for, and a section of its own with everything that it counts. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "proto/redis/tell.h"

/* The text under construction. */
struct info {
    struct question *q;
    struct writer w;
    uint64_t sections; /* written so far */
};

/* The sum of the pool's servers' number of that name. */
static uint64_t servers_sum(const struct proto_facts *f, const char *name)
{
    struct proto_number n;
    uint64_t sum = 0;
    for (uint32_t s = 0; s < f->server_count; s++)
        for (uint32_t i = 0; f->server_number(f, s, i, &n); i++)
            if (strcmp(n.name, name) == 0)
                sum += n.value;
    return sum;
}

static uint64_t pool_number(const struct proto_facts *f, const char *name)
{
    struct proto_number n;
    for (uint32_t i = 0; f->number(f, i, &n); i++)
        if (strcmp(n.name, name) == 0)
            return n.value;
    return 0;
}

static void line(struct info *i, const char *name, uint64_t n)
{
    write_text(&i->w, "%s:%" PRIu64 "\r\n", name, n);
}

/* Bytes as people read them, in the way of redis. */
static void human(struct info *i, const char *name, uint64_t n)
{
    static const char units[] = "BKMGT";
    double value = (double)n;
    size_t unit = 0;
    for (; value >= 1024 && unit < 4; unit++)
        value /= 1024;
    if (unit == 0)
        write_text(&i->w, "%s:%" PRIu64 "B\r\n", name, n);
    else
        write_text(&i->w, "%s:%.2f%c\r\n", name, value, units[unit]);
}

static void server(struct info *i)
{
    const struct proto_facts *f = i->q->facts;
    struct span version = question_version(i->q);
    struct span here = f->here;
    size_t colon = here.len;
    while (colon > 0 && here.ptr[colon - 1] != ':')
        colon--;
    struct span port = colon > 0 ? span_from(here, colon) : SPAN("0");
    write_text(&i->w, "redis_version:%.*s\r\n%sredis_mode:standalone\r\n", (int)version.len,
               version.ptr, f->about->lines);
    write_text(&i->w, "os:Linux\r\narch_bits:%zu\r\nmultiplexing_api:epoll\r\n",
               sizeof(void *) * 8);
    line(i, "process_id", f->pid);
    write_text(&i->w, "tcp_port:%.*s\r\n", (int)port.len, port.ptr);
    line(i, "server_time_usec", f->now_us);
    line(i, "uptime_in_seconds", f->uptime);
    line(i, "uptime_in_days", f->uptime / 86400);
    write_text(&i->w, "io_threads_active:0\r\n");
}

static void clients(struct info *i)
{
    line(i, "connected_clients", pool_number(i->q->facts, "client_connections"));
    line(i, "cluster_connections", 0);
    line(i, "blocked_clients", pool_number(i->q->facts, "blocked_clients"));
    line(i, "tracking_clients", 0);
    line(i, "pubsub_clients", pool_number(i->q->facts, "subscribers"));
}

static void memory(struct info *i)
{
    uint64_t bytes = i->q->facts->memory();
    line(i, "used_memory", bytes);
    human(i, "used_memory_human", bytes);
    line(i, "used_memory_rss", bytes);
    human(i, "used_memory_rss_human", bytes);
    line(i, "maxmemory", 0);
    write_text(&i->w, "maxmemory_human:0B\r\nmaxmemory_policy:noeviction\r\n");
}

static void persistence(struct info *i)
{
    write_text(&i->w, "loading:0\r\nasync_loading:0\r\nrdb_changes_since_last_save:0\r\n"
                      "rdb_bgsave_in_progress:0\r\nrdb_last_bgsave_status:ok\r\naof_enabled:0\r\n");
}

static void stats(struct info *i)
{
    const struct proto_facts *f = i->q->facts;
    uint64_t gone = pool_number(f, "client_eof") + pool_number(f, "client_err");
    line(i, "total_connections_received", pool_number(f, "client_connections") + gone);
    line(i, "total_commands_processed", servers_sum(f, "requests"));
    line(i, "total_net_input_bytes", servers_sum(f, "request_bytes"));
    line(i, "total_net_output_bytes", servers_sum(f, "response_bytes"));
    line(i, "rejected_connections", pool_number(f, "client_refused"));
    line(i, "pubsub_channels", pool_number(f, "pubsub_channels"));
    line(i, "pubsub_patterns", pool_number(f, "pubsub_patterns"));
    line(i, "pubsubshard_channels", pool_number(f, "pubsub_shard_channels"));
    line(i, "total_error_replies", pool_number(f, "forward_error"));
}

static void replication(struct info *i)
{
    write_text(&i->w, "role:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\n");
    write_text(&i->w, "master_repl_offset:0\r\nrepl_backlog_active:0\r\n");
}

static void cpu(struct info *i)
{
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) != 0)
        return;
    write_text(&i->w, "used_cpu_sys:%lld.%06ld\r\n", (long long)u.ru_stime.tv_sec,
               (long)u.ru_stime.tv_usec);
    write_text(&i->w, "used_cpu_user:%lld.%06ld\r\n", (long long)u.ru_utime.tv_sec,
               (long)u.ru_utime.tv_usec);
}

static void nothing(struct info *i)
{
    (void)i;
}

static void cluster(struct info *i)
{
    write_text(&i->w, "cluster_enabled:0\r\n");
}

static void one_server(struct info *i, uint32_t s)
{
    const struct proto_facts *f = i->q->facts;
    struct proto_server_fact fact;
    struct proto_number n;
    f->server(f, s, &fact);
    write_text(&i->w, "server%" PRIu32 ":name=%.*s,address=%.*s", s, (int)fact.name.len,
               fact.name.ptr, (int)fact.address.len, fact.address.ptr);
    for (uint32_t k = 0; f->server_number(f, s, k, &n); k++)
        write_text(&i->w, ",%s=%" PRIu64, n.name, n.value);
    write_raw(&i->w, SPAN("\r\n"));
}

static void cashew(struct info *i)
{
    const struct proto_facts *f = i->q->facts;
    struct proto_number n;
    write_text(&i->w, "cashew_version:%.*s\r\npool:%.*s\r\n", (int)f->version.len, f->version.ptr,
               (int)f->pool.len, f->pool.ptr);
    write_text(&i->w, "server_version:%s\r\n",
               f->about->version[0] == '\0' ? "unknown" : f->about->version);
    line(i, "workers", f->workers);
    line(i, "servers", f->server_count);
    for (uint32_t k = 0; f->number(f, k, &n); k++)
        line(i, n.name, n.value);
    for (uint32_t s = 0; s < f->server_count; s++)
        one_server(i, s);
}

struct section {
    const char *name; /* as it is shown */
    void (*write)(struct info *i);
};

static const struct section sections[] = {
    {"Server", server},
    {"Clients", clients},
    {"Memory", memory},
    {"Persistence", persistence},
    {"Stats", stats},
    {"Replication", replication},
    {"CPU", cpu},
    {"Modules", nothing},
    {"Errorstats", nothing},
    {"Cluster", cluster},
    {"Keyspace", nothing},
    {"Cashew", cashew},
};

static bool asked_for(const struct question *q, const char *name)
{
    uint32_t count = q->v->args->count;
    for (uint32_t i = 1; i < count; i++)
        if (question_is(q, i, span_str(name)) || question_is(q, i, SPAN("all")) ||
            question_is(q, i, SPAN("everything")) || question_is(q, i, SPAN("default")))
            return true;
    return count == 1;
}

void tell_info(struct question *q)
{
    struct buf text = {0};
    struct info i = {.q = q, .w = {.out = &text}};
    for (size_t s = 0; s < ARRAY_LEN(sections); s++) {
        if (!asked_for(q, sections[s].name))
            continue;
        write_text(&i.w, "%s# %s\r\n", i.sections++ > 0 ? "\r\n" : "", sections[s].name);
        sections[s].write(&i);
    }
    write_verbatim(q->w, buf_span(&text));
    q->w->failed = q->w->failed || i.w.failed;
    buf_free(&text);
}
