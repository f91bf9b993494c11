/* SPDX-License-Identifier: BSD-3-Clause */
#include "replies.h"

#include <stdlib.h>
#include <string.h>

#include "answers.h"

enum { BYTEWISE_MAX = 512, PARTS_MAX = 4, KEYS_MAX = 8 };

enum cuts { CUT_NOWHERE, CUT_BY_CHANCE, CUT_EVERYWHERE };

/* Parses one reply from the front of `in`, cut so; `*len` is its bytes. */
static enum parse parse_cut(const struct reply_wire *w, uint8_t expect, struct span in,
                            enum cuts cuts, struct chance *chance, size_t *len, bool *error)
{
    struct reply_parser parser = {0};
    enum parse got = PARSE_MORE;
    *len = 0;
    while (*len < in.len && got == PARSE_MORE) {
        size_t n = in.len - *len;
        size_t used = 0;
        if (cuts != CUT_NOWHERE)
            n = cuts == CUT_EVERYWHERE ? 1 : 1 + chance_under(chance, n < 20 ? n : 20);
        char *exact = malloc(n);
        must(exact != NULL);
        memcpy(exact, in.ptr + *len, n);
        got = w->proto->parse_reply(&parser, expect, span_of(exact, n), &used);
        must(used <= n);
        must(got != PARSE_MORE || used == n); /* every byte is consumed as it comes */
        *len += used;
        free(exact);
    }
    *error = parser.error;
    w->proto->reply_reset(&parser);
    return got;
}

/* One reply from the front of `in`, cut in every way; the parts of a later join. */
static enum parse parse_one(const struct reply_wire *w, uint8_t expect, struct span in,
                            struct chance *chance, struct part_reply *out)
{
    size_t len = 0;
    size_t read = 0;
    bool error = false;
    enum parse got = parse_cut(w, expect, in, CUT_NOWHERE, chance, &len, &error);
    enum cuts most = len > BYTEWISE_MAX ? CUT_BY_CHANCE : CUT_EVERYWHERE;
    for (enum cuts cuts = CUT_BY_CHANCE; cuts <= most; cuts++) {
        size_t cut_len = 0;
        bool cut_error = false;
        must(parse_cut(w, expect, in, cuts, chance, &cut_len, &cut_error) == got);
        must(got != PARSE_DONE || (cut_len == len && cut_error == error));
    }
    if (got == PARSE_DONE)
        must(w->reply(expect, in, &read) == READING_WHOLE && read == len);
    *out = (struct part_reply){.bytes = span_of(in.ptr, len), .error = error};
    return got;
}

static void check_joined(const struct reply_wire *w, uint8_t expect, const struct chain *joined)
{
    struct buf whole = {0};
    struct reply_parser parser = {0};
    size_t used = 0;
    for (const struct chunk *k = joined->first; k != NULL; k = k->next)
        put(&whole, span_of(k->data + k->head, k->tail - k->head));
    must(w->proto->parse_reply(&parser, expect, buf_span(&whole), &used) == PARSE_DONE);
    must(used == buf_len(&whole));
    w->proto->reply_reset(&parser);
    must(w->reply(expect, buf_span(&whole), &used) == READING_WHOLE && used == buf_len(&whole));
    buf_free(&whole);
}

static void join(const struct reply_wire *w, size_t which, const struct part_reply *parts,
                 uint32_t count, struct chance *chance)
{
    struct chunk_pool pool = {0};
    struct chain joined = {0};
    uint16_t part_of[KEYS_MAX];
    uint32_t keys = (uint32_t)chance_under(chance, KEYS_MAX + 1 - count) + count;
    uint32_t bad = UINT32_MAX;
    for (uint32_t i = 0; i < keys; i++)
        part_of[i] = (uint16_t)(i < count ? i : chance_under(chance, count));
    if (w->proto->join(w->joins[which], parts, count, part_of, keys, &pool, &joined, &bad))
        check_joined(w, w->join_expects[which], &joined);
    else
        must(bad == UINT32_MAX || bad < count);
    must(bad == UINT32_MAX || chain_empty(&joined));
    chain_clear(&joined, &pool);
    must(pool.bytes == 0);
    chunk_pool_free(&pool);
}

/* A shard that gave no reply at all. */
static struct part_reply no_reply(const struct reply_wire *w, struct buf *line)
{
    must(w->proto->error(line, SPAN("Connection refused (server 'x')")));
    return (struct part_reply){.bytes = buf_span(line), .failed = true};
}

static void play_joins(const struct reply_wire *w, uint8_t expect, const struct part_reply *parts,
                       uint32_t count, struct chance *chance)
{
    struct buf line = {0};
    struct part_reply some[PARTS_MAX + 1];
    for (size_t i = 0; i < w->join_count; i++)
        if (w->join_expects[i] == expect)
            join(w, i, parts, count, chance);
    memcpy(some, parts, count * sizeof(*parts));
    some[count] = no_reply(w, &line);
    for (size_t i = 0; i < w->join_count; i++)
        if (w->join_expects[i] == expect)
            join(w, i, some, count + 1, chance);
    buf_free(&line);
}

void replies_play(const struct reply_wire *w, struct input in)
{
    struct part_reply parts[PARTS_MAX];
    uint8_t expect = w->expects[input_byte(&in) % w->expect_count];
    struct chance chance = chance_of(input_byte(&in));
    struct span rest = input_bytes(&in, in.left);
    uint32_t count = 0;
    while (count < PARTS_MAX && rest.len > 0 &&
           parse_one(w, expect, rest, &chance, &parts[count]) == PARSE_DONE)
        rest = span_from(rest, parts[count++].bytes.len);
    if (count > 0)
        play_joins(w, expect, parts, count, &chance);
}
