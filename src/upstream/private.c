/* SPDX-License-Identifier: BSD-3-Clause */
#include "upstream/private.h"

#include <stdio.h>
#include <stdlib.h>

#include "upstream/profile.h"
#include "upstream/server_conn.h"

/* How long what is cut later may still take, ms. */
enum { PRIVATE_SOON_MS = 100 };

static struct private *private_of(struct list *node)
{
    return container_of(node, struct private, link);
}

static struct upstream *up_of_private(const struct private *p)
{
    return p->slot.profile->up;
}

void private_cut(struct private *p, const char *why)
{
    char reason[REASON_TEXT];
    if (p->slot.conn == NULL)
        return;
    snprintf(reason, sizeof(reason), "Connection refused (server '%s': %s)",
             up_of_private(p)->pool->servers[p->server].conf->name, why);
    server_conn_stop(p->slot.conn, reason);
}

static void on_cut(struct timer *t)
{
    struct private *p = container_of(t, struct private, cut);
    private_cut(p, p->why);
}

void private_cut_later(struct private *p, const char *why)
{
    p->why = why;
    if (!timer_running(&p->cut))
        timer_start(up_of_private(p)->loop, &p->cut, PRIVATE_SOON_MS);
}

void private_keep(struct private *p)
{
    timer_stop(up_of_private(p)->loop, &p->cut);
}

static void private_free(struct private *p)
{
    struct upstream *up = up_of_private(p);
    must(!p->taken);
    private_cut(p, "nobody waits any more");
    list_unlink(&p->link);
    up->slots[p->server].privates--;
    /* Who was let go and is not back yet holds on to the list. */
    LIST_FOREACH_SAFE (node, &p->slot.called) {
        list_unlink(node);
    }
    profile_leave(p->slot.profile);
    free(p);
}

/* One that nobody has, of that profile or (NULL) of any. */
static struct private *find_idle(struct upstream *up, uint32_t server,
                                 const struct profile *profile)
{
    LIST_FOREACH (node, &up->privates) {
        struct private *p = private_of(node);
        if (!p->taken && p->server == server && (profile == NULL || p->slot.profile == profile))
            return p;
    }
    return NULL;
}

static struct private *private_new(struct upstream *up, uint32_t server, struct profile *profile)
{
    struct private *p = calloc(1, sizeof(*p));
    if (p == NULL) {
        snprintf(up->reason, sizeof(up->reason), "Cannot allocate memory (server '%s')",
                 up->pool->servers[server].conf->name);
        return NULL;
    }
    p->slot.profile = profile;
    p->slot.own = true;
    list_init(&p->slot.line);
    list_init(&p->slot.lined);
    list_init(&p->slot.called);
    timer_init(&p->cut, on_cut);
    p->server = server;
    profile->users++;
    list_append(&up->privates, &p->link);
    up->slots[server].privates++;
    return p;
}

/* May there be one more to that server? One that lies idle makes room. */
static bool make_room(struct upstream *up, uint32_t server)
{
    uint64_t most = (uint64_t)up->pool->conf->session_connections;
    if (up->slots[server].privates < most)
        return true;
    struct private *idle = find_idle(up, server, NULL);
    if (idle == NULL) {
        snprintf(up->reason, sizeof(up->reason),
                 "too many connections are in use (server '%s', session_connections: %llu)",
                 up->pool->servers[server].conf->name, (unsigned long long)most);
        return false;
    }
    private_free(idle);
    return true;
}

struct private *private_take(struct upstream *up, uint32_t server, struct profile *profile)
{
    struct private *p = find_idle(up, server, profile);
    if (p == NULL && make_room(up, server))
        p = private_new(up, server, profile);
    if (p != NULL)
        p->taken = true;
    return p;
}

void private_give_back(struct private *p, bool clean)
{
    struct upstream *up = up_of_private(p);
    p->taken = false;
    private_keep(p);
    p->idle_since = loop_now(up->loop);
    if (!clean)
        private_cut(p, "nobody waits any more");
    profiles_watch(up);
}

bool privates_sweep(struct upstream *up, bool all)
{
    uint64_t now = loop_now(up->loop);
    bool more = false;
    LIST_FOREACH_SAFE (node, &up->privates) {
        struct private *p = private_of(node);
        if (p->taken && !all)
            continue; /* it is looked at when it was given back */
        if (all || now - p->idle_since >= PROFILE_LINGER_MS)
            private_free(p);
        else
            more = true;
    }
    return more;
}
