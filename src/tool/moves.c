/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/moves.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

/* Of 24 bytes each. */
enum { ARCS_MOST = 1 << 24 };

/* A place in the runs of a spread, which begin anew again and again. */
struct cursor {
    const struct spread *of;
    size_t run;
    uint64_t base; /* where these runs began */
};

/* What is at work while moves are found. */
struct finder {
    struct moves *moves;
    const struct spread *old;
    const struct spread *new;
    uint32_t *same; /* of each old server: the new one of that name, or UINT32_MAX */
};

static int by_pair(const void *left, const void *right)
{
    const struct move *a = left, *b = right;
    if (a->from != b->from)
        return a->from < b->from ? -1 : 1;
    return (a->to > b->to) - (a->to < b->to);
}

static int by_part(const void *left, const void *right)
{
    const struct move *a = left, *b = right;
    if (a->part > b->part || a->part < b->part)
        return a->part > b->part ? -1 : 1;
    return by_pair(left, right);
}

/* Makes one move of those between the same servers. */
static void moves_merge(struct moves *m)
{
    size_t n = 0;
    if (m->count == 0)
        return;
    qsort(m->all, m->count, sizeof(*m->all), by_pair);
    for (size_t i = 1; i < m->count; i++) {
        if (by_pair(&m->all[n], &m->all[i]) == 0)
            m->all[n].part += m->all[i].part;
        else
            m->all[++n] = m->all[i];
    }
    m->count = n + 1;
}

/* Merging is enough as long as it leaves half of the room. */
static bool moves_make_room(struct moves *m)
{
    moves_merge(m);
    if (m->room > 0 && m->count <= m->room / 2)
        return true;
    size_t room = m->room == 0 ? 256 : m->room * 2;
    struct move *all = reallocarray(m->all, room, sizeof(*all));
    if (all == NULL)
        return false;
    m->all = all;
    m->room = room;
    return true;
}

static bool add(struct finder *f, uint32_t from, uint32_t to, double part)
{
    struct moves *m = f->moves;
    if (f->same[from] == to || part <= 0)
        return true;
    if (m->count == m->room && !moves_make_room(m))
        return false;
    m->all[m->count++] = (struct move){from, to, part};
    return true;
}

/* Each part is a count divided by a power of two, so that sums are exact. */
static double part_of(const struct finder *f, uint64_t hashes)
{
    return (double)hashes / (double)f->old->values;
}

static uint64_t cursor_end(const struct cursor *c)
{
    return c->base + c->of->runs[c->run].end;
}

