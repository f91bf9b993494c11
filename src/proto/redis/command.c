/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/command.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/word.h"

/* The columns of the tables. */
#define NONE                                                                                       \
    {                                                                                              \
        PLACE_NONE, 0, 0, 1                                                                        \
    }
#define RANGE(first, last, step)                                                                   \
    {                                                                                              \
        PLACE_RANGE, first, last, step                                                             \
    }
#define NUMKEYS(at, step)                                                                          \
    {                                                                                              \
        PLACE_NUMKEYS, at, 0, step                                                                 \
    }
#define STREAMS                                                                                    \
    {                                                                                              \
        PLACE_STREAMS, 0, 0, 1                                                                     \
    }
#define STORE(start)                                                                               \
    {                                                                                              \
        PLACE_STORE, start, 0, 1                                                                   \
    }
#define COMMAND(name, arity, class, intent, keys, more)                                            \
    {name,                                                                                         \
     {keys, more},                                                                                 \
     arity,                                                                                        \
     CLASS_##class,                                                                                \
     sizeof(name) - 1,                                                                             \
     false,                                                                                        \
     INTENT_##intent == INTENT_WRITE},
#define SUBCOMMAND(name, arity, class, intent, keys, more)                                         \
    {name,                                                                                         \
     {keys, more},                                                                                 \
     arity,                                                                                        \
     CLASS_##class,                                                                                \
     sizeof(name) - 1,                                                                             \
     true,                                                                                         \
     INTENT_##intent == INTENT_WRITE},

static const struct command rows[] = {
#include "redis_overrides.def"

#include "redis_commands.def"
};

static const uint16_t slots[] = {
#include "redis_slots.def"
};

/* Must be what scripts/gen-commands.py has. */
static const uint64_t multiplier = 0x9E3779B97F4A7C15u;
enum { SLOT_BITS = 10, WORD = 8 };
_Static_assert(ARRAY_LEN(slots) == 1 << SLOT_BITS, "the table of slots has its size");

/* Open addressing over rows: a slot is the number of a row plus one, 0 where none is. */
struct command_table {
    const struct command *rows;
    const uint16_t *slots;
    uint32_t bits; /* there are 1 << bits slots */
    uint32_t count;
};

static const struct command_table usual = {rows, slots, SLOT_BITS, ARRAY_LEN(rows)};

/* A name in lower case as little-endian words, the last padded with zeros: so it is hashed and
 * compared. */
struct folded {
    uint64_t word[COMMAND_NAME / WORD];
    size_t words;
    size_t len;
    bool sub;
};

static uint64_t load32(const char *p)
{
    uint32_t w = 0;
    memcpy(&w, p, sizeof(w));
    return le32toh(w);
}

/* The first `len` bytes (1 to 8) of `p`, and no byte behind them: two loads that overlap are faster
 * than a copy. */
static uint64_t load_part(const char *p, size_t len)
{
    if (len >= 4)
        return load32(p) | load32(p + len - 4) << (8 * (len - 4));
    uint64_t first = (unsigned char)p[0];
    uint64_t middle = (unsigned char)p[len / 2];
    uint64_t last = (unsigned char)p[len - 1];
    return first | middle << (8 * (len / 2)) | last << (8 * (len - 1));
}

/* Eight bytes to lower case at once: a byte from 'A' to 'Z' gets its bit 0x20. */
static uint64_t lower(uint64_t w)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t low7 = w & (ones * 0x7f);
    uint64_t from_a = low7 + ones * (0x80 - 'A');
    uint64_t past_z = low7 + ones * (0x7f - 'Z');
    uint64_t upper = (from_a ^ past_z) & ~w & (ones * 0x80);
    return w | (upper >> 2);
}

static bool is_named(const struct command *c, const struct folded *f)
{
    /* The length too: a NUL in a name looks like the padding. */
    if (c->len != f->len || c->sub != f->sub)
        return false;
    size_t i = 0;
    while (i < f->words && word_load(c->name + i * WORD) == f->word[i])
        i++;
    return i == f->words;
}

static uint64_t hash_of(const struct folded *f)
{
    uint64_t h = 0;
    for (size_t i = 0; i < f->words; i++)
        h = (h ^ f->word[i]) * multiplier;
    return h;
}

static const struct command *find(const struct command_table *t, const struct folded *f)
{
    size_t at = hash_of(f) >> (64 - t->bits);
    for (; t->slots[at] != 0; at = (at + 1) & (((size_t)1 << t->bits) - 1))
        if (is_named(&t->rows[t->slots[at] - 1], f))
            return &t->rows[t->slots[at] - 1];
    return NULL;
}

static bool fold(struct span text, bool sub, struct folded *f)
{
    *f = (struct folded){.len = text.len, .sub = sub};
    if (text.len == 0 || text.len >= COMMAND_NAME)
        return false;
    for (size_t at = 0; at < text.len; at += WORD) {
        size_t left = text.len - at;
        f->word[f->words++] = lower(load_part(text.ptr + at, left < WORD ? left : WORD));
    }
    return true;
}

static const struct command *find_text(const struct command_table *t, struct span text, bool sub)
{
    struct folded f;
    return fold(text, sub, &f) ? find(t, &f) : NULL;
}

/* A name of at most one word, as nearly all are: the same search, without loops. */
static inline const struct command *find_short(const struct command_table *t, struct span name)
{
    uint64_t word = lower(load_part(name.ptr, name.len));
    size_t mask = ((size_t)1 << t->bits) - 1;
    size_t at = word * multiplier >> (64 - t->bits);
    for (; t->slots[at] != 0; at = (at + 1) & mask) {
        const struct command *c = &t->rows[t->slots[at] - 1];
        if (word_load(c->name) == word && c->len == name.len && !c->sub)
            return c;
    }
    return NULL;
}

const struct command *command_find(const struct command_table *t, struct span name)
{
    bool is_short = name.len > 0 && name.len <= WORD;
    /* Of the usual table everything is known to the compiler. */
    if (t == NULL)
        return is_short ? find_short(&usual, name) : find_text(&usual, name, false);
    return is_short ? find_short(t, name) : find_text(t, name, false);
}

const struct command *command_find_sub(const struct command_table *t,
                                       const struct command *container, struct span sub)
{
    char text[COMMAND_NAME];
    size_t len = container->len;
    if (sub.len >= COMMAND_NAME - 1 - len)
        return NULL;
    memcpy(text, container->name, len);
    text[len] = '|';
    memcpy(text + len + 1, sub.ptr, sub.len);
    return find_text(t == NULL ? &usual : t, span_of(text, len + 1 + sub.len), true);
}

const struct command *command_row(uint32_t i)
{
    return i < ARRAY_LEN(rows) ? &rows[i] : NULL;
}

enum command_way command_way(enum command_class class)
{
    static const uint8_t ways[] = {
#define CLASS(name, way, text) WAY_##way,
#include "redis_classes.def"
#undef CLASS
    };
    return (enum command_way)ways[class];
}

/* ---- a pool's own ---- */

static void slot_add(struct command_table *t, uint16_t *to, uint32_t row)
{
    struct folded f;
    const struct command *c = &t->rows[row];
    must(fold(span_of(c->name, c->len), c->sub, &f));
    size_t at = hash_of(&f) >> (64 - t->bits);
    while (to[at] != 0)
        at = (at + 1) & (((size_t)1 << t->bits) - 1);
    to[at] = (uint16_t)(row + 1);
}

/* Who may set what servers can be told may read it there, too. */
static bool settings_are_open(const struct proto_commands *conf)
{
    for (uint32_t row = 0; row < ARRAY_LEN(rows); row++)
        if (span_eq(span_of(rows[row].name, rows[row].len), SPAN("config|set")))
            return conf->allowed(conf->source, row);
    return false;
}

/* The class of a row, as the configuration has it. */
static uint8_t class_for(const struct proto_commands *conf, uint32_t row)
{
    uint8_t class = rows[row].class;
    if (conf->denied(conf->source, row) && class != CLASS_CONTAINER && class != CLASS_REFUSED)
        return CLASS_DENIED;
    if (class == CLASS_CONFIG_GET && settings_are_open(conf))
        return CLASS_CONFIG_ASK;
    bool shut = class == CLASS_ADMIN || class == CLASS_FLUSH;
    return shut && conf->allowed(conf->source, row) ? CLASS_ALL_OK : class;
}

static struct command custom_row(const struct proto_custom *custom)
{
    struct command c = {.class = custom->first == 0 ? CLASS_ANY : CLASS_FORWARD,
                        .len = (uint8_t)custom->name.len,
                        .write = custom->write};
    struct folded f;
    must(fold(custom->name, false, &f));
    for (size_t i = 0; i < f.words; i++) {
        uint64_t word = htole64(f.word[i]);
        memcpy(c.name + i * WORD, &word, WORD);
    }
    c.arity = custom->first == 0 ? -1 : (int16_t)(-1 - custom->first);
    c.places[0] = (struct key_place){PLACE_NONE, 0, 0, 1};
    c.places[1] = c.places[0];
    if (custom->first > 0)
        c.places[0] = (struct key_place){custom->counted ? PLACE_NUMKEYS : PLACE_RANGE,
                                         custom->first, custom->last, custom->step};
    return c;
}

/* The user's commands come first, so that they are found before one of the same name. */
static void table_fill(struct command_table *t, struct command *to, uint16_t *index,
                       const struct proto_commands *conf)
{
    for (uint32_t i = 0; i < conf->custom_count; i++)
        to[i] = custom_row(&conf->custom[i]);
    for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
        to[conf->custom_count + i] = rows[i];
        to[conf->custom_count + i].class = class_for(conf, i);
    }
    for (uint32_t i = 0; i < t->count; i++)
        slot_add(t, index, i);
}

void *command_table_new(const struct proto_commands *conf)
{
    if (conf->custom_count > UINT16_MAX / 4)
        return NULL;
    uint32_t count = conf->custom_count + (uint32_t)ARRAY_LEN(rows);
    uint32_t bits = SLOT_BITS;
    while (count * 2 > 1u << bits)
        bits++;
    size_t rows_at = sizeof(struct command_table);
    size_t slots_at = rows_at + count * sizeof(struct command);
    char *block = calloc(1, slots_at + sizeof(uint16_t) * ((size_t)1 << bits));
    if (block == NULL)
        return NULL;
    struct command *to = (struct command *)(void *)(block + rows_at);
    uint16_t *index = (uint16_t *)(void *)(block + slots_at);
    struct command_table *t = (struct command_table *)(void *)block;
    *t = (struct command_table){to, index, bits, count};
    table_fill(t, to, index, conf);
    return t;
}

void command_table_free(void *commands)
{
    free(commands);
}
