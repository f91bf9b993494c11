/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit tell_config answers CONFIG GET: what client libraries look for, with the values that are true
 * behind a proxy, and the settings of the pool under their own names. */
#include <stdio.h>

#include "proto/redis/glob.h"
#include "proto/redis/tell.h"

struct setting {
    const char *name;
    const char *value;
};

/* No setting of a server that a client could rely on would be right for all servers: these are those
 * that libraries and tools ask for when they connect. */
static const struct setting fixed[] = {
    {"appendonly", "no"},
    {"databases", "16"},
    {"maxmemory", "0"},
    {"maxmemory-policy", "noeviction"},
    {"notify-keyspace-events", ""},
    {"proto-max-bulk-len", "536870912"},
    {"replica-read-only", "yes"},
    {"save", ""},
    {"slave-read-only", "yes"},
    {"timeout", "0"},
};

static bool wanted(const struct question *q, struct span name)
{
    for (uint32_t i = 2; i < q->v->args->count; i++)
        if (glob_match(question_word(q, i), name))
            return true;
    return false;
}

/* Writes all that is asked for to `w`; returns how many there are. */
static uint64_t write_settings(const struct question *q, struct writer *w)
{
    uint64_t count = 0;
    char value[512];
    char name[80];
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        if (!wanted(q, span_str(fixed[i].name)))
            continue;
        write_bulk(w, span_str(fixed[i].name));
        write_bulk(w, span_str(fixed[i].value));
        count++;
    }
    for (uint32_t i = 0;; i++) {
        const char *key = q->facts->setting(q->facts, i, value, sizeof(value));
        if (key == NULL)
            return count;
        snprintf(name, sizeof(name), "cashew.%s", key);
        if (!wanted(q, span_str(name)))
            continue;
        write_bulk(w, span_str(name));
        write_bulk(w, span_str(value));
        count++;
    }
}

void tell_config_get(struct question *q)
{
    struct buf pairs = {0};
    struct writer w = {.out = &pairs};
    write_map(q->w, write_settings(q, &w));
    write_raw(q->w, buf_span(&pairs));
    q->w->failed = q->w->failed || w.failed;
    buf_free(&pairs);
}
