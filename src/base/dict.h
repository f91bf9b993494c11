/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit dict is a hash table of nodes that are embedded in its elements. The names in it come from
 * clients, so they are hashed by a keyed function (SipHash-1-3, Aumasson and Bernstein 2012): who does
 * not know the key can't choose names that all fall into one place. */
#ifndef BASE_DICT_H
#define BASE_DICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/must.h"
#include "base/span.h"

struct dict_node {
    struct dict_node *next;
    uint64_t hash;
};

struct dict {
    struct dict_node **slots; /* a power of two of them; NULL while it never had a node */
    size_t slot_count;
    size_t count; /* nodes in it */
    uint64_t key[2];
};

/** An empty one; `key` is secret and random. Allocates nothing yet. */
void dict_init(struct dict *d, const uint64_t key[2]);

uint64_t dict_hash(const struct dict *d, struct span name);

/** The first node of that hash, and the next one of the same; NULL: there is none. */
struct dict_node *dict_first(const struct dict *d, uint64_t hash);
struct dict_node *dict_next(const struct dict_node *n);

/** Adds a node. False if memory is out: nothing changed. */
must_check bool dict_add(struct dict *d, struct dict_node *n, uint64_t hash);

/** Takes a node out, which must be in it. */
void dict_remove(struct dict *d, struct dict_node *n);

/** Calls `visit` for each node, which may neither add nor remove any. */
void dict_each(const struct dict *d, void (*visit)(struct dict_node *n, void *arg), void *arg);

/** Memory that it has allocated. */
static inline size_t dict_memory(const struct dict *d)
{
    return d->slot_count * sizeof(struct dict_node *);
}

/** Frees it. The nodes are their owners'. */
void dict_free(struct dict *d);

#endif
