/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/advice.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/must.h"
#include "route/hash.h"

/* Functions with which keys that differ in their last character only (of ASCII) have hashes that are at most so far
 * apart. fnv1a multiplies a difference of up to 127 by 435 (0x1b3); the others do not multiply it any more; crc16 spreads
 * it over its lower half. */
static const struct {
    enum hash_kind hash;
    unsigned apart;
} clustering[] = {
    {HASH_fnv1a_64, 127 * 435}, {HASH_fnv1_64, 127}, {HASH_fnv1_32, 127}, {HASH_crc16, 65535}};

struct list {
    struct advice *all;
    size_t count;
};

static void add(struct list *list, bool warning, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void add(struct list *list, bool warning, const char *fmt, ...)
{
    va_list args;
    must(list->count < ADVICE_MAX);
    struct advice *a = &list->all[list->count++];
    a->warning = warning;
    va_start(args, fmt);
    vsnprintf(a->text, sizeof(a->text), fmt, args);
    va_end(args);
}

static uint32_t largest(const struct spread *s)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < s->conf->server_count; i++)
        if (s->shares[i] > s->shares[best])
            best = i;
    return best;
}

static void about_hash(struct list *list, const struct spread *s)
{
    if (s->conf->distribution != DIST_ketama || s->conf->server_count < 2)
        return;
    if (s->conf->hash == HASH_crc32) {
        uint32_t server = largest(s);
        add(list, true,
            "crc32 gives hashes of 15 bits only, which on a ring of 32 bits lie side by side: %.2f "
            "%% of the keys go "
            "to '%.64s'. Another hash (crc32a, for example) spreads them, but moves them",
            s->shares[server] * 100, s->conf->servers[server].name);
    }
    for (size_t i = 0; i < ARRAY_LEN(clustering); i++)
        if (s->conf->hash == (int)clustering[i].hash)
            add(list, false,
                "keys that differ only in their last character have hashes at most %u apart, of "
                "4294967296: on the "
                "ring nearly all of them are neighbours, on one server. The shares are those of "
                "keys that differ in "
                "more",
                clustering[i].apart);
}

size_t advice_of_pool(const struct spread *s, struct advice out[ADVICE_MAX])
{
    struct list list = {.all = out};
    if (s->conf->server_count == 1)
        add(&list, false, "there is one server: all keys go to it, whatever their hash");
    else if (s->random)
        add(&list, false,
            "with 'distribution: random' each request goes to any of the servers; keys have no "
            "place, and weights do "
            "not count");
    about_hash(&list, s);
    return list.count;
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static const char *tag_text(const struct conf_pool *conf)
{
    return conf->hash_tag == NULL ? "none" : conf->hash_tag;
}

size_t advice_of_change(const struct spread *old, const struct spread *new,
                        struct advice out[ADVICE_MAX])
{
    struct list list = {.all = out};
    if (old->random || new->random) {
        add(&list, false,
            "with 'distribution: random' keys have no place: nothing can be said about what moves");
        return list.count;
    }
    if (old->conf->hash != new->conf->hash)
        add(&list, true,
            "the hash functions differ, so that nearly every key is hashed elsewhere; the parts "
            "are what is to be "
            "expected of many keys, not counted");
    if (!same_text(old->conf->hash_tag, new->conf->hash_tag))
        add(&list, true,
            "the hash tags differ (%s, then %s): of keys that have one, others may move than is "
            "said here",
            tag_text(old->conf), tag_text(new->conf));
    if (old->conf->redis != new->conf->redis)
        add(&list, true, "one pool is of redis, the other of memcached");
    return list.count;
}
