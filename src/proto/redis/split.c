/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/split.h"

#include <stdlib.h>
#include <string.h>

#include "proto/redis/command.h"
#include "proto/redis/number.h"
#include "proto/redis/reply.h"

/* The bytes of words `first` to `last` of a request in canonical form, headers and line ends
 * included: what lies between them is nothing else, so that they can be copied as one. */
static struct span words_raw(const struct request_view *v, uint32_t first, uint32_t last)
{
    struct arg a = v->args->v[first];
    struct arg b = v->args->v[last];
    size_t begin = a.off - number_digits(a.len) - 3;
    return span_of(v->base + begin, (size_t)b.off + b.len + 2 - begin);
}

bool redis_compose_part(const struct request_view *v, const uint32_t *order, uint32_t count,
                        struct buf *out)
{
    /* All commands that are split have one range, and the words of a key follow it up to the next
     * one. */
    struct key_range keys = v->keys[0];
    size_t before = buf_len(out);
    if (!buf_reserve(out, NUMBER_MAX + 3))
        return false;
    out->data[out->tail++] = '*';
    out->tail += number_write(out->data + out->tail, (uint64_t)count * keys.step + 1);
    out->data[out->tail++] = '\r';
    out->data[out->tail++] = '\n';
    bool ok = buf_append(out, words_raw(v, 0, 0));
    for (uint32_t i = 0, run = 0; ok && i < count; i = run) {
        for (run = i + 1; run < count && order[run] == order[run - 1] + 1; run++)
            ;
        uint32_t first = keys.first + order[i] * keys.step;
        uint32_t last = keys.first + order[run - 1] * keys.step + keys.step - 1;
        ok = buf_append(out, words_raw(v, first, last));
    }
    if (!ok)
        out->tail = out->head + before;
    return ok;
}

/* Reads a line `mark number CR LF` at the front of `in`; returns its bytes, 0 if it is none or
 * negative. */
static size_t read_line(struct span in, char mark, uint64_t *n)
{
    const char *cr = in.len > 0 && in.ptr[0] == mark ? memchr(in.ptr, '\r', in.len) : NULL;
    if (cr == NULL || !span_u64(span_of(in.ptr + 1, (size_t)(cr - in.ptr) - 1), UINT32_MAX, n))
        return 0;
    return (size_t)(cr - in.ptr) + 2;
}

/* The reply of a part of a request that counts: how many of its keys. */
static bool part_count_of(const struct part_reply *part, uint32_t key_count, uint64_t *n)
{
    size_t len = read_line(part->bytes, ':', n);
    return len > 0 && len == part->bytes.len && *n <= key_count;
}

static bool append_number(char mark, uint64_t n, struct chunk_pool *pool, struct chain *out)
{
    char line[NUMBER_MAX + 3] = {mark};
    size_t len = 1 + number_write(line + 1, n);
    memcpy(line + len, "\r\n", 2);
    return chain_append(out, pool, span_of(line, len + 2));
}

static bool join_sum(const struct part_reply *parts, uint32_t part_count, uint32_t key_count,
                     struct chunk_pool *pool, struct chain *out, uint32_t *bad)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < part_count; i++) {
        uint64_t n = 0;
        if (!part_count_of(&parts[i], key_count, &n)) {
            *bad = i;
            return false;
        }
        sum += n;
    }
    return append_number(':', sum, pool, out);
}

/* What is left of the array that a part replied with. */
struct values {
    struct span rest;
    uint64_t left;
};

static bool values_begin(struct values *v, const struct part_reply *part)
{
    size_t header = read_line(part->bytes, '*', &v->left);
    v->rest = span_from(part->bytes, header);
    return header > 0;
}

/* Appends the values of all keys in their order. Neighbours of one part are appended as one. */
static bool append_values(struct values *v, const uint16_t *part_of, uint32_t key_count,
                          struct chunk_pool *pool, struct chain *out, uint32_t *bad)
{
    for (uint32_t i = 0; i < key_count;) {
        struct values *from = &v[part_of[i]];
        size_t run = 0;
        uint16_t part = part_of[i];
        for (; i < key_count && part_of[i] == part; i++) {
            size_t len = from->left > 0 ? redis_reply_value(span_from(from->rest, run)) : 0;
            if (len == 0) {
                *bad = part;
                return false;
            }
            run += len;
            from->left--;
        }
        if (!chain_append(out, pool, span_of(from->rest.ptr, run)))
            return false;
        from->rest = span_from(from->rest, run);
    }
    return true;
}

static bool fill_array(struct values *v, const struct part_reply *parts, uint32_t part_count,
                       const uint16_t *part_of, uint32_t key_count, struct chunk_pool *pool,
                       struct chain *out, uint32_t *bad)
{
    for (uint32_t i = 0; i < part_count; i++) {
        if (!values_begin(&v[i], &parts[i])) {
            *bad = i;
            return false;
        }
    }
    if (!append_number('*', key_count, pool, out) ||
        !append_values(v, part_of, key_count, pool, out, bad))
        return false;
    for (uint32_t i = 0; i < part_count; i++) {
        if (v[i].left > 0 || v[i].rest.len > 0) {
            *bad = i;
            return false;
        }
    }
    return true;
}

static bool join_values(const struct part_reply *parts, uint32_t part_count,
                        const uint16_t *part_of, uint32_t key_count, struct chunk_pool *pool,
                        struct chain *out, uint32_t *bad)
{
    enum { FEW = 32 };
    struct values few[FEW];
    struct values *v = few;
    struct chain whole = {0};
    if (part_count > FEW)
        v = malloc(part_count * sizeof(*v));
    if (v == NULL)
        return false;
    bool ok = fill_array(v, parts, part_count, part_of, key_count, pool, &whole, bad);
    if (ok)
        chain_splice(out, pool, &whole);
    chain_clear(&whole, pool);
    if (v != few)
        free(v);
    return ok;
}

/* The first part whose reply is of another kind than its request has, even when another part
 * failed: its server is out of step. UINT32_MAX if there is none. */
static uint32_t odd_part(uint8_t join, const struct part_reply *parts, uint32_t part_count)
{
    char mark = join == CLASS_MGET ? '*' : (join == CLASS_MSET ? '+' : ':');
    for (uint32_t i = 0; i < part_count; i++) {
        bool replied = !parts[i].failed && !parts[i].error;
        if (replied && (parts[i].bytes.len == 0 || parts[i].bytes.ptr[0] != mark))
            return i;
    }
    return UINT32_MAX;
}

bool redis_join(uint8_t join, const struct part_reply *parts, uint32_t part_count,
                const uint16_t *part_of, uint32_t key_count, struct chunk_pool *pool,
                struct chain *out, uint32_t *bad)
{
    *bad = odd_part(join, parts, part_count);
    if (*bad != UINT32_MAX)
        return false;
    /* There was no memory for an error line if it is empty: then there is none for the whole. */
    for (uint32_t i = 0; i < part_count; i++)
        if (parts[i].failed || parts[i].error)
            return parts[i].bytes.len > 0 && chain_append(out, pool, parts[i].bytes);
    if (join == CLASS_MGET)
        return join_values(parts, part_count, part_of, key_count, pool, out, bad);
    if (join == CLASS_MSET)
        return chain_append(out, pool, SPAN("+OK\r\n"));
    return join_sum(parts, part_count, key_count, pool, out, bad);
}
