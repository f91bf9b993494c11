/* SPDX-License-Identifier: BSD-3-Clause */
#include "conf/conf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "conf/commands.h"
#include "conf/endpoint.h"
#include "conf/key.h"
#include "conf/read.h"
#include "conf/report.h"
#include "conf/tree.h"

/* A file of 200,000 servers is smaller. */
enum { FILE_MAX = 16 << 20, READ_STEP = 64 << 10 };

static struct conf *conf_new(const char *file)
{
    struct conf *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->file = strdup(file);
    if (c->file != NULL && conf_global_init(&c->global))
        return c;
    conf_free(c);
    return NULL;
}

/* The configuration, or NULL with at least one error in `report`. */
static struct conf *conf_read(const char *file, const char *text, size_t len, struct report *report)
{
    struct tree *tree = tree_read(text, len, report);
    struct conf *c = NULL;

    if (tree == NULL)
        return NULL;
    c = conf_new(file);
    if (c == NULL)
        report_add(report, (struct place){0}, "out of memory");
    else
        read_conf(tree, c, report);
    tree_free(tree);
    if (report_empty(report))
        return c;
    conf_free(c);
    return NULL;
}

struct conf *conf_parse(const char *file, const char *text, size_t len, FILE *errors)
{
    struct report report = {0};
    struct conf *c = conf_read(file, text, len, &report);

    report_write(&report, file, errors);
    report_free(&report);
    return c;
}

/* Reads all of `in`. NULL, or why it could not. */
static const char *read_all(FILE *in, struct buf *text)
{
    size_t got;

    do {
        if (buf_len(text) > FILE_MAX)
            return "the file is larger than 16 MiB";
        if (!buf_reserve(text, READ_STEP))
            return "out of memory";
        got = fread(text->data + text->tail, 1, READ_STEP, in);
        text->tail += got;
    } while (got > 0);
    return ferror(in) ? strerror(errno) : NULL;
}

struct conf *conf_load(const char *file, FILE *errors, bool *was_read)
{
    struct buf text = {0};
    FILE *in = fopen(file, "re");
    struct conf *c = NULL;
    const char *problem = in == NULL ? strerror(errno) : read_all(in, &text);

    *was_read = problem == NULL;
    if (problem != NULL)
        fprintf(errors, "%s: error: cannot be read: %s\n", file, problem);
    else
        c = conf_parse(file, buf_span(&text).ptr, buf_len(&text), errors);
    if (in != NULL)
        fclose(in);
    buf_free(&text);
    return c;
}

static void pool_free(struct conf_pool *pool)
{
    for (uint32_t i = 0; i < pool->server_count; i++)
        endpoint_server_free(&pool->servers[i]);
    free(pool->servers);
    commands_free(&pool->commands);
    free(pool->name);
    key_free(&pool_keys, pool);
}

void conf_free(struct conf *c)
{
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < c->pool_count; i++)
        pool_free(&c->pools[i]);
    free(c->pools);
    conf_global_free(&c->global);
    free(c->file);
    free(c);
}

bool conf_global_init(struct conf_global *g)
{
    *g = (struct conf_global){0};
    return key_defaults(&global_keys, g);
}

bool conf_global_merge(struct conf_global *g, const struct conf_global *under)
{
    uint32_t missing = under->given & ~g->given;

    for (uint32_t i = 0; i < GLOBAL_KEYS; i++) {
        if ((missing >> i & 1) == 0)
            continue;
        if (!key_copy(&global_keys.keys[i], g, under))
            return false;
        g->at[i] = under->at[i];
    }
    g->given |= missing;
    return true;
}

void conf_global_blame(const struct conf *c, const struct conf_global *g, enum conf_global_key key,
                       FILE *out)
{
    if (g->at[key].line > 0)
        fprintf(out, "%s:%d:%d: ", c->file, g->at[key].line, g->at[key].column);
    fputs("error: ", out);
}

void conf_global_free(struct conf_global *g)
{
    key_free(&global_keys, g);
}

static void describe_key(const struct key *key, FILE *out)
{
    fprintf(out, "  %s\n    %s\n    type: %s", key->name, key->text, key_type_name(key->type));
    if (key->value == key_required)
        fputs("; required", out);
    else
        fprintf(out, "; default: %s", key->value == NULL ? "none" : key->value);
    key_write_allowed(key, "; allowed: ", out);
    if (key->unit != NULL)
        fprintf(out, "; unit: %s", key->unit);
    fprintf(out, "; a new value takes effect %s\n", key->change);
}

static void describe_table(const struct key_table *table, FILE *out)
{
    for (size_t i = 0; i < table->count; i++)
        describe_key(&table->keys[i], out);
}

void conf_describe(FILE *out)
{
    fputs("keys of a pool:\n", out);
    describe_table(&pool_keys, out);
    fputs("keys of 'global', the settings of the process:\n", out);
    describe_table(&global_keys, out);
}
