/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit ring_text shows the answers of `cashew ring` as tables and bars. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tool/advice.h"
#include "tool/ring_view.h"
#include "tool/table.h"

enum { MOVES_SHOWN = 20 };

/* As a percentage; what is not nothing does not look like it. */
static const char *percent(double part, char out[16])
{
    if (part > 0 && part < 0.00005)
        snprintf(out, 16, "<0.01 %%");
    else
        snprintf(out, 16, "%.2f %%", part * 100);
    return out;
}

static const char *points_name(const struct spread *s)
{
    return s->conf->distribution == DIST_ketama ? "points" : "slots";
}

static uint64_t points_sum(const struct spread *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->conf->server_count; i++)
        sum += s->points[i];
    return sum;
}

static void write_advice(const struct screen *s, const struct advice *all, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *word = all[i].warning ? "warning:" : "note:";
        screen_ink(s, all[i].warning ? INK_WARNING : INK_HEAD);
        fputs(word, s->out);
        screen_ink(s, INK_PLAIN);
        screen_paragraph(s, all[i].text, (unsigned)strlen(word), 4);
    }
}

static void advise_pool(const struct screen *s, const struct spread *pool)
{
    struct advice all[ADVICE_MAX] = {{0}};
    write_advice(s, all, advice_of_pool(pool, all));
}

/* ------------------------------------------------------------------ shares */

static void describe(const struct screen *s, const struct spread *pool)
{
    const struct conf_pool *conf = pool->conf;
    fprintf(s->out, "%s, %s", ring_dist_name(conf->distribution), ring_hash_name(conf->hash));
    if (conf->hash_tag != NULL)
        fprintf(s->out, ", hash tag %s", conf->hash_tag);
    fprintf(s->out, ", %u %s", conf->server_count, conf->server_count == 1 ? "server" : "servers");
    if (conf->distribution != DIST_random)
        fprintf(s->out, ", %" PRIu64 " %s", points_sum(pool), points_name(pool));
    fputc('\n', s->out);
}

static void write_title(const struct screen *s, const char *name)
{
    screen_ink(s, INK_HEAD);
    fprintf(s->out, "pool '%s'", name);
    screen_ink(s, INK_PLAIN);
}

static bool share_row(struct table *t, const struct spread *pool, uint32_t i)
{
    char weight[24], points[24], share[16], due[16];
    const struct conf_server *server = &pool->conf->servers[i];
    snprintf(weight, sizeof(weight), "%" PRIu32, server->weight);
    snprintf(points, sizeof(points), "%" PRIu64, pool->points[i]);
    const char *cells[] = {server->name, weight, points, percent(spread_due(pool, i), due),
                           percent(pool->shares[i], share)};
    return table_row(t, cells, pool->shares[i]);
}

static bool write_shares(const struct screen *s, const struct spread *pool)
{
    const struct table_column columns[] = {{"server", false},         {"weight", true},
                                           {points_name(pool), true}, {"by weight", true},
                                           {"share", true},           {NULL, false}};
    struct table t;
    bool good = true;
    table_init(&t, columns);
    for (uint32_t i = 0; good && i < pool->conf->server_count; i++)
        good = share_row(&t, pool, i);
    write_title(s, pool->conf->name);
    fputs(": ", s->out);
    describe(s, pool);
    if (good)
        table_write(&t, s);
    table_free(&t);
    advise_pool(s, pool);
    return good;
}

static bool text_shares(const struct screen *s, struct spread *const *pools, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            fputc('\n', s->out);
        if (!write_shares(s, pools[i]))
            return false;
    }
    return true;
}

/* ------------------------------------------------------------------ keys */

static const char any_server[] = "(any)";

static unsigned names_width(const struct screen *s, const struct spread *pool)
{
    unsigned most = (unsigned)strlen("server");
    for (uint32_t i = 0; i < pool->conf->server_count; i++) {
        unsigned width = screen_width(s, span_str(pool->conf->servers[i].name));
        if (width > most)
            most = width;
    }
    return most;
}

/* Warnings go to the standard error, so that the rows can be piped on; notes are about shares. */
static bool text_keys_begin(struct ring_keys *k)
{
    const struct screen *s = k->screen;
    struct screen errors = screen_of(stderr);
    struct advice all[ADVICE_MAX] = {{0}};
    size_t count = advice_of_pool(k->pool, all);
    for (size_t i = 0; i < count; i++)
        if (all[i].warning)
            write_advice(&errors, &all[i], 1);
    k->width = names_width(s, k->pool);
    screen_ink(s, INK_HEAD);
    screen_cell(s, SPAN("server"), k->width, false);
    fputs("        hash  key", s->out);
    screen_ink(s, INK_PLAIN);
    fputc('\n', s->out);
    return true;
}

static bool text_key(struct ring_keys *k, const struct placed *placed)
{
    const struct screen *s = k->screen;
    bool any = placed->server == UINT32_MAX;
    const char *name = any ? any_server : k->pool->conf->servers[placed->server].name;
    screen_cell(s, span_str(name), k->width, false);
    fprintf(s->out, "  %10" PRIu32 "  ", placed->hash);
    screen_bytes(s, placed->key);
    if (placed->hashed.len != placed->key.len) {
        fputs("  (hashed: ", s->out);
        screen_bytes(s, placed->hashed);
        fputc(')', s->out);
    }
    fputc('\n', s->out);
    return true;
}

static void text_keys_end(struct ring_keys *k)
{
    (void)k;
}

