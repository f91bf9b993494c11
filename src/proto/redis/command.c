/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/command.h"

#include <endian.h>
#include <string.h>

#include "base/must.h"

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
    {name, {keys, more}, arity, CLASS_##class, false, INTENT_##intent == INTENT_WRITE},
#define SUBCOMMAND(name, arity, class, intent, keys, more)                                         \
    {name, {keys, more}, arity, CLASS_##class, true, INTENT_##intent == INTENT_WRITE},

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

/* A name in lower case, zeros behind it, as its words are hashed and compared. */
struct folded {
    uint64_t word[COMMAND_NAME / WORD];
    size_t words;
};

static uint64_t load(const char *p)
{
    uint64_t w = 0;
    memcpy(&w, p, sizeof(w));
    return w;
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

static const struct command *find(const struct folded *f, bool sub)
{
    uint64_t h = 0;
    for (size_t i = 0; i < f->words; i++)
        h = (h ^ le64toh(f->word[i])) * multiplier;
    for (size_t at = h >> (64 - SLOT_BITS); slots[at] != 0; at = (at + 1) % ARRAY_LEN(slots)) {
        const struct command *c = &rows[slots[at] - 1];
        size_t i = 0;
        while (i < f->words && load(c->name + i * WORD) == f->word[i])
            i++;
        /* The row's name must end where this one ends. */
        if (i == f->words && (i == COMMAND_NAME / WORD || c->name[i * WORD] == '\0'))
            return c->sub == sub ? c : NULL;
    }
    return NULL;
}

static const struct command *find_text(const char text[COMMAND_NAME], size_t len, bool sub)
{
    struct folded f = {.words = (len + WORD - 1) / WORD};
    for (size_t i = 0; i < f.words; i++)
        f.word[i] = lower(load(text + i * WORD));
    return find(&f, sub);
}

const struct command *command_find(struct span name)
{
    char text[COMMAND_NAME] = {0};
    if (name.len == 0 || name.len >= COMMAND_NAME)
        return NULL;
    /* A NUL would look like the padding. */
    if (memchr(name.ptr, '\0', name.len) != NULL)
        return NULL;
    memcpy(text, name.ptr, name.len);
    return find_text(text, name.len, false);
}

const struct command *command_find_sub(const struct command *container, struct span sub)
{
    char text[COMMAND_NAME] = {0};
    size_t len = strlen(container->name);
    if (sub.len == 0 || sub.len >= COMMAND_NAME - 1 - len || memchr(sub.ptr, '\0', sub.len) != NULL)
        return NULL;
    memcpy(text, container->name, len);
    text[len] = '|';
    memcpy(text + len + 1, sub.ptr, sub.len);
    return find_text(text, len + 1 + sub.len, true);
}

const struct command *command_row(uint32_t i)
{
    return i < ARRAY_LEN(rows) ? &rows[i] : NULL;
}
