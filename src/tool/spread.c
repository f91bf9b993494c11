/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/spread.h"

#include <stdlib.h>

#define HASHES ((uint64_t)1 << 32)

/* What the hash functions give, as far as it is less than they might. */
static uint64_t values_of(enum hash_kind kind)
{
    return kind == HASH_crc32 ? (uint64_t)1 << 15 : HASHES;
}

static const struct ring *ring_of(const struct spread *s)
{
    return s->version->ring;
}

/* Adds a run up to `end`, cut at what hashes there are; one of no length is none. */
static void run_add(struct spread *s, uint64_t end, uint32_t server)
{
    uint64_t begin = s->run_count == 0 ? 0 : s->runs[s->run_count - 1].end;
    if (end > s->values)
        end = s->values;
    if (end > begin)
        s->runs[s->run_count++] = (struct run){end, server};
}

/* A key goes to the first point at or behind its hash; behind the last, to the first. */
static void ketama_runs(struct spread *s)
{
    uint32_t value, server, size = ring_size(ring_of(s));
    for (uint32_t i = 0; i < size; i++) {
        ring_point(ring_of(s), i, &value, &server);
        s->points[server]++;
        run_add(s, (uint64_t)value + 1, server);
    }
    ring_point(ring_of(s), 0, &value, &server);
    run_add(s, HASHES, server);
}

/* One past the last slot of the server whose slots begin at `slot`: they lie together. */
static uint32_t slots_end(const struct ring *r, uint32_t slot, uint32_t *server)
{
    uint32_t value, other, low = slot + 1, high = ring_size(r);
    ring_point(r, slot, &value, server);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        ring_point(r, middle, &value, &other);
        if (other == *server)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void modula_runs(struct spread *s)
{
    uint32_t server, size = ring_size(ring_of(s));
    for (uint32_t slot = 0, end; slot < size; slot = end) {
        end = slots_end(ring_of(s), slot, &server);
        s->points[server] = end - slot;
        run_add(s, end, server);
    }
}

static void random_runs(struct spread *s)
{
    uint32_t value, server, size = ring_size(ring_of(s));
    for (uint32_t i = 0; i < size; i++) {
        ring_point(ring_of(s), i, &value, &server);
        s->points[server] = 1;
        s->shares[server] = 1.0 / size;
    }
    /* Of use only where there is one server, whose keys do have a place. */
    run_add(s, s->values, 0);
    s->period = s->values;
}

uint64_t spread_repeated(uint64_t from, uint64_t to, uint64_t period, uint64_t values)
{
    uint64_t rest = values % period;
    uint64_t end = to < rest ? to : rest;
    return (to - from) * (values / period) + (end > from ? end - from : 0);
}

static void sum_runs(struct spread *s)
{
    uint64_t begin = 0;
    s->period = s->runs[s->run_count - 1].end;
    for (size_t i = 0; i < s->run_count; i++) {
        struct run run = s->runs[i];
        uint64_t hashes = spread_repeated(begin, run.end, s->period, s->values);
        s->shares[run.server] += (double)hashes / (double)s->values;
        begin = run.end;
    }
}

static void count_hashes(struct spread *s)
{
    switch ((enum dist_kind)s->conf->distribution) {
    case DIST_ketama:
        ketama_runs(s);
        break;
    case DIST_modula:
        modula_runs(s);
        break;
    case DIST_random:
        random_runs(s);
        return;
    case DIST_KINDS:
        never("no distribution");
    }
    sum_runs(s);
}

/* No more runs than points, and the one that closes the circle; a server's slots are one. */
static size_t runs_most(const struct spread *s)
{
    return s->conf->distribution == DIST_ketama ? (size_t)ring_size(ring_of(s)) + 1
                                                : s->conf->server_count;
}

static bool spread_open(struct spread *s)
{
    must(s->conf->server_count > 0);
    s->pool = pool_new(s->conf, 0);
    if (s->pool == NULL)
        return false;
    s->version = pool_ring(s->pool);
    if (s->version == NULL)
        return false;
    s->runs = calloc(runs_most(s), sizeof(*s->runs));
    s->shares = calloc(s->conf->server_count, sizeof(*s->shares));
    s->points = calloc(s->conf->server_count, sizeof(*s->points));
    return s->runs != NULL && s->shares != NULL && s->points != NULL;
}

struct spread *spread_new(const struct conf_pool *conf)
{
    struct spread *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->conf = conf;
    s->random = conf->distribution == DIST_random && conf->server_count > 1;
    s->values = values_of((enum hash_kind)conf->hash);
    for (uint32_t i = 0; i < conf->server_count; i++)
        s->weights += conf->servers[i].weight;
    if (!spread_open(s)) {
        spread_free(s);
        return NULL;
    }
    count_hashes(s);
    return s;
}

void spread_free(struct spread *s)
{
    if (s == NULL)
        return;
    ring_release(s->version);
    if (s->pool != NULL)
        pool_free(s->pool);
    free(s->runs);
    free(s->shares);
    free(s->points);
    free(s);
}

uint32_t spread_hash(const struct spread *s, struct span key)
{
    return pool_hash(s->pool, key);
}

uint32_t spread_server(const struct spread *s, uint32_t hash)
{
    must(!s->random);
    return ring_pick(ring_of(s), hash, 0);
}

double spread_due(const struct spread *s, uint32_t server)
{
    if (s->random)
        return 1.0 / s->conf->server_count;
    return (double)s->conf->servers[server].weight / (double)s->weights;
}
