/* SPDX-License-Identifier: BSD-3-Clause */
#include "conf/read.h"

#include <stdlib.h>

#include "conf/commands.h"
#include "conf/endpoint.h"
#include "conf/key.h"
#include "conf/names.h"

/* How many mappings a chain of `<<` may run through: so that one that runs in a circle ends. */
enum { MERGE_MAX = 16 };

/* What is needed only while a file is read. */
struct reader {
    struct report *report;
    struct conf *conf;
    struct names pools;
    struct names listens;
};

/* What became of a key. */
struct given {
    struct place at; /* where its value stands; line 0: not given */
    bool bad;
};

/* One mapping of keys on its way into `object`. */
struct section {
    struct report *report;
    const struct key_table *table;
    void *object;
    struct place at;     /* of its name */
    struct given *given; /* for each key of the table */
    struct node servers; /* of a pool */
    struct node merged;  /* the mapping that `<<` names */
};

static void out_of_memory(struct report *report)
{
    report_add(report, (struct place){0}, "out of memory");
}

static bool read_scalar(struct section *s, const struct key *key, struct node value)
{
    struct why why = {.text = ""};

    if (value.kind != NODE_SCALAR)
        why_not(&why, "'%s' takes one value (put text with brackets in quotes)", key->name);
    else if (key_set(key, value.text, s->object, &why))
        return true;
    report_add(s->report, value.at, "%s", why.text);
    return false;
}

static bool read_commands(struct section *s, struct node value)
{
    struct conf_commands *commands = &((struct conf_pool *)s->object)->commands;

    commands_read(value, commands, s->report);
    return commands->verdicts != NULL;
}

/* False if nothing could be made of it. */
static bool read_value(struct section *s, const struct key *key, struct node value)
{
    if (key->type == KEY_COMMANDS)
        return read_commands(s, value);
    if (key->type != KEY_SERVERS)
        return read_scalar(s, key, value);
    s->servers = value;
    return true;
}

static void read_pair(struct section *s, struct node name, struct node value)
{
    const struct key *key = name.kind == NODE_SCALAR ? key_find(s->table, name.text) : NULL;
    struct why why = {.text = ""};
    size_t index;

    if (key == NULL && name.kind == NODE_SCALAR && span_eq(name.text, SPAN("<<"))) {
        s->merged = value;
        return;
    }
    if (key == NULL) {
        why_not_one(&why, name.text, s->table->what, s->table->names, s->table->count);
        report_add(s->report, name.at, "%s", why.text);
        return;
    }
    index = (size_t)(key - s->table->keys);
    /* The first one wins: a second one is an error elsewhere, and what is merged is weaker. */
    if (s->given[index].at.line != 0)
        return;
    s->given[index].at = value.at;
    s->given[index].bad = !read_value(s, key, value);
}

static void read_mapping(struct section *s, struct node map)
{
    struct names names = {0};
    struct node name;
    struct node value;
    void *iter = NULL;

    while (node_next_pair(map, &iter, &name, &value)) {
        if (name.kind == NODE_SCALAR && !names_add(&names, name.text, name.at))
            out_of_memory(s->report);
        read_pair(s, name, value);
    }
    names_check(&names, "key", s->report);
    names_free(&names);
}

/* Reads a mapping, and after it those that it merges in. */
static void read_section(struct section *s, struct node map)
{
    for (int i = 0; i < MERGE_MAX && map.raw != NULL; i++) {
        if (map.kind != NODE_MAPPING) {
            report_add(s->report, map.at, "'<<' takes an alias of a mapping");
            return;
        }
        s->merged = (struct node){0};
        read_mapping(s, map);
        map = s->merged;
    }
    if (map.raw != NULL)
        report_add(s->report, s->at, "'<<' runs in a circle, or through more than %d mappings",
                   MERGE_MAX);
}

static bool server_add(struct conf_pool *pool, uint32_t *room, struct conf_server *server)
{
    struct conf_server *servers;
    uint32_t more = *room == 0 ? 8 : *room * 2;

    if (pool->server_count == *room) {
        /* A file is too small to hold 2^31 servers, so that doubling can't overflow. */
        servers = realloc(pool->servers, (size_t)more * sizeof(*servers));
        if (servers == NULL)
            return false;
        pool->servers = servers;
        *room = more;
    }
    pool->servers[pool->server_count++] = *server;
    return true;
}

