/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit conf is a configuration file as data: read, checked as a whole, immutable. */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/must.h"
#include "conf/place.h"

/** An endpoint as written. */
struct conf_endpoint {
    char *text; /* as written, without weight, name and permissions: "127.0.0.1:6379",
                   "/run/redis.sock" */
    char *host; /* host name or literal, brackets of IPv6 removed; NULL for a unix socket */
    char *path; /* unix socket, or NULL */
    uint16_t port;
    int mode; /* permissions of a unix listen socket, or -1 */
};

struct conf_server {
    struct conf_endpoint at;
    char *name; /* what is hashed and shown in the stats: twemproxy's rule */
    uint32_t weight;
};

/** A number of things, or a share of all of them. */
struct conf_share {
    int64_t number;
    bool percent; /* `number` is one of 0 to 100 */
};

/** What becomes of the keys of an ejected server. */
enum on_eject {
#define ON_EJECT(name, symbol, text) ON_EJECT_##symbol,
#include "on_ejects.def"
#undef ON_EJECT
};

/** What the key `commands` says of a command of the table. */
enum conf_verdict {
    VERDICT_USUAL,
    VERDICT_DENY,
    VERDICT_ALLOW, /* also where a pool has to allow it first */
};

enum conf_custom_keys { CUSTOM_NONE, CUSTOM_RANGE, CUSTOM_NUMKEYS };

/** A command that is in no table. */
struct conf_custom {
    char *name;
    bool write;
    uint8_t keys;  /* enum conf_custom_keys */
    uint8_t first; /* RANGE: the first word that is a key; NUMKEYS: the word that counts them */
    int8_t last;   /* RANGE: the last one, from the end when negative */
    uint8_t step;
};

struct conf_commands {
    uint8_t
        *verdicts; /* one for each row of redis_overrides.def, then redis_commands.def; NULL: all
                          as usual */
    struct conf_custom *custom;
    uint32_t custom_count;
};

/* The members that rows of pool_keys.def and global_keys.def stand for, by type. */
#define CONF_MEMBER_ENDPOINT(name) struct conf_endpoint name;
#define CONF_MEMBER_SERVERS(name)                                                                  \
    struct conf_server *name; /* sorted as twemproxy sorts: by length of the name, then bytes */   \
    uint32_t server_count;
#define CONF_MEMBER_COMMANDS(name) struct conf_commands name;
#define CONF_MEMBER_BOOL(name) bool name;
#define CONF_MEMBER_NUMBER(name) int64_t name; /* in the unit of its row */
#define CONF_MEMBER_SIZE(name) int64_t name;   /* bytes */
#define CONF_MEMBER_WORKERS(name)                                                                  \
    int64_t name;                          /* 0: auto, one for each processor it may run on        \
                                            */
#define CONF_MEMBER_TEXT(name) char *name; /* or NULL */
#define CONF_MEMBER_TAG(name) char *name;  /* two bytes, or NULL */
#define CONF_MEMBER_LOOP(name) char *name; /* a name of loops.def */
#define CONF_MEMBER_HASH(name) int name;   /* index in hashes.def */
#define CONF_MEMBER_DIST(name) int name;   /* index in dists.def */
#define CONF_MEMBER_ON_EJECT(name) int name; /* index in on_ejects.def */
#define CONF_MEMBER_SHARE(name) struct conf_share name;

/** A pool: one member for each row of pool_keys.def. */
struct conf_pool {
    char *name;
    int line; /* of its name in the file */
#define KEY(name, type, value, min, max, unit, change, text) CONF_MEMBER_##type(name)
#include "pool_keys.def"
#undef KEY
};

/** Bits of struct conf_global's `given`. */
enum conf_global_key {
#define KEY(name, type, value, min, max, unit, change, text) GLOBAL_##name,
#include "global_keys.def"
#undef KEY
    GLOBAL_KEYS
};

/** Settings of the process, one member for each row of global_keys.def: of the mapping `global:`,
 * or of the command line. What is not given has its default. */
struct conf_global {
    uint32_t given;               /* bit (1 << GLOBAL_x): x was set, not left at its default */
    struct place at[GLOBAL_KEYS]; /* where x stands in the file; line 0: not there */
#define KEY(name, type, value, min, max, unit, change, text) CONF_MEMBER_##type(name)
#include "global_keys.def"
#undef KEY
};

struct conf {
    char *file;
    struct conf_global global;
    struct conf_pool *pools; /* sorted as twemproxy sorts: by length of the name, then bytes */
    uint32_t pool_count;
};

/** Reads and checks `file`. On failure returns NULL after writing every error found to `errors`,
 * each as `file:line:col: error: text`; an error of no place, such as a file that can't be opened,
 * is `file: error: text`. `*was_read`: it could be read, right or wrong. */
must_check struct conf *conf_load(const char *file, FILE *errors, bool *was_read);

/** As conf_load(), of `text` (for tests and fuzzing); `file` is only shown. */
must_check struct conf *conf_parse(const char *file, const char *text, size_t len, FILE *errors);

void conf_free(struct conf *c);

/** Sets every member to its default, nothing given. False if memory is out. */
must_check bool conf_global_init(struct conf_global *g);

/** Gives every setting that `g` has not been given the value that `under` was given, if it was: so
 * the command line is stronger than the file. False if memory is out. */
must_check bool conf_global_merge(struct conf_global *g, const struct conf_global *under);

/** Begins the line of an error about that setting: `file:line:col: error: ` where it stands in the file, else
 * `error: `. */
void conf_global_blame(const struct conf *c, const struct conf_global *g, enum conf_global_key key,
                       FILE *out);

void conf_global_free(struct conf_global *g);

/** Writes every key with type, default, range, unit and text: for --describe-config. */
void conf_describe(FILE *out);

#endif
