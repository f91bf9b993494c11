/* SPDX-License-Identifier: BSD-3-Clause */
#include "upstream/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "upstream/private.h"
#include "upstream/server_conn.h"
#include "upstream/upstream.h"

static bool same_login(const struct proto_login *a, const struct proto_login *b)
{
    return a->resp == b->resp && a->db == b->db && span_eq(a->user, b->user) &&
           span_eq_secret(a->password, b->password);
}

static void copy(char *to, struct span s)
{
    if (s.len > 0)
        memcpy(to, s.ptr, s.len);
}

/* A profile with its slots and, behind it, a copy of the texts of `login`. */
static struct profile *profile_new(struct upstream *up, const struct proto_login *login)
{
    size_t count = (size_t)up->pool->server_count * (size_t)up->pool->conf->server_connections;
    struct profile *p = calloc(1, sizeof(*p) + login->user.len + login->password.len);
    struct conn_slot *slots = calloc(count, sizeof(*slots));
    if (p == NULL || slots == NULL) {
        free(p);
        free(slots);
        return NULL;
    }
    char *text = (char *)(p + 1);
    p->up = up;
    p->login = *login;
    p->login.user.ptr = text;
    p->login.password.ptr = text + login->user.len;
    copy(text, login->user);
    copy(text + login->user.len, login->password);
    p->slots = slots;
    for (size_t i = 0; i < count; i++) {
        slots[i].profile = p;
        list_init(&slots[i].line);
        list_init(&slots[i].lined);
        list_init(&slots[i].called);
    }
    list_append(&up->profiles, &p->link);
    up->profile_count++;
    return p;
}

static void profile_free(struct profile *p)
{
    must(p->conns == 0);
    list_unlink(&p->link);
    p->up->profile_count--;
    free(p->slots);
    /* It holds a password. */
    explicit_bzero(p + 1, p->login.user.len + p->login.password.len);
    free(p);
}

static struct profile *profile_of(struct list *node)
{
    return container_of(node, struct profile, link);
}

static bool is_unused(const struct profile *p)
{
    return p->users == 0 && p != p->up->plain;
}

/* Ends the connections of an unused profile, and the profile with the last of them. */
static void retire(struct profile *p)
{
    if (p->conns == 0)
        profile_free(p);
    else
        server_conns_retire(p);
}

static void on_sweep(struct timer *t)
{
    struct upstream *up = container_of(t, struct upstream, sweep);
    uint64_t now = loop_now(up->loop);
    bool more = privates_sweep(up, false);
    LIST_FOREACH_SAFE (node, &up->profiles) {
        struct profile *p = profile_of(node);
        if (!is_unused(p))
            continue;
        more = true;
        if (now - p->unused_at >= PROFILE_LINGER_MS)
            retire(p);
    }
    if (more)
        timer_start(up->loop, t, PROFILE_LINGER_MS / 10);
}

bool profile_begin(struct upstream *up)
{
    const struct proto_settings *set = &up->pool->settings;
    struct proto_login login = {.password = set->password, .db = set->db, .resp = 2};
    list_init(&up->profiles);
    list_init(&up->privates);
    timer_init(&up->sweep, on_sweep);
    up->plain = profile_new(up, &login);
    return up->plain != NULL;
}

/* Is it the pool's own, in whichever version of the protocol? */
static bool is_own(const struct upstream *up, const struct proto_login *login)
{
    struct proto_login own = up->plain->login;
    own.resp = login->resp;
    return same_login(&own, login);
}

/* Is there room for another one? Those count that clients hold, or that have a connection on which somebody who
 * left may have asked for something. Idle ones make room at once. */
static bool make_room(struct upstream *up)
{
    uint32_t count = 0;
    if (up->profile_count < PROFILES_MAX)
        return true;
    LIST_FOREACH_SAFE (node, &up->profiles) {
        struct profile *p = profile_of(node);
        if (is_unused(p))
            retire(p);
    }
    LIST_FOREACH (node, &up->profiles) {
        /* What was freed is in the list no more. */
        const struct profile *p = profile_of(node); /* NOLINT(clang-analyzer-unix.Malloc) */
        count += !is_own(up, &p->login) && (p->users > 0 || p->open > 0);
    }
    return count < PROFILES_MAX;
}

struct profile *profile_hold(struct upstream *up, const struct proto_login *login)
{
    LIST_FOREACH (node, &up->profiles) {
        struct profile *p = profile_of(node);
        if (same_login(&p->login, login)) {
            p->users++;
            return p;
        }
    }
    if (!is_own(up, login) && !make_room(up)) {
        snprintf(up->reason, sizeof(up->reason),
                 "too many different users and databases are in use (pool '%s', %d)",
                 up->pool->conf->name, PROFILES_MAX);
        return NULL;
    }
    struct profile *p = profile_new(up, login);
    if (p == NULL)
        snprintf(up->reason, sizeof(up->reason), "Cannot allocate memory (pool '%s')",
                 up->pool->conf->name);
    else
        p->users = 1;
    return p;
}

void profiles_watch(struct upstream *up)
{
    if (!up->stopping && !timer_running(&up->sweep))
        timer_start(up->loop, &up->sweep, PROFILE_LINGER_MS);
}

void profile_leave(struct profile *p)
{
    struct upstream *up = p->up;
    must(p->users > 0);
    p->users--;
    p->unused_at = loop_now(up->loop);
    if (is_unused(p))
        profiles_watch(up);
}

void profiles_free(struct upstream *up)
{
    privates_sweep(up, true);
    LIST_FOREACH_SAFE (node, &up->profiles) {
        profile_free(profile_of(node));
    }
}