static void read_server(struct section *s, struct node item, struct names *names, uint32_t *room)
{
    struct conf_server server;
    struct why why = {.text = ""};

    if (item.kind != NODE_SCALAR) {
        report_add(s->report, item.at, "a server is one text, host:port:weight [name]");
        return;
    }
    if (item.text.len == 0) {
        report_add(s->report, item.at, "an empty item in 'servers'");
        return;
    }
    if (!endpoint_server(item.text, &server, &why)) {
        report_add(s->report, item.at, "%s", why.text);
        return;
    }
    if (!server_add(s->object, room, &server)) {
        endpoint_server_free(&server);
        out_of_memory(s->report);
        return;
    }
    if (!names_add(names, span_str(server.name), item.at))
        out_of_memory(s->report);
}

/* Distributions count weights in 32 bits. */
static void check_weights(struct section *s, const struct conf_pool *pool)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < pool->server_count; i++)
        sum += pool->servers[i].weight;
    if (sum > UINT32_MAX)
        report_add(s->report, s->servers.at, "the weights add up to more than %lld",
                   (long long)UINT32_MAX);
}

static const struct given *given(const struct section *s, const char *name)
{
    return &s->given[key_find(s->table, span_str(name)) - s->table->keys];
}

static void check_min_live(struct section *s, const struct conf_pool *pool, uint32_t servers)
{
    char shown[SHOWN];

    if (!pool->min_live.percent && pool->min_live.number > servers)
        report_add(s->report, given(s, "min_live")->at,
                   "'min_live' is %lld, but pool '%s' has %u server%s",
                   (long long)pool->min_live.number, why_show(span_str(pool->name), shown), servers,
                   servers == 1 ? "" : "s");
}

static void read_servers(struct section *s)
{
    struct names names = {0};
    struct node item;
    void *iter = NULL;
    uint32_t room = 0;
    uint32_t items = 0;

    if (s->servers.kind != NODE_SEQUENCE) {
        report_add(s->report, s->servers.at,
                   "'servers' takes a list: one line '- host:port:weight [name]' for each server");
        return;
    }
    while (node_next_item(s->servers, &iter, &item)) {
        read_server(s, item, &names, &room);
        items++;
    }
    if (items == 0)
        report_add(s->report, s->servers.at, "'servers' has no servers");
    else
        check_min_live(s, s->object, items);
    names_check(&names, "server name", s->report);
    names_free(&names);
    check_weights(s, s->object);
}

/* Of a key that needs `redis: true`. */
static void check_redis(struct section *s, const char *name)
{
    const struct given *key = given(s, name);

    if (key->at.line != 0 && !key->bad)
        report_add(s->report, key->at, "'%s' is only for pools with 'redis: true'", name);
}

static void check_pool(struct section *s, const struct conf_pool *pool)
{
    char shown[SHOWN];

    for (size_t i = 0; i < s->table->count; i++)
        if (s->table->keys[i].value == key_required && s->given[i].at.line == 0)
            report_add(s->report, s->at, "pool '%s' has no '%s'",
                       why_show(span_str(pool->name), shown), s->table->keys[i].name);
    if (pool->redis || given(s, "redis")->bad)
        return;
    check_redis(s, "redis_auth");
    check_redis(s, "commands");
}

static struct conf_pool *pool_add(struct conf *c, struct node name)
{
    struct conf_pool *pool;
    struct conf_pool *pools;

    /* Powers of two, kept by the count alone. */
    if ((c->pool_count & (c->pool_count - 1)) == 0) {
        size_t room = c->pool_count == 0 ? 1 : (size_t)c->pool_count * 2;

        pools = realloc(c->pools, room * sizeof(*pools));
        if (pools == NULL)
            return NULL;
        c->pools = pools;
    }
    pool = &c->pools[c->pool_count];
    *pool = (struct conf_pool){.line = name.at.line, .listen = {.mode = -1}};
    pool->name = strndup(name.text.ptr, name.text.len);
    if (pool->name == NULL || !key_defaults(&pool_keys, pool)) {
        key_free(&pool_keys, pool);
        free(pool->name);
        return NULL;
    }
    c->pool_count++;
    return pool;
}

static bool is_pool_name(struct node name, struct report *report)
{
    if (name.kind != NODE_SCALAR || name.text.len == 0) {
        report_add(report, name.at, "a pool needs a name");
        return false;
    }
    for (size_t i = 0; i < name.text.len; i++) {
        unsigned char c = (unsigned char)name.text.ptr[i];

        if (c < 0x20 || c == 0x7f) {
            report_add(report, name.at, "the name of a pool has a control character");
            return false;
        }
    }
    return true;
}

