/* SPDX-License-Identifier: BSD-3-Clause */
#include "upstream/pool.h"

#include <stdlib.h>

#include "base/log.h"
#include "upstream/topology.h"

static bool auto_eject(const struct pool *p)
{
    return p->conf->auto_eject_hosts;
}

static struct ring_version *ring_version_new(struct pool *p, uint64_t number)
{
    struct ring_version *v = calloc(1, sizeof(*v));
    if (v == NULL)
        return NULL;
    atomic_init(&v->refs, 1);
    v->number = number;
    v->retry_at = UINT64_MAX;
    for (uint32_t i = 0; i < p->server_count; i++) {
        if (p->live[i])
            v->live++;
        else if (p->servers[i].retry_at < v->retry_at)
            v->retry_at = p->servers[i].retry_at;
    }
    if (v->live == 0)
        return v;
    v->ring = ring_source_build(p->source, p->live);
    if (v->ring == NULL) {
        free(v);
        return NULL;
    }
    return v;
}

void ring_release(struct ring_version *v)
{
    if (v == NULL || atomic_fetch_sub(&v->refs, 1) > 1)
        return;
    if (v->ring != NULL)
        ring_free(v->ring);
    free(v);
}

/* Puts a ring over today's live servers in force. When memory is out the old one stays. */
static bool publish(struct pool *p)
{
    uint64_t number = p->ring == NULL ? 1 : p->ring->number + 1;
    struct ring_version *v = ring_version_new(p, number);
    p->stale = v == NULL;
    if (v == NULL) {
        log_error("pool '%s': no memory for a new ring", p->conf->name);
        return false;
    }
    ring_release(p->ring);
    p->ring = v;
    atomic_store(&p->ring_number, number);
    return true;
}

static bool server_init(struct pool *p, uint32_t i)
{
    struct server *s = &p->servers[i];
    s->conf = &p->conf->servers[i];
    const struct conf_endpoint *at = &s->conf->at;
    p->live[i] = true;
    if (at->path != NULL) {
        s->literal = true;
        return addr_unix(&s->addr, at->path);
    }
    s->literal = addr_literal(&s->addr, at->host, at->port);
    return true;
}

static struct ring_source *make_source(const struct conf_pool *conf)
{
    struct dist_member *members = calloc(conf->server_count, sizeof(*members));
    if (members == NULL)
        return NULL;
    for (uint32_t i = 0; i < conf->server_count; i++)
        members[i] = (struct dist_member){.name = span_str(conf->servers[i].name),
                                          .weight = conf->servers[i].weight};
    struct ring_source *source =
        ring_source_new((enum dist_kind)conf->distribution, members, conf->server_count);
    free(members);
    return source;
}

static bool pool_fill(struct pool *p)
{
    p->servers = calloc(p->server_count, sizeof(*p->servers));
    p->live = calloc(p->server_count, sizeof(*p->live));
    p->source = make_source(p->conf);
    if (p->servers == NULL || p->live == NULL || p->source == NULL)
        return false;
    for (uint32_t i = 0; i < p->server_count; i++)
        if (!server_init(p, i))
            return false;
    return publish(p);
}

struct pool *pool_new(const struct conf_pool *conf, uint32_t index)
{
    must(conf->server_count > 0);
    struct pool *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->conf = conf;
    p->index = index;
    p->server_count = conf->server_count;
    p->topology = &topology_static;
    p->proto = conf->redis ? &proto_redis : &proto_memcache;
    p->settings = (struct proto_settings){.db = (uint32_t)conf->redis_db,
                                          .servers = conf->server_count,
                                          .single_server = conf->server_count == 1,
                                          .allow_flush = conf->allow_flush};
    if (conf->redis_auth != NULL)
        p->settings.password = span_str(conf->redis_auth);
    p->hash = hash_function((enum hash_kind)conf->hash);
    if (conf->hash_tag != NULL)
        p->tag = span_str(conf->hash_tag);
    pthread_mutex_init(&p->mutex, NULL);
    if (!pool_fill(p)) {
        pool_free(p);
        return NULL;
    }
    return p;
}

void pool_free(struct pool *p)
{
    ring_release(p->ring);
    pthread_mutex_destroy(&p->mutex);
    free(p->servers);
    ring_source_free(p->source);
    free(p->live);
    free(p);
}

/* Takes every ejected server back whose time has come. */
static bool readmit(struct pool *p, uint64_t now)
{
    bool changed = false;
    for (uint32_t i = 0; i < p->server_count; i++) {
        if (p->live[i] || p->servers[i].retry_at > now)
            continue;
        p->live[i] = true;
        changed = true;
        log_warn("pool '%s': server '%s' is back on the ring", p->conf->name,
                 p->servers[i].conf->name);
    }
    return changed;
}

struct ring_version *pool_ring(struct pool *p, uint64_t now)
{
    pthread_mutex_lock(&p->mutex);
    bool good = true;
    if (p->ring->retry_at <= now && (readmit(p, now) || p->stale))
        good = publish(p);
    struct ring_version *v = good ? p->ring : NULL;
    if (v != NULL)
        atomic_fetch_add(&v->refs, 1);
    pthread_mutex_unlock(&p->mutex);
    return v;
}

/* When memory is out the server stays, and its next failure tries again. */
static bool eject(struct pool *p, uint32_t server, uint64_t now)
{
    p->live[server] = false;
    p->servers[server].retry_at = now + (uint64_t)p->conf->server_retry_timeout;
    p->live[server] = !publish(p);
    if (p->live[server])
        return false;
    atomic_store(&p->servers[server].failures, 0);
    return true;
}

bool pool_server_failed(struct pool *p, uint32_t server, uint64_t now)
{
    struct server *s = &p->servers[server];
    bool ejected = false;
    pthread_mutex_lock(&p->mutex);
    uint32_t failures = atomic_fetch_add(&s->failures, 1) + 1;
    if (auto_eject(p) && p->live[server] && failures >= (uint64_t)p->conf->server_failure_limit) {
        ejected = eject(p, server, now);
        if (ejected)
            log_warn("pool '%s': server '%s' is ejected for %lld ms after %u failures",
                     p->conf->name, s->conf->name, (long long)p->conf->server_retry_timeout,
                     failures);
    }
    pthread_mutex_unlock(&p->mutex);
    return ejected;
}

void pool_server_succeeded(struct pool *p, uint32_t server)
{
    struct server *s = &p->servers[server];
    if (atomic_load_explicit(&s->failures, memory_order_relaxed) == 0)
        return;
    pthread_mutex_lock(&p->mutex);
    atomic_store(&s->failures, 0);
    pthread_mutex_unlock(&p->mutex);
}
