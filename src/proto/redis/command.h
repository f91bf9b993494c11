/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit command is the table of redis commands: what each needs, where its keys lie, and what the
 * proxy does with it. */
#ifndef PROTO_REDIS_COMMAND_H
#define PROTO_REDIS_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "proto/proto.h"

/** What the proxy does with a command. */
enum command_class {
#define CLASS(name, way, text) CLASS_##name,
#include "redis_classes.def"
#undef CLASS
};

/** Ways of carrying it out, each of several classes. */
enum command_way {
    WAY_FORWARD,
    WAY_SINGLE,
    WAY_SPLIT,
    WAY_BROADCAST,
    WAY_CURSOR,
    WAY_LOCAL,
    WAY_TELL,
    WAY_TRANSACTION,
    WAY_BLOCK,
    WAY_WAIT,
    WAY_ASIDE,
    WAY_PUBSUB,
    WAY_SESSION,
    WAY_REFUSE,
};

enum command_way command_way(enum command_class class);

enum command_intent { INTENT_READ, INTENT_WRITE };

/** How keys are found among the words of a request; see redis_overrides.def. */
enum place_kind { PLACE_NONE, PLACE_RANGE, PLACE_NUMKEYS, PLACE_STREAMS, PLACE_STORE };

/** One place where keys lie. `first` is the word that the place begins with. */
struct key_place {
    uint8_t kind;
    uint8_t first;
    int8_t last; /* RANGE: its last word, counted from the end when negative */
    uint8_t step;
};

enum { COMMAND_NAME = 40, COMMAND_PLACES = 2 };

struct command {
    char name[COMMAND_NAME]; /* lower case, zeros behind it; `container|subcommand` for a subcommand
                              */
    struct key_place places[COMMAND_PLACES];
    int16_t arity; /* words, the name included; negative: at least so many */
    uint8_t class; /* enum command_class */
    uint8_t len;   /* of the name */
    bool sub;      /* found by command_find_sub() alone */
    bool write;
};

struct command_table;

/** The row of the command `name`, in any case, of a pool's own table or (NULL) of the usual one; NULL if
 * there is none. */
const struct command *command_find(const struct command_table *t, struct span name);

/** The row of subcommand `sub` of `container`, in any case; NULL if there is none. */
const struct command *command_find_sub(const struct command_table *t,
                                       const struct command *container, struct span sub);

/** command_table_new and command_table_free of proto_redis. */
void *command_table_new(const struct proto_commands *conf);
void command_table_free(void *commands);

/** Row number `i` of the usual table, NULL behind its end. */
const struct command *command_row(uint32_t i);

#endif
