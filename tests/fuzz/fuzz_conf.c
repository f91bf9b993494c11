/* SPDX-License-Identifier: BSD-3-Clause */
/* Any bytes as a configuration file. It is refused with a reason at a place, or it keeps every promise of conf.h, the
 * same each time it is read, and pools can be made of it. */
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/key.h"
#include "said.h"
#include "target.h"
#include "upstream/pool.h"

/* Pools of more servers are not built: points on the ring cost time, and teach nothing new. */
enum { SERVERS_BUILT = 40, WEIGHT_BUILT = 1000 };

static void check_order(const char *before, const char *name)
{
    size_t a = strlen(before);
    size_t b = strlen(name);
    must(a < b || (a == b && strcmp(before, name) < 0));
}

static void check_endpoint(const struct conf_endpoint *e)
{
    must((e->host == NULL) != (e->path == NULL));
    must(e->text != NULL && strlen(e->text) > 0);
    must(e->mode >= -1 && e->mode <= 0777);
}

static void check_numbers(const struct key_table *table, const void *object)
{
    for (size_t i = 0; i < table->count; i++) {
        int64_t n;
        if (table->keys[i].type != KEY_NUMBER)
            continue;
        memcpy(&n, (const char *)object + table->keys[i].offset, sizeof(n));
        must(n >= table->keys[i].min && n <= table->keys[i].max);
    }
}

static void build(const struct conf_pool *conf)
{
    uint64_t weight = 0;
    for (uint32_t i = 0; i < conf->server_count; i++)
        weight += conf->servers[i].weight;
    if (conf->server_count > SERVERS_BUILT || weight > WEIGHT_BUILT)
        return;
    struct pool *p = pool_new(conf, 0);
    must(p != NULL);
    pool_free(p);
}

static void check_pool(const struct conf_pool *p)
{
    must(p->server_count > 0 && p->name != NULL);
    check_endpoint(&p->listen);
    check_numbers(&pool_keys, p);
    for (uint32_t i = 0; i < p->server_count; i++) {
        check_endpoint(&p->servers[i].at);
        must(p->servers[i].weight > 0);
        if (i > 0)
            check_order(p->servers[i - 1].name, p->servers[i].name);
    }
    build(p);
}

static void check(const struct conf *c)
{
    must(c->pool_count > 0);
    check_numbers(&global_keys, &c->global);
    for (uint32_t i = 0; i < c->pool_count; i++) {
        check_pool(&c->pools[i]);
        if (i > 0)
            check_order(c->pools[i - 1].name, c->pools[i].name);
    }
}

/* Errors are lines that begin with the file. */
static void check_errors(struct span said)
{
    static const struct span file = {"fuzz.yml:", 9};
    must(said.len > 0 && said.ptr[said.len - 1] == '\n');
    for (size_t at = 0; at < said.len;) {
        const char *lf = memchr(said.ptr + at, '\n', said.len - at);
        must(span_eq(span_of(said.ptr + at, file.len), file));
        at = (size_t)(lf - said.ptr) + 1;
    }
}

static void read_once(const char *text, size_t size, struct said *said)
{
    said_open(said);
    struct conf *c = conf_parse("fuzz.yml", text, size, said->file);
    if (c == NULL)
        check_errors(said_span(said));
    else
        check(c);
    must(c == NULL || said_span(said).len == 0);
    conf_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct said first;
    struct said again;
    char *text = malloc(size + 1);
    must(text != NULL);
    memcpy(text + 1, data, size);
    read_once(text + 1, size, &first);
    read_once(text + 1, size, &again);
    must(span_eq(said_span(&first), said_span(&again)));
    said_close(&first);
    said_close(&again);
    free(text);
    return 0;
}