/* ------------------------------------------------------------------ what moves */

static bool write_moves(const struct screen *s, const struct ring_change *c)
{
    static const struct table_column columns[] = {
        {"from", false}, {"to", false}, {"part of all keys", true}, {NULL, false}};
    const struct moves *m = &c->moves;
    char part[16];
    double shown = 0;
    bool good = true;
    struct table t;
    table_init(&t, columns);
    for (size_t i = 0; good && i < m->count && i < MOVES_SHOWN; i++) {
        const char *cells[] = {c->old->conf->servers[m->all[i].from].name,
                               c->new->conf->servers[m->all[i].to].name,
                               percent(m->all[i].part, part)};
        shown += m->all[i].part;
        good = table_row(&t, cells, m->all[i].part);
    }
    if (good && m->count > 0)
        table_write(&t, s);
    table_free(&t);
    if (m->count > MOVES_SHOWN)
        fprintf(s->out, "and %zu smaller ones, %s together (--json has all)\n",
                m->count - MOVES_SHOWN, percent(m->moved - shown, part));
    return good;
}

/* A row of what a server had and will have; an index of UINT32_MAX: it is not there. */
static bool before_after_row(struct table *t, const struct ring_change *c, uint32_t old,
                             uint32_t new)
{
    char was[16], is[16], change[16];
    double before = old == UINT32_MAX ? 0 : c->old->shares[old];
    double after = new == UINT32_MAX ? 0 : c->new->shares[new];
    const char *name =
        old == UINT32_MAX ? c->new->conf->servers[new].name : c->old->conf->servers[old].name;
    snprintf(change, sizeof(change), "%+.2f", (after - before) * 100);
    const char *cells[] = {name, old == UINT32_MAX ? "-" : percent(before, was),
                           new == UINT32_MAX ? "-" : percent(after, is), change};
    return table_row(t, cells, after);
}

static bool before_after_rows(struct table *t, const struct ring_change *c)
{
    const struct conf_pool *old = c->old->conf, *new = c->new->conf;
    for (uint32_t i = 0; i < old->server_count; i++)
        if (!before_after_row(t, c, i, moves_server_named(new, old->servers[i].name)))
            return false;
    for (uint32_t i = 0; i < new->server_count; i++)
        if (moves_server_named(old, new->servers[i].name) == UINT32_MAX &&
            !before_after_row(t, c, UINT32_MAX, i))
            return false;
    return true;
}

static bool write_before_after(const struct screen *s, const struct ring_change *c)
{
    static const struct table_column columns[] = {{"server", false},
                                                  {"share before", true},
                                                  {"share after", true},
                                                  {"change", true},
                                                  {NULL, false}};
    struct table t;
    table_init(&t, columns);
    bool good = before_after_rows(&t, c);
    if (good)
        table_write(&t, s);
    table_free(&t);
    return good;
}

/* Who keeps the name and changes the address keeps the keys on the ring, but not what is stored. */
static void write_addresses(const struct screen *s, const struct ring_change *c)
{
    const struct conf_pool *old = c->old->conf, *new = c->new->conf;
    for (uint32_t i = 0; i < old->server_count; i++) {
        uint32_t k = moves_server_named(new, old->servers[i].name);
        if (k != UINT32_MAX && strcmp(old->servers[i].at.text, new->servers[k].at.text) != 0)
            fprintf(s->out, "note: '%s' keeps its keys and changes its address: %s, then %s\n",
                    old->servers[i].name, old->servers[i].at.text, new->servers[k].at.text);
    }
}

static void write_moved(const struct screen *s, const struct ring_change *c)
{
    char part[16];
    write_title(s, c->old->conf->name);
    if (c->moves.method == MOVES_NONE)
        fputs(": keys have no place\n", s->out);
    else if (c->moves.count == 0)
        fputs(": nothing moves\n", s->out);
    else
        fprintf(s->out, ": %s of the keys %s\n", percent(c->moves.moved, part),
                c->moves.method == MOVES_EXACT ? "move" : "are expected to move");
    fputs("before: ", s->out);
    describe(s, c->old);
    fputs("after:  ", s->out);
    describe(s, c->new);
}

static bool write_change(const struct screen *s, const struct ring_change *c)
{
    struct advice all[ADVICE_MAX] = {{0}};
    bool good = true;
    write_moved(s, c);
    if (c->moves.count > 0) {
        fputc('\n', s->out);
        good = write_moves(s, c);
        fputc('\n', s->out);
        good = good && write_before_after(s, c);
    }
    write_addresses(s, c);
    write_advice(s, all, advice_of_change(c->old, c->new, all));
    advise_pool(s, c->new);
    return good;
}

static void write_missing(const struct screen *s, const struct conf *has, const struct conf *other)
{
    for (uint32_t i = 0; i < has->pool_count; i++)
        if (ring_pool_missing(other, has->pools[i].name))
            fprintf(s->out, "pool '%s' is in %s only\n", has->pools[i].name, has->file);
}

static bool text_diff(const struct screen *s, const struct ring_diff *diff)
{
    for (size_t i = 0; i < diff->count; i++) {
        if (i > 0)
            fputc('\n', s->out);
        if (!write_change(s, &diff->changes[i]))
            return false;
    }
    if (diff->all) {
        write_missing(s, diff->old, diff->new);
        write_missing(s, diff->new, diff->old);
    }
    return true;
}

const struct ring_view ring_text = {text_shares, text_keys_begin, text_key, text_keys_end,
                                    text_diff};