static void cursor_pass(struct cursor *c, uint64_t at)
{
    if (at < cursor_end(c) || ++c->run < c->of->run_count)
        return;
    c->run = 0;
    c->base += c->of->period;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* After how many hashes both begin anew together, if that many there are. */
static uint64_t common_period(const struct spread *a, const struct spread *b)
{
    uint64_t x = a->period, y = b->period;
    must(x > 0 && y > 0);
    while (y != 0) {
        uint64_t rest = x % y;
        x = y;
        y = rest;
    }
    /* Neither is over 2^32, and both can be divided by x. */
    must(x > 0);
    return a->period / x > a->values / b->period ? a->values : a->period / x * b->period;
}

/* Walks the runs of both side by side. */
static bool walk(struct finder *f)
{
    struct cursor a = {.of = f->old}, b = {.of = f->new};
    uint64_t values = f->old->values, period = common_period(f->old, f->new);
    for (uint64_t at = 0, next; at < period; at = next) {
        next = least(least(cursor_end(&a), cursor_end(&b)), period);
        uint64_t hashes = spread_repeated(at, next, period, values);
        if (!add(f, a.of->runs[a.run].server, b.of->runs[b.run].server, part_of(f, hashes)))
            return false;
        cursor_pass(&a, next);
        cursor_pass(&b, next);
    }
    return true;
}

/* An arc of a ring: the hashes from `begin` to below `end`. */
struct arc {
    uint32_t server;
    uint64_t begin;
    uint64_t end;
};

/* How the arcs of one server lie over the runs of remainders. */
struct tally {
    const struct spread *rest;
    uint64_t whole; /* whole periods: each gives every run all that it has */
    int64_t *
        covered; /* of each run: how many times more than the run before it was covered as a whole */
    uint64_t *pieces; /* of each run: hashes of arcs that begin or end in it */
};

/* The run that a remainder lies in. */
static size_t run_at(const struct spread *s, uint64_t hash)
{
    size_t low = 0, high = s->run_count - 1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->runs[middle].end <= hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Adds the remainders from `low` to below `high`. */
static void tally_piece(struct tally *t, uint64_t low, uint64_t high)
{
    if (low == high)
        return;
    size_t first = run_at(t->rest, low), last = run_at(t->rest, high - 1);
    if (first == last) {
        t->pieces[first] += high - low;
        return;
    }
    t->pieces[first] += t->rest->runs[first].end - low;
    t->pieces[last] += high - t->rest->runs[last - 1].end;
    t->covered[first + 1]++;
    t->covered[last]--;
}

static void tally_arc(struct tally *t, const struct arc *arc)
{
    uint64_t period = t->rest->period, len = arc->end - arc->begin;
    uint64_t low = arc->begin % period, high = low + len % period;
    t->whole += len / period;
    tally_piece(t, low, least(high, period));
    if (high > period)
        tally_piece(t, 0, high - period);
}

/* Adds what was tallied for one server, and begins anew. */
static bool tally_end(struct tally *t, struct finder *f, uint32_t server)
{
    bool old_is_ring = t->rest == f->new, good = true;
    uint64_t times = t->whole, begin = 0;
    for (size_t i = 0; i < t->rest->run_count; i++) {
        struct run run = t->rest->runs[i];
        times += (uint64_t)t->covered[i];
        double part = part_of(f, times * (run.end - begin) + t->pieces[i]);
        good = good &&
               (old_is_ring ? add(f, server, run.server, part) : add(f, run.server, server, part));
        begin = run.end;
        t->covered[i] = 0;
        t->pieces[i] = 0;
    }
    t->whole = 0;
    return good;
}

static int by_server(const void *left, const void *right)
{
    const struct arc *a = left, *b = right;
    return (a->server > b->server) - (a->server < b->server);
}

/* How many arcs there are if the runs are repeated until every hash is in one. */
static uint64_t arcs_count(const struct spread *s)
{
    return (s->values + s->period - 1) / s->period * s->run_count;
}

/* These arcs, those of each server together; sets `*count`. NULL if memory is out. */
static struct arc *arcs_of(const struct spread *s, size_t *count)
{
    struct arc *arcs = calloc(arcs_count(s), sizeof(*arcs));
    struct cursor at = {.of = s};
    *count = 0;
    for (uint64_t begin = 0, end; arcs != NULL && begin < s->values; begin = end) {
        end = least(cursor_end(&at), s->values);
        arcs[(*count)++] = (struct arc){s->runs[at.run].server, begin, end};
        cursor_pass(&at, end);
    }
    if (arcs != NULL)
        qsort(arcs, *count, sizeof(*arcs), by_server);
    return arcs;
}

static bool tally_all(struct tally *t, struct finder *f, const struct arc *arcs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        tally_arc(t, &arcs[i]);
        bool last = i + 1 == count || arcs[i + 1].server != arcs[i].server;
        if (last && !tally_end(t, f, arcs[i].server))
            return false;
    }
    return true;
}

/* Counts the arcs of one over the runs of the other by division, where a walk would be long: between a ring and a few
 * remainders it might be four thousand million steps. */
static bool divide(struct finder *f, const struct spread *ring, const struct spread *rest)
{
    size_t count;
    struct arc *arcs = arcs_of(ring, &count);
    struct tally t = {.rest = rest};
    t.covered = calloc(rest->run_count + 1, sizeof(*t.covered));
    t.pieces = calloc(rest->run_count, sizeof(*t.pieces));
    bool good =
        arcs != NULL && t.covered != NULL && t.pieces != NULL && tally_all(&t, f, arcs, count);
    free(arcs);
    free(t.covered);
    free(t.pieces);
    return good;
}

/* Steps of a walk, about. */
static double walk_cost(const struct spread *a, const struct spread *b)
{
    return (double)common_period(a, b) *
           ((double)a->run_count / (double)a->period + (double)b->run_count / (double)b->period);
}

/* Arcs, and looks at every run for each server; what does not fit into memory is no way. */
static double divide_cost(const struct spread *ring, const struct spread *rest)
{
    uint64_t arcs = arcs_count(ring);
    return arcs > ARCS_MOST
               ? DBL_MAX
               : (double)arcs + (double)ring->conf->server_count * (double)rest->run_count;
}

static bool count_all(struct finder *f)
{
    double walked = walk_cost(f->old, f->new);
    double old_divided = divide_cost(f->old, f->new), new_divided = divide_cost(f->new, f->old);
    if (walked <= old_divided && walked <= new_divided)
        return walk(f);
    return old_divided <= new_divided ? divide(f, f->old, f->new) : divide(f, f->new, f->old);
}

static bool multiply_shares(struct finder *f)
{
    for (uint32_t i = 0; i < f->old->conf->server_count; i++)
        for (uint32_t k = 0; k < f->new->conf->server_count; k++)
            if (!add(f, i, k, f->old->shares[i] * f->new->shares[k]))
                return false;
    return true;
}

static int order_of(const char *name, const struct conf_server *server)
{
    size_t a = strlen(name), b = strlen(server->name);
    if (a != b)
        return a < b ? -1 : 1;
    return memcmp(name, server->name, a);
}

uint32_t moves_server_named(const struct conf_pool *conf, const char *name)
{
    uint32_t low = 0, high = conf->server_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = order_of(name, &conf->servers[middle]);
        if (order == 0)
            return middle;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return UINT32_MAX;
}

static bool find_all(struct finder *f)
{
    const struct conf_pool *old = f->old->conf;
    for (uint32_t i = 0; i < old->server_count; i++)
        f->same[i] = moves_server_named(f->new->conf, old->servers[i].name);
    return f->moves->method == MOVES_EXACT ? count_all(f) : multiply_shares(f);
}

static enum moves_method method_of(const struct spread *old, const struct spread *new)
{
    if (old->random || new->random)
        return MOVES_NONE;
    return old->conf->hash == new->conf->hash ? MOVES_EXACT : MOVES_EXPECTED;
}

bool moves_find(struct moves *m, const struct spread *old, const struct spread *new)
{
    struct finder f = {.moves = m, .old = old, .new = new};
    m->method = method_of(old, new);
    if (m->method == MOVES_NONE)
        return true;
    f.same = calloc(old->conf->server_count, sizeof(*f.same));
    bool good = f.same != NULL && find_all(&f);
    free(f.same);
    moves_merge(m);
    for (size_t i = 0; i < m->count; i++)
        m->moved += m->all[i].part;
    if (m->count > 1)
        qsort(m->all, m->count, sizeof(*m->all), by_part);
    return good;
}

void moves_free(struct moves *m)
{
    free(m->all);
    *m = (struct moves){0};
}
