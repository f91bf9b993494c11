/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/split.h"

#include <string.h>

#include "proto/redis/command.h"
#include "proto/redis/number.h"

/* The bytes of words `first` to `last` of a request in canonical form, headers and line ends
 * included: what lies between them is nothing else, so that they can be copied as one. */
static struct span words_raw(const struct request_view *v, uint32_t first, uint32_t last)
{
    struct arg a = v->args->v[first];
    struct arg b = v->args->v[last];
    size_t begin = a.off - number_digits(a.len) - 3;
    return span_of(v->base + begin, (size_t)b.off + b.len + 2 - begin);
}

static bool put_count(struct buf *out, uint64_t words)
{
    if (!buf_reserve(out, NUMBER_MAX + 3))
        return false;
    out->data[out->tail++] = '*';
    out->tail += number_write(out->data + out->tail, words);
    out->data[out->tail++] = '\r';
    out->data[out->tail++] = '\n';
    return true;
}

/* Appends keys number order[0..count-1], which lie from word `first` on, and the words behind each up
 * to the next one. */
static bool put_keys(const struct request_view *v, uint32_t first, uint32_t step,
                     const uint32_t *order, uint32_t count, struct buf *out)
{
    bool ok = true;
    for (uint32_t i = 0, run = 0; ok && i < count; i = run) {
        for (run = i + 1; run < count && order[run] == order[run - 1] + 1; run++)
            ;
        ok = buf_append(
            out, words_raw(v, first + order[i] * step, first + order[run - 1] * step + step - 1));
    }
    return ok;
}

/* The words up to STREAMS, then keys, then the place to read each from. */
static bool compose_streams(const struct request_view *v, const uint32_t *order, uint32_t count,
                            struct buf *out)
{
    struct key_range keys = v->keys[0];
    return put_count(out, keys.first + (uint64_t)count * 2) &&
           buf_append(out, words_raw(v, 0, keys.first - 1)) &&
           put_keys(v, keys.first, 1, order, count, out) &&
           put_keys(v, keys.first + keys.count, 1, order, count, out);
}

bool split_cursor(struct span text, uint32_t servers, uint32_t *server, uint64_t *cursor)
{
    uint64_t n = 0;
    if (!span_u64(text, UINT64_MAX, &n))
        return false;
    *server = (uint32_t)(n % servers);
    *cursor = n / servers;
    return true;
}

/* The same words, with the server's own cursor. */
static bool compose_scan(const struct request_view *v, struct buf *out)
{
    char header[NUMBER_MAX + 3] = "$";
    char digits[NUMBER_MAX];
    uint32_t count = v->args->count;
    size_t len = number_write(digits, v->cursor);
    size_t header_len = 1 + number_write(header + 1, len);
    memcpy(header + header_len, "\r\n", 2);
    return put_count(out, count) && buf_append(out, words_raw(v, 0, 0)) &&
           buf_append(out, span_of(header, header_len + 2)) &&
           buf_append(out, span_of(digits, len)) && buf_append(out, SPAN("\r\n")) &&
           (count < 3 || buf_append(out, words_raw(v, 2, count - 1)));
}

/* Commands whose keys are one range, with the words that belong to a key behind it. What follows the last of them is for
 * all. */
static bool compose_keys(const struct request_view *v, const uint32_t *order, uint32_t count,
                         struct buf *out)
{
    struct key_range keys = v->keys[0];
    uint32_t behind = keys.first + keys.count * keys.step;
    uint32_t rest = behind < v->args->count ? v->args->count - behind : 0;
    return put_count(out, (uint64_t)count * keys.step + 1 + rest) &&
           buf_append(out, words_raw(v, 0, 0)) &&
           put_keys(v, keys.first, keys.step, order, count, out) &&
           (rest == 0 || buf_append(out, words_raw(v, behind, v->args->count - 1)));
}

bool redis_compose_part(const struct request_view *v, const uint32_t *order, uint32_t count,
                        struct buf *out)
{
    size_t before = buf_len(out);
    bool ok;
    if (v->join == CLASS_SCAN)
        ok = compose_scan(v, out);
    else if (v->join == CLASS_STREAMS)
        ok = compose_streams(v, order, count, out);
    else
        ok = compose_keys(v, order, count, out);
    if (!ok)
        out->tail = out->head + before;
    return ok;
}
