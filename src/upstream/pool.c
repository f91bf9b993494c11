/* SPDX-License-Identifier: BSD-3-Clause */
#include "upstream/pool.h"

#include <stdlib.h>

#include "base/log.h"
#include "upstream/topology.h"

static struct ring_version *ring_version_new(struct pool *p, uint64_t number)
{
    struct ring_version *v =
        calloc(1, sizeof(*v) + (size_t)p->server_count * sizeof(v->ejected[0]));
    if (v == NULL)
        return NULL;
    bool any = false;
    atomic_init(&v->refs, 1);
    v->number = number;
    for (uint32_t i = 0; i < p->server_count; i++) {
        v->ejected[i] = !p->live[i];
        v->live += p->live[i];
        any = any || p->ringed[i];
    }
    if (!any)
        return v;
    v->ring = ring_source_build(p->source, p->ringed);
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
    if (v == NULL) {
        log_error("pool '%s': no memory for a new ring", p->conf->name);
        return false;
    }
    ring_release(p->ring);
    p->ring = v;
    atomic_store(&p->ring_number, number);
    return true;
}

/* A key that is anywhere belongs to nobody who could be away. */
bool pool_moves_keys(const struct pool *p)
{
    return p->conf->on_eject == ON_EJECT_rehash || p->conf->distribution == DIST_random;
}

/* Puts a server on the ring or off it. False if memory is out: nothing has changed. */
static bool set_live(struct pool *p, uint32_t server, bool live)
{
    p->live[server] = live;
    p->ringed[server] = live || !pool_moves_keys(p);
    if (publish(p))
        return true;
    p->live[server] = !live;
    p->ringed[server] = !live || !pool_moves_keys(p);
    return false;
}

