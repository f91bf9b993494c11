/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit key is the tables of keys, pool_keys.def and global_keys.def, and turns the text of a value
 * into the member of the struct that its row stands for. */
#ifndef CONF_KEY_H
#define CONF_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/must.h"
#include "base/span.h"
#include "conf/conf.h"
#include "conf/why.h"

enum key_type {
    KEY_ENDPOINT,
    KEY_SERVERS, /* no single value, as the next */
    KEY_COMMANDS,
    KEY_BOOL,
    KEY_NUMBER,
    KEY_SIZE, /* bytes; k, m or g behind it: so many KiB, MiB, GiB */
    KEY_WORKERS,
    KEY_TEXT,
    KEY_TAG,
    KEY_LOOP,
    KEY_HASH,
    KEY_DIST,
    KEY_ON_EJECT,
    KEY_SHARE, /* a number, or one with % */
};

struct key {
    const char *name;
    enum key_type type;
    size_t offset; /* of the member */
    const char
        *value; /* the default, as a user would write it; NULL: none; key_required: must be given */
    int64_t min;
    int64_t max;
    const char *unit;   /* or NULL */
    const char *change; /* when a new value takes effect */
    const char *text;
};

struct key_table {
    const char *what; /* "a key of a pool" */
    const struct key *keys;
    const char *const *names; /* of the same keys */
    size_t count;
};

enum {
    POOL_KEYS = 0
#define KEY(name, type, value, min, max, unit, change, text) +1
#include "pool_keys.def"
#undef KEY
};

extern const char key_required[];
extern const struct key_table pool_keys;
extern const struct key_table global_keys;

/** The key of that name, or NULL. */
const struct key *key_find(const struct key_table *table, struct span name);

/** Reads `text` into the member of `object`, freeing what was there. False: the reason is in `why`,
 * nothing was changed. */
must_check bool key_set(const struct key *key, struct span text, void *object, struct why *why);

/** Sets all members of a zeroed `object` to their defaults. False if memory is out. */
must_check bool key_defaults(const struct key_table *table, void *object);

/** Frees what key_set() allocated in `object`; servers are not touched. */
void key_free(const struct key_table *table, void *object);

/** Copies one member from `from` to `to`, freeing what was there; not of endpoints and servers.
 * False if memory is out. */
must_check bool key_copy(const struct key *key, void *to, const void *from);

/** Writes the value in `object` as a user would write it, cut to `size`; of servers their number, of a
 * password only whether there is one. "" if there is none. Returns `text`. */
const char *key_show(const struct key *key, const void *object, char *text, size_t size);

/** Writes `before` and what values a key allows, as in "0 to 11" or "true, false"; nothing for free
 * text. */
void key_write_allowed(const struct key *key, const char *before, FILE *out);

/** The name of its type as people say it. */
const char *key_type_name(enum key_type type);

#endif
