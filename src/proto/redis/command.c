/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/command.h"

#include <endian.h>
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

static const struct command *find(const struct folded *f)
{
    uint64_t h = 0;
    for (size_t i = 0; i < f->words; i++)
        h = (h ^ f->word[i]) * multiplier;
    for (size_t at = h >> (64 - SLOT_BITS); slots[at] != 0; at = (at + 1) % ARRAY_LEN(slots))
        if (is_named(&rows[slots[at] - 1], f))
            return &rows[slots[at] - 1];
    return NULL;
}

static const struct command *find_text(struct span text, bool sub)
{
    struct folded f = {.len = text.len, .sub = sub};
    if (text.len == 0 || text.len >= COMMAND_NAME)
        return NULL;
    for (size_t at = 0; at < text.len; at += WORD) {
        size_t left = text.len - at;
        f.word[f.words++] = lower(load_part(text.ptr + at, left < WORD ? left : WORD));
    }
    return find(&f);
}

/* A name of at most one word, as nearly all are: the same search, without loops. */
static const struct command *find_short(struct span name)
{
    uint64_t word = lower(load_part(name.ptr, name.len));
    size_t at = word * multiplier >> (64 - SLOT_BITS);
    for (; slots[at] != 0; at = (at + 1) % ARRAY_LEN(slots)) {
        const struct command *c = &rows[slots[at] - 1];
        if (word_load(c->name) == word && c->len == name.len && !c->sub)
            return c;
    }
    return NULL;
}

const struct command *command_find(struct span name)
{
    bool is_short = name.len > 0 && name.len <= WORD;
    return is_short ? find_short(name) : find_text(name, false);
}

const struct command *command_find_sub(const struct command *container, struct span sub)
{
    char text[COMMAND_NAME];
    size_t len = container->len;
    if (sub.len >= COMMAND_NAME - 1 - len)
        return NULL;
    memcpy(text, container->name, len);
    text[len] = '|';
    memcpy(text + len + 1, sub.ptr, sub.len);
    return find_text(span_of(text, len + 1 + sub.len), true);
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