static bool server_init(struct pool *p, uint32_t i)
{
    struct server *s = &p->servers[i];
    s->conf = &p->conf->servers[i];
    const struct conf_endpoint *at = &s->conf->at;
    p->live[i] = true;
    p->ringed[i] = true;
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

static bool is_denied(const void *conf, uint32_t row)
{
    return ((const struct conf_commands *)conf)->verdicts[row] == VERDICT_DENY;
}

static bool is_allowed(const void *conf, uint32_t row)
{
    return ((const struct conf_commands *)conf)->verdicts[row] == VERDICT_ALLOW;
}

/* The pool's own table of commands, if its configuration speaks of any. */
static bool make_commands(struct pool *p)
{
    const struct conf_commands *conf = &p->conf->commands;
    if (conf->verdicts == NULL)
        return true;
    struct proto_custom *custom = calloc((size_t)conf->custom_count + 1, sizeof(*custom));
    if (custom == NULL)
        return false;
    for (uint32_t i = 0; i < conf->custom_count; i++) {
        const struct conf_custom *from = &conf->custom[i];
        custom[i] = (struct proto_custom){.name = span_str(from->name),
                                          .write = from->write,
                                          .counted = from->keys == CUSTOM_NUMKEYS,
                                          .first = from->keys == CUSTOM_NONE ? 0 : from->first,
                                          .last = from->last,
                                          .step = from->step};
    }
    const struct proto_commands commands = {.denied = is_denied,
                                            .allowed = is_allowed,
                                            .source = conf,
                                            .custom_count = conf->custom_count,
                                            .custom = custom};
    p->settings.commands = p->proto->commands_new(&commands);
    free(custom);
    return p->settings.commands != NULL;
}

static bool pool_fill(struct pool *p)
{
    if (!make_commands(p))
        return false;
    p->servers = calloc(p->server_count, sizeof(*p->servers));
    p->live = calloc(p->server_count, sizeof(*p->live));
    p->ringed = calloc(p->server_count, sizeof(*p->ringed));
    p->source = make_source(p->conf);
    if (p->servers == NULL || p->live == NULL || p->ringed == NULL || p->source == NULL)
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
    scripts_init(&p->scripts);
    if (!pool_fill(p)) {
        pool_free(p);
        return NULL;
    }
    return p;
}

void pool_free(struct pool *p)
{
    ring_release(p->ring);
    if (p->settings.commands != NULL)
        p->proto->commands_free(p->settings.commands);
    pthread_mutex_destroy(&p->mutex);
    scripts_free(&p->scripts);
    free(p->servers);
    ring_source_free(p->source);
    free(p->live);
    free(p->ringed);
    free(p);
}

struct ring_version *pool_ring(struct pool *p)
{
    pthread_mutex_lock(&p->mutex);
    struct ring_version *v = p->ring;
    atomic_fetch_add(&v->refs, 1);
    pthread_mutex_unlock(&p->mutex);
    return v;
}

/* How many servers are never ejected: a share of them is rounded up. */
static uint64_t min_live(const struct pool *p)
{
    struct conf_share least = p->conf->min_live;
    if (!least.percent)
        return (uint64_t)least.number;
    return ((uint64_t)p->server_count * (uint64_t)least.number + 99) / 100;
}

/* Takes the server off the ring after `failures` failures, if that is enough of them and it may be
 * missed. When memory is out it stays, and its next failure tries again. */
static bool eject(struct pool *p, uint32_t server, uint32_t failures, const char *what)
{
    const struct conf_pool *conf = p->conf;
    uint64_t limit = (uint64_t)conf->server_failure_limit;
    if (!conf->auto_eject_hosts || failures < limit)
        return false;
    if (p->ring->live <= min_live(p)) {
        if (failures == limit || failures == 1)
            log_warn("pool '%s': server '%s' is not ejected after %u failures%s: %u of %u servers "
                     "are on the ring (min_live)",
                     conf->name, p->servers[server].conf->name, failures, what, p->ring->live,
                     p->server_count);
        return false;
    }
    if (!set_live(p, server, false))
        return false;
    log_warn("pool '%s': server '%s' is ejected for %lld ms after %u failures%s", conf->name,
             p->servers[server].conf->name, (long long)conf->server_retry_timeout, failures, what);
    return true;
}

static void forget(struct server *s)
{
    atomic_store(&s->failures, 0);
    s->check_failures = 0;
}

/* What fails while it is ejected says nothing new. */
bool pool_server_failed(struct pool *p, uint32_t server)
{
    struct server *s = &p->servers[server];
    bool ejected = false;
    pthread_mutex_lock(&p->mutex);
    if (p->live[server]) {
        uint32_t failures = atomic_fetch_add(&s->failures, 1) + 1;
        ejected = eject(p, server, failures, "");
        if (ejected)
            forget(s);
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

bool pool_check_failed(struct pool *p, uint32_t server, struct span reason)
{
    struct server *s = &p->servers[server];
    bool ejected = false;
    pthread_mutex_lock(&p->mutex);
    if (p->live[server]) {
        if (s->check_failures == 0)
            log_warn("pool '%s': server '%s' fails its health check: %.*s", p->conf->name,
                     s->conf->name, (int)reason.len, reason.ptr);
        s->check_failures++;
        ejected = eject(p, server, s->check_failures, " of its health check");
        if (ejected)
            forget(s);
    }
    pthread_mutex_unlock(&p->mutex);
    return ejected;
}

void pool_check_passed(struct pool *p, uint32_t server)
{
    struct server *s = &p->servers[server];
    pthread_mutex_lock(&p->mutex);
    if (s->check_failures > 0)
        log_warn("pool '%s': server '%s' passes its health check again, after %u failures",
                 p->conf->name, s->conf->name, s->check_failures);
    s->check_failures = 0;
    pthread_mutex_unlock(&p->mutex);
}

bool pool_server_ejected(struct pool *p, uint32_t server)
{
    pthread_mutex_lock(&p->mutex);
    bool ejected = !p->live[server];
    pthread_mutex_unlock(&p->mutex);
    return ejected;
}

bool pool_server_back(struct pool *p, uint32_t server)
{
    pthread_mutex_lock(&p->mutex);
    must(!p->live[server]);
    bool good = set_live(p, server, true);
    if (good)
        log_warn("pool '%s': server '%s' is back on the ring", p->conf->name,
                 p->servers[server].conf->name);
    pthread_mutex_unlock(&p->mutex);
    return good;
}
