/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/keys.h"

#include <string.h>

#include "base/must.h"
#include "proto/redis/words.h"

static void add_range(struct request_view *v, uint32_t first, uint32_t count, uint32_t step)
{
    must(v->ranges < KEY_RANGES);
    if (count > 0)
        v->keys[v->ranges++] = (struct key_range){first, count, step};
}

static void range_keys(const struct key_place *k, struct request_view *v)
{
    int64_t last = k->last < 0 ? (int64_t)v->args->count + k->last : k->last;
    if (last >= (int64_t)v->args->count)
        last = (int64_t)v->args->count - 1;
    if (last >= k->first)
        add_range(v, k->first, (uint32_t)(last - k->first) / k->step + 1, k->step);
}

/* Older servers read a sign and leading zeros in a number that newer ones refuse. Wherever such a
 * request goes, it goes to the server of the keys that the most lenient reading finds, so that it
 * can never touch a key that lives elsewhere. */
static uint64_t lenient_number(struct span s)
{
    uint64_t n = 0;
    if (s.len > 0 && s.ptr[0] == '+')
        s = span_from(s, 1);
    return span_u64(s, UINT32_MAX, &n) ? n : 0;
}

static void numbered_keys(const struct key_place *k, struct request_view *v)
{
    if (k->first >= v->args->count)
        return;
    uint64_t behind = v->args->count - k->first - 1;
    uint64_t n = lenient_number(word(v, k->first));
    /* The last key of a step may stand without its value, when the server is to refuse that. */
    if (n > 0 && (n - 1) * k->step < behind)
        add_range(v, k->first + 1u, (uint32_t)n, k->step);
}

struct option {
    struct span name;
    uint8_t values;
};

/* The word that may be an option, as redis sees it: it compares C strings, which end at a NUL. */
static struct span option_word(const struct request_view *v, uint32_t i)
{
    struct span s = word(v, i);
    return span_of(s.ptr, strnlen(s.ptr, s.len));
}

/* The values behind the option `s`; UINT8_MAX if it is none of them. */
static uint8_t option_values(const struct option *options, size_t count, struct span s)
{
    for (size_t i = 0; i < count; i++)
        if (span_ieq(s, options[i].name))
            return options[i].values;
    return UINT8_MAX;
}

/* XREAD and XREADGROUP, walked as redis walks their options; one that a newer server knows is
 * stepped over. False when BLOCK is among them. */
static bool stream_keys(struct request_view *v)
{
    static const struct option options[] = {
        {SPAN("count"), 1}, {SPAN("block"), 1}, {SPAN("group"), 2}, {SPAN("noack"), 0}};
    uint32_t count = v->args->count;
    bool block = false;
    for (uint32_t i = 1; i < count; i++) {
        struct span s = option_word(v, i);
        if (span_ieq(s, SPAN("streams"))) {
            uint32_t streams = count - i - 1;
            if (streams % 2 == 0)
                add_range(v, i + 1, streams / 2, 1);
            break;
        }
        uint8_t values = option_values(options, ARRAY_LEN(options), s);
        if (values == UINT8_MAX)
            continue;
        block = block || span_ieq(s, SPAN("block"));
        i += values;
    }
    return !block;
}

/* SORT and GEORADIUS: the last STORE or STOREDIST counts; values of other options are stepped over.
 */
static void stored_key(const struct key_place *k, struct request_view *v)
{
    static const struct option options[] = {{SPAN("by"), 1},    {SPAN("get"), 1},
                                            {SPAN("limit"), 2}, {SPAN("count"), 1},
                                            {SPAN("store"), 1}, {SPAN("storedist"), 1}};
    uint32_t found = 0;
    for (uint32_t i = k->first; i + 1 < v->args->count; i++) {
        struct span s = option_word(v, i);
        uint8_t values = option_values(options, ARRAY_LEN(options), s);
        if (values == UINT8_MAX)
            continue;
        if (span_ieq(s, SPAN("store")) || span_ieq(s, SPAN("storedist")))
            found = i + 1;
        i += values;
    }
    if (found != 0)
        add_range(v, found, 1, 1);
}

bool keys_find_all(const struct command *c, struct request_view *v)
{
    bool ready = true;
    for (size_t i = 0; i < COMMAND_PLACES; i++) {
        const struct key_place *k = &c->places[i];
        if (k->kind == PLACE_RANGE)
            range_keys(k, v);
        else if (k->kind == PLACE_NUMKEYS)
            numbered_keys(k, v);
        else if (k->kind == PLACE_STREAMS)
            ready = stream_keys(v);
        else if (k->kind == PLACE_STORE)
            stored_key(k, v);
    }
    return ready;
}
