/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit micro runs the pieces: all of them against the clock, or one a given number of times for an
 * instruction counter to watch. */
#include "micro.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/must.h"
#include "base/span.h"

/* Pairs of turns for each piece, and how long a turn should be. */
enum { PAIRS = 21, TURN_NS = 5000000 };

/* The thread's own time, in which other programs don't show. */
static uint64_t cpu_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static uint64_t timed(const struct micro *m, void *state, uint64_t n)
{
    uint64_t begin = cpu_clock();
    /* The result must be used, or the compiler leaves the work out. */
    volatile uint64_t sum = m->run(state, n);
    (void)sum;
    return cpu_clock() - begin;
}

/* How often it runs in a turn. */
static uint64_t rounds(const struct micro *m, void *state)
{
    uint64_t n = 16;
    while (n < UINT64_C(1) << 32 && timed(m, state, n) < TURN_NS)
        n *= 2;
    return n;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The piece and its null piece in turns, so that both see the same machine. */
static void measure(const struct micro *m)
{
    void *real = m->begin(m, false);
    void *null = m->begin(m, true);
    uint64_t n = rounds(m, real);
    double costs[PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        double with = (double)timed(m, real, n);
        double without = (double)timed(m, null, n);
        costs[i] = (with - without) / (double)n;
    }
    qsort(costs, PAIRS, sizeof(costs[0]), by_value);
    printf("{\"name\": \"%s\", \"ns\": %.2f, \"ns_least\": %.2f, \"ns_most\": %.2f}\n", m->name,
           costs[PAIRS / 2], costs[0], costs[PAIRS - 1]);
    m->end(real);
    m->end(null);
}

static int run_one(const struct micro *m, uint64_t n, bool null)
{
    void *state = m->begin(m, null);
    printf("%" PRIu64 "\n", m->run(state, n));
    m->end(state);
    return 0;
}

static const struct micro *find(const struct micro_list *l, const char *name)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->v[i].name, name) == 0)
            return &l->v[i];
    return NULL;
}

int main(int argc, char **argv)
{
    struct micro_list lists[] = {micro_parse(), micro_route()};
    for (size_t i = 0; argc == 1 && i < ARRAY_LEN(lists); i++)
        for (size_t k = 0; k < lists[i].count; k++)
            measure(&lists[i].v[k]);
    if (argc == 1)
        return 0;
    uint64_t n = 0;
    bool null = argc == 4 && strcmp(argv[3], "null") == 0;
    for (size_t i = 0; argc >= 3 && i < ARRAY_LEN(lists); i++) {
        const struct micro *m = find(&lists[i], argv[1]);
        if (m != NULL && span_u64(span_str(argv[2]), UINT32_MAX, &n))
            return run_one(m, n, null);
    }
    (void)fputs("usage: micro [NAME N [null]]\n"
                "Times all pieces, or runs one N times.\n",
                stderr);
    return 2;
}
