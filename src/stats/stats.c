/* SPDX-License-Identifier: BSD-3-Clause */
#include "stats/stats.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/span.h"

enum { CACHE_LINE = 64 };

/* Shown in place of our own: scripts that know twemproxy look at it. */
#define TWEMPROXY_VERSION "0.5.0"

enum kind { COUNTER, GAUGE, MOMENT };

struct row {
    const char *name;
    enum kind kind;
    const char *text;
    size_t at; /* offset of its stat */
};

static const struct row pool_rows[] = {
#define STAT(name, kind, text) {#name, kind, text, offsetof(struct pool_stats, name)},
#include "pool_stats.def"
#undef STAT
};

static const struct row server_rows[] = {
#define STAT(name, kind, text) {#name, kind, text, offsetof(struct server_stats, name)},
#include "server_stats.def"
#undef STAT
};

struct pool_names {
    char *name;
    char **servers;
    uint32_t server_count;
    size_t first_server; /* in each block */
};

/* The numbers of one worker: one allocation on cache lines of its own, so that workers never write
 * to a shared line. */
struct block {
    struct worker_stats worker;
    struct pool_stats *pools;
    struct server_stats *servers; /* of all pools, pool after pool */
};

struct stats {
    unsigned workers;
    uint32_t pool_count;
    struct pool_names *pools;
    struct block **blocks; /* one a worker */
    char source[256];      /* this host's name */
    time_t started;        /* monotonic seconds */
};

/* JSON under construction: `separator` goes before the next member of the object at hand. */
struct json {
    struct buf *out;
    const char *separator;
    bool failed; /* memory was out */
};

static time_t monotonic_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static bool copy_names(struct pool_names *to, const struct stats_pool_names *from)
{
    to->name = strdup(from->name);
    to->servers = calloc((size_t)from->server_count + 1, sizeof(*to->servers));
    if (to->name == NULL || to->servers == NULL)
        return false;
    for (; to->server_count < from->server_count; to->server_count++) {
        char *name = strdup(from->servers[to->server_count]);
        if (name == NULL)
            return false;
        to->servers[to->server_count] = name;
    }
    return true;
}

/* The layout is the block, then its pools, then its servers. */
static struct block *block_new(size_t pools, size_t servers)
{
    size_t head = sizeof(struct block), pool_bytes, server_bytes, size;
    if (__builtin_mul_overflow(pools, sizeof(struct pool_stats), &pool_bytes) ||
        __builtin_mul_overflow(servers, sizeof(struct server_stats), &server_bytes) ||
        __builtin_add_overflow(head + CACHE_LINE - 1, pool_bytes, &size) ||
        __builtin_add_overflow(size, server_bytes, &size))
        return NULL;
    size -= size % CACHE_LINE;
    struct block *b = aligned_alloc(CACHE_LINE, size);
    if (b == NULL)
        return NULL;
    memset(b, 0, size);
    b->pools = (struct pool_stats *)(b + 1);
    b->servers = (struct server_stats *)(b->pools + pools);
    return b;
}

static bool fill(struct stats *s, unsigned workers, const struct stats_pool_names *pools,
                 uint32_t pool_count)
{
    s->pools = calloc((size_t)pool_count + 1, sizeof(*s->pools));
    s->blocks = calloc((size_t)workers + 1, sizeof(struct block *));
    if (s->pools == NULL || s->blocks == NULL)
        return false;
    size_t servers = 0;
    for (; s->pool_count < pool_count; servers += pools[s->pool_count++].server_count) {
        s->pools[s->pool_count].first_server = servers;
        if (!copy_names(&s->pools[s->pool_count], &pools[s->pool_count])) {
            s->pool_count++; /* for stats_free() to find what was copied */
            return false;
        }
    }
    for (; s->workers < workers; s->workers++) {
        s->blocks[s->workers] = block_new(pool_count, servers);
        if (s->blocks[s->workers] == NULL)
            return false;
    }
    return true;
}

struct stats *stats_new(unsigned workers, const struct stats_pool_names *pools, uint32_t pool_count)
{
    struct stats *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    if (!fill(s, workers, pools, pool_count)) {
        stats_free(s);
        return NULL;
    }
    if (gethostname(s->source, sizeof(s->source) - 1) != 0)
        strcpy(s->source, "unknown");
    s->started = monotonic_seconds();
    return s;
}

void stats_free(struct stats *s)
{
    if (s == NULL)
        return;
    for (uint32_t p = 0; p < s->pool_count; p++) {
        for (uint32_t i = 0; i < s->pools[p].server_count; i++)
            free(s->pools[p].servers[i]);
        free(s->pools[p].servers);
        free(s->pools[p].name);
    }
    for (unsigned w = 0; w < s->workers; w++)
        free(s->blocks[w]);
    free(s->pools);
    free(s->blocks);
    free(s);
}

struct worker_stats *stats_worker(struct stats *s, unsigned worker)
{
    must(worker < s->workers);
    return &s->blocks[worker]->worker;
}

struct pool_stats *stats_pool(struct stats *s, unsigned worker, uint32_t pool)
{
    must(worker < s->workers && pool < s->pool_count);
    return &s->blocks[worker]->pools[pool];
}

struct server_stats *stats_server(struct stats *s, unsigned worker, uint32_t pool, uint32_t server)
{
    must(worker < s->workers && pool < s->pool_count && server < s->pools[pool].server_count);
    return &s->blocks[worker]->servers[s->pools[pool].first_server + server];
}

