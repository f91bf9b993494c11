/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit micro is a list of small pieces of the data path, each of which can be run alone, beside a
 * null piece that does nothing in the same frame: the difference is what the piece costs. */
#ifndef BENCH_MICRO_H
#define BENCH_MICRO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct micro {
    const char *name;
    const void *arg; /* of the piece's own */
    /** Prepares it, or its null piece. Aborts if memory is out. */
    void *(*begin)(const struct micro *m, bool null);
    /** Does it `n` times; returns a number that depends on all of them. */
    uint64_t (*run)(void *state, uint64_t n);
    void (*end)(void *state);
};

struct micro_list {
    const struct micro *v;
    size_t count;
};

/** Parsing of requests and replies of both protocols. */
struct micro_list micro_parse(void);

/** Hashes of keys, and the choice of a server for a hash. */
struct micro_list micro_route(void);

#endif