static void read_pool(struct reader *r, struct node name, struct node value)
{
    struct given keys[POOL_KEYS] = {{{0}, false}};
    struct section s = {.report = r->report, .table = &pool_keys, .at = name.at, .given = keys};
    struct conf_pool *pool;
    char shown[SHOWN];

    if (!is_pool_name(name, r->report))
        return;
    if (value.kind != NODE_MAPPING) {
        report_add(r->report, name.at, "pool '%s' has no keys", why_show(name.text, shown));
        return;
    }
    pool = pool_add(r->conf, name);
    if (pool == NULL || !names_add(&r->pools, name.text, name.at)) {
        out_of_memory(r->report);
        return;
    }
    s.object = pool;
    read_section(&s, value);
    if (given(&s, "servers")->at.line != 0)
        read_servers(&s);
    check_pool(&s, pool);
    if (pool->listen.text != NULL &&
        !names_add(&r->listens, span_str(pool->listen.text), given(&s, "listen")->at))
        out_of_memory(r->report);
}

static void read_global(struct reader *r, struct node name, struct node value)
{
    struct given keys[GLOBAL_KEYS] = {{{0}, false}};
    struct conf_global *g = &r->conf->global;
    struct section s = {
        .report = r->report, .table = &global_keys, .object = g, .at = name.at, .given = keys};

    read_section(&s, value);
    for (uint32_t i = 0; i < GLOBAL_KEYS; i++) {
        if (keys[i].at.line == 0)
            continue;
        g->given |= 1u << i;
        g->at[i] = keys[i].at;
    }
}

/* `global` holds the settings of the process, but a pool of twemproxy's may have this name too: it
 * has servers. */
static bool is_global(struct node name, struct node value)
{
    struct node key;
    struct node ignored;
    void *iter = NULL;

    if (name.kind != NODE_SCALAR || !span_eq(name.text, SPAN("global")) ||
        value.kind != NODE_MAPPING)
        return false;
    while (node_next_pair(value, &iter, &key, &ignored))
        if (key.kind == NODE_SCALAR && span_eq(key.text, SPAN("servers")))
            return false;
    return true;
}

/* twemproxy's order, in which servers stand on the ring and everything in the statistics. */
static int by_length_then_bytes(const char *a, const char *b)
{
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);

    if (a_len != b_len)
        return a_len < b_len ? -1 : 1;
    return memcmp(a, b, a_len);
}

static int server_order(const void *a, const void *b)
{
    return by_length_then_bytes(((const struct conf_server *)a)->name,
                                ((const struct conf_server *)b)->name);
}

static int pool_order(const void *a, const void *b)
{
    return by_length_then_bytes(((const struct conf_pool *)a)->name,
                                ((const struct conf_pool *)b)->name);
}

static void sort_conf(struct conf *c)
{
    for (uint32_t i = 0; i < c->pool_count; i++)
        if (c->pools[i].server_count > 1)
            qsort(c->pools[i].servers, c->pools[i].server_count, sizeof(struct conf_server),
                  server_order);
    if (c->pool_count > 1)
        qsort(c->pools, c->pool_count, sizeof(struct conf_pool), pool_order);
}

static void read_root(struct reader *r, struct node root)
{
    struct node name;
    struct node value;
    void *iter = NULL;
    bool any = false;
    bool global = false;

    while (node_next_pair(root, &iter, &name, &value)) {
        if (is_global(name, value)) {
            if (global)
                report_add(r->report, name.at, "'global' stands twice");
            global = true;
            read_global(r, name, value);
            continue;
        }
        any = true;
        read_pool(r, name, value);
    }
    if (!any)
        report_add(r->report, root.at, "the file has no pools");
}

void read_conf(const struct tree *tree, struct conf *c, struct report *report)
{
    struct reader r = {.report = report, .conf = c};
    struct node root = tree_root(tree);

    if (root.kind != NODE_MAPPING) {
        report_add(report, root.at,
                   "the file is not a mapping of pools: write 'name:' and, "
                   "indented below it, its keys");
        return;
    }
    read_root(&r, root);
    names_check(&r.pools, "pool", report);
    names_check(&r.listens, "listen address", report);
    names_free(&r.pools);
    names_free(&r.listens);
    sort_conf(c);
}