/* One step of a sum over workers. */
static uint64_t combine(enum kind kind, uint64_t so_far, const stat *of_worker)
{
    uint64_t n = atomic_load_explicit(of_worker, memory_order_relaxed);
    if (kind == MOMENT)
        return n > so_far ? n : so_far;
    return so_far + n;
}

/* A level may be raised by one worker and lowered by another, and both be read in between: the sum
 * wraps as it should, and for a moment it may be below 0. */
static uint64_t shown(enum kind kind, uint64_t sum)
{
    return kind == GAUGE && sum > INT64_MAX ? 0 : sum;
}

static void put(struct json *j, const char *text)
{
    if (!buf_append(j->out, span_str(text)))
        j->failed = true;
}

static void put_string(struct json *j, const char *s)
{
    put(j, "\"");
    for (; *s != '\0'; s++) {
        char text[8] = {*s};
        if (*s == '"' || *s == '\\')
            snprintf(text, sizeof(text), "\\%c", *s);
        else if ((unsigned char)*s < 0x20)
            snprintf(text, sizeof(text), "\\u%04x", (unsigned)*s);
        put(j, text);
    }
    put(j, "\"");
}

static void put_name(struct json *j, const char *name)
{
    put(j, j->separator);
    put_string(j, name);
}

static void put_text(struct json *j, const char *name, const char *value)
{
    put_name(j, name);
    put(j, ":");
    put_string(j, value);
    j->separator = ", ";
}

static void put_number(struct json *j, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), ":%" PRIu64, value);
    put_name(j, name);
    put(j, text);
    j->separator = ", ";
}

static void put_open(struct json *j, const char *name)
{
    put_name(j, name);
    put(j, ": {");
    j->separator = "";
}

static void put_close(struct json *j)
{
    put(j, "}");
    j->separator = ",";
}

static const stat *stat_at(const void *numbers, size_t at)
{
    return (const stat *)(const void *)((const char *)numbers + at);
}

bool stats_pool_number(const struct stats *s, uint32_t pool, uint32_t i, struct stats_number *out)
{
    if (i >= ARRAY_LEN(pool_rows))
        return false;
    const struct row *row = &pool_rows[i];
    uint64_t sum = 0;
    for (unsigned w = 0; w < s->workers; w++)
        sum = combine(row->kind, sum, stat_at(&s->blocks[w]->pools[pool], row->at));
    *out = (struct stats_number){row->name, shown(row->kind, sum)};
    return true;
}

bool stats_server_number(const struct stats *s, uint32_t pool, uint32_t server, uint32_t i,
                         struct stats_number *out)
{
    if (i >= ARRAY_LEN(server_rows))
        return false;
    const struct row *row = &server_rows[i];
    size_t at = s->pools[pool].first_server + server;
    uint64_t sum = 0;
    for (unsigned w = 0; w < s->workers; w++)
        sum = combine(row->kind, sum, stat_at(&s->blocks[w]->servers[at], row->at));
    *out = (struct stats_number){row->name, shown(row->kind, sum)};
    return true;
}

unsigned stats_workers(const struct stats *s)
{
    return s->workers;
}

uint64_t stats_uptime(const struct stats *s)
{
    return (uint64_t)(monotonic_seconds() - s->started);
}

static void put_server(struct json *j, const struct stats *s, uint32_t pool, uint32_t server)
{
    struct stats_number n;
    put_open(j, s->pools[pool].servers[server]);
    for (uint32_t i = 0; stats_server_number(s, pool, server, i, &n); i++)
        put_number(j, n.name, n.value);
    put_close(j);
}

static void put_pool(struct json *j, const struct stats *s, uint32_t pool)
{
    struct stats_number n;
    put_open(j, s->pools[pool].name);
    for (uint32_t i = 0; stats_pool_number(s, pool, i, &n); i++)
        put_number(j, n.name, n.value);
    for (uint32_t i = 0; i < s->pools[pool].server_count; i++)
        put_server(j, s, pool, i);
    put_close(j);
}

static void put_process(struct json *j, const struct stats *s)
{
    uint64_t total = 0, current = 0, listeners = s->pool_count;
    for (unsigned w = 0; w < s->workers; w++) {
        total = combine(COUNTER, total, &s->blocks[w]->worker.total_connections);
        current = combine(GAUGE, current, &s->blocks[w]->worker.curr_connections);
    }
    put_text(j, "service", "nutcracker");
    put_text(j, "source", s->source);
    put_text(j, "version", TWEMPROXY_VERSION);
    put_number(j, "uptime", stats_uptime(s));
    put_number(j, "timestamp", (uint64_t)time(NULL));
    put_number(j, "total_connections", total + listeners);
    put_number(j, "curr_connections", shown(GAUGE, current) + listeners);
    put_text(j, "cashew_version", CASHEW_VERSION);
}

bool stats_json(const struct stats *s, struct buf *out)
{
    struct json j = {.out = out, .separator = ""};
    put(&j, "{");
    put_process(&j, s);
    for (uint32_t p = 0; p < s->pool_count; p++)
        put_pool(&j, s, p);
    put(&j, "}\n");
    return !j.failed;
}

static void describe_rows(FILE *out, const struct row *rows, size_t count)
{
    for (size_t r = 0; r < count; r++)
        fprintf(out, "  %-18s  \"%s\"\n", rows[r].name, rows[r].text);
}

void stats_describe(FILE *out)
{
    fputs("pool stats:\n", out);
    describe_rows(out, pool_rows, ARRAY_LEN(pool_rows));
    fputs("\nserver stats:\n", out);
    describe_rows(out, server_rows, ARRAY_LEN(server_rows));
}
