/* SPDX-License-Identifier: BSD-3-Clause */
#include "upstream/scripts.h"

#include <stdlib.h>
#include <string.h>

static void script_release(struct script *s)
{
    if (atomic_fetch_sub(&s->refs, 1) == 1)
        free(s);
}

/* ---- of a pool ---- */

void scripts_init(struct scripts *s)
{
    *s = (struct scripts){.count = 0};
    pthread_mutex_init(&s->mutex, NULL);
}

static void forget_oldest(struct scripts *s)
{
    struct script *oldest = s->all[0];
    /* The one that was freed before was moved away. */
    s->bytes -= oldest->len; /* NOLINT(clang-analyzer-unix.Malloc) */
    s->count--;
    memmove(s->all, s->all + 1, s->count * sizeof(struct script *));
    script_release(oldest);
}

void scripts_clear(struct scripts *s)
{
    pthread_mutex_lock(&s->mutex);
    while (s->count > 0)
        forget_oldest(s);
    atomic_fetch_add(&s->version, 1);
    pthread_mutex_unlock(&s->mutex);
}

void scripts_free(struct scripts *s)
{
    while (s->count > 0)
        forget_oldest(s);
    pthread_mutex_destroy(&s->mutex);
}

static struct script *script_new(const char name[SCRIPT_NAME], struct span body)
{
    struct script *s = malloc(sizeof(*s) + body.len);
    if (s == NULL)
        return NULL;
    atomic_init(&s->refs, 1);
    memcpy(s->name, name, SCRIPT_NAME);
    s->len = body.len;
    memcpy(s->body, body.ptr, body.len);
    return s;
}

static bool holds(const struct scripts *s, const char name[SCRIPT_NAME])
{
    for (uint32_t i = 0; i < s->count; i++)
        if (memcmp(s->all[i]->name, name, SCRIPT_NAME) == 0)
            return true;
    return false;
}

void scripts_add(struct scripts *s, const char name[SCRIPT_NAME], struct span body)
{
    if (body.len > SCRIPTS_BYTES)
        return;
    pthread_mutex_lock(&s->mutex);
    struct script *added = holds(s, name) ? NULL : script_new(name, body);
    if (added != NULL) {
        while (s->count == SCRIPTS_MAX || s->bytes + body.len > SCRIPTS_BYTES)
            forget_oldest(s);
        s->all[s->count++] = added;
        s->bytes += body.len;
        atomic_fetch_add(&s->version, 1);
    }
    pthread_mutex_unlock(&s->mutex);
}

/* ---- as a worker sees it ---- */

void script_view_init(struct script_view *v, struct scripts *source, uint32_t servers,
                      struct meter *meter)
{
    *v = (struct script_view){.source = source, .servers = servers, .meter = meter};
}

static void view_clear(struct script_view *v)
{
    for (uint32_t i = 0; i < v->count; i++) {
        script_release(v->all[i].script);
        free(v->all[i].on);
    }
    free(v->all);
    v->all = NULL;
    v->count = 0;
}

void script_view_free(struct script_view *v)
{
    view_clear(v);
    if (v->counted > 0)
        meter_sub(v->meter, v->counted);
    v->counted = 0;
}

static size_t on_bytes(const struct script_view *v)
{
    return (size_t)v->servers * SCRIPT_CONNS * sizeof(uint32_t);
}

/* What memory is out for stays unknown. */
static void view_renew(struct script_view *v)
{
    struct scripts *s = v->source;
    size_t bytes = 0;
    uint32_t count = 0;
    view_clear(v);
    pthread_mutex_lock(&s->mutex);
    v->version = atomic_load(&s->version);
    v->all = s->count > 0 ? calloc(s->count, sizeof(*v->all)) : NULL;
    for (uint32_t i = 0; v->all != NULL && i < s->count; i++) {
        uint32_t *on = calloc(1, on_bytes(v));
        if (on == NULL)
            break;
        atomic_fetch_add(&s->all[i]->refs, 1);
        v->all[count++] = (struct seen_script){s->all[i], on};
        bytes += sizeof(struct script) + s->all[i]->len + on_bytes(v);
    }
    pthread_mutex_unlock(&s->mutex);
    meter_move(v->meter, v->counted, bytes);
    v->count = v->all != NULL ? count : 0;
    v->counted = bytes;
}

struct seen_script *script_find(struct script_view *v, struct span name)
{
    if (atomic_load_explicit(&v->source->version, memory_order_relaxed) != v->version)
        view_renew(v);
    for (uint32_t i = 0; i < v->count; i++)
        if (span_ieq(name, span_of(v->all[i].script->name, SCRIPT_NAME)))
            return &v->all[i];
    return NULL;
}

void script_view_doubt(struct script_view *v)
{
    for (uint32_t i = 0; i < v->count; i++)
        memset(v->all[i].on, 0, on_bytes(v));
}

static uint32_t *place_of(const struct seen_script *s, uint32_t server, uint32_t conn)
{
    return &s->on[(size_t)server * SCRIPT_CONNS + conn % SCRIPT_CONNS];
}

bool script_is_on(const struct seen_script *s, uint32_t server, uint32_t conn)
{
    return conn != 0 && *place_of(s, server, conn) == conn;
}

void script_put_on(struct seen_script *s, uint32_t server, uint32_t conn)
{
    *place_of(s, server, conn) = conn;
}
