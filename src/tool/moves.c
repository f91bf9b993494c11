/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/moves.h"

#include <stdlib.h>
#include <string.h>

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
    while (y != 0) {
        uint64_t rest = x % y;
        x = y;
        y = rest;
    }
    /* Neither is over 2^32. */
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

/* How many hashes below `end` have a remainder from `low` to below `high`. */
static uint64_t count_below(uint64_t end, uint64_t period, uint64_t low, uint64_t high)
{
    uint64_t rest = end % period;
    uint64_t more = rest <= low ? 0 : least(rest, high) - low;
    return end / period * (high - low) + more;
}

/* Between a ring and remainders a walk might be four thousand million steps: so each arc is set against each remainder's
 * run by a division. */
static bool divide(struct finder *f, const struct spread *ring, const struct spread *rest)
{
    uint64_t begin = 0;
    for (size_t i = 0; i < ring->run_count; begin = ring->runs[i++].end) {
        uint64_t low = 0;
        for (size_t k = 0; k < rest->run_count; low = rest->runs[k++].end) {
            uint64_t high = rest->runs[k].end;
            uint64_t hashes = count_below(ring->runs[i].end, rest->period, low, high) -
                              count_below(begin, rest->period, low, high);
            uint32_t a = ring->runs[i].server, b = rest->runs[k].server;
            bool old = ring == f->old;
            if (!add(f, old ? a : b, old ? b : a, part_of(f, hashes)))
                return false;
        }
    }
    return true;
}

static bool count_all(struct finder *f)
{
    bool old_whole = f->old->period == f->old->values;
    bool new_whole = f->new->period == f->new->values;
    if (old_whole == new_whole)
        return walk(f);
    return old_whole ? divide(f, f->old, f->new) : divide(f, f->new, f->old);
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
