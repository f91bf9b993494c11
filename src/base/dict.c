/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/dict.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

/* Slots of the first table, and of the smallest to which it shrinks. */
enum { SLOTS_FIRST = 64 };
/* It shrinks when fewer than one slot in so many would be in use. */
enum { SPARSE = 8 };

struct sip {
    uint64_t v[4];
};

static uint64_t turned(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

static void sip_round(struct sip *s)
{
    uint64_t *v = s->v;
    v[0] += v[1];
    v[2] += v[3];
    v[1] = turned(v[1], 13) ^ v[0];
    v[3] = turned(v[3], 16) ^ v[2];
    v[0] = turned(v[0], 32) + v[3];
    v[2] += v[1];
    v[3] = turned(v[3], 21) ^ v[0];
    v[1] = turned(v[1], 17) ^ v[2];
    v[2] = turned(v[2], 32);
}

static void sip_word(struct sip *s, uint64_t word)
{
    s->v[3] ^= word;
    sip_round(s);
    s->v[0] ^= word;
}

/* Up to eight bytes as a number, the first the lowest. */
static uint64_t load(const char *p, size_t len)
{
    uint64_t word = 0;
    if (len > 0)
        memcpy(&word, p, len);
    return le64toh(word);
}

uint64_t dict_hash(const struct dict *d, struct span name)
{
    struct sip s = {{d->key[0] ^ 0x736f6d6570736575u, d->key[1] ^ 0x646f72616e646f6du,
                     d->key[0] ^ 0x6c7967656e657261u, d->key[1] ^ 0x7465646279746573u}};
    size_t at = 0;
    for (; name.len - at >= 8; at += 8)
        sip_word(&s, load(name.ptr + at, 8));
    sip_word(&s, load(span_from(name, at).ptr, name.len - at) | (uint64_t)name.len << 56);
    s.v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(&s);
    return s.v[0] ^ s.v[1] ^ s.v[2] ^ s.v[3];
}

void dict_init(struct dict *d, const uint64_t key[2])
{
    *d = (struct dict){.key = {key[0], key[1]}};
}

static struct dict_node **slot_of(const struct dict *d, uint64_t hash)
{
    return &d->slots[hash & (d->slot_count - 1)];
}

static struct dict_node *same(struct dict_node *n, uint64_t hash)
{
    while (n != NULL && n->hash != hash)
        n = n->next;
    return n;
}

struct dict_node *dict_first(const struct dict *d, uint64_t hash)
{
    return d->count == 0 ? NULL : same(*slot_of(d, hash), hash);
}

struct dict_node *dict_next(const struct dict_node *n)
{
    return same(n->next, n->hash);
}

static void put(struct dict *d, struct dict_node *n)
{
    struct dict_node **slot = slot_of(d, n->hash);
    n->next = *slot;
    *slot = n;
}

/* Moves all nodes to a table of so many slots. False if memory is out: nothing changed. */
static bool resize(struct dict *d, size_t slot_count)
{
    struct dict old = *d;
    struct dict_node **slots = calloc(slot_count, sizeof(struct dict_node *));
    if (slots == NULL)
        return false;
    d->slots = slots;
    d->slot_count = slot_count;
    for (size_t i = 0; i < old.slot_count; i++) {
        while (old.slots[i] != NULL) {
            struct dict_node *n = old.slots[i];
            old.slots[i] = n->next;
            put(d, n);
        }
    }
    free(old.slots);
    return true;
}

bool dict_add(struct dict *d, struct dict_node *n, uint64_t hash)
{
    /* Without memory a full table is slower, no more. */
    bool full = d->count == d->slot_count;
    if (full && !resize(d, d->slot_count == 0 ? SLOTS_FIRST : d->slot_count * 2) &&
        d->slot_count == 0)
        return false;
    n->hash = hash;
    put(d, n);
    d->count++;
    return true;
}

void dict_remove(struct dict *d, struct dict_node *n)
{
    struct dict_node **at = slot_of(d, n->hash);
    while (*at != n) {
        must(*at != NULL);
        at = &(*at)->next;
    }
    *at = n->next;
    n->next = NULL;
    d->count--;
    if (d->slot_count > SLOTS_FIRST && d->count < d->slot_count / SPARSE)
        (void)resize(d, d->slot_count / 2);
}

void dict_each(const struct dict *d, void (*visit)(struct dict_node *n, void *arg), void *arg)
{
    for (size_t i = 0; i < d->slot_count; i++)
        for (struct dict_node *n = d->slots[i]; n != NULL; n = n->next)
            visit(n, arg);
}

void dict_free(struct dict *d)
{
    free(d->slots);
    d->slots = NULL;
    d->slot_count = 0;
    d->count = 0;
}
